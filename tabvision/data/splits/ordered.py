"""Splits by time: the latest rows validate."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from typing_extensions import override

from tabvision.data.splits.base import (
    TEST,
    TRAIN,
    VALIDATION,
    Blocks,
    FractionSplit,
    PartOf,
    Rows,
    Split,
    SplitRows,
    factorized,
    parts_from,
    split_column,
)
from tabvision.errors import BadTypeError, BadValueError, count, speaking
from tabvision.preprocess.columns import Text
from tabvision.preprocess.parse import parse_dates, parse_number
from tabvision.preprocess.text_formats import dates_in

_logger = logging.getLogger("tabvision")

_MOST_TIMES = 1 << 20  # the most distinct times of a prepared table to count individually


@final
@dataclass(frozen=True)
class TimeSplit(FractionSplit):
    """Validate on the latest rows; with a test fraction, test on the latest and validate on those before them.

    Rows with the same time stay together, as close to the fraction as possible. The column stays a feature.

    Args:
        column: Dates, times or numbers. Text is read as numbers, or else as ISO 8601 dates, or else in the format of its
            first value (month before day if both are possible). None for the order of the rows.
        share: The fraction of rows for validation, in (0, 1); with test rows it may be 0.
        test_share: The fraction of rows for testing, in [0, 1).
        day_first: Whether the day comes before the month if both are possible.

    Example:
        >>> frame = pd.DataFrame({"day": [3, 1, 2, 5, 4]})
        >>> TimeSplit("day", 0.4)(frame, None, seed=0).validation.tolist()
        [3, 4]
    """

    column: str | None
    share: float = 0.2
    test_share: float = 0.0
    day_first: bool = False

    @override
    def by_block(self, blocks: Blocks, target: Sequence[str], *, seed: int) -> PartOf:
        if self.column is None:
            num_rows = blocks.num_rows()
            test = round(num_rows * (1 - self.test_share))
            bounds = round(test - num_rows * self.share), test
        else:
            bounds = self._bounds(*_distinct_times(map(self._keys, blocks.column(self.column))))

        def part_of(frame: pd.DataFrame, rows: Rows) -> NDArray[np.int8]:
            return _parts_by_time(rows if self.column is None else self._keys(frame[self.column]), *bounds)

        return part_of

    def _keys(self, values: pd.Series) -> NDArray[Any]:
        """Return the times of a block; text must be numbers or ISO dates, since the order of others may differ by block."""
        values = split_column(values.to_frame(), str(values.name))
        is_text = isinstance(values.dtype, pd.StringDtype) and parse_number(str(values.iloc[0])) is None
        if is_text and dates_in(Text(pa.array(values, pa.large_string()))) != ("iso",):
            problem = f"column {values.name!r} of a prepared table must hold dates, numbers or ISO dates as text"
            raise BadValueError(problem, "Convert it, or use TimeSplit(None) if the rows are in order of time")
        return times_as_numbers(values, day_first=self.day_first)

    @override
    @speaking()
    def __call__(self, frame: pd.DataFrame, target_codes: NDArray[Any] | None, *, seed: int) -> SplitRows:
        times = _times_of(frame, self.column, day_first=self.day_first)
        part = _parts_by_time(times, *self._bounds(*np.unique(times, return_counts=True)))
        return parts_from(part, self.share, self.test_share)

    def _bounds(self, times: NDArray[Any], counts: NDArray[np.int64]) -> tuple[Any, Any]:
        """Return the first validation time and the first test time, given distinct times and their numbers of rows.

        Example:
            >>> TimeSplit("day", 0.4, 0.2)._bounds(np.arange(1, 6), np.ones(5, dtype=int))
            (np.int64(3), np.int64(5))
        """
        num_parts = 1 + (self.share > 0) + (self.test_share > 0)
        if len(times) < num_parts:
            problem = f"column {self.column!r} has {count(len(times), 'distinct time')}"
            raise BadValueError(f"{problem}, {num_parts} parts need at least {num_parts}", "Use RandomSplit")

        def nearest(cuts: NDArray[np.int64], wanted: int) -> int:
            return int(np.argmin(np.abs(cuts - wanted)))

        starts, num_rows = np.cumsum(counts) - counts, int(counts.sum())
        test, end, tests = len(times), num_rows, np.inf
        if self.test_share:
            least = num_parts - 1
            test = least + nearest(starts[least:], round(num_rows * (1 - self.test_share)))
            end, tests = int(starts[test]), times[test]
        return times[1 + nearest(starts[1:test], round(end - num_rows * self.share))] if self.share else tests, tests


def _parts_by_time(times: NDArray[Any], first: Any, tests: Any) -> NDArray[np.int8]:  # noqa: ANN401 - numbers of any type
    """Return the part of each row, given the first validation time and the first test time."""
    return np.select([times >= tests, times >= first], [TEST, VALIDATION], TRAIN).astype(np.int8)


def _distinct_times(blocks: Iterable[NDArray[Any]]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Return the distinct times in blocks and the number of rows of each; if there are very many, neighbors are merged."""
    distinct = counts = np.empty(0, dtype=np.int64)
    for times in blocks:
        every, inverse = np.unique(np.concatenate([distinct, times]), return_inverse=True)
        weights = np.concatenate([counts, np.ones(len(times), dtype=np.int64)])
        distinct, counts = every, np.bincount(inverse, weights=weights).astype(np.int64)
        if len(distinct) > _MOST_TIMES:  # merge pairs into the earlier time
            distinct, counts = distinct[::2], np.add.reduceat(counts, np.arange(0, len(counts), 2))
    return distinct, counts


def _times_of(frame: pd.DataFrame, column: str | None, *, day_first: bool) -> NDArray[Any]:
    """Return the time of each row as a number: that of a column, or without one the row's position."""
    if column is None:
        return np.arange(len(frame))
    return times_as_numbers(split_column(frame, column), day_first=day_first)


def times_as_numbers(values: pd.Series, *, day_first: bool = False) -> NDArray[Any]:
    """Convert times to numbers that sort in the same order.

    Args:
        values: Dates, times, numbers, or text of one of these, without missing values.
        day_first: Whether the day comes before the month if both are possible.

    Raises:
        BadTypeError: The values are not times.

    Example:
        >>> times_as_numbers(pd.Series(["9", "10"])).argsort().tolist()
        [0, 1]
    """
    if not pd.api.types.is_numeric_dtype(values) and values.dtype.kind != "m":
        # the first value settles most columns of dates without looking at the rest
        is_numbers = all(isinstance(value, str) and parse_number(value) is not None for value in values.head(1))
        numbers = pd.to_numeric(values, errors="coerce") if is_numbers else None
        values = _as_dates(values, day_first=day_first) if numbers is None or numbers.isna().any() else numbers
    found = values.to_numpy()
    # the files of one table may differ in their time unit
    kind = {"m": "timedelta64[us]", "M": "datetime64[us]"}.get(found.dtype.kind)
    return np.asarray(found) if kind is None else found.astype(kind).astype(np.int64)


def _as_dates(values: pd.Series, *, day_first: bool) -> pd.Series:
    """Return values as timestamps in UTC; for text, use an order of day, month and year that fits all of it."""
    if isinstance(values.dtype, pd.PeriodDtype):
        values = values.dt.start_time
    if isinstance(values.dtype, pd.StringDtype):
        texts = pa.array(values, pa.large_string())
        orders = dates_in(Text(texts), day_first=day_first)
        if len(orders) > 1 and not day_first:  # assume that the month comes first, and log it
            orders = tuple(sorted(orders, key=lambda order: order.startswith("m"), reverse=True))
            _logger.info(
                f"Dates of {values.name!r} such as {values.iloc[0]!r} are read in the order {orders[0]}. "
                "If the day comes first, pass day_first=True (--day-first)."
            )
        if orders:
            return pd.Series(parse_dates(texts, orders[0]).view("datetime64[us]"))
    for options in ({"format": "ISO8601"}, {}):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # pandas warns if it has to infer the format row by row
                dates = pd.to_datetime(values, utc=True, **options)
        except (ValueError, TypeError, UserWarning, OverflowError):
            continue
        return dates.dt.tz_localize(None)
    column = values.name
    problem = f"column {column!r} must hold dates, times or numbers, got values such as {values.iloc[0]!r}"
    remedy = f"Convert it first, pd.to_datetime(frame[{column!r}], format=...), or name another column"
    raise BadTypeError(problem, remedy)


@final
@dataclass(frozen=True)
class LeaveLastOut(Split):
    """Validate on each user's last row; with a test part, test on the last and validate on the one before.

    A user's first row is always for training. Among rows with the same time, the one further down counts as later.

    Args:
        user: The column of users.
        timestamp: The timestamp column, as for `TimeSplit`; None for the order of the rows.
        test: Whether there is a test part.
        day_first: As for `TimeSplit`.

    Example:
        >>> frame = pd.DataFrame({"user": [1, 1, 2, 2, 2], "time": [9, 5, 1, 2, 3]})
        >>> LeaveLastOut("user", "time")(frame, None, seed=0).validation.tolist()
        [0, 4]
    """

    user: str
    timestamp: str | None = None
    test: bool = False
    day_first: bool = False

    @override
    @speaking()
    def __call__(self, frame: pd.DataFrame, target_codes: NDArray[Any] | None, *, seed: int) -> SplitRows:
        users, _ = factorized(frame, self.user)
        times = _times_of(frame, self.timestamp, day_first=self.day_first)
        order = np.lexsort((np.arange(len(frame)), times, users))
        sizes = np.bincount(users)
        ends = np.repeat(np.cumsum(sizes), sizes)
        left = ends - np.arange(len(frame)) - 1  # number of the user's rows after this one
        first = left == np.repeat(sizes, sizes) - 1
        part = np.full(len(frame), TRAIN, dtype=np.int8)
        part[order[(left == int(self.test)) & ~first]] = VALIDATION
        if self.test:
            part[order[(left == 0) & ~first]] = TEST
        remedy = "Each needs a user with two rows, or three with a test part"
        return parts_from(part, test_share=float(self.test), remedy=remedy)


def ratings_split(split: str, user: str, timestamp: str | None, *, day_first: bool = False) -> Split:
    """Return the split with the name "last" or "time".

    Raises:
        BadValueError: The name is unknown, or "time" has no timestamp column.

    Example:
        >>> ratings_split("time", "user", "when")
        TimeSplit(column='when', share=0.2, test_share=0.0, day_first=False)
    """
    if split == "last":
        return LeaveLastOut(user, timestamp, day_first=day_first)
    if split != "time":
        remedy = 'Pass a fraction such as 0.2, a split object, "time", "last" or None'
        raise BadValueError(f"no split named {split!r}", remedy)
    if timestamp is None:
        raise BadValueError('split="time" needs the column of timestamps', "Name it as timestamp=")
    return TimeSplit(timestamp, day_first=day_first)
