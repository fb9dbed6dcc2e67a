"""Learn from the training rows what the schema records of every column."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tabvision.errors import accepting_who, speaking
from tabvision.preprocess.categories import vocabulary_of
from tabvision.preprocess.column_types import Kinds
from tabvision.preprocess.columns import Column, Numbers
from tabvision.preprocess.datetimes import CONTINUOUS_PARTS, DateParts
from tabvision.preprocess.encode import in_threads
from tabvision.preprocess.frame import Columns, Frame
from tabvision.preprocess.statistics import Statistics, statistics_of, statistics_of_counts
from tabvision.schema import Categorical, Continuous, Date, DatePart, LeftOut


@dataclass(frozen=True)
class Features:
    """The part of a schema that describes the columns that a network reads.

    Args:
        dates: Date columns, which are cut into parts.
        continuous: Numbers, in the order of the first array.
        categorical: Categories, in the order of the second array: the user's own, parts of dates, missing indicators.
        left_out: Columns not used, and why.
    """

    dates: tuple[Date, ...]
    continuous: tuple[Continuous, ...]
    categorical: tuple[Categorical, ...]
    left_out: tuple[LeftOut, ...]


@accepting_who
@speaking("fit_features")
def fit_features(frame: Frame, kinds: Kinds) -> Features:
    """Return the statistics, vocabularies and date parts of the training rows.

    Args:
        frame: The training rows, or their `Columns`; pass no other rows, since their values would leak.
        kinds: The kind of each column.

    Raises:
        BadValueError: No rows, infinities, or text that does not read as the number or date it should be.
        BadTypeError: Mixed types, or values that no network reads.

    Example:
        >>> import pandas as pd
        >>> from tabvision.preprocess import infer_kinds
        >>> frame = pd.DataFrame({"age": [20.0, None, 40.0], "pay": [1, 2, 3]})
        >>> [column.name for column in fit_features(frame, infer_kinds(frame, target=["pay"])).categorical]
        ['age_missing']
    """
    columns = Columns.of(frame)
    columns.check_names()
    columns.check_has([*kinds.continuous, *kinds.categorical, *kinds.dates])
    columns.check_any_row()
    numbers = in_threads(lambda name: _fit_number(columns, name, kinds), kinds.continuous, columns)
    categories = in_threads(lambda name: _categorical(name, name, columns.read(name)), kinds.categorical, columns)
    taken = set(columns.frame.columns)
    dates, parts = [], []
    for name in kinds.dates:
        date, made = _fit_date(columns, name, kinds.formats.get(name, "iso"), taken)
        dates.append(date)
        parts += made
    indicators = [_indicator(column.name, taken) for column in numbers if column.had_missing]
    return Features(
        dates=tuple(dates),
        continuous=(*numbers, *(column for column in parts if isinstance(column, Continuous))),
        categorical=(*categories, *(column for column in parts if isinstance(column, Categorical)), *indicators),
        left_out=kinds.left_out,
    )


def _fit_number(columns: Columns, name: str, kinds: Kinds) -> Continuous:
    form: Any = kinds.formats.get(name, "strict")
    return replace(_continuous(name, name, statistics_of(columns.numbers(name, form).values, name)), text=form)


def _fit_date(columns: Columns, name: str, form: Any, taken: set[str]) -> tuple[Date, list[Continuous | Categorical]]:  # noqa: ANN401
    """Return a date, and the columns that are made of it."""
    parts = DateParts(columns.timestamps(name, form))
    made = [_fit_part(parts, part, name, _free_name(f"{name}_{part}", taken)) for part in parts.varying]
    indicators = [_indicator(name, taken)] if parts.missing.any() else []
    return Date(name=name, parts=parts.varying, format=form), [*made, *indicators]


def _fit_part(parts: DateParts, part: DatePart, source: str, name: str) -> Continuous | Categorical:
    if part == "elapsed":
        return _continuous(name, source, statistics_of(parts.elapsed, source), part)
    values, _, counts = parts[part]
    if part in CONTINUOUS_PARTS:
        distinct, indices = np.unique(values, return_inverse=True)
        rows = np.bincount(indices, weights=counts).astype(np.int64)
        return _continuous(name, source, statistics_of_counts(distinct, rows, int(parts.missing.sum())), part)
    return _categorical(name, source, Numbers(values, "boolean" if values.dtype.kind == "b" else "integer"), part)


def _continuous(name: str, source: str, statistics: Statistics, part: DatePart | None = None) -> Continuous:
    return Continuous(
        name=name,
        source=source,
        mean=statistics.mean,
        std=statistics.std,
        fill=statistics.fill,
        had_missing=statistics.num_missing > 0,
        bins=statistics.edges,
        part=part,
    )


def _categorical(name: str, source: str, column: Column, part: DatePart | None = None) -> Categorical:
    vocabulary, ordered = vocabulary_of(column, source)
    return Categorical(name=name, source=source, vocabulary=vocabulary, ordered=ordered, part=part)


def _indicator(source: str, taken: set[str]) -> Categorical:
    """Return the category that marks missing values."""
    name = _free_name(f"{source}_missing", taken)
    return Categorical(name=name, source=source, vocabulary=(False, True), part="missing")


def _free_name(wanted: str, taken: set[str]) -> str:
    """Return a name for a derived column and add it to `taken`: the wanted name, or with `_2`, `_3`, … if it is taken.

    Example:
        >>> _free_name("age_missing", {"age", "age_missing"})
        'age_missing_2'
    """
    names = [wanted] if wanted not in taken else (f"{wanted}_{number}" for number in range(2, len(taken) + 3))
    name = next(name for name in names if name not in taken)
    taken.add(name)
    return name
