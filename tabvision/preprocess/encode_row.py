"""Encode single raw rows, in microseconds for common values, without creating pandas objects.

Rows with uncommon values (a Decimal, mixed types, text that does not parse, an infinity) are encoded as a frame, so that
the answer or the error is the same by construction. A property test checks that both encodings agree on random rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from typing import Any, TypeAlias, final

import numpy as np
import pandas as pd

from tabvision.errors import BadTypeError, MissingColumnsError, accepting_who, speaking
from tabvision.plain import LARGEST_EXACT, codes_by_label
from tabvision.preprocess.categories import family_of_vocabulary
from tabvision.preprocess.datetimes import parts_of_timestamp
from tabvision.preprocess.encode import Arrays, Prepared, Source, sources_of, to_arrays
from tabvision.preprocess.frame import PASS_TRAINING_COLUMNS
from tabvision.preprocess.parse import UNIX_UNITS, Raw, family_of, microseconds, parse_date, parse_number
from tabvision.schema import DateFormat, NumberFormat

Row: TypeAlias = Mapping[str, Raw]
Reader: TypeAlias = Callable[[Raw, list[float], list[int]], None]
"""A function that writes a raw value into the numbers and codes of a row."""

_INTEGERS = frozenset({int, bool, np.bool_, np.int64, np.int32, np.int16, np.int8, np.uint8})
_FLOATS = frozenset({float, np.float64})
_NUMBERS = _INTEGERS | _FLOATS | {np.float32}
_DATES = frozenset({datetime, date, pd.Timestamp})
_MISSING = frozenset({type(None), type(pd.NA), type(pd.NaT)})


class _UncommonError(Exception):
    """A value that only a frame can encode."""


@final
class RowEncoder:
    """Encode raw rows; build it once from a schema and call it many times.

    Args:
        prepared: A schema, or the result of `fit_features`.

    Example:
        >>> from tabvision.preprocess import Features
        >>> from tabvision.schema import Continuous
        >>> age = Continuous(name="age", source="age", mean=40.0, std=10.0, fill=40.0)
        >>> encode = RowEncoder(Features(dates=(), continuous=(age,), categorical=(), left_out=()))
        >>> encode([{"age": 50}, {"age": None}])[0].tolist()
        [[1.0], [0.0]]
    """

    @accepting_who
    @speaking()
    def __init__(self, prepared: Prepared) -> None:
        self._prepared = prepared
        makers = {"number": _number_reader, "category": _category_reader, "date": _date_reader}
        sources = sources_of(prepared)
        self._readers = [(source.name, makers[source.kind](source)) for source in sources]
        self._unmixed = [it.name for it in sources if it.kind != "number" or it.form == "strict"]
        self._means = np.array([column.mean for column in prepared.continuous], dtype=np.float64)
        self._stds = np.array([column.std for column in prepared.continuous], dtype=np.float64)
        self._num_codes = len(prepared.categorical)

    @speaking()
    def __call__(self, rows: Sequence[Row]) -> Arrays:
        """Return the continuous and categorical columns of the rows, as `to_arrays` does.

        Raises:
            BadTypeError: The rows are not a list of mappings, or a value has another type than in training.
            MissingColumnsError: A row lacks a training column.
            BadValueError: A row has infinities, or text that cannot be read as a number or date.
        """
        if len(rows) > 1 and self._is_mixed(rows):
            return self._as_frame(rows)
        try:
            return self._quickly(rows)
        except (_UncommonError, KeyError, TypeError, OverflowError):
            return self._as_frame(rows)

    def _quickly(self, rows: Sequence[Row]) -> Arrays:
        numbers = np.empty((len(rows), len(self._means)), dtype=np.float64)
        codes = np.empty((len(rows), self._num_codes), dtype=np.int32)
        for index, row in enumerate(rows):
            row_numbers, row_codes = [0.0] * len(self._means), [0] * self._num_codes
            for name, read in self._readers:
                read(row[name], row_numbers, row_codes)
            numbers[index], codes[index] = row_numbers, row_codes
        numbers -= self._means
        with np.errstate(over="ignore", invalid="ignore"):
            continuous = np.divide(numbers, self._stds).astype(np.float32)
        if not np.isfinite(continuous).all():
            raise _UncommonError
        return continuous, codes

    def _is_mixed(self, rows: Sequence[Row]) -> bool:
        """Return whether a column mixes families of values, which a frame would reject; text may be a number."""
        for name in self._unmixed:
            kinds: set[type] = {type(row.get(name)) for row in rows if isinstance(row, Mapping)} - _MISSING
            if len(kinds) > 1 and len({family_of(kind) for kind in kinds}) > 1:
                return True
        return False

    def _as_frame(self, rows: Sequence[Row]) -> Arrays:
        self._check(rows)
        columns = {name: pd.Series([row[name] for row in rows], dtype=object) for name, _ in self._readers}
        return to_arrays(self._prepared, pd.DataFrame(columns))

    def _check(self, rows: Sequence[Row]) -> None:
        if isinstance(rows, Mapping | str) or not all(isinstance(row, Mapping) for row in rows):
            remedy = "Pass a list of dicts, one a row: [{'age': 41, …}]"
            raise BadTypeError(f"rows must be mappings from column to value, got {rows!r:.80}", remedy)
        for row in rows:
            if missing := [name for name, _ in self._readers if name not in row]:
                raise MissingColumnsError(missing, row, PASS_TRAINING_COLUMNS)


@accepting_who
@speaking("encode_rows")
def encode_rows(prepared: Prepared, rows: Sequence[Row]) -> Arrays:
    """Return the arrays for a few raw rows; for repeated calls, build a `RowEncoder` once.

    Example:
        >>> from tabvision.preprocess import Features
        >>> from tabvision.schema import Categorical
        >>> color = Categorical(name="color", source="color", vocabulary=("blue", "red"))
        >>> features = Features(dates=(), continuous=(), categorical=(color,), left_out=())
        >>> encode_rows(features, [{"color": "red"}, {"color": "green"}])[1].tolist()
        [[2], [0]]
    """
    return RowEncoder(prepared)(rows)


def _number_reader(source: Source) -> Reader:
    """Return the reader of a number, its indicator of missing values and the category of its values."""
    fills = [(index, column.fill) for index, column in source.continuous]
    indicators = [index for index, category in source.categorical if category.part == "missing"]
    lookups = [
        (index, codes_by_label(category.vocabulary))
        for index, category in source.categorical
        if category.part == "value"
    ]
    form = source.form

    def read(value: Raw, numbers: list[float], codes: list[int]) -> None:
        found = _as_number(value, form)
        for index, fill in fills:
            numbers[index] = fill if found is None else found
        for index in indicators:
            codes[index] = 2 if found is None else 1
        for index, lookup in lookups:
            codes[index] = 0 if found is None else lookup.get(found, 0)

    return read


def _category_reader(source: Source) -> Reader:
    """Return the reader of a category's codes."""
    lookups = [
        (index, codes_by_label(column.vocabulary), family_of_vocabulary(column.vocabulary) == "text")
        for index, column in source.categorical
    ]

    def read(value: Raw, _numbers: list[float], codes: list[int]) -> None:
        for index, lookup, is_text in lookups:
            found = _as_text(value) if is_text else _as_exact_number(value)
            codes[index] = 0 if found is None else lookup.get(found, 0)

    return read


def _date_reader(source: Source) -> Reader:
    """Return the reader of a date's parts."""
    fills = [(index, column.part, column.fill) for index, column in source.continuous]
    lookups = [(index, column.part, codes_by_label(column.vocabulary)) for index, column in source.categorical]

    def read(value: Raw, numbers: list[float], codes: list[int]) -> None:
        timestamp = _as_timestamp(value, source.form)
        parts: dict[Any, float] = {} if timestamp is None else {**parts_of_timestamp(timestamp)}
        parts["missing"] = timestamp is None
        for index, part, fill in fills:
            numbers[index] = parts.get(part, fill)
        for index, category_part, lookup in lookups:
            codes[index] = lookup.get(parts[category_part], 0) if category_part in parts else 0

    return read


def _as_number(value: Raw, form: NumberFormat) -> float | None:
    """Return a common number as a float, or None if it is missing."""
    kind = type(value)
    if kind in _NUMBERS:
        return None if value != value else float(value)  # noqa: PLR0124 - only NaN differs from itself
    if kind in _MISSING:
        return None
    found = parse_number(value, form) if kind is str else None
    if found is None and (kind is not str or form == "strict"):
        raise _UncommonError
    return None if found is None else float(found)


def _as_text(value: Raw) -> str | None:
    """Return common text, or None if it is missing."""
    if type(value) is str:
        return value
    if type(value) in _MISSING:
        return None
    raise _UncommonError


def _as_exact_number(value: Raw) -> Raw:
    """Return a common number that matches only the same one in a vocabulary, or None if it is missing."""
    found: Raw = parse_number(value) if type(value) is str else value
    kind = type(found)
    if kind in _INTEGERS:
        return found
    if type(value) in _MISSING or (kind in _FLOATS and found != found):  # noqa: PLR0124 - only NaN differs from itself
        return None
    if kind in _FLOATS and abs(found) < LARGEST_EXACT:
        return found
    raise _UncommonError


def _as_timestamp(value: Raw, form: DateFormat) -> int | None:
    """Return the timestamp of a common date, or None if it is missing."""
    kind = type(value)
    if kind in _MISSING or (kind is float and value != value):  # noqa: PLR0124 - only NaN differs from itself
        return None
    is_number = (form == "Ymd" and kind in _INTEGERS) or (form in UNIX_UNITS and kind in _NUMBERS)
    text = str(value) if is_number else value if kind is str else None
    timestamp = microseconds(value) if kind in _DATES else None if text is None else parse_date(text, form)
    if timestamp is None:
        raise _UncommonError
    return timestamp
