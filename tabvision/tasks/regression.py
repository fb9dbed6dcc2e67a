"""Regression of one number or several."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, final

import numpy as np
from typing_extensions import override

from tabvision.checks import check_choice, check_least
from tabvision.errors import BadValueError, speaking
from tabvision.tasks.base import Correction, Task
from tabvision.tasks.checks import checked_range, fitted_count, is_within
from tabvision.tasks.losses import FARTHEST, at_least_float32, bounded, tweedie_losses
from tabvision.tasks.target import TargetFacts

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from numpy.typing import NDArray
    from torch import Tensor
    from torchmetrics import MetricCollection

    from tabvision.plain import Label

_ERRORS = ["mse", "mae", "huber", "tweedie"]
_SKEWED = 4.0  # skewness: "tweedie" had 4 % less RMSE than "mse" on 12 targets above it, 31 % more on a count at 2.3


@final
@dataclass(frozen=True)
class Regression(Task):
    """Regression of one number or several.

    The network predicts the standardized target; the task holds the mean and standard deviation of the training rows, so
    that predictions and metrics are in the user's units. The loss is on the standardized scale, so that several targets have
    equal weight.

    With "tweedie" the network predicts the logarithm of the target's ratio to its mean, and the loss is the deviance of that
    ratio. Like squared error, this loss is lowest at the mean of similar rows, but errors count relative to the prediction,
    so that a few large targets do not dominate. If no task is stated, a table's target gets it automatically if no value is
    negative and the skewness is above 4, as is common for costs.

    Args:
        y_range: Lowest and highest prediction, bounded by a scaled sigmoid; None for no bounds.
        error: The loss of a row: "mse" for squared error, "mae" for absolute error, "huber" for squared error only where
            small, or "tweedie" for the Tweedie deviance, for targets of at least 0.
        mean: Mean of each target over the training rows; filled in by the data.
        spread: Standard deviation of each target over the training rows; filled in by the data.
        margin: How far outside the range of the training targets a prediction may lie, as a fraction of that range; None for
            no bounds.
        low: The lowest prediction for each target, and `high` the highest; filled in by the data.

    Example:
        >>> import torch
        >>> Regression(y_range=(0, 5), mean=(3.0,), spread=(1.0,)).activate(torch.zeros(1, 1)).item()
        2.5
    """

    name: ClassVar[str] = "regression"
    ranks_items: ClassVar[bool] = True
    calibrated_by: ClassVar[frozenset[Correction]] = frozenset({"intervals"})
    y_range: tuple[float, float] | None = None
    error: Literal["mse", "mae", "huber", "tweedie"] = "mse"
    mean: tuple[float, ...] = ()
    spread: tuple[float, ...] = ()
    margin: float | None = 0.5
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()

    @speaking()
    def __post_init__(self) -> None:
        """Check the arguments."""
        check_choice("error", self.error, _ERRORS)
        if self.error == "tweedie" and self.y_range is not None:
            raise BadValueError("error='tweedie' takes no y_range", "Leave y_range out, or pass error='mse'")
        if self.margin is not None:
            check_least("margin", self.margin, 0, remedy="Pass 0.5, or None for no bounds")
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

    @override
    def suits(self, frame: pd.DataFrame, few: Sequence[Label] | None, separator: str | None) -> str | None:
        from tabvision.tasks import labels

        if separator is not None:
            return None
        if frame.shape[1] > 1:
            numbers = all(labels.are_numbers(frame[name]) for name in frame)
            return f"regression ({frame.shape[1]} numbers per row)." if numbers else None
        values = frame.iloc[:, 0]
        numeric = labels.are_numbers(values, bools=False)
        is_count = few is not None and numeric and values.dtype.kind in "iu"
        if few is not None and not (labels.has_single(values) if is_count else numeric):
            return None
        if not numeric and (values.dtype == "category" or not labels.parse_as_numbers(values)):
            return None
        facts = "" if numeric else ", held as text"
        facts = ", of which some are in one row only" if is_count else facts
        return f"regression (numbers{facts}). Override with task='multiclass' (--task)."

    @property
    @override
    def settings_text(self) -> str:
        return "errors relative to the prediction" if self.error == "tweedie" else ""

    @property
    @override
    def is_relative(self) -> bool:
        """Whether errors count relative to the prediction.

        Nominal numbers are then not embedded, since a value whose few training rows are all 0 would be predicted as nearly 0,
        which may cost any loss in other rows: for murders by county, 2 to 15 % on held-out rows, and twice the RMSE.
        """
        return self.error == "tweedie"

    @override
    def for_values(self, target: NDArray[Any]) -> Regression:
        # "tweedie" if no value is negative, and the skewness lets a few rows dominate the squared errors
        with np.errstate(all="ignore"):  # a constant target, which is rejected later, divides by 0
            standardized = (target - target.mean(axis=0, dtype=np.float64)) / target.std(axis=0, dtype=np.float64)
            is_skewed = (target >= 0).all() and (np.power(standardized, 3).mean(axis=0) > _SKEWED).all()
        return dataclasses.replace(self, error="tweedie") if is_skewed else self

    @override
    @speaking()
    def fit(self, target: NDArray[Any], num_classes: int) -> Regression:
        mean, std = target.mean(axis=0, dtype=np.float64), target.std(axis=0, dtype=np.float64)
        if self.y_range is not None:
            low, high = self.y_range
            outside = int(((target < low) | (target > high)).any(axis=1).sum())
            if outside:
                problem = f"y_range is {low:g} to {high:g}, but {outside:,} training targets lie outside"
                raise BadValueError(problem, f"Widen it; they span {target.min():g} to {target.max():g}")
        if (std == 0).any():
            problem = f"the training target must vary, got one value, {mean[std == 0][0]:g}, in every row"
            raise BadValueError(problem, "Choose another target or a larger training split")
        if self.error == "tweedie" and (target < 0).any():
            problem = f"error='tweedie' needs training targets from 0 up, got {target.min():g}"
            raise BadValueError(problem, "Pass error='huber', or 'mse'")
        ends = target.min(axis=0).astype(np.float64), target.max(axis=0).astype(np.float64)
        return self.refit(TargetFacts(np.empty(0, dtype=np.int64), mean, std, *ends))

    @override
    def refit(self, facts: TargetFacts) -> Regression:
        fitted = dataclasses.replace(
            self, mean=tuple(facts.mean.tolist()), spread=tuple(facts.std.tolist()), low=(), high=()
        )
        if self.y_range is not None or self.margin is None:
            return fitted
        beyond = self.margin * (facts.high - facts.low)
        low, high = facts.low - beyond, facts.high + beyond
        return dataclasses.replace(fitted, low=tuple(low.tolist()), high=tuple(high.tolist()))

    @override
    def grow(self, new: Task, num_classes: int) -> Regression:
        if not isinstance(new, Regression) or not self.low or not new.low:
            return self
        low, high = tuple(map(min, self.low, new.low)), tuple(map(max, self.high, new.high))
        return dataclasses.replace(self, low=low, high=high)

    @override
    def for_later_rows(self) -> Regression:
        return self if self.margin is None else dataclasses.replace(self, margin=max(1.0, self.margin))

    @override
    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        mean, std = logits.new_tensor(self.mean), logits.new_tensor(self.spread)
        target = target.to(logits.dtype).reshape(logits.shape)
        if self.error == "tweedie":
            return tweedie_losses(at_least_float32(logits), target / mean).mean(dim=1)
        standardized = (target - mean) / std
        predicted = logits if self.y_range is None else (self.activate(logits) - mean) / std
        difference = (predicted - standardized).abs()
        if self.error == "mae":
            return difference.mean(dim=1)
        squared = difference.square()
        if self.error == "huber":  # with a delta of one standard deviation of the target
            squared = squared.where(difference < 1, 2 * difference - 1) / 2
        return squared.mean(dim=1)

    @override
    def expected_target(self, target: Tensor) -> str | None:
        is_shaped = target.shape[1:] == (self.num_outputs,) or (target.ndim == 1 and self.num_outputs == 1)
        least = 0 if self.error == "tweedie" else -math.inf
        if is_shaped and target.isfinite().all() and is_within(target, least, math.inf):
            return None
        return f"finite numbers{' from 0 up' if least == 0 else ''}, (B, {self.num_outputs})"

    @override
    def activate(self, logits: Tensor) -> Tensor:
        logits = at_least_float32(logits)
        if self.y_range is not None:
            return bounded(logits, self.y_range)
        mean = logits.new_tensor(self.mean)
        if self.error == "tweedie":
            numbers = logits.clamp(-FARTHEST, FARTHEST).exp() * mean
        else:
            numbers = logits * logits.new_tensor(self.spread) + mean
        return numbers.clamp(logits.new_tensor(self.low), logits.new_tensor(self.high)) if self.low else numbers

    @override
    def logits_of(self, predictions: Tensor) -> Tensor:
        if self.y_range is not None:
            low, high = self.y_range
            return ((predictions - low) / (high - low)).logit(eps=1e-6)
        mean = predictions.new_tensor(self.mean)
        if self.error == "tweedie":
            return (predictions / mean).log()
        return (predictions - mean) / predictions.new_tensor(self.spread)

    @override
    def held(self, predictions: NDArray[Any]) -> NDArray[np.bool_]:
        if not self.low:
            return super().held(predictions)
        low, high = np.array(self.low, dtype=predictions.dtype), np.array(self.high, dtype=predictions.dtype)
        return np.asarray(((predictions <= low) | (predictions >= high)).any(axis=1))

    @override
    def for_ratings(self, ratings: pd.Series, y_range: tuple[float, float] | None) -> Regression:
        from tabvision.tasks import labels

        if ratings.nunique() < 2:
            problem = f"all ratings in {ratings.name!r} are {ratings.tolist()[0]!r}, so there is nothing to learn"
            raise BadValueError(problem, "If each row means a yes, leave rating out; else pass ratings that differ")
        if y_range is None:
            y_range = self.y_range
        if y_range is None:  # the ratings' range, widened by half a step so that a sigmoid reaches both ends
            distinct = np.unique(labels.as_floats(ratings.drop_duplicates(), str(ratings.name)))
            half = float(np.diff(distinct).min()) / 2 if len(distinct) > 1 else 0.5
            y_range = float(distinct[0]) - half, float(distinct[-1]) + half
        return dataclasses.replace(self, y_range=y_range)

    @property
    @override
    def answer_range(self) -> tuple[float, float] | None:
        return self.y_range

    @property
    @override
    def prediction_scale(self) -> NDArray[np.float64]:
        return np.array(self.spread)

    @override
    def mean_logits(self) -> Tensor | None:
        import torch

        if self.y_range is None or not self.mean:
            return None
        low, high = self.y_range
        return ((torch.tensor(self.mean) - low) / (high - low)).logit(eps=1e-2)

    @override
    def soften(self, target: Tensor) -> Tensor:
        return target.reshape(len(target), self.num_outputs)

    @override
    def metrics(self) -> MetricCollection:
        from tabvision.metrics import regression_metrics

        return regression_metrics(self.num_outputs)
