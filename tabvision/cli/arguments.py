"""Kinds of command-line words."""

from __future__ import annotations

import argparse
import csv


def names(text: str) -> list[str]:
    """Column names parted by commas; a name that holds a comma or begins with a space stands in double quotes.

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
    """A whole number from 1, or within other bounds.

    Example:
        >>> whole("1_000")
        1000
    """
    wanted = f"from {least}" + (f" to {most}" if most is not None else "")
    try:
        number = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a whole number {wanted}, got {text!r}") from None
    if number < least or (most is not None and number > most):
        raise argparse.ArgumentTypeError(f"must be a whole number {wanted}, got {text!r}")
    return number


def seed(text: str) -> int:
    """A whole number from 0 to 2**32 - 1, which numpy takes as a seed.

    Example:
        >>> seed("0")
        0
    """
    return whole(text, 0, 2**32 - 1)


def share(text: str) -> float:
    """A share between 0 and 1, both left out.

    Example:
        >>> share("0.2")
        0.2
    """
    try:
        number = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a share in (0, 1), got {text!r}") from None
    if not 0 < number < 1:
        raise argparse.ArgumentTypeError(f"must be a share in (0, 1), got {text!r}")
    return number


def size(text: str) -> int | tuple[int, int]:
    """Pixels of a picture: of both sides, or height x width.

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
