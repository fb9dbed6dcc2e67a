"""Fit all preprocessing of a table at once: the facts that the schema keeps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tabvision.errors import accepting_who, speaking
from tabvision.preprocess.categories import vocabulary_of
from tabvision.preprocess.checks import check_frame, check_has, check_rows, free_name
from tabvision.preprocess.column_types import Kinds
from tabvision.preprocess.columns import NumberKind, Numbers, read_column
from tabvision.preprocess.convert import as_moments, as_numbers
from tabvision.preprocess.datetimes import CONTINUOUS_PARTS, Parts, varying_parts
from tabvision.preprocess.encode import in_threads
from tabvision.preprocess.statistics import Facts, facts_of, facts_of_counts
from tabvision.schema import Categorical, Continuous, Date, LeftOut

FLAG = (False, True)  # vocabulary of a `…_missing` column


@dataclass(frozen=True)
class Features:
    """What a schema says of the columns that a network reads; a schema adds the target.

    Args:
        dates: Dates, which are cut into parts.
        continuous: Numbers, in the order of the first array.
        categorical: Categories, in the order of the second array: the user's own, parts of dates, `…_missing` flags.
        left_out: Columns not used, and why.
    """

    dates: tuple[Date, ...]
    continuous: tuple[Continuous, ...]
    categorical: tuple[Categorical, ...]
    left_out: tuple[LeftOut, ...]


@accepting_who
@speaking("fit_features")
def fit_features(frame: pd.DataFrame, kinds: Kinds) -> Features:
    """The facts of every column over the training rows.

    Args:
        frame: The training rows, no others: what is not in them must not be known.
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
    check_frame(frame)
    check_has(frame, [*kinds.continuous, *kinds.categorical, *kinds.dates])
    check_rows(frame)
    size = len(frame)
    numbers = in_threads(lambda name: _fit_number(frame, name), kinds.continuous, size)
    categories = in_threads(lambda name: _fit_category(frame, name), kinds.categorical, size)
    taken = set(frame.columns)
    dates, parts = [], []
    for name in kinds.dates:
        date, columns = _fit_date(frame, name, taken)
        dates.append(date)
        parts += columns
    flags = [_flag(column.name, taken) for column in numbers if column.had_missing]
    return Features(
        dates=tuple(dates),
        continuous=(*numbers, *(column for column in parts if isinstance(column, Continuous))),
        categorical=(*categories, *(column for column in parts if isinstance(column, Categorical)), *flags),
        left_out=kinds.left_out,
    )


def _fit_number(frame: pd.DataFrame, name: str) -> Continuous:
    facts = facts_of(as_numbers(read_column(frame[name], name), name).values, name)
    return _continuous(name, name, facts)


def _fit_category(frame: pd.DataFrame, name: str) -> Categorical:
    vocabulary, ordered = vocabulary_of(read_column(frame[name], name))
    return Categorical(name=name, source=name, vocabulary=vocabulary, ordered=ordered)


def _fit_date(frame: pd.DataFrame, name: str, taken: set[str]) -> tuple[Date, list[Continuous | Categorical]]:
    parts = Parts(as_moments(read_column(frame[name], name), name))
    kept = varying_parts(parts)
    columns: list[Continuous | Categorical] = []
    for part in kept:
        column_name = _take(f"{name}_{part}", taken)
        if part == "elapsed":
            columns.append(_continuous(column_name, name, facts_of(parts.elapsed, name)))
            continue
        places = parts.places(part)
        if part in CONTINUOUS_PARTS:
            facts = _facts_of_part(places.parts[part], places.counts, int(parts.gaps.sum()))
            columns.append(_continuous(column_name, name, facts))
        else:
            kind: NumberKind = "boolean" if places.parts[part].dtype.kind == "b" else "integer"
            vocabulary, _ = vocabulary_of(Numbers(places.parts[part], kind))
            columns.append(Categorical(name=column_name, source=name, vocabulary=vocabulary))
    if parts.gaps.any():
        columns.append(_flag(name, taken))
    return Date(name=name, parts=kept), columns


def _facts_of_part(values: NDArray[Any], counts: NDArray[np.int64], num_missing: int) -> Facts:
    distinct, places = np.unique(values, return_inverse=True)
    return facts_of_counts(distinct, np.bincount(places, weights=counts).astype(np.int64), num_missing)


def _continuous(name: str, source: str, facts: Facts) -> Continuous:
    return Continuous(
        name=name,
        source=source,
        mean=facts.mean,
        spread=facts.spread,
        fill=facts.fill,
        had_missing=facts.num_missing > 0,
        bins=facts.edges,
    )


def _flag(source: str, taken: set[str]) -> Categorical:
    return Categorical(name=_take(f"{source}_missing", taken), source=source, vocabulary=FLAG)


def _take(wanted: str, taken: set[str]) -> str:
    name = free_name(wanted, taken)
    taken.add(name)
    return name
