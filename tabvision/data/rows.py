"""The rows of a source that are used: which ones, what they teach, their parts, targets and weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tabvision.data.splits.base import Parts, Rows, Split
from tabvision.data.splits.given import PART_COLUMN, IndexSplit
from tabvision.data.targets import check_missing, encode_target, infer_task, missing_target
from tabvision.errors import BadTypeError, BadValueError, MissingColumnsError, UnknownNameError, count, listed
from tabvision.schema import Schema, Target
from tabvision.tasks import Task, task_named


def named_target(target: object, schema: Schema | None) -> tuple[str, ...]:
    """The target's columns as named, which a schema that is used again must agree with.

    Args:
        target: A name or a list of names.
        schema: One that is used again, or None.

    Raises:
        BadTypeError: No name or list of names, or no schema.
        BadValueError: Others than the schema's.

    Example:
        >>> named_target("paid", None)
        ('paid',)
    """
    names = (target,) if isinstance(target, str) else target
    if not isinstance(names, Sequence) or not all(isinstance(name, str) for name in names):
        problem = f"target must be a column name or a list of them, got {target!r}"
        raise BadTypeError(problem, "Name the column to predict")
    columns = tuple(names)
    if schema is not None and not isinstance(schema, Schema):
        raise BadTypeError(f"schema must be a Schema, got {type(schema).__name__}", "Pass module.schema")
    if schema is not None and schema.target.columns != columns:
        known, other = (listed([repr(name) for name in each]) for each in (schema.target.columns, columns))
        problem = f"the schema predicts {known}, not {other}"
        raise BadValueError(problem, f"Pass target={known}, or leave schema out to fit a new one")
    return columns


def serving_columns(split: Split, weight: str | None) -> dict[str, str]:
    """Columns that are no features, with what they do.

    Example:
        >>> serving_columns(IndexSplit([0]), "size")
        {'size': 'weighs the rows'}
    """
    columns = dict.fromkeys(split.columns, "decides the split") | ({weight: "weighs the rows"} if weight else {})
    columns.pop(PART_COLUMN, None)
    return columns


def check_serving(
    frame: pd.DataFrame, serving: Mapping[str, str], target: Sequence[str], features: Sequence[str]
) -> None:
    """Refuses columns that serve something else and are not there, or are the target or features as well.

    Args:
        frame: The rows.
        serving: Columns with what they do, such as "weighs the rows".
        target: Columns to predict.
        features: Columns that were named as features.

    Raises:
        MissingColumnsError: No such column.
        BadValueError: It is the target or a feature.
    """
    for name, purpose in serving.items():
        if name not in frame.columns:
            raise MissingColumnsError([name], frame.columns, f"Name the column that {purpose}")
        for others, noun in ((target, "the target"), (features, "a feature")):
            if name in others:
                problem = f"column {name!r} {purpose}, and cannot be {noun} as well"
                raise BadValueError(problem, "Name another column, or leave it out of one of them")


def rows_with_target(frame: pd.DataFrame, columns: Sequence[str], wish: str) -> tuple[Rows, tuple[str, ...]]:
    """The rows to use, all or with the wish "drop" those that have a target, and what there is to say about it.

    Raises:
        UnknownNameError: The wish is neither "error" nor "drop".

    Example:
        >>> rows_with_target(pd.DataFrame({"paid": ["no", None]}), ["paid"], "drop")
        (array([0]), ('1 row without a target left out.',))
    """
    if wish not in ("error", "drop"):
        raise UnknownNameError("missing_target", wish, ["error", "drop"])
    missing = missing_target(frame, columns)
    if wish == "error" or not missing.any():  # if some are missing, fitting the target says so
        return np.arange(len(frame), dtype=np.int64), ()
    note = f"{count(int(missing.sum()), 'row')} without a target left out."
    return np.flatnonzero(~missing).astype(np.int64), (note,)


def chosen_task(
    rows: pd.DataFrame, columns: Sequence[str], task: Task | str | None, separator: str | None
) -> tuple[Task, tuple[str, ...]]:
    """The task, as stated or inferred, and what there is to say about it.

    Raises:
        BadValueError: Rows without a target, or a target from which no task can be inferred.
        UnknownNameError: No such task.
    """
    check_missing(rows, columns, separator)
    if isinstance(task, Task):
        return task, ()
    if task is not None:
        return task_named(task), ()
    inferred, sentence = infer_task(rows, columns, separator)
    return inferred, (sentence,)


def divide_kept(
    split: Split, frame: pd.DataFrame, kept: Rows, codes: NDArray[np.int64] | None = None, *, seed: int
) -> Parts:
    """The row numbers of each part, as in the frame; only rows that are kept belong to one.

    Args:
        split: How to divide.
        frame: The rows.
        kept: Those to divide.
        codes: Class codes of the kept rows, or None where the target has no classes.
        seed: For what is random.

    Example:
        >>> divide_kept(IndexSplit([2, 3]), pd.DataFrame({"x": range(6)}), np.array([0, 1, 2, 5]), seed=0).validation
        array([2])
    """
    if len(kept) == len(frame):
        return split(frame, codes, seed=seed)
    if isinstance(split, IndexSplit):  # its numbers are those of the source
        whole = split(frame, None, seed=seed)
        return Parts(*(np.intersect1d(rows, kept) for rows in (whole.train, whole.validation, whole.test)))
    some = split(frame.iloc[kept], codes, seed=seed)
    return Parts(kept[some.train], kept[some.validation], kept[some.test])


def encode_kept(frame: pd.DataFrame, target: Target, kept: Rows) -> NDArray[Any]:
    """The target of every row of the frame, as batches hold it; of rows that are not kept zeros, which nothing visits.

    Raises:
        BadValueError: Missing values, a class that training lacks, infinities.
        BadTypeError: A kind of value that the task cannot predict.
    """
    columns = frame[list(target.columns)]  # what else the frame holds need not be copied
    encoded = encode_target(columns if len(kept) == len(frame) else columns.iloc[kept], target)
    whole = np.zeros((len(frame), *encoded.shape[1:]), dtype=encoded.dtype)
    whole[kept] = encoded
    return whole


def row_weights(frame: pd.DataFrame, column: str, kept: Rows) -> NDArray[np.float32]:
    """The weight of each row in the loss; rows that are not kept weigh 0, whatever stands there.

    Raises:
        MissingColumnsError: No such column.
        BadValueError: A weight that is missing, negative, infinite or no number.

    Example:
        >>> row_weights(pd.DataFrame({"w": [1, -1, 2]}), "w", np.array([0, 2])).tolist()
        [1.0, 0.0, 2.0]
    """
    if column not in frame.columns:
        raise MissingColumnsError([column], frame.columns, "Name a column of weights")
    found = pd.to_numeric(frame[column].iloc[kept], errors="coerce").to_numpy(dtype=np.float32, na_value=np.nan)
    wrong = ~np.isfinite(found) | (found < 0)
    if num_wrong := int(wrong.sum()):
        have = "has none such" if num_wrong == 1 else "have none such"
        problem = f"weights in {column!r} must be numbers from 0, but {count(num_wrong, 'row')} {have}"
        first = int(kept[wrong.argmax()])
        raise BadValueError(f"{problem}, first row {first}", "Fill them in, or leave the rows out")
    weights = np.zeros(len(frame), dtype=np.float32)
    weights[kept] = found
    return weights
