"""Raw rows as plain mappings to the two arrays: the usual values cost microseconds, and no pandas object is made.

Anything unusual (a Decimal, mixed types, text that does not parse, an infinity) goes the way of frames, so that the
answer or the error is the same by construction; a test compares both ways on random tables for the usual values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from typing import TypeAlias, final

import numpy as np
import pandas as pd

from tabvision.errors import BadTypeError, MissingColumnsError, accepting_who, speaking
from tabvision.preprocess.categories import family_of_vocabulary
from tabvision.preprocess.checks import PASS_TRAINING_COLUMNS
from tabvision.preprocess.datetimes import parts_of_moment
from tabvision.preprocess.encode import Arrays, Category, DateColumns, Number, Prepared, plan_of, to_arrays
from tabvision.preprocess.parse import Raw, family_of, microseconds, parse_date, parse_number

Row: TypeAlias = Mapping[str, Raw]
Reader: TypeAlias = Callable[[Raw, list[float], list[int]], None]  # puts a raw value into a row's numbers and codes

_NUMBERS = frozenset(
    {int, float, bool, np.bool_, np.float64, np.float32, np.int64, np.int32, np.int16, np.int8, np.uint8}
)
_DATES = frozenset({datetime, date, pd.Timestamp})
_MISSING = frozenset({type(None), type(pd.NA), type(pd.NaT)})


class _UnusualError(Exception):
    """A value that the quick way does not know."""


@final
class RowEncoder:
    """Encodes raw rows; built once from a schema, called many times.

    Args:
        prepared: A schema, or what `fit_features` gave.

    Example:
        >>> from tabvision.preprocess import Features
        >>> from tabvision.schema import Continuous
        >>> age = Continuous(name="age", source="age", mean=40.0, spread=10.0, fill=40.0)
        >>> encode = RowEncoder(Features(dates=(), continuous=(age,), categorical=(), left_out=()))
        >>> encode([{"age": 50}, {"age": None}])[0].tolist()
        [[1.0], [0.0]]
    """

    @accepting_who
    def __init__(self, prepared: Prepared) -> None:
        self._prepared = prepared
        plan = plan_of(prepared)
        self._readers: tuple[tuple[str, Reader], ...] = (
            *((number.column.source, _number_reader(number)) for number in plan.numbers),
            *((category.column.source, _category_reader(category)) for category in plan.categories),
            *((columns.name, _date_reader(columns)) for columns in plan.dates),
        )
        self._means = np.array([column.mean for column in prepared.continuous], dtype=np.float64)
        self._spreads = np.array([column.spread for column in prepared.continuous], dtype=np.float64)
        self._num_codes = len(prepared.categorical)

    @speaking()
    def __call__(self, rows: Sequence[Row]) -> Arrays:
        """The continuous and categorical columns of the rows, as `to_arrays` gives them.

        Raises:
            BadTypeError: Not a list of mappings, or a value of another kind than in training.
            MissingColumnsError: A row lacks a training column.
            BadValueError: Infinities, or text that does not read as a number or date.
        """
        if len(rows) > 1 and self._is_mixed(rows):
            return self._as_frame(rows)
        try:
            return self._quickly(rows)
        except (_UnusualError, KeyError, TypeError, OverflowError):
            return self._as_frame(rows)

    def _quickly(self, rows: Sequence[Row]) -> Arrays:
        numbers = np.empty((len(rows), len(self._means)), dtype=np.float64)
        codes = np.empty((len(rows), self._num_codes), dtype=np.int32)
        for place, row in enumerate(rows):
            row_numbers, row_codes = [0.0] * len(self._means), [0] * self._num_codes
            for name, read in self._readers:
                read(row[name], row_numbers, row_codes)
            numbers[place], codes[place] = row_numbers, row_codes
        numbers -= self._means
        with np.errstate(over="ignore", invalid="ignore"):
            continuous = np.divide(numbers, self._spreads).astype(np.float32)
        if not np.isfinite(continuous).all():
            raise _UnusualError
        return continuous, codes

    def _is_mixed(self, rows: Sequence[Row]) -> bool:
        """Whether some column holds more than one family of values, which a frame would refuse."""
        for name, _ in self._readers:
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
    """The arrays of a few raw rows; who asks often keeps a `RowEncoder`.

    Example:
        >>> from tabvision.preprocess import Features
        >>> from tabvision.schema import Categorical
        >>> color = Categorical(name="color", source="color", vocabulary=("blue", "red"))
        >>> features = Features(dates=(), continuous=(), categorical=(color,), left_out=())
        >>> encode_rows(features, [{"color": "red"}, {"color": "green"}])[1].tolist()
        [[2], [0]]
    """
    return RowEncoder(prepared)(rows)


def _number_reader(number: Number) -> Reader:
    place, fill = number.place, number.column.fill
    flag = number.flag[0] if number.flag else None

    def read(value: Raw, numbers: list[float], codes: list[int]) -> None:
        found = _as_number(value)
        numbers[place] = fill if found is None else found
        if flag is not None:
            codes[flag] = 2 if found is None else 1

    return read


def _category_reader(category: Category) -> Reader:
    place = category.place
    lookup = {label: code for code, label in enumerate(category.column.vocabulary, start=1)}
    is_text = family_of_vocabulary(category.column.vocabulary) == "text"

    def read_text(value: Raw, _numbers: list[float], codes: list[int]) -> None:
        if type(value) is str:
            codes[place] = lookup.get(value, 0)
        elif type(value) not in _MISSING:
            raise _UnusualError

    def read_number(value: Raw, _numbers: list[float], codes: list[int]) -> None:
        found = _as_number(value, exactly=True)
        codes[place] = 0 if found is None else lookup.get(found, 0)

    return read_text if is_text else read_number


def _date_reader(columns: DateColumns) -> Reader:
    lookups = [
        (place, part, {label: code for code, label in enumerate(column.vocabulary, start=1)})
        for place, part, column in columns.categories
    ]
    flag = columns.flag[0] if columns.flag else None

    def read(value: Raw, numbers: list[float], codes: list[int]) -> None:
        moment = _as_moment(value)
        if flag is not None:
            codes[flag] = 2 if moment is None else 1
        if moment is None:
            for place, _, column in columns.numbers:
                numbers[place] = column.fill
            return
        parts = parts_of_moment(moment)
        for place, part, _ in columns.numbers:
            numbers[place] = parts[part]
        for place, part, lookup in lookups:
            codes[place] = lookup.get(parts[part], 0)

    return read


def _as_number(value: Raw, *, exactly: bool = False) -> float | None:
    """A usual number as a float (exactly: as it came), None where it is missing."""
    kind = type(value)
    if kind in _NUMBERS:
        if value != value:  # noqa: PLR0124 - NaN alone is not itself
            return None
        return value if exactly else float(value)
    if kind in _MISSING:
        return None
    found = parse_number(value) if kind is str else None
    if found is None:
        raise _UnusualError
    return found


def _as_moment(value: Raw) -> int | None:
    kind = type(value)
    if kind in _MISSING or (kind is float and value != value):  # noqa: PLR0124 - NaN alone is not itself
        return None
    moment = microseconds(value) if kind in _DATES else parse_date(value) if kind is str else None
    if moment is None:
        raise _UnusualError
    return moment
