"""Answers blended over varied views of the same row."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tabvision.errors import BadTypeError, BadValueError

WHO = "tta"


def blend(
    plain: NDArray[np.floating], augmented: NDArray[np.floating], *, beta: float = 0.25, use_max: bool = False
) -> NDArray[np.floating]:
    """The answer from a plain view of each row and from varied ones.

    Args:
        plain: Predictions from the plain view: probabilities of classes, or numbers.
        augmented: Predictions from each varied view.
        beta: What the plain view's answer counts, in [0, 1]; the varied views' mean counts the rest.
        use_max: Whether to take the largest probability of all views instead, plain included; rows then no longer sum to 1.

    Shape:
        - plain: (R, C) float
        - augmented: (n, R, C) float
        - returns: (R, C) float

    Raises:
        BadTypeError: `beta` is no number.
        BadValueError: `beta` out of range, no varied view, or shapes that do not fit.

    Source:
        fastai 2.8 `Learner.tta`, "preds (mean over n augmented) and targets, lerped with beta".

    Example:
        >>> blend(np.array([[1.0, 0.0]]), np.array([[[0.0, 1.0]]])).tolist()
        [[0.25, 0.75]]
    """
    _check(plain, augmented, beta)
    if use_max:
        largest: NDArray[np.floating] = np.maximum(augmented.max(axis=0), plain)
        return largest
    mean = augmented.mean(axis=0)
    blended: NDArray[np.floating] = mean + beta * (plain - mean)
    return blended


def _check(plain: NDArray[np.floating], augmented: NDArray[np.floating], beta: object) -> None:
    if isinstance(beta, bool) or not isinstance(beta, int | float):
        raise BadTypeError(WHO, f"beta must be a number, got {beta!r}", "Leave it out for 0.25")
    if not 0 <= beta <= 1:
        raise BadValueError(WHO, f"beta must lie in [0, 1], got {beta!r}", "Leave it out for 0.25")
    if augmented.ndim != plain.ndim + 1 or augmented.shape[1:] != plain.shape or not len(augmented):
        problem = f"varied answers must be (n, {', '.join(map(str, plain.shape))}), n from 1, got {augmented.shape}"
        raise BadValueError(WHO, problem, "Pass one answer a row for each view")
