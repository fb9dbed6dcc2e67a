"""Regression of skewed targets by the Tweedie deviance."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.metrics import mean_tweedie_deviance

from tabvision.tasks import Regression


def costs(rows: int = 400) -> NDArray[np.float64]:
    """Nothing in nine rows of ten, and log-normal amounts in the others."""
    draw = np.random.default_rng(0)
    return np.where(draw.random((rows, 1)) < 0.9, 0.0, np.exp(5 + draw.normal(size=(rows, 1))))


def test_the_deviance_is_scikit_learns() -> None:
    task = Regression(error="tweedie", mean=(4.0, 0.5), spread=(1.0, 1.0))
    logits, target = torch.randn(50, 2), torch.rand(50, 2) * (torch.rand(50, 2) < 0.5)

    losses = task.loss(logits, target)

    mean = np.array(task.mean)
    for row in range(50):
        expected = mean_tweedie_deviance(target[row].numpy() / mean, logits[row].exp().numpy(), power=1.5)
        assert losses[row].item() == pytest.approx(expected, rel=1e-4)


def test_the_best_constant_of_the_deviance_is_the_mean_which_is_the_answer_of_zero_logits() -> None:
    target = costs()
    task = Regression(error="tweedie").fit(target, 0)
    logits = torch.linspace(-1, 1, 201, dtype=torch.float64)

    losses = [task.loss(torch.full((400, 1), logit), torch.from_numpy(target)).mean().item() for logit in logits]

    assert logits[int(np.argmin(losses))].item() == pytest.approx(0.0, abs=1e-9)
    assert task.activate(torch.zeros(1, 1)).item() == pytest.approx(target.mean())


def test_far_logits_have_a_finite_loss_that_leads_back_and_answers_within_the_margin() -> None:
    task = Regression(error="tweedie").fit(costs(), 0)
    logits = torch.tensor([[1e4], [-1e4]], requires_grad=True)

    losses = task.loss(logits, torch.tensor([[1.0], [1e3]]))
    torch.autograd.backward(losses.sum())

    assert losses.isfinite().all()
    assert logits.grad is not None
    assert logits.grad.sign().flatten().tolist() == [1.0, -1.0]
    answers = task.activate(logits.detach())
    assert answers[0].item() == pytest.approx(task.high[0])
    assert 0 <= answers[1].item() < 1e-3
    assert task.held(answers.numpy()).tolist() == [True, False]


def test_a_later_target_below_zero_counts_as_zero() -> None:
    task = Regression(error="tweedie").fit(costs(), 0)
    logits = torch.randn(3, 1)

    torch.testing.assert_close(task.loss(logits, torch.full((3, 1), -5.0)), task.loss(logits, torch.zeros(3, 1)))
