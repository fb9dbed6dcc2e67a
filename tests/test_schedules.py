"""Schedules against the frameworks that they equal."""

import itertools
import math

import pytest
import torch

from tabvision.errors import BadTypeError, BadValueError
from tabvision.schedules import Rates, epoch_ends, even_multiples, one_cycle, spread_rates


def test_torch_convention_equals_one_cycle_lr_at_every_step(subtests: pytest.Subtests) -> None:
    for total, pct_start in itertools.product([2, 3, 12, 137], [0.1, 0.3, 0.9]):
        with subtests.test(total=total, pct_start=pct_start):
            parameter = torch.nn.Parameter(torch.zeros(1))
            optimizer = torch.optim.AdamW([parameter], lr=1.0)
            theirs = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.7, total_steps=total, pct_start=pct_start)
            for step in range(total):
                ours = one_cycle(
                    step, total, pct_start=pct_start, div_final=1e4, momentum=(0.95, 0.85, 0.95), convention="torch"
                )
                group = optimizer.param_groups[0]
                assert ours.factor * 0.7 == pytest.approx(group["lr"], rel=1e-9)
                assert ours.momentum == pytest.approx(group["betas"][0], rel=1e-9)
                optimizer.step()
                if step < total - 1:
                    theirs.step()


def test_fastai_convention_starts_at_one_over_div_peaks_and_ends_near_one_over_div_final() -> None:
    total = 1000
    factors = [one_cycle(step, total).factor for step in range(total)]

    assert factors[0] == pytest.approx(1 / 25)
    assert max(factors) == factors[250] == pytest.approx(1.0)
    assert 1e-5 < factors[-1] < 2e-5  # position never reaches 1


def test_fastai_convention_follows_its_formula() -> None:
    position = 0.7
    share = (position - 0.25) / 0.75
    expected = 1 + (1 + math.cos(math.pi * (1 - share))) * (1e-5 - 1) / 2

    assert one_cycle(70, 100).factor == pytest.approx(expected, rel=1e-12)


def test_steps_past_the_end_keep_the_last_value() -> None:
    assert one_cycle(500, 100) == one_cycle(100, 100)


def test_a_fit_of_one_step_has_a_rate() -> None:
    assert one_cycle(0, 1).factor == pytest.approx(1 / 25)
    assert one_cycle(0, 1, convention="torch").factor > 0


def test_no_momentum_is_left_alone() -> None:
    assert one_cycle(3, 10, momentum=None).momentum is None


@pytest.mark.parametrize(
    ("rates", "expected"),
    [
        (1e-3, [1e-3, 1e-3, 1e-3]),
        ((1e-5, 1e-3), [1e-5, 1e-4, 1e-3]),
        ("1e-5:1e-3", [1e-5, 1e-4, 1e-3]),
        ((None, 1e-3), [1e-4, 1e-4, 1e-3]),
        (":1e-3", [1e-4, 1e-4, 1e-3]),
        ("0.5", [0.5, 0.5, 0.5]),
        ([1e-1, 1e-2, 1e-3], [1e-1, 1e-2, 1e-3]),
    ],
)
def test_rates_spread_over_groups(rates: Rates, expected: list[float]) -> None:
    assert spread_rates(rates, 3) == pytest.approx(expected, rel=1e-12)


def test_the_body_ratio_of_the_older_course_divides_by_three() -> None:
    assert spread_rates((None, 0.3), 2, body_ratio=3) == pytest.approx([0.1, 0.3])


def test_one_group_takes_the_high_rate() -> None:
    assert even_multiples(1e-5, 1e-3, 1) == [1e-3]


@pytest.mark.parametrize("rates", [0, 0.0, -1e-3, (0.0, 1e-3), (1e-3, -1.0), [1e-3, 0.0, 1.0], math.nan, math.inf, "0"])
def test_a_rate_of_zero_or_below_is_refused(rates: Rates) -> None:
    with pytest.raises(BadValueError, match="above zero"):
        spread_rates(rates, 3)


def test_a_list_of_the_wrong_length_is_refused() -> None:
    with pytest.raises(BadValueError, match="3 layer groups need 3 rates, got 2"):
        spread_rates([1e-3, 1e-2], 3)


@pytest.mark.parametrize("rates", ["fast", "1:2:3", "1e-3:"])
def test_text_that_is_no_rate_is_refused(rates: str) -> None:
    with pytest.raises(BadValueError, match="rates must be numbers"):
        spread_rates(rates, 3)


@pytest.mark.parametrize("rates", [None, True, {"head": 1e-3}, [None, 1.0, 1.0]])
def test_what_is_no_rate_at_all_is_refused(rates: Rates) -> None:
    with pytest.raises(BadTypeError, match="must be a number"):
        spread_rates(rates, 3)


def test_steps_count_the_last_incomplete_accumulation() -> None:
    assert epoch_ends(10, [1, 3, 10, 20]) == [10, 14, 15, 16]
