"""What ratings are to be predicted: numbers within a range, or yes and no."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tabvision.checks import check_whole
from tabvision.data import labels
from tabvision.data.base import Part, PartName
from tabvision.data.targets import fit_target, infer_task
from tabvision.errors import BadTypeError, BadValueError, MissingColumnsError, count, listed
from tabvision.schema import Schema, Target
from tabvision.tasks import Binary, Regression, Task, task_named

IMPLICIT_TARGET = Target(columns=("interaction",), task=Binary(), classes=("no", "yes"))
"""What is predicted where no rating stands in the data: whether a user takes an item."""


def ratings_target(
    frame: pd.DataFrame, rating: str, task: Task | str | None, y_range: tuple[float, float] | None, scale: pd.Series
) -> tuple[Target, str]:
    """The target of explicit ratings, and a sentence that says what was chosen.

    Args:
        frame: The training rows.
        rating: The column to predict.
        task: Stated, or None: numbers are a regression, two values of another kind yes and no.
        y_range: Lowest and highest answer; None for `scale` widened by half a step.
        scale: Every rating there is: the steps and ends of the scale are known before anyone rates.

    Raises:
        BadTypeError: A task that is neither one number nor yes and no.
        BadValueError: Ratings outside the range, or ratings that do not vary.

    Example:
        >>> frame = pd.DataFrame({"stars": [1, 2, 5]})
        >>> target, _ = ratings_target(frame, "stars", None, None, frame["stars"])
        >>> target.task.y_range
        (0.5, 5.5)
    """
    task = _choose(frame, rating, task)
    if isinstance(task, Regression):
        _check_varied(scale, rating)
        if y_range is not None:
            task = dataclasses.replace(task, y_range=y_range)
        elif task.y_range is None:
            task = dataclasses.replace(task, y_range=default_range(labels.as_numbers(scale, rating)))
    elif y_range is not None:
        raise BadValueError(f"y_range is for numbers, and {rating!r} is {task.name}", "Leave y_range out")
    target = fit_target(frame, [rating], task)
    if isinstance(task, Regression) and task.y_range is not None:
        low, high = task.y_range
        return target, f"ratings {rating!r}: numbers, answered between {low:g} and {high:g}. Override with y_range."
    return target, f"ratings {rating!r}: {task.name}, {target.classes[1]!r} is yes."


def default_range(ratings: NDArray[np.float64]) -> tuple[float, float]:
    """Lowest and highest rating, widened by half the smallest step between ratings, so that a sigmoid reaches both.

    Example:
        >>> default_range(np.array([0.5, 5.0, 4.5]))
        (0.25, 5.25)
    """
    distinct = np.unique(ratings)
    half = float(np.diff(distinct).min()) / 2 if len(distinct) > 1 else 0.5
    return float(distinct[0]) - half, float(distinct[-1]) + half


def out_of_range(frame: pd.DataFrame, target: Target, part: str) -> list[str]:
    """A sentence where rows that do not train lie outside what can be answered; such rows are only measured.

    Example:
        >>> target = Target(columns=("stars",), task=Regression(y_range=(0.5, 5.5), mean=(3.0,), spread=(1.0,)))
        >>> out_of_range(pd.DataFrame({"stars": [3, 6]}), target, "validation")
        ['Note: 1 validation row outside 0.5 to 5.5, which no answer reaches. Widen y_range.']
    """
    task = target.task
    if not isinstance(task, Regression) or task.y_range is None:
        return []
    ratings = labels.as_numbers(frame[target.columns[0]], target.columns[0])
    low, high = task.y_range
    outside = int(((ratings < low) | (ratings > high)).sum())
    where = f"outside {low:g} to {high:g}, which no answer reaches. Widen y_range."
    return [f"Note: {count(outside, f'{part} row')} {where}"] if outside else []


def _check_varied(scale: pd.Series, rating: str) -> None:
    if scale.nunique() < 2:
        problem = f"all ratings in {rating!r} are {scale.tolist()[0]!r}, so there is nothing to tell apart"
        raise BadValueError(problem, "If each row means a yes, leave rating out; else pass ratings that differ")


def _choose(frame: pd.DataFrame, rating: str, task: Task | str | None) -> Task:
    values = frame[rating]
    if task is None:
        is_number = labels.are_numbers(values) and not labels.are_bools(values)
        chosen = Regression() if is_number else infer_task(frame, [rating])[0]
    else:
        chosen = task if isinstance(task, Task) else task_named(task)
    if isinstance(chosen, Binary | Regression):
        return chosen
    problem = f"ratings must be numbers, or yes and no, got {chosen.name} in column {rating!r}"
    unread = values[pd.to_numeric(values, errors="coerce").isna()]
    if len(unread):
        problem += f", where {count(len(unread), 'value')} cannot be read, such as {unread.iloc[0]!r}"
    raise BadTypeError(problem, "Map them to numbers, or leave rating out if each row means a yes")


def check_names(
    user: str, item: str, rating: str | None, *, timestamp: str | None = None, title: str | None = None
) -> None:
    """Refuses column names that are no text, or that name one column twice.

    Raises:
        BadTypeError: A name that is no text.
        BadValueError: Two roles for one column.
    """
    others = {"rating": rating, "timestamp": timestamp, "title": title}
    named = {"user": user, "item": item, **{role: name for role, name in others.items() if name is not None}}
    for role, name in named.items():
        if not isinstance(name, str):
            raise BadTypeError(f"{role} must be a column name, got {name!r}", "Name a column")
    # titles may be in a table of their own, whose columns may be called like those here, the items' aside
    roles = {role: name for role, name in named.items() if role != "title" or name == item}
    for role, name in roles.items():
        if same := [other for other in roles if other != role and roles[other] == name]:
            problem = f"{role} and {same[0]} are the same column, {name!r}"
            raise BadValueError(problem, "Name a column for each")


def check_present(frame: pd.DataFrame, columns: Sequence[str]) -> None:
    """Refuses a frame that lacks columns.

    Raises:
        MissingColumnsError: Some are not there.
    """
    if missing := [name for name in columns if name not in frame.columns]:
        raise MissingColumnsError(missing, frame.columns, f"Columns are {listed([*frame.columns])}")


def check_part(parts: Mapping[PartName, Part], part: str) -> None:
    """Refuses a part that there is not.

    Raises:
        BadValueError: It is not there.
    """
    if part not in parts:
        remedy = "Pass split= a share such as 0.2" if part == "val" else "Name another part, or pass test= a table"
        raise BadValueError(f"there is no {part} part, only {', '.join(parts)}", remedy)


def check_several(frame: pd.DataFrame, user: str, item: str) -> None:
    """Refuses rows of one user only, or of one item only.

    Raises:
        BadValueError: There is one.
    """
    for role, name in (("user", user), ("item", item)):
        if frame[name].nunique() < 2:
            problem = f"there must be at least two {role}s, got one, {frame[name].tolist()[0]!r}, in column {name!r}"
            raise BadValueError(problem, "Taste is found by comparison; pass more data or name another column")


def check_settings(rating: str | None, task: object, y_range: object, negatives: object) -> None:
    """Refuses a number of negatives that is none, and settings that say nothing without a rating.

    Raises:
        BadTypeError: `negatives` is no whole number.
        BadValueError: `negatives` below 1, or a task or range without a rating.
    """
    check_whole("negatives", negatives, remedy="Pass a number such as 4")
    if rating is None and (task is not None or y_range is not None):
        problem = "without a rating each row means yes, so there is neither a task nor a y_range"
        raise BadValueError(problem, "Name the column of ratings, or leave both out")


def check_schema(schema: Schema, user: str, item: str, rating: str | None) -> None:
    """Refuses a schema that was fitted to other columns.

    Raises:
        BadValueError: It was.
    """
    wanted = (user, item, *(IMPLICIT_TARGET.columns if rating is None else (rating,)))
    held = (*(column.source for column in schema.categorical), *schema.target.columns)
    if wanted != held:
        problem = f"the schema is of {list(held)}, not of {list(wanted)}"
        raise BadValueError(problem, "Name the columns it was fitted to, or leave schema out to fit a new one")
