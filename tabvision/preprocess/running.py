"""Statistics of training rows in one block or several: counts and moments are merged, quantiles come from a sample."""

from __future__ import annotations

from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from tabvision.counter_random import random_bits
from tabvision.preprocess.categories import MAX_TABLE
from tabvision.preprocess.columns import Numbers
from tabvision.preprocess.datetimes import PARTS, DateParts, parts_of_distinct
from tabvision.preprocess.statistics import (
    Moments,
    Statistics,
    check_finite,
    statistics_of,
    statistics_of_counts,
    statistics_of_sample,
)
from tabvision.schema import DatePart

Counts = tuple[NDArray[Any], NDArray[np.int64]]  # distinct values, ascending, and the number of rows with each


@final
class RowSample:
    """Sample the rows of a stream: keep all, then a random half, a quarter and so on, so that at most `size` remain.

    Whether a row is kept depends only on its number and the current fraction.

    Args:
        size: The most rows to keep; None for all.

    Example:
        >>> sample = RowSample(8)
        >>> [int(sample.add(np.arange(start, start + 4))[1].sum()) for start in (0, 4, 8)]
        [4, 4, 2]
    """

    def __init__(self, size: int | None) -> None:
        self.size = size
        self._level = self._number = 0
        self._bits: list[NDArray[np.uint64]] = []

    def add(self, numbers: NDArray[np.int64]) -> tuple[NDArray[np.bool_] | None, NDArray[np.bool_]]:
        """Return which of the rows kept so far to keep (None for all), and which rows of the block.

        Args:
            numbers: The row numbers of the block.
        """
        if self.size is None:  # keep all rows
            return None, np.ones(len(numbers), dtype=bool)
        bits = random_bits(np.array([0x5A], dtype=np.uint64), numbers.astype(np.uint64))
        stays, is_kept = None, self._is_kept(bits)
        while self._number + int(is_kept.sum()) > self.size:
            self._level += 1
            before, is_kept = np.concatenate(self._bits) if self._bits else bits[:0], self._is_kept(bits)
            still = self._is_kept(before)
            if stays is None:
                stays = still
            else:
                stays[np.flatnonzero(stays)] = still
            self._bits, self._number = [before[still]], int(still.sum())
        self._bits.append(bits[is_kept])
        self._number += len(self._bits[-1])
        return stays, is_kept

    def _is_kept(self, bits: NDArray[np.uint64]) -> NDArray[np.bool_]:
        return bits >> np.uint64(64 - self._level) == 0 if self._level else np.ones(len(bits), dtype=bool)


@final
class RunningNumber:
    """A number over the training rows: the sampled rows, plus moments and counts of all rows.

    Args:
        merges: Whether there may be more rows than the sample can hold.
    """

    def __init__(self, *, merges: bool) -> None:
        self._merges = merges
        self._kept: list[NDArray[Any]] = []
        self._num_rows = 0
        self._moments = Moments()
        self._counts: Counts | None = (np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64))

    def add(self, column: Numbers, name: str, stays: NDArray[np.bool_] | None, is_kept: NDArray[np.bool_]) -> None:
        """Add a block of rows.

        Args:
            column: The rows.
            name: The column's name.
            stays: Which of the rows kept so far to keep, from `RowSample.add`.
            is_kept: Which rows of the block to keep, from `RowSample.add`.

        Raises:
            BadValueError: There are infinities.
        """
        values = column.values
        if not self._merges:
            self._kept.append(values)
            return
        self._num_rows += len(values)
        if stays is not None and self._kept:
            self._kept = [np.concatenate(self._kept)[stays]]
        self._kept.append(values[is_kept])
        if values.dtype.kind == "f":
            check_finite(values, name)
        present = values.astype(np.float64, copy=False)
        if values.dtype.kind == "f" and (missing := np.isnan(present)).any():
            present = present[~missing]
        self._moments.add(present)
        if len(present):
            self._counts = None if column.kind == "float" else self._counts_with(present)

    def _counts_with(self, numbers: NDArray[np.float64]) -> Counts | None:
        """Return the counts including more whole numbers, or None if their range is too wide to count."""
        if self._counts is None:
            return None
        low, high = numbers.min(), numbers.max()
        if high - low >= MAX_TABLE or max(abs(low), abs(high)) >= 2**53:
            return None
        found = np.bincount((numbers - low).astype(np.int64))
        present = np.flatnonzero(found)
        return merge_counts(self._counts, (present + int(low), found[present]))

    def facts(self, name: str) -> Statistics:
        """Return the statistics of all rows added, exact except for the median and edges of floats from a sample."""
        sample = np.concatenate(self._kept) if len(self._kept) > 1 else self._kept[0]
        if not self._merges or len(sample) == self._num_rows:
            return statistics_of(sample, name)
        num_missing = self._num_rows - self._moments.number
        if self._counts is not None:
            return statistics_of_counts(*self._counts, num_missing)
        return statistics_of_sample(sample, name, self._moments, num_missing)


def merge_counts(one: Counts, other: Counts, widest: int = MAX_TABLE) -> Counts | None:
    """Merge two counts of distinct values; return None if the values span `widest` or more.

    Example:
        >>> [each.tolist() for each in merge_counts((np.array([1, 3]), np.array([2, 1])), (np.array([3]), np.array([4])))]
        [[1, 3], [2, 5]]
    """
    values = np.union1d(one[0], other[0])
    if len(values) and int(values[-1]) - int(values[0]) >= widest:
        return None
    counts = np.zeros(len(values), dtype=np.int64)
    for some, rows in (one, other):
        counts[np.searchsorted(values, some)] += rows
    return values, counts


_DAYS = 10_000 * 366  # more than there are in the years 1 to 9999


@final
class RunningDate:
    """A date over the training rows: counts of the distinct days and minutes of the day, and the elapsed seconds.

    Args:
        merges: Whether there may be more rows than the sample can hold.
    """

    def __init__(self, *, merges: bool) -> None:
        nothing = np.empty(0, dtype=np.int64)
        self._elapsed = RunningNumber(merges=merges)
        self._days: Counts = (nothing, nothing)
        self._minutes: Counts = (nothing, nothing)
        self.num_missing = self._num_rows = self._num_tz_aware = 0

    def add(
        self,
        parts: DateParts,
        tz_aware: NDArray[np.bool_],
        name: str,
        stays: NDArray[np.bool_] | None,
        is_kept: NDArray[np.bool_],
    ) -> None:
        """Add a block of rows.

        Args:
            parts: The dates.
            tz_aware: Which of them have a time zone, False for missing ones.
            name: As for `RunningNumber.add`.
            stays: As for `RunningNumber.add`.
            is_kept: As for `RunningNumber.add`.
        """
        self._elapsed.add(Numbers(parts.elapsed, "float"), name, stays, is_kept)
        for_days = merge_counts(self._days, (parts.days[0], parts.days[2]), _DAYS)
        assert for_days is not None, "the calendar has fewer days"
        self._days = for_days
        self._minutes = merge_counts(self._minutes, (parts.minutes[0], parts.minutes[2])) or self._minutes
        self.num_missing += int(parts.missing.sum())
        self._num_rows += len(tz_aware)
        self._num_tz_aware += int(tz_aware.sum())

    @property
    def tz_aware(self) -> bool | None:
        """Whether all dates have a time zone (True) or none has (False); None if only some do, or there are no dates."""
        num_dates = self._num_rows - self.num_missing
        return None if self._num_tz_aware not in (0, num_dates) or not num_dates else bool(self._num_tz_aware)

    def values(self) -> dict[DatePart, NDArray[Any]]:
        """Return the parts of the distinct days and minutes."""
        return parts_of_distinct(self._days[0], self._minutes[0])

    def varying(self) -> tuple[DatePart, ...]:
        """Return the parts with more than one value, or only the elapsed seconds if the date never changes."""
        values = self.values()
        return tuple(part for part in PARTS if part == "elapsed" or len(np.unique(values[part])) > 1)

    def facts(self, part: DatePart, name: str) -> Statistics:
        """Return the statistics of a part that is a number."""
        if part == "elapsed":
            return self._elapsed.facts(name)
        counts = self._minutes[1] if part in ("hour", "minute") else self._days[1]
        distinct, indices = np.unique(self.values()[part], return_inverse=True)
        rows = np.bincount(indices, weights=counts).astype(np.int64)
        return statistics_of_counts(distinct, rows, self.num_missing)
