"""Rates read off a curve: fastai's numbers on fastai's recorded curve, and each way on curves with a known answer."""

import itertools
import json
import math
from pathlib import Path

import pytest

from tabvision.tuning import suggestions

FINDER = json.loads((Path(__file__).parents[1] / "callbacks" / "fastai_recorded.json").read_text())["finder"]
WAYS = {
    "valley": suggestions.valley,
    "steep": suggestions.steep,
    "minimum": suggestions.minimum,
    "slide": suggestions.slide,
}
EVERY_WAY = WAYS | {"lowest": suggestions.lowest}


@pytest.mark.parametrize("way", WAYS)
def test_suggestions_equal_fastai_on_the_recorded_curve(way: str) -> None:
    lrs, losses = suggestions.usable(FINDER["lrs"], FINDER["losses"], 100)

    assert WAYS[way](lrs, losses) == pytest.approx(FINDER["suggestions"][way], rel=1e-5)


def test_the_usable_part_leaves_out_the_ends_and_what_is_no_number() -> None:
    lrs, losses = suggestions.usable(range(1, 101), range(100), 100)
    assert (lrs[0], lrs[-1], losses[0], losses[-1]) == (11, 95, 10, 94)

    losses = [1.0] * 30 + [math.nan] + [1.0] * 69
    assert len(suggestions.usable(range(100), losses, 100)[1]) == 20
    assert len(suggestions.usable(range(40), [1.0] * 40, 100)[1]) == 25


def test_steepest_is_over_the_logarithm_of_the_rate() -> None:
    # per unit of rate the first fall is steeper, per decade the second
    assert suggestions.steep([0.01, 0.1, 1.0], [2.0, 1.7, 1.0]) == 0.1


def test_valley_lies_in_the_longest_fall_and_not_in_a_deeper_short_one() -> None:
    falls = [float(12 - place) for place in range(12)]
    losses = [9.0, 0.0, *[20 + loss for loss in falls]]

    assert 2 <= suggestions.valley([float(place) for place in range(14)], losses) <= 13


def test_a_curve_that_never_falls_still_has_an_answer(subtests: pytest.Subtests) -> None:
    for way, losses in itertools.product(EVERY_WAY, [[1.0, 1.0], [1.0, 2.0, 3.0], [3.0] * 20]):
        with subtests.test(way=way, losses=losses):
            lrs = [10.0 ** (place - 9) for place in range(len(losses))]

            assert lrs[0] / 10 <= EVERY_WAY[way](lrs, losses) <= lrs[-1]


def test_lowest_sees_no_lag_and_is_misled_by_no_lucky_or_high_loss() -> None:
    lrs = [10 ** (place / 10 - 7) for place in range(80)]
    raw = [2.0 if place < 30 else abs(place - 50) / 10 for place in range(80)]
    assert suggestions.lowest(lrs, raw) == pytest.approx(lrs[50])

    losses = [3.0 - place / 20 for place in range(40)] + [1.0 + place / 5 for place in range(20)]
    losses[15] = 1.0
    assert 37 <= suggestions.lowest([float(place) for place in range(60)], losses) <= 41

    losses = [2.0] * 10 + [1.0] * 5 + [1e30] * 5
    assert 10 <= suggestions.lowest([float(place) for place in range(20)], losses) <= 14
