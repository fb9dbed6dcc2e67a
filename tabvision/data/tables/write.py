"""Writing a table: whole or not at all, never over another file, and safe to open in a spreadsheet."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.csv

from tabvision.errors import BadValueError, MissingFileError

FORMATS = (".csv", ".parquet", ".pq", ".feather", ".arrow")
# A spreadsheet runs a text cell that starts so as a formula; a plain number such as -5 is harmless and stays.
# Source: OWASP, "CSV Injection".
_FORMULA = r"^(?:[=@\t\r\n\uff1d\uff20\uff0b\uff0d]|[+-](?!\d*\.?\d+(?:[eE][+-]?\d+)?$))"  # full-width ones as well


def check_destination(path: str | Path, *, suffixes: Sequence[str] = FORMATS, overwrite: bool = False) -> Path:
    """The path as a `Path`, once it is sure that a file can be written there; ask before the long work.

    Args:
        path: Of the new file.
        suffixes: The formats that there are; those of tables.
        overwrite: Whether a file that is there may be replaced.

    Raises:
        BadValueError: The suffix is none of the formats, or a file is there already.
        MissingFileError: The folder does not exist.
    """
    path = Path(path).expanduser()
    if path.suffix.lower() not in suffixes:
        problem = f"the name must end in {' or '.join(suffixes)}, got {path.name!r}"
        raise BadValueError(problem, "Choose another name")
    if not path.parent.is_dir():
        raise MissingFileError(f"there is no folder {str(path.parent)!r} to write to", "Create it first")
    if path.is_dir():
        raise BadValueError(f"{str(path)!r} is a folder already", "Choose another name")
    if path.exists() and not overwrite:
        remedy = "Choose another name, or overwrite it (overwrite=True, --overwrite)"
        raise BadValueError(f"{str(path)!r} is a file already", remedy)
    return path


def write_frame(frame: pd.DataFrame, path: str | Path, *, overwrite: bool = False, neutralized: bool = True) -> None:
    """Writes a frame, without its row index, in the format that the suffix names.

    In CSV a text that a spreadsheet would run as a formula (it starts with `=`, `+`, `-`, `@`, tab, line feed or carriage
    return and is no plain number) gets a leading apostrophe. Numbers stay numbers. A program that reads such a text back
    gets the apostrophe along; Parquet and Feather hold every text as it is, and so does `neutralized=False`.

    Args:
        frame: The rows.
        path: Ends in .csv, .parquet, .pq, .feather or .arrow.
        overwrite: Whether a file that is there may be replaced.
        neutralized: Whether formulas in a CSV file are kept from running.

    Raises:
        BadValueError: The suffix is none of the formats, or a file is there already.
        MissingFileError: The folder does not exist.
    """
    path = check_destination(path, overwrite=overwrite)
    with written_whole(path) as partial:
        _write(frame, partial, path.suffix.lower(), neutralized=neutralized)


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield a path beside another to write to; the file replaces the other once the block ends, and an error leaves neither.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> with written_whole(folder / "a.txt") as partial:
        ...     partial.write_text("whole"), (folder / "a.txt").exists()
        (5, False)
        >>> [file.name for file in folder.iterdir()]
        ['a.txt']
    """
    partial = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _neutralize(text: pd.Series) -> pd.Series:
    """Texts with a leading apostrophe where a spreadsheet would run them.

    Example:
        >>> _neutralize(pd.Series(["=1+1", "-5", "a=b", None])).tolist()
        ["'=1+1", '-5', 'a=b', nan]
    """
    return text.where(~text.str.match(_FORMULA).fillna(False).astype(bool), "'" + text)


def _write(frame: pd.DataFrame, path: Path, suffix: str, *, neutralized: bool) -> None:
    if suffix == ".csv":
        _write_csv(frame, path, _neutralize if neutralized else lambda text: text)
    elif suffix in (".parquet", ".pq"):
        frame.to_parquet(path, index=False)
    else:
        frame.reset_index(drop=True).to_feather(path)


def _write_csv(frame: pd.DataFrame, path: Path, treat: Callable[[pd.Series], pd.Series]) -> None:
    columns = [pa.array(_cells(frame.iloc[:, place], treat), from_pandas=True) for place in range(frame.shape[1])]
    table = pa.table(columns, names=treat(pd.Series(map(str, frame.columns), dtype="str")).tolist())
    try:  # pyarrow is about six times as quick as pandas here
        pa.csv.write_csv(table, path, pa.csv.WriteOptions(quoting_style="none", quoting_header="none"))
    except pa.ArrowInvalid:  # some text holds a comma, a quote or a line break: quote every text
        pa.csv.write_csv(table, path, pa.csv.WriteOptions(quoting_style="needed"))


def _cells(values: pd.Series, treat: Callable[[pd.Series], pd.Series]) -> pd.Series:
    """Numbers as they are, all else as text: True stays `True`, a date is written as pandas prints it."""
    is_plain = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
    return values if is_plain else treat(values.astype("str"))
