"""The errors tabvision raises: one sentence that says who expected what, what came, and what to do.

Every error derives from `TabvisionError` and from the built-in that Python users expect (`ValueError` for a wrong value,
`TypeError` for a wrong kind, `FileNotFoundError` for a wrong place), so either can be caught.
"""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Iterable, Sequence

MAX_LISTED = 8  # names listed in one sentence; more do not help a reader


class TabvisionError(Exception):
    """Base of every error that tabvision raises on bad input.

    Args:
        who: The class, function or command that speaks.
        problem: What was expected and what came, without a final full stop.
        remedy: What the reader can do now, without a final full stop; a question keeps its mark.

    Example:
        >>> str(BadValueError("OneCycle", "pct_start must lie in (0, 1), got 2", "Pass a share such as 0.25"))
        'OneCycle: pct_start must lie in (0, 1), got 2. Pass a share such as 0.25.'
    """

    def __init__(self, who: str, problem: str, remedy: str) -> None:
        super().__init__(who, problem, remedy)  # kept as args, so that the error pickles between processes

    def __str__(self) -> str:
        who, problem, remedy = self.args
        return f"{who}: {problem}. {remedy}{'' if remedy.endswith('?') else '.'}"


class BadValueError(TabvisionError, ValueError):
    """A value outside what is allowed."""


class BadTypeError(TabvisionError, TypeError):
    """A value of the wrong kind."""


class MissingFileError(TabvisionError, FileNotFoundError):
    """A file or folder that is not there."""

    # OSError takes three arguments for errno, message and file name; ours are the parts of the sentence.

    def __init__(self, who: str, problem: str, remedy: str) -> None:
        super().__init__(who, problem, remedy)
        self.args = (who, problem, remedy)

    def __reduce__(self) -> tuple[type[MissingFileError], tuple[str, ...]]:
        """Pickles by the same three arguments."""
        return type(self), self.args

    __str__ = TabvisionError.__str__


class UnknownNameError(TabvisionError, ValueError):
    """A name that is not among the choices; the close ones are listed first.

    Args:
        who: The class, function or command that speaks.
        what: What the name should have named, such as "optimizer".
        name: The name that came.
        choices: The names that exist.

    Example:
        >>> print(UnknownNameError("TabularModule", "optimizer", "adamm", ["sgd", "adam"]))
        TabularModule: no optimizer named 'adamm'. Choices: adam, sgd.
    """

    def __init__(self, who: str, what: str, name: object, choices: Iterable[str]) -> None:
        super(TabvisionError, self).__init__(who, what, name, tuple(choices))

    def __str__(self) -> str:
        who, what, name, choices = self.args
        return f"{who}: no {what} named {name!r}. Choices: {listed(closest_first(str(name), choices))}."


class MissingColumnsError(TabvisionError, ValueError):
    """Columns that a frame should have and lacks, each with the close name that it does have.

    Args:
        who: The class, function or command that speaks.
        missing: The columns that are not there.
        present: The columns that are.
        remedy: What the reader can do now, without a final full stop.

    Example:
        >>> print(MissingColumnsError("Predictor", ["age"], ["Age", "sex"], "Pass a frame with the training columns"))
        Predictor: the frame lacks 1 column: 'age' (did you mean 'Age'?). Pass a frame with the training columns.
    """

    def __init__(self, who: str, missing: Sequence[str], present: Iterable[object], remedy: str) -> None:
        super(TabvisionError, self).__init__(who, tuple(missing), tuple(map(str, present)), remedy)

    def __str__(self) -> str:
        who, missing, present, remedy = self.args
        hints = list(map(repr, missing))
        for place, name in enumerate(missing[:MAX_LISTED]):  # looking for close names takes long in a wide table
            if close := closest(name, present):
                hints[place] += f" (did you mean {close!r}?)"
        return f"{who}: the frame lacks {count(len(missing), 'column')}: {listed(hints)}. {remedy}."


def closest(name: str, choices: Iterable[str]) -> str | None:
    """The choice most like `name`, letter case aside, or None where none is close."""
    by_lower = {choice.lower(): choice for choice in choices}
    matches = difflib.get_close_matches(name.lower(), by_lower, n=1)
    return by_lower[matches[0]] if matches else None


def closest_first(name: str, choices: Iterable[str]) -> list[str]:
    """All choices, those most like `name` first, the rest sorted."""
    rest = sorted(choices)
    close = difflib.get_close_matches(name, rest, n=MAX_LISTED)
    return close + [choice for choice in rest if choice not in close]


def asking(option: str, column: str) -> str:
    """How to name a column in an option, in Python and on the command line.

    Example:
        >>> asking("ignore", "age")
        "ignore=['age'] (--ignore age)"
    """
    words = shlex.quote(column if "," not in column else f'"{column}"')
    return f"{option}=[{column!r}] (--{option} {words})"


def listed(items: Sequence[object]) -> str:
    """Items joined by commas, cut after `MAX_LISTED` with a count of the rest.

    Example:
        >>> listed(range(10))
        '0, 1, 2, 3, 4, 5, 6, 7 and 2 more'
    """
    shown = ", ".join(str(item) for item in items[:MAX_LISTED])
    return f"{shown} and {len(items) - MAX_LISTED} more" if len(items) > MAX_LISTED else shown


def count(number: int, noun: str) -> str:
    """A number with its noun, in the plural where it should be.

    Example:
        >>> count(1, "row"), count(2_000, "row")
        ('1 row', '2,000 rows')
    """
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
