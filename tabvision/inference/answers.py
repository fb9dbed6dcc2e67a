"""Turn predictions into a frame of answers in the user's own labels and units."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tabvision.inference.batches import Inputs
from tabvision.inference.calibration.facts import Calibration
from tabvision.schema import Schema

UNCALIBRATED = Calibration()


def answer_frame(
    schema: Schema,
    predictions: NDArray[Any],
    *,
    proba: bool = True,
    calibration: Calibration = UNCALIBRATED,
    deviations: NDArray[Any] | None = None,
) -> pd.DataFrame:
    """Return predictions as a frame.

    Classes: `label`, then `probability_<class>` for each class. Multi-label: `label` joins all labels of a row. Numbers:
    `prediction`, or `prediction_<target>` for several targets; if intervals were calibrated, also `interval_low` and
    `interval_high`, with the same suffixes.

    Args:
        schema: The schema of the module, with the names of the classes.
        predictions: (R, C) probabilities or (R, T) numbers, as `task.activate` returns them.
        proba: Whether to add the probabilities, or the intervals.
        calibration: Thresholds and intervals to apply; temperatures are applied before the activation.
        deviations: The standard deviation of each prediction over the network's members, to add as `uncertainty`.

    Example:
        >>> import numpy as np
        >>> from tabvision.schema import Target
        >>> from tabvision.tasks import Binary
        >>> schema = Schema(target=Target(columns=("paid",), task=Binary(), classes=("no", "yes")))
        >>> answer_frame(schema, np.array([[0.2, 0.8]])).to_dict("records")
        [{'label': 'yes', 'probability_no': 0.2, 'probability_yes': 0.8}]
    """
    task = schema.task
    decoded = calibration.decode(task, predictions)
    columns = task.answers(predictions, decoded, schema.target, proba=proba)
    endings = [name.removeprefix("prediction") for name in columns]
    if proba:
        columns |= calibration.intervals(endings, decoded)
    if deviations is not None and not task.is_classes:
        columns |= {f"uncertainty{ending}": deviations[:, index] for index, ending in enumerate(endings)}
    elif deviations is not None:  # the label's, or the largest of several labels'
        one = decoded.ndim == 1
        columns["uncertainty"] = deviations[range(len(decoded)), decoded] if one else deviations.max(axis=1)
    frame = pd.DataFrame(dict(enumerate(columns.values())))
    frame.columns = _index_of(tuple(columns)).view()  # a view, since a user may name the index of its own frame
    return frame


@functools.lru_cache
def _index_of(names: tuple[str, ...]) -> pd.Index:
    """Return an index of names, kept for the next call: making it would take a fifth of the time of a single row."""
    return pd.Index(names)


def assemble_answers(
    schema: Schema,
    inputs: Inputs,
    predictions: NDArray[Any],
    calibration: Calibration,
    *,
    proba: bool = True,
    deviations: NDArray[Any] | None = None,
) -> pd.DataFrame:
    """Return the answers as a frame with the input's index, the columns to show first, and the errors of unreadable rows.

    The frame's `attrs["unseen"]` counts rows with a category that was not in training, by column; `attrs["outside"]` rows
    with a number or date far outside the training range; `attrs["absent"]` rows whose image is missing or unreadable, if
    the network can do without; and `attrs["held"]` rows whose prediction was clipped to the bounds around the training
    targets.

    Args:
        schema: The schema of the network.
        inputs: The rows, after all of them were read.
        predictions: (num_rows, C), as `predict_all` returns them.
        calibration: Thresholds and intervals to apply.
        proba: Whether to add the probabilities, or the intervals.
        deviations: (num_rows, C), the standard deviations of the predictions over members; None to add no `uncertainty`.
    """
    answers = answer_frame(schema, predictions, proba=proba, calibration=calibration, deviations=deviations)
    if errors := inputs.errors:  # the last column says why a row has no answer
        if "label" in answers:
            answers["label"] = answers["label"].astype(object)
        for name in answers:
            answers.loc[answers.index[list(errors)], name] = None if name == "label" else np.nan
        reasons = [errors.get(row) for row in range(len(answers))]
        answers = answers.assign(error=pd.Series(reasons, dtype="str", index=answers.index))
    for position, (name, values) in enumerate(inputs.shown.items()):
        answers.insert(position, name, values)
    if inputs.index is not None:
        answers.index = inputs.index
    answers.attrs["unseen"] = inputs.unseen
    answers.attrs["outside"] = inputs.outside
    answers.attrs["absent"] = dict(inputs.absent)
    answers.attrs["held"] = int(schema.task.held(predictions).sum())
    return answers
