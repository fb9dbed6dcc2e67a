"""What each raw column is to a network, told from its dtype and values, with every choice open to the user."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from tabvision.errors import BadTypeError, BadValueError, listed
from tabvision.preprocess.checks import check_frame, check_has, check_rows
from tabvision.preprocess.columns import Column, Levels, Moments, Numbers, Text, read_column
from tabvision.preprocess.convert import all_missing, as_moments, as_numbers
from tabvision.preprocess.looks import (
    MAX_INTEGER_CATEGORIES,
    all_distinct,
    is_constant,
    many_distinct,
    reads_as_dates,
    reads_as_numbers,
)
from tabvision.schema import LeftOut

Kind = Literal["continuous", "categorical", "dates"]


@dataclass(frozen=True)
class Kinds:
    """The raw columns by kind, in the frame's order.

    Args:
        continuous: Numbers.
        categorical: Categories.
        dates: Dates, which will be cut into parts.
        left_out: Columns not used, and why.
        notes: Sentences for the user, on choices that may surprise.
    """

    continuous: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    dates: tuple[str, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Verdict:
    """One column's kind, or why it is left out."""

    kind: Kind | None
    reason: str = ""
    note: str = ""


def infer_kinds(
    frame: pd.DataFrame,
    *,
    target: Sequence[str],
    categorical: Sequence[str] | None = None,
    continuous: Sequence[str] | None = None,
    dates: Sequence[str] | None = None,
    ignore: Sequence[str] = (),
    who: str = "infer_kinds",
) -> Kinds:
    """Tells every column's kind.

    Floats and durations are continuous; text, truth values and pandas categories categorical; integers of at most 20
    distinct values categorical, of more continuous; dates, and text that is an ISO date in every row, dates. Left out:
    identifiers (text or integers without gaps, all distinct), constant columns, columns without a value.

    Args:
        frame: The raw rows.
        target: The columns to predict, which are no features.
        categorical: Columns that are categories, whatever they look like.
        continuous: Columns that are numbers, whatever they look like; text is parsed.
        dates: Columns that are dates, whatever they look like; text is parsed as ISO dates.
        ignore: Columns to leave out.
        who: Whom an error's sentence names.

    Raises:
        MissingColumnsError: A named column is not there.
        BadValueError: A column named twice, the target among the features, or no feature left.
        BadTypeError: Mixed types, or values that no network reads.

    Example:
        >>> import pandas as pd
        >>> frame = pd.DataFrame({"id": ["a", "b", "c"], "age": [1.5, 2.5, 9.5], "sex": ["m", "f", "f"], "pay": 1})
        >>> kinds = infer_kinds(frame, target=["pay"])
        >>> kinds.continuous, kinds.categorical, kinds.left_out[0].name
        (('age',), ('sex',), 'id')
    """
    check_frame(frame, who)
    named = {"categorical": categorical or (), "continuous": continuous or (), "dates": dates or (), "ignore": ignore}
    forced = _forced(frame, target, named, who)
    check_rows(frame, who)
    features = [name for name in frame.columns if name not in set(target)]
    verdicts = {name: _judge(frame, name, forced.get(name), who) for name in features}
    kinds = Kinds(
        continuous=tuple(name for name, verdict in verdicts.items() if verdict.kind == "continuous"),
        categorical=tuple(name for name, verdict in verdicts.items() if verdict.kind == "categorical"),
        dates=tuple(name for name, verdict in verdicts.items() if verdict.kind == "dates"),
        left_out=tuple(LeftOut(name=name, reason=it.reason) for name, it in verdicts.items() if it.kind is None),
        notes=tuple(verdict.note for verdict in verdicts.values() if verdict.note),
    )
    if not (kinds.continuous or kinds.categorical or kinds.dates):
        reasons = listed([f"{column.name!r} ({column.reason})" for column in kinds.left_out]) or "none but the target"
        remedy = "Name columns to use with categorical=, continuous= or dates="
        raise BadValueError(
            who, f"at least one feature is needed, got columns that are all left out: {reasons}", remedy
        )
    return kinds


def _forced(frame: pd.DataFrame, target: Sequence[str], named: dict[str, Sequence[str]], who: str) -> dict[str, str]:
    """What the user asked for each column that was named."""
    forced: dict[str, str] = {}
    for option, names in {"target": target, **named}.items():
        if isinstance(names, str) or not all(isinstance(name, str) for name in names):
            raise BadTypeError(
                who, f"{option} must be a list of column names, got {names!r}", "Pass a list such as ['age']"
            )
        check_has(frame, names, who, remedy=f"Name columns of the frame in {option}")
        for name in names:
            before = forced.get(name, option)
            if before == "target" != option:
                problem = f"{name!r} is the target, and cannot be a feature as well"
                raise BadValueError(who, problem, f"Take it out of {option}; target columns are never features")
            if before != option:
                raise BadValueError(who, f"{name!r} is named in both {before} and {option}", "Name it in one of them")
            forced[name] = option
    return forced


def _judge(frame: pd.DataFrame, name: str, forced: str | None, who: str) -> _Verdict:
    if forced == "ignore":
        return _Verdict(None, "ignored on request")
    column = read_column(frame[name], name, who)
    if forced == "continuous":
        as_numbers(column, name, who)
        return _Verdict("continuous")
    if forced == "dates":
        return _Verdict("dates", note=_zone_note(as_moments(column, name, who), name))
    if forced == "categorical":
        return _Verdict("categorical")
    return _infer(column, name)


def _infer(column: Column, name: str) -> _Verdict:
    if all_missing(column):
        return _Verdict(None, "no value in any row")
    if is_constant(column):
        return _Verdict(None, "constant")
    if isinstance(column, Levels):
        return _Verdict("categorical")
    if isinstance(column, Moments):
        return _Verdict("dates", note=_zone_note(column, name))
    if isinstance(column, Numbers):
        return _infer_number(column)
    return _infer_text(column, name)


def _infer_number(column: Numbers) -> _Verdict:
    if column.kind != "integer":
        return _Verdict("categorical" if column.kind == "boolean" else "continuous")
    if all_distinct(column):
        return _Verdict(None, "identifier: a different whole number in every row")
    return _Verdict("continuous" if many_distinct(column, MAX_INTEGER_CATEGORIES) else "categorical")


def _infer_text(column: Text, name: str) -> _Verdict:
    if reads_as_dates(column):
        return _Verdict(
            "dates", note=f"{name!r} is text that reads as dates. To keep it text, pass categorical=[{name!r}]."
        )
    if all_distinct(column):
        return _Verdict(None, "identifier: a different text in every row")
    note = f"{name!r} is text that reads as numbers, kept as categories. Pass continuous=[{name!r}] to use the numbers."
    return _Verdict("categorical", note=note if reads_as_numbers(column) else "")


def _zone_note(column: Moments, name: str) -> str:
    zone = column.zone
    return f"{name!r} is in the time zone {zone}; its parts are read in UTC." if zone not in ("", "UTC") else ""
