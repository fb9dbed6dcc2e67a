"""A raw column in one of four plain forms (text, numbers, timestamps, levels), and conversions between them.

`frame.py` reads every pandas storage as one of these, so that no other file has to check dtypes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal, final, get_args

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from typing_extensions import override

from tabvision.errors import BadTypeError, BadValueError, asking, count
from tabvision.plain import LARGEST_EXACT, shortest_decimals
from tabvision.preprocess.parse import (
    EPOCH,
    NO_DATE,
    UNIX_UNITS,
    is_blank,
    parse_date,
    parse_dates,
    parse_number,
    unix_timestamps,
)
from tabvision.schema import DateFormat, DateOrder, NumberFormat

NumberKind = Literal["boolean", "integer", "float", "duration"]
MAX_SHOWN = 3  # the most offending values to show in an error
_row_labels: ContextVar[Callable[[Sequence[int]], Sequence[object]]] = ContextVar("row_labels", default=list)


class Column(ABC):
    """A raw column: `Text`, `Numbers`, `Timestamps` or `Levels`."""

    @abstractmethod
    def take(self, rows: NDArray[np.int64]) -> Column:
        """Return the column for some rows."""

    @abstractmethod
    def all_missing(self) -> bool:
        """Return whether no row has a value."""

    @abstractmethod
    def to_numbers(self, name: str, form: NumberFormat = "strict", *, wanted: str | None = None) -> Numbers:
        """Return the column as numbers; text is parsed, and blank text is missing.

        Args:
            name: The column's name, for errors.
            form: The format of text.
            wanted: What the category held in training, "numbers" or "true or false", for the error about other text.

        Raises:
            BadTypeError: It holds dates, or a category's text cannot be read as `wanted`.
            BadValueError: Text cannot be read as a number.

        Example:
            >>> Text(pa.array(["1", None, "2.5"])).to_numbers("x").values
            array([1. , nan, 2.5])
        """

    @abstractmethod
    def to_timestamps(self, name: str, form: DateFormat = "iso") -> Timestamps:
        """Return the column as timestamps; text is parsed, and blank text is missing.

        Raises:
            BadTypeError: It holds numbers.
            BadValueError: Text is not a date in that format.

        Example:
            >>> Text(pa.array(["1970-01-02"])).to_timestamps("x").values
            array([86400000000])
        """

    @abstractmethod
    def to_labels(self) -> Text | Numbers | Levels:
        """Return the column as text, numbers, or levels of these; timestamps become levels of text."""


@final
@dataclass(frozen=True)
class Text(Column):
    """Strings, with null for missing values."""

    values: pa.ChunkedArray  # or a pa.Array

    @override
    def take(self, rows: NDArray[np.int64]) -> Text:
        return Text(self.values.take(rows))

    @override
    def all_missing(self) -> bool:
        return bool(self.values.null_count == len(self.values))

    def has_missing(self) -> bool:
        """Return whether a row has no value."""
        return bool(self.values.null_count)

    @override
    def to_numbers(self, name: str, form: NumberFormat = "strict", *, wanted: str | None = None) -> Numbers:
        return self._as_levels().to_numbers(name, form, wanted=wanted)

    @override
    def to_timestamps(self, name: str, form: DateFormat = "iso") -> Timestamps:
        return self._as_levels().to_timestamps(name, form)

    @override
    def to_labels(self) -> Text:
        return self

    def to_list(self) -> list[str | None]:
        """Return the strings, with None for missing values."""
        return list(self.values.to_pylist())

    def distinct(self) -> tuple[NDArray[Any], list[str]]:
        """Return each row's index among the distinct texts, -1 for missing, and the distinct texts."""
        codes, texts = dictionary_of(self.values)
        return codes, texts.to_pylist()

    def _as_levels(self) -> Levels:
        """Return the column as levels, so that each distinct text is parsed only once."""
        codes, texts = dictionary_of(self.values)
        return Levels(codes, Text(texts), ordered=False)

    def without_blank(self) -> Text:
        """Return the column with white space as missing.

        Example:
            >>> Text(pa.array(["a", " ", ""])).without_blank().to_list()
            ['a', None, None]
        """
        blank = pc.equal(pc.utf8_trim_whitespace(self.values), "")
        if not pc.any(blank).as_py():
            return self
        return Text(pc.if_else(blank, pa.scalar(None, self.values.type), self.values))


@final
@dataclass(frozen=True)
class Numbers(Column):
    """Numbers or bools as a numpy array, with NaN for missing values (then of floats, whatever `kind` is).

    Args:
        values: The numbers, for computing.
        kind: Their type before missing values turned them into floats.
        exact: If `values` holds floats that have lost digits: each row's index among the distinct numbers, -1 for missing,
            and these numbers, exact. Categories are looked up with them.
    """

    values: NDArray[Any]
    kind: NumberKind
    exact: tuple[NDArray[Any], list[Any]] | None = None

    @override
    def take(self, rows: NDArray[np.int64]) -> Numbers:
        exact = None if self.exact is None else (self.exact[0].take(rows), self.exact[1])
        return Numbers(self.values.take(rows), self.kind, exact)

    @override
    def all_missing(self) -> bool:
        return not len(self.values) or (self.values.dtype.kind == "f" and bool(np.isnan(self.values).all()))

    def has_missing(self) -> bool:
        """Return whether a row has no value."""
        return self.values.dtype.kind == "f" and bool(np.isnan(self.values).any())

    @override
    def to_numbers(self, name: str, form: NumberFormat = "strict", *, wanted: str | None = None) -> Numbers:
        return self

    @override
    def to_timestamps(self, name: str, form: DateFormat = "iso") -> Timestamps:
        codes, distinct = self.distinct()
        if form in UNIX_UNITS:
            dates = unix_timestamps(np.array(distinct, dtype=np.float64), form)
        else:
            found = [parse_date(str(int(it)), form) if form == "Ymd" and it % 1 == 0 else None for it in distinct]
            dates = np.array([NO_DATE if it is None else it for it in found], dtype=np.int64)
        if (is_wrong := dates == NO_DATE).any():
            problem = f"column {name!r} must hold dates, got numbers such as {distinct[is_wrong.argmax()]!r}"
            unit = asking("dates", f"{name}=s")
            raise BadTypeError(
                problem, f"For Unix time, state the unit when fitting, {unit}, or write dates as 20241231"
            )
        return Timestamps(_look_up(dates, codes, NO_DATE))

    @override
    def to_labels(self) -> Numbers:
        return self

    def example(self) -> float:
        """Return the first value that is not missing."""
        return self.values[~np.isnan(self.values)][0].item()  # type: ignore[no-any-return]  # numpy does not say

    def to_list(self) -> list[Any]:
        """Return Python numbers of the original kind, with None for missing values.

        A float of less than 64 bits becomes the shortest decimal that represents it.

        Example:
            >>> Numbers(np.array([0.1, np.nan], np.float32), "float").to_list()
            [0.1, None]
        """
        as_kind: Any = {"boolean": bool, "integer": int}.get(self.kind, float)
        values = shortest_decimals(self.values) if self.values.dtype.kind == "f" else self.values
        return [None if value != value else as_kind(value) for value in values.tolist()]  # noqa: PLR0124

    def distinct(self) -> tuple[NDArray[Any], list[Any]]:
        """Return each row's index among the distinct numbers, -1 for missing, and the distinct numbers, exact.

        Example:
            >>> Numbers(np.array([5.0, np.nan, 5.0]), "integer").distinct()
            (array([ 0, -1,  0]), [5])
        """
        if self.exact is not None:
            return self.exact
        codes, distinct = pd.factorize(self.values)
        return codes, Numbers(distinct, self.kind).to_list()


@final
@dataclass(frozen=True)
class Timestamps(Column):
    """Dates and times as int64 microseconds since 1970 in UTC, with `NO_DATE` for missing values."""

    values: NDArray[np.int64]
    zone: str = ""

    @override
    def take(self, rows: NDArray[np.int64]) -> Timestamps:
        return Timestamps(self.values.take(rows), self.zone)

    @override
    def all_missing(self) -> bool:
        return bool((self.values == NO_DATE).all())

    @override
    def to_numbers(self, name: str, form: NumberFormat = "strict", *, wanted: str | None = None) -> Numbers:
        if self.all_missing():
            return Numbers(np.full(len(self.values), np.nan), "float")
        remedy = f"Pass {asking('dates', name)} when fitting, or convert it to a number yourself"
        raise BadTypeError(f"column {name!r} must hold numbers, got dates", remedy)

    @override
    def to_timestamps(self, name: str, form: DateFormat = "iso") -> Timestamps:
        return self

    @override
    def to_labels(self) -> Levels:
        codes, distinct = pd.factorize(self.values)
        return Levels(codes, Timestamps(distinct).to_text(), ordered=False)

    def to_text(self) -> Text:
        """Return the timestamps as text, such as "1970-01-01 00:00:00"."""
        texts = [None if it == NO_DATE else str(EPOCH + timedelta(microseconds=int(it))) for it in self.values]
        return Text(pa.array(texts, pa.large_string()))


@final
@dataclass(frozen=True)
class Levels(Column):
    """A pandas category: the index of each row's value, -1 for missing, and the values."""

    codes: NDArray[Any]
    values: Text | Numbers | Timestamps
    ordered: bool

    @override
    def take(self, rows: NDArray[np.int64]) -> Levels:
        return Levels(self.codes.take(rows), self.values, self.ordered)

    @override
    def all_missing(self) -> bool:
        return bool((self.codes < 0).all())

    @override
    def to_numbers(self, name: str, form: NumberFormat = "strict", *, wanted: str | None = None) -> Numbers:
        if not isinstance(self.values, Text):
            inner = self.values.to_numbers(name, form, wanted=wanted)
            return Numbers(_look_up(inner.values.astype(np.float64), self.codes, np.nan), inner.kind)
        texts = self.values.values.to_pylist()
        parsed = [parse_number(text, form) for text in texts]
        numbers = np.array(parsed, dtype=np.float64)  # None becomes NaN
        if form == "strict" and (found := self._found_texts(texts, np.isnan(numbers))):
            remedy = "Correct them, or set them to missing"
            problem = f"column {name!r} must hold {wanted or 'numbers'}, got text that cannot be read as such: {found}"
            if wanted is not None:
                raise BadTypeError(problem, remedy)
            raise BadValueError(
                problem, f"{remedy}; or use it as text: pass {asking('categorical', name)} when fitting"
            )
        exact = (self.codes, parsed) if lack_digits(numbers) else None
        return Numbers(_look_up(numbers, self.codes, np.nan), "float", exact)

    @override
    def to_timestamps(self, name: str, form: DateFormat = "iso") -> Timestamps:
        if not isinstance(self.values, Text):
            return Timestamps(_look_up(self.values.to_timestamps(name, form).values, self.codes, NO_DATE))
        timestamps = parse_dates(self.values.values, form)
        if found := self._found_texts(self.values.to_list(), timestamps == NO_DATE):
            raise _unreadable_dates(self.values, name, form, found)
        return Timestamps(_look_up(timestamps, self.codes, NO_DATE))

    @override
    def to_labels(self) -> Levels:
        if isinstance(self.values, Timestamps):
            return Levels(self.codes, self.values.to_text(), self.ordered)
        return self

    def distinct(self) -> tuple[NDArray[Any], list[Any]]:
        """Return each row's index among the category's values, -1 for missing, and all values, even those in no row."""
        assert not isinstance(self.values, Timestamps), "called after `to_labels`, which leaves none"
        return self.codes, self.values.to_list()

    def _found_texts(self, texts: Sequence[str | None], is_bad: NDArray[np.bool_]) -> str:
        """Return text on how many rows have a bad value that is not blank, with the first of them; "" if none has."""
        is_bad = is_bad & ~np.array([is_blank(text) for text in texts], dtype=bool)
        bad = np.flatnonzero(np.append(is_bad, False)[self.codes]) if is_bad.any() else ()
        if not len(bad):  # only unused levels of the category are bad
            return ""
        first = [int(row) for row in bad[:MAX_SHOWN]]
        return found_rows(len(bad), first, [texts[int(self.codes[row])] for row in first])


@contextmanager
def rows_named(row_labels: Callable[[Sequence[int]], Sequence[object]]) -> Iterator[None]:
    """Name rows in errors by the labels that a function returns for their numbers.

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
    """Return text on how many values are bad, with the first of them and their rows, named as by `rows_named`.

    Example:
        >>> found_rows(2, [0, 7], ["n/a", "-"])
        "2 values, first 'n/a' (row 0), '-' (row 7)"
    """
    labels = _row_labels.get()(rows)
    shown = ", ".join(f"{value!r} (row {label!r})" for label, value in zip(labels, values, strict=True))
    return f"{count(number, 'value')}, first {shown}"


def dictionary_of(values: pa.ChunkedArray) -> tuple[NDArray[Any], pa.Array]:
    """Return each row's index among the distinct values, -1 for missing, and the distinct values.

    Example:
        >>> codes, distinct = dictionary_of(pa.chunked_array([[5, None, 5]]))
        >>> codes.tolist(), distinct.to_pylist()
        ([0, -1, 0], [5])
    """
    encoded = pc.dictionary_encode(values)
    encoded = encoded.combine_chunks() if isinstance(encoded, pa.ChunkedArray) else encoded
    return pc.fill_null(encoded.indices, -1).to_numpy(), encoded.dictionary


def lack_digits(numbers: NDArray[np.float64]) -> bool:
    """Return whether any number is so large that floats skip integers near it.

    Example:
        >>> lack_digits(np.array([1.5, np.nan])), lack_digits(np.array([2.0**53]))
        (False, True)
    """
    return bool((np.abs(numbers) >= LARGEST_EXACT).any())


def _look_up(values: NDArray[Any], codes: NDArray[Any], filler: float) -> NDArray[Any]:
    """Return the value at each code, and `filler` for code -1, which would read the last entry."""
    return np.asarray(np.append(values, np.array([filler], dtype=values.dtype))[codes])


def _unreadable_dates(text: Text, name: str, form: DateFormat, found: str) -> BadValueError:
    """Return the error for text that is not dates in a format; it suggests an order in which all of it can be read."""
    orders = (it for it in get_args(DateOrder) if (parse_dates(text.values, it) != NO_DATE).all())
    order = next(orders, "d/m/Y" if form == "iso" else None)
    wanted = f"Unix time in {form}" if form in UNIX_UNITS else f"dates in the order {form}"
    remedy = "Write them in that form or as 2024-12-31"
    if form == "iso":
        wanted = "ISO dates (2024-12-31 or 2024-12-31 23:59)"
        remedy = f"Convert it first, such as pd.to_datetime(frame[{name!r}], dayfirst=True)"
    if order:
        remedy += f", or state the order when fitting: {asking('dates', f'{name}={order}')}"
    return BadValueError(f"column {name!r} must hold {wanted}, got text that cannot be read as such: {found}", remedy)
