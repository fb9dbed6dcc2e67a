"""Select the rows of a source, and find their target, task and weights."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tabvision.checks import check_choice, check_fraction, check_present, without_array
from tabvision.data.splits.base import FRACTION, FractionSplit, Rows, Split, SplitRows
from tabvision.data.splits.given import PART_COLUMN
from tabvision.data.splits.random import as_split
from tabvision.data.tables.read import words_of
from tabvision.data.tables.text_file import TextFormat
from tabvision.data.targets import check_missing, infer_task, missing_target
from tabvision.errors import BadTypeError, BadValueError, count, listed
from tabvision.preprocess import Columns, Features
from tabvision.schema import LeftOut, Schema, Target
from tabvision.tasks import Task, task_named
from tabvision.tasks.labels import multi_hot, row_name, tags

logger = logging.getLogger("tabvision")


def named_target(target: object, schema: Schema | None) -> tuple[str, ...]:
    """Return the target columns as a tuple; raise if a reused schema has others.

    Raises:
        BadTypeError: `target` is neither a name nor a list of names, or `schema` is not a schema.
        BadValueError: The schema predicts other columns.

    Example:
        >>> named_target("paid", None)
        ('paid',)
    """
    names = (target,) if isinstance(target, str) else without_array(target)
    if not isinstance(names, Sequence) or not all(isinstance(name, str) for name in names):
        problem = f"target must be a column name or a list of them, got {target!r}"
        raise BadTypeError(problem, "Name the column to predict")
    columns = tuple(names)
    if schema is not None and not isinstance(schema, Schema):
        raise BadTypeError(f"schema must be a Schema, got {type(schema).__name__}", "Pass module.schema")
    if schema is not None and schema.target.columns != columns:
        known = schema.target.quoted
        problem = f"the schema predicts {known}, not {listed([repr(name) for name in columns])}"
        raise BadValueError(problem, f"Pass target={known}, or leave schema out to fit a new one")
    return columns


def reserved_columns(split: Split, weight: str | None, sampler: str | None = None) -> dict[str, str]:
    """Return the purpose of each column used for the split, weights or sampler, which makes it no feature.

    Example:
        >>> from tabvision.data.splits.given import ColumnSplit
        >>> reserved_columns(ColumnSplit("part"), "size")
        {'part': 'decides the split', 'size': 'weighs the rows'}
    """
    columns = dict.fromkeys(split.columns, "decides the split") | ({weight: "weighs the rows"} if weight else {})
    if sampler and sampler != "balanced":
        columns[sampler] = "says how often a row is drawn"
    columns.pop(PART_COLUMN, None)
    return columns


def check_reserved(
    frame: pd.DataFrame, reserved: Mapping[str, str], target: Sequence[str], features: Sequence[str]
) -> None:
    """Raise if a reserved column does not exist, or is also the target or a feature."""
    for name, purpose in reserved.items():
        check_present([name], frame.columns, f"Name the column that {purpose}")
        for others, noun in ((target, "the target"), (features, "a feature")):
            if name in others:
                problem = f"column {name!r} {purpose}, and cannot be {noun} as well"
                raise BadValueError(problem, "Name another column, or use it for only one of the two")


def schema_of_features(features: Features, target: Target, reserved: Mapping[str, str], form: TextFormat) -> Schema:
    """Return the schema made from fitted features and target."""
    return Schema(
        target=target,
        continuous=features.continuous,
        categorical=features.categorical,
        dates=features.dates,
        left_out=tuple(LeftOut(name=it.name, reason=reserved.get(it.name, it.reason)) for it in features.left_out),
        na_values=words_of(form),
    )


def stated_task(task: Task | str | None, schema: Schema | None) -> Task | None:
    """Return the task stated by the user or held by a reused schema, or None if it must be inferred.

    Raises:
        UnknownNameError: No task has that name.
    """
    if schema is not None:
        return schema.task
    return None if task is None else task_named(task)


def rows_with_target(frame: pd.DataFrame, columns: Sequence[str], policy: str, task: Task | None = None) -> Rows:
    """Return the row numbers to use: all, or with the policy "drop" those with a target; log how many are left out.

    Raises:
        UnknownNameError: The policy is neither "error" nor "drop".

    Example:
        >>> rows_with_target(pd.DataFrame({"paid": ["no", "yes"]}), ["paid"], "drop")
        array([0, 1])
    """
    check_choice("missing_target", policy, ("error", "drop"))
    rows = np.arange(len(frame), dtype=np.int64)
    if policy == "error" or (task is not None and task.allows_missing):  # fitting the target raises if any are missing
        return rows
    missing = missing_target(frame, columns)
    if missing.any():
        logger.info(f"{count(int(missing.sum()), 'row')} without a target left out.")
    return rows[~missing]


def kept_apart(
    parts: SplitRows,
    share: float | None,
    divide: Split,
    frame: pd.DataFrame,
    target_codes: NDArray[Any] | None,
    *,
    seed: int,
) -> SplitRows:
    """Return the parts, with a fraction of the training rows held out for calibration, drawn like validation rows.

    Args:
        parts: The parts of the rows.
        share: Fraction of the training rows to hold out, in (0, 1), or None for none.
        divide: The split that made the parts: groups stay together, and a `TimeSplit` holds out the latest training rows.
        frame: The rows.
        target_codes: (N,) int class codes, or None if the target has no classes.
        seed: The random seed.

    Example:
        >>> from tabvision.data.splits.random import RandomSplit
        >>> parts = SplitRows(np.arange(8), np.array([8, 9]), np.array([]))
        >>> found = kept_apart(parts, 0.25, RandomSplit(), pd.DataFrame({"x": range(10)}), None, seed=0)
        >>> len(found.train), len(found.calibration)
        (6, 2)
    """
    if share is None:
        return parts
    check_fraction("calibration", share, "()", remedy=FRACTION)
    if not 0 < round(share * len(parts.train)) < len(parts.train):
        rows = count(len(parts.train), "training row")
        problem = f"calibration={share:g} of {rows} leaves none to calibrate on, or none to train on"
        raise BadValueError(problem, "Pass more rows, or another fraction (calibration=, --calibration)")
    way = as_split(share, stratify=target_codes is not None)
    if isinstance(divide, FractionSplit):
        way = replace(cast("Any", divide), share=share, test_share=0.0)
    codes = None if target_codes is None else target_codes[parts.train]
    found = way(frame.iloc[parts.train], codes, seed=seed)
    return replace(parts, train=parts.train[found.train], calibration=parts.train[found.validation])


def with_every_label(parts: SplitRows, frame: pd.DataFrame, target: str, separator: str) -> SplitRows:
    """Move held-out rows to training until training rows have every label.

    This is needed because a random split ignores labels, and a rare label occurs in only a row or two.
    """
    used = np.sort(np.concatenate([parts.train, parts.validation, parts.calibration]))
    values = frame[target].iloc[used]
    flags = multi_hot(values, separator, tags(values, separator, target), target) > 0
    trains = np.isin(used, parts.train)
    moved = used[~trains & flags[:, ~flags[trains].any(axis=0)].any(axis=1)]
    if not len(moved):
        return parts
    held_out = "validation and calibration" if len(parts.calibration) else "validation"
    moves = f"{count(len(moved), 'row')} moved from {held_out} to training"
    logger.info(f"{moves}, which would otherwise lack some labels.")
    validation, calibration = (np.setdiff1d(each, moved) for each in (parts.validation, parts.calibration))
    return SplitRows(np.union1d(parts.train, moved), validation, parts.test, calibration)


def class_counts(targets: NDArray[np.generic], target: Target) -> str:
    """Format the number of rows of each class, the most frequent first; return "" for a target of numbers.

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


def taken(frame: pd.DataFrame, rows: Rows) -> pd.DataFrame:
    """Return some rows of a frame, or the frame itself instead of a copy for all of them."""
    return frame if len(rows) == len(frame) else frame.iloc[rows]


def chosen_task(rows: pd.DataFrame, columns: Sequence[str], task: Task | None, separator: str | None) -> Task:
    """Return the stated task, or infer and log it.

    Raises:
        BadValueError: The target is missing in some rows, or no task can be inferred from it.
    """
    if task is None or not task.allows_missing:
        check_missing(rows, columns, separator)
    if task is not None:
        return task
    inferred, sentence = infer_task(rows, columns, separator)
    logger.info(sentence)
    return inferred


def row_weights(frame: pd.DataFrame, column: str) -> NDArray[np.float32]:
    """Return the numbers in a column of row weights or relative draw frequencies.

    Raises:
        MissingColumnsError: The column does not exist.
        BadTypeError: The column holds dates, or values that are not numbers.
        BadValueError: A number is missing, negative or infinite, or text is not a number.

    Example:
        >>> row_weights(pd.DataFrame({"w": [1, 2]}), "w").tolist()
        [1.0, 2.0]
    """
    check_present([column], frame.columns, "Name a column of weights")
    with np.errstate(over="ignore"):
        weights = Columns(frame[[column]]).numbers(column, "lenient").values.astype(np.float32)
    wrong = ~np.isfinite(weights) | (weights < 0)
    if num_wrong := int(wrong.sum()):
        found = f"{frame[column].iloc[[int(wrong.argmax())]].tolist()[0]!r} in row {row_name(frame, wrong)}"
        others = f" and {count(num_wrong - 1, 'other')}" if num_wrong > 1 else ""
        problem = f"column {column!r} must hold numbers of at least 0, got {found}{others}"
        raise BadValueError(problem, "Correct them, or leave the rows out")
    return weights
