"""The focal loss against torchvision, its formula, and plain cross-entropy."""

import dataclasses
import itertools
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torchvision.ops import sigmoid_focal_loss

from tabvision.errors import BadTypeError, BadValueError
from tabvision.tasks import Binary, Multiclass, Multilabel, Task
from tabvision.tasks.losses import binary_losses, class_losses

GAMMAS = [0.5, 1.0, 2.0, 3.5]
EVERY: list[type[Task]] = [Binary, Multiclass, Multilabel]


def focal(kind: type[Task], gamma: float = 2.0, **facts: object) -> Task:
    size = {} if kind is Binary else {"num_classes": 3}
    return kind(**(size | {"focal_gamma": gamma} | facts))


def hard_target(kind: type[Task], rows: int) -> Tensor:
    if kind is Multilabel:
        return torch.randint(0, 2, (rows, 3)).float()
    return torch.randint(0, 2 if kind is Binary else 3, (rows,))


@pytest.mark.parametrize("gamma", [0.0, *GAMMAS])
def test_yes_or_no_losses_are_torchvisions(gamma: float) -> None:
    logits, target = 4 * torch.randn(50, 3), torch.randint(0, 2, (50, 3)).float()

    losses = binary_losses(logits, target, gamma)

    torch.testing.assert_close(losses, sigmoid_focal_loss(logits, target, alpha=-1, gamma=gamma))


@pytest.mark.parametrize("gamma", GAMMAS)
def test_class_losses_follow_the_formula(gamma: float) -> None:
    logits, codes = 3 * torch.randn(50, 4), torch.randint(0, 4, (50,))
    share = logits.softmax(dim=1)[torch.arange(50), codes]  # of the right class
    expected = -((1 - share) ** gamma) * share.log()

    losses = class_losses(logits, functional.one_hot(codes, 4).float(), gamma).sum(dim=1)

    torch.testing.assert_close(losses, expected)
    torch.testing.assert_close(Multiclass(4, focal_gamma=gamma).loss(logits, codes), expected)


def test_two_classes_are_a_yes_or_no_with_one_logit() -> None:
    logit, codes = torch.randn(20, 1), torch.randint(0, 2, (20,))
    two = torch.cat([torch.zeros(20, 1), logit], dim=1)

    for facts in ({}, {"label_smoothing": 0.1}, {"class_weights": (1.0, 3.0)}):
        binary = Binary(focal_gamma=2.0, **facts)
        multiclass = Multiclass(2, focal_gamma=2.0, **facts)
        torch.testing.assert_close(binary.loss(logit, codes), multiclass.loss(two, codes))


@pytest.mark.parametrize("facts", [{}, {"label_smoothing": 0.2}, {"class_weights": (1.0, 2.0, 0.5)}], ids=str)
@pytest.mark.parametrize("kind", [Multiclass, Multilabel])
def test_a_gamma_near_zero_is_cross_entropy(kind: type[Task], facts: dict[str, object]) -> None:
    logits, target = torch.randn(30, 3), hard_target(kind, 30)

    torch.testing.assert_close(
        focal(kind, 1e-6, **facts).loss(logits, target), focal(kind, 0.0, **facts).loss(logits, target)
    )


@pytest.mark.parametrize("kind", EVERY)
def test_a_blended_target_has_the_blended_loss(kind: type[Task]) -> None:
    task = focal(kind)
    logits = torch.randn(10, task.num_outputs)
    one, other = (task.soften(hard_target(kind, 10)) for _ in range(2))

    blended = task.loss(logits, 0.3 * one + 0.7 * other)

    torch.testing.assert_close(blended, 0.3 * task.loss(logits, one) + 0.7 * task.loss(logits, other))


def test_very_sure_answers_have_finite_losses_and_gradients(subtests: pytest.Subtests) -> None:
    cases: list[Any] = EVERY
    for gamma, kind in itertools.product(GAMMAS, cases):
        with subtests.test(gamma=gamma, kind=kind):
            task = focal(kind, gamma)
            logits = torch.tensor([[1e4], [-1e4], [40.0]]).repeat(1, task.num_outputs)
            logits[:, 0] = torch.tensor([-1e4, 1e4, 0.0])
            logits.requires_grad_()

            losses = task.loss(logits, hard_target(kind, 3))
            torch.autograd.backward(losses.sum())

            assert logits.grad is not None
            assert losses.isfinite().all()
            assert logits.grad.isfinite().all()


@pytest.mark.parametrize("kind", EVERY)
def test_the_better_a_row_is_answered_the_less_it_counts(kind: type[Task]) -> None:
    task, plain = focal(kind), focal(kind, 0.0)
    logits = torch.tensor([[0.5], [3.0]]).repeat(1, task.num_outputs)
    if kind is Multiclass:
        logits[:, :2] = 0
    target = torch.ones(2, 3) if kind is Multilabel else torch.tensor([2, 2] if kind is Multiclass else [1, 1])

    poor, good = task.loss(logits, target) / plain.loss(logits, target)

    assert good < poor < 1


@pytest.mark.parametrize("kind", EVERY)
def test_a_task_without_the_fact_is_one_saved_before_there_was_any(kind: type[Task]) -> None:
    task = focal(kind, 0.0)
    saved = {name: value for name, value in task.to_dict().items() if name != "focal_gamma"}

    assert Task.from_dict(saved) == task
    assert Task.from_dict(dataclasses.replace(task, focal_gamma=2.0).to_dict()) != task  # type: ignore[type-var]


@pytest.mark.parametrize("kind", EVERY)
@pytest.mark.parametrize(
    ("gamma", "error"),
    [(-1.0, BadValueError), (float("nan"), BadValueError), ("2", BadTypeError), (True, BadTypeError)],
)
def test_a_wrong_gamma_is_a_sentence(kind: type[Task], gamma: float, error: type[Exception]) -> None:
    with pytest.raises(error, match=f"{kind.__name__}: focal_gamma must be (at least 0|a number), got .*. Pass 2"):
        focal(kind, gamma)
