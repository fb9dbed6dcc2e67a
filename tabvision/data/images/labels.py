"""Find the target columns of images, and divide the rows into parts."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tabvision.data.images.files import ImageTable
from tabvision.data.rows import named_target
from tabvision.data.splits.base import TEST, TRAIN, VALIDATION, Rows, Split, SplitRows, parts_from
from tabvision.data.splits.random import ShortSplit, as_split
from tabvision.errors import BadValueError, count, listed, speaking
from tabvision.schema import Schema, Target
from tabvision.tasks import labels


def target_columns(target: str | Sequence[str] | None, schema: Schema | None, default: str | None) -> list[str]:
    """Return the target's columns: those named, or the schema's, or the column that folders or file names fill.

    Raises:
        BadTypeError: The target is not a name or a list of names.
        BadValueError: A table needs a target and none is named, or other columns than the schema's are.
    """
    if target is not None:
        return list(named_target(target, schema))
    if schema is None and default is None:
        raise BadValueError("a table needs the name of its target", "Pass target= a column, or several")
    return [str(default)] if schema is None else list(schema.target.columns)


def divide(
    table: ImageTable,
    numbers: Rows,
    num_rows: int,
    codes: NDArray[np.int64] | None,
    split: ShortSplit,
    *,
    seed: int,
) -> SplitRows:
    """Return the rows of each part.

    Args:
        table: The rows to divide, with the part of each row if folders determine it.
        numbers: Their row numbers in the source.
        num_rows: Number of rows in the source.
        codes: Class codes of the rows, or None if the target has no classes.
        split: A fraction, a split or None; folders named for validation override a fraction.
        seed: Seed of a random split.

    Raises:
        BadValueError: Both the folders and a split object divide the rows.
    """
    chosen, part = as_split(split, stratify=codes is not None), table.part
    if part is None:
        return chosen.among(numbers, num_rows)(table.frame, codes, seed=seed)
    if isinstance(split, Split):
        problem = f"the folders say which images train and validate, and so does split={split}"
        raise BadValueError(problem, "Leave split out, or pass a folder of class folders")
    if (part == VALIDATION).any():
        return parts_from(part, remedy="Put images into each of these folders")
    training = np.flatnonzero(part == TRAIN)
    found = chosen(table.frame.iloc[training], None if codes is None else codes[training], seed=seed)
    test = np.sort(np.concatenate([training[found.test], np.flatnonzero(part == TEST)]))
    return SplitRows(training[found.train], training[found.validation], test)


@speaking("split")
def with_every_label(parts: SplitRows, frame: pd.DataFrame, target: str, separator: str) -> SplitRows:
    """Return parts whose training rows have every label: rows held out with a label they lack move to training.

    A random fraction ignores the labels, and rare labels occur in a row or two.

    Args:
        parts: The random parts, of which test rows stay.
        frame: The rows.
        target: The column of joined labels.
        separator: The separator of labels.
    """
    used = np.sort(np.concatenate([parts.train, parts.validation, parts.calibration]))
    values = frame[target].iloc[used]
    flags = labels.multi_hot(values, separator, labels.tags(values, separator, target), target) > 0
    trains = np.isin(used, parts.train)
    moved = used[~trains & flags[:, ~flags[trains].any(axis=0)].any(axis=1)]
    if not len(moved):
        return parts
    held_out = "validation and calibration" if len(parts.calibration) else "validation"
    moves = f"{count(len(moved), 'row')} moved from {held_out} to training"
    logging.getLogger("tabvision").info(f"{moves}, which would otherwise lack some labels.")
    validation, calibration = (np.setdiff1d(each, moved) for each in (parts.validation, parts.calibration))
    return SplitRows(np.union1d(parts.train, moved), validation, parts.test, calibration)


def class_counts(targets: NDArray[np.generic], target: Target) -> str:
    """Return the number of rows of each class as text, most frequent first; empty for numbers.

    Example:
        >>> from tabvision.tasks import Binary
        >>> class_counts(np.array([1, 1, 0]), Target(columns=("pet",), task=Binary(), classes=("cat", "dog")))
        'dog 2, cat 1'
    """
    if not target.task.is_classes:
        return ""
    num = targets.sum(axis=0) if targets.ndim == 2 else np.bincount(targets, minlength=len(target.classes))
    order = np.argsort(-num, kind="stable")
    return listed([f"{target.classes[code]} {int(num[code]):,}" for code in order])
