"""Random numbers as a function of the row, without a state to save, share or restore."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_STAGES = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))


def uniforms(seed: int, epoch: int, index: NDArray[np.int64], num: int) -> NDArray[np.float64]:
    """Return uniform numbers in [0, 1) for each row, always the same for one seed, epoch and row.

    They do not depend on the row's batch, worker or process, so a resumed epoch continues with the same numbers as an
    uninterrupted one.

    Args:
        seed: The run's seed.
        epoch: Epoch, from 0.
        index: Row numbers in the source.
        num: Number of random numbers per row.

    Shape:
        - index: (B,) int64
        - returns: (B, num) float64

    Source:
        SplitMix64, see `random_bits`: seed, epoch, row and position each enter as a counter.

    Example:
        >>> rows = np.array([7, 8])
        >>> bool((uniforms(0, 3, rows, 2)[1] == uniforms(0, 3, rows[1:], 2)).all())
        True
    """
    # each word is an array, since numpy warns if a scalar overflows
    first, zero, second = np.array([[seed % 2**64], [0], [epoch % 2**64]], dtype=np.uint64)
    key = random_bits(random_bits(first, zero), second)
    rows = random_bits(key, np.asarray(index, dtype=np.int64).view(np.uint64))
    words = random_bits(rows[:, None], np.arange(1, num + 1, dtype=np.uint64))
    words >>= np.uint64(11)
    found = words.astype(np.float64)
    found *= 2.0**-53
    return found


def seed_of(*numbers: int) -> int:
    """Return a seed of 64 bits for a torch generator, a function of these numbers, each at least 0.

    Example:
        >>> seed_of(0, 3) == seed_of(0, 3) != seed_of(3, 0)
        True
    """
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])


def random_bits(key: NDArray[np.uint64], counter: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return 64 random bits for each key and counter.

    Shape:
        - key: uint64, broadcast against the counter
        - counter: (*) uint64
        - returns: (*) uint64

    Source: SplitMix64 (Steele, Lea, Flood 2014), its finalizer over a counter.

    Example:
        >>> hex(random_bits(np.array([0], np.uint64), np.array([1], np.uint64))[0])  # the generator's first number
        '0xe220a8397b1dcdaf'
    """
    words: NDArray[np.uint64] = np.asarray(key + _GOLDEN * counter)
    for shift, factor in _STAGES:
        words ^= words >> np.uint64(shift)
        words *= np.uint64(factor)
    words ^= words >> np.uint64(31)
    return words


def stretched(draws: NDArray[np.float64], low: float, high: float) -> NDArray[np.float64]:
    """Scale numbers in [0, 1) to [low, high).

    Example:
        >>> stretched(np.array([0.0, 0.5]), -10, 10).tolist()
        [-10.0, 0.0]
    """
    return low + (high - low) * draws
