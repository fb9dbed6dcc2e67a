"""Predictions as a person reads them: the user's own labels, a probability for each class, numbers in the user's units."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tabvision.errors import BadValueError, count, listed
from tabvision.inference.calibration.facts import Calibration
from tabvision.schema import Schema

UNCALIBRATED = Calibration()


def answer_frame(
    schema: Schema, predictions: NDArray[Any], *, proba: bool = True, calibration: Calibration = UNCALIBRATED
) -> pd.DataFrame:
    """Return predictions as a frame.

    Classes: `label`, then `probability_<class>` for each class. Multi-label: `label` joins all labels of a row. Numbers:
    `prediction`, or `prediction_<target>` for several targets; where intervals were calibrated also `interval_low` and
    `interval_high`, likewise.

    Args:
        schema: Names the classes.
        predictions: (R, C) probabilities or (R, T) numbers, as `task.activate` gives.
        proba: Whether to add the probabilities, or the intervals.
        calibration: Its thresholds and intervals are used; temperatures belong before the activation.

    Example:
        >>> from tabvision.schema import Target
        >>> from tabvision.tasks import Binary
        >>> schema = Schema(target=Target(columns=("paid",), task=Binary(), classes=("no", "yes")))
        >>> answer_frame(schema, np.array([[0.2, 0.8]])).to_dict("records")
        [{'label': 'yes', 'probability_no': 0.2, 'probability_yes': 0.8}]
    """
    task = schema.task
    decoded = calibration.decode(task, predictions)
    columns = task.answers(predictions, decoded, schema.target, proba=proba)
    if proba and calibration.half_widths:
        columns |= calibration.intervals([name.removeprefix("prediction") for name in columns], decoded)
    return pd.DataFrame(columns)


def check_facts(schema: Schema, width: int, name: str) -> None:
    """Raise if a schema holds facts that no training gives and no answer could be told by.

    Args:
        schema: From a file.
        width: Numbers that the model answers a row with.
        name: Of the file.

    Raises:
        BadValueError: Names that are not one for each answer, a value twice among those of a column, or a number that is
            none in a mean or spread.
    """
    names = schema.task.names(schema.target)
    what = "class" if schema.task.is_classes else "target column"
    if len(names) != width or len(set(names)) < width:
        raise _wrong(name, f"{width} different names of a {what} belong to its answers, it has {listed(names)}")
    if any("\ud800" <= letter <= "\udfff" for each in names for letter in str(each)):
        raise _wrong(name, "a name holds half a character")
    for category in schema.categorical:
        if len(set(category.vocabulary)) < len(category.vocabulary):
            raise _wrong(name, f"the vocabulary of {category.name!r} holds a value twice")
    for number in schema.continuous:
        if not (math.isfinite(number.mean) and math.isfinite(number.std) and number.std > 0):
            raise _wrong(name, f"{number.name!r} has mean {number.mean:g} and std {number.std:g}")


def _wrong(name: str, problem: str) -> BadValueError:
    return BadValueError(f"the schema in {name} is damaged: {problem}", "Do not use it; ask for the original file")


def check_finite(predictions: NDArray[Any]) -> NDArray[Any]:
    """Return the predictions, once it is sure that each is a number.

    Raises:
        BadValueError: Some are none; a network whose training diverged answers so.
    """
    if not np.isfinite(predictions).all():
        bad = int((~np.isfinite(predictions).all(axis=1)).sum())
        problem = f"the network's answer to {count(bad, 'row')} is no finite number, as after a training that diverged"
        raise BadValueError(problem, "Use an earlier checkpoint, or train again at a lower rate")
    return predictions


def with_errors(answers: pd.DataFrame, errors: Mapping[int, str]) -> pd.DataFrame:
    """Return answers with a last column `error` that says why a row has none; unchanged where all rows have one.

    Example:
        >>> with_errors(pd.DataFrame({"label": ["cat", "cat"]}), {1: "no picture"}).to_dict("list")
        {'label': ['cat', None], 'error': [nan, 'no picture']}
    """
    if not errors:
        return answers
    bad = list(errors)
    if "label" in answers:
        answers["label"] = answers["label"].astype(object)
    for name in answers:
        answers.loc[answers.index[bad], name] = None if name == "label" else np.nan
    reasons = [errors.get(row) for row in range(len(answers))]
    return answers.assign(error=pd.Series(reasons, dtype="str", index=answers.index))
