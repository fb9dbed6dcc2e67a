"""Types of command-line values."""

from __future__ import annotations

import argparse
import csv
import math
import re
from contextlib import suppress
from typing import Any, Literal


def names(text: str) -> list[str]:
    """Return column names separated by commas; a name with a comma or a leading space is in double quotes.

    Example:
        >>> names("age, job"), names('"last, first",age')
        (['age', 'job'], ['last, first', 'age'])
    """
    try:
        return [name for record in csv.reader([text], skipinitialspace=True) for name in record if name.strip()]
    except csv.Error as error:
        raise argparse.ArgumentTypeError(f"must be column names such as a,b, got {text!r} ({error})") from error


def whole(text: str, least: int = 1, most: int | None = None) -> int:
    """Return an integer of at least 1, or within other bounds.

    Example:
        >>> whole("1_000")
        1000
    """
    bounds = f"from {least}" + (f" to {most}" if most is not None else "")
    with suppress(ValueError):
        number = int(text)
        if number >= least and (most is None or number <= most):
            return number
    raise argparse.ArgumentTypeError(f"must be a whole number {bounds}, got {text!r}")


def seed(text: str) -> int:
    """Return an integer from 0 to 2**32 - 1, the range of numpy's seeds.

    Example:
        >>> seed("0")
        0
    """
    return whole(text, 0, 2**32 - 1)


def fraction(text: str, end: Literal[")", "]"] = ")") -> float:
    """Return a fraction above 0 and below 1; `end="]"` allows 1 as well.

    Example:
        >>> fraction("0.2")
        0.2
    """
    with suppress(ValueError):
        number = float(text)
        if 0 < number < 1 or (end == "]" and number == 1):
            return number
    raise argparse.ArgumentTypeError(f"must be a fraction in (0, 1{end}, got {text!r}")


def positive(text: str) -> float:
    """Return a finite number above 0.

    Example:
        >>> positive("0.4")
        0.4
    """
    with suppress(ValueError):
        if 0 < (number := float(text)) < math.inf:
            return number
    raise argparse.ArgumentTypeError(f"must be a number above 0, got {text!r}")


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
    """Return the name of a split, with a column after a colon if it needs one.

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


def task(text: str) -> tuple[str, dict[str, Any]]:
    """Return the name of a task and its settings: numbers, "low:high" as a pair, "none" as None, otherwise text.

    Example:
        >>> task("regression,error=huber,y_range=0:5,margin=none")
        ('regression', {'error': 'huber', 'y_range': (0, 5), 'margin': None})
    """
    name, *settings = text.split(",")
    if name not in TASKS:
        raise argparse.ArgumentTypeError(f"must be {', '.join(TASKS[:-1])} or {TASKS[-1]}, got {name!r}")
    if wrong := [it for it in settings if not re.fullmatch(r"\w+=.+", it)]:
        raise argparse.ArgumentTypeError(f"settings must be NAME=VALUE, got {wrong[0]!r}")
    pairs = (setting.split("=", 1) for setting in settings)
    return name, {key: _value(value) for key, value in pairs}


def _value(text: str) -> Any:  # noqa: ANN401 - whatever the setting takes
    if ":" in text:
        return tuple(_value(part) for part in text.split(":"))
    for kind in (int, float):
        with suppress(ValueError):
            return kind(text)
    return None if text == "none" else text


def weights(text: str) -> str | tuple[float, ...]:
    """Return "balanced", or one number per class.

    Example:
        >>> weights("1,2.5")
        (1.0, 2.5)
    """
    try:
        return text if text == "balanced" else tuple(float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be balanced, or numbers such as 1,5, got {text!r}") from None


def duration(text: str) -> str:
    """Return a time in the format of a Trainer's `max_time`: days, hours, minutes and seconds.

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
