"""Fit the target of ratings, and check the arguments of `CollabDataModule`."""

from __future__ import annotations

import logging

import pandas as pd

from tabvision.data.splits.base import factorized
from tabvision.data.targets import fit_target, infer_task
from tabvision.errors import BadTypeError, BadValueError, count
from tabvision.schema import Schema, Target
from tabvision.tasks import Task, labels, task_named

logger = logging.getLogger("tabvision")

IMPLICIT_TARGET = Target(columns=("interaction",), task=task_named("binary"), classes=("no", "yes"))
"""The target if there is no rating column: whether a user takes an item."""


def fit_ratings(
    frame: pd.DataFrame, rating: str, task: Task | str | None, y_range: tuple[float, float] | None, scale: pd.Series
) -> Target:
    """Return the target of explicit ratings, and log the choice.

    Args:
        frame: The training rows.
        rating: The column to predict.
        task: The stated task; None for regression on numbers, binary for two values of another type.
        y_range: Lowest and highest prediction; None for the range of `scale`, widened by half a step.
        scale: All ratings in the source, not only in training: the steps and ends of a scale are known in advance.

    Raises:
        BadTypeError: The task is neither regression nor binary.
        BadValueError: Ratings are outside the range or do not vary.

    Example:
        >>> frame = pd.DataFrame({"stars": [1, 2, 5]})
        >>> fit_ratings(frame, "stars", None, None, frame["stars"]).task.answer_range
        ratings 'stars': numbers, predicted between 0.5 and 5.5. Override with y_range (--y-range).
        (0.5, 5.5)
    """
    task = _rating_task(frame, rating, task).for_ratings(scale, y_range)
    target = fit_target(frame, [rating], task)
    if task.answer_range is not None:
        low, high = task.answer_range
        found = f"numbers, predicted between {low:g} and {high:g}. Override with y_range (--y-range)."
    else:
        found = f"{task.name}{f', {target.classes[1]!r} is yes' if target.classes else ''}."
    logger.info(f"ratings {rating!r}: {found}")
    return target


def log_out_of_range(frame: pd.DataFrame, target: Target, part: str) -> None:
    """Log how many validation or test ratings lie outside the range of predictions.

    Example:
        >>> from tabvision.tasks import Regression
        >>> target = Target(columns=("stars",), task=Regression(y_range=(0.5, 5.5), mean=(3.0,), spread=(1.0,)))
        >>> log_out_of_range(pd.DataFrame({"stars": [3, 6]}), target, "validation")
        Note: 1 validation row outside 0.5 to 5.5, which no prediction reaches. Widen y_range.
    """
    if target.task.answer_range is None:
        return
    low, high = target.task.answer_range
    ratings = labels.as_floats(frame[target.columns[0]], target.columns[0])
    if outside := int(((ratings < low) | (ratings > high)).sum()):
        where = f"outside {low:g} to {high:g}, which no prediction reaches. Widen y_range."
        logger.info(f"Note: {count(outside, f'{part} row')} {where}")


def _rating_task(frame: pd.DataFrame, rating: str, task: Task | str | None) -> Task:
    values = frame[rating]
    if task is None:
        is_number = labels.are_numbers(values, bools=False)
        if not is_number and values.nunique() > 2:  # of text, objects and pandas categories
            is_number = labels.parse_as_numbers(values.astype("str"))
        chosen = task_named("regression") if is_number else infer_task(frame, [rating])[0]
    else:
        chosen = task_named(task)
    if chosen.ranks_items:
        return chosen
    problem = f"ratings must be numbers, or yes and no, got {chosen.name} in column {rating!r}"
    unread = values[pd.to_numeric(values, errors="coerce").isna()]
    if len(unread):
        problem += f", where {count(len(unread), 'value')} cannot be read, such as {unread.iloc[0]!r}"
    raise BadTypeError(problem, "Map them to numbers, or leave rating out if each row means a yes")


def check_names(
    user: str, item: str, rating: str | None, *, timestamp: str | None = None, title: str | None = None
) -> None:
    """Raise if a column name is not text, or one column has two roles."""
    others = {"rating": rating, "timestamp": timestamp, "title": title}
    named = {"user": user, "item": item, **{role: name for role, name in others.items() if name is not None}}
    for role, name in named.items():
        if not isinstance(name, str):
            raise BadTypeError(f"{role} must be a column name, got {name!r}", "Name a column")
    # a separate table of titles may reuse any of these names except that of the items
    roles = {role: name for role, name in named.items() if role != "title" or name == item}
    for role, name in roles.items():
        if same := [other for other in roles if other != role and roles[other] == name]:
            problem = f"{role} and {same[0]} are the same column, {name!r}"
            raise BadValueError(problem, "Name a different column for each")


def check_several(frame: pd.DataFrame, user: str, item: str) -> None:
    """Raise if all rows have the same user or the same item."""
    for role, name in (("user", user), ("item", item)):
        if len(distinct := factorized(frame, name)[1]) < 2:
            problem = f"there must be at least two {role}s, got only {distinct[0]!r} in column {name!r}"
            raise BadValueError(problem, "Preferences are learned by comparison; pass more data or name another column")


def check_settings(rating: str | None, task: object, y_range: object) -> None:
    """Raise if an argument has no effect without a rating."""
    if rating is None and (task is not None or y_range is not None):
        problem = "without a rating each row means yes, so task and y_range do not apply"
        raise BadValueError(problem, "Name the column of ratings, or leave both out")


def check_schema(schema: Schema, user: str, item: str, rating: str | None) -> None:
    """Raise if the schema was fitted to other columns."""
    named = (user, item, *(IMPLICIT_TARGET.columns if rating is None else (rating,)))
    fitted = (*(column.source for column in schema.categorical), *schema.target.columns)
    if named != fitted:
        problem = f"the schema was fitted to {list(fitted)}, not to {list(named)}"
        raise BadValueError(problem, "Name the columns that it was fitted to, or leave schema out to fit a new one")
