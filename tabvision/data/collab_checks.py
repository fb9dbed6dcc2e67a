"""What is checked of ratings before anything is prepared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from tabvision.data.base import Part, PartName
from tabvision.data.ratings.target import IMPLICIT_TARGET
from tabvision.errors import BadTypeError, BadValueError, MissingColumnsError, listed
from tabvision.schema import Schema


def check_names(
    user: str, item: str, rating: str | None, who: str, *, timestamp: str | None = None, title: str | None = None
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
            raise BadTypeError(who, f"{role} must be a column name, got {name!r}", "Name a column")
    # titles may be in a table of their own, whose columns may be called like those here, the items' aside
    roles = {role: name for role, name in named.items() if role != "title" or name == item}
    for role, name in roles.items():
        if same := [other for other in roles if other != role and roles[other] == name]:
            problem = f"{role} and {same[0]} are the same column, {name!r}"
            raise BadValueError(who, problem, "Name a column for each")


def check_present(frame: pd.DataFrame, columns: Sequence[str], who: str) -> None:
    """Refuses a frame that lacks columns.

    Raises:
        MissingColumnsError: Some are not there.
    """
    if missing := [name for name in columns if name not in frame.columns]:
        raise MissingColumnsError(who, missing, frame.columns, f"Columns are {listed([*frame.columns])}")


def check_part(parts: Mapping[PartName, Part], part: str, who: str) -> None:
    """Refuses a part that there is not.

    Raises:
        BadValueError: It is not there.
    """
    if part not in parts:
        remedy = "Pass split= a share such as 0.2" if part == "val" else "Name another part, or pass test= a table"
        raise BadValueError(who, f"there is no {part} part, only {', '.join(parts)}", remedy)


def check_several(frame: pd.DataFrame, user: str, item: str, who: str) -> None:
    """Refuses rows of one user only, or of one item only.

    Raises:
        BadValueError: There is one.
    """
    for role, name in (("user", user), ("item", item)):
        if frame[name].nunique() < 2:
            problem = f"there must be at least two {role}s, got one, {frame[name].tolist()[0]!r}, in column {name!r}"
            raise BadValueError(who, problem, "Taste is found by comparison; pass more data or name another column")


def check_settings(rating: str | None, task: object, y_range: object, negatives: object, who: str) -> None:
    """Refuses a number of negatives that is none, and settings that say nothing without a rating.

    Raises:
        BadTypeError: `negatives` is no whole number.
        BadValueError: `negatives` below 1, or a task or range without a rating.
    """
    if isinstance(negatives, bool) or not isinstance(negatives, int):
        raise BadTypeError(who, f"negatives must be a whole number, got {negatives!r}", "Pass one such as 4")
    if negatives < 1:
        raise BadValueError(who, f"negatives must be at least 1, got {negatives}", "Pass a number such as 4")
    if rating is None and (task is not None or y_range is not None):
        problem = "without a rating each row means yes, so there is neither a task nor a y_range"
        raise BadValueError(who, problem, "Name the column of ratings, or leave both out")


def check_schema(schema: Schema, user: str, item: str, rating: str | None, who: str) -> None:
    """Refuses a schema that was fitted to other columns.

    Raises:
        BadValueError: It was.
    """
    wanted = (user, item, *(IMPLICIT_TARGET.columns if rating is None else (rating,)))
    held = (*(column.source for column in schema.categorical), *schema.target.columns)
    if wanted != held:
        problem = f"the schema is of {list(held)}, not of {list(wanted)}"
        raise BadValueError(who, problem, "Name the columns it was fitted to, or leave schema out to fit a new one")
