"""Types of command-line values, and arguments that several commands share."""

from __future__ import annotations

import argparse
import csv
import math
import re
from contextlib import suppress
from typing import Any, TypeAlias

Commands: TypeAlias = "argparse._SubParsersAction[Any]"  # noqa: SLF001 - what `add_subparsers` returns
_SHARED: dict[str, dict[str, Any]] = {
    "checkpoint": {"metavar": "CKPT", "help": "a .ckpt file, such as best.ckpt"},
    "--device": {"default": "auto", "help": "cpu, cuda, mps or auto (default)"},
    "--overwrite": {"action": "store_true", "help": "replace FILE if it is there"},
}


def add_shared(parser: argparse.ArgumentParser, *names: str) -> None:
    """Add arguments that several commands take alike, such as "checkpoint" and "--device"."""
    for name in names:
        parser.add_argument(name, **_SHARED[name])


def names(text: str) -> list[str]:
    """Return column names separated by commas; a name that holds a comma or begins with a space is in double quotes.

    Example:
        >>> names("age, job"), names('"last, first",age')
        (['age', 'job'], ['last, first', 'age'])
    """
    try:
        return [name for record in csv.reader([text], skipinitialspace=True) for name in record if name.strip()]
    except csv.Error as error:
        problem = f"must be column names such as a,b, got {text!r} ({error})"
        raise argparse.ArgumentTypeError(problem) from error


def whole(text: str, least: int = 1, most: int | None = None) -> int:
    """Return a whole number of at least 1, or within other bounds.

    Example:
        >>> whole("1_000")
        1000
    """
    bounds = f"from {least}" + (f" to {most}" if most is not None else "")
    try:
        number = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a whole number {bounds}, got {text!r}") from None
    if number < least or (most is not None and number > most):
        raise argparse.ArgumentTypeError(f"must be a whole number {bounds}, got {text!r}")
    return number


def seed(text: str) -> int:
    """Return a whole number from 0 to 2**32 - 1, the range of numpy's seeds.

    Example:
        >>> seed("0")
        0
    """
    return whole(text, 0, 2**32 - 1)


def fraction(text: str) -> float:
    """Return a fraction between 0 and 1, both excluded.

    Example:
        >>> fraction("0.2")
        0.2
    """
    try:
        number = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a fraction in (0, 1), got {text!r}") from None
    if not 0 < number < 1:
        raise argparse.ArgumentTypeError(f"must be a fraction in (0, 1), got {text!r}")
    return number


def positive(text: str) -> float:
    """Return a finite number above 0.

    Example:
        >>> positive("0.4")
        0.4
    """
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number above 0, got {text!r}")
    return number


def size(text: str) -> int | tuple[int, int]:
    """Return the size of an image in pixels: one number for both sides, or height x width.

    Example:
        >>> size("224"), size("192x256")
        (224, (192, 256))
    """
    try:
        sides = [int(part) for part in text.lower().split("x")]
    except ValueError:
        sides = []
    if len(sides) not in (1, 2) or min(sides) < 1:
        raise argparse.ArgumentTypeError(f"must be pixels such as 224 or 192x256, got {text!r}")
    return sides[0] if len(sides) == 1 else (sides[0], sides[1])


def file_or_fraction(text: str) -> str | float:
    """Return a fraction between 0 and 1, or the path of a file or folder.

    Example:
        >>> file_or_fraction("0.1"), file_or_fraction("test.csv")
        (0.1, 'test.csv')
    """
    try:
        float(text)
    except ValueError:
        return text
    return fraction(text)


def way_to_split(text: str) -> str:
    """Return the name of a split, with a column after a colon where it needs one.

    Example:
        >>> way_to_split("group:patient")
        'group:patient'
    """
    way, colon, column = text.partition(":")
    if way not in ("random", "stratified", "time", "group", "column", "last") or (colon and not column):
        known = "random, stratified, time:COL, group:COL, column:COL or last"
        raise argparse.ArgumentTypeError(f"must be {known}, got {text!r}")
    if colon and way in ("random", "stratified"):
        raise argparse.ArgumentTypeError(f"{way} takes no column, got {text!r}")
    return text


TASKS = ("binary", "multiclass", "multilabel", "regression", "points")


def task(text: str) -> str:
    """Return the name of a task, with its settings after commas.

    Example:
        >>> task("regression,error=huber")
        'regression,error=huber'
    """
    name, *settings = text.split(",")
    if name not in TASKS:
        raise argparse.ArgumentTypeError(f"must be {', '.join(TASKS[:-1])} or {TASKS[-1]}, got {name!r}")
    if wrong := [it for it in settings if not re.fullmatch(r"\w+=.+", it)]:
        raise argparse.ArgumentTypeError(f"settings follow as NAME=VALUE, got {wrong[0]!r}")
    return text


def name_and_settings(text: str) -> tuple[str, dict[str, Any]]:
    """Return the name of a task and its settings: numbers, "low:high" as a pair, "none" as None, else text.

    Example:
        >>> name_and_settings("regression,error=huber,y_range=0:5,margin=none")
        ('regression', {'error': 'huber', 'y_range': (0, 5), 'margin': None})
    """
    name, *settings = text.split(",")
    pairs = (setting.split("=", 1) for setting in settings)
    return name, {key: _value(value) for key, value in pairs}


def _value(text: str) -> Any:  # noqa: ANN401 - as a setting takes it
    if ":" in text:
        return tuple(_value(part) for part in text.split(":"))
    for kind in (int, float):
        with suppress(ValueError):
            return kind(text)
    return None if text == "none" else text


def weights(text: str) -> str | tuple[float, ...]:
    """Return "balanced", or one number for each class.

    Example:
        >>> weights("1,2.5")
        (1.0, 2.5)
    """
    try:
        return text if text == "balanced" else tuple(float(part) for part in text.split(","))
    except ValueError:
        problem = f"must be balanced, or numbers such as 1,5, got {text!r}"
        raise argparse.ArgumentTypeError(problem) from None


def duration(text: str) -> str:
    """Return a time as a Trainer's `max_time` takes it: days, hours, minutes and seconds.

    Example:
        >>> duration("90s"), duration("1.5h"), duration("00:02:00:00")
        ('00:00:01:30', '00:01:30:00', '00:02:00:00')
    """
    if re.fullmatch(r"\d+:\d\d:\d\d:\d\d", text):
        return text
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text)
    seconds = round(float(found[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86_400}[found[2]]) if found else 0
    if seconds < 1:
        raise argparse.ArgumentTypeError(f"must be a time such as 90s, 30m or 2h, got {text!r}")
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return f"{days:02}:{hours:02}:{minutes:02}:{seconds:02}"
