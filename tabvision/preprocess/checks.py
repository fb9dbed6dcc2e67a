"""Checks of a raw frame where it enters, each with its sentence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from tabvision.errors import BadTypeError, BadValueError, MissingColumnsError, count, listed

if TYPE_CHECKING:
    from collections.abc import Iterable

PASS_TRAINING_COLUMNS = "Pass a frame with the training columns"


def check_frame(frame: object) -> None:
    """Refuses what is not a pandas frame, and names that are not text or come twice.

    Raises:
        BadTypeError: Not a pandas DataFrame, or column names that are not text.
        BadValueError: Two columns of one name.
    """
    check_is_frame(frame)
    names = list(frame.columns)  # type: ignore[attr-defined]  # a DataFrame, checked just before
    _check_text(names)
    check_unique(names, names)


def check_is_frame(frame: object) -> None:
    """Refuses what is not a pandas frame.

    Raises:
        BadTypeError: It is not.
    """
    if not isinstance(frame, pd.DataFrame):
        remedy = "Convert it first, such as pd.DataFrame(data) or data.to_pandas()"
        raise BadTypeError(f"the table must be a pandas DataFrame, got {type(frame).__name__}", remedy)


def check_has(frame: pd.DataFrame, wanted: Sequence[str], remedy: str = PASS_TRAINING_COLUMNS) -> None:
    """Refuses a frame that lacks a wanted column or has it twice; other columns are not looked at.

    Raises:
        BadTypeError: Not a pandas DataFrame, or column names that are not text.
        BadValueError: A wanted column comes twice.
        MissingColumnsError: Wanted columns are not there.
    """
    check_is_frame(frame)
    names = list(frame.columns)
    present = set(names)
    if missing := [name for name in wanted if name not in present]:
        _check_text(names)
        raise MissingColumnsError(missing, names, remedy)
    check_unique(names, wanted)


def check_unique(names: Sequence[object], wanted: Iterable[object]) -> None:
    """Refuses wanted names that come more than once.

    Raises:
        BadValueError: Some do.
    """
    if len(set(names)) == len(names):
        return
    times, wanted = Counter(names), set(wanted)
    twice = [f"{name!r} ({number} times)" for name, number in times.items() if number > 1 and name in wanted]
    if twice:
        remedy = "Rename them, or keep the first of each: frame.loc[:, ~frame.columns.duplicated()]"
        raise BadValueError(f"column names must be unique, got {listed(twice)}", remedy)


def check_rows(frame: pd.DataFrame) -> None:
    """Refuses a frame without rows.

    Raises:
        BadValueError: It has none.
    """
    if not len(frame):
        problem = f"fitting needs at least one row, got 0 rows of {count(frame.shape[1], 'column')}"
        raise BadValueError(problem, "Check the file, or the filter that left nothing")


def _check_text(names: Sequence[object]) -> None:
    if odd := [name for name in names if not isinstance(name, str)]:
        shown = listed([f"{name!r} ({type(name).__name__})" for name in odd])
        raise BadTypeError(f"column names must be text, got {shown}", "Rename them: frame.rename(columns=str)")


def free_name(wanted: str, taken: Iterable[str]) -> str:
    """A name for a derived column: the wanted one, or with `_2`, `_3`, … where a column has it already.

    Example:
        >>> free_name("age_missing", ["age", "age_missing"])
        'age_missing_2'
    """
    taken = set(taken)
    names = [wanted] if wanted not in taken else (f"{wanted}_{number}" for number in range(2, len(taken) + 3))
    return next(name for name in names if name not in taken)
