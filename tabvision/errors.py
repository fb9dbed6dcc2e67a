"""The errors of tabvision: each message names the speaker, what was expected, what came, and what to do.

Every error derives from `TabvisionError` and from the built-in that Python users expect (`ValueError` for a wrong value,
`TypeError` for a wrong type, `FileNotFoundError` for a wrong path), so either can be caught. The code that raises one gives
the problem and the remedy; `speaking` sets the speaker once, at the public entry.
"""

from __future__ import annotations

import difflib
import errno
import functools
import inspect
import itertools
import os
import re
import shlex
import warnings
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Any, TypeVar, cast

Function = TypeVar("Function", bound=Callable[..., Any])

MAX_LISTED = 8  # the most names that one sentence lists
_MAX_COMPARED = 10_000  # the most names to search for a similar one
_LONGEST_WORD, _LONGEST_SENTENCE = 240, 1_500  # in characters


class TabvisionError(Exception):
    """Base of every error that tabvision raises on bad input.

    Args:
        parts: The problem (what was expected and what came) and the remedy (what the reader can do), both without a final
            period; a question keeps its mark. A speaker may come before these two, and overrides `speaking`.

    Example:
        >>> with speaking("OneCycle"):
        ...     raise BadValueError("pct_start must lie in (0, 1), got 2", "Pass a fraction such as 0.25")
        Traceback (most recent call last):
        tabvision.errors.BadValueError: OneCycle: pct_start must lie in (0, 1), got 2. Pass a fraction such as 0.25.
    """

    _num_parts = 2

    def __init__(self, *parts: Any) -> None:  # noqa: ANN401 - each error documents its own
        self.speaker: str | None = None  # set by the outermost `speaking`
        self.has_own_speaker = len(parts) > self._num_parts
        if self.has_own_speaker:
            self.speaker, *parts = parts  # type: ignore[assignment]
        super().__init__(*parts)
        self.args = tuple(parts)  # OSError would read them as errno and message

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the error with its speaker."""
        return type(self), self.args, {"speaker": self.speaker, "has_own_speaker": self.has_own_speaker}

    def __str__(self) -> str:
        return shown(f"{self.speaker}: {self._sentence()}" if self.speaker else self._sentence())

    def _sentence(self) -> str:
        problem, remedy = self.args
        return f"{problem}. {remedy}{'' if remedy.endswith('?') else '.'}"


class BadValueError(TabvisionError, ValueError):
    """A value that is not allowed."""


class NoFeatureError(BadValueError):
    """A table has no column to learn from."""


class BadTypeError(TabvisionError, TypeError):
    """A value of the wrong type."""


class MissingFileError(TabvisionError, FileNotFoundError):
    """A file or folder that does not exist."""


class MissingPackageError(TabvisionError, ImportError):
    """A package that is not installed."""


class UnwritableFileError(TabvisionError, OSError):
    """A file that cannot be written: the disk is full or read-only, or the folder belongs to somebody else.

    Args:
        parts: The file, or None if it is not known; the system's error.

    Example:
        >>> print(UnwritableFileError("best.ckpt", OSError(28, "No space left on device")))
        'best.ckpt' could not be written (No space left on device). Free space on the disk, or choose another folder.
    """

    def __init__(self, *parts: Any) -> None:  # noqa: ANN401
        super().__init__(*parts)
        self.errno = getattr(self.args[-1], "errno", None)

    def _sentence(self) -> str:
        path, error = self.args
        reason = os.strerror(self.errno) if self.errno else str(error).split("\n")[0]
        name = "a file, or what a command prints," if path is None else repr(str(path))
        return f"{name} could not be written ({reason}). Free space on the disk, or choose another folder."


class UnknownNameError(TabvisionError, ValueError):
    """A name that is not among the choices; the close ones are listed first.

    Args:
        parts: The noun, such as "optimizer"; the unknown name; the known names.

    Example:
        >>> print(UnknownNameError("optimizer", "adamm", ["sgd", "adam"]))
        no optimizer named 'adamm'. Choices: adam, sgd.
    """

    _num_parts = 3

    def __init__(self, *parts: Any) -> None:  # noqa: ANN401
        *others, choices = parts
        super().__init__(*others, tuple(choices))

    def _sentence(self) -> str:
        what, name, choices = self.args
        return f"no {what} named {name!r}. Choices: {listed(closest_first(str(name), choices))}."


class MissingColumnsError(TabvisionError, ValueError):
    """Columns that a frame lacks, each with a similar name that it has.

    Args:
        parts: The missing columns; the columns of the frame; what the reader can do, without a final period.

    Example:
        >>> print(MissingColumnsError(["age"], ["Age", "sex"], "Pass a frame with the training columns"))
        the frame lacks 1 column: 'age' (did you mean 'Age'?). Pass a frame with the training columns.
    """

    _num_parts = 3

    def __init__(self, *parts: Any) -> None:  # noqa: ANN401
        *others, missing, present, remedy = parts
        super().__init__(*others, tuple(missing), tuple(map(str, present)), remedy)

    def _sentence(self) -> str:
        missing, present, remedy = self.args
        hints = list(map(repr, missing))
        for index, name in enumerate(missing[:MAX_LISTED]):  # searching a wide table for similar names is slow
            if close := closest(name, present):
                hints[index] += f" (did you mean {close!r}?)"
        return f"the frame lacks {count(len(missing), 'column')}: {listed(hints)}. {remedy}."


class speaking:  # noqa: N801 - read as a verb, like contextlib's
    """Set the speaker of errors raised inside a `with` block or a decorated function; the outermost name wins.

    An error gets its speaker on the way out, so it may come from another thread if it is raised again inside the block. An
    error that was raised with a speaker keeps it.

    Args:
        name: The public class, function or command; "" in a decorated method means the name of the object's class.
        keep: Whether the name overrides those of outer blocks, as for a part of the input ("CollabDataModule, titles").

    Example:
        >>> @speaking("lr_find")
        ... def lr_find(num_steps):
        ...     with speaking("sweep"):
        ...         raise BadValueError(f"num_steps must be at least 10, got {num_steps}", "Pass more")
        >>> lr_find(3)
        Traceback (most recent call last):
        tabvision.errors.BadValueError: lr_find: num_steps must be at least 10, got 3. Pass more.
    """

    def __init__(self, name: str = "", *, keep: bool = False) -> None:
        self.name, self.keep = name, keep

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, TabvisionError):
            self._name(error, self.name)

    def __call__(self, function: Function) -> Function:
        """Wrap a function to set the speaker of its errors."""

        @functools.wraps(function)
        def spoken(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - those of the function
            try:
                return function(*args, **kwargs)
            except TabvisionError as error:
                self._name(error, self.name or type(args[0]).__name__)
                raise
            except OSError as error:
                if error.errno != errno.ENAMETOOLONG:
                    raise
                raise too_long(error, self.name or type(args[0]).__name__) from error

        if function.__name__ == "__init__":  # Lightning reads its signature without looking at what is wrapped
            spoken.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]  # Python's own name
        return cast("Function", spoken)

    def _name(self, error: TabvisionError, name: str) -> None:
        if not error.has_own_speaker:
            error.speaker, error.has_own_speaker = name, self.keep


def too_long(error: OSError, speaker: str) -> BadValueError:
    """Return our error for the system's error that a file name is too long."""
    found = BadValueError(f"the name {error.filename!r} is too long for a file", "Check the path")
    found.speaker = speaker
    return found


def shown(text: str) -> str:
    r"""Return text for one line of a terminal or log: control characters are escaped, and long text is cut in the middle.

    Example:
        >>> print(shown("no column \x1b[2J"), len(shown("a" * 10_000)))
        no column \x1b[2J 191
    """
    if not text.isprintable():
        text = "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
    text = re.sub(rf"\S{{{_LONGEST_WORD},}}", lambda word: f"{word[0][:150]}…{word[0][-40:]}", text)
    return text if len(text) <= _LONGEST_SENTENCE else f"{text[:1_000]}…{text[-400:]}"


def cut(text: str, most: int) -> str:
    """Return a text of at most that many characters; if it was cut, the last one is an ellipsis.

    Example:
        >>> cut("handwritten", 5), cut("hand", 5)
        ('hand…', 'hand')
    """
    return text if len(text) <= most else text[: most - 1] + "…"


def accepting_who(function: Function) -> Function:
    """Accept `who`, a parameter of the function until 0.2, with a DeprecationWarning.

    Example:
        >>> import warnings
        >>> with warnings.catch_warnings(record=True, action="always") as caught:
        ...     accepting_who(len)([1], who="here"), len(caught)
        (1, 1)
    """

    @functools.wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - those of the function
        if "who" not in kwargs:
            return function(*args, **kwargs)
        message = (
            f"{function.__name__}: `who` will be removed in 0.3. Wrap the call: with tabvision.errors.speaking(name):"
        )
        warnings.warn(message, DeprecationWarning, stacklevel=2)
        with speaking(kwargs.pop("who")):
            return function(*args, **kwargs)

    return cast("Function", called)


def closest(name: str, choices: Iterable[str]) -> str | None:
    """Return the choice most similar to `name`, ignoring case, or None if none is similar."""
    by_lower = {choice.lower(): choice for choice in itertools.islice(choices, _MAX_COMPARED)}
    matches = difflib.get_close_matches(name.lower(), by_lower, n=1)
    return by_lower[matches[0]] if matches else None


def closest_first(name: str, choices: Iterable[str]) -> list[str]:
    """Return all choices, those most similar to `name` first, the rest sorted."""
    rest = sorted(choices)
    close = difflib.get_close_matches(name, rest, n=MAX_LISTED)
    return close + [choice for choice in rest if choice not in close]


def asking(option: str, *columns: str) -> str:
    """Return how to pass columns to an option, in Python and on the command line.

    Example:
        >>> print(asking("ignore", "age"), asking("ignore", "a", "b, c"), sep="; ")
        ignore=['age'] (--ignore age); ignore=['a', 'b, c'] (--ignore 'a,"b, c"')
    """
    words = ",".join(column if "," not in column else f'"{column}"' for column in columns)
    return f"{option}={list(columns)!r} (--{option} {shlex.quote(words)})"


def listed(items: Sequence[object]) -> str:
    """Join items with commas; beyond `MAX_LISTED`, say only how many more there are.

    Example:
        >>> listed(range(10))
        '0, 1, 2, 3, 4, 5, 6, 7 and 2 more'
    """
    shown = ", ".join(str(item) for item in items[:MAX_LISTED])
    return f"{shown} and {len(items) - MAX_LISTED} more" if len(items) > MAX_LISTED else shown


def count(number: int, noun: str) -> str:
    """Return a number with its noun, in the plural unless the number is 1.

    Example:
        >>> count(1, "row"), count(2_000, "row")
        ('1 row', '2,000 rows')
    """
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
