"""Read rows from a data frame, a dict of columns, a list of dicts, a table file, or a folder of such files."""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias, Unpack

import numpy as np
import pandas as pd
import pyarrow as pa

from tabvision.data.tables.cells import NAMES, Known, checked_words, with_columns
from tabvision.data.tables.delimited import CSV_SUFFIXES, read_csv, with_exact_integers
from tabvision.data.tables.excel import read_excel
from tabvision.data.tables.files import (
    BINARY_SUFFIXES,
    FEATHER_SUFFIXES,
    JSON_SUFFIXES,
    PARQUET_SUFFIXES,
    files_of,
    is_paths,
    partition_of,
)
from tabvision.data.tables.text_file import TextFile, TextFormat, first_line, without_compression
from tabvision.errors import BadTypeError, BadValueError, count, listed
from tabvision.plain import object_of
from tabvision.preprocess import Columns
from tabvision.schema import JoinedLabels, Schema

logger = logging.getLogger("tabvision")

_NO_PARTITION = "__HIVE_DEFAULT_PARTITION__"  # Hive's folder name for rows without a value

Source: TypeAlias = pd.DataFrame | dict[str, Any] | list[dict[str, Any]] | list[str | Path] | str | Path
"""A source of rows: a frame, a dict of columns, a list of rows (dicts), or table files: a path, a glob, a folder, a list."""


def text_format(
    schema: Schema | None,
    *,
    encoding: str | None = None,
    na_values: Sequence[str] | None = None,
    sep: str | None = None,
    names: Sequence[str] | None = None,
) -> TextFormat:
    """Return the format of text files, with the words for missing values checked; a schema's words are the default.

    Example:
        >>> text_format(None, na_values=["?", ""])["na_values"]
        ('?',)
    """
    words = None if schema is None else schema.na_values
    if na_values is not None:
        words = checked_words(na_values)
    return TextFormat(encoding=encoding, na_values=words, sep=sep, names=names)


def words_of(form: TextFormat) -> tuple[str, ...] | None:
    """Return the words for missing values for a schema to record: those that the user named."""
    words = form.get("na_values")
    return None if words is None else tuple(words)


def read_frame(
    source: Source,
    *,
    known: Known | None = None,
    **form: Unpack[TextFormat],
) -> pd.DataFrame:
    """Return the rows of a source as a data frame, and log what is not read literally, such as a saved index.

    Args:
        source: A frame (a pandas one is returned as it is, without a copy; one from polars or another library is read
            through `__arrow_c_stream__`), a dict of columns, a list of rows as dicts, or the
            path of a file: .csv, .tsv, .txt, .dat, .data, .json, .jsonl, .ndjson (each also .gz, .bz2, .xz, .zip),
            .parquet, .pq, .feather, .arrow, .xlsx; a pipe, read by its suffix or else as .csv; or a folder, a glob such
            as "data/*.csv" or a list of such files with the same columns.
        known: Columns of a text file that are known to be text or not: the texts each may hold, or None.
        form: How a text file is written; see `TextFormat`.

    Raises:
        BadTypeError: The source has another type.
        MissingFileError: The file does not exist.
        BadValueError: The file cannot be read or has no rows, or the column names are not unique text.

    Example:
        >>> read_frame({"age": [31, 42]}).shape
        (2, 1)
    """
    if isinstance(source, str | Path) or is_paths(source):
        frame = _read_files(files_of(source), form, known or {})
    elif isinstance(source, pd.DataFrame):
        frame = source
    elif isinstance(source, dict) or (isinstance(source, list) and all(isinstance(row, dict) for row in source)):
        frame = _frame_of(source)
    elif hasattr(source, "__arrow_c_stream__"):
        frame = frame_of_arrow(source)
    else:
        wanted = "a DataFrame, a dict of columns, a list of dicts or a path"
        ways = {"to_pandas": "Pass source.to_pandas()", "collect": "Pass source.collect()"}  # `collect` of a lazy frame
        remedy = next((way for name, way in ways.items() if hasattr(source, name)), "Pass one of these")
        raise BadTypeError(f"the source must be {wanted}, got {type(source).__name__}", remedy)
    check_names(frame)
    if not len(frame):
        origin = f"{str(source)!r}" if isinstance(source, str | Path) else "the source"
        raise BadValueError(f"{origin} has columns but no rows", "Pass data with at least one row")
    return frame


def _frame_of(source: Any) -> pd.DataFrame:  # noqa: ANN401 - a dict of columns or a list of dicts, of whatever
    """Return a frame of plain values, with Int64 for columns of integers and missing values."""

    def values(name: str) -> list[Any]:
        if isinstance(source, dict) and isinstance(column := source[name], dict):
            return [column.get(label) for label in frame.index]
        return list(pd.DataFrame(source, columns=[name], dtype=object)[name])

    try:
        frame = pd.DataFrame(source)
        return with_exact_integers(frame, lambda names: pd.DataFrame({name: pd.array(values(name)) for name in names}))
    except ValueError as error:
        remedy = 'Give every column a list of the same length, such as {"age": [31]}'
        raise BadValueError(f"the columns do not form a table: {first_line(error)}", remedy) from error


def check_names(frame: pd.DataFrame) -> None:
    """Raise if a column name is not text or occurs more than once, or if there are no columns."""
    Columns(frame).check_names()
    if not len(frame.columns):
        raise BadValueError("the source has no columns", "Pass data with at least one column")


def frame_of_arrow(source: Any) -> pd.DataFrame:  # noqa: ANN401 - anything with `__arrow_c_stream__`
    """Convert another library's frame to pandas, keeping integers in columns with missing values."""
    if isinstance(source, pd.Series):
        remedy = "Pass a frame: of one row frame.iloc[[0]], of one column frame[['name']]"
        raise BadTypeError("the source must be a table, got a Series", remedy)
    try:
        table = pa.table(source)
    except (pa.ArrowException, TypeError, ValueError) as error:
        problem = f"the source, a {type(source).__name__}, does not form a table: {first_line(error)}"
        raise BadTypeError(problem, "Pass a frame") from error
    texts = [it.with_type(it.type.storage_type) if isinstance(it.type, pa.JsonType) else it for it in table.schema]
    metadata = table.schema.metadata
    if metadata is not None and b"[pyarrow]" in metadata.get(b"pandas", b""):
        # pandas writes names of Arrow types there that it cannot read back; the table has the types anyway.
        facts = json.loads(metadata[b"pandas"])
        for column in facts["columns"]:
            if str(column["numpy_type"]).endswith("[pyarrow]"):
                column["numpy_type"] = "object"
        metadata = {**metadata, b"pandas": json.dumps(facts).encode()}
    table = table.cast(pa.schema(texts, metadata))  # replace types that pandas does not know
    gaps = {field.type for field in table.schema if pa.types.is_integer(field.type) and table[field.name].null_count}
    kinds = {kind: pd.api.types.pandas_dtype(str(kind).replace("int", "Int").replace("uInt", "UInt")) for kind in gaps}
    frame: pd.DataFrame = table.to_pandas(types_mapper=kinds.get, split_blocks=True)  # copies only columns with gaps
    return frame


def _read_files(files: Sequence[Path], form: TextFormat, known: Known) -> pd.DataFrame:
    """Return the rows of all files of a table, in order."""
    frames = [read_file(file, form, known) for file in files]
    first = frames[0]
    if len(files) == 1:
        return first
    for file, frame in zip(files, frames, strict=True):
        if others := sorted(set(first) ^ set(frame)):
            names = listed([*map(repr, others)])
            problem = f"{str(file)!r} has other columns than {files[0].name!r}: {names} in only one of them"
            raise BadValueError(problem, "Pass only the files of one table")
    mixed = [name for name in first if len({is_text(frame[name]) for frame in frames} - {None}) > 1]
    texts: dict[str, tuple[str, ...]] = dict.fromkeys(mixed, ())
    for file, frame in zip(files, frames, strict=True):
        texts |= columns_with_names(frame, file, form, known)
    if texts:  # read again: in some files every code looks like a number, or a column has no word but None
        frames = [read_file(file, form, {**known, **texts}) for file in files]
    if mixed := [name for name in mixed if not all(is_text(frame[name]) in (True, None) for frame in frames)]:
        problem = f"columns are text in some files and numbers in others: {listed([*map(repr, mixed)])}"
        raise BadValueError(problem, "Rewrite the files with one type per column")
    logger.info(f"{count(len(files), 'file')} read as one table: {files[0].name!r} to {files[-1].name!r}.")
    return pd.concat([frame[list(first)] for frame in frames], ignore_index=True)


def columns_with_names(frame: pd.DataFrame, file: Path, form: TextFormat, known: Known) -> dict[str, tuple[str, ...]]:
    """Return the columns in which a word such as None was read as a value, so that all files of the table read it so."""
    suffix = without_compression(file).suffix.lower()
    if form.get("na_values") is not None or suffix not in (*CSV_SUFFIXES, ".xlsx"):
        return {}
    texts = [name for name in frame if name not in known and is_text_type(frame[name].dtype)]
    return {name: (*NAMES,) for name in texts if frame[name].isin(NAMES).any()}


def is_text(values: pd.Series) -> bool | None:
    """Return whether a column holds text, or None if it is empty."""
    return is_text_type(values.dtype) if values.notna().any() else None


def is_text_type(dtype: Any) -> bool:  # noqa: ANN401 - a dtype of numpy or pandas
    """Return whether a dtype is text, or categories that are text."""
    return isinstance(dtype.categories.dtype if isinstance(dtype, pd.CategoricalDtype) else dtype, pd.StringDtype)


def read_file(path: Path, form: TextFormat, known: Known) -> pd.DataFrame:
    """Return the rows of one file; see `read_frame`."""
    suffix = without_compression(path).suffix.lower()
    is_pipe = not path.is_file()
    if suffix in CSV_SUFFIXES or (is_pipe and not suffix):
        frame = read_csv(path, known, **form)
    elif suffix in JSON_SUFFIXES:
        frame = with_no_labels(_read_json(TextFile(path, form.get("encoding")), suffix), known)
    elif suffix == ".xlsx":
        frame = with_no_labels(read_excel(path, known, **form), known)
    elif path.suffix.lower() in (*PARQUET_SUFFIXES, *FEATHER_SUFFIXES):
        frame = with_no_labels(_read_binary(path), known)
    else:
        raise _unknown_format(path)
    frame = with_partition(without_saved_index(frame), path, known)
    if nameless := [repr(name) for name in frame.columns if re.fullmatch(r"Unnamed: \d+", str(name))]:
        logger.info(f"{count(len(nameless), 'column')} without a name, called {listed(nameless)}.")
    return frame


def with_no_labels(frame: pd.DataFrame, known: Known) -> pd.DataFrame:
    """Return the frame with "" for null in a target of joined labels, as `read_csv` reads an empty cell."""
    joined = [name for name, texts in known.items() if isinstance(texts, JoinedLabels) and name in frame]
    texts = {name: frame[name] for name in joined if not pd.api.types.is_numeric_dtype(frame[name])}
    for name, values in texts.items():
        is_category = isinstance(values.dtype, pd.CategoricalDtype)
        texts[name] = (values.astype("str") if is_category else values).fillna("")
    return with_columns(frame, texts)


def _unknown_format(path: Path) -> BadValueError:
    """Return the error for a file with an unknown suffix, which suggests the right one."""
    problem = f"{path.name!r} does not have the suffix of a table format"
    if (inner := without_compression(path)) != path and not inner.suffix:
        return BadValueError(problem, f"Name it after what it contains, such as {f'{inner.name}.csv{path.suffix}'!r}")
    if path.suffix.lower() in (".xls", ".xlsm", ".ods"):
        return BadValueError(problem, "Save it as .xlsx or .csv")
    known = ", ".join([*CSV_SUFFIXES, *JSON_SUFFIXES, *BINARY_SUFFIXES])
    return BadValueError(problem, f"Save it as {known}; text may be compressed as .gz, .bz2, .xz or .zip")


def _read_json(file: TextFile, suffix: str) -> pd.DataFrame:
    """Read JSON without pandas' reader, which would infer dates from column names and numbers from text."""
    with file.checked(), file.open_text() as text:
        if suffix == ".json":
            return _frame_of(_parsed(text.read(), file))
        rows = [_parsed(line, file, number) for number, line in enumerate(text, start=1) if line.strip()]
    return _frame_of(rows)


def _parsed(text: str, file: TextFile, line: int | None = None) -> Any:  # noqa: ANN401 - whatever it holds
    """Parse JSON text: one row if it is a line of a file, else rows or columns."""
    try:
        found = json.loads(text, object_pairs_hook=object_of)
    except (ValueError, RecursionError) as error:
        number = line or getattr(error, "lineno", None)
        where = f"line {number:,} of " if number else ""
        problem = f"{where}{str(file.path)!r} is not JSON: {getattr(error, 'msg', first_line(error))}"
        raise BadValueError(problem, "Repair that line, or write the file again") from error
    is_row = isinstance(found, dict)
    if not is_row and (line or not isinstance(found, list) or not all(isinstance(row, dict) for row in found)):
        where, wanted = (f"line {line:,} of ", "an object") if line else ("", "a list of objects, one a row")
        problem = f"{where}{str(file.path)!r} must hold {wanted}, got {type(found).__name__}"
        raise BadValueError(problem, 'Write rows such as {"age": 31, "job": "nurse"}')
    return found


def _read_binary(path: Path) -> pd.DataFrame:
    """Read a binary file, and turn a named index that pandas saved back into a column."""
    if path.is_file() and path.stat().st_size == 0:
        raise BadValueError(f"{str(path)!r} is empty (0 bytes)", "Pass a file with rows")
    suffix = path.suffix.lower()
    try:
        frame = frame_of_arrow(arrow_table(path if path.is_file() else io.BytesIO(path.read_bytes()), suffix))
    except Exception as error:  # damaged metadata may raise anything in pandas, such as KeyError
        problem = f"{str(path)!r} cannot be read as {suffix}: {first_line(error)}"
        raise BadValueError(problem, "It may be damaged or in another format; write it again") from error
    pa.default_memory_pool().release_unused()  # it holds on to about as much memory as the frame takes
    names = [name for name in frame.index.names if name is not None]
    if not names:
        return frame
    logger.info(f"The file's index is read as a column: {listed([repr(name) for name in names])}.")
    return with_index(frame, names)


def arrow_table(source: Path | io.BytesIO, suffix: str) -> pa.Table:
    """Read and fully validate a file's table, since converting one with a corrupted offset would crash the process."""
    if suffix in PARQUET_SUFFIXES:
        from pyarrow import parquet

        table = parquet.read_table(source)
    else:
        from pyarrow import feather

        table = feather.read_table(source, memory_map=False)
    table.validate(full=True)
    return table


def with_index(frame: pd.DataFrame, names: Sequence[Any]) -> pd.DataFrame:
    """Return a frame with index levels as columns; raise if columns with these names exist."""
    if twice := [repr(name) for name in names if name in frame]:
        raise BadValueError(f"both the index and a column are called {listed(twice)}", "Rename or remove one of each")
    return frame.reset_index(names)


def with_partition(frame: pd.DataFrame, path: Path, known: Known) -> pd.DataFrame:
    """Add the columns in the names of a file's folders, as Hive writes them: year=2024/a.parquet.

    Example:
        >>> with_partition(pd.DataFrame({"x": [1]}), Path("sales/year=2024/shop=north/a.csv"), {}).to_dict("records")
        [{'x': 1, 'year': 2024, 'shop': 'north'}]
    """
    columns: dict[str, Any] = {}
    for name, value in partition_of(path).items():
        is_number = re.fullmatch(r"-?(0|[1-9][0-9]{0,17})", value) and known.get(name) is None
        found = None if value == _NO_PARTITION else int(value) if is_number else value
        columns[name] = found if is_number else pd.array([found] * len(frame), dtype="str")
    return with_columns(frame, {name: values for name, values in columns.items() if name not in frame})


def without_saved_index(frame: pd.DataFrame) -> pd.DataFrame:
    """Drop a first column of row numbers, which `to_csv` and R's `write.csv` save."""
    name = frame.columns[0] if len(frame.columns) > 1 else None
    if not isinstance(name, str) or not re.fullmatch(r"|Unnamed: 0(\.\d+)?", name):
        return frame
    values, rows = frame[name], np.arange(len(frame))
    if not pd.api.types.is_integer_dtype(values) or not any(np.array_equal(values, rows + first) for first in (0, 1)):
        return frame
    logger.info("The first column has no name and counts the rows: a saved index, left out.")
    return frame.drop(columns=name)
