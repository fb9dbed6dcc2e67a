"""From what a network reads to answers: asked batch by batch, blended over views, and put together as a frame."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tabvision.checks import check_fraction
from tabvision.errors import BadValueError
from tabvision.inference.answers import answer_frame, check_finite, with_errors
from tabvision.inference.calibration.facts import Calibration
from tabvision.inference.inputs import Arrays, Inputs
from tabvision.schema import Schema

Ask: TypeAlias = Callable[[Arrays], NDArray[Any]]
"""A network: from a batch's arrays to (B, C) predictions."""


def ask_all(
    ask: Ask, inputs: Inputs, *, num_answers: int, batch_size: int | None = None, view: int = 0
) -> NDArray[np.floating]:
    """Return what a network says of all rows; not a number where a row cannot be read.

    Args:
        ask: The network.
        inputs: The rows.
        num_answers: C, for the case that no row can be read.
        batch_size: Rows at once; None for the usual number.
        view: 0 for images as they are; from 1 for varied ones.

    Shape:
        - returns: (num_rows, C) float

    Raises:
        BadValueError: An answer is no finite number.

    Example:
        >>> inputs = Inputs(3, {"continuous": np.ones((3, 2), np.float32)})
        >>> ask_all(lambda arrays: arrays["continuous"][:, :1], inputs, num_answers=1, batch_size=2).tolist()
        [[1.0], [1.0], [1.0]]
    """
    batches = inputs.batches(batch_size, view)
    found = [(arrays["index"], check_finite(ask(arrays))) for arrays in batches if len(arrays["index"])]
    if len(found) == 1 and len(found[0][0]) == inputs.num_rows:
        return found[0][1]
    whole = np.full((inputs.num_rows, num_answers), np.nan, dtype=found[0][1].dtype if found else np.float32)
    for rows, values in found:
        whole[rows] = values
    return whole


def assembled(
    schema: Schema, inputs: Inputs, predictions: NDArray[Any], calibration: Calibration, *, proba: bool = True
) -> pd.DataFrame:
    """Return the answers as a frame with the index of the input, what is shown before them, and why a row has none.

    `attrs["unseen"]` of the frame tells how many rows held a category that training lacks, by column.

    Args:
        schema: Of the network.
        inputs: The rows, once all were read.
        predictions: (num_rows, C), as `ask_all` gives them.
        calibration: Its thresholds and intervals are used.
        proba: Whether to add the probabilities, or the intervals.
    """
    answers = with_errors(answer_frame(schema, predictions, proba=proba, calibration=calibration), inputs.errors)
    for position, (name, values) in enumerate(inputs.shown.items()):
        answers.insert(position, name, values)
    if inputs.index is not None:
        answers.index = inputs.index
    answers.attrs["unseen"] = dict(inputs.unseen)
    return answers


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
    check_fraction("beta", beta, "[]", remedy="Leave it out for 0.25")
    _check_shapes(plain, augmented)
    if use_max:
        largest: NDArray[np.floating] = np.maximum(augmented.max(axis=0), plain)
        return largest
    mean = augmented.mean(axis=0)
    blended: NDArray[np.floating] = mean + beta * (plain - mean)
    return blended


def _check_shapes(plain: NDArray[np.floating], augmented: NDArray[np.floating]) -> None:
    if augmented.ndim != plain.ndim + 1 or augmented.shape[1:] != plain.shape or not len(augmented):
        problem = f"varied answers must be (n, {', '.join(map(str, plain.shape))}), n from 1, got {augmented.shape}"
        raise BadValueError(problem, "Pass one answer a row for each view")
