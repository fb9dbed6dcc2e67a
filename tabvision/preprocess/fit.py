"""Fit all preprocessing of a table at once: the facts that the schema keeps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tabvision.errors import accepting_who, speaking
from tabvision.preprocess.categories import vocabulary_of
from tabvision.preprocess.column_types import Kinds
from tabvision.preprocess.columns import NumberKind, Numbers
from tabvision.preprocess.datetimes import CONTINUOUS_PARTS, DateParts, varying_parts
from tabvision.preprocess.encode import in_threads
from tabvision.preprocess.frame import Columns, Frame, columns_of, free_name
from tabvision.preprocess.statistics import Facts, facts_of, facts_of_counts
from tabvision.schema import Categorical, Continuous, Date, DatePart, LeftOut


@dataclass(frozen=True)
class Features:
    """What a schema says of the columns that a network reads; a schema adds the target.

    Args:
        dates: Dates, which are cut into parts.
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
    """Return the facts of every column over the training rows.

    Args:
        frame: The training rows, or their `Columns`; no others: what is not in them must not be known.
        kinds: What each column is.

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
    columns = columns_of(frame)
    columns.check_names()
    columns.check_has([*kinds.continuous, *kinds.categorical, *kinds.dates])
    columns.check_any_row()
    numbers = in_threads(lambda name: _fit_number(columns, name), kinds.continuous, columns)
    categories = in_threads(lambda name: _fit_category(columns, name), kinds.categorical, columns)
    taken = set(columns.frame.columns)
    dates, parts = [], []
    for name in kinds.dates:
        date, made = _fit_date(columns, name, taken)
        dates.append(date)
        parts += made
    indicators = [_indicator(column.name, taken) for column in numbers if column.had_missing]
    return Features(
        dates=tuple(dates),
        continuous=(*numbers, *(column for column in parts if isinstance(column, Continuous))),
        categorical=(*categories, *(column for column in parts if isinstance(column, Categorical)), *indicators),
        left_out=kinds.left_out,
    )


def _fit_number(columns: Columns, name: str) -> Continuous:
    return _continuous(name, name, facts_of(columns.numbers(name).values, name))


def _fit_category(columns: Columns, name: str) -> Categorical:
    vocabulary, ordered = vocabulary_of(columns.read(name))
    return Categorical(name=name, source=name, vocabulary=vocabulary, ordered=ordered)


def _fit_date(columns: Columns, name: str, taken: set[str]) -> tuple[Date, list[Continuous | Categorical]]:
    parts = DateParts(columns.timestamps(name))
    kept = varying_parts(parts)
    made = [_fit_part(parts, part, name, _take(f"{name}_{part}", taken)) for part in kept]
    indicators = [_indicator(name, taken)] if parts.missing.any() else []
    return Date(name=name, parts=kept), [*made, *indicators]


def _fit_part(parts: DateParts, part: DatePart, source: str, name: str) -> Continuous | Categorical:
    if part == "elapsed":
        return _continuous(name, source, facts_of(parts.elapsed, source), part)
    values, _, counts = parts[part]
    if part in CONTINUOUS_PARTS:
        distinct, indices = np.unique(values, return_inverse=True)
        rows = np.bincount(indices, weights=counts).astype(np.int64)
        return _continuous(name, source, facts_of_counts(distinct, rows, int(parts.missing.sum())), part)
    kind: NumberKind = "boolean" if values.dtype.kind == "b" else "integer"
    return Categorical(name=name, source=source, vocabulary=vocabulary_of(Numbers(values, kind))[0], part=part)


def _continuous(name: str, source: str, facts: Facts, part: DatePart | None = None) -> Continuous:
    return Continuous(
        name=name,
        source=source,
        mean=facts.mean,
        std=facts.std,
        fill=facts.fill,
        had_missing=facts.num_missing > 0,
        bins=facts.edges,
        part=part,
    )


def _indicator(source: str, taken: set[str]) -> Categorical:
    """Return the category that marks missing values."""
    name = _take(f"{source}_missing", taken)
    return Categorical(name=name, source=source, vocabulary=(False, True), part="missing")


def _take(wanted: str, taken: set[str]) -> str:
    name = free_name(wanted, taken)
    taken.add(name)
    return name
