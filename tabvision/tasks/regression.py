"""One number or several."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, final

import numpy as np
from typing_extensions import override

from tabvision.errors import BadValueError, UnknownNameError, speaking
from tabvision.tasks.base import Task
from tabvision.tasks.checks import (
    checked_range,
    fitted_count,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor
    from torchmetrics import MetricCollection


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

    @speaking()
    def __post_init__(self) -> None:
        """Checks the facts."""
        if self.error not in ("mse", "mae", "huber"):
            raise UnknownNameError("error", self.error, ["mse", "mae", "huber"])
        if self.y_range is not None:
            object.__setattr__(self, "y_range", checked_range(self.y_range))
        finite = all(math.isfinite(value) for value in (*self.mean, *self.spread))
        if len(self.mean) != len(self.spread) or not finite or any(value <= 0 for value in self.spread):
            problem = (
                f"mean and spread must be finite, of one length, spread above 0, got {self.mean} and {self.spread}"
            )
            raise BadValueError(problem, "Leave both out; the datamodule fills them in")

    @property
    @override
    @speaking("Regression")
    def num_outputs(self) -> int:
        return fitted_count(len(self.mean) or None)

    @property
    @override
    def is_classes(self) -> bool:
        return False

    @override
    @speaking()
    def fit(self, target: NDArray[Any], num_classes: int) -> Regression:
        mean, spread = target.mean(axis=0, dtype=np.float64), target.std(axis=0, dtype=np.float64)
        if self.y_range is not None:
            low, high = self.y_range
            outside = int(((target < low) | (target > high)).any(axis=1).sum())
            if outside:
                problem = f"y_range is {low:g} to {high:g}, but {outside:,} training targets lie outside"
                raise BadValueError(problem, f"Widen it; they span {target.min():g} to {target.max():g}")
        if (spread == 0).any():
            problem = f"the training target must vary, got one value, {mean[spread == 0][0]:g}, in every row"
            raise BadValueError(problem, "Choose another target or a larger training part")
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
