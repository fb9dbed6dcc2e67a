"""The target of each image, and parts that folders may name."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tabvision.data.images.files import PictureTable
from tabvision.data.rows import named_target
from tabvision.data.splits.base import TEST, TRAIN, VALIDATION, Parts, Rows, Split, as_split, parts_from
from tabvision.errors import BadValueError, count, listed, speaking
from tabvision.schema import Schema, Target
from tabvision.tasks import labels


def target_columns(target: str | Sequence[str] | None, schema: Schema | None, default: str | None) -> list[str]:
    """Return the target's columns: named, or the schema's, or the one that folders or file names fill.

    Raises:
        BadTypeError: No name or list of names.
        BadValueError: None named where a table needs it, or others than the schema's.
    """
    if target is not None:
        return list(named_target(target, schema))
    if schema is None and default is None:
        raise BadValueError("a table needs the name of its target", "Pass target= a column, or several")
    return [str(default)] if schema is None else list(schema.target.columns)


def divide(
    table: PictureTable,
    numbers: Rows,
    num_rows: int,
    codes: NDArray[np.int64] | None,
    split: float | Split | None,
    *,
    seed: int,
) -> Parts:
    """Return the rows of each part.

    Args:
        table: The rows to divide, and what folders say of each.
        numbers: Their row numbers in the source.
        num_rows: Rows of the source.
        codes: Class codes of the rows, or None where the target has no classes.
        split: A fraction, a split or None; folders named for validation come before a fraction.
        seed: For what is random.

    Raises:
        BadValueError: A split beside folders that are one.
    """
    chosen, part = as_split(split, stratify=codes is not None), table.part
    if part is None:
        return chosen.among(numbers, num_rows)(table.frame, codes, seed=seed)
    if isinstance(split, Split):
        problem = f"the folders say which pictures train and validate, and so does split={split}"
        raise BadValueError(problem, "Leave split out, or pass a folder of class folders")
    if (part == VALIDATION).any():
        return parts_from(part, remedy="Put pictures into each of these folders")
    training = np.flatnonzero(part == TRAIN)
    found = chosen(table.frame.iloc[training], None if codes is None else codes[training], seed=seed)
    test = np.sort(np.concatenate([training[found.test], np.flatnonzero(part == TEST)]))
    return Parts(training[found.train], training[found.validation], test)


@speaking("split")
def with_every_label(parts: Parts, frame: pd.DataFrame, target: str, separator: str) -> Parts:
    """Return parts in which training has every label: validation rows with one that it lacks train instead.

    A share is drawn without looking at the labels, and rare ones come in a row or two.

    Args:
        parts: As drawn.
        frame: The rows.
        target: The column of joined labels.
        separator: What parts them.
    """
    used = np.sort(np.concatenate([parts.train, parts.validation]))
    values = frame[target].iloc[used]
    flags = labels.multi_hot(values, separator, labels.tags(values, separator, target), target) > 0
    trains = np.isin(used, parts.train)
    moved = used[~trains & flags[:, ~flags[trains].any(axis=0)].any(axis=1)]
    if not len(moved):
        return parts
    train, validation = np.union1d(parts.train, moved), np.setdiff1d(parts.validation, moved)
    moves = f"{count(len(moved), 'row')} drawn for validation instead used for training"
    logging.getLogger("tabvision").info(f"{moves}, which else lacks some labels.")
    return Parts(train, validation, parts.test)


def class_counts(targets: NDArray[np.generic], target: Target) -> str:
    """Return how many rows each class has, most frequent first; empty for numbers.

    Example:
        >>> from tabvision.tasks import Binary
        >>> class_counts(np.array([1, 1, 0]), Target(columns=("pet",), task=Binary(), classes=("cat", "dog")))
        'dog 2, cat 1'
    """
    if not target.task.is_classes:
        return ""
    num = targets.sum(axis=0) if targets.ndim == 2 else np.bincount(targets, minlength=len(target.classes))
    order = np.argsort(-num, kind="stable")
    return listed([f"{target.classes[place]} {int(num[place]):,}" for place in order])
