"""Multi-label classification: any number of classes per row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, cast, final

import numpy as np
from typing_extensions import override

from tabvision.checks import check_fraction, check_whole
from tabvision.errors import BadValueError, speaking
from tabvision.tasks.base import Correction
from tabvision.tasks.checks import ClassWeights, is_within, weights_of
from tabvision.tasks.classes import CountedClasses
from tabvision.tasks.losses import binary_losses, logit_of_mean

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from numpy.typing import NDArray
    from torch import Tensor
    from torchmetrics import MetricCollection

    from tabvision.plain import Label
    from tabvision.tasks.target import Target

DEFAULT_SEPARATOR = " "  # between predicted labels, if the target is several columns of 0 and 1


@final
@dataclass(frozen=True)
class Multilabel(CountedClasses):
    """Multi-label classification: any number of classes per row, with one independent logit each.

    Args:
        num_classes: At least 1; None to take it from the data.
        threshold: Probability above which a class is predicted, in (0, 1).
        label_smoothing: Fraction of each target that is spread evenly over yes and no, in [0, 1).
        class_weights: Weight of each class in the loss, "balanced" to give rare ones more weight, or None.
        focal_gamma: How strongly to down-weight rows that are predicted well: 0 for not at all, 2 for the usual focal loss.

    Example:
        >>> import numpy as np
        >>> Multilabel(3, threshold=0.4).decode(np.array([[0.1, 0.5, 0.9]])).tolist()
        [[False, True, True]]
    """

    name: ClassVar[str] = "multilabel"
    calibrated_by: ClassVar[frozenset[Correction]] = frozenset({"temperature", "label temperatures", "thresholds"})
    num_classes: int | None = None
    threshold: float = 0.5
    label_smoothing: float = 0.0
    class_weights: ClassWeights = None
    focal_gamma: float = 0.0

    @speaking()
    def __post_init__(self) -> None:
        """Check the arguments."""
        if self.num_classes is not None:
            remedy = "Pass the number of labels, or leave it out to take it from the data"
            check_whole("num_classes", self.num_classes, remedy=remedy)
        check_fraction("threshold", self.threshold, "()", remedy="Pass a fraction such as 0.5")
        self._check_loss_settings(self.num_classes)

    @override
    def suits(self, frame: pd.DataFrame, few: Sequence[Label] | None, separator: str | None) -> str | None:
        from tabvision.tasks import labels

        if separator is not None:
            return f"multilabel (labels separated by {separator!r}). Leave the separator out for one class per row."
        if frame.shape[1] > 1 and all(labels.are_flags(frame[name].dropna()) for name in frame):
            return "multilabel (columns of 0 and 1). Override with task='regression' (--task)."
        return None

    @override
    def check(self, target: Target) -> None:
        separator = target.separator
        if separator is not None and (len(target.columns) > 1 or not isinstance(separator, str) or not separator):
            super().check(target)

    @override
    def find_classes(self, frame: pd.DataFrame, target: Target) -> tuple[Label, ...]:
        from tabvision.tasks import labels

        name = target.columns[0]
        if target.separator is not None:
            return labels.tags(frame[name], target.separator, name)
        if len(target.columns) == 1 and not labels.are_flags(frame[name]):
            problem = (
                f"Multilabel needs columns of 0 and 1, or one column of text with a separator; {name!r} is neither"
            )
            raise BadValueError(problem, 'Pass a separator such as "|", or use Multiclass')
        return target.columns

    @override
    def encode(self, frame: pd.DataFrame, target: Target) -> NDArray[Any]:
        from tabvision.tasks import labels

        if target.separator is None:
            return np.stack([labels.as_flags(frame[column], column) for column in target.columns], axis=1)
        name, classes = target.columns[0], cast("tuple[str, ...]", target.classes)
        return labels.multi_hot(frame[name], target.separator, classes, name)

    @override
    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        losses = binary_losses(logits, target.to(logits.dtype), self.focal_gamma, self.label_smoothing)
        if self.class_weights is not None:
            losses = losses * logits.new_tensor(weights_of(self.class_weights))
        return losses.mean(dim=1)

    @override
    def expected_target(self, target: Tensor) -> str | None:
        fits = target.shape[1:] == (self.num_outputs,) and is_within(target, 0, 1)
        return None if fits else f"zeros and ones, or probabilities, (B, {self.num_outputs})"

    @override
    def activate(self, logits: Tensor) -> Tensor:
        return logits.sigmoid()

    @override
    def logits_of(self, predictions: Tensor) -> Tensor:
        return predictions.logit(eps=1e-6)

    @override
    def combine(self, logits: Tensor) -> Tensor:
        return logit_of_mean(logits)

    @override
    def decode(self, predictions: NDArray[Any]) -> NDArray[Any]:
        chosen: NDArray[Any] = predictions > self.threshold
        return chosen

    @override
    def labels(self, codes: NDArray[Any], target: Target) -> NDArray[Any]:
        names, separator = list(map(str, target.classes)), target.separator or DEFAULT_SEPARATOR
        rows = codes.astype(bool).tolist()
        texts = [separator.join(name for name, is_on in zip(names, row, strict=True) if is_on) for row in rows]
        return np.array(texts, dtype=object)

    @override
    def soften(self, target: Tensor) -> Tensor:
        return target.float()

    @override
    def constant(self, target: NDArray[Any]) -> NDArray[Any]:
        frequencies: NDArray[Any] = np.asarray(target, dtype=np.float32).mean(axis=0, keepdims=True)
        return frequencies

    @override
    def metrics(self) -> MetricCollection:
        from tabvision.metrics import multilabel_metrics

        return multilabel_metrics(self.num_outputs, self.threshold)
