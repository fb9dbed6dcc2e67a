"""Drawn numbers are a function of seed, epoch, row and place, and look random."""

import numpy as np
import pytest

from tabvision.counter_random import stretched, uniforms


def test_numbers_are_the_rows_own_whatever_batch_it_comes_in() -> None:
    rows = np.array([5, 17, 900_000_000_000, 3])

    together = uniforms(1, 2, rows, 6)

    apart = [uniforms(1, 2, rows[place : place + 1], 6)[0] for place in range(4)]
    assert np.array_equal(together, np.stack(apart))
    assert np.array_equal(together[::-1], uniforms(1, 2, rows[::-1], 6))
    assert np.array_equal(together[:, :3], uniforms(1, 2, rows, 3)), "more places must not change the first ones"


@pytest.mark.parametrize(("seed", "epoch"), [(1, 0), (0, 1), (2**63, 0), (-1, 0), (0, 2**40)])
def test_another_seed_or_epoch_gives_other_numbers(seed: int, epoch: int) -> None:
    rows = np.arange(100)

    assert not np.isin(uniforms(seed, epoch, rows, 4), uniforms(0, 0, rows, 4)).any()


def test_seed_epoch_and_row_do_not_stand_for_one_another() -> None:
    drawn = [uniforms(seed, epoch, np.arange(4), 2) for seed in range(4) for epoch in range(4)]

    assert len(np.unique(np.stack(drawn))) == 4 * 4 * 4 * 2


def test_numbers_lie_in_the_unit_interval_and_are_even() -> None:
    drawn = uniforms(0, 0, np.arange(20_000), 5)

    assert drawn.min() >= 0
    assert drawn.max() < 1
    counts = np.histogram(drawn, bins=20, range=(0, 1))[0]
    statistic = ((counts - 5_000) ** 2 / 5_000).sum()
    assert statistic < 43.8  # chi-squared with 19 degrees of freedom: once in a thousand above


@pytest.mark.parametrize("lag", [1, 2, 64])
def test_neighboring_rows_and_places_are_unrelated(lag: int) -> None:
    drawn = uniforms(0, 0, np.arange(20_000), 3) - 0.5

    across_rows = (drawn[:-lag] * drawn[lag:]).mean() * 12
    across_places = (drawn[:, 0] * drawn[:, 1]).mean() * 12

    assert abs(across_rows) < 0.02
    assert abs(across_places) < 0.03


def test_one_set_of_numbers_never_changes_between_versions() -> None:
    drawn = uniforms(3, 1, np.array([0, 1]), 2)

    assert np.array_equal(drawn, [[splitmix_of(3, 1, row, place) for place in range(2)] for row in range(2)])


def splitmix_of(seed: int, epoch: int, row: int, place: int) -> float:
    """The formula in whole numbers of Python, which never overflow."""
    golden, word = 0x9E3779B97F4A7C15, 2**64

    def mixed(number: int) -> int:
        number = (number ^ (number >> 30)) * 0xBF58476D1CE4E5B9 % word
        number = (number ^ (number >> 27)) * 0x94D049BB133111EB % word
        return number ^ (number >> 31)

    key = mixed((mixed(seed) + golden * epoch) % word)
    return (mixed((mixed((key + golden * row) % word) + golden * (place + 1)) % word) >> 11) / 2**53


def test_stretched_keeps_order_and_ends() -> None:
    assert stretched(np.array([0.0, 0.25, 1.0]), 2, 4).tolist() == [2.0, 2.5, 4.0]
