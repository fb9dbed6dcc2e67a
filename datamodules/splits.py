"""The split that the figures of `benchmarks/` and `models/` are taken on."""

from __future__ import annotations

from typing import Literal

import numpy as np

from tabvision.data import IndexSplit, Split
from tabvision.errors import UnknownNameError

SPLIT_SEED = 42  # never changes, so that figures taken at different times are on the same rows
BenchmarkSplit = float | Split | Literal["benchmark"] | None
"""As `split` of TabularDataModule, or "benchmark" for the fixed rows of `benchmark_split`."""


def benchmark_split(num_rows: int, share: float = 0.2) -> IndexSplit:
    """One random split that never changes, whatever the training seed: the end of a permutation validates.

    Args:
        num_rows: Rows to divide.
        share: Of the rows that validate, in (0, 1).

    Source: `numpy.random.RandomState(42).permutation(n)`, the first 80 % train, the rest validates.

    Example:
        >>> list(benchmark_split(10).validation)
        [3, 6]
    """
    order = np.random.RandomState(SPLIT_SEED).permutation(num_rows)
    return IndexSplit(np.sort(order[int((1 - share) * num_rows) :]).tolist())


def chosen_split(who: str, split: BenchmarkSplit, num_rows: int) -> float | Split | None:
    """What TabularDataModule is told for a plug-in's `split`.

    Raises:
        UnknownNameError: A word that is not "benchmark".

    Example:
        >>> chosen_split("demo", 0.1, 100)
        0.1
    """
    if not isinstance(split, str):
        return split
    if split != "benchmark":
        raise UnknownNameError(who, "split", split, ["benchmark"])
    return benchmark_split(num_rows)
