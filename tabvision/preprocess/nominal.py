"""Nominal numbers: find whole numbers that name something, such as a subject, whose single values tell of the target."""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tabvision.errors import listed
from tabvision.preprocess.column_types import Kinds
from tabvision.preprocess.columns import Levels, Numbers, Text, lack_digits
from tabvision.preprocess.frame import Columns, Frame
from tabvision.preprocess.parse import NO_DATE

_logger = logging.getLogger("tabvision")
_MAX_ROWS = 200_000  # the first are looked at
_MAX_WORK = 2e9  # rows times the square of the columns of the linear fit
_MIN_ROWS, _MIN_REPEATS = 30, 2  # rows, and rows a value on average, below which nothing is concluded
_MIN_GAIN, _MIN_Z = 0.05, 3.0  # the fraction of the squared error that the values explain, and its standard errors
_PRIOR = 2.0  # rows with an effect of 0 that each value is taken to have beside its own
_MAX_CLASSES = 10  # of a target, the most frequent
_NOTE = (
    "whole numbers that name something, since single values tell of the target: used as a number and as a category. "
    "To use it as a number alone, name it in continuous= (--continuous)."
)


def with_nominal(
    kinds: Kinds,
    frame: Frame,
    target: NDArray[Any],
    *,
    stated: Collection[str] = (),
    group: str | None = None,
) -> Kinds:
    """Return the kinds with the numbers that name something (nominal numbers) as `nominal`, and log a note on them.

    The number of a subject, a shop or a team says little by its size, but much by itself: rows of one subject are alike. A
    whole number is such a name if the mean target of the other rows of its value explains more than that of the rows of the
    neighboring values: at least 5 % of the squared error (of ranks, for numbers) that the categories and a linear effect of
    the numbers leave, by at least 3 standard errors.

    Args:
        kinds: The kind of each column.
        frame: The training rows, or their `Columns`.
        target: (N,) or (N, C), the encoded target of these rows; integers are classes.
        stated: Columns that the user named as numbers, which stay numbers alone.
        group: The column by which whole groups are held out: other rows are then those of other groups, since a number
            that stands for its group tells nothing of new ones.

    Example:
        >>> import pandas as pd
        >>> subject = np.arange(400) % 40
        >>> skill, noise = np.random.default_rng(0).normal(size=(2, 400))
        >>> frame = pd.DataFrame({"subject": subject, "age": subject % 7 + 20 + noise})
        >>> kinds = with_nominal(Kinds(continuous=("subject", "age")), frame, skill[subject] + 0.5 * noise)
        'subject': whole numbers that name something, since single values tell of the target: used as a number and as a ...
        >>> kinds.nominal
        ('subject',)
    """
    columns = Columns.of(frame)
    if len(columns) > _MAX_ROWS:
        columns, target = columns.take(np.arange(_MAX_ROWS)), target[:_MAX_ROWS]
    groups = np.arange(len(columns)) if group is None else _codes_of_labels(columns.read(group).to_labels())
    candidates = {}
    for name in kinds.continuous:
        if name not in stated and (codes := _codes_of_values(kinds.numbers(columns, name))) is not None:
            candidates[name] = codes
    if not candidates or len(columns) < _MIN_ROWS:
        return kinds
    left = _residuals(columns, kinds, _as_numbers(target), groups)
    names = tuple(
        name for name, codes in candidates.items() if _explains(codes[: len(left)], left, groups[: len(left)])
    )
    if names:
        _logger.info("%s: %s", listed([repr(name) for name in names]), _NOTE)
    return replace(kinds, nominal=names)


def _codes_of_values(column: Numbers) -> NDArray[np.int64] | None:
    """Return the index of each row's value, -1 where missing, if it may name something: whole numbers that repeat.

    Example:
        >>> [_codes_of_values(Numbers(np.array(it), "float")) for it in ([7.0, np.nan, 7.0], [0.5, 0.5], [1.0, 2.0])]
        [array([ 0, -1,  0]), None, None]
    """
    values = column.values.astype(np.float64)
    present = np.isfinite(values)
    if lack_digits(values) or (values[present] % 1).any():
        return None
    distinct, inverse = np.unique(values[present], return_inverse=True)
    if len(distinct) * _MIN_REPEATS > len(inverse):
        return None
    codes: NDArray[np.int64] = np.full(len(values), -1, dtype=np.int64)
    codes[present] = inverse
    return codes


def _as_numbers(target: NDArray[Any]) -> NDArray[np.float64]:
    """Return the target as (N, C) numbers: a column for each frequent class, or ranks, so that no outlier decides."""
    if target.ndim == 1 and target.dtype.kind in "iub":
        classes, counts = np.unique(target, return_counts=True)
        frequent = classes[np.argsort(-counts, kind="stable")[:_MAX_CLASSES]]
        return np.asarray(target[:, None] == frequent, dtype=np.float64)
    ranks = pd.DataFrame(target.reshape(len(target), -1)).rank(pct=True).fillna(0.5)
    return np.asarray(ranks, dtype=np.float64)


def _residuals(
    columns: Columns, kinds: Kinds, target: NDArray[np.float64], groups: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return what categories and a linear effect of numbers leave of the target; of the first rows if columns are many."""
    left = target - target.mean(axis=0)
    for name in kinds.categorical:
        left -= _mean_of_others(_codes_of_labels(columns.read(name).to_labels()), left, groups)
    inputs = [kinds.numbers(columns, name).values for name in kinds.continuous]
    for name in kinds.dates:
        ticks = kinds.timestamps(columns, name).values
        inputs.append(np.where(ticks == NO_DATE, np.nan, ticks))
    rows = max(_MIN_ROWS, min(len(left), int(_MAX_WORK / len(inputs) ** 2)))
    matrix, left = np.stack([_standardized(it[:rows]) for it in inputs], axis=1), left[:rows]
    ridge = len(inputs) * np.eye(len(inputs))  # the more inputs there are, the more of chance they would explain
    weights = np.linalg.solve(matrix.T @ matrix + ridge, matrix.T @ left)
    return np.asarray(left - matrix @ weights)


def _codes_of_labels(column: Text | Numbers | Levels) -> NDArray[np.int64]:
    """Return the index of each row's label, that of missing ones included."""
    codes = column.codes if isinstance(column, Levels) else column.distinct()[0]
    return codes.astype(np.int64) + 1


def _standardized(values: NDArray[Any]) -> NDArray[np.float64]:
    """Return numbers with mean 0 and standard deviation 1, 0 where they are missing.

    Example:
        >>> _standardized(np.array([1.0, 3.0, 1.0, 3.0])).tolist()
        [-1.0, 1.0, -1.0, 1.0]
    """
    values = values.astype(np.float64)
    present = np.isfinite(values)
    centered = np.where(present, values - (values[present].mean() if present.any() else 0.0), 0.0)
    return np.asarray(centered / max(float(centered.std()), 1e-12))


def _mean_of_others(
    codes: NDArray[np.int64], numbers: NDArray[np.float64], groups: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return for each row the mean of the rows of its code in other groups, drawn to 0 if these are few.

    Example:
        >>> codes, numbers, groups = np.array([0, 0, 0, 1]), np.array([[6.0], [3.0], [9.0], [5.0]]), np.array([0, 0, 1, 2])
        >>> _mean_of_others(codes, numbers, groups).ravel().tolist()
        [3.0, 3.0, 2.25, 0.0]
    """
    pairs = np.unique(codes * (groups.max() + 1) + groups, return_inverse=True)[1]
    (counts, sums), (own_counts, own_sums) = _totals(codes, numbers), _totals(pairs, numbers)
    return np.asarray((sums[codes] - own_sums[pairs]) / (counts[codes] - own_counts[pairs] + _PRIOR))


def _totals(codes: NDArray[np.int64], numbers: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the number of rows of each code, (codes, 1), and the sums of their numbers, (codes, C)."""
    sums = [np.bincount(codes, weights=column) for column in numbers.T]
    return np.bincount(codes)[:, None].astype(np.float64), np.stack(sums, axis=1)


def _explains(codes: NDArray[np.int64], left: NDArray[np.float64], groups: NDArray[np.int64]) -> bool:
    """Return whether the values of a column explain enough of what is left of the target beyond their neighbors."""
    codes, left, groups = codes[codes >= 0], left[codes >= 0], groups[codes >= 0]
    if not len(codes):
        return False
    counts, sums = (np.pad(it, [(1, 1), (0, 0)]) for it in _totals(codes, left))
    # for each row the mean of the rows of the code before its own and of the code after it
    mean_of_neighbors = ((sums[:-2] + sums[2:]) / (counts[:-2] + counts[2:] + _PRIOR))[codes]
    nothing, neighbors, own = (
        ((left - found) ** 2).sum(axis=1)
        for found in (np.zeros_like(left), mean_of_neighbors, _mean_of_others(codes, left, groups))
    )
    before = min(nothing, neighbors, key=np.sum)
    by_value = np.bincount(codes, weights=before - own)  # rows of one value are no independent evidence
    gain, deviation = by_value.sum(), np.sqrt((by_value**2).sum())
    return bool(gain > 0 and gain >= _MIN_GAIN * nothing.sum() and gain >= _MIN_Z * deviation)
