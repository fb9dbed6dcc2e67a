"""The default metrics of each task, cheap per step and exact over the epoch.

A step keeps two numbers a row (or three counts a label), nothing more; what they add up to is computed once at the end.
torchmetrics' own classes were measured and left: 90 to 450 us a step of 4,096 rows, 9.5 ms with a thousand classes
(these: 100 and 500), a warning where one class occurs, an error where one row does, and an R2 that loses its digits
when the target lies far from zero.

Predictions are what `Task.activate` returns, targets what batches hold; softened targets (B, C) are taken too.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, cast, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics import Metric, MetricCollection
from typing_extensions import override


def binary_metrics(threshold: float) -> MetricCollection:
    """Accuracy, auroc and f1 of yes-or-no predictions (B, 2), where a yes has a probability above the threshold."""
    return _sharing(accuracy=BinaryAccuracy(threshold), auroc=BinaryAUROC(threshold), f1=BinaryF1(threshold))


def multiclass_metrics(num_classes: int) -> MetricCollection:
    """Accuracy, and f1 averaged over the classes that occur, of predictions (B, C)."""
    return _sharing(accuracy=MulticlassAccuracy(num_classes), f1=MulticlassF1(num_classes))


def multilabel_metrics(num_classes: int, threshold: float) -> MetricCollection:
    """Accuracy over all rows and labels, and f1 averaged over the labels that occur, of predictions (B, C)."""
    accuracy, f1 = MultilabelAccuracy(num_classes, threshold), MultilabelF1(num_classes, threshold)
    return _sharing(accuracy=accuracy, f1=f1)


def regression_metrics(num_targets: int) -> MetricCollection:
    """Mae, r2 and rmse of predictions (B, T), each averaged over the targets."""
    return _sharing(mae=MeanError(num_targets), r2=R2(num_targets), rmse=RootMeanSquare(num_targets))


def point_metrics() -> MetricCollection:
    """The mean distance of predicted points (B, 2 P) from the true ones that are there."""
    return _sharing(distance=MeanDistance())


def _sharing(**metrics: Metric) -> MetricCollection:
    """A collection whose members keep one state together, so that a step updates it once."""
    members = cast("dict[str, Metric | MetricCollection]", metrics)
    return MetricCollection(members, compute_groups=[list(metrics)])


class _RowMetric(Metric):
    """Keeps two float32 columns, flat, and computes from them at the end.

    float32 and flat, because a process without rows takes part in the exchange between processes as an empty float32.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    predicted: list[Tensor] | Tensor
    wanted: list[Tensor] | Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("predicted", default=[], dist_reduce_fx="cat")
        self.add_state("wanted", default=[], dist_reduce_fx="cat")

    @final
    def keep(self, predicted: Tensor, wanted: Tensor) -> None:
        """Adds the rows of a step. Copies, since a caller may reuse its tensors."""
        for name, rows in (("predicted", predicted), ("wanted", wanted)):
            cast("list[Tensor]", getattr(self, name)).append(rows.detach().to(torch.float32, copy=True).reshape(-1))

    @final
    @override
    def compute(self) -> Tensor:
        predicted, wanted = _joined(self.predicted), _joined(self.wanted)
        value = self.score(predicted, wanted) if len(wanted) else float("nan")
        return torch.tensor(value, dtype=torch.float32, device=self.device)

    @abstractmethod
    def score(self, predicted: NDArray[np.float32], wanted: NDArray[np.float32]) -> float:
        """The metric over at least one row."""


class _BinaryMetric(_RowMetric):
    """Keeps the probability of yes, and whether it is yes."""

    def __init__(self, threshold: float) -> None:
        super().__init__()
        self.threshold = float(np.float32(threshold))

    @final
    @override
    def update(self, predictions: Tensor, target: Tensor) -> None:
        self.keep(predictions[:, 1], target[:, 1] > 0.5 if target.ndim == 2 else target)


@final
class BinaryAccuracy(_BinaryMetric):
    """The share of rows answered rightly."""

    @override
    def score(self, predicted: NDArray[np.float32], wanted: NDArray[np.float32]) -> float:
        return float(((predicted > self.threshold) == (wanted > 0.5)).mean())


@final
class BinaryF1(_BinaryMetric):
    """The harmonic mean of precision and recall of yes; 0 where neither occurs."""

    @override
    def score(self, predicted: NDArray[np.float32], wanted: NDArray[np.float32]) -> float:
        answered, positive = predicted > self.threshold, wanted > 0.5
        return float(2 * (answered & positive).sum() / max(1, answered.sum() + positive.sum()))


@final
class BinaryAUROC(_BinaryMetric):
    """The chance that a yes is ranked above a no, ties counted half; NaN where only one class occurs."""

    @override
    def score(self, predicted: NDArray[np.float32], wanted: NDArray[np.float32]) -> float:
        return auroc(predicted, wanted > 0.5)


class _MulticlassMetric(_RowMetric):
    """Keeps the predicted and the true class code; float32 holds every code below 16 million."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes

    @final
    @override
    def update(self, predictions: Tensor, target: Tensor) -> None:
        self.keep(_argmax(predictions), _argmax(target) if target.ndim == 2 else target)


@final
class MulticlassAccuracy(_MulticlassMetric):
    """The share of rows answered rightly."""

    @override
    def score(self, predicted: NDArray[np.float32], wanted: NDArray[np.float32]) -> float:
        return float((predicted == wanted).mean())


@final
class MulticlassF1(_MulticlassMetric):
    """The mean of the f1 of each class that is predicted or true in some row."""

    @override
    def score(self, predicted: NDArray[np.float32], wanted: NDArray[np.float32]) -> float:
        hits = _count(wanted[predicted == wanted], self.num_classes)
        return mean_f1(hits, _count(predicted, self.num_classes), _count(wanted, self.num_classes))


class _MultilabelMetric(Metric):
    """Keeps three counts a label, however many rows there are."""

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    hits: Tensor
    answered: Tensor
    positive: Tensor
    num_rows: Tensor

    def __init__(self, num_classes: int, threshold: float) -> None:
        super().__init__()
        self.threshold = threshold
        for name in ("hits", "answered", "positive"):
            self.add_state(name, default=torch.zeros(num_classes, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("num_rows", default=torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    @final
    @override
    def update(self, predictions: Tensor, target: Tensor) -> None:
        answered, positive = predictions.detach().float() > self.threshold, target > 0.5
        # Not in place: a state that was reset under inference mode may not be changed outside it.
        self.hits = self.hits + (answered & positive).sum(dim=0)
        self.answered = self.answered + answered.sum(dim=0)
        self.positive = self.positive + positive.sum(dim=0)
        self.num_rows = self.num_rows + len(target)


@final
class MultilabelAccuracy(_MultilabelMetric):
    """The share of all (row, label) cells answered rightly."""

    @override
    def compute(self) -> Tensor:
        wrong = self.answered + self.positive - 2 * self.hits
        return 1 - wrong.sum().float() / (self.num_rows * len(self.hits))  # 0 / 0 is NaN: no rows


@final
class MultilabelF1(_MultilabelMetric):
    """The mean of the f1 of each label that is answered or true in some row."""

    @override
    def compute(self) -> Tensor:
        value = mean_f1(*(counts.cpu().numpy() for counts in (self.hits, self.answered, self.positive)))
        return torch.tensor(value, dtype=torch.float32, device=self.device)


class _RegressionMetric(_RowMetric):
    """Keeps predictions and targets."""

    def __init__(self, num_targets: int) -> None:
        super().__init__()
        self.num_targets = num_targets

    @final
    @override
    def update(self, predictions: Tensor, target: Tensor) -> None:
        self.keep(predictions, target)

    @final
    @override
    def score(self, predicted: NDArray[np.float32], wanted: NDArray[np.float32]) -> float:
        columns = (values.reshape(-1, self.num_targets).astype(np.float64) for values in (predicted, wanted))
        return float(np.mean(self.per_target(*columns)))

    @abstractmethod
    def per_target(self, predicted: NDArray[np.float64], wanted: NDArray[np.float64]) -> NDArray[np.float64]:
        """The metric of each target, from (N, T) predictions and targets."""


@final
class MeanError(_RegressionMetric):
    """The mean absolute error."""

    higher_is_better = False

    @override
    def per_target(self, predicted: NDArray[np.float64], wanted: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(np.abs(predicted - wanted).mean(axis=0))


@final
class RootMeanSquare(_RegressionMetric):
    """The root of the mean squared error."""

    higher_is_better = False

    @override
    def per_target(self, predicted: NDArray[np.float64], wanted: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(np.sqrt(np.square(predicted - wanted).mean(axis=0)))


@final
class R2(_RegressionMetric):
    """The share of the target's variance that is explained; NaN where the target does not vary."""

    @override
    def per_target(self, predicted: NDArray[np.float64], wanted: NDArray[np.float64]) -> NDArray[np.float64]:
        left = np.square(wanted - predicted).sum(axis=0)
        total = np.square(wanted - wanted.mean(axis=0)).sum(axis=0)
        # digits beyond the twelfth are noise; a zero has no minus
        share = np.round(1 - left / np.where(total > 0, total, 1), 12) + 0.0
        return np.where(total > 0, share, np.nan)


@final
class MeanDistance(_RowMetric):
    """The mean distance between points (x, y) in turns; those that are not a number do not count."""

    higher_is_better = False

    @override
    def update(self, predictions: Tensor, target: Tensor) -> None:
        self.keep(predictions, target)

    @override
    def score(self, predicted: NDArray[np.float32], wanted: NDArray[np.float32]) -> float:
        steps = (predicted.astype(np.float64) - wanted).reshape(-1, 2)
        distances = np.hypot(*steps[np.isfinite(steps).all(axis=1)].T)
        return float(distances.mean()) if len(distances) else float("nan")


def auroc(scores: NDArray[Any], positive: NDArray[np.bool_]) -> float:
    """The area under the ROC curve, exact, ties counted half; NaN where only one class occurs.

    Example:
        >>> auroc(np.array([0.1, 0.4, 0.4, 0.8]), np.array([False, False, True, True]))
        0.875
    """
    num_positive = int(positive.sum())
    num_pairs = num_positive * (len(positive) - num_positive)
    if not num_pairs or np.isnan(scores).any():
        return float("nan")
    order = np.argsort(scores)
    ordered, is_positive = scores[order], positive[order]
    ends = np.append(np.flatnonzero(ordered[1:] != ordered[:-1]), len(ordered) - 1)  # of each run of ties
    positives = np.diff(np.cumsum(is_positive)[ends], prepend=0)
    negatives_so_far = ends + 1 - np.cumsum(positives)
    below = negatives_so_far - np.diff(negatives_so_far, prepend=0) / 2
    return float((positives * below).sum() / num_pairs)


def mean_f1(hits: NDArray[Any], answered: NDArray[Any], positive: NDArray[Any]) -> float:
    """The mean of 2 * hits / (answered + positive) over the classes that are answered or true; NaN if none is.

    Example:
        >>> mean_f1(np.array([1, 0, 2]), np.array([1, 0, 3]), np.array([1, 0, 2]))
        0.9
    """
    occurs = answered + positive > 0
    return float((2 * hits[occurs] / (answered + positive)[occurs]).mean()) if occurs.any() else float("nan")


def _joined(kept: list[Tensor] | Tensor) -> NDArray[np.float32]:
    """All rows kept so far: a list of steps, or one tensor after an exchange between processes."""
    rows = kept if isinstance(kept, Tensor) else torch.cat(kept) if kept else torch.empty(0)
    return cast("NDArray[np.float32]", rows.cpu().numpy())


def _argmax(values: Tensor) -> Tensor:
    """The first largest of each row; on the CPU by numpy, up to ten times as quick as torch."""
    values = values.detach()
    if values.device.type != "cpu":
        return values.argmax(dim=1)
    return torch.from_numpy(values.float().numpy().argmax(axis=1))


def _count(codes: NDArray[np.float32], num_classes: int) -> NDArray[np.int64]:
    return np.bincount(codes.astype(np.int64), minlength=num_classes)
