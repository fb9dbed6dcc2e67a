"""What tasks of classes share: the number of classes, their weights and the answers; for one class per row also encoding."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from typing_extensions import override

from tabvision.checks import check_fraction, check_least
from tabvision.errors import BadValueError, speaking
from tabvision.tasks.base import NEW_CLASS, Task
from tabvision.tasks.checks import (
    ClassWeights,
    checked_weights,
    fit_weights,
    fitted_count,
    grow_weights,
    is_within,
)

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray
    from torch import Tensor

    from tabvision.plain import Label
    from tabvision.tasks.target import Target, TargetFacts

MAX_INTEGER_CLASSES = 20  # a column of integers with more distinct values is regression unless the user says otherwise


class Classes(Task):
    """Base class of tasks whose target names classes, and whose predictions are their probabilities."""

    is_classes: ClassVar[bool] = True
    label_smoothing: float
    class_weights: ClassWeights
    focal_gamma: float

    def _check_loss_settings(self, num_classes: int | None) -> None:
        """Raise unless the settings of the loss are in range, and turn the class weights into a tuple."""
        check_fraction("label_smoothing", self.label_smoothing)
        check_least("focal_gamma", self.focal_gamma, 0, remedy="Pass 2 for the usual focal loss, 0 for none")
        object.__setattr__(self, "class_weights", checked_weights(self.class_weights, num_classes))

    @override
    def answers(
        self, predictions: NDArray[Any], decoded: NDArray[Any], target: Target, *, proba: bool
    ) -> dict[str, Any]:
        """Return the column `label`, and with `proba` also `probability_<class>` for each class."""
        columns: dict[str, Any] = {"label": self._label_column(decoded, target)}
        if proba:
            columns |= {f"probability_{name}": predictions[:, index] for index, name in enumerate(target.classes)}
        return columns

    def _label_column(self, decoded: NDArray[Any], target: Target) -> Any:  # noqa: ANN401 - an array of numpy or pandas
        """Return the labels as a column of the answer."""
        return self.labels(decoded, target)

    def _with(self, **facts: Any) -> Self:  # noqa: ANN401 - fields of any type
        """Return a copy with other facts; subclasses are dataclasses, although this class is not."""
        task: Any = self
        return dataclasses.replace(task, **facts)  # type: ignore[no-any-return]  # a copy of itself


class CountedClasses(Classes):
    """Base class of tasks with one output per class, whose number comes from the data."""

    num_classes: int | None

    @property
    @override
    @speaking()
    def num_outputs(self) -> int:
        return fitted_count(self.num_classes)

    @override
    @speaking()
    def fit(self, target: NDArray[Any], num_classes: int) -> Self:
        if self.num_classes not in (None, num_classes):
            problem = f"num_classes is {self.num_classes}, but the training target has {num_classes} classes"
            raise BadValueError(problem, "Leave it out")
        checked_weights(self.class_weights, num_classes)
        counts = target.sum(axis=0) if target.ndim == 2 else np.bincount(target, minlength=num_classes)
        return self._with(num_classes=num_classes, class_weights=fit_weights(self.class_weights, counts))

    @override
    def grow(self, new: Task, num_classes: int) -> Self:
        return self._with(num_classes=num_classes, class_weights=grow_weights(self.class_weights, num_classes))


class OneClass(Classes):
    """Base class of tasks with one class per row, named in a single column."""

    @override
    def check(self, target: Target) -> None:
        super().check(target)
        if len(target.columns) > 1:
            problem = f"{type(self).__name__} predicts one column, got {len(target.columns)}: {target.quoted}"
            remedy = "Name one column, or use Multilabel (columns of 0 and 1) or Regression (numbers)"
            raise BadValueError(problem, remedy)

    @override
    def find_classes(self, frame: pd.DataFrame, target: Target) -> tuple[Label, ...]:
        from tabvision.tasks import labels

        (name,) = target.columns
        classes = labels.classes_of(frame[name], name)
        if len(classes) == 1:
            raise labels.one_value(classes[0], len(frame), name)
        fractions = sum(isinstance(label, float) and not label.is_integer() for label in classes)
        if len(classes) > MAX_INTEGER_CLASSES and fractions:
            problem = f"{type(self).__name__} needs classes, {name!r} holds {len(classes):,} distinct numbers"
            raise BadValueError(problem, "Use Regression, or cut the numbers into bins with pd.cut")
        return classes

    @override
    def refit(self, facts: TargetFacts) -> Self:
        return self._with(class_weights=fit_weights(self.class_weights, facts.counts))

    @override
    def encode(self, frame: pd.DataFrame, target: Target) -> NDArray[Any]:
        from tabvision.tasks import labels

        (name,) = target.columns
        return labels.class_codes(frame[name], target.classes, name)

    @override
    def expected_target(self, target: Tensor) -> str | None:
        classes, is_binary = self.num_predictions, self.num_outputs == 1
        is_soft = target.shape[1:] == (classes,) or (is_binary and target.ndim == 1)
        is_code = target.ndim == 1 and not target.is_floating_point()
        if (is_soft or is_code) and is_within(target, 0, 1 if is_soft else classes - 1):
            return None
        return f"class codes (B,) from 0 to {classes - 1}, or probabilities (B, {classes})"

    @override
    def soften(self, target: Tensor) -> Tensor:
        from torch.nn import functional

        return target if target.ndim == 2 else functional.one_hot(target, self.num_predictions).float()

    @override
    def constant(self, target: NDArray[Any]) -> NDArray[Any]:
        counts = np.bincount(target, minlength=self.num_predictions)
        frequencies: NDArray[Any] = (counts / max(1, counts.sum()))[None].astype(np.float32)
        return frequencies

    @override
    def stratify_codes(self, frame: pd.DataFrame, columns: Sequence[str]) -> NDArray[np.int64] | None:
        import pandas as pd

        if len(columns) != 1:
            return None
        values = frame[columns[0]]
        codes, _ = pd.factorize(values.astype("str") if values.dtype == object else values)
        return np.asarray(codes, dtype=np.int64)

    @override
    def labels(self, codes: NDArray[Any], target: Target) -> NDArray[Any]:
        from tabvision.tasks import labels

        found: NDArray[Any] = labels.as_array(target.classes)[codes]
        return found

    @override
    def _label_column(self, decoded: NDArray[Any], target: Target) -> Any:
        from tabvision.tasks import labels

        return labels.as_column(target.classes, decoded)

    @override
    def join_new(self, known: Tensor, new: Tensor) -> Tensor:
        import torch

        # the known classes share the remaining probability in the same proportions as before
        odds = math.log(NEW_CLASS / (1 - new.shape[-1] * NEW_CLASS))
        return torch.cat([known, new + known.logsumexp(-1, keepdim=True) + odds], dim=-1)
