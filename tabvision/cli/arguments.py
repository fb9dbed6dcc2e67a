"""Kinds of command-line words."""

from __future__ import annotations

import argparse


def names(text: str) -> list[str]:
    """Column names parted by commas.

    Example:
        >>> names("age, job")
        ['age', 'job']
    """
    return [name.strip() for name in text.split(",") if name.strip()]


def whole(text: str) -> int:
    """A whole number from 1.

    Example:
        >>> whole("1_000")
        1000
    """
    try:
        number = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1, got {text!r}") from None
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1, got {text!r}")
    return number


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
