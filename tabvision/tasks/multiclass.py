"""Multiclass classification: one of several classes per row."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, final

from typing_extensions import override

from tabvision.checks import check_whole
from tabvision.errors import listed, speaking
from tabvision.tasks.base import Correction
from tabvision.tasks.checks import ClassWeights, weights_of
from tabvision.tasks.classes import CountedClasses, OneClass
from tabvision.tasks.losses import class_losses

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from numpy.typing import NDArray
    from torch import Tensor
    from torchmetrics import MetricCollection

    from tabvision.plain import Label


@final
@dataclass(frozen=True)
class Multiclass(CountedClasses, OneClass):
    """Multiclass classification: one of several classes per row.

    Args:
        num_classes: At least 2; None to take it from the data.
        label_smoothing: Fraction of each target that is spread evenly over all classes, in [0, 1).
        class_weights: Weight of each class in the loss, "balanced" for 1 / class frequency, or None.
        focal_gamma: How strongly to down-weight rows that are predicted well: 0 for not at all, 2 for the usual focal loss.

    Example:
        >>> import torch
        >>> Multiclass(4).activate(torch.zeros(1, 4)).sum().item()
        1.0
    """

    name: ClassVar[str] = "multiclass"
    calibrated_by: ClassVar[frozenset[Correction]] = frozenset({"temperature"})
    num_classes: int | None = None
    label_smoothing: float = 0.0
    class_weights: ClassWeights = None
    focal_gamma: float = 0.0

    @speaking()
    def __post_init__(self) -> None:
        """Check the arguments."""
        if self.num_classes is not None:
            remedy = "For a yes-or-no target use tabvision.tasks.Binary()"
            check_whole("num_classes", self.num_classes, 2, remedy=remedy)
        self._check_loss_settings(self.num_classes)

    @override
    def suits(self, frame: pd.DataFrame, few: Sequence[Label] | None, separator: str | None) -> str | None:
        from tabvision.tasks import labels

        if separator is not None or frame.shape[1] > 1:
            return None
        values = frame.iloc[:, 0]
        if few is None:
            return f"multiclass ({values.nunique():,} values)."
        override = " Override with task='regression' (--task)." if labels.are_numbers(values, bools=False) else ""
        return f"multiclass ({len(few)} values: {listed(few)}).{override}"

    @override
    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        from torch.nn import functional

        weights = None if self.class_weights is None else logits.new_tensor(weights_of(self.class_weights))
        smoothing = self.label_smoothing
        if self.focal_gamma:
            smooth = self.soften(target).to(logits.dtype) * (1 - smoothing) + smoothing / self.num_outputs
            losses = class_losses(logits, smooth, self.focal_gamma)
            return (losses if weights is None else losses * weights).sum(dim=1)
        target = target.to(logits.dtype) if target.ndim == 2 else target
        return functional.cross_entropy(logits, target, weight=weights, reduction="none", label_smoothing=smoothing)

    @override
    def activate(self, logits: Tensor) -> Tensor:
        return logits.softmax(dim=1)

    @override
    def logits_of(self, predictions: Tensor) -> Tensor:
        return predictions.clamp(min=1e-6).log()

    @override
    def combine(self, logits: Tensor) -> Tensor:
        return logits.log_softmax(2).logsumexp(1) - math.log(logits.shape[1])

    @override
    def decode(self, predictions: NDArray[Any]) -> NDArray[Any]:
        codes: NDArray[Any] = predictions.argmax(axis=1)
        return codes

    @override
    def metrics(self) -> MetricCollection:
        from tabvision.metrics import multiclass_metrics

        return multiclass_metrics(self.num_outputs)
