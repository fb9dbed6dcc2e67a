"""A raw frame to the two arrays that a network reads: the hot path of training and prediction.

Every source is read and checked first; then blocks of rows are written, all columns of a block while it sits in the
processor's cache, by as many threads as there are cores (numpy and pyarrow let go of the interpreter's lock).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, TypeVar, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tabvision.errors import BadValueError, accepting_who, speaking
from tabvision.preprocess.categories import Writer, code_writer, table_writer
from tabvision.preprocess.checks import check_has
from tabvision.preprocess.columns import Numbers, read_column
from tabvision.preprocess.convert import as_moments, as_numbers
from tabvision.preprocess.datetimes import PARTS, Parts
from tabvision.preprocess.statistics import BLOCK, number_writer
from tabvision.schema import Categorical, Continuous, Date, DatePart

MIN_THREADED = 200_000  # rows below which starting threads costs more than it saves
MAX_THREADS = 8

Writers: TypeAlias = list[tuple[str, int, Writer]]  # which array, which place, what writes it
Arrays: TypeAlias = tuple[NDArray[np.float32], NDArray[np.int32]]
In = TypeVar("In")
Out = TypeVar("Out")


@accepting_who
@speaking("to_arrays")
def to_arrays(prepared: Prepared, frame: pd.DataFrame) -> Arrays:
    """The continuous and the categorical columns of a raw frame, in the schema's order.

    Args:
        prepared: A schema, or what `fit_features` gave.
        frame: A raw frame with the training columns; others are not looked at.

    Shape:
        - returns: (N, C) float32, standardized, without gaps; (N, K) int32 codes, 0 for missing or unseen

    Raises:
        MissingColumnsError: Columns are not there.
        BadTypeError: A column holds another kind of value than in training.
        BadValueError: Infinities, or text that does not read as a number or date.

    Example:
        >>> import pandas as pd
        >>> from tabvision.preprocess import fit_features, infer_kinds
        >>> frame = pd.DataFrame({"size": [1.0, 3.0], "color": ["red", "red"], "price": [1, 2]})
        >>> features = fit_features(frame, infer_kinds(frame, target=["price"], categorical=["color"]))
        >>> [array.tolist() for array in to_arrays(features, pd.DataFrame({"size": [None], "color": ["blue"]}))]
        [[[0.0]], [[0]]]
    """
    plan = plan_of(prepared)
    check_has(frame, plan.sources)
    num_rows = len(frame)
    writers = _writers(plan, frame)
    arrays: dict[str, Any] = {
        "continuous": np.empty((num_rows, len(prepared.continuous)), np.float32),
        "categorical": np.empty((num_rows, len(prepared.categorical)), np.int32),
    }

    def write(start: int) -> None:
        rows = slice(start, min(start + BLOCK, num_rows))
        for which, place, writer in writers:
            writer(rows, arrays[which][rows, place])

    in_threads(write, range(0, num_rows, BLOCK), num_rows)
    return arrays["continuous"], arrays["categorical"]


def _writers(plan: Plan, frame: pd.DataFrame) -> Writers:
    """Every column read and checked."""
    jobs: list[Callable[[], Writers]] = [
        *(lambda it=number: _number_writers(it, frame) for number in plan.numbers),
        *(lambda it=category: _category_writers(it, frame) for category in plan.categories),
        *(lambda it=date: _date_writers(it, frame) for date in plan.dates),
    ]
    return [writer for group in in_threads(lambda job: job(), jobs, len(frame)) for writer in group]


def in_threads(work: Callable[[In], Out], items: Iterable[In], num_rows: int) -> list[Out]:
    """The work on each item, in order; in threads where the rows are many."""
    threads = min(
        MAX_THREADS, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    if num_rows < MIN_THREADED or threads == 1:
        return [work(item) for item in items]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, items))


def _number_writers(number: Number, frame: pd.DataFrame) -> Writers:
    column, name = number.column, number.column.source
    values = as_numbers(read_column(frame[name], name), name).values
    writer = number_writer(values, column.fill, column.mean, column.spread, name)
    writers: Writers = [("continuous", number.place, writer)]
    if number.flag:
        writers.append(("categorical", number.flag[0], flag_writer(np.isnan(values))))
    return writers


def _category_writers(category: Category, frame: pd.DataFrame) -> Writers:
    column, name = category.column, category.column.source
    return [("categorical", category.place, code_writer(read_column(frame[name], name), column.vocabulary, name))]


def _date_writers(date: DateColumns, frame: pd.DataFrame) -> Writers:
    parts = Parts(as_moments(read_column(frame[date.name], date.name), date.name))
    writers: Writers = []
    for place, part, number in date.numbers:
        if part == "elapsed":
            values: NDArray[Any] = parts.elapsed
            writer = number_writer(values, number.fill, number.mean, number.spread, date.name)
        else:
            places = parts.places(part)
            writer = table_writer(places.index, _standard_table(places.parts[part], number), first=0)
        writers.append(("continuous", place, writer))
    for place, part, category in date.categories:
        places = parts.places(part)
        codes = np.zeros(len(places.parts[part]) + 1, dtype=np.int32)
        column = Numbers(places.parts[part], "integer")
        code_writer(column, category.vocabulary, date.name)(slice(0, len(codes) - 1), codes[1:])
        writers.append(("categorical", place, table_writer(places.index, codes, first=0)))
    if date.flag:
        writers.append(("categorical", date.flag[0], flag_writer(parts.gaps)))
    return writers


def _standard_table(values: NDArray[Any], number: Continuous) -> NDArray[np.float64]:
    """The standardized value at each place; at place 0, which is missing, the fill's."""
    filled: NDArray[Any] = np.concatenate([[number.fill], values])
    return np.asarray((filled - number.mean) / number.spread)


def flag_writer(gaps: NDArray[np.bool_]) -> Writer:
    """Writes the code of a `…_missing` flag, whose vocabulary is (False, True)."""
    return lambda rows, out: np.copyto(out, gaps[rows] + np.int32(1))


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


@speaking("Schema")
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
        raise BadValueError(problem, f"Name it {column.source}_month, for instance")
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
