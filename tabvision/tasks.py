"""What a target asks of a network: loss, activation, decoding and metrics of each kind of target, in one place each.

A task is a frozen dataclass of plain facts. `fit` fills in those that come from the training target (how many classes, the
mean and spread of a number), so a user may write `Multiclass()` and let the data decide. Losses are per row and reduced
last, so that row weights, mixed-up rows and the rows with the top losses need no special case.

torch is imported where it is used, never at the top: a checkpoint's or an ONNX file's facts are read without it.
"""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, final

import numpy as np
from typing_extensions import override

from tabvision.errors import BadTypeError, BadValueError, UnknownNameError
from tabvision.plain import from_plain

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor
    from torchmetrics import MetricCollection

ClassWeights = tuple[float, ...] | Literal["balanced"] | None


class Task(ABC):
    """One kind of target. B is the number of rows, C of classes, T of numbers to predict.

    Every task keeps the same promises: the network gives `num_outputs` logits a row; `activate` turns them into predictions
    of shape (B, C) or (B, T); `loss` is one value a row; `decode` turns predictions into what a user reads.
    """

    name: ClassVar[str]  # the name in files and on the command line

    @property
    @abstractmethod
    def num_outputs(self) -> int:
        """Logits the network gives for a row."""

    @property
    def is_classes(self) -> bool:
        """Whether the target names classes (and predictions are probabilities) rather than numbers."""
        return True

    @abstractmethod
    def fit(self, target: NDArray[Any], num_classes: int) -> Self:
        """This task with the facts of a training target filled in.

        Args:
            target: The encoded training target: (B,) int64 codes, or (B, C) or (B, T) float.
            num_classes: Classes the data has; 0 for numbers.

        Raises:
            BadValueError: The data contradicts what the user stated.
        """

    @abstractmethod
    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """The loss of each row.

        Shape:
            - logits: (B, num_outputs) float
            - target: as in the batch; softened targets (B, C) float are taken too
            - returns: (B,) float32 or wider
        """

    @abstractmethod
    def activate(self, logits: Tensor) -> Tensor:
        """Predictions from logits: (B, C) probabilities, or (B, T) numbers in the user's units."""

    @abstractmethod
    def decode(self, predictions: NDArray[Any]) -> NDArray[Any]:
        """What the predictions say: (B,) int64 codes, (B, C) bool for multi-label, (B, T) numbers."""

    @abstractmethod
    def soften(self, target: Tensor) -> Tensor:
        """The target as (B, C) or (B, T) float, which may be blended between rows."""

    @abstractmethod
    def constant(self, target: NDArray[Any]) -> NDArray[Any]:
        """The best prediction that looks at no feature, (1, C) or (1, T): class shares, or the mean."""

    @abstractmethod
    def metrics(self) -> MetricCollection:
        """Fresh default metrics, updated by `(predictions, target)`."""

    def to_dict(self) -> dict[str, Any]:
        """The task as plain data."""
        facts = {
            field.name: _plain(getattr(self, field.name))
            for field in dataclasses.fields(self)  # type: ignore[arg-type]  # concrete tasks are dataclasses
        }
        return {"name": self.name, **facts}

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Task:
        """The task that `to_dict` wrote.

        Raises:
            UnknownNameError: No task has that name.
            BadValueError: A fact is missing, unknown or out of range.
        """
        if not isinstance(data, Mapping):
            raise BadTypeError(
                "Task", f"a task must be an object, got {type(data).__name__}", "Pass what to_dict wrote"
            )
        facts = {key: value for key, value in data.items() if key != "name"}
        kind = type(task_named(data.get("name")))
        known = {field.name for field in dataclasses.fields(kind)}
        if unknown := sorted(map(str, set(facts) - known)):
            raise BadValueError(kind.__name__, f"unknown facts {unknown}", f"Known are {sorted(known)}")
        return from_plain(facts, kind)


def task_named(name: object) -> Binary | Multiclass | Multilabel | Regression:
    """A fresh task of that name: binary, multiclass, multilabel or regression.

    Example:
        >>> task_named("binary")
        Binary(threshold=0.5, label_smoothing=0.0, class_weights=None)
    """
    for task in (Binary, Multiclass, Multilabel, Regression):
        if task.name == name:
            return task()
    raise UnknownNameError("Task", "task", name, [task.name for task in (Binary, Multiclass, Multilabel, Regression)])


@final
@dataclass(frozen=True)
class Binary(Task):
    """Yes or no: one logit, the second class in sorted order is "yes".

    Args:
        threshold: Probability of the second class above which it is answered, in (0, 1).
        label_smoothing: Share of certainty taken from each target, in [0, 1).
        class_weights: Weight of each of the two classes in the loss, "balanced" to weigh them by 1 / share, or None.

    Example:
        >>> import torch
        >>> Binary().activate(torch.zeros(1, 1)).tolist()
        [[0.5, 0.5]]
    """

    name: ClassVar[str] = "binary"
    threshold: float = 0.5
    label_smoothing: float = 0.0
    class_weights: ClassWeights = None

    def __post_init__(self) -> None:
        """Checks the facts."""
        _check_share("Binary", "threshold", self.threshold)
        _check_smoothing("Binary", self.label_smoothing)
        _check_weights("Binary", self.class_weights, 2)

    @property
    @override
    def num_outputs(self) -> int:
        return 1

    @override
    def fit(self, target: NDArray[Any], num_classes: int) -> Binary:
        if num_classes != 2:
            raise BadValueError(
                "Binary", f"the target must have 2 classes, got {num_classes}", "Use tabvision.tasks.Multiclass()"
            )
        return dataclasses.replace(
            self, class_weights=_fit_weights(self.class_weights, np.bincount(target, minlength=2))
        )

    @override
    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        from torch.nn import functional

        positive = target[:, 1] if target.ndim == 2 else target
        positive = positive.to(logits.dtype)
        smooth = positive * (1 - self.label_smoothing) + self.label_smoothing / 2 if self.label_smoothing else positive
        loss = functional.binary_cross_entropy_with_logits(logits[:, 0], smooth, reduction="none")
        if self.class_weights is None:
            return loss
        negative_weight, positive_weight = _known(self.class_weights)
        return loss * (negative_weight + (positive_weight - negative_weight) * positive)

    @override
    def activate(self, logits: Tensor) -> Tensor:
        import torch

        # sigmoid(-z) rather than 1 - sigmoid(z): exact for very sure answers as well
        return torch.cat([(-logits).sigmoid(), logits.sigmoid()], dim=1)

    @override
    def decode(self, predictions: NDArray[Any]) -> NDArray[Any]:
        return (predictions[:, 1] > self.threshold).astype(np.int64)

    @override
    def soften(self, target: Tensor) -> Tensor:
        return _one_hot(target, 2)

    @override
    def constant(self, target: NDArray[Any]) -> NDArray[Any]:
        return _class_shares(target, 2)

    @override
    def metrics(self) -> MetricCollection:
        from tabvision.metrics import binary_metrics

        return binary_metrics(self.threshold)


@final
@dataclass(frozen=True)
class Multiclass(Task):
    """One of several classes.

    Args:
        num_classes: How many, at least 2; None until the data says.
        label_smoothing: Share of certainty spread over all classes, in [0, 1).
        class_weights: Weight of each class in the loss, "balanced" to weigh them by 1 / share, or None.

    Example:
        >>> import torch
        >>> Multiclass(4).activate(torch.zeros(1, 4)).sum().item()
        1.0
    """

    name: ClassVar[str] = "multiclass"
    num_classes: int | None = None
    label_smoothing: float = 0.0
    class_weights: ClassWeights = None

    def __post_init__(self) -> None:
        """Checks the facts."""
        remedy = "For a yes-or-no target use tabvision.tasks.Binary()"
        _check_count("Multiclass", "num_classes", self.num_classes, least=2, remedy=remedy)
        _check_smoothing("Multiclass", self.label_smoothing)
        _check_weights("Multiclass", self.class_weights, self.num_classes)

    @property
    @override
    def num_outputs(self) -> int:
        return _fitted_count("Multiclass", self.num_classes)

    @override
    def fit(self, target: NDArray[Any], num_classes: int) -> Multiclass:
        _check_agrees("Multiclass", self.num_classes, num_classes)
        _check_weights("Multiclass", self.class_weights, num_classes)
        weights = _fit_weights(self.class_weights, np.bincount(target, minlength=num_classes))
        return dataclasses.replace(self, num_classes=num_classes, class_weights=weights)

    @override
    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        from torch.nn import functional

        weights = None if self.class_weights is None else logits.new_tensor(_known(self.class_weights))
        target = target.to(logits.dtype) if target.ndim == 2 else target
        smoothing = self.label_smoothing
        return functional.cross_entropy(logits, target, weight=weights, reduction="none", label_smoothing=smoothing)

    @override
    def activate(self, logits: Tensor) -> Tensor:
        return logits.softmax(dim=1)

    @override
    def decode(self, predictions: NDArray[Any]) -> NDArray[Any]:
        codes: NDArray[Any] = predictions.argmax(axis=1)
        return codes

    @override
    def soften(self, target: Tensor) -> Tensor:
        return _one_hot(target, self.num_outputs)

    @override
    def constant(self, target: NDArray[Any]) -> NDArray[Any]:
        return _class_shares(target, self.num_outputs)

    @override
    def metrics(self) -> MetricCollection:
        from tabvision.metrics import multiclass_metrics

        return multiclass_metrics(self.num_outputs)


@final
@dataclass(frozen=True)
class Multilabel(Task):
    """Any number of the classes at once: one yes-or-no logit for each.

    Args:
        num_classes: How many, at least 1; None until the data says.
        threshold: Probability above which a class is answered, in (0, 1).
        label_smoothing: Share of certainty taken from each target, in [0, 1).
        class_weights: Weight of each class in the loss, "balanced" to weigh the rare ones up, or None.

    Example:
        >>> import numpy as np
        >>> Multilabel(3, threshold=0.4).decode(np.array([[0.1, 0.5, 0.9]])).tolist()
        [[False, True, True]]
    """

    name: ClassVar[str] = "multilabel"
    num_classes: int | None = None
    threshold: float = 0.5
    label_smoothing: float = 0.0
    class_weights: ClassWeights = None

    def __post_init__(self) -> None:
        """Checks the facts."""
        remedy = "Pass the number of labels, or leave it out and let the data say"
        _check_count("Multilabel", "num_classes", self.num_classes, least=1, remedy=remedy)
        _check_share("Multilabel", "threshold", self.threshold)
        _check_smoothing("Multilabel", self.label_smoothing)
        _check_weights("Multilabel", self.class_weights, self.num_classes)

    @property
    @override
    def num_outputs(self) -> int:
        return _fitted_count("Multilabel", self.num_classes)

    @override
    def fit(self, target: NDArray[Any], num_classes: int) -> Multilabel:
        _check_agrees("Multilabel", self.num_classes, num_classes)
        _check_weights("Multilabel", self.class_weights, num_classes)
        weights = _fit_weights(self.class_weights, target.sum(axis=0))
        return dataclasses.replace(self, num_classes=num_classes, class_weights=weights)

    @override
    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        from torch.nn import functional

        target = target.to(logits.dtype)
        smooth = target * (1 - self.label_smoothing) + self.label_smoothing / 2 if self.label_smoothing else target
        weights = None if self.class_weights is None else logits.new_tensor(_known(self.class_weights))
        loss = functional.binary_cross_entropy_with_logits(logits, smooth, weight=weights, reduction="none")
        return loss.mean(dim=1)

    @override
    def activate(self, logits: Tensor) -> Tensor:
        return logits.sigmoid()

    @override
    def decode(self, predictions: NDArray[Any]) -> NDArray[Any]:
        chosen: NDArray[Any] = predictions > self.threshold
        return chosen

    @override
    def soften(self, target: Tensor) -> Tensor:
        return target.float()

    @override
    def constant(self, target: NDArray[Any]) -> NDArray[Any]:
        shares: NDArray[Any] = np.asarray(target, dtype=np.float32).mean(axis=0, keepdims=True)
        return shares

    @override
    def metrics(self) -> MetricCollection:
        from tabvision.metrics import multilabel_metrics

        return multilabel_metrics(self.num_outputs, self.threshold)


@final
@dataclass(frozen=True)
class Regression(Task):
    """One number or several.

    The network works on the standardized target; the mean and spread of the training rows live here, so predictions and
    metrics are in the user's units. The loss is on the standardized scale, so that several targets weigh the same.

    Args:
        y_range: Lowest and highest answer, reached by a scaled sigmoid; None for no bounds.
        error: How a row's error counts: "mse" squared, "mae" absolute, "huber" squared when small.
        mean: Of each target over the training rows; filled in by the data.
        spread: Standard deviation of each target over the training rows; filled in by the data.

    Example:
        >>> import torch
        >>> Regression(y_range=(0, 5), mean=(3.0,), spread=(1.0,)).activate(torch.zeros(1, 1)).item()
        2.5
    """

    name: ClassVar[str] = "regression"
    y_range: tuple[float, float] | None = None
    error: Literal["mse", "mae", "huber"] = "mse"
    mean: tuple[float, ...] = ()
    spread: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Checks the facts."""
        if self.error not in ("mse", "mae", "huber"):
            raise UnknownNameError("Regression", "error", self.error, ["mse", "mae", "huber"])
        if self.y_range is not None:
            object.__setattr__(self, "y_range", _checked_range(self.y_range))
        finite = all(math.isfinite(value) for value in (*self.mean, *self.spread))
        if len(self.mean) != len(self.spread) or not finite or any(value <= 0 for value in self.spread):
            problem = (
                f"mean and spread must be finite, of one length, spread above 0, got {self.mean} and {self.spread}"
            )
            raise BadValueError("Regression", problem, "Leave both out; the datamodule fills them in")

    @property
    @override
    def num_outputs(self) -> int:
        return _fitted_count("Regression", len(self.mean) or None)

    @property
    @override
    def is_classes(self) -> bool:
        return False

    @override
    def fit(self, target: NDArray[Any], num_classes: int) -> Regression:
        mean, spread = target.mean(axis=0, dtype=np.float64), target.std(axis=0, dtype=np.float64)
        if self.y_range is not None:
            low, high = self.y_range
            outside = int(((target < low) | (target > high)).any(axis=1).sum())
            if outside:
                problem = f"y_range is {low:g} to {high:g}, but {outside:,} training targets lie outside"
                raise BadValueError("Regression", problem, f"Widen it; they span {target.min():g} to {target.max():g}")
        if (spread == 0).any():
            problem = f"the training target must vary, got one value, {mean[spread == 0][0]:g}, in every row"
            raise BadValueError("Regression", problem, "Choose another target or a larger training part")
        return dataclasses.replace(self, mean=tuple(mean.tolist()), spread=tuple(spread.tolist()))

    @override
    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        mean, spread = logits.new_tensor(self.mean), logits.new_tensor(self.spread)
        wanted = (target.to(logits.dtype).reshape(logits.shape) - mean) / spread
        given = logits if self.y_range is None else (self.activate(logits) - mean) / spread
        difference = (given - wanted).abs()
        if self.error == "mae":
            return difference.mean(dim=1)
        squared = difference.square()
        if self.error == "huber":  # delta 1, in standard deviations of the target
            squared = squared.where(difference < 1, 2 * difference - 1) / 2
        return squared.mean(dim=1)

    @override
    def activate(self, logits: Tensor) -> Tensor:
        logits = logits.float() if logits.itemsize < 4 else logits  # answers in user units need more than bfloat16
        if self.y_range is not None:
            low, high = self.y_range
            return logits.sigmoid() * (high - low) + low
        return logits * logits.new_tensor(self.spread) + logits.new_tensor(self.mean)

    @override
    def decode(self, predictions: NDArray[Any]) -> NDArray[Any]:
        return predictions

    @override
    def soften(self, target: Tensor) -> Tensor:
        return target.reshape(len(target), self.num_outputs)

    @override
    def constant(self, target: NDArray[Any]) -> NDArray[Any]:
        mean: NDArray[Any] = np.asarray(target, dtype=np.float64).mean(axis=0, keepdims=True)
        return mean

    @override
    def metrics(self) -> MetricCollection:
        from tabvision.metrics import regression_metrics

        return regression_metrics(self.num_outputs)


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


def _one_hot(target: Tensor, num_classes: int) -> Tensor:
    from torch.nn import functional

    return target if target.ndim == 2 else functional.one_hot(target, num_classes).float()


def _class_shares(target: NDArray[Any], num_classes: int) -> NDArray[Any]:
    counts = np.bincount(target, minlength=num_classes)
    shares: NDArray[Any] = (counts / max(1, counts.sum()))[None].astype(np.float32)
    return shares


def _known(weights: ClassWeights) -> tuple[float, ...]:
    if weights is None or isinstance(weights, str):
        raise BadValueError(
            "Task", f"class_weights is still {weights!r}", "Build the task through a datamodule, which fits it"
        )
    return weights


def _fit_weights(weights: ClassWeights, counts: NDArray[Any]) -> ClassWeights:
    """Numbers for "balanced": 1 / share of each class, scaled so that the average training row weighs 1."""
    if weights != "balanced":
        return weights
    inverse = counts.sum() / np.maximum(counts, 1)
    return tuple((inverse * counts.sum() / (inverse * counts).sum()).tolist())


def _fitted_count(who: str, number: int | None) -> int:
    if number is None:
        problem = "the number of outputs is not known before the data is"
        raise BadValueError(who, problem, "Take the task from data.schema.task, or state the number")
    return number


def _check_agrees(who: str, stated: int | None, found: int) -> None:
    if stated not in (None, found):
        raise BadValueError(
            who, f"num_classes is {stated}, but the training target has {found} classes", "Leave it out"
        )


def _check_count(who: str, what: str, value: object, *, least: int, remedy: str) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int):
        raise BadTypeError(who, f"{what} must be a whole number, got {value!r}", remedy)
    if value < least:
        raise BadValueError(who, f"{what} must be at least {least}, got {value}", remedy)


def _check_share(who: str, what: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadTypeError(who, f"{what} must be a number in (0, 1), got {value!r}", "Pass a share such as 0.5")
    if not 0 < value < 1:
        raise BadValueError(who, f"{what} must lie in (0, 1), got {value!r}", "Pass a share such as 0.5")


def _check_smoothing(who: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadTypeError(
            who, f"label_smoothing must be a number in [0, 1), got {value!r}", "Pass a share such as 0.1"
        )
    if not 0 <= value < 1:
        raise BadValueError(who, f"label_smoothing must lie in [0, 1), got {value!r}", "Pass a share such as 0.1")


def _check_weights(who: str, weights: object, num_classes: int | None) -> None:
    if weights is None or weights == "balanced":
        return
    remedy = 'Pass a tuple of one positive number a class, "balanced" or None'
    numbers = isinstance(weights, tuple) and all(
        isinstance(weight, int | float) and math.isfinite(weight) and weight > 0 for weight in weights
    )
    if not numbers:
        raise BadValueError(who, f"class_weights must be positive numbers, got {weights!r}", remedy)
    if num_classes is not None and len(weights) != num_classes:  # type: ignore[arg-type]  # a tuple, checked above
        problem = f"class_weights must have {num_classes} numbers, got {len(weights)}"  # type: ignore[arg-type]
        raise BadValueError(who, problem, remedy)


def _checked_range(y_range: object) -> tuple[float, float]:
    remedy = "Pass (lowest, highest), such as (0, 5.5)"
    numbers = (
        isinstance(y_range, tuple | list)
        and len(y_range) == 2
        and all(isinstance(end, int | float) and math.isfinite(end) for end in y_range)
    )
    if not numbers or y_range[0] >= y_range[1]:  # type: ignore[index]  # two numbers, checked just before
        raise BadValueError("Regression", f"y_range must be two rising numbers, got {y_range!r}", remedy)
    return (float(y_range[0]), float(y_range[1]))  # type: ignore[index]
