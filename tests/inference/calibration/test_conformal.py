"""Split conformal intervals: the formula, and the coverage that it promises."""

import itertools
import math
from typing import Any

import numpy as np
import pytest

from tabvision.errors import BadTypeError, BadValueError
from tabvision.inference.calibration.conformal import half_widths


def test_the_width_is_the_error_of_the_stated_rank(subtests: pytest.Subtests) -> None:
    for rows, coverage in itertools.product([9, 10, 99, 100, 101, 1_000], [0.5, 0.8, 0.9]):
        with subtests.test(rows=rows, coverage=coverage):
            draw = np.random.default_rng(rows)
            predictions, target = draw.normal(size=(rows, 2)), draw.normal(size=(rows, 2))

            found = half_widths(predictions, target, coverage)

            rank = math.ceil(round((rows + 1) * coverage, 9))
            for place in range(2):
                errors = sorted(abs(predictions[:, place] - target[:, place]))
                assert found[place] == errors[rank - 1]


@pytest.mark.parametrize("coverage", [0.8, 0.9, 0.95])
def test_new_rows_are_covered_as_promised(coverage: float) -> None:
    """On average over draws, between the coverage and the coverage + 1 / (rows + 1), whatever the errors look like."""
    draw = np.random.default_rng(0)
    rows, shares = 60, []
    for _ in range(2_000):
        errors = draw.exponential(size=(rows + 20, 1)) ** 2
        (half,) = half_widths(errors[:rows], np.zeros((rows, 1)), coverage)
        shares.append((errors[rows:] <= half).mean())

    noise = 4 * np.std(shares) / math.sqrt(len(shares))
    assert coverage - noise <= np.mean(shares) <= coverage + 1 / (rows + 1) + noise


@pytest.mark.parametrize(("coverage", "least"), [(0.9, 9), (0.95, 19), (0.5, 1), (0.99, 99)])
def test_too_few_rows_are_refused_with_the_number_needed(coverage: float, least: int) -> None:
    half_widths(np.zeros((least, 1)), np.ones((least, 1)), coverage)

    with pytest.raises(BadValueError, match=rf"coverage {coverage:g} need at least {least} rows?, got {least - 1}"):
        half_widths(np.zeros((least - 1, 1)), np.ones((least - 1, 1)), coverage)


@pytest.mark.parametrize(
    ("coverage", "error"), [(0, BadValueError), (1.0, BadValueError), ("0.9", BadTypeError), (True, BadTypeError)]
)
def test_a_wrong_coverage_is_refused(coverage: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"calibrate: coverage must (be a number|lie) in \(0, 1\), got"):
        half_widths(np.zeros((9, 1)), np.zeros((9, 1)), coverage)
