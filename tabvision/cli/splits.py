"""The rows that `tabvision train` holds out: `--validation`, `--test` and `--split`, as in a recipe."""

from __future__ import annotations

import argparse
from typing import Any

from tabvision.cli.jobs import component
from tabvision.cli.options import DEFAULT_VALIDATION, NO_ROWS
from tabvision.errors import BadValueError, speaking


@speaking("tabvision train")
def split_setting(arguments: argparse.Namespace, default: Any) -> Any:  # noqa: ANN401 - as a datamodule takes it
    """Return the split as in a recipe; `default` is used if no option sets the validation rows.

    Raises:
        BadValueError: The column is missing, or the options contradict each other.
    """
    test = arguments.test if isinstance(arguments.test, float) else None
    given = arguments.validation
    if isinstance(given, str) and given != NO_ROWS:
        if arguments.split is not None and test is None:
            problem = (
                f"--validation {given} says which rows are held out, so --split {arguments.split} has nothing to do"
            )
            raise BadValueError(problem, "Leave one of the two out, or add --test with a fraction")
        drawn = test if arguments.split is None else _named_split(arguments, test)
        return component("tabvision.data.SourceSplit", validation=given, **({"test": drawn} if drawn else {}))
    if arguments.split is None:
        share = default if given is None else None if given == NO_ROWS else given
        return share if test is None else (share, test)
    return _named_split(arguments, test)


def _named_split(arguments: argparse.Namespace, test: float | None) -> dict[str, Any]:
    """Return the split that `--split` names."""
    given = arguments.validation
    way, _, column = arguments.split.partition(":")
    column = column or (arguments.timestamp or "" if way in ("time", "last") else "")
    day_first = {"day_first": True} if arguments.day_first and column else {}
    if way in ("time", "group", "column") and not column:
        remedy = "--timestamp COL" if arguments.user else f"--split {way}:COL"
        remedy += ", or --split last if the rows are in order of time" if way == "time" else ""
        raise BadValueError(f"--split {way} needs a column", f"Pass {remedy}")
    if way == "column" or (way == "last" and arguments.user):
        for name, value in {"--test": test, "--validation": given}.items():
            if value is not None:
                problem = f"--split {arguments.split} says which rows are held out, so there is no {name} {value}"
                remedy = "Leave one of the two out" + (
                    ", or pass a file with the test rows" if name == "--test" else ""
                )
                raise BadValueError(problem, remedy)
        user = {"user": arguments.user, "timestamp": column or None, **day_first}
        class_name, settings = ("ColumnSplit", {"column": column}) if way == "column" else ("LeaveLastOut", user)
        return component(f"tabvision.data.{class_name}", **settings)
    if given == NO_ROWS and test is None:
        problem = f"--validation none holds nothing out, so --split {arguments.split} has nothing to do"
        raise BadValueError(problem, "Leave one of the two out, or add --test with a fraction")
    fractions = {"share": 0 if isinstance(given, str) else given or DEFAULT_VALIDATION}
    fractions |= {"test_share": test} if test else {}
    if way in ("time", "last"):
        fractions |= {"column": column or None, **day_first}
    named = {"column": column} if way == "group" else {}
    name = {"last": "Time"}.get(way, way.capitalize())
    return component(f"tabvision.data.{name}Split", **named, **fractions)


_WAYS = {  # the rows that each class of split holds out, in words; {} is its column
    "TimeSplit": "the latest by {}",
    "GroupSplit": "drawn at random, each {} kept whole",
    "ColumnSplit": "named by column {}",
    "SourceSplit": "from a separate source",
    "LeaveLastOut": "the last row of each user",
    "time": "the latest",
    "last": "the last row of each user",
}


def how_held_out(split: object) -> str:
    """Return, as part of a sentence, how a recipe's split chose the held-out rows.

    Example:
        >>> how_held_out({"class_path": "tabvision.data.TimeSplit", "init_args": {"column": "when"}})
        "the latest by 'when'"
        >>> how_held_out({"class_path": "tabvision.data.TimeSplit", "init_args": {"column": None}}), how_held_out(0.2)
        ('the last rows of the table', 'drawn at random')
    """
    name, column = str(split), None
    if isinstance(split, dict):
        name, column = split["class_path"].rpartition(".")[2], split["init_args"].get("column")
    if name == "TimeSplit" and column is None:
        return "the last rows of the table"
    return _WAYS.get(name, "drawn at random").format(repr(column))


@speaking("tabvision train")
def ratings_split_setting(arguments: argparse.Namespace) -> Any:  # noqa: ANN401 - as a datamodule takes it
    """Return the split of ratings, as a plain name where that is enough.

    Raises:
        BadValueError: The split has no timestamp column, or contradicts another option.
    """
    if arguments.split in ("time", "last"):
        if arguments.timestamp is None:
            problem = f"--split {arguments.split} needs to know when each row was rated"
            raise BadValueError(problem, "Add --timestamp COL")
        if arguments.validation is None and not isinstance(arguments.test, float):
            return arguments.split
    return split_setting(arguments, DEFAULT_VALIDATION)
