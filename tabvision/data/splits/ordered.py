"""Splits by group and by time, which keep rows together."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from typing_extensions import override

from tabvision.counter_random import uniforms
from tabvision.data.splits.base import (
    TEST,
    TRAIN,
    VALIDATION,
    Blocks,
    PartOf,
    Rows,
    Split,
    SplitRows,
    check_fractions,
    drawn_parts,
    factorized,
    parts_from,
    split_column,
)
from tabvision.errors import BadTypeError, BadValueError, count, speaking
from tabvision.preprocess.columns import Text
from tabvision.preprocess.parse import parse_dates, parse_number
from tabvision.preprocess.text_formats import dates_in, day_before_month
from tabvision.schema import DateFormat

_logger = logging.getLogger("tabvision")

_MOST_TIMES = 1 << 20  # distinct times of a prepared table that are counted one by one


@final
@dataclass(frozen=True)
class GroupSplit(Split):
    """Split whole groups at random: no value of the column is in two parts.

    Args:
        column: The column with the group of each row, such as a patient; it is not a feature.
        share: The fraction of the rows that validate, in (0, 1), met as closely as the drawn groups allow; with test rows
            it may be 0.
        test_share: The fraction of the rows that test, in [0, 1).

    Example:
        >>> frame = pd.DataFrame({"patient": ["a", "a", "b", "b", "c"]})
        >>> parts = GroupSplit("patient", 0.4)(frame, None, seed=0)
        >>> set(frame.patient[parts.train]) & set(frame.patient[parts.validation])
        set()
    """

    column: str
    share: float = 0.2
    test_share: float = 0.0

    @speaking()
    def __post_init__(self) -> None:
        """Check the fractions."""
        check_fractions(self.share, self.test_share, test_alone=True)

    @property
    @override
    def columns(self) -> tuple[str, ...]:
        return (self.column,)

    @override
    def by_block(self, blocks: Blocks, target: Sequence[str], *, seed: int) -> PartOf:
        def part_of(frame: pd.DataFrame, rows: Rows) -> NDArray[np.int8]:  # noqa: ARG001
            group = pd.util.hash_pandas_object(split_column(frame, self.column), index=False).to_numpy(np.uint64)
            draws = uniforms(seed, 0, group.view(np.int64), 1)[:, 0]
            return drawn_parts(draws, self.share, self.test_share)

        return part_of

    @override
    @speaking()
    def __call__(self, frame: pd.DataFrame, target_codes: NDArray[Any] | None, *, seed: int) -> SplitRows:
        codes, groups = factorized(frame, self.column)
        needed = 1 + (self.share > 0) + (self.test_share > 0)
        if len(groups) < needed:
            problem = f"column {self.column!r} has {count(len(groups), 'group')}, {needed} parts need at least {needed}"
            raise BadValueError(problem, "Use another column, or RandomSplit")
        order = np.random.default_rng(seed).permutation(len(groups))
        sizes = np.bincount(codes)
        part = np.full(len(groups), TRAIN, dtype=np.int8)
        spare = 1 if self.test_share else 0
        if self.share:
            part[_draw(order[: len(order) - 1 - spare], sizes, self.share * len(frame))] = VALIDATION
        if self.test_share:
            rest = order[part[order] == TRAIN]
            part[_draw(rest[:-1], sizes, self.test_share * len(frame))] = TEST
        return parts_from(part[codes], self.share, self.test_share)


@final
@dataclass(frozen=True)
class TimeSplit(Split):
    """Validate on the latest rows; with a test fraction, test on the latest and validate on those before them.

    Rows with the same time stay together: the split is the one nearest to the fraction. The column stays a feature.

    Args:
        column: Dates, times or numbers. Text is read as numbers, or else as ISO 8601 dates, or else in the format of its
            first value (month before day if both are possible). None for the order of the rows.
        share: The fraction of the rows that validate, in (0, 1); with test rows it may be 0.
        test_share: The fraction of the rows that test, in [0, 1).
        day_first: Whether the day is before the month where both are possible.

    Example:
        >>> frame = pd.DataFrame({"day": [3, 1, 2, 5, 4]})
        >>> TimeSplit("day", 0.4)(frame, None, seed=0).validation.tolist()
        [3, 4]
    """

    column: str | None
    share: float = 0.2
    test_share: float = 0.0
    day_first: bool = False

    @speaking()
    def __post_init__(self) -> None:
        """Check the fractions."""
        check_fractions(self.share, self.test_share, test_alone=True)

    @override
    def by_block(self, blocks: Blocks, target: Sequence[str], *, seed: int) -> PartOf:
        column = self.column
        if column is None:
            num_rows = blocks.num_rows()
            test = round(num_rows * (1 - self.test_share))
            bounds = round(test - num_rows * self.share), test
        else:
            bounds = _time_bounds(lambda: map(self._keys, blocks.column(column)), self.share, self.test_share)

        def part_of(frame: pd.DataFrame, rows: Rows) -> NDArray[np.int8]:
            times = rows if column is None else self._keys(frame[column])
            late = [times >= bounds[1], times >= bounds[0]]
            return np.select(late, [TEST if self.test_share else VALIDATION, VALIDATION], TRAIN).astype(np.int8)

        return part_of

    def _keys(self, values: pd.Series) -> NDArray[Any]:
        """Return the times of a block; text must be numbers or ISO dates, since other blocks may show another order."""
        values = split_column(values.to_frame(), str(values.name))
        is_text = isinstance(values.dtype, pd.StringDtype) and parse_number(str(values.iloc[0])) is None
        if is_text and dates_in(Text(pa.array(values, pa.large_string()))) != ("iso",):
            problem = f"column {values.name!r} of a prepared table must hold dates, numbers or ISO dates as text"
            raise BadValueError(problem, "Write it so, or use TimeSplit(None) if the rows are in order of time")
        return times_as_numbers(values, day_first=self.day_first)

    @override
    @speaking()
    def __call__(self, frame: pd.DataFrame, target_codes: NDArray[Any] | None, *, seed: int) -> SplitRows:
        times: NDArray[Any] = np.arange(len(frame))
        if self.column is not None:
            times = times_as_numbers(split_column(frame, self.column), day_first=self.day_first)
        ordered = np.sort(times)
        cuts = np.flatnonzero(ordered[1:] != ordered[:-1]) + 1  # where a new time begins
        needed = (self.share > 0) + (self.test_share > 0)
        if len(cuts) < needed:
            problem = f"column {self.column!r} has {count(len(cuts) + min(1, len(ordered)), 'distinct time')}"
            raise BadValueError(f"{problem}, {needed + 1} parts need at least {needed + 1}", "Use RandomSplit")
        part = np.full(len(times), TRAIN, dtype=np.int8)
        end = len(times)
        if self.test_share:
            end = cuts[needed - 1 :][_nearest(cuts[needed - 1 :], round(len(times) * (1 - self.test_share)))]
            cuts = cuts[cuts < end]
        if self.share:
            start = cuts[_nearest(cuts, round(end - len(times) * self.share))]
            part[times >= ordered[start]] = VALIDATION
        if self.test_share:
            part[times >= ordered[end]] = TEST
        return parts_from(part, self.share, self.test_share)


def _time_bounds(read: Callable[[], Iterable[NDArray[Any]]], share: float, test_share: float) -> tuple[Any, Any]:
    """Return the first time that validates and the first that tests, as `TimeSplit` has them, of times read in blocks.

    Example:
        >>> _time_bounds(lambda: [np.array([3, 1]), np.array([2, 5, 4])], 0.4, 0.2)
        (3, 5)
    """
    distinct = counts = np.empty(0, dtype=np.int64)
    for times in read():
        every, inverse = np.unique(np.concatenate([distinct, times]), return_inverse=True)
        weights = np.concatenate([counts, np.ones(len(times), dtype=np.int64)])
        distinct, counts = every, np.bincount(inverse, weights=weights).astype(np.int64)
        if len(distinct) > _MOST_TIMES:  # only neighbors are joined, the earlier time stands for both
            distinct, counts = distinct[::2], np.add.reduceat(counts, np.arange(0, len(counts), 2))
    starts = np.cumsum(counts) - counts
    num_rows, last = int(counts.sum()), len(distinct)
    needed = (share > 0) + (test_share > 0)
    if last <= needed:
        raise BadValueError(f"{needed + 1} parts need as many distinct times, got {last}", "Use RandomSplit")
    test = needed + _nearest(starts[needed:], round(num_rows * (1 - test_share))) if test_share else last
    end = int(starts[test]) if test_share else num_rows
    first = 1 + _nearest(starts[1:test], round(end - num_rows * share)) if share else test
    tests = distinct[test].item() if test_share else np.inf
    return distinct[first].item() if share else tests, tests


def _draw(candidates: NDArray[Any], sizes: NDArray[Any], wanted: float) -> list[int]:
    """Return groups in the given order, each taken if it brings their rows closer to `wanted`; at least one."""
    drawn, missing = [], wanted
    for group in candidates.tolist():
        if missing <= 0:
            break
        if sizes[group] < 2 * missing:
            drawn.append(group)
            missing -= int(sizes[group])
    return drawn or [int(candidates[np.argmin(sizes[candidates])])]


def _nearest(cuts: NDArray[Any], index: int) -> int:
    """Return the position of the cut that is nearest to an index."""
    return int(np.argmin(np.abs(cuts - index)))


def times_as_numbers(values: pd.Series, *, day_first: bool = False) -> NDArray[Any]:
    """Convert times to numbers in the same order.

    Args:
        values: Dates, times, numbers, or text of one of them; without missing values.
        day_first: Whether the day is before the month where both are possible.

    Raises:
        BadTypeError: The values are not times.

    Example:
        >>> times_as_numbers(pd.Series(["9", "10"])).argsort().tolist()
        [0, 1]
    """
    if not pd.api.types.is_numeric_dtype(values):
        # the first value settles most columns of dates without a look at the rest
        is_numbers = all(isinstance(value, str) and parse_number(value) is not None for value in values.head(1))
        numbers = pd.to_numeric(values, errors="coerce") if is_numbers else None
        values = _as_dates(values, day_first=day_first) if numbers is None or numbers.isna().any() else numbers
    found = values.to_numpy()
    return found.astype(np.int64) if found.dtype.kind == "M" else np.asarray(found)


def _orders(values: pd.Series, *, day_first: bool) -> tuple[DateFormat, ...]:
    """Return the orders in which text is dates other than ISO dates; of several the month first, with a note."""
    orders = dates_in(Text(pa.array(values, pa.large_string())))
    if len(orders) > 1 and day_first:
        orders = day_before_month(orders)
    elif len(orders) > 1:
        orders = tuple(sorted(orders, key=lambda order: order.startswith("m"), reverse=True))
        _logger.info(
            f"Dates of {values.name!r} such as {values.iloc[0]!r} are read in the order {orders[0]}. If the day is first, "
            f"say so: day_first=True (--day-first)."
        )
    return () if orders == ("iso",) else orders


def _as_dates(values: pd.Series, *, day_first: bool) -> pd.Series:
    if isinstance(values.dtype, pd.PeriodDtype):
        values = values.dt.start_time
    if isinstance(values.dtype, pd.StringDtype) and (orders := _orders(values, day_first=day_first)):
        return pd.Series(parse_dates(pa.array(values, pa.large_string()), orders[0]).view("datetime64[us]"))
    for options in ({"format": "ISO8601"}, {}):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # pandas warns if it must infer the format of every row
                dates = pd.to_datetime(values, utc=True, **options)
        except (ValueError, TypeError, UserWarning, OverflowError):
            continue
        return dates.dt.tz_localize(None)
    column = values.name
    problem = f"column {column!r} must hold dates, times or numbers, got values such as {values.iloc[0]!r}"
    raise BadTypeError(
        problem, f"Read it with pd.to_datetime(frame[{column!r}], format=...) first, or name another column"
    )


@final
@dataclass(frozen=True)
class LeaveLastOut(Split):
    """Validate on each user's last row; with a test part, test on the last and validate on the one before.

    A user's first row always trains. Of rows with the same time, the one further down is the later.

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
        times: NDArray[Any] = np.arange(len(frame))
        if self.timestamp is not None:
            times = times_as_numbers(split_column(frame, self.timestamp), day_first=self.day_first)
        order = np.lexsort((np.arange(len(frame)), times, users))
        sizes = np.bincount(users)
        ends = np.repeat(np.cumsum(sizes), sizes)
        left = ends - np.arange(len(frame)) - 1  # the user's rows after this one
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
        raise BadValueError(f"split {split!r} is not known", remedy)
    if timestamp is None:
        raise BadValueError('split="time" needs the timestamp column', "Name it: timestamp=...")
    return TimeSplit(timestamp, day_first=day_first)
