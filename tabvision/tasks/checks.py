"""Checks of task arguments, and facts computed from a target."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tabvision.checks import finite_numbers, without_array
from tabvision.errors import BadValueError, speaking

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

ClassWeights = tuple[float, ...] | Literal["balanced"] | None


def is_within(target: Tensor, low: float, high: float) -> bool:
    """Return whether all targets lie in a range, ends included; NaN never does."""
    return bool(((target >= low) & (target <= high)).all())


@speaking("Task")
def weights_of(weights: ClassWeights) -> tuple[float, ...]:
    """Return the weights as numbers; raise if they are still "balanced", since the task is not fitted."""
    if weights is None or isinstance(weights, str):
        raise BadValueError(f"class_weights is still {weights!r}", "Build the task through a datamodule, which fits it")
    return weights


def fit_weights(weights: ClassWeights, counts: NDArray[Any]) -> ClassWeights:
    """Replace "balanced" by 1 / class frequency, scaled so that the mean weight over the training rows is 1."""
    if weights != "balanced":
        return weights
    inverse = counts.sum() / np.maximum(counts, 1)
    return tuple((inverse * counts.sum() / (inverse * counts).sum()).tolist())


def grow_weights(weights: ClassWeights, num_classes: int) -> ClassWeights:
    """Return the weights of the known classes, and 1 for each new one."""
    return (*weights, *[1.0] * (num_classes - len(weights))) if isinstance(weights, tuple) else weights


def fitted_count(number: int | None) -> int:
    """Return the number of outputs; raise if the task is not fitted yet."""
    if number is None:
        problem = "the number of outputs is unknown until the task is fitted to data"
        raise BadValueError(problem, "Take the task from data.schema.task, or state the number")
    return number


def checked_weights(weights: object, num_classes: int | None) -> ClassWeights:
    """Return the weights as a tuple; raise unless they are one positive number per class, "balanced" or None."""
    given = without_array(weights)
    if given is None or given == "balanced":
        return None if given is None else "balanced"
    remedy = 'Pass one positive number per class, "balanced" or None'
    numbers = finite_numbers(given, len(given)) if isinstance(given, tuple | list) else None
    if numbers is None or any(weight <= 0 for weight in numbers):
        raise BadValueError(f"class_weights must be positive numbers, got {weights!r}", remedy)
    if num_classes is not None and len(numbers) != num_classes:
        raise BadValueError(f"class_weights must have {num_classes} numbers, got {len(numbers)}", remedy)
    return numbers


def checked_range(y_range: object) -> tuple[float, float]:
    """Return the range as two floats; raise unless it holds two numbers, the lower one first."""
    remedy = "Pass (lowest, highest), such as (0, 5.5)"
    ends = finite_numbers(y_range, 2)
    if ends is None or ends[0] >= ends[1]:
        raise BadValueError(f"y_range must be two rising numbers, got {y_range!r}", remedy)
    return ends[0], ends[1]
