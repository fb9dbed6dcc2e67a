"""Folds: each training row belongs to one of k parts of about equal size."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def assign_folds(
    num_rows: int, num_folds: int, *, seed: int, codes: NDArray[Any] | None = None, groups: NDArray[Any] | None = None
) -> NDArray[np.int64]:
    """Return the fold of each row, (num_rows,) int64 from 0; sizes differ by at most one row, unless groups stay together.

    Args:
        num_rows: Number of rows.
        num_folds: Number of folds; with fewer rows or groups some folds are empty.
        seed: Determines the folds.
        codes: The class of each row: each fold gets an equal part of every class.
        groups: The group of each row: the rows of a group are in one fold.

    Example:
        >>> np.bincount(assign_folds(10, 4, seed=0)).tolist()
        [3, 3, 2, 2]
        >>> assign_folds(5, 2, seed=0, groups=np.array(["a", "a", "b", "a", "b"])).tolist()
        [0, 0, 1, 0, 1]
    """
    order = np.random.default_rng((seed, num_folds)).permutation(num_rows)
    if groups is not None:
        _, numbers, sizes = np.unique(groups, return_inverse=True, return_counts=True)
        filled, fold_of = np.zeros(num_folds, dtype=np.int64), np.empty(len(sizes), dtype=np.int64)
        for group in np.argsort(-sizes, kind="stable"):  # large groups first, each into the smallest fold
            fold_of[group] = filled.argmin()
            filled[fold_of[group]] += sizes[group]
        return fold_of[numbers.reshape(-1)]
    if codes is not None:
        order = order[np.argsort(codes[order], kind="stable")]
    folds = np.empty(num_rows, dtype=np.int64)
    folds[order] = np.arange(num_rows) % num_folds
    return folds
