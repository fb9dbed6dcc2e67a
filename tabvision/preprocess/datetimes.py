"""A date cut into parts: numbers such as the year, categories such as the weekday.

Everything but the hour, the minute and the elapsed seconds depends on the day alone, and a table has few distinct days:
parts are computed once for each of those, by pandas itself, and rows look them up.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tabvision.preprocess.columns import Moments
from tabvision.preprocess.parse import NO_DATE
from tabvision.schema import DatePart

PARTS: tuple[DatePart, ...] = get_args(DatePart)
CONTINUOUS_PARTS: frozenset[DatePart] = frozenset({"year", "week", "day", "day_of_year", "elapsed"})
_DAY, _MINUTE = 86_400_000_000, 60_000_000  # microseconds
_EPOCH = datetime(1970, 1, 1)


@dataclass(frozen=True)
class Places:
    """Rows as places in a list of distinct moments: place 0 is missing, place i + 1 the moment i."""

    index: NDArray[np.int32]
    counts: NDArray[np.int64]  # rows at each distinct moment
    parts: dict[DatePart, NDArray[Any]]  # each part of each distinct moment


@dataclass(frozen=True)
class Parts:
    """The parts of a column of moments, computed when asked for."""

    moments: Moments

    @cached_property
    def gaps(self) -> NDArray[np.bool_]:
        """Which rows have no date."""
        return np.asarray(self.moments.values == NO_DATE)

    @cached_property
    def days(self) -> Places:
        """The rows by day."""
        distinct, index, counts = _places(self.moments.values // _DAY, self.gaps)
        return Places(index, counts, day_parts(distinct))

    @cached_property
    def minutes(self) -> Places:
        """The rows by minute of the day."""
        distinct, index, counts = _places(self.moments.values % _DAY // _MINUTE, self.gaps)
        return Places(index, counts, {"hour": distinct // 60, "minute": distinct % 60})

    @cached_property
    def elapsed(self) -> NDArray[np.float64]:
        """Seconds since 1970, NaN where there is no date."""
        return np.where(self.gaps, np.nan, self.moments.values / 1e6)

    def places(self, part: DatePart) -> Places:
        """The rows by what the part depends on; there is none for elapsed seconds, which differ in every row."""
        return self.minutes if part in ("hour", "minute") else self.days


def day_parts(days: NDArray[np.int64]) -> dict[DatePart, NDArray[Any]]:
    """Every part that depends on the day alone, of days counted from 1970, as the pandas accessors give them.

    Example:
        >>> day_parts(np.array([0]))["weekday"].tolist()  # a Thursday
        [3]
    """
    index = pd.DatetimeIndex((days * 86_400).astype("datetime64[s]"))
    names = {"weekday": "day_of_week"}
    parts: dict[DatePart, NDArray[Any]] = {}
    for part in PARTS:
        if part in ("hour", "minute", "elapsed"):
            continue
        values = index.isocalendar().week if part == "week" else getattr(index, names.get(part, part))
        values = np.asarray(values)
        parts[part] = values if values.dtype.kind == "b" else values.astype(np.int64)
    return parts


def parts_of_moment(moment: int) -> dict[DatePart, float]:
    """All parts of one moment in plain Python, equal to what `Parts` gives for a column.

    Example:
        >>> parts = parts_of_moment(0)
        >>> parts["year"], parts["is_year_start"], parts["elapsed"]
        (1970, True, 0.0)
    """
    when = _EPOCH + timedelta(microseconds=moment)
    first, last = (
        when.day == 1,
        (when + timedelta(days=1)).day == 1 if when.year < 9999 or when.month < 12 else when.day == 31,
    )
    return {
        "year": when.year,
        "month": when.month,
        "week": when.isocalendar().week,
        "day": when.day,
        "weekday": when.weekday(),
        "day_of_year": when.timetuple().tm_yday,
        "hour": when.hour,
        "minute": when.minute,
        "elapsed": moment / 1e6,
        "is_month_start": first,
        "is_month_end": last,
        "is_quarter_start": first and when.month % 3 == 1,
        "is_quarter_end": last and when.month % 3 == 0,
        "is_year_start": first and when.month == 1,
        "is_year_end": last and when.month == 12,
    }


def varying_parts(parts: Parts) -> tuple[DatePart, ...]:
    """The parts that take more than one value; of a date that never changes, the elapsed seconds alone.

    Example:
        >>> from tabvision.preprocess.parse import parse_date
        >>> varying_parts(Parts(Moments(np.array([parse_date("2020-03-03"), parse_date("2020-03-04")]))))
        ('day', 'weekday', 'day_of_year', 'elapsed')
    """
    return tuple(part for part in PARTS if part == "elapsed" or len(np.unique(parts.places(part).parts[part])) > 1)


def _places(
    values: NDArray[np.int64], gaps: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int64]]:
    present = values[~gaps] if gaps.any() else values
    if not len(present):
        return np.empty(0, np.int64), np.zeros(len(values), np.int32), np.empty(0, np.int64)
    low = int(present.min())
    counts = np.bincount(present - low)
    distinct = np.flatnonzero(counts)
    ranks = np.zeros(len(counts), dtype=np.int32)
    ranks[distinct] = np.arange(1, len(distinct) + 1)
    index = np.take(ranks, values - low, mode="clip")
    if gaps.any():
        index[gaps] = 0
    return distinct + low, index, counts[distinct]
