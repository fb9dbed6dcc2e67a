"""Temperatures against scipy's minimum and closed forms; calibration errors against torchmetrics."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar  # type: ignore[import-untyped]  # ships no types
from torchmetrics.functional.classification import binary_calibration_error, multiclass_calibration_error

from tabvision.errors import BadValueError
from tabvision.inference.calibration.temperature import cross_entropy, expected_calibration_error, fit_temperatures
from tabvision.tasks import Binary, Multiclass, Multilabel, Task

DRAW = np.random.default_rng(0)


def over_sure(rows: int, classes: int, factor: float) -> tuple[Any, Any]:
    """Logits that are `factor` times as sure as the classes drawn from them deserve."""
    logits = DRAW.normal(size=(rows, classes)) * 2
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    codes = np.array([DRAW.choice(classes, p=row) for row in chances])
    return (logits * factor).astype(np.float32), codes


def flags_of(logits: Any) -> Any:
    return (DRAW.random(logits.shape) < 1 / (1 + np.exp(-logits))).astype(np.int64)


def scipy_temperature(task: Task, logits: Any, target: Any) -> float:
    def loss(log_temperature: float) -> float:
        scaled = torch.from_numpy(logits.astype(np.float64)) / float(np.exp(log_temperature))
        return float(task.loss(scaled, torch.from_numpy(target)).mean())

    found = minimize_scalar(loss, bounds=(-3.5, 3.5), method="bounded", options={"xatol": 1e-12})
    return float(np.exp(found.x))


@pytest.mark.parametrize("factor", [0.3, 1.0, 4.0])
def test_temperatures_agree_with_scipy(factor: float) -> None:
    logits, codes = over_sure(400, 4, factor)
    task = Multiclass(4)
    (temperature,) = fit_temperatures(logits, codes)
    assert temperature == pytest.approx(scipy_temperature(task, logits, codes), rel=1e-5)
    assert temperature == pytest.approx(factor, rel=0.25)

    plain = DRAW.normal(size=(400, 1)) * 2
    target = flags_of(plain)[:, 0]
    logits = (plain * factor).astype(np.float32)
    (temperature,) = fit_temperatures(logits, target)
    assert temperature == pytest.approx(scipy_temperature(Binary(), logits, target), rel=1e-5)


def test_two_classes_have_the_closed_form_where_all_are_equally_sure() -> None:
    """Sure by z and right in a share p: the best temperature is z / log(p / (1 - p))."""
    logits, target = np.array([[3.0]] * 10), np.array([1] * 8 + [0] * 2)

    assert fit_temperatures(logits, target)[0] == pytest.approx(3.0 / np.log(0.8 / 0.2), rel=1e-12)


def test_labels_share_a_temperature_or_have_one_each() -> None:
    plain = DRAW.normal(size=(600, 3)) * 2
    target = flags_of(plain).astype(np.float32)
    logits = (plain * np.array([0.5, 1.0, 3.0])).astype(np.float32)
    task = Multilabel(3)

    shared, each = fit_temperatures(logits, target), fit_temperatures(logits, target, per_label=True)

    assert len(shared) == 1
    assert shared[0] == pytest.approx(scipy_temperature(task, logits, target), rel=1e-5)
    for place, temperature in enumerate(each):
        alone = scipy_temperature(Binary(), logits[:, [place]], target[:, place])
        assert temperature == pytest.approx(alone, rel=1e-5)


def test_scaling_lowers_the_loss_and_changes_no_answer() -> None:
    logits, codes = over_sure(500, 3, 5.0)
    (temperature,) = fit_temperatures(logits, codes)

    before, after = (torch.from_numpy(logits / scale).softmax(1).numpy() for scale in (1.0, temperature))

    assert cross_entropy(after, codes) < cross_entropy(before, codes)
    assert expected_calibration_error(after, codes) < expected_calibration_error(before, codes)
    assert (before.argmax(1) == after.argmax(1)).all()


def test_very_sure_logits_do_no_harm() -> None:
    logits = np.array([[1e4, -1e4], [1e4, -1e4], [-1e4, 1e4], [2.0, -1.0]], dtype=np.float32)
    with pytest.raises(BadValueError, match=r"are right|no better than chance"):
        fit_temperatures(logits, np.array([0, 0, 1, 0]))


def test_rows_that_are_all_right_or_no_better_than_chance_have_no_best_temperature() -> None:
    with pytest.raises(BadValueError, match=r"the answers to all rows are right, .*Pass more rows, which training"):
        fit_temperatures(np.array([[9.0], [-9.0]]), np.array([1, 0]))

    with pytest.raises(BadValueError, match=r"so unsure that the best temperature is below 0\.02\. Train longer"):
        fit_temperatures(np.array([[0.002], [0.002], [-0.002], [0.002]]), np.array([1, 1, 0, 0]))

    with pytest.raises(BadValueError, match=r"no better than chance on these rows"):
        fit_temperatures(np.array([[2.0], [-2.0]]), np.array([0, 1]))


def test_the_calibration_error_is_torchmetrics() -> None:
    logits, codes = over_sure(500, 4, 3.0)
    chances = torch.from_numpy(logits).softmax(1)
    expected = multiclass_calibration_error(chances, torch.from_numpy(codes), 4, n_bins=15, norm="l1")
    assert expected_calibration_error(chances.numpy(), codes) == pytest.approx(float(expected), abs=1e-6)

    shares = DRAW.random((500, 2)).astype(np.float32)
    target = (DRAW.random((500, 2)) < shares**2).astype(np.int64)
    wanted = [
        float(binary_calibration_error(torch.from_numpy(given), torch.from_numpy(truth), n_bins=15, norm="l1"))
        for given, truth in ((shares[:, 1].copy(), target[:, 1].copy()), (shares.ravel(), target.ravel()))
    ]
    two = np.stack([1 - shares[:, 1], shares[:, 1]], axis=1)
    assert expected_calibration_error(two, target[:, 1]) == pytest.approx(wanted[0], abs=1e-6)
    assert expected_calibration_error(shares, target) == pytest.approx(wanted[1], abs=1e-6)


def test_cross_entropy_is_the_tasks_loss() -> None:
    logits, codes = over_sure(50, 3, 1.0)
    chances = torch.from_numpy(logits).softmax(1).numpy()
    flags = flags_of(logits).astype(np.float32)

    loss = Multiclass(3).loss(torch.from_numpy(logits), torch.from_numpy(codes)).mean()
    labels = Multilabel(3).loss(torch.from_numpy(logits), torch.from_numpy(flags)).mean()

    assert cross_entropy(chances, codes) == pytest.approx(float(loss), rel=1e-5)
    assert cross_entropy(torch.from_numpy(logits).sigmoid().numpy(), flags) == pytest.approx(float(labels), rel=1e-5)
