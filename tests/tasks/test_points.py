"""The task of points: fastai's range and loss, no loss for a point that is not there, pixels back through a view."""

import json
import pickle

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from tabvision.errors import BadValueError
from tabvision.tasks import Points, Task, task_named
from tabvision.tasks.points import _move_points

TASK = Points(2)


def far_away(rows: int = 5) -> tuple[Tensor, Tensor]:
    return torch.randn(rows, 4), torch.rand(rows, 4) * 2 - 1


def test_answers_are_fastais_scaled_sigmoid() -> None:
    logits, _ = far_away()

    torch.testing.assert_close(TASK.activate(logits), torch.sigmoid(logits) * 2 - 1)
    torch.testing.assert_close(Points(2, y_range=None).activate(logits), logits)


def test_the_loss_is_the_mean_squared_error_of_the_points_that_are_there() -> None:
    logits, target = far_away()
    expected = functional.mse_loss(TASK.activate(logits), target, reduction="none").mean(dim=1)
    torch.testing.assert_close(TASK.loss(logits, target), expected)

    logits, target = far_away()
    target[1, 2:] = torch.nan
    target[2] = torch.nan
    logits.requires_grad_()
    losses = TASK.loss(logits, target)
    losses.sum().backward()  # type: ignore[no-untyped-call]  # torch
    assert losses.isfinite().all()
    assert losses[2] == 0
    assert logits.grad is not None
    assert (logits.grad == 0).tolist()[1] == [False, False, True, True]
    assert (logits.grad[2] == 0).all()


def test_coordinates_in_half_precision_answer_in_full() -> None:
    assert TASK.activate(torch.zeros(1, 4, dtype=torch.bfloat16)).dtype == torch.float32


@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_points_move_as_homogeneous_coordinates_do(kind: str) -> None:
    draw = np.random.default_rng(0)
    points, matrices = draw.normal(size=(3, 4)), np.eye(3) + 0.1 * draw.normal(size=(3, 3, 3))
    homogeneous = np.concatenate([points.reshape(3, 2, 2), np.ones((3, 2, 1))], axis=2) @ matrices.swapaxes(1, 2)
    expected = (homogeneous[..., :2] / homogeneous[..., 2:]).reshape(3, 4)

    if kind == "torch":
        moved = _move_points(torch.from_numpy(points), torch.from_numpy(matrices)).numpy()
    else:
        moved = _move_points(points, matrices)

    np.testing.assert_allclose(moved, expected)


def test_answers_without_a_view_stay_as_they_are() -> None:
    points = torch.rand(2, 4)

    assert TASK.in_user_units(points, None) is points
    assert task_named("regression").in_user_units(points, torch.eye(3)[None]) is points


def test_the_distance_counts_the_points_that_are_there() -> None:
    metrics = TASK.metrics()
    metrics.update(torch.zeros(2, 4), torch.tensor([[0.3, 0.4, torch.nan, torch.nan], [0.0, 1.0, 0.0, 0.0]]))
    assert metrics.compute()["distance"].item() == pytest.approx((0.5 + 1 + 0) / 3)

    metrics = TASK.metrics()
    metrics.update(torch.zeros(1, 4), torch.full((1, 4), torch.nan))
    assert metrics.compute()["distance"].isnan()


def test_the_constant_answer_is_the_mean_of_the_points_that_are_there() -> None:
    target = np.array([[0.0, 1.0, np.nan, np.nan], [1.0, 0.0, np.nan, np.nan]])

    assert TASK.constant(target).tolist() == [[0.5, 0.5, 0.0, 0.0]]


def test_it_goes_to_json_and_pickles() -> None:
    assert Task.from_dict(json.loads(json.dumps(TASK.to_dict()))) == TASK
    assert pickle.loads(pickle.dumps(TASK)) == TASK
    assert task_named("points").fit(np.full((3, 4), 5.0), 0) == TASK


def test_a_number_of_points_that_the_data_contradicts_is_refused() -> None:
    with pytest.raises(BadValueError, match="num_points is 3, but the data has 2"):
        Points(3).fit(np.zeros((3, 4)), 0)
