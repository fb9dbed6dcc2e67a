"""Infer the task of a target, fit its classes and statistics, and encode its rows."""

from __future__ import annotations

import dataclasses
import logging
import shlex
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from tabvision.checks import check_present
from tabvision.data.tables.cells import with_columns
from tabvision.errors import BadTypeError, BadValueError, count, listed
from tabvision.plain import Label, NumberFormat
from tabvision.preprocess.columns import Text
from tabvision.preprocess.parse import notation_of, parse_number
from tabvision.preprocess.text_formats import NUMBER_LIKE, all_match, numbers_in
from tabvision.schema import Target
from tabvision.tasks import Task, labels
from tabvision.tasks.classes import MAX_INTEGER_CLASSES
from tabvision.tasks.registry import KINDS, is_own

logger = logging.getLogger("tabvision")

_LINES_ABOVE = 20  # the most lines above the column names to look for
_COMPARED = 10_000  # rows in which to look for a separator of labels
_MAX_DISTINCT_FRACTION = 0.9  # text with more distinct values, as a fraction of rows, identifies rows, not classes


def infer_task(frame: pd.DataFrame, columns: Sequence[str], separator: str | None = None) -> tuple[Task, str]:
    """Return the task that suits a target, and a sentence that says so and how to override it.

    Args:
        frame: The rows; those with a missing target are ignored.
        columns: The target column or columns.
        separator: Text between the labels in one multi-label column, or None.

    Raises:
        MissingColumnsError: A column does not exist.
        BadValueError: There is only one value, or text that differs in nearly every row.
        BadTypeError: The column holds a kind of value that cannot be predicted.

    Example:
        >>> infer_task(pd.DataFrame({"late": ["no", "yes", "no"]}), ["late"])[1]
        "target 'late': binary (2 values: no, yes). Override with task='multiclass' (--task)."
    """
    check_columns(frame, columns)
    named, is_one = frame[list(columns)], len(columns) == 1 and separator is None
    few, hint = None, ""
    if is_one:
        raw = named.dropna()
        forms = number_formats(raw, columns)
        has_unit = bool(forms) and notation_of(forms[0]).has_unit
        are_classes = has_unit and raw[columns[0]].nunique() <= MAX_INTEGER_CLASSES  # such as "36 months", "60 months"
        named = raw if are_classes else _with_numbers(raw, columns, forms)
        values = named[columns[0]]
        few = _few_values(values)
        hint = _text_hint(values) if few is None or len(few) > 2 else ""
        if named is not raw:
            hint = f" Its text, such as {raw.iloc[0, 0]!r}, reads as numbers."
    for kind in KINDS:
        task = kind()
        if sentence := task.suits(named, few, separator):
            if is_one and few is None and task.is_classes:
                _check_repeats(values, hint)
            are_several = not is_one and separator is None
            prefix = f"targets {listed([*map(repr, columns)])}" if are_several else f"target {columns[0]!r}"
            return task, f"{prefix}: {sentence}{hint}"
    others = [f"{name!r} ({frame[name].dtype})" for name in columns if not labels.are_numbers(frame[name])]
    problem = f"several target columns must all be numbers, or all 0 and 1; these are not: {listed(others)}"
    raise BadTypeError(problem, "Name one column, or for labels in one column pass a separator")


def fit_target(
    frame: pd.DataFrame,
    columns: Sequence[str],
    task: Task,
    separator: str | None = None,
    *,
    has_image: bool = False,
    is_stated: bool = True,
) -> Target:
    """Fit a target: find its classes, and fit the task.

    Args:
        frame: The training rows.
        columns: The target column or columns.
        task: The stated or inferred task.
        separator: Text between the labels in one multi-label column, or None.
        has_image: Whether each row has an image for the target to lie in.
        is_stated: Whether the user stated the task, so that values do not decide its settings.

    Raises:
        MissingColumnsError: A column does not exist.
        BadValueError: Values are missing or infinite, there is only one class, or the data contradicts the task.
        BadTypeError: The column holds a kind of value that the task cannot predict.

    Example:
        >>> from tabvision.tasks import task_named
        >>> fit_target(pd.DataFrame({"size": ["s", "l", "s"]}), ["size"], task_named("binary")).classes
        ('l', 's')
    """
    check_columns(frame, columns)
    target = Target(columns=tuple(columns), task=task, separator=separator)
    check_task(target, has_image=has_image)
    if not task.is_classes:
        target = dataclasses.replace(target, text=number_formats(frame, columns))
        frame = _with_numbers(frame, columns, target.text)
    if not task.allows_missing:
        check_missing(frame, columns, separator)
    target = dataclasses.replace(target, classes=task.find_classes(frame, target))
    values = task.encode(frame, target)
    if not is_stated and (chosen := task.for_values(values)) != task:
        text = "errors count relative to the prediction (error='tweedie'). Override with task='regression' (--task)."
        logger.info(f"target {target.quoted} is skewed: {text}")
        task = chosen
    task = task.fit(values, len(target.classes))
    is_plain = values.ndim == 1 and not is_own(task) and getattr(task, "class_weights", None) is None
    frequencies = tuple(task.constant(values)[0].tolist()) if is_plain else ()  # as counted in the loss
    if not task.is_classes:
        bounds = np.nanmin(values, axis=0, initial=np.inf), np.nanmax(values, axis=0, initial=-np.inf)
        if np.isfinite(bounds).all():  # a point may occur in no image
            low, high = (tuple(map(float, each)) for each in bounds)
            target = dataclasses.replace(target, low=low, high=high)
    return dataclasses.replace(target, task=task, frequencies=frequencies)


def encode_target(frame: pd.DataFrame, target: Target) -> NDArray[Any]:
    """Return the target of each row, encoded as in a batch.

    Shape:
        - returns: (N,) int64 class codes; (N, C) float32 zeros and ones for multi-label; (N, T) float32 numbers

    Raises:
        MissingColumnsError: A column does not exist.
        BadValueError: Values are missing or infinite, or a class is not in the training rows.
        BadTypeError: The column holds a kind of value that the task cannot predict.

    Example:
        >>> from tabvision.tasks import task_named
        >>> target = Target(columns=("size",), task=task_named("binary"), classes=("l", "s"))
        >>> encode_target(pd.DataFrame({"size": ["s", "l"]}), target).tolist()
        [1, 0]
    """
    check_columns(frame, target.columns)
    if not target.task.is_classes:
        frame = _with_numbers(frame, target.columns, target.text or number_formats(frame, target.columns))
    if not target.task.allows_missing:
        check_missing(frame, target.columns, target.separator)
    encoded = target.task.encode(frame, target)
    return encoded.astype(np.float32, copy=False) if encoded.dtype.kind == "f" else encoded


def number_formats(frame: pd.DataFrame, columns: Sequence[str]) -> tuple[NumberFormat, ...]:
    """Return the format of numbers in each text column, such as with a sign or commas; empty if all are plain.

    Example:
        >>> number_formats(pd.DataFrame({"price": ["$1,234", "$5"], "size": [1, 2]}), ["price", "size"])
        ('$', 'strict')
    """
    forms: list[NumberFormat] = []
    for name in columns:
        numbers = numbers_in(_text_of(frame[name])) if isinstance(frame[name].dtype, pd.StringDtype) else None
        is_plain = numbers is None or numbers.form in ("lenient", "h:m:s") or any(map(str.strip, numbers.others))
        forms.append("strict" if numbers is None or is_plain else numbers.form)
    return tuple(forms) if set(forms) != {"strict"} else ()


def _text_of(values: pd.Series) -> Text:
    return Text(pa.array(values, pa.large_string()))


def _with_numbers(frame: pd.DataFrame, columns: Sequence[str], forms: Sequence[NumberFormat]) -> pd.DataFrame:
    """Convert text in these number formats to numbers; raise if some text is in another format."""
    found = {}
    for name, form in zip(columns, forms, strict=False):
        if form == "strict" or not isinstance(frame[name].dtype, pd.StringDtype):
            continue
        wrong = [text for text in frame[name].dropna().unique() if text.strip() and parse_number(text, form) is None]
        if wrong:
            others = listed([repr(text) for text in wrong])
            problem = (
                f"the target {name!r} must hold numbers written in the form {form!r}, as in training, got {others}"
            )
            raise BadTypeError(problem, "Write them in that form")
        found[name] = _text_of(frame[name]).to_numbers(name, form).values
    return with_columns(frame, found) if found else frame


def beside_target(
    frame: pd.DataFrame, columns: Sequence[str], rows: NDArray[Any], answers: pd.DataFrame
) -> pd.DataFrame:
    """Put row numbers and true values before the answers; name a true value `true_<name>` if an answer has its name.

    Example:
        >>> frame = pd.DataFrame({"paid": ["no", "yes"]})
        >>> beside_target(frame, ["paid"], np.array([1]), pd.DataFrame({"label": ["yes"]})).to_dict("records")
        [{'row': 1, 'paid': 'yes', 'label': 'yes'}]
    """
    truth = frame.iloc[rows][[*columns]].reset_index(drop=True)
    truth = truth.rename(columns={name: f"true_{name}" for name in truth if name in answers or name == "row"})
    return pd.concat([pd.DataFrame({"row": rows}), truth, answers], axis=1)


def missing_target(frame: pd.DataFrame, columns: Sequence[str]) -> NDArray[np.bool_]:
    """Return a mask of the rows in which any target column is missing or white space."""
    return np.asarray(np.logical_or.reduce([missing_cells(frame[name]) for name in columns]), dtype=bool)


def missing_cells(values: pd.Series) -> NDArray[np.bool_]:
    """Return a mask of the rows in which a column is missing or white space.

    Example:
        >>> missing_cells(pd.Series(["a", " ", None, ""])).tolist()
        [False, True, True, False]
    """
    if isinstance(values.dtype, pd.CategoricalDtype):
        return np.asarray(
            np.append(missing_cells(pd.Series(values.cat.categories)), True)[values.cat.codes], dtype=bool
        )
    missing: NDArray[np.bool_] = values.isna().to_numpy(dtype=bool)
    if isinstance(values.dtype, pd.StringDtype):
        missing = missing | values.str.isspace().to_numpy(dtype=bool, na_value=False)
    return missing


def check_columns(frame: pd.DataFrame, columns: Sequence[str]) -> None:
    """Raise if a target column does not exist or is named twice."""
    if not columns:
        raise BadValueError("no target column is named", f"Columns are {listed([*frame.columns])}")
    remedy = f"The target is one of the columns {listed([*frame.columns])}"
    missing = [name for name in columns if name not in frame.columns]
    if missing and frame.head(_LINES_ABOVE).astype("str").isin(missing).to_numpy().any():
        remedy = "It is in a later row: remove the rows above that one, so that the names of the columns come first"
    check_present(columns, frame.columns, remedy)
    if len(set(columns)) < len(columns):
        raise BadValueError(f"a target column is named twice in {list(columns)}", "Name each once")


def check_missing(frame: pd.DataFrame, columns: Sequence[str], separator: str | None) -> None:
    """Raise if the target is missing in any row."""
    missing = int(missing_target(frame, columns).sum())
    if not missing:
        return
    problem = f"the target {listed([*map(repr, columns)])} is missing in {missing:,} of {count(len(frame), 'row')}"
    remedy = f"Leave them out: frame.dropna(subset={list(columns)!r})"
    remedy += ', or when training missing_target="drop" (--drop-missing-target)'
    if separator is not None:
        remedy += f', or if they have no label, frame[{columns[0]!r}].fillna("")'
    raise BadValueError(problem, remedy)


def check_task(target: Target, *, has_image: bool) -> None:
    """Raise if the task cannot use the target's columns or separator, or needs an image and there is none."""
    if target.task.moves_with_image and not has_image:
        problem = f"{target.task.name} need images to lie in"
        raise BadValueError(problem, "Use ImageDataModule, or Regression for numbers")
    target.task.check(target)


def _few_values(values: pd.Series) -> list[Label] | None:
    """Return the sorted distinct values of a column, or None if there are many; raise if there are fewer than two."""
    name = str(values.name)
    if values.empty:
        raise BadValueError(f"the target {name!r} is missing in every row", "Choose another target")
    labels.check_kind(values, name)
    few = labels.few_distinct(values, MAX_INTEGER_CLASSES)
    if few is not None and len(few) == 1:
        raise labels.one_value(few[0], len(values), name)
    return few


def _check_repeats(values: pd.Series, hint: str) -> None:
    distinct = int(values.nunique())
    if distinct > _MAX_DISTINCT_FRACTION * len(values):
        problem = (
            f"the target {values.name!r} looks like an identifier or free text: {distinct:,} values in "
            f"{len(values):,} rows"
        )
        remedy = "Choose another target, or if each value is a class, pass task='multiclass'"
        raise BadValueError(problem, f"{remedy}.{hint}".rstrip("."))


def _text_hint(values: pd.Series) -> str:
    """Return a hint if text seems to hold unparsed numbers, or several labels per row; else ""."""
    if not isinstance(values.dtype, pd.StringDtype):
        return ""
    if not labels.parse_as_numbers(values) and all_match(_text_of(values), NUMBER_LIKE):
        return f" Its text looks like numbers, such as {values.iloc[0]!r}; to predict numbers, write them as 1234.5."
    found = labels.joined_by(values.iloc[:_COMPARED].unique().tolist())
    if found is None:
        return ""
    separator, number = found
    named = f"separator={separator!r} (--separator {shlex.quote(separator)})"
    return f" Its values are combinations of {number} words; if a row may have several labels, pass what joins them: {named}."
