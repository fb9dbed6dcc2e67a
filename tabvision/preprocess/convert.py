"""A column converted to numbers, timestamps or labels, and the sentences where that cannot be."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tabvision.errors import BadTypeError, BadValueError, TabvisionError, asking, count
from tabvision.preprocess.columns import Column, Levels, Numbers, Text, Timestamps
from tabvision.preprocess.parse import DATE_PATTERN, NO_DATE, date_text, parse_number

MAX_SHOWN = 3  # offending values in a sentence
_row_labels: ContextVar[Callable[[Sequence[int]], Sequence[object]]] = ContextVar("row_labels", default=list)


def to_numbers(column: Column, name: str, *, wrong: type[TabvisionError] = BadValueError) -> Numbers:
    """Return the column as numbers; text is parsed.

    Raises:
        BadTypeError: It holds dates.
        BadValueError: Text does not read as a number (or the class that `wrong` names).

    Example:
        >>> to_numbers(Text(pa.array(["1", None, "2.5"])), "x").values
        array([1. , nan, 2.5])
    """
    if isinstance(column, Numbers):
        return column
    if isinstance(column, Levels) and not isinstance(column.values, Text):
        inner = to_numbers(column.values, name, wrong=wrong)
        return Numbers(_at(inner.values.astype(np.float64), column.codes, np.nan), inner.kind)
    if isinstance(column, Timestamps):
        if (column.values == NO_DATE).all():
            return Numbers(np.full(len(column.values), np.nan), "float")
        remedy = f"When fitting pass {asking('dates', name)}, or turn it into a number yourself"
        raise BadTypeError(f"column {name!r} must hold numbers, got dates", remedy)
    codes, labels = _distinct(column)
    numbers = np.array([parse_number(label) for label in labels.to_pylist()], dtype=np.float64)  # None becomes NaN
    if found := _unread(np.isnan(numbers), codes, labels):
        remedy = "Correct them, or set them to missing"
        remedy += f"; or when fitting take it for text: {asking('categorical', name)}" if wrong is BadValueError else ""
        raise wrong(f"column {name!r} must hold numbers, got text that does not read as one: {found}", remedy)
    return Numbers(_at(numbers, codes, np.nan), "float")


def to_timestamps(column: Column, name: str) -> Timestamps:
    """Return the column as timestamps; text is read as ISO dates.

    Raises:
        BadTypeError: It holds numbers.
        BadValueError: Text is not an ISO date.

    Example:
        >>> to_timestamps(Text(pa.array(["1970-01-02"])), "x").values
        array([86400000000])
    """
    if isinstance(column, Timestamps):
        return column
    if isinstance(column, Levels) and not isinstance(column.values, Text):
        return Timestamps(_at(to_timestamps(column.values, name).values, column.codes, NO_DATE))
    if isinstance(column, Numbers):
        if not all_missing(column):
            example = column.values[~np.isnan(column.values)][0].item()
            remedy = f"Convert it first, such as pd.to_datetime(frame[{name!r}], unit='s')"
            raise BadTypeError(f"column {name!r} must hold dates, got numbers such as {example!r}", remedy)
        return Timestamps(np.full(len(column.values), NO_DATE))
    codes, labels = _distinct(column)
    timestamps = dates_of(labels)
    if found := _unread(timestamps == NO_DATE, codes, labels):
        problem = (
            f"column {name!r} must hold ISO dates (2024-12-31 or 2024-12-31 23:59), got text that is none: {found}"
        )
        raise BadValueError(problem, f"Convert it first, such as pd.to_datetime(frame[{name!r}], dayfirst=True)")
    return Timestamps(_at(timestamps, codes, NO_DATE))


def to_labels(column: Column) -> Column:
    """Return the column as text or numbers; timestamps become levels of text."""
    if isinstance(column, Levels) and isinstance(column.values, Timestamps):
        labels = pa.array([date_text(int(timestamp)) for timestamp in column.values.values], pa.large_string())
        return Levels(column.codes, Text(labels), column.ordered)
    if isinstance(column, Timestamps):
        codes, timestamps = pd.factorize(column.values)
        labels = pa.array(
            [None if timestamp == NO_DATE else date_text(int(timestamp)) for timestamp in timestamps], pa.large_string()
        )
        return Levels(codes, Text(labels), ordered=False)
    return column


def all_missing(column: Column) -> bool:
    """Return whether no row has a value."""
    if isinstance(column, Levels):
        return bool((column.codes < 0).all())
    if isinstance(column, Text):
        return bool(column.values.null_count == len(column.values))
    if isinstance(column, Timestamps):
        return bool((column.values == NO_DATE).all())
    values = column.values
    return not len(values) or (values.dtype.kind == "f" and bool(np.isnan(values).all()))


@contextmanager
def rows_named(row_labels: Callable[[Sequence[int]], Sequence[object]]) -> Iterator[None]:
    """Name rows in error messages by the labels that a function returns for row numbers.

    Example:
        >>> with rows_named(lambda rows: ["ab"[row] for row in rows]):
        ...     found_rows(1, [1], ["n/a"])
        "1 value, first 'n/a' (row 'b')"
    """
    token = _row_labels.set(row_labels)
    try:
        yield
    finally:
        _row_labels.reset(token)


def found_rows(number: int, rows: Sequence[int], values: Sequence[object]) -> str:
    """Return how many values offend, and the first of them with their rows, as `rows_named` names them.

    Example:
        >>> found_rows(2, [0, 7], ["n/a", "-"])
        "2 values, first 'n/a' (row 0), '-' (row 7)"
    """
    labels = _row_labels.get()(rows)
    shown = ", ".join(f"{value!r} (row {label!r})" for label, value in zip(labels, values, strict=True))
    return f"{count(number, 'value')}, first {shown}"


def dates_of(text: pa.Array) -> NDArray[np.int64]:
    """Return the timestamps that text writes as ISO dates, `NO_DATE` for other text.

    Example:
        >>> dates_of(pa.array(["1970-01-02", "02.01.1970"])) > NO_DATE
        array([ True, False])
    """
    iso = pc.if_else(pc.match_substring_regex(text, f"^({DATE_PATTERN})$"), text, pa.scalar(None, text.type))
    dates = pd.to_datetime(pd.Series(pd.array(iso, dtype="str")), format="ISO8601", utc=True, errors="coerce")
    return np.asarray(dates.dt.tz_localize(None).to_numpy().astype("datetime64[us]").view(np.int64))


def _unread(unread: NDArray[np.bool_], codes: NDArray[Any], labels: pa.Array) -> str:
    """Return how many rows have a text that does not read, with the first of them; nothing if all do."""
    bad = np.flatnonzero(np.append(unread, False)[codes]) if unread.any() else np.array([], dtype=np.int64)
    if not len(bad):  # perhaps no row has the text: a category may have unused levels
        return ""
    first = bad[:MAX_SHOWN].tolist()
    return found_rows(len(bad), first, [labels[int(codes[row])].as_py() for row in first])


def _distinct(column: Text | Levels) -> tuple[NDArray[Any], pa.Array]:
    """Return for each row the index of its text among the distinct ones, -1 where missing; and these."""
    if isinstance(column, Levels):
        return column.codes, column.values.values
    encoded = pc.dictionary_encode(column.values)
    encoded = encoded.combine_chunks() if isinstance(encoded, pa.ChunkedArray) else encoded
    return pc.fill_null(encoded.indices, -1).to_numpy(), encoded.dictionary


def _at(values: NDArray[Any], codes: NDArray[Any], filler: float) -> NDArray[Any]:
    """Return the value at each code, `filler` at code -1, which reads the last entry."""
    return np.asarray(np.append(values, np.array([filler], dtype=values.dtype))[codes])
