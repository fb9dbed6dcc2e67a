"""Calibrate predicted probabilities (temperature scaling). No torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tabvision.errors import BadValueError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LOWEST, _HIGHEST = 0.02, 50.0  # temperatures beyond these mean uninformative rows, or answers no better than chance
_NUM_BINS = 15
_STEPS = 200


def fit_temperatures(logits: NDArray[Any], target: NDArray[Any], *, per_label: bool = False) -> tuple[float, ...]:
    """Return the temperature, a divisor of the logits, with the lowest cross-entropy on these rows.

    Args:
        logits: Logits of several classes, or independent logits of "yes".
        target: Class codes, or zeros and ones for labels.
        per_label: For labels, whether each has its own temperature.

    Shape:
        - logits: (N, num_outputs)
        - target: (N,) int64, or (N, C) of zeros and ones

    Raises:
        BadValueError: All answers are right, or they are no better than chance, so that no temperature is best.

    Source: Guo et al. 2017, "On Calibration of Modern Neural Networks".

    Example:
        >>> logits, target = np.array([[2.0], [2.0], [2.0], [-2.0]]), np.array([1, 1, 0, 0])
        >>> round(fit_temperatures(logits, target)[0], 9)  # three of four are right: 2 / log(3)
        1.820478453
    """
    if target.ndim == 1 and logits.shape[1] > 1:
        return (_fit(logits, target),)
    flags = target.reshape(logits.shape).astype(np.int64)  # two classes, or labels: logits of "yes"
    parts = zip(logits.T, flags.T, strict=True) if per_label else [(logits.ravel(), flags.ravel())]
    return tuple(_fit(np.stack([np.zeros(len(yes)), yes], axis=1), codes) for yes, codes in parts)


def expected_calibration_error(predictions: NDArray[Any], target: NDArray[Any]) -> float:
    """Return the average difference between confidence and accuracy, over 15 bins of equal width on [0, 1].

    For several classes, this compares the probability of the predicted class with how often it is right; for two classes
    and labels, the probability of "yes" with how often "yes" is right.

    Args:
        predictions: Probabilities; two columns are those of "no" and "yes".
        target: Class codes, or zeros and ones for labels.

    Shape:
        - predictions: (N, C)
        - target: (N,) int64, or (N, C) of zeros and ones

    Example:
        >>> expected_calibration_error(np.array([[0.25, 0.75]] * 4), np.array([1, 1, 1, 0]))
        0.0
    """
    if target.ndim == 2:
        confidence, is_right = predictions.ravel(), target.ravel()
    elif predictions.shape[1] == 2:
        confidence, is_right = predictions[:, 1], target
    else:
        confidence, is_right = predictions.max(axis=1), predictions.argmax(axis=1) == target
    bins = np.minimum((confidence.astype(np.float64) * _NUM_BINS).astype(np.int64), _NUM_BINS - 1)
    differences = np.bincount(bins, weights=confidence.astype(np.float64) - is_right, minlength=_NUM_BINS)
    return float(np.abs(differences).sum() / len(confidence))


def cross_entropy(predictions: NDArray[Any], target: NDArray[Any]) -> float:
    """Return the mean negative logarithm of the probability of the true class.

    Example:
        >>> bool(cross_entropy(np.array([[0.5, 0.5]]), np.array([1])) == np.log(2))
        True
    """
    chances = predictions.astype(np.float64)
    given = (
        np.where(target > 0, chances, 1 - chances)
        if target.ndim == 2
        else np.take_along_axis(chances, target[:, None], axis=1)
    )
    return float(-np.log(np.maximum(given, np.finfo(np.float64).tiny)).mean())


def _fit(logits: NDArray[Any], codes: NDArray[Any]) -> float:
    """Find the best temperature by Newton's method within a bracket, on its inverse, in which the loss is convex."""
    values = logits.astype(np.float64)
    values = values - np.take_along_axis(values, codes[:, None], axis=1)  # relative to the true class
    low, high = 1 / _HIGHEST, 1 / _LOWEST
    if _slope(values, high)[0] <= 0:
        if values.max() <= 0:
            problem = "the answers to all rows are right, so no temperature is best"
            raise BadValueError(problem, "Pass more rows, which training did not see")
        problem = f"the answers are so unsure that the best temperature is below {_LOWEST}"
        raise BadValueError(problem, "Train longer, then calibrate")
    if _slope(values, low)[0] >= 0:
        problem = "the answers are no better than chance on these rows, so no temperature is best"
        raise BadValueError(problem, "Check that the target column belongs to these rows, or train longer")
    inverse = 1.0
    for _ in range(_STEPS):
        slope, curve = _slope(values, inverse)
        low, high = (inverse, high) if slope < 0 else (low, inverse)
        newton = inverse - slope / curve if curve > 0 else low
        following = newton if low < newton < high else (low + high) / 2
        if abs(following - inverse) <= 1e-15 * inverse:
            break
        inverse = following
    return float(1 / inverse)


def _slope(values: NDArray[np.float64], inverse: float) -> tuple[float, float]:
    """Return the first and second derivative of the mean cross-entropy with respect to the inverse temperature."""
    scaled = inverse * values
    chances = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    chances /= chances.sum(axis=1, keepdims=True)
    mean = (chances * values).sum(axis=1)
    variance = (chances * values**2).sum(axis=1) - mean**2
    return float(mean.mean()), float(variance.mean())
