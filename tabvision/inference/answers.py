"""Turn predictions into answers in the user's own labels and units; check the facts that a file states about them."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
from numpy.typing import NDArray

from tabvision.checks import is_integer
from tabvision.errors import BadValueError, count, listed
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
    `prediction`, or `prediction_<target>` for several targets; where intervals were calibrated also `interval_low` and
    `interval_high`, likewise.

    Args:
        schema: The schema of the module, with the names of the classes.
        predictions: (R, C) probabilities or (R, T) numbers, as `task.activate` returns them.
        proba: Whether to add the probabilities, or the intervals.
        calibration: Thresholds and intervals to apply; temperatures are applied before the activation.
        deviations: The standard deviation of each prediction over the members of a network, to add as `uncertainty`.

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
    if proba and calibration.half_widths:
        columns |= calibration.intervals(endings, decoded)
    if deviations is not None and not task.is_classes:
        columns |= {f"uncertainty{ending}": deviations[:, index] for index, ending in enumerate(endings)}
    elif deviations is not None:  # of the label's probability, or of that label's whose is largest
        one = decoded.ndim == 1
        columns["uncertainty"] = deviations[range(len(decoded)), decoded] if one else deviations.max(axis=1)
    return pd.DataFrame(columns)


def check_facts(schema: Schema, width: int, name: str) -> None:
    """Raise if the schema in a file holds facts that no training run writes, or that do not name the answers.

    Args:
        schema: The schema from the file.
        width: The number of predictions for each row.
        name: The name of the file.

    Raises:
        BadValueError: Names that do not match the predictions one to one, a vocabulary with a duplicate, or a mean or std
            that is not finite, or an image's range of values that is none.
    """
    names = schema.task.names(schema.target)
    what = "class" if schema.task.is_classes else "target column"
    if len(names) != width or len(set(names)) < width:
        raise _wrong(name, f"its answers need {width} different names of a {what}, got {listed(names)}")
    if any("\ud800" <= letter <= "\udfff" for each in names for letter in str(each)):
        raise _wrong(name, "a name holds a lone surrogate")
    for category in schema.categorical:
        if len(set(category.vocabulary)) < len(category.vocabulary):
            raise _wrong(name, f"the vocabulary of {category.name!r} holds a value twice")
    for number in schema.continuous:
        if not (math.isfinite(number.mean) and math.isfinite(number.std) and number.std > 0):
            raise _wrong(name, f"{number.name!r} has mean {number.mean:g} and std {number.std:g}")
    ranges, channels = (schema.image.value_range, schema.image.channels) if schema.image else ((), 3)
    if len(ranges) not in (0, 1, channels) or not all(-math.inf < low < high < math.inf for low, high in ranges):
        raise _wrong(name, f"the image's {count(channels, 'channel')} have the ranges {listed(ranges)}")


def _wrong(name: str, problem: str) -> BadValueError:
    return BadValueError(f"the schema in {name} is damaged: {problem}", "Do not use it; ask for the original file")


def check_format(found: object, oldest: int, newest: int, name: str, remedy: str) -> None:
    """Raise unless this version of tabvision reads the format of a file.

    Args:
        found: The format that the file states.
        oldest: The oldest format that is read.
        newest: The newest format that is read.
        name: The name of the file.
        remedy: What to do about a file that is too old.
    """
    if not is_integer(found) or found > newest:
        problem = f"{name} has format {found!r}, and {newest} is the newest that this version reads"
        raise BadValueError(problem, "Update tabvision: pip install --upgrade tabvision")
    if found < oldest:
        raise BadValueError(f"{name} has format {found}, and {oldest} is the oldest that this version reads", remedy)
