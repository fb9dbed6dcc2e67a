"""Read tables that do not fit in memory block by block, with the same rules as whole files."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Unpack, final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet

from tabvision.data.tables.cells import Known
from tabvision.data.tables.delimited import CSV_SUFFIXES, read_csv
from tabvision.data.tables.files import FEATHER_SUFFIXES, PARQUET_SUFFIXES, files_of, is_paths
from tabvision.data.tables.layout import find_layout
from tabvision.data.tables.read import (
    columns_with_names,
    frame_of_arrow,
    is_text,
    is_text_type,
    read_file,
    with_index,
    with_no_labels,
    with_partition,
    without_saved_index,
)
from tabvision.data.tables.text_file import TextFile, TextFormat, first_line, without_compression
from tabvision.errors import BadTypeError, BadValueError, TabvisionError, count, listed
from tabvision.logs import notes_at

BLOCK_ROWS = 262_144
_TEXT_BYTES = 1 << 25  # the size of a text file's block
_HEAD_BLOCKS = 16  # evenly spaced blocks from which column types are inferred


class ReadAgain(Exception):  # noqa: N818 - a signal to read again, not an error
    """Later rows show that a column, or the target, has another type than was inferred from the first rows.

    Args:
        evidence: These rows, and whether they are for training; empty if only a column of codes must be read as text.
    """

    def __init__(self, evidence: Sequence[tuple[pd.DataFrame, bool]] = ()) -> None:
        super().__init__()
        self.evidence = evidence


def check_paths(source: object) -> None:
    """Raise unless a source is a path or a list of paths.

    Raises:
        BadTypeError: It is something else, such as a frame.
    """
    if not isinstance(source, str | Path) and not is_paths(source):
        problem = f"a prepared table is read from files, got {type(source).__name__}"
        raise BadTypeError(problem, "Pass a path, a list of paths, a pattern or a folder")


@final
class TableBlocks:
    """The rows of table files, block by block.

    Args:
        source: The path of a file, or several: a list, a glob, a folder, also one with folders such as year=2024.
        known: Columns of a text file that are known to be text or not, as for `read_frame`.
        form: How a text file is written; see `TextFormat`.

    Raises:
        MissingFileError: A file does not exist.
        BadTypeError: The source is not a path.
    """

    def __init__(self, source: Any, known: Known | None = None, **form: Unpack[TextFormat]) -> None:  # noqa: ANN401
        check_paths(source)
        self.files = files_of(source)
        self.known = dict(known or {})
        self.form = form
        self.names: list[str] = []
        self._kinds: dict[str, bool] = {}
        self._has_index: bool | None = None

    def head(self) -> list[pd.DataFrame]:
        """Return the first rows of blocks evenly spaced over the files, or all rows of a small table.

        Notes are logged on whatever is not read literally. The index holds row numbers in the table; for several files that
        are not Parquet it counts only the rows that are read.
        """
        numbers = np.unique(np.linspace(0, len(self.files) - 1, _HEAD_BLOCKS).astype(int)).tolist()
        sizes = [_metadata(file).num_rows for file in self.files] if all(map(_is_parquet, self.files)) else None
        found, num_read = list[pd.DataFrame](), 0
        for number in numbers:
            start = num_read if sizes is None else sum(sizes[:number])
            rest = max(BLOCK_ROWS - num_read, BLOCK_ROWS // len(numbers))
            for frame in self._parts(self.files[number], heads=rest):
                found.append(frame.iloc[:rest].set_axis(frame.index[:rest] + start))
                num_read, rest = num_read + len(found[-1]), rest - len(found[-1])
                if rest <= 0:
                    break
        return found

    def read(
        self, columns: Sequence[str] | None = None, categories: Sequence[str] = ()
    ) -> Iterator[tuple[Path, pd.DataFrame]]:
        """Yield the file and rows of each block, in order; the next block is read while one is in use.

        The index holds row numbers in the file.

        Args:
            columns: The columns to read; None for all.
            categories: Text columns that may be read as pandas categories, which Parquet files already hold.

        Raises:
            BadValueError: A file cannot be read or has other columns than the first.
            ReadAgain: More columns must be read as text; `known` has been updated.
        """
        blocks = ((file, frame) for file in self.files for frame in self._parts(file, columns, categories))

        def following() -> tuple[Path, pd.DataFrame] | None:
            with notes_at(False):
                return next(blocks, None)

        with ThreadPoolExecutor(1) as pool:
            coming = pool.submit(following)
            while (block := coming.result()) is not None:
                coming = pool.submit(following)
                yield block

    def num_rows(self) -> int:
        """Return the number of rows in all files."""
        if all(map(_is_parquet, self.files)):
            return sum(_metadata(file).num_rows for file in self.files)
        return sum(len(frame) for _, frame in self.read())

    def _parts(
        self, file: Path, columns: Sequence[str] | None = None, categories: Sequence[str] = (), *, heads: int = 0
    ) -> Iterator[pd.DataFrame]:
        """Yield the blocks of a file, or only the first `heads` rows of evenly spaced blocks."""
        start = 0
        with named_file(file):
            for first, frame in self._frames(file, columns, categories, heads=heads):
                start = start if first is None else first
                frame.index = pd.RangeIndex(start, start + len(frame))
                start += len(frame)
                yield self._checked(frame, file, columns)

    def _frames(
        self, file: Path, columns: Sequence[str] | None, categories: Sequence[str], *, heads: int
    ) -> Iterator[tuple[int | None, pd.DataFrame]]:
        """Yield rows with the number of the first one, or None if they follow the previous ones."""
        suffix = without_compression(file).suffix.lower()
        if (_is_parquet(file) or file.suffix.lower() in FEATHER_SUFFIXES) and file.is_file() and file.stat().st_size:
            batches = _feather_blocks(file, columns)
            if _is_parquet(file):
                batches = _parquet_blocks(file, columns, categories, heads=heads)
            with _undamaged(file):
                for first, table in batches:
                    table.validate(full=True)
                    frame = frame_of_arrow(table)
                    if names := [name for name in frame.index.names if name is not None]:
                        frame = with_index(frame, names)
                    yield first, with_no_labels(self._without_index(frame), self.known)
        elif suffix in CSV_SUFFIXES and file.is_file() and file.stat().st_size > _TEXT_BYTES:
            for frame in _text_blocks(file, self.known, self.form):
                yield None, self._without_index(frame)
        else:
            yield None, read_file(file, self.form, self.known)

    def _without_index(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Drop a saved index, recognized in the first block by its counting of rows."""
        if self._has_index is None:
            self._has_index = len(frame) > 0 and len(without_saved_index(frame).columns) < len(frame.columns)
        is_there = self._has_index and re.fullmatch(r"|Unnamed: 0(\.\d+)?", str(frame.columns[0]))
        return frame.drop(columns=frame.columns[0]) if is_there else frame

    def _checked(self, frame: pd.DataFrame, file: Path, columns: Sequence[str] | None) -> pd.DataFrame:
        """Return the frame with the columns of the first file, in their order."""
        frame = with_partition(frame, file, self.known)
        self.names = self.names or list(frame)
        wanted = [name for name in self.names if columns is None or name in columns]
        if others := sorted(set(wanted) ^ set(frame) if columns is None else set(wanted) - set(frame)):
            names = listed([*map(repr, others)])
            problem = f"it has other columns than {self.files[0].name!r}: {names} in only one of them"
            raise BadValueError(problem, "Pass only the files of one table")
        frame = frame[wanted]
        unsure = [name for name, dtype in frame.dtypes.items() if self._kinds.get(name) != is_text_type(dtype)]
        kinds = {name: kind for name in unsure if (kind := is_text(frame[name])) is not None}
        mixed = [name for name, kind in kinds.items() if self._kinds.setdefault(name, kind) != kind]
        if mixed and all(name in self.known for name in mixed):
            problem = f"columns are text in some files and numbers in others: {listed([*map(repr, mixed)])}"
            raise BadValueError(problem, "Rewrite the files with one type per column")
        texts = dict.fromkeys(mixed, ()) | columns_with_names(frame, file, self.form, self.known)
        if texts:
            self.known.update(texts)
            self._kinds.clear()
            raise ReadAgain
        return frame


def _parquet_blocks(
    file: Path, columns: Sequence[str] | None, categories: Sequence[str], *, heads: int
) -> Iterator[tuple[int | None, pa.Table]]:
    """Yield the blocks of a Parquet file, or `heads` rows of evenly spaced row groups, with the first row's number."""
    opened = pa.parquet.ParquetFile(file, read_dictionary=[*categories])
    there = None if columns is None else [name for name in opened.schema_arrow.names if name in columns]
    sizes = [opened.metadata.row_group(group).num_rows for group in range(opened.metadata.num_row_groups)]
    if not heads or opened.metadata.num_rows <= heads:
        for some in _row_groups_by_block(sizes):
            batches = opened.iter_batches(BLOCK_ROWS, row_groups=some, columns=there)
            blocks = [[*batches]] if len(some) > 1 else ([batch] for batch in batches)
            yield from ((None, pa.Table.from_batches(block)) for block in blocks if block)
        return
    groups = np.unique(np.linspace(0, len(sizes) - 1, _HEAD_BLOCKS).astype(int)).tolist()
    for group in groups:
        batches = opened.iter_batches(max(1, heads // len(groups)), row_groups=[group], columns=there)
        yield sum(sizes[:group]), pa.Table.from_batches([next(batches)])


def _row_groups_by_block(sizes: Sequence[int]) -> list[list[int]]:
    """Combine row groups into blocks, since Arrow ends a batch of dictionary columns at each row group.

    Example:
        >>> _row_groups_by_block([200_000, 60_000, 10_000, 1_000_000])
        [[0, 1], [2], [3]]
    """
    found, num_rows = list[list[int]](), 0
    for group, size in enumerate(sizes):
        num_rows += size
        if found and num_rows <= BLOCK_ROWS:
            found[-1].append(group)
        else:
            found.append([group])
            num_rows = size
    return found


def _feather_blocks(file: Path, columns: Sequence[str] | None) -> Iterator[tuple[int | None, pa.Table]]:
    """Yield the blocks of a Feather file."""
    with pa.OSFile(str(file)) as source:  # not mapped, since overwriting a mapped file would crash the process
        opened = pa.ipc.open_file(source)
        for at in range(opened.num_record_batches):
            batch = opened.get_batch(at)
            there = batch if columns is None else batch.select([name for name in batch.schema.names if name in columns])
            for start in range(0, len(there), BLOCK_ROWS):
                yield None, pa.Table.from_batches([there.slice(start, BLOCK_ROWS)])


def _text_blocks(path: Path, known: Known, form: TextFormat) -> Iterator[pd.DataFrame]:
    """Yield the rows of a text file in blocks that end where a record does: at a line end outside quotes."""
    file = TextFile(path, form.get("encoding"))
    layout = find_layout(file, form.get("sep"), form.get("names"))
    if layout.sep != layout.delimiter:  # a separator of several characters; the file is in memory already
        yield read_file(path, form, known)
        return
    of_rows = TextFormat(**{**form, "sep": layout.sep, "names": layout.names})
    with file.open() as opened:
        if layout.has_header:
            opened.readline()
        rest = b""
        while block := opened.read(_TEXT_BYTES):
            block, rest = rest + block, b""
            end = block.rfind(b"\n") + 1
            num_quotes = block.count(b'"', 0, end)
            while end and num_quotes % 2:
                before, end = end, block.rfind(b"\n", 0, end - 1) + 1
                num_quotes -= block.count(b'"', end, before)
            block, rest = block[:end], block[end:]
            if block.strip():
                yield read_csv(path, known, block, **of_rows)
        if rest.strip():
            yield read_csv(path, known, rest, **of_rows)


def _is_parquet(file: Path) -> bool:
    return file.suffix.lower() in PARQUET_SUFFIXES


def _metadata(file: Path) -> Any:  # noqa: ANN401 - pyarrow has no types
    """Return the metadata of a Parquet file."""
    with named_file(file), _undamaged(file):
        return pa.parquet.read_metadata(file)


@contextmanager
def _undamaged(file: Path) -> Iterator[None]:
    """Turn whatever pyarrow and pandas raise for a damaged file into our error."""
    try:
        yield
    except TabvisionError:
        raise
    except Exception as error:  # damaged metadata, and types that pandas does not know, may raise anything
        problem = f"it cannot be read as {file.suffix.lower()}: {first_line(error)}"
        raise BadValueError(problem, "It may be damaged; write it again") from error


@contextmanager
def named_file(file: Path) -> Iterator[None]:
    """Prefix errors in the block with the name of the file being read."""
    try:
        yield
    except (BadValueError, BadTypeError) as error:
        problem, *rest = error.args
        if not isinstance(problem, str) or problem.startswith(f"{file.name}: "):
            raise
        raise type(error)(f"{file.name}: {problem}", *rest) from error


def table_bytes(files: Sequence[Path]) -> int:
    """Estimate the size of the rows in files: for Parquet from the metadata, for text as it is stored."""
    total = 0
    for file in files:
        if _is_parquet(file):
            facts = _metadata(file)
            total += sum(facts.row_group(at).total_byte_size for at in range(facts.num_row_groups))
        else:
            total += file.stat().st_size * (1 if without_compression(file) == file else 5)
    return total


def described(files: Sequence[Path]) -> str:
    """Return the name of a table's first file, and the number of further ones, as text."""
    return repr(files[0].name) + (f" and {count(len(files) - 1, 'more file')}" if len(files) > 1 else "")
