"""Nominal numbers: find whole numbers that are names, such as a subject's, because each value predicts the target."""

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
from tabvision.preprocess.columns import Column, Numbers, lack_digits
from tabvision.preprocess.frame import Columns, Frame
from tabvision.preprocess.parse import NO_DATE

_logger = logging.getLogger("tabvision")
_MAX_ROWS = 200_000  # only the first rows are used
_MAX_WORK = 2e9  # limits rows times the square of the columns in the linear fit
_MIN_ROWS, _MIN_REPEATS = 30, 2  # the fewest rows, and rows per value on average, for a conclusion
_MIN_GAIN, _MIN_Z = 0.05, 3.0  # the least fraction of the squared error to explain, and standard errors above 0
_PRIOR = 2.0  # pseudo-rows with an effect of 0 added to each value
_MAX_CLASSES = 10  # only a target's most frequent classes are used
_NOTE = (
    "integers that name something, since single values help predict the target: used as both a number and a category. "
    "To use it only as a number, name it in continuous= (--continuous)."
)


def with_nominal(
    kinds: Kinds,
    frame: Frame,
    target: NDArray[Any],
    *,
    stated: Collection[str] = (),
    group: str | None = None,
) -> Kinds:
    """Return the kinds with numbers that are names (nominal numbers) listed in `nominal`, and log a note on them.

    For the number of a subject, a shop or a team, the size means little but the identity means a lot, since rows of one
    subject are similar. A whole number is nominal if the mean target of other rows with the same value explains more than
    that of rows with the neighboring values. The gain must be at least 5 % of the squared error (of ranks, for numbers) that
    remains after the categories and a linear effect of the numbers, and at least 3 standard errors.

    Args:
        kinds: The kind of each column.
        frame: The training rows, or their `Columns`.
        target: (N,) or (N, C), the encoded target of these rows; integers are classes.
        stated: Columns that the user named as numbers, which stay numbers only.
        group: The column of groups that are held out as a whole. Only rows of other groups then count as other rows, since a
            number that identifies its group does not help with new groups.

    Example:
        >>> import pandas as pd
        >>> subject = np.arange(400) % 40
        >>> skill, noise = np.random.default_rng(0).normal(size=(2, 400))
        >>> frame = pd.DataFrame({"subject": subject, "age": subject % 7 + 20 + noise})
        >>> kinds = with_nominal(Kinds(continuous=("subject", "age")), frame, skill[subject] + 0.5 * noise)
        'subject': integers that name something, since single values help predict the target: used as both a number and a ...
        >>> kinds.nominal
        ('subject',)
    """
    columns = Columns.of(frame)
    if len(columns) > _MAX_ROWS:
        columns, target = columns.take(np.arange(_MAX_ROWS)), target[:_MAX_ROWS]
    groups = np.arange(len(columns)) if group is None else _codes_of_labels(columns.read(group))
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
    """Return the index of each row's value, -1 for missing, if the column can be nominal: whole numbers that repeat.

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
    """Return the target as (N, C) numbers: a column for each frequent class, or ranks, which limit outliers."""
    if target.ndim == 1 and target.dtype.kind in "iub":
        classes, counts = np.unique(target, return_counts=True)
        frequent = classes[np.argsort(-counts, kind="stable")[:_MAX_CLASSES]]
        return np.asarray(target[:, None] == frequent, dtype=np.float64)
    ranks = pd.DataFrame(target.reshape(len(target), -1)).rank(pct=True).fillna(0.5)
    return np.asarray(ranks, dtype=np.float64)


def _residuals(
    columns: Columns, kinds: Kinds, target: NDArray[np.float64], groups: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the target's residuals after categories and a linear effect of numbers; only first rows if columns are many."""
    left = target - target.mean(axis=0)
    for name in kinds.categorical:
        left -= _mean_of_others(_codes_of_labels(columns.read(name)), left, groups)
    inputs = [kinds.numbers(columns, name).values for name in kinds.continuous]
    for name in kinds.dates:
        ticks = kinds.timestamps(columns, name).values
        inputs.append(np.where(ticks == NO_DATE, np.nan, ticks))
    rows = max(_MIN_ROWS, min(len(left), int(_MAX_WORK / len(inputs) ** 2)))
    matrix, left = np.stack([_standardized(it[:rows]) for it in inputs], axis=1), left[:rows]
    ridge = len(inputs) * np.eye(len(inputs))  # more inputs would explain more by chance
    weights = np.linalg.solve(matrix.T @ matrix + ridge, matrix.T @ left)
    return np.asarray(left - matrix @ weights)


def _codes_of_labels(column: Column) -> NDArray[np.int64]:
    """Return the index of each row's label, counting missing as one more label."""
    return column.to_labels().distinct()[0].astype(np.int64) + 1


def _standardized(values: NDArray[Any]) -> NDArray[np.float64]:
    """Return numbers with mean 0 and standard deviation 1, and 0 for missing ones.

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
    """Return for each row the mean over rows with the same code in other groups, shrunk toward 0 if these are few.

    Example:
        >>> codes, numbers, groups = np.array([0, 0, 0, 1]), np.array([[6.0], [3.0], [9.0], [5.0]]), np.array([0, 0, 1, 2])
        >>> _mean_of_others(codes, numbers, groups).ravel().tolist()
        [3.0, 3.0, 2.25, 0.0]
    """
    pairs = np.unique(codes * (groups.max() + 1) + groups, return_inverse=True)[1]
    (counts, sums), (own_counts, own_sums) = _totals(codes, numbers), _totals(pairs, numbers)
    return np.asarray((sums[codes] - own_sums[pairs]) / (counts[codes] - own_counts[pairs] + _PRIOR))


def _totals(codes: NDArray[np.int64], numbers: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the number of rows with each code, (codes, 1), and the sums of their numbers, (codes, C)."""
    sums = [np.bincount(codes, weights=column) for column in numbers.T]
    return np.bincount(codes)[:, None].astype(np.float64), np.stack(sums, axis=1)


def _explains(codes: NDArray[np.int64], left: NDArray[np.float64], groups: NDArray[np.int64]) -> bool:
    """Return whether a column's values explain enough of the residuals, beyond what neighboring values explain."""
    codes, left, groups = codes[codes >= 0], left[codes >= 0], groups[codes >= 0]
    if not len(codes):
        return False
    counts, sums = (np.pad(it, [(1, 1), (0, 0)]) for it in _totals(codes, left))
    # for each row the mean over rows with the previous and the next code
    mean_of_neighbors = ((sums[:-2] + sums[2:]) / (counts[:-2] + counts[2:] + _PRIOR))[codes]
    nothing, neighbors, own = (
        ((left - found) ** 2).sum(axis=1)
        for found in (np.zeros_like(left), mean_of_neighbors, _mean_of_others(codes, left, groups))
    )
    before = min(nothing, neighbors, key=np.sum)
    by_value = np.bincount(codes, weights=before - own)  # rows with the same value are not independent
    gain, deviation = by_value.sum(), np.sqrt((by_value**2).sum())
    return bool(gain > 0 and gain >= _MIN_GAIN * nothing.sum() and gain >= _MIN_Z * deviation)
