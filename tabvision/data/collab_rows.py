"""Rows of ratings as they come: ids made whole numbers, gaps and repeated pairs found, each said in a sentence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tabvision.errors import BadTypeError, BadValueError, UnknownNameError, count

Duplicates = Literal["error", "last", "keep"]
Missing = Literal["error", "drop"]


def with_whole_ids(frame: pd.DataFrame, columns: Sequence[str], who: str) -> tuple[pd.DataFrame, list[str]]:
    """The frame with ids that came as floats turned into whole numbers, and a sentence for each such column.

    Joining tables turns whole numbers into floats where a row finds no partner.

    Raises:
        BadTypeError: Floats with a fraction, which are a quantity, or cells that hold lists.

    Example:
        >>> frame, notes = with_whole_ids(pd.DataFrame({"user": [1.0, 2.0]}), ["user"], "here")
        >>> frame["user"].tolist(), notes
        ([1, 2], ["Column 'user' holds floats that are all whole: taken as whole numbers."])
    """
    new, notes = {}, []
    for name in columns:
        values = frame[name]
        if not pd.api.types.is_float_dtype(values):
            continue
        present = values.dropna()
        fractions = present[~np.isfinite(present) | (present % 1 != 0)]
        if len(fractions):
            problem = f"column {name!r} must hold ids, got the number {fractions.iloc[0]:g}"
            raise BadTypeError(who, problem, "Name the column with the ids; a quantity is no id")
        if len(present):
            new[name] = values.astype("Int64") if values.isna().any() else values.astype(np.int64)
            notes.append(f"Column {name!r} holds floats that are all whole: taken as whole numbers.")
    return (frame.assign(**new) if new else frame), notes


def complete_rows(
    frame: pd.DataFrame, columns: Sequence[str], missing: Missing, who: str
) -> tuple[NDArray[np.int64], list[str]]:
    """The rows in which no column has a gap, as row numbers, and a sentence about those left out.

    Raises:
        UnknownNameError: `missing` is neither "error" nor "drop".
        BadValueError: There are gaps and they are not to be dropped, or nothing is left.

    Example:
        >>> complete_rows(pd.DataFrame({"user": ["a", None]}), ["user"], "drop", "here")
        (array([0]), ["1 row without 'user' left out."])
    """
    if missing not in ("error", "drop"):
        raise UnknownNameError(who, "way with gaps", missing, ["error", "drop"])
    gaps = frame[list(columns)].isna()
    rows = gaps.any(axis=1).to_numpy(dtype=bool)
    if not rows.any():
        return np.arange(len(frame), dtype=np.int64), []
    lacking = " or ".join(repr(name) for name in columns if gaps[name].any())
    if missing == "error":
        problem = f"{count(int(rows.sum()), 'row')} of {len(frame):,} without {lacking}, first row {int(rows.argmax())}"
        raise BadValueError(who, problem, f'Leave them out: missing="drop", or frame.dropna(subset={list(columns)!r})')
    if rows.all():
        raise BadValueError(who, f"every row is without {lacking}", "Name other columns")
    return np.flatnonzero(~rows).astype(np.int64), [f"{count(int(rows.sum()), 'row')} without {lacking} left out."]


def without_duplicates(
    frame: pd.DataFrame, rows: NDArray[np.int64], pair: Sequence[str], duplicates: Duplicates, who: str
) -> tuple[NDArray[np.int64], list[str]]:
    """Row numbers without those of a pair that comes again further down, and a sentence about what was done.

    Args:
        frame: The table.
        rows: Row numbers to look at, in the order in which a later one wins.
        pair: The columns of user and item.
        duplicates: "error" to refuse them, "last" to take the last row of a pair, "keep" to take all.
        who: Who speaks in an error.

    Raises:
        UnknownNameError: `duplicates` is none of these.
        BadValueError: A pair comes again, and is to be refused.

    Example:
        >>> frame = pd.DataFrame({"user": [1, 1, 1], "item": [7, 8, 7]})
        >>> without_duplicates(frame, np.arange(3), ["user", "item"], "last", "here")[0].tolist()
        [1, 2]
    """
    if duplicates not in ("error", "last", "keep"):
        raise UnknownNameError(who, "way with duplicates", duplicates, ["error", "last", "keep"])
    if duplicates == "keep":
        return rows, []
    again = frame[list(pair)].iloc[rows].duplicated(keep="last").to_numpy(dtype=bool)
    if not again.any():
        return rows, []
    if duplicates == "error":
        first = ", ".join(repr(frame[name].iloc[rows[[again.argmax()]]].tolist()[0]) for name in pair)
        problem = f"{count(int(again.sum()), 'row')} repeat a pair of {pair[0]!r} and {pair[1]!r}, such as ({first})"
        problem = problem.replace("1 row repeat", "1 row repeats")
        remedy = 'Keep the last of each, duplicates="last", or all, "keep", or average them: '
        raise BadValueError(who, problem, remedy + f"frame.groupby({list(pair)!r}, as_index=False).mean()")
    return rows[~again], [f"{count(int(again.sum()), 'row')} left out for a later one of the same user and item."]
