"""Calibrating a checkpoint on rows with a known answer: temperature, thresholds, intervals; stored in it as plain data."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray

from tabvision.data.tables.write import written_whole
from tabvision.errors import BadValueError, speaking
from tabvision.inference.calibration.conformal import check_coverage, half_widths
from tabvision.inference.calibration.facts import Calibration
from tabvision.inference.calibration.temperature import cross_entropy, expected_calibration_error, fit_temperatures
from tabvision.inference.calibration.thresholds import METRICS, best_threshold, check_metric
from tabvision.inference.checkpoint import CALIBRATION, read_checkpoint
from tabvision.inference.files import Origin
from tabvision.modules.supervised import CHECKPOINT_KEY
from tabvision.tasks import Task

BATCH_SIZE = 2048
COVERAGE = 0.9


@final
@dataclass(frozen=True)
class Calibrated:
    """A fitted calibration, and what it changes on the rows it was fitted to.

    Args:
        calibration: The corrections.
        num_rows: Rows that they were fitted to.
        before: Measures of the answers as they were, such as `expected_calibration_error`.
        after: The same with the corrections.
    """

    calibration: Calibration
    num_rows: int
    before: Mapping[str, float]
    after: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What to fit.

    Args:
        per_label: For labels, whether each gets a temperature of its own.
        metric: For two classes and labels, what thresholds are chosen by; None leaves the task's threshold.
        coverage: For numbers, the share of rows whose truth an interval is to hold.
    """

    per_label: bool = False
    metric: str | None = None
    coverage: float = COVERAGE


@speaking("calibrate")
def fit_calibration(task: Task, logits: NDArray[Any], target: NDArray[Any], wanted: Wanted) -> Calibrated:
    """Calibrate logits against the truth.

    Shape:
        - logits: (N, num_outputs) float
        - target: as `encode_target` gives it
    """
    check_wanted(task, wanted)
    if not len(target):
        raise BadValueError("calibrating needs rows, got none", "Pass rows that training did not see")
    plain = activated(task, logits, Calibration())
    if "intervals" in task.calibrated_by:
        widths = half_widths(plain, target, wanted.coverage)
        calibration = Calibration(coverage=wanted.coverage, half_widths=widths)
    else:
        temperatures = fit_temperatures(logits, target, per_label=wanted.per_label)
        calibration = Calibration(temperatures=temperatures)
        if wanted.metric is not None:
            limits = _thresholds(activated(task, logits, calibration), target, wanted.metric)
            calibration = dataclasses.replace(calibration, thresholds=limits)
    scaled = activated(task, logits, calibration)
    before = _measures(task, plain, target, Calibration(), calibration, wanted)
    after = _measures(task, scaled, target, calibration, calibration, wanted)
    return Calibrated(calibration, len(target), before, after)


@speaking("calibrate")
def check_wanted(task: Task, wanted: Wanted) -> None:
    """Raise if a setting is out of range, or the task has no use for it."""
    check_coverage(wanted.coverage)
    if not task.calibrated_by:
        raise BadValueError(task.uncalibrated, "Ask the checkpoint as it is")
    if wanted.metric is not None:
        check_metric(wanted.metric)
        if "thresholds" not in task.calibrated_by:
            problem = f"thresholds are for two classes and for labels, and the target is {task.name}"
            raise BadValueError(problem, "Leave the metric out")
    if wanted.per_label and "label temperatures" not in task.calibrated_by:
        problem = f"a temperature for each label is for labels, and the target is {task.name}"
        raise BadValueError(problem, "Leave per_label out")


def activated(task: Task, logits: NDArray[Any], calibration: Calibration) -> NDArray[Any]:
    """Return predictions from logits, by the calibration's temperature."""
    predictions: NDArray[Any] = task.activate(calibration.scale(torch.from_numpy(logits))).numpy()
    return predictions


def save_calibrated(source: Origin, calibration: Calibration, out: Path) -> None:
    """Write the checkpoint again with the calibration in it."""
    checkpoint = read_checkpoint(source)
    checkpoint[CHECKPOINT_KEY] = {**checkpoint[CHECKPOINT_KEY], CALIBRATION: calibration.to_dict()}
    with written_whole(out) as partial:
        torch.save(checkpoint, partial)


def _thresholds(predictions: NDArray[Any], target: NDArray[Any], metric: str) -> tuple[float, ...]:
    flags = target if target.ndim == 2 else target[:, None]
    chances = predictions[:, -flags.shape[1] :]
    return tuple(best_threshold(chances[:, place], flags[:, place], metric)[0] for place in range(flags.shape[1]))


def _measures(
    task: Task,
    predictions: NDArray[Any],
    target: NDArray[Any],
    applied: Calibration,
    fitted: Calibration,
    wanted: Wanted,
) -> dict[str, float]:
    """Return what the calibration is to improve, with the corrections applied."""
    if fitted.half_widths:
        inside = np.abs(predictions - target) <= np.array(applied.half_widths or (0.0,))
        return {"coverage": float(inside.mean())}
    found = {
        "expected_calibration_error": expected_calibration_error(predictions, target),
        "cross_entropy": cross_entropy(predictions, target),
    }
    if fitted.thresholds:
        found[str(wanted.metric)] = _score(applied.decode(task, predictions), target, str(wanted.metric))
    return found


def _score(decoded: NDArray[Any], target: NDArray[Any], metric: str) -> float:
    """Return the metric, averaged over labels."""
    said, truth = decoded.reshape(len(target), -1).astype(bool), target.reshape(len(target), -1).astype(bool)
    counts = [(said & truth), (said & ~truth), (~said & truth), (~said & ~truth)]
    return float(METRICS[metric](*(kind.sum(axis=0).astype(np.float64) for kind in counts)).mean())
