"""Tasks against torch, numpy and the promises that all of them keep."""

import dataclasses
import itertools
import json
import math
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from tabvision.errors import UnknownNameError
from tabvision.tasks import Binary, Multiclass, Multilabel, Regression, Task, task_named

ROWS = 12
FITTED: list[Task] = [
    Binary(),
    Binary(threshold=0.3, label_smoothing=0.1, class_weights=(1.0, 3.0)),
    Binary(class_weights=(1.0, 3.0), focal_gamma=1.5),
    Multiclass(4),
    Multiclass(4, label_smoothing=0.1, class_weights=(1.0, 2.0, 3.0, 4.0)),
    Multiclass(4, label_smoothing=0.1, class_weights=(1.0, 2.0, 3.0, 4.0), focal_gamma=2.0),
    Multilabel(3),
    Multilabel(3, label_smoothing=0.2, class_weights=(1.0, 2.0, 0.5)),
    Multilabel(3, class_weights=(1.0, 2.0, 0.5), focal_gamma=2.0),
    Regression(mean=(5.0,), spread=(2.0,)),
    Regression(mean=(5.0, -100.0), spread=(2.0, 50.0), error="huber"),
    Regression(mean=(2.5,), spread=(1.0,), y_range=(0.0, 5.0), error="mae"),
    Regression(mean=(2.5, 4.0), spread=(1.0, 1.0), error="tweedie"),
]


def target_for(task: Task, rows: int = ROWS) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    if isinstance(task, Binary):
        return torch.randint(0, 2, (rows,), generator=generator)
    if isinstance(task, Multiclass):
        return torch.randint(0, task.num_outputs, (rows,), generator=generator)
    if isinstance(task, Multilabel):
        return torch.randint(0, 2, (rows, task.num_outputs), generator=generator).float()
    return torch.rand(rows, task.num_outputs, generator=generator) * 5


@pytest.mark.parametrize("task", FITTED, ids=repr)
class TestEveryTask:
    """What every task promises."""

    def test_it_goes_to_json_and_back(self, task: Task) -> None:
        assert Task.from_dict(json.loads(json.dumps(task.to_dict()))) == task

    def test_it_pickles_and_is_frozen(self, task: Task) -> None:
        assert pickle.loads(pickle.dumps(task)) == task
        with pytest.raises(dataclasses.FrozenInstanceError):
            task.name = "other"  # type: ignore[misc]

    def test_the_loss_is_one_number_a_row_and_reaches_every_logit(self, task: Task, subtests: pytest.Subtests) -> None:
        for rows, dtype in itertools.product([1, ROWS], [torch.float32, torch.bfloat16]):
            with subtests.test(rows=rows, dtype=dtype):
                logits = torch.randn(rows, task.num_outputs).to(dtype).requires_grad_()

                loss = task.loss(logits, target_for(task, rows))
                loss.float().mean().backward()  # type: ignore[no-untyped-call]  # torch has no types here

                assert loss.shape == (rows,)
                assert logits.grad is not None
                assert logits.grad.isfinite().all()
                assert (logits.grad != 0).all()

    def test_a_softened_target_has_the_same_loss(self, task: Task) -> None:
        logits, target = torch.randn(ROWS, task.num_outputs), target_for(task)

        torch.testing.assert_close(task.loss(logits, task.soften(target)), task.loss(logits, target))

    def test_predictions_are_finite_for_extreme_logits(self, task: Task) -> None:
        predictions = task.activate(torch.tensor([[-1e4], [0.0], [1e4]]).expand(3, task.num_outputs))

        assert predictions.isfinite().all()
        if task.is_classes:
            assert ((predictions >= 0) & (predictions <= 1)).all()

    def test_the_constant_answer_has_the_shape_of_a_prediction(self, task: Task) -> None:
        target = target_for(task).numpy()
        width = task.activate(torch.zeros(1, task.num_outputs)).shape[1]

        assert task.constant(target).shape == (1, width)

    def test_a_prediction_has_logits(self, task: Task) -> None:
        constant = torch.from_numpy(task.constant(target_for(task).numpy())).float()

        logits = task.logits_of(constant)

        assert logits is not None
        torch.testing.assert_close(task.activate(logits), constant)

    def test_metrics_take_predictions_and_targets(self, task: Task) -> None:
        metrics = task.metrics()
        metrics.update(task.activate(torch.randn(ROWS, task.num_outputs)), target_for(task))

        values = metrics.compute()

        assert values
        assert all(torch.as_tensor(value).ndim == 0 for value in values.values())

    def test_decoding_answers_one_value_a_row(self, task: Task) -> None:
        predictions = task.activate(torch.randn(ROWS, task.num_outputs)).numpy()

        assert len(task.decode(predictions)) == ROWS


def test_binary_loss_is_torchs() -> None:
    logits, target = torch.randn(ROWS, 1), target_for(Binary())
    expected = functional.binary_cross_entropy_with_logits(logits[:, 0], target.float(), reduction="none")

    torch.testing.assert_close(Binary().loss(logits, target), expected)


def test_binary_smoothing_equals_torchs_two_class_smoothing() -> None:
    logit, target = torch.randn(ROWS, 1), target_for(Binary())
    two = torch.cat([torch.zeros(ROWS, 1), logit], dim=1)
    expected = functional.cross_entropy(two, target, label_smoothing=0.1, reduction="none")

    torch.testing.assert_close(Binary(label_smoothing=0.1).loss(logit, target), expected)


def test_binary_weights_equal_torchs_two_class_weights() -> None:
    logit, target = torch.randn(ROWS, 1), target_for(Binary())
    two = torch.cat([torch.zeros(ROWS, 1), logit], dim=1)
    expected = functional.cross_entropy(two, target, weight=torch.tensor([0.5, 4.0]), reduction="none")

    torch.testing.assert_close(Binary(class_weights=(0.5, 4.0)).loss(logit, target), expected)


def test_multiclass_loss_is_torchs() -> None:
    task = Multiclass(4, label_smoothing=0.1, class_weights=(1.0, 2.0, 3.0, 4.0))
    logits, target = torch.randn(ROWS, 4), target_for(Multiclass(4))
    weight = torch.tensor([1.0, 2.0, 3.0, 4.0])
    expected = functional.cross_entropy(logits, target, weight=weight, label_smoothing=0.1, reduction="none")

    torch.testing.assert_close(task.loss(logits, target), expected)


def test_multilabel_loss_is_torchs_mean_over_classes() -> None:
    logits, target = torch.randn(ROWS, 3), target_for(Multilabel(3))
    expected = functional.binary_cross_entropy_with_logits(logits, target, reduction="none").mean(dim=1)

    torch.testing.assert_close(Multilabel(3).loss(logits, target), expected)


@pytest.mark.parametrize(
    ("error", "function"), [("mse", functional.mse_loss), ("mae", functional.l1_loss), ("huber", functional.huber_loss)]
)
def test_regression_loss_is_torchs_on_the_standardized_target(error: Any, function: Any) -> None:
    task = Regression(mean=(5.0, -100.0), spread=(2.0, 50.0), error=error)
    logits, target = 3 * torch.randn(ROWS, 2), target_for(task)
    standardized = (target - torch.tensor([5.0, -100.0])) / torch.tensor([2.0, 50.0])

    expected = function(logits, standardized, reduction="none").mean(dim=1)

    torch.testing.assert_close(task.loss(logits, target), expected)


def test_regression_answers_in_the_users_units() -> None:
    task = Regression(mean=(1e6,), spread=(1e5,))

    assert task.activate(torch.tensor([[1.5]])).item() == pytest.approx(1.15e6)


def test_y_range_bounds_every_answer() -> None:
    task = Regression(y_range=(0.0, 5.5), mean=(3.0,), spread=(1.0,))

    answers = task.activate(torch.tensor([[-100.0], [0.0], [100.0]]))

    assert answers.flatten().tolist() == pytest.approx([0.0, 2.75, 5.5])


def test_fitting_fills_in_what_the_data_knows() -> None:
    codes = np.array([0, 1, 2, 2])
    numbers = np.array([[1.0], [2.0], [3.0]])

    assert Multiclass().fit(codes, 3).num_outputs == 3
    assert Regression().fit(numbers, 0).mean == (2.0,)
    assert Regression().fit(numbers, 0).spread == pytest.approx((numbers.std(),))


def test_balanced_weights_make_the_average_training_row_weigh_one() -> None:
    codes = np.array([0] * 8 + [1] * 2)

    weights = Multiclass(class_weights="balanced").fit(codes, 2).class_weights

    assert isinstance(weights, tuple)
    assert weights[1] == pytest.approx(4 * weights[0])
    assert np.array(weights)[codes].mean() == pytest.approx(1.0)


def test_the_threshold_decides_what_is_answered() -> None:
    predictions = np.array([[0.6, 0.4]])

    assert Binary(threshold=0.3).decode(predictions).tolist() == [1]
    assert Binary(threshold=0.5).decode(predictions).tolist() == [0]


def test_an_unknown_task_lists_the_close_name_first() -> None:
    with pytest.raises(UnknownNameError, match="Choices: multiclass, "):
        task_named("multi-class")


# A prediction of numbers is held near the training targets.


def test_numbers_are_held_within_the_margin_around_the_training_targets() -> None:
    task = Regression(margin=0.25).fit(np.array([[0.0], [8.0]]), 0)

    answers = task.activate(torch.tensor([[-100.0], [0.0], [100.0]]))

    assert answers[:, 0].tolist() == [-2.0, 4.0, 10.0]
    assert task.held(answers.numpy()).tolist() == [True, False, True]


def test_no_margin_is_no_bound_and_a_saved_task_without_bounds_has_none() -> None:
    free = Regression(margin=None).fit(np.array([[0.0], [8.0]]), 0)
    old = Task.from_dict({"name": "regression", "y_range": None, "error": "mse", "mean": [4.0], "spread": [4.0]})

    for task in (free, old):
        assert task.activate(torch.tensor([[100.0]])).item() == 404.0
        assert task.held(np.array([[404.0]])).tolist() == [False]


def test_rows_that_come_later_may_lie_farther_away() -> None:
    assert Regression().for_later_rows().margin == 1.0
    assert Regression(margin=None).for_later_rows().margin is None
    assert Binary().for_later_rows() == Binary()


def test_the_loss_still_pulls_back_a_prediction_that_is_held() -> None:
    task = Regression(margin=0.0).fit(np.array([[0.0], [8.0]]), 0)
    logits = torch.tensor([[50.0]], requires_grad=True)

    torch.autograd.backward(task.loss(logits, torch.tensor([[8.0]])).sum())

    assert logits.grad is not None
    assert logits.grad.item() > 0


@pytest.mark.parametrize(
    ("task", "right", "wrong"),
    [
        (Multiclass(3), [[0, 2], [[0.5, 0.5, 0.0]]], [[0, 3], [0, -100], [0.0, 2.0], [[1]]]),
        (Binary(), [[0, 1], [False, True], [0.5]], [[2], [-1], [math.nan], [[1]]]),
        (Multilabel(2), [[[0, 1]]], [[[0, 2]], [[0.0, math.nan]], [0, 1]]),
        (Regression(), [[1, -2], [[0.5]]], [[math.nan], [math.inf], [[1.0, 2.0]]]),
        (Regression(error="tweedie"), [[0.0]], [[-1.0]]),
    ],
)
def test_a_task_knows_the_targets_that_its_loss_is_for(task: Task, right: list[Any], wrong: list[Any]) -> None:
    task = task.fit(np.arange(9.0)[:, None], 0) if isinstance(task, Regression) else task

    assert [task.expected_target(torch.tensor(target)) for target in right] == [None] * len(right)
    assert None not in [task.expected_target(torch.tensor(target)) for target in wrong]
