"""Binary classification."""

from __future__ import annotations

import dataclasses
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, final

import numpy as np
from typing_extensions import override

from tabvision.checks import check_fraction
from tabvision.errors import BadValueError, listed, speaking
from tabvision.tasks.base import Correction, Task
from tabvision.tasks.checks import ClassWeights, fit_weights, grow_weights, weights_of
from tabvision.tasks.classes import OneClass
from tabvision.tasks.losses import binary_losses, logit_of_mean
from tabvision.tasks.multiclass import Multiclass

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from numpy.typing import NDArray
    from torch import Tensor
    from torchmetrics import MetricCollection

    from tabvision.plain import Label
    from tabvision.tasks.target import Target


@final
@dataclass(frozen=True)
class Binary(OneClass):
    """Binary classification with one logit; the second class in sorted order is the positive one.

    Args:
        threshold: Probability of the positive class above which it is predicted, in (0, 1).
        label_smoothing: Fraction of each target that is spread evenly over both classes, in [0, 1).
        class_weights: Weight of each class in the loss, "balanced" for 1 / class frequency, or None.
        focal_gamma: How strongly to down-weight rows that are predicted well: 0 for not at all, 2 for the usual focal loss.

    Example:
        >>> import torch
        >>> Binary().activate(torch.zeros(1, 1)).tolist()
        [[0.5, 0.5]]
    """

    name: ClassVar[str] = "binary"
    ranks_items: ClassVar[bool] = True
    calibrated_by: ClassVar[frozenset[Correction]] = frozenset({"temperature", "thresholds"})
    threshold: float = 0.5
    label_smoothing: float = 0.0
    class_weights: ClassWeights = None
    focal_gamma: float = 0.0

    @speaking()
    def __post_init__(self) -> None:
        """Check the arguments."""
        check_fraction("threshold", self.threshold, "()", remedy="Pass a fraction such as 0.5")
        self._check_loss_settings(2)

    @override
    def suits(self, frame: pd.DataFrame, few: Sequence[Label] | None, separator: str | None) -> str | None:
        from tabvision.tasks import labels

        if separator is not None or few is None or len(few) != 2:
            return None
        values = frame.iloc[:, 0]
        numeric = labels.are_numbers(values, bools=False)
        others = "task='multiclass' or 'regression'" if numeric else "task='multiclass'"
        return f"binary (2 values: {listed(few)}). Override with {others} (--task)."

    @override
    def find_classes(self, frame: pd.DataFrame, target: Target) -> tuple[Label, ...]:
        classes = super().find_classes(frame, target)
        if len(classes) != 2:
            problem = (
                f"Binary needs a target with 2 classes, {target.columns[0]!r} has {len(classes):,}: {listed(classes)}"
            )
            raise BadValueError(problem, "Use Multiclass, or Regression for a quantity")
        return classes

    @property
    @override
    def num_outputs(self) -> int:
        return 1

    @property
    @override
    def num_predictions(self) -> int:
        return 2

    @override
    @speaking()
    def fit(self, target: NDArray[Any], num_classes: int) -> Binary:
        if num_classes != 2:
            problem = f"the target must have 2 classes, got {num_classes}"
            raise BadValueError(problem, "Use tabvision.tasks.Multiclass()")
        return dataclasses.replace(
            self, class_weights=fit_weights(self.class_weights, np.bincount(target, minlength=2))
        )

    @override
    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        positive = target[:, 1] if target.ndim == 2 else target
        positive = positive.to(logits.dtype)
        loss = binary_losses(logits[:, 0], positive, self.focal_gamma, self.label_smoothing)
        if self.class_weights is None:
            return loss
        negative_weight, positive_weight = weights_of(self.class_weights)
        return loss * (negative_weight + (positive_weight - negative_weight) * positive)

    @override
    def activate(self, logits: Tensor) -> Tensor:
        import torch

        # sigmoid(-z) rather than 1 - sigmoid(z), to be exact for large logits too
        return torch.cat([(-logits).sigmoid(), logits.sigmoid()], dim=1)

    @override
    def logits_of(self, predictions: Tensor) -> Tensor:
        return predictions[:, 1:].logit(eps=1e-6)

    @override
    def grow(self, new: Task, num_classes: int) -> Task:
        if num_classes == 2:
            return self
        if self.threshold != 0.5:
            said = "The threshold %s no longer applies: with a third class, the most probable class is predicted."
            logging.getLogger("tabvision").warning(said, self.threshold)
        weights = grow_weights(self.class_weights, num_classes)
        return Multiclass(
            num_classes, label_smoothing=self.label_smoothing, class_weights=weights, focal_gamma=self.focal_gamma
        )

    @override
    def combine(self, logits: Tensor) -> Tensor:
        return logit_of_mean(logits)

    @override
    def decode(self, predictions: NDArray[Any]) -> NDArray[Any]:
        return (predictions[:, 1] > self.threshold).astype(np.int64)

    @override
    def metrics(self) -> MetricCollection:
        from tabvision.metrics import binary_metrics

        return binary_metrics(self.threshold)
