"""Read rows from a data frame, a dict of columns, a list of dicts, or a table file."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa

from tabvision.data.tables.delimited import CSV_SUFFIXES, read_csv, with_exact_integers, without_compression
from tabvision.errors import BadTypeError, BadValueError, MissingFileError, closest, count, listed

logger = logging.getLogger("tabvision")

Source: TypeAlias = pd.DataFrame | dict[str, Any] | list[dict[str, Any]] | str | Path
"""A source of rows: a frame, a dict of columns, a list of rows (dicts), or the path of a table file."""


def read_frame(source: Source, *, encoding: str | None = None, text: Collection[str] = ()) -> pd.DataFrame:
    """Return the rows of a source as a data frame, and log what is not read as it stands, such as a saved index.

    Args:
        source: A frame (returned as it is, not copied), a dict of columns, a list of rows as dicts, or the path of a
            file: .csv, .tsv, .txt (each also .gz, .bz2, .xz, .zip), .parquet, .pq, .feather, .arrow, .json, .jsonl.
        encoding: The encoding of a text file; None means UTF-8, with or without a byte order mark.
        text: Columns of a delimited text file to read as text even if the values look like numbers.

    Raises:
        BadTypeError: The source has another type.
        MissingFileError: The file does not exist.
        BadValueError: The file cannot be read or has no rows, or the column names are not unique text.

    Example:
        >>> read_frame({"age": [31, 42]}).shape
        (2, 1)
    """
    if isinstance(source, str | Path):
        frame = _read_file(source, encoding, text)
    elif isinstance(source, pd.DataFrame):
        frame = source
    elif isinstance(source, dict) or (isinstance(source, list) and all(isinstance(row, dict) for row in source)):
        frame = _frame_of(source)
    else:
        wanted = "a DataFrame, a dict of columns, a list of dicts or a path"
        raise BadTypeError(f"the source must be {wanted}, got {type(source).__name__}", "Pass one of these")
    _check_columns(frame)
    if not len(frame):
        origin = f"{str(source)!r}" if isinstance(source, str | Path) else "the source"
        raise BadValueError(f"{origin} has columns but no rows", "Pass data with at least one row")
    return frame


def _frame_of(source: dict[str, Any] | list[dict[str, Any]]) -> pd.DataFrame:
    try:
        return _typed(source)
    except ValueError as error:
        remedy = 'Give every column a list of the same length, such as {"age": [31]}'
        raise BadValueError(f"the columns do not make a table: {_first_line(error)}", remedy) from error


def _typed(source: Any) -> pd.DataFrame:  # noqa: ANN401 - whatever JSON or a user holds
    """Return a frame of plain values, with integers beside missing values as Int64."""
    frame = pd.DataFrame(source)

    def values(name: str) -> list[Any]:
        if isinstance(source, dict) and isinstance(column := source[name], dict):
            return [column.get(label) for label in frame.index]
        return list(pd.DataFrame(source, columns=[name], dtype=object)[name])

    return with_exact_integers(frame, lambda names: pd.DataFrame({name: pd.array(values(name)) for name in names}))


def _check_columns(frame: pd.DataFrame) -> None:
    """Raise if a column name is not text or occurs more than once, or if there are no columns."""
    for name in frame.columns:
        if not isinstance(name, str):
            problem = f"column names must be text, got {name!r} ({type(name).__name__})"
            raise BadTypeError(problem, "Rename them, for instance frame.columns = frame.columns.map(str)")
    if not frame.columns.is_unique:
        twice = sorted(set(frame.columns[frame.columns.duplicated()]))
        problem = f"{count(len(twice), 'column name')} stand more than once: {listed([repr(name) for name in twice])}"
        raise BadValueError(problem.replace("name stand", "name stands"), "Rename or remove one of each")
    if not len(frame.columns):
        raise BadValueError("the source has no columns", "Pass data with at least one column")


def _read_file(source: str | Path, encoding: str | None, text: Collection[str]) -> pd.DataFrame:
    if re.match(r"[a-zA-Z][a-zA-Z0-9+.-]+://", str(source)):
        raise BadValueError(f"{str(source)!r} is an address, not a file", "Download it first, then pass its path")
    path = Path(source).expanduser()
    _check_file(path)
    suffix = without_compression(path).suffix.lower()
    if suffix in CSV_SUFFIXES:
        frame = read_csv(path, encoding=encoding, text=text)
    elif path.suffix.lower() in _BINARY_READERS:
        frame = _read_binary(path)
    else:
        raise _unknown_format(path)
    frame = _without_saved_index(frame)
    if nameless := [repr(name) for name in frame.columns if re.fullmatch(r"Unnamed: \d+", str(name))]:
        logger.info(f"{count(len(nameless), 'column')} without a name, called {listed(nameless)}.")
    return frame


def _unknown_format(path: Path) -> BadValueError:
    problem = f"{path.name!r} has no suffix that names a table format"
    if (inner := without_compression(path)) != path and not inner.suffix:
        remedy = f"Name it after what is in it, such as {f'{inner.name}.csv{path.suffix}'!r}"
        return BadValueError(problem, remedy)
    known = ", ".join([*CSV_SUFFIXES, *_BINARY_READERS])
    return BadValueError(problem, f"Known are {known}, and text also as .gz, .bz2, .xz, .zip; save it as one of them")


def _check_file(path: Path) -> None:
    if path.is_dir():
        raise BadValueError(f"{str(path)!r} is a folder, not a table file", "Pass the path of a file in it")
    if path.is_file():
        return
    if not path.parent.is_dir():
        raise MissingFileError(f"no file {str(path)!r}: there is no folder {str(path.parent)!r}", "Check the path")
    close = closest(path.name, [entry.name for entry in path.parent.iterdir()])
    remedy = f"Did you mean {str(path.with_name(close))!r}?" if close else "Check the path"
    raise MissingFileError(f"no file {str(path)!r}", remedy)


def _read_json(path: Path) -> pd.DataFrame:
    """Read JSON without pandas' reader, which infers dates from a column's name and numbers from text."""
    text = path.read_text(encoding="utf-8")
    if path.suffix.lower() == ".jsonl":
        return _typed([json.loads(line) for line in text.splitlines() if line.strip()])
    return _typed(json.loads(text))


def _read_parquet(path: Path) -> pd.DataFrame:
    read = partial(pd.read_parquet, path)
    return with_exact_integers(read(), lambda names: read(columns=names, dtype_backend="numpy_nullable"))


def _read_feather(path: Path) -> pd.DataFrame:
    read = partial(pd.read_feather, path)
    return with_exact_integers(read(), lambda names: read(columns=names, dtype_backend="numpy_nullable"))


_BINARY_READERS: dict[str, Callable[[Path], pd.DataFrame]] = {
    ".parquet": _read_parquet,
    ".pq": _read_parquet,
    ".feather": _read_feather,
    ".arrow": _read_feather,
    ".json": _read_json,
    ".jsonl": _read_json,
}


def _read_binary(path: Path) -> pd.DataFrame:
    """Read a file, and make an index that has a name a column again, as it was before pandas wrote the file."""
    if path.stat().st_size == 0:
        raise BadValueError(f"{str(path)!r} is empty (0 bytes)", "Pass a file with rows")
    suffix = path.suffix.lower()
    try:
        frame = _BINARY_READERS[suffix](path)
    except (ValueError, OSError, pa.ArrowException) as error:  # ArrowInvalid derives from ValueError
        problem = f"{str(path)!r} cannot be read as {suffix}: {_first_line(error)}"
        raise BadValueError(problem, "It may be damaged or in another format; write it again") from error
    names = [name for name in frame.index.names if name is not None]
    if not names:
        return frame
    logger.info(f"The file's index is read as a column: {listed([repr(name) for name in names])}.")
    return frame.reset_index(names)


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")


def _without_saved_index(frame: pd.DataFrame) -> pd.DataFrame:
    """Drop a first column of row numbers that `to_csv` or R's `write.csv` has saved."""
    name = frame.columns[0] if len(frame.columns) > 1 else None
    if not isinstance(name, str) or not re.fullmatch(r"|Unnamed: 0(\.\d+)?", name):
        return frame
    values, rows = frame[name], np.arange(len(frame))
    if not pd.api.types.is_integer_dtype(values) or not any(np.array_equal(values, rows + first) for first in (0, 1)):
        return frame
    logger.info("The first column has no name and counts the rows: a saved index, left out.")
    return frame.drop(columns=name)
