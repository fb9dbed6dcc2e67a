"""Answers over several views are blended as fastai blends them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from tabvision.errors import BadTypeError, BadValueError
from tabvision.inference.batches import blend

DRAW = np.random.default_rng(0)
PLAIN, VIEWS = DRAW.dirichlet(np.ones(3), 5), DRAW.dirichlet(np.ones(3), (4, 5))


@pytest.mark.parametrize("beta", [0, 0.25, 1])
def test_the_mean_of_the_views_is_pulled_towards_the_plain_answer(beta: float) -> None:
    # fastai 2.8, Learner.tta: torch.lerp(aug_preds.mean(0), preds, beta)
    expected = torch.lerp(torch.from_numpy(VIEWS).mean(0), torch.from_numpy(PLAIN), float(beta))

    assert blend(PLAIN, VIEWS, beta=beta) == pytest.approx(expected.numpy())


def test_a_quarter_is_the_plain_views_by_default_and_probabilities_stay_so() -> None:
    blended = blend(PLAIN, VIEWS)

    assert blended == pytest.approx(0.75 * VIEWS.mean(axis=0) + 0.25 * PLAIN)
    assert blended.sum(axis=1) == pytest.approx(1)


def test_the_largest_of_all_views_may_be_taken() -> None:
    # fastai 2.8: torch.stack([preds, aug_preds.max(0)]).max(0)
    expected = np.concatenate([VIEWS, PLAIN[None]]).max(axis=0)

    assert np.array_equal(blend(PLAIN, VIEWS, use_max=True), expected)


def test_numbers_are_blended_as_probabilities_are_and_keep_their_precision() -> None:
    plain, views = np.array([[10.0], [-4.0]], np.float32), np.array([[[14.0], [0.0]]], np.float32)

    blended = blend(plain, views)

    assert blended.dtype == np.float32
    assert blended.tolist() == [[13.0], [-1.0]]


@pytest.mark.parametrize(
    ("beta", "error", "sentence"),
    [
        (1.5, BadValueError, r"beta must lie in \[0, 1\], got 1.5"),
        (float("nan"), BadValueError, r"beta must lie in \[0, 1\], got nan"),
        ("much", BadTypeError, r"beta must be a number in \[0, 1\], got 'much'"),
        (True, BadTypeError, r"beta must be a number in \[0, 1\], got True"),
    ],
)
def test_a_beta_that_is_no_share_is_refused(beta: Any, error: type[Exception], sentence: str) -> None:
    with pytest.raises(error, match=sentence):
        blend(PLAIN, VIEWS, beta=beta)


@pytest.mark.parametrize("views", [VIEWS[:, :2], VIEWS[:0], VIEWS[0]])
def test_views_of_other_rows_are_refused(views: Any) -> None:
    with pytest.raises(BadValueError, match=r"augmented must be \(n, 5, 3\) with n from 1, got \("):
        blend(PLAIN, views)
