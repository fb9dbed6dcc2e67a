"""The fixed split behind the figures in `benchmarks/` and `models/`."""

from __future__ import annotations

from typing import Literal

import numpy as np

from tabvision.checks import check_choice
from tabvision.data import IndexSplit, Split

SPLIT_SEED = 42  # never changes, so that all figures use the same rows
BenchmarkSplit = float | Split | Literal["benchmark", "benchmark_test"] | None
"""As `split` of TabularDataModule; "benchmark" for `benchmark_split`, "benchmark_test" for `split_with_test`."""


def benchmark_split(num_rows: int, fraction: float = 0.2) -> IndexSplit:
    """Return a fixed random split, whatever the training seed: the end of a permutation validates.

    Args:
        num_rows: Number of rows to split.
        fraction: Fraction of the rows for validation, in (0, 1).

    Source: `numpy.random.RandomState(42).permutation(n)`, the first 80 % for training, the rest for validation.

    Example:
        >>> list(benchmark_split(10).validation)
        [3, 6]
    """
    order = np.random.RandomState(SPLIT_SEED).permutation(num_rows)
    return IndexSplit(np.sort(order[int((1 - fraction) * num_rows) :]).tolist())


def split_with_test(num_rows: int) -> IndexSplit:
    """Return a fixed random split that tests on `benchmark_split`'s validation rows and validates on a fifth of the rest.

    Example:
        >>> parts = split_with_test(10)
        >>> list(parts.test), list(parts.validation)
        ([3, 6], [4, 8])
    """
    test = list(benchmark_split(num_rows).validation)
    others = np.setdiff1d(np.arange(num_rows), test)
    return IndexSplit(others[list(benchmark_split(len(others)).validation)].tolist(), test)


def chosen_split(split: BenchmarkSplit, num_rows: int) -> float | Split | None:
    """Return the `split` of TabularDataModule for a plug-in's `split`.

    Raises:
        UnknownNameError: The split is a string other than "benchmark" or "benchmark_test".

    Example:
        >>> chosen_split(0.1, 100)
        0.1
    """
    if not isinstance(split, str):
        return split
    check_choice("split", split, ["benchmark", "benchmark_test"])
    return benchmark_split(num_rows) if split == "benchmark" else split_with_test(num_rows)
