"""Calibrate a checkpoint on labeled rows: temperatures, thresholds and intervals, stored in it as plain data."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray

from tabvision.checks import check_choice, check_fraction
from tabvision.data.tables.write import interrupts_held, written_whole
from tabvision.errors import BadValueError, speaking
from tabvision.inference.calibration.conformal import half_widths
from tabvision.inference.calibration.facts import Calibration
from tabvision.inference.calibration.temperature import cross_entropy, expected_calibration_error, fit_temperatures
from tabvision.inference.calibration.thresholds import METRICS, best_threshold
from tabvision.inference.checkpoint import CALIBRATION, read_checkpoint
from tabvision.inference.files import Origin
from tabvision.modules.network import CHECKPOINT_KEY
from tabvision.tasks import Task


@final
@dataclass(frozen=True)
class Calibrated:
    """A fitted calibration, with metrics before and after on the rows that it was fitted to.

    Args:
        calibration: The corrections.
        num_rows: The number of rows that they were fitted to.
        before: Metrics such as `expected_calibration_error`, with the predictor's earlier corrections if it had any. There
            is no `coverage` without earlier intervals.
        after: The same metrics with the new corrections.
    """

    calibration: Calibration
    num_rows: int
    before: Mapping[str, float]
    after: Mapping[str, float]


@speaking("calibrate")
def fit_calibration(
    task: Task,
    logits: NDArray[Any],
    target: NDArray[Any],
    *,
    per_label: bool = False,
    metric: str | None = None,
    coverage: float = 0.9,
    earlier: Calibration | None = None,
) -> Calibrated:
    """Fit a calibration to logits and true values, with settings already checked by `check_settings`.

    It replaces an earlier calibration, if there was one, which is measured as `before`.

    Shape:
        - logits: (N, num_outputs) float
        - target: as `encode_target` returns it
    """
    if not len(target):
        raise BadValueError("calibrating needs rows, got none", "Pass rows that training did not see")
    if "intervals" in task.calibrated_by:
        widths = half_widths(activated(task, logits, Calibration()), target, coverage)
        calibration = Calibration(coverage=coverage, half_widths=widths)
    else:
        calibration = Calibration(temperatures=fit_temperatures(logits, target, per_label=per_label))
        if metric is not None:
            flags = target if target.ndim == 2 else target[:, None]
            chances = activated(task, logits, calibration)[:, -flags.shape[1] :]
            pairs = zip(chances.T, flags.T, strict=True)
            limits = tuple(best_threshold(of_label, is_yes, metric)[0] for of_label, is_yes in pairs)
            calibration = dataclasses.replace(calibration, thresholds=limits)
    both = earlier or Calibration(), calibration
    before, after = (_measures(task, logits, target, applied, metric) for applied in both)
    return Calibrated(calibration, len(target), before, after)


@speaking("calibrate")
def check_settings(task: Task, *, per_label: bool, metric: str | None, coverage: float) -> None:
    """Raise if a setting is out of range or does not apply to the task."""
    check_fraction("coverage", coverage, "()", remedy="Pass a fraction such as 0.9")
    if not task.calibrated_by:
        raise BadValueError(task.uncalibrated, "Use the checkpoint as it is")
    if metric is not None:
        check_choice("metric", metric, METRICS)
        if "thresholds" not in task.calibrated_by:
            problem = f"thresholds are for two classes and for labels, and the target is {task.name}"
            raise BadValueError(problem, "Leave the metric out")
    if per_label and "label temperatures" not in task.calibrated_by:
        problem = f"a temperature for each label is for labels, and the target is {task.name}"
        raise BadValueError(problem, "Leave per_label out")


def activated(task: Task, logits: NDArray[Any], calibration: Calibration) -> NDArray[Any]:
    """Return the predictions for logits, scaled by the calibration's temperature."""
    predictions: NDArray[Any] = task.activate(calibration.scale(torch.from_numpy(logits))).numpy()
    return predictions


def save_calibrated(source: Origin, calibration: Calibration, out: Path) -> None:
    """Write a copy of the checkpoint that holds the calibration."""
    checkpoint = read_checkpoint(source)
    checkpoint[CHECKPOINT_KEY] = {**checkpoint[CHECKPOINT_KEY], CALIBRATION: calibration.to_dict()}
    with interrupts_held(), written_whole(out) as partial, partial.open("wb") as file:
        torch.save(checkpoint, file)  # with a path, torch would hide the system's error


def _measures(
    task: Task, logits: NDArray[Any], target: NDArray[Any], applied: Calibration, metric: str | None
) -> dict[str, float]:
    """Return the metrics that a calibration improves, for predictions with the given one applied."""
    predictions = activated(task, logits, applied)
    if "intervals" in task.calibrated_by:
        inside = np.abs(predictions - target) <= np.array(applied.half_widths or (0.0,))
        return {"coverage": float(inside.mean())} if applied.half_widths else {}
    found = {
        "expected_calibration_error": expected_calibration_error(predictions, target),
        "cross_entropy": cross_entropy(predictions, target),
    }
    if metric is not None:
        decoded = applied.decode(task, predictions).reshape(len(target), -1).astype(bool)
        truth = target.reshape(len(target), -1).astype(bool)
        flags = [decoded & truth, decoded & ~truth, ~decoded & truth, ~decoded & ~truth]
        counts = [each.sum(axis=0).astype(np.float64) for each in flags]  # for each label
        found[metric] = float(METRICS[metric](*counts).mean())
    return found
