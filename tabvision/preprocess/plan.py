"""What each prepared column is made of, read from the schema's facts alone."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Protocol, cast

from tabvision.errors import BadValueError
from tabvision.preprocess.datetimes import PARTS
from tabvision.schema import Categorical, Continuous, Date, DatePart

_DERIVED = re.compile(rf"_({'|'.join(PARTS)}|missing)(_[0-9]+)?")


class Prepared(Protocol):
    """The facts that preparing needs: a `Schema` has them, and so have `Features`."""

    @property
    def continuous(self) -> tuple[Continuous, ...]:
        """Numbers, in the order of the first array."""

    @property
    def categorical(self) -> tuple[Categorical, ...]:
        """Categories, in the order of the second array."""

    @property
    def dates(self) -> tuple[Date, ...]:
        """Dates, which are cut into parts."""


@dataclass(frozen=True)
class Number:
    """A raw number: its place among the continuous columns, and its `…_missing` flag with its place, if it has one."""

    place: int
    column: Continuous
    flag: tuple[int, Categorical] | None


@dataclass(frozen=True)
class Category:
    """A raw category and its place among the categorical columns."""

    place: int
    column: Categorical


@dataclass(frozen=True)
class DateColumns:
    """What a date becomes: parts that are numbers, parts that are categories, and the flag of a missing date."""

    name: str
    numbers: tuple[tuple[int, DatePart, Continuous], ...]
    categories: tuple[tuple[int, DatePart, Categorical], ...]
    flag: tuple[int, Categorical] | None

    @property
    def names(self) -> dict[str, str]:
        """The column of each part, and of "missing"."""
        found = {part: column.name for _, part, column in self.numbers}
        found |= {part: column.name for _, part, column in self.categories}
        names: dict[str, str] = {part: found[part] for part in PARTS if part in found}
        return {**names, "missing": self.flag[1].name} if self.flag else names


@dataclass(frozen=True)
class Plan:
    """All prepared columns by what they are made of."""

    numbers: tuple[Number, ...]
    categories: tuple[Category, ...]
    dates: tuple[DateColumns, ...]

    @property
    def sources(self) -> tuple[str, ...]:
        """The raw columns, each once."""
        numbers = (number.column.source for number in self.numbers)
        categories = (category.column.source for category in self.categories)
        return (*numbers, *categories, *(date.name for date in self.dates))


def plan_of(prepared: Prepared) -> Plan:
    """Reads the facts.

    Example:
        >>> from tabvision.schema import Schema, Target
        >>> from tabvision.tasks import Regression
        >>> age = Continuous(name="age", source="age", mean=40.0, spread=10.0, fill=38.0)
        >>> plan_of(Schema(target=Target(columns=("pay",), task=Regression()), continuous=(age,))).sources
        ('age',)
    """
    dates = {date.name for date in prepared.dates}
    raw = [(place, column) for place, column in enumerate(prepared.continuous) if column.source not in dates]
    numbers = {column.source for _, column in raw}
    flags = {
        column.source: (place, column) for place, column in enumerate(prepared.categorical) if column.source in numbers
    }
    categories = [
        Category(place, column)
        for place, column in enumerate(prepared.categorical)
        if column.source not in dates and column.source not in numbers
    ]
    return Plan(
        numbers=tuple(Number(place, column, flags.get(column.source)) for place, column in raw),
        categories=tuple(categories),
        dates=tuple(_date_columns(date.name, prepared) for date in prepared.dates),
    )


def part_of(column: Continuous | Categorical) -> str:
    """The part of its date that a derived column holds, or "missing".

    Raises:
        BadValueError: The name is not that of a derived column.

    Example:
        >>> part_of(Categorical(name="sold_month_2", source="sold", vocabulary=(1, 2)))
        'month'
    """
    match = _DERIVED.fullmatch(column.name.removeprefix(column.source))
    if match is None:
        problem = f"{column.name!r} is made of the date {column.source!r}, but names none of its parts"
        raise BadValueError("Schema", problem, f"Name it {column.source}_month, for instance")
    return match[1]


def _date_columns(name: str, prepared: Prepared) -> DateColumns:
    numbers = [(place, column) for place, column in enumerate(prepared.continuous) if column.source == name]
    categories = [(place, column) for place, column in enumerate(prepared.categorical) if column.source == name]
    flags = [(place, column) for place, column in categories if part_of(column) == "missing"]
    return DateColumns(
        name=name,
        numbers=tuple((place, cast("DatePart", part_of(column)), column) for place, column in numbers),
        categories=tuple(
            (place, cast("DatePart", part_of(column)), column)
            for place, column in categories
            if part_of(column) != "missing"
        ),
        flag=flags[0] if flags else None,
    )
