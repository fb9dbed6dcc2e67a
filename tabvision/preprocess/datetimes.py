"""Split dates into parts: numbers such as the year, and categories such as the weekday.

All parts but the hour, the minute and the elapsed seconds depend only on the day, and a table has few distinct days, so
pandas computes the parts once for each distinct day, and rows look them up.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import Any, TypeAlias, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tabvision.preprocess.columns import Timestamps
from tabvision.preprocess.parse import EPOCH, NO_DATE
from tabvision.schema import DatePart

PARTS: tuple[DatePart, ...] = get_args(DatePart)
CONTINUOUS_PARTS: frozenset[DatePart] = frozenset({"year", "week", "day", "day_of_year", "elapsed"})
_DAY, _MINUTE = 86_400_000_000, 60_000_000  # in microseconds

Distinct: TypeAlias = tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int64]]
"""The distinct values, ascending; each row's index among them plus 1, 0 if missing; and how often each value occurs."""


@dataclass(frozen=True)
class DateParts:
    """The parts of a date column, computed on first use.

    Example:
        >>> from tabvision.preprocess.parse import parse_date
        >>> timestamps = np.array([parse_date("2020-03-03"), parse_date("2020-03-04")])
        >>> DateParts(Timestamps(timestamps))["weekday"][0].tolist()
        [1, 2]
    """

    timestamps: Timestamps

    def __getitem__(self, part: DatePart) -> tuple[NDArray[Any], NDArray[np.int32]]:
        """Return the values of a part, and each row's index among them plus 1, 0 if the date is missing.

        There is one value for each distinct day or minute, so a value may occur more than once. The elapsed seconds, which
        differ from row to row, are not available here.
        """
        _, rows, _ = self.minutes if part in ("hour", "minute") else self.days
        return self._values[part], rows

    @cached_property
    def missing(self) -> NDArray[np.bool_]:
        """Whether each row's date is missing."""
        return np.asarray(self.timestamps.values == NO_DATE)

    @cached_property
    def elapsed(self) -> NDArray[np.float64]:
        """Seconds since 1970, NaN if the date is missing."""
        return np.where(self.missing, np.nan, self.timestamps.values / 1e6)

    @cached_property
    def days(self) -> Distinct:
        """The distinct days since 1970."""
        return _distinct(self.timestamps.values // _DAY, self.missing)

    @cached_property
    def minutes(self) -> Distinct:
        """The distinct minutes of the day."""
        return _distinct(self.timestamps.values % _DAY // _MINUTE, self.missing)

    @cached_property
    def _values(self) -> dict[DatePart, NDArray[Any]]:
        return parts_of_distinct(self.days[0], self.minutes[0])


def parts_of_distinct(days: NDArray[np.int64], minutes: NDArray[np.int64]) -> dict[DatePart, NDArray[Any]]:
    """Return the parts of days since 1970, equal to those of the pandas accessors, and of minutes of the day.

    Example:
        >>> parts_of_distinct(np.array([0]), np.array([61]))["weekday"].tolist()  # a Thursday
        [3]
    """
    index = pd.DatetimeIndex((days * 86_400).astype("datetime64[s]"))
    names = {"weekday": "day_of_week"}
    parts: dict[DatePart, NDArray[Any]] = {"hour": minutes // 60, "minute": minutes % 60}
    for part in PARTS:
        if part in ("hour", "minute", "elapsed"):
            continue
        values = index.isocalendar().week if part == "week" else getattr(index, names.get(part, part))
        values = np.asarray(values)
        parts[part] = values if values.dtype.kind == "b" else values.astype(np.int64)
    return parts


def parts_of_timestamp(timestamp: int) -> dict[DatePart, float]:
    """Return all parts of one timestamp, in plain Python, equal to those that `DateParts` returns for a column.

    Example:
        >>> parts = parts_of_timestamp(0)
        >>> parts["year"], parts["is_year_start"], parts["elapsed"]
        (1970, True, 0.0)
    """
    when = EPOCH + timedelta(microseconds=timestamp)
    is_last_month = (when.year, when.month) == (9999, 12)  # datetime has no day after it
    first, last = when.day == 1, when.day == 31 if is_last_month else (when + timedelta(days=1)).day == 1
    return {
        "year": when.year,
        "month": when.month,
        "week": when.isocalendar().week,
        "day": when.day,
        "weekday": when.weekday(),
        "day_of_year": when.timetuple().tm_yday,
        "hour": when.hour,
        "minute": when.minute,
        "elapsed": timestamp / 1e6,
        "is_month_start": first,
        "is_month_end": last,
        "is_quarter_start": first and when.month % 3 == 1,
        "is_quarter_end": last and when.month % 3 == 0,
        "is_year_start": first and when.month == 1,
        "is_year_end": last and when.month == 12,
    }


def _distinct(values: NDArray[np.int64], missing: NDArray[np.bool_]) -> Distinct:
    """Return the distinct values and each row's index among them, by counting, since their range is narrow."""
    present = values[~missing] if missing.any() else values
    if not len(present):
        return np.empty(0, np.int64), np.zeros(len(values), np.int32), np.empty(0, np.int64)
    low = int(present.min())
    counts = np.bincount(present - low)
    distinct = np.flatnonzero(counts)
    ranks = np.zeros(len(counts), dtype=np.int32)
    ranks[distinct] = np.arange(1, len(distinct) + 1)
    rows = np.take(ranks, values - low, mode="clip")
    rows[missing] = 0
    return distinct + low, rows, counts[distinct]
