"""The default metrics of each task, cheap per step and exact over the epoch.

A step stores two numbers per row (or adds to three counts per label); the value is computed once at the end. torchmetrics'
own classes are slower (90 to 450 us for a step of 4,096 rows, 9.5 ms with a thousand classes; these: 100 and 500 us), warn
if only one class occurs, raise if there is only one row, and compute an R2 that loses digits if the target is far from zero.

Predictions are the output of `Task.activate`; targets are those of a batch, or soft targets (B, C).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias, cast, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics import Metric, MetricCollection
from typing_extensions import override

Rows: TypeAlias = NDArray[np.float32]
Reduce: TypeAlias = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""A function from predictions and target to one number per row for each."""
Score: TypeAlias = Callable[[Rows, Rows], float]  # from those numbers, for at least one row, to the metric
_LOWER, _HIGHER = ("loss", "mae", "rmse", "distance"), ("accuracy", "auroc", "f1", "r2", "recall@", "ndcg@")


def binary_metrics(threshold: float) -> MetricCollection:
    """Return accuracy, auroc and f1 for binary predictions (B, 2), which are positive above the threshold."""
    threshold = float(np.float32(threshold))
    return _collection(
        accuracy=_RowScore(_positive_probability, partial(_accuracy, threshold=threshold)),
        auroc=_RowScore(_positive_probability, _binary_auroc),
        f1=_RowScore(_positive_probability, partial(_binary_f1, threshold=threshold)),
    )


def multiclass_metrics(num_classes: int) -> MetricCollection:
    """Return accuracy, and f1 averaged over the classes that occur, for predictions (B, C)."""
    f1 = partial(_multiclass_f1, num_classes=num_classes)
    return _collection(accuracy=_RowScore(_class_codes, _accuracy), f1=_RowScore(_class_codes, f1))


def multilabel_metrics(num_classes: int, threshold: float) -> MetricCollection:
    """Return accuracy over all rows and labels, and f1 averaged over the labels that occur, for predictions (B, C)."""
    return _collection(accuracy=_LabelAccuracy(num_classes, threshold), f1=_LabelF1(num_classes, threshold))


def regression_metrics(num_targets: int) -> MetricCollection:
    """Return mae, r2 and rmse for predictions (B, T), each averaged over the targets."""
    return _collection(
        mae=_RowError(_unchanged, partial(_mean_absolute_error, num_targets=num_targets)),
        r2=_RowScore(_unchanged, partial(_explained_fraction, num_targets=num_targets)),
        rmse=_RowError(_unchanged, partial(_root_mean_square_error, num_targets=num_targets)),
    )


def values_of(metrics: MetricCollection, predictions: Tensor, target: Tensor) -> dict[str, float]:
    """Return the values of metrics on rows that every process holds, without summing over processes.

    Example:
        >>> values_of(regression_metrics(1), torch.tensor([[1.0], [2.0]]), torch.tensor([[1.0], [3.0]]))["mae"]
        0.5
    """
    metrics.reset()
    of_one_process(metrics).update(predictions, target)
    return {name: float(value) for name, value in metrics.compute().items()}


def of_one_process(metrics: MetricCollection) -> MetricCollection:
    """Make metrics cover the rows of this process only, instead of summing over processes, and return them."""
    for metric in metrics.values():
        metric.distributed_available_fn = lambda: False
    return metrics


def is_higher_better(name: str) -> bool | None:
    """Return whether higher values of the named metric are better; None for a user's own metric.

    Example:
        >>> is_higher_better("test accuracy"), is_higher_better("mae of pay"), is_higher_better("profit")
        (True, False, None)
    """
    name = name.removeprefix("test ")
    return True if name.startswith(_HIGHER) else False if name.startswith(_LOWER) else None


def point_metrics() -> MetricCollection:
    """Return the mean distance of predicted points (B, 2 P) from the true ones that are not missing."""
    return _collection(distance=_RowError(_unchanged, _mean_distance))


def _collection(**metrics: Metric) -> MetricCollection:
    """Return a collection whose metrics share one state, so that a step updates it only once."""
    members = cast("dict[str, Metric | MetricCollection]", metrics)
    return MetricCollection(members, compute_groups=[list(metrics)])


class _RowScore(Metric):
    """Store two float32 columns, flat, and compute a score from them at the end; higher is better.

    They are flat float32 because a process without rows sends an empty float32 tensor to the others.

    Args:
        reduce: A function from predictions and target to two numbers per row; float32 is exact up to class code 16 million.
        score: The metric, a function of the two columns.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    predicted: list[Tensor] | Tensor
    wanted: list[Tensor] | Tensor

    def __init__(self, reduce: Reduce, score: Score) -> None:
        super().__init__()
        self._reduce, self._score = reduce, score
        self.add_state("predicted", default=[], dist_reduce_fx="cat")
        self.add_state("wanted", default=[], dist_reduce_fx="cat")

    @final
    @override
    def update(self, predictions: Tensor, target: Tensor) -> None:
        for name, rows in zip(("predicted", "wanted"), self._reduce(predictions, target), strict=True):
            column = cast("list[Tensor]", getattr(self, name))
            # a copy, since the caller may overwrite its tensors
            column.append(rows.detach().to(torch.float32, copy=True).reshape(-1))

    @final
    @override
    def compute(self) -> Tensor:
        columns = []
        for steps in (self.predicted, self.wanted):  # already one tensor after a sync between processes
            rows = steps if isinstance(steps, Tensor) else torch.cat(steps) if steps else torch.empty(0)
            columns.append(cast("Rows", rows.cpu().numpy()))
        predicted, wanted = columns
        value = self._score(predicted, wanted) if len(wanted) else float("nan")
        return torch.tensor(value, dtype=torch.float32, device=self.device)


@final
class _RowError(_RowScore):
    """A score for which lower is better."""

    higher_is_better = False


def _positive_probability(predictions: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    return predictions[:, 1], target[:, 1] > 0.5 if target.ndim == 2 else target


def _class_codes(predictions: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return the class of each row; on the CPU use numpy, whose argmax is up to ten times as fast as torch's."""
    codes = []
    for values in (predictions.detach(), target.detach()):
        if values.ndim == 1:
            codes.append(values)
        elif values.device.type == "cpu":
            codes.append(torch.from_numpy(values.float().numpy().argmax(axis=1)))
        else:
            codes.append(values.argmax(dim=1))
    return codes[0], codes[1]


def _unchanged(predictions: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    return predictions, target


def _accuracy(predicted: Rows, wanted: Rows, *, threshold: float | None = None) -> float:
    """Return the fraction of correct rows, from class codes or, with a threshold, from the positive class's probabilities."""
    right = predicted == wanted if threshold is None else (predicted > threshold) == (wanted > 0.5)
    return float(right.mean())


def _binary_f1(predicted: Rows, wanted: Rows, *, threshold: float) -> float:
    """Return the harmonic mean of precision and recall; 0 if no row is predicted or true."""
    chosen, positive = predicted > threshold, wanted > 0.5
    return float(2 * (chosen & positive).sum() / max(1, chosen.sum() + positive.sum()))


def _multiclass_f1(predicted: Rows, wanted: Rows, *, num_classes: int) -> float:
    """Return the mean f1 of the classes that are predicted or true in some row."""
    rows = (wanted[predicted == wanted], predicted, wanted)
    return _mean_f1(*(np.bincount(codes.astype(np.int64), minlength=num_classes) for codes in rows))


def _mean_absolute_error(predicted: Rows, wanted: Rows, *, num_targets: int) -> float:
    """Return the mean over the targets of the mean absolute error of each."""
    errors = np.subtract(wanted, predicted, dtype=np.float64).reshape(-1, num_targets)
    return float(np.abs(errors).mean(axis=0).mean())


def _root_mean_square_error(predicted: Rows, wanted: Rows, *, num_targets: int) -> float:
    """Return the mean over the targets of the root of the mean square error of each."""
    errors = np.subtract(wanted, predicted, dtype=np.float64).reshape(-1, num_targets)
    return float(np.sqrt(np.square(errors).mean(axis=0)).mean())


def _explained_fraction(predicted: Rows, wanted: Rows, *, num_targets: int) -> float:
    """Return R2 averaged over the targets; that of a constant target is NaN."""
    truth = wanted.reshape(-1, num_targets).astype(np.float64)
    errors = truth - predicted.reshape(-1, num_targets)
    residual, total = np.square(errors).sum(axis=0), np.square(truth - truth.mean(axis=0)).sum(axis=0)
    # digits beyond the twelfth are noise; adding 0.0 removes the sign of a negative zero
    explained = np.round(1 - residual / np.where(total > 0, total, 1), 12) + 0.0
    return float(np.where(total > 0, explained, np.nan).mean())


def _mean_distance(predicted: Rows, wanted: Rows) -> float:
    """Return the mean distance between points (x and y alternate), leaving out those that are NaN."""
    steps = (predicted.astype(np.float64) - wanted).reshape(-1, 2)
    distances = np.hypot(*steps[np.isfinite(steps).all(axis=1)].T)
    return float(distances.mean()) if len(distances) else float("nan")


class _LabelScore(Metric):
    """Count the correct, predicted and true rows of each label, and compute a score from the counts at the end.

    Args:
        num_classes: The number of labels.
        threshold: The probability above which a label is predicted.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    hits: Tensor
    predicted: Tensor
    positive: Tensor
    num_rows: Tensor

    def __init__(self, num_classes: int, threshold: float) -> None:
        super().__init__()
        self.threshold = threshold
        for state in ("hits", "predicted", "positive"):
            self.add_state(state, default=torch.zeros(num_classes, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("num_rows", default=torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    @final
    @override
    def update(self, predictions: Tensor, target: Tensor) -> None:
        predicted, positive = predictions.detach().float() > self.threshold, target > 0.5
        # Not in place: a state that was reset in inference mode cannot be modified outside it.
        self.hits = self.hits + (predicted & positive).sum(dim=0)
        self.predicted = self.predicted + predicted.sum(dim=0)
        self.positive = self.positive + positive.sum(dim=0)
        self.num_rows = self.num_rows + len(target)


@final
class _LabelAccuracy(_LabelScore):
    """The fraction of (row, label) pairs that are correct; NaN without rows."""

    @override
    def compute(self) -> Tensor:
        wrong = (self.predicted + self.positive - 2 * self.hits).sum().float()
        return 1 - wrong / (self.num_rows * len(self.hits))


@final
class _LabelF1(_LabelScore):
    """The mean f1 of the labels that are predicted or true in some row."""

    @override
    def compute(self) -> Tensor:
        value = _mean_f1(*(counts.cpu().numpy() for counts in (self.hits, self.predicted, self.positive)))
        return torch.tensor(value, dtype=torch.float32, device=self.hits.device)


def _binary_auroc(scores: NDArray[Any], wanted: NDArray[Any]) -> float:
    """Return the exact area under the ROC curve, counting ties as half; NaN if only one class occurs.

    Example:
        >>> _binary_auroc(np.array([0.1, 0.4, 0.4, 0.8]), np.array([False, False, True, True]))
        0.875
    """
    positive = wanted > 0.5
    num_positive = int(positive.sum())
    num_pairs = num_positive * (len(positive) - num_positive)
    if not num_pairs or np.isnan(scores).any():
        return float("nan")
    order = np.argsort(scores)
    ordered, is_positive = scores[order], positive[order]
    ends = np.append(np.flatnonzero(ordered[1:] != ordered[:-1]), len(ordered) - 1)  # the last row of each run of ties
    positives = np.diff(np.cumsum(is_positive)[ends], prepend=0)
    negatives_so_far = ends + 1 - np.cumsum(positives)
    below = negatives_so_far - np.diff(negatives_so_far, prepend=0) / 2
    return float((positives * below).sum() / num_pairs)


def _mean_f1(hits: NDArray[Any], predicted: NDArray[Any], positive: NDArray[Any]) -> float:
    """Return the mean of 2 * hits / (predicted + positive) over the classes that are predicted or true; NaN if none is.

    Example:
        >>> _mean_f1(np.array([1, 0, 2]), np.array([1, 0, 3]), np.array([1, 0, 2]))
        0.9
    """
    occurs = predicted + positive > 0
    return float((2 * hits[occurs] / (predicted + positive)[occurs]).mean()) if occurs.any() else float("nan")


@final
class RunningMean:
    """The weighted mean of the values seen so far, summed on the device.

    Example:
        >>> mean = RunningMean()
        >>> mean.update(torch.tensor(2.0), 1)
        >>> mean.update(torch.tensor(5.0), 3)
        >>> (mean.totals()[0] / mean.totals()[1]).item()
        4.25
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget all values."""
        self._sum: Tensor | None = None
        self._weight: Tensor | float = 0.0

    def update(self, mean: Tensor, weight: Tensor | float) -> None:
        """Add the mean of some rows and their total weight."""
        mean = self._wide(mean)
        # torch.compile would recompile at every step for a Python float that keeps changing
        weight = self._wide(weight) if isinstance(weight, Tensor) else torch.full_like(mean, weight)
        weighted = mean * weight
        self._sum = weighted if self._sum is None else self._sum + weighted
        self._weight = self._weight + weight  # not in place: the tensor may be the caller's

    def load(self, totals: Tensor) -> None:
        """Restore what `totals` returned."""
        self._sum, self._weight = totals[0], totals[1]

    def totals(self) -> Tensor:
        """Return the weighted sum and the total weight, (2,), to be summed over ranks."""
        total = torch.zeros((), dtype=torch.float64) if self._sum is None else self._sum
        return torch.stack([total, torch.as_tensor(self._weight).to(total)])

    @staticmethod
    def _wide(value: Tensor) -> Tensor:
        """Return the value in float64 if the device supports it: a float32 sum over a long epoch loses digits."""
        return value.detach() if value.device.type == "mps" else value.detach().double()
