"""Random numbers that are a function of the row, so that there is no state to save, to share or to restore."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_STAGES = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))


def uniforms(seed: int, epoch: int, index: NDArray[np.int64], num: int) -> NDArray[np.float64]:
    """Numbers drawn uniformly from [0, 1) for each row: always the same for one seed, epoch and row.

    Neither the batch that a row comes in, nor the worker, nor the process changes them, so a resumed epoch goes on with
    the numbers that it would have had.

    Args:
        seed: The run's seed.
        epoch: From 0.
        index: Row numbers in the source.
        num: How many numbers each row needs.

    Shape:
        - index: (B,) int64
        - returns: (B, num) float64

    Source:
        The finalizer of SplitMix64 (Steele, Lea, Flood 2014) over a counter: seed, epoch, row and place each enter by
        one step of the golden ratio times 2**64.

    Example:
        >>> rows = np.array([7, 8])
        >>> bool((uniforms(0, 3, rows, 2)[1] == uniforms(0, 3, rows[1:], 2)).all())
        True
    """
    key = _mixed(_mixed(_word(seed)) + _GOLDEN * _word(epoch))
    rows = _mixed(key + _GOLDEN * np.asarray(index).astype(np.uint64))
    words = _mixed(rows[:, None] + _GOLDEN * np.arange(1, num + 1, dtype=np.uint64))
    return (words >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _word(number: int) -> NDArray[np.uint64]:
    """A whole number as one unsigned word; an array, since numpy warns where a scalar overflows."""
    return np.array([number % 2**64], dtype=np.uint64)


def _mixed(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    for shift, factor in _STAGES:
        words = (words ^ (words >> np.uint64(shift))) * np.uint64(factor)
    return words ^ (words >> np.uint64(31))


def stretched(draws: NDArray[np.float64], low: float, high: float) -> NDArray[np.float64]:
    """Numbers in [0, 1) as numbers in [low, high).

    Example:
        >>> stretched(np.array([0.0, 0.5]), -10, 10).tolist()
        [-10.0, 0.0]
    """
    return low + (high - low) * draws
