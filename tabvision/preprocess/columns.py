"""A raw pandas column of whatever dtype, read as one of four plain things: text, numbers, timestamps or levels.

Every pandas storage ends here (numpy, nullable, pyarrow, categories, sparse, plain objects), so that nothing behind
this file asks for a dtype. Reading copies nothing where the storage allows.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tabvision.errors import BadValueError, asking
from tabvision.preprocess.parse import NO_DATE, as_float, common_family, microseconds, seconds, unreadable_column

NumberKind = Literal["boolean", "integer", "float"]
_DAY = 86_400_000_000  # microseconds
_EARLIEST, _LATEST = -719_162, 2_932_896  # days from 1970 to year 1 and to the end of year 9999
_PER_UNIT = {"D": _DAY, "s": 1_000_000, "ms": 1_000, "us": 1}


@dataclass(frozen=True)
class Text:
    """Strings, missing ones null."""

    values: pa.ChunkedArray  # or a pa.Array


@dataclass(frozen=True)
class Numbers:
    """Numbers or truth values: a numpy array, missing ones NaN (then it is of floats, whatever `kind` says)."""

    values: NDArray[Any]
    kind: NumberKind


@dataclass(frozen=True)
class Timestamps:
    """Dates and times: int64 microseconds since 1970 in UTC, missing ones `NO_DATE`."""

    values: NDArray[np.int64]
    zone: str = ""


@dataclass(frozen=True)
class Levels:
    """A pandas category: for each row the index of its value, -1 where missing."""

    codes: NDArray[Any]
    values: Text | Numbers | Timestamps
    ordered: bool


Column: TypeAlias = Text | Numbers | Timestamps | Levels


def read_column(column: pd.Series, name: str) -> Column:
    """Reads a pandas column.

    Raises:
        BadTypeError: Mixed types, or values that no network reads (lists, complex numbers, bytes).
        BadValueError: Dates outside the years 1 to 9999.

    Example:
        >>> read_column(pd.Series([1, None], dtype="Int64"), "x")
        Numbers(values=array([ 1., nan]), kind='integer')
    """
    dtype = column.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        values = read_column(pd.Series(dtype.categories), name)
        assert not isinstance(values, Levels), "categories are not themselves categories"
        return Levels(column.cat.codes.to_numpy(), values, bool(dtype.ordered))
    if isinstance(dtype, pd.SparseDtype):
        return read_column(column.sparse.to_dense(), name)
    if isinstance(dtype, pd.IntervalDtype):
        return Text(_strings(column, column.isna()))
    if isinstance(dtype, pd.PeriodDtype):
        return read_column(column.dt.to_timestamp(), name)
    if isinstance(dtype, pd.DatetimeTZDtype):
        timestamps = read_column(column.dt.tz_convert("UTC").dt.tz_localize(None), name)
        return Timestamps(timestamps.values, str(dtype.tz))  # type: ignore[arg-type]  # of plain datetimes
    if not isinstance(dtype, np.dtype):
        return _read_arrow(column.array.__arrow_array__(), name)
    return _read_numpy(column.to_numpy(), name)


def _read_numpy(values: NDArray[Any], name: str) -> Column:
    kind = values.dtype.kind
    if kind == "O":
        return _read_objects(values, name)
    if kind in "biuf":
        return Numbers(values, "boolean" if kind == "b" else "float" if kind == "f" else "integer")
    if kind == "M":
        return Timestamps(_to_microseconds(values.view(np.int64), np.datetime_data(values.dtype)[0], name))
    if kind == "m":
        ticks = values.astype("timedelta64[us]").view(np.int64)
        return Numbers(np.where(ticks == NO_DATE, np.nan, ticks / 1e6), "float")
    raise unreadable_column(name, f"{values.dtype} numbers" if kind == "c" else f"dtype {values.dtype}")


def _read_arrow(values: pa.ChunkedArray, name: str) -> Column:
    values = pa.chunked_array([values]) if isinstance(values, pa.Array) else values
    kind, types = values.type, pa.types
    if types.is_dictionary(kind):
        return _read_arrow(values.cast(kind.value_type), name)
    if types.is_string(kind) or types.is_large_string(kind):
        return Text(values)
    if types.is_string_view(kind):
        return Text(values.cast(pa.large_string()))
    if types.is_null(kind):
        return Numbers(np.full(len(values), np.nan), "float")
    if types.is_timestamp(kind) or types.is_date(kind):
        return _read_arrow_dates(values, name)
    if types.is_duration(kind):
        return _read_numpy(values.to_numpy(), name)
    if types.is_boolean(kind) or types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind):
        return _read_arrow_numbers(values)
    raise unreadable_column(name, f"pyarrow {kind}")


def _read_arrow_numbers(values: pa.ChunkedArray) -> Numbers:
    kind: NumberKind = "float"
    if pa.types.is_boolean(values.type) or pa.types.is_integer(values.type):
        kind = "boolean" if pa.types.is_boolean(values.type) else "integer"
    if values.null_count or pa.types.is_decimal(values.type):
        return Numbers(values.cast(pa.float64(), safe=False).to_numpy(), kind)
    return Numbers(values.to_numpy(), kind)


def _read_arrow_dates(values: pa.ChunkedArray, name: str) -> Timestamps:
    unit = "D" if pa.types.is_date(values.type) else values.type.unit
    values = values.cast(pa.date32()) if pa.types.is_date64(values.type) else values
    ticks = values.cast(pa.int32() if unit == "D" else pa.int64()).cast(pa.int64())
    ticks = pc.fill_null(ticks, int(NO_DATE)).to_numpy()
    zone = "" if unit == "D" else values.type.tz or ""
    return Timestamps(_to_microseconds(ticks, unit, name), zone)


def _read_objects(values: NDArray[Any], name: str) -> Column:
    try:
        missing = pd.isna(values)
    except ArithmeticError as error:
        raise unreadable_column(name, "a signaling NaN") from error
    present = values[~missing] if missing.any() else values
    family = common_family(present, name)
    if family == "text":
        return Text(_text_of_objects(values, missing, name))
    if family == "date":
        timestamps = np.fromiter(map(microseconds, present), np.int64, len(present))
        return Timestamps(_with_missing(timestamps, missing, NO_DATE))
    if family == "boolean":
        return Numbers(_with_missing(present.astype(bool), missing, np.nan), "boolean")
    whole = family == "number" and all(issubclass(kind, int | np.integer) for kind in set(map(type, present)))
    if whole and max(abs(max(present)), abs(min(present))) >= 2**63:  # as floats, many of them would be one
        return Text(_strings(values, missing))
    if whole and not missing.any():
        return Numbers(present.astype(np.int64), "integer")
    numbers = np.fromiter(map(seconds if family == "duration" else as_float, present), np.float64, len(present))
    return Numbers(_with_missing(numbers, missing, np.nan), "integer" if whole else "float")


def _text_of_objects(values: NDArray[Any], missing: NDArray[np.bool_], name: str) -> pa.Array:
    if pd.Interval in set(map(type, values)):
        return _strings(values, missing)
    try:
        return pa.array(values, pa.large_string(), mask=missing)
    except UnicodeEncodeError as error:
        problem = f"column {name!r} holds text that is not valid Unicode: {error.object!r}"
        raise BadValueError(problem, "Read the file again with its own encoding") from error


def _strings(values: Iterable[object], missing: Iterable[object]) -> pa.Array:
    texts = [None if is_missing else str(value) for value, is_missing in zip(values, missing, strict=True)]
    return pa.array(texts, pa.large_string())


def _with_missing(present: NDArray[Any], missing: NDArray[np.bool_], filler: float) -> NDArray[Any]:
    """Return the present values in their rows, `filler` in the missing ones."""
    if len(present) == len(missing):
        return present
    full = np.full(len(missing), filler, dtype=present.dtype if present.dtype.kind == "i" else np.float64)
    full[~missing] = present
    return full


def _to_microseconds(ticks: NDArray[np.int64], unit: str, name: str) -> NDArray[np.int64]:
    missing = ticks == NO_DATE
    known = ticks[~missing] if missing.any() else ticks
    per_day = _DAY * 1_000 if unit == "ns" else _DAY // _PER_UNIT[unit]
    if len(known) and not _EARLIEST <= int(known.min()) // per_day <= int(known.max()) // per_day <= _LATEST:
        problem = f"column {name!r} holds dates outside the years 1 to 9999"
        raise BadValueError(problem, f"Correct them, or leave the column out: {asking('ignore', name)}")
    if unit == "us":
        return ticks
    micros = ticks // 1_000 if unit == "ns" else ticks * _PER_UNIT[unit]
    return np.where(missing, NO_DATE, micros) if len(known) < len(ticks) else micros
