"""Types of command-line values."""

from __future__ import annotations

import argparse
import csv
import math


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
