"""The target: what kind it is, its classes, and its rows as numbers and back."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from tabvision.data import labels
from tabvision.errors import BadTypeError, BadValueError, MissingColumnsError, count, listed
from tabvision.preprocess.column_types import looks_like_numbers
from tabvision.preprocess.columns import Text
from tabvision.schema import Label, Target
from tabvision.tasks import Binary, Multiclass, Multilabel, Points, Regression, Task

MAX_INTEGER_CLASSES = 20  # whole numbers with more distinct values are a quantity, unless the user says otherwise
SINGLE_ROW_SHARE = 0.9  # texts with more distinct values than this share of the rows name rows, not classes


def infer_task(frame: pd.DataFrame, columns: Sequence[str], separator: str | None = None) -> tuple[Task, str]:
    """The task that suits a target, and a sentence that says what was chosen and how to override it.

    Args:
        frame: The rows; those with a missing target are not looked at.
        columns: The target: one column, or several.
        separator: What parts the labels in one column of text, or None.

    Raises:
        MissingColumnsError: No such column.
        BadValueError: One value only, or texts that nearly all differ.
        BadTypeError: A kind of value that cannot be predicted.

    Example:
        >>> infer_task(pd.DataFrame({"late": ["no", "yes", "no"]}), ["late"])[1]
        "target 'late': binary (2 values: no, yes). Override with task='multiclass'."
    """
    check_columns(frame, columns)
    if separator is not None:
        sentence = f"target {columns[0]!r}: multilabel (labels parted by {separator!r})."
        return Multilabel(), sentence + " Leave the separator out for one class a row."
    if len(columns) > 1:
        return _infer_several(frame, columns)
    return _infer_one(frame[columns[0]].dropna(), columns[0])


def fit_target(frame: pd.DataFrame, columns: Sequence[str], task: Task, separator: str | None = None) -> Target:
    """The facts of a target: its classes, and the task fitted to it.

    Args:
        frame: The training rows.
        columns: The target: one column, or several.
        task: As stated or inferred.
        separator: What parts the labels in one column of text, or None.

    Raises:
        MissingColumnsError: No such column.
        BadValueError: Missing values, one class only, infinities, or data that contradict the task.
        BadTypeError: A kind of value that the task cannot predict.

    Example:
        >>> fit_target(pd.DataFrame({"size": ["s", "l", "s"]}), ["size"], Binary()).classes
        ('l', 's')
    """
    check_columns(frame, columns)
    check_shape(columns, task, separator)
    check_missing(frame, columns, separator)
    classes = _fit_classes(frame, columns, task, separator)
    target = Target(columns=tuple(columns), task=task, classes=classes, separator=separator)
    encoded = _numbers(frame, target) if isinstance(task, Regression) else encode_target(frame, target)
    return dataclasses.replace(target, task=task.fit(encoded, len(classes)))


def encode_target(frame: pd.DataFrame, target: Target) -> NDArray[Any]:
    """The target of each row, as batches hold it.

    Shape:
        - returns: (N,) int64 class codes; (N, C) float32 zeros and ones for labels; (N, T) float32 numbers

    Raises:
        MissingColumnsError: No such column.
        BadValueError: Missing values, a class that training lacks, infinities.
        BadTypeError: A kind of value that the task cannot predict.

    Example:
        >>> target = Target(columns=("size",), task=Binary(), classes=("l", "s"))
        >>> encode_target(pd.DataFrame({"size": ["s", "l"]}), target).tolist()
        [1, 0]
    """
    check_columns(frame, target.columns)
    check_missing(frame, target.columns, target.separator)
    name = target.columns[0]
    if isinstance(target.task, Regression):
        return _numbers(frame, target).astype(np.float32)
    if target.separator is not None:
        return labels.multi_hot(frame[name], target.separator, cast("tuple[str, ...]", target.classes), name)
    if isinstance(target.task, Multilabel):
        return np.stack([labels.as_flags(frame[column], column) for column in target.columns], axis=1)
    return labels.class_codes(frame[name], target.classes, name)


def decode_labels(target: Target, codes: NDArray[Any]) -> NDArray[Any]:
    """What a user reads, from what `Task.decode` answers.

    Args:
        target: The fitted target.
        codes: (N,) class codes, (N, C) flags, or (N, T) numbers.

    Shape:
        - returns: (N,) labels, labels joined by the separator; (N, C) flags of a list of columns; (N, T) numbers

    Example:
        >>> decode_labels(Target(columns=("size",), task=Binary(), classes=("l", "s")), np.array([1, 0])).tolist()
        ['s', 'l']
    """
    if not target.task.is_classes:
        return codes
    if target.separator is not None:
        return labels.joined(codes.astype(bool), cast("tuple[str, ...]", target.classes), target.separator)
    if isinstance(target.task, Multilabel):
        return codes.astype(bool)
    return np.asarray(labels.as_array(target.classes)[codes])


def stratify_codes(frame: pd.DataFrame, columns: Sequence[str], task: Task) -> NDArray[np.int64] | None:
    """Class codes to divide rows by before the target is fitted, or None where rows have no single class."""
    if isinstance(task, Regression | Multilabel) or len(columns) != 1:
        return None
    values = frame[columns[0]]
    codes, _ = pd.factorize(values.astype("str") if values.dtype == object else values)
    return np.asarray(codes, dtype=np.int64)


def missing_target(frame: pd.DataFrame, columns: Sequence[str]) -> NDArray[np.bool_]:
    """Which rows lack a value in some target column."""
    return np.asarray(frame[list(columns)].isna().any(axis=1), dtype=bool)


def check_columns(frame: pd.DataFrame, columns: Sequence[str]) -> None:
    """Refuses a target that the frame does not have, or that is named twice."""
    if not columns:
        raise BadValueError("no target column is named", f"Columns are {listed([*frame.columns])}")
    if missing := [name for name in columns if name not in frame.columns]:
        raise MissingColumnsError(
            missing, frame.columns, f"The target is one of the columns {listed([*frame.columns])}"
        )
    if len(set(columns)) < len(columns):
        raise BadValueError(f"a target column is named twice in {list(columns)}", "Name each once")


def check_missing(frame: pd.DataFrame, columns: Sequence[str], separator: str | None) -> None:
    """Refuses rows without a target."""
    missing = int(missing_target(frame, columns).sum())
    if not missing:
        return
    problem = f"the target {_named(columns)} is missing in {missing:,} of {count(len(frame), 'row')}"
    remedy = f"Leave them out: frame.dropna(subset={list(columns)!r})"
    remedy += ', or when training missing_target="drop" (--drop-missing-target)'
    if separator is not None:
        remedy += f', or if they have no label, frame[{columns[0]!r}].fillna("")'
    raise BadValueError(problem, remedy)


def _named(columns: Sequence[str]) -> str:
    return listed([repr(name) for name in columns])


def check_shape(columns: Sequence[str], task: Task, separator: str | None) -> None:
    """Refuses columns or a separator that a task has no use for."""
    kind = type(task).__name__
    if isinstance(task, Points):
        raise BadValueError("points need pictures to lie in", "Use ImageDataModule, or Regression for numbers")
    if separator is not None and (
        not isinstance(task, Multilabel) or len(columns) > 1 or not isinstance(separator, str) or not separator
    ):
        problem = f"a separator needs one multilabel column, got {separator!r} with {kind} and {_named(columns)}"
        raise BadValueError(problem, "Leave the separator out, or name one column and task='multilabel'")
    if isinstance(task, Binary | Multiclass) and len(columns) > 1:
        problem = f"{kind} predicts one column, got {len(columns)}: {_named(columns)}"
        raise BadValueError(problem, "Name one column, or use Multilabel (columns of 0 and 1) or Regression (numbers)")


def _fit_classes(frame: pd.DataFrame, columns: Sequence[str], task: Task, separator: str | None) -> tuple[Label, ...]:
    name = columns[0]
    if isinstance(task, Regression):
        return ()
    if separator is not None:
        return labels.tags(frame[name], separator, name)
    if isinstance(task, Multilabel):
        if len(columns) == 1 and not labels.are_flags(frame[name]):
            problem = (
                f"Multilabel needs columns of 0 and 1, or one column of text with a separator; {name!r} is neither"
            )
            raise BadValueError(problem, 'Pass a separator such as "|", or use Multiclass')
        return tuple(columns)
    classes = labels.classes_of(frame[name], name)
    if len(classes) == 1:
        raise _one_value(classes[0], len(frame), name)
    _check_class_count(classes, task, name)
    return classes


def _check_class_count(classes: Sequence[Label], task: Task, name: str) -> None:
    if isinstance(task, Binary) and len(classes) != 2:
        problem = f"Binary needs a target with 2 classes, {name!r} has {len(classes):,}: {listed(classes)}"
        raise BadValueError(problem, "Use Multiclass, or Regression for a quantity")
    fractions = sum(isinstance(label, float) and not label.is_integer() for label in classes)
    if len(classes) > MAX_INTEGER_CLASSES and fractions:
        problem = f"{type(task).__name__} needs classes, {name!r} holds {len(classes):,} distinct numbers"
        raise BadValueError(problem, "Use Regression, or cut the numbers into bins with pd.cut")


def _numbers(frame: pd.DataFrame, target: Target) -> NDArray[np.float64]:
    return np.stack([labels.as_numbers(frame[name], name) for name in target.columns], axis=1)


def _one_value(value: object, num_rows: int, name: str) -> BadValueError:
    rows = "its only row" if num_rows == 1 else f"all {num_rows:,} rows"
    problem = f"the target {name!r} holds one value, {value!r}, in {rows}"
    return BadValueError(problem, "There is nothing to learn; choose another target or more varied rows")


def _infer_several(frame: pd.DataFrame, columns: Sequence[str]) -> tuple[Task, str]:
    several = f"targets {_named(columns)}"
    if all(labels.are_flags(frame[name].dropna()) for name in columns):
        return Multilabel(), f"{several}: multilabel (columns of 0 and 1). Override with task='regression'."
    if all(labels.are_numbers(frame[name]) for name in columns):
        return Regression(), f"{several}: regression ({len(columns)} numbers a row)."
    others = [f"{name!r} ({frame[name].dtype})" for name in columns if not labels.are_numbers(frame[name])]
    problem = f"several target columns must all be numbers, or all 0 and 1; not so {listed(others)}"
    raise BadTypeError(problem, "Name one column, or for labels in one column pass a separator")


def _infer_one(values: pd.Series, name: str) -> tuple[Task, str]:
    if values.empty:
        problem = f"the target {name!r} is missing in every row"
        raise BadValueError(problem, "Choose another target")
    labels.check_kind(values, name)
    few = labels.few_distinct(values, MAX_INTEGER_CLASSES)
    if few is not None and len(few) == 1:
        raise _one_value(few[0], len(values), name)
    target = f"target {name!r}"
    numeric = labels.are_numbers(values) and not labels.are_bools(values)
    if few is not None and len(few) == 2:
        others = "task='multiclass' or 'regression'" if numeric else "task='multiclass'"
        return Binary(), f"{target}: binary (2 values: {listed(few)}). Override with {others}."
    whole = not numeric or pd.api.types.is_integer_dtype(values)
    if few is not None and whole:
        override = " Override with task='regression'." if numeric else ""
        return Multiclass(), f"{target}: multiclass ({len(few)} values: {listed(few)}).{override}{_number_hint(values)}"
    if numeric:
        return Regression(), f"{target}: regression (numbers). Override with task='multiclass'."
    if values.dtype != "category" and labels.parse_as_numbers(values):
        return Regression(), f"{target}: regression (numbers, held as text). Override with task='multiclass'."
    return Multiclass(), f"{target}: multiclass ({_check_repeats(values, name):,} values).{_number_hint(values)}"


def _check_repeats(values: pd.Series, name: str) -> int:
    distinct = int(values.nunique())
    if distinct > SINGLE_ROW_SHARE * len(values):
        problem = (
            f"the target {name!r} looks like an identifier or free text: {distinct:,} values in {len(values):,} rows"
        )
        remedy = "Choose another target, or if each value is a class, pass task='multiclass'"
        raise BadValueError(problem, f"{remedy}.{_number_hint(values)}".rstrip("."))
    return distinct


def _number_hint(values: pd.Series) -> str:
    """A sentence where text writes numbers in a form that is not read, such as $1,000 or 1,5 or 5%; else nothing."""
    if not isinstance(values.dtype, pd.StringDtype) or labels.parse_as_numbers(values):
        return ""
    if not looks_like_numbers(Text(pa.chunked_array([pa.array(values, pa.large_string())]))):
        return ""
    return f" Its text looks like numbers, such as {values.iloc[0]!r}; to predict numbers, write them as 1234.5."
