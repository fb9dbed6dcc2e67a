"""Write tables atomically, safe to open in a spreadsheet, and without overwriting a file unless told to."""

from __future__ import annotations

import glob
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import IO, BinaryIO

import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from tabvision.data.tables.excel import check_excel, neutralized, write_excel
from tabvision.data.tables.files import BINARY_SUFFIXES, PARQUET_SUFFIXES
from tabvision.errors import BadValueError, MissingFileError, TabvisionError, UnwritableFileError

try:
    import fcntl
except ImportError:  # on such systems nothing is locked
    fcntl = None  # type: ignore[assignment]

FORMATS = (".csv", *BINARY_SUFFIXES)
_GROUP_ROWS = 1 << 17  # rows per group of a Parquet file written in blocks: smaller groups take longer to read


def check_destination(
    path: str | Path, *, suffixes: Sequence[str] = FORMATS, overwrite: bool = False, reads: Sequence[object] = ()
) -> Path:
    """Check that a file can be written at the path and return it as a `Path`; call this before long work.

    Args:
        path: The path of the new file.
        suffixes: The suffixes of the supported formats.
        overwrite: Whether an existing file may be replaced.
        reads: The inputs of the file: no existing path among these, nor a file in a folder among them, is replaced.

    Raises:
        BadValueError: The suffix is not supported, or the file exists already.
        MissingFileError: The folder does not exist.
    """
    path = Path(path).expanduser()
    check_not_read(path, reads)
    if path.suffix.lower() not in suffixes:
        problem = f"the name must end in {' or '.join(suffixes)}, got {path.name!r}"
        raise BadValueError(problem, "Choose another name")
    if path.suffix.lower() == ".xlsx":
        check_excel()
    if not path.parent.is_dir():
        raise MissingFileError(f"there is no folder {str(path.parent)!r} to write to", "Create it first")
    if path.is_dir():
        raise BadValueError(f"{str(path)!r} is a folder already", "Choose another name")
    if path.exists() and not overwrite:
        remedy = "Choose another name, or overwrite it (overwrite=True, --overwrite)"
        raise BadValueError(f"{str(path)!r} is a file already", remedy)
    return path


def check_not_read(path: Path, reads: Sequence[object]) -> None:
    """Raise if writing to a path would replace an input file, under whatever name.

    Args:
        path: The path to write to.
        reads: Paths of the inputs: files, or folders of images or of parts of a table; anything else is ignored.

    Raises:
        BadValueError: The file is one of the inputs.
    """
    for read in (Path(it).expanduser() for it in reads if isinstance(it, str | Path) and "\0" not in str(it)):
        if not path.exists() or not read.exists():
            continue
        if read.is_dir():
            folder = path.resolve().parent
            is_image = path.suffix.lower() == ".png" and folder.is_relative_to(read.resolve())
            alike = (other for other in folder.iterdir() if other.suffix == path.suffix and other.name != path.name)
            is_read = is_image or (folder == read.resolve() and any(alike))
        else:
            is_read = path.samefile(read)
        if is_read:
            problem = f"writing {str(path)!r} would destroy what is read from {str(read)!r}"
            raise BadValueError(problem, "Choose another name")


def write_frame(frame: pd.DataFrame, path: str | Path, *, overwrite: bool = False) -> None:
    """Write a frame, without its index, in the format that the suffix names.

    In CSV and Excel, text that a spreadsheet would run as a formula (it starts with `=`, `+`, `-`, `@`, tab, line feed or
    carriage return and is not a plain number) gets a leading apostrophe; so does the part after a semicolon, tab or line
    break within it, where some spreadsheets split cells. Numbers stay numbers. A program that reads such text back gets the
    apostrophe too; Parquet and Feather leave all text unchanged.

    Args:
        frame: The rows.
        path: A path that ends in .csv, .parquet, .pq, .feather, .arrow or .xlsx.
        overwrite: Whether an existing file may be replaced.

    Raises:
        BadValueError: The suffix is not supported, or the file exists already.
        MissingFileError: The folder does not exist.
        UnwritableFileError: The disk is full or read-only.
    """
    path = check_destination(path, overwrite=overwrite)
    with written_whole(path) as partial, partial.open("wb") as file:  # pyarrow cannot open names that are not UTF-8
        if (suffix := path.suffix.lower()) == ".csv":
            _write_csv(frame, file)
        elif suffix == ".xlsx":
            write_excel(frame, file)
        elif suffix in PARQUET_SUFFIXES:
            frame.to_parquet(file, index=False)
        else:
            frame.reset_index(drop=True).to_feather(file)


@contextmanager
def written_in_blocks(path: Path) -> Iterator[Callable[[pd.DataFrame], None]]:
    """Yield a function that appends rows to a Parquet file, which appears when the block ends.

    Raises:
        UnwritableFileError: The disk is full or read-only, or the folder belongs to somebody else.
    """
    writer: pa.parquet.ParquetWriter | None = None
    held: list[pa.Table] = []

    def write(least: int) -> None:
        nonlocal writer
        if held and sum(map(len, held)) >= least:
            writer = writer or pa.parquet.ParquetWriter(partial, held[0].schema)
            writer.write_table(pa.concat_tables(each.cast(writer.schema) for each in held))
            held.clear()

    def append(frame: pd.DataFrame) -> None:
        held.append(pa.Table.from_pandas(frame, preserve_index=False))
        write(_GROUP_ROWS)

    with written_whole(path) as partial:
        try:
            yield append
            write(0)
        finally:
            if writer is not None:
                writer.close()


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write to; it replaces `path` when the block ends, and is removed on an error.

    It is a hidden file in the same folder, which no other process uses. Such files left by killed processes are removed.

    Raises:
        UnwritableFileError: The disk is full or read-only, or the folder belongs to somebody else.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> with written_whole(folder / "a.txt") as partial:
        ...     partial.write_text("whole"), (folder / "a.txt").exists()
        (5, False)
        >>> [file.name for file in folder.iterdir()]
        ['a.txt']
    """
    start, end = f".{path.stem[:40]}.", f".partial{path.suffix}"
    partial = path.with_name(f"{start}{os.getpid()}{end}")
    for left in path.parent.glob(f"{glob.escape(start)}*{glob.escape(end)}"):
        with suppress(OSError), left.open("rb") as file:
            if lock(file):
                left.unlink()
    try:
        with writing(path), _locked(partial):
            yield partial
            with partial.open("rb+") as written:
                os.fsync(written.fileno())
            partial.replace(path)
    finally:
        with suppress(OSError):  # a second error would hide the first
            partial.unlink(missing_ok=True)


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Delay Ctrl-C until the block ends, since raising inside torch's writer may cause other errors or abort the process.

    Example:
        >>> written = []
        >>> with suppress(KeyboardInterrupt), interrupts_held():
        ...     signal.raise_signal(signal.SIGINT)
        ...     written.append("all")
        >>> written
        ['all']
    """
    handler = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(handler):  # no other thread is stopped
        yield
        return
    held: list[tuple[int, FrameType | None]] = []
    signal.signal(signal.SIGINT, lambda *received: held.append(received))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        if held:
            handler(*held[0])


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Create a file, and keep it locked inside the block."""
    if fcntl is None:  # such systems cannot rename an open file
        yield
        return
    with path.open("wb") as file:
        lock(file, wait=True)  # tells others that the file is in use
        yield


def lock(file: IO[bytes] | int, *, wait: bool = False) -> bool:
    """Lock an open file or folder until it is closed or the process dies; return whether that is possible here.

    Raises:
        BlockingIOError: Another process has locked it, and this one does not wait.
    """
    if fcntl is None:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        raise
    except OSError:  # the file system has no locks
        return False
    return True


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn the system's errors in a block that writes a file or folder into ours.

    Raises:
        UnwritableFileError: The disk is full or read-only, or the folder belongs to somebody else.
    """
    try:
        yield
    except TabvisionError:
        raise
    except OSError as error:
        raise UnwritableFileError(path, error) from error
    except RuntimeError as error:
        if "inline_container" not in str(error):  # torch's archive writer hides the original error
            raise
        stopped_by = error.__context__ or error
        if not isinstance(stopped_by, OSError | RuntimeError):  # such as Ctrl-C
            raise stopped_by from None
        raise UnwritableFileError(path, stopped_by) from error


def _write_csv(frame: pd.DataFrame, file: BinaryIO) -> None:
    """Write numbers unchanged and everything else as text: True as `True`, a date as pandas prints it."""
    columns = []
    for index in range(frame.shape[1]):
        values = frame.iloc[:, index]
        is_number = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
        columns.append(pa.array(values if is_number else neutralized(values.astype("str")), from_pandas=True))
    table = pa.table(columns, names=neutralized(pd.Series(map(str, frame.columns), dtype="str")).tolist())
    try:  # pyarrow is about six times as fast as pandas here
        pa.csv.write_csv(table, file, pa.csv.WriteOptions(quoting_style="none", quoting_header="none"))
    except pa.ArrowInvalid:  # some text has a comma, a quote or a line break, so quote all text
        file.seek(0)
        file.truncate()
        pa.csv.write_csv(table, file, pa.csv.WriteOptions(quoting_style="needed"))
