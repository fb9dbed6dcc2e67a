"""Check arguments: whole numbers, fractions, bounds and choices.

A value of the wrong type raises `BadTypeError`, one out of range `BadValueError`; True and False are not numbers.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from numbers import Integral, Real
from typing import Any, Literal, TypeGuard

from tabvision.errors import BadTypeError, BadValueError, MissingColumnsError, UnknownNameError

DEFAULT = "Leave it out for the default"


def is_integer(value: object) -> TypeGuard[int]:
    """Return whether a value is a whole number, of Python or numpy, bools excluded.

    Example:
        >>> import numpy as np
        >>> is_integer(3), is_integer(np.int64(3)), is_integer(3.0), is_integer(True)
        (True, True, False, False)
    """
    return isinstance(value, Integral) and not isinstance(value, bool)


def is_number(value: object) -> TypeGuard[float]:
    """Return whether a value is a number, of Python or numpy, bools excluded.

    Example:
        >>> import numpy as np
        >>> is_number(0.5), is_number(np.float32(0.5)), is_number("0.5"), is_number(True)
        (True, True, False, False)
    """
    return isinstance(value, Real) and not isinstance(value, bool)


def check_whole(name: str, value: object, least: int = 1, *, remedy: str = DEFAULT) -> int:
    """Return the value as an int; raise unless it is a whole number of at least `least`.

    Example:
        >>> check_whole("seed", 3, 0)
        3
        >>> check_whole("seed", -1, 0)
        Traceback (most recent call last):
        tabvision.errors.BadValueError: seed must be at least 0, got -1. Leave it out for the default.
    """
    if not is_integer(value):
        raise BadTypeError(f"{name} must be a whole number, got {value!r}", remedy)
    if value < least:
        raise BadValueError(f"{name} must be at least {least}, got {value}", remedy)
    return int(value)


def check_fraction(
    name: str,
    value: object,
    bounds: Literal["()", "[)", "(]", "[]"] = "[)",
    *,
    remedy: str = "Pass a fraction such as 0.1",
) -> None:
    """Raise unless the value is a number between 0 and 1.

    Args:
        name: Name of the argument in the error message.
        value: Value that the user passed.
        bounds: Which ends belong to the interval: "[)" for 0 but not 1.
        remedy: What the user can do.

    Example:
        >>> check_fraction("momentum", 0.0)
        >>> check_fraction("threshold", 1.0, "()")
        Traceback (most recent call last):
        tabvision.errors.BadValueError: threshold must lie in (0, 1), got 1.0. Pass a fraction such as 0.1.
    """
    interval = f"{bounds[0]}0, 1{bounds[1]}"
    if not is_number(value):
        raise BadTypeError(f"{name} must be a number in {interval}, got {value!r}", remedy)
    if not (0 < value < 1 or (value == 0 and "[" in bounds) or (value == 1 and "]" in bounds)):
        raise BadValueError(f"{name} must lie in {interval}, got {value!r}", remedy)


def check_least(name: str, value: object, least: float, *, remedy: str = DEFAULT) -> None:
    """Raise unless the value is a finite number of at least `least`.

    Example:
        >>> check_least("weight_decay", float("inf"), 0)
        Traceback (most recent call last):
        tabvision.errors.BadValueError: weight_decay must be at least 0, got inf. Leave it out for the default.
    """
    if not is_number(value):
        raise BadTypeError(f"{name} must be a number, got {value!r}", remedy)
    if not least <= value < math.inf:
        raise BadValueError(f"{name} must be at least {least:g}, got {value!r}", remedy)


def check_positive(name: str, value: object, *, remedy: str = DEFAULT) -> None:
    """Raise unless the value is a finite number above 0.

    Example:
        >>> check_positive("alpha", 0)
        Traceback (most recent call last):
        tabvision.errors.BadValueError: alpha must be above 0, got 0. Leave it out for the default.
    """
    if not is_number(value):
        raise BadTypeError(f"{name} must be a number, got {value!r}", remedy)
    if not 0 < value < math.inf:
        raise BadValueError(f"{name} must be above 0, got {value!r}", remedy)


def check_widths(name: str, widths: object, *, remedy: str) -> None:
    """Raise unless the widths of layers are a list of whole numbers, each at least 1.

    Example:
        >>> check_widths("widths", [200, 100], remedy="Pass a list such as [200, 100]")
    """
    if isinstance(widths, str) or not isinstance(widths, Sequence):
        raise BadTypeError(f"{name} must be a list of whole numbers, got {widths!r}", remedy)
    for width in widths:
        check_whole(f"each of {name}", width, remedy=remedy)


def finite_numbers(value: object, number: int) -> tuple[float, ...] | None:
    """Return a tuple of floats if the value is a list, tuple or array of `number` finite numbers; else None.

    Example:
        >>> finite_numbers([1, 2.5], 2), finite_numbers([1], 2), finite_numbers("ab", 2)
        ((1.0, 2.5), None, None)
    """
    found = without_array(value)
    if not isinstance(found, tuple | list) or len(found) != number:
        return None
    return tuple(map(float, found)) if all(is_number(each) and math.isfinite(each) for each in found) else None


def without_array(value: Any) -> Any:  # noqa: ANN401 - any argument
    """Return an array, a Series or an Index as a list, which unlike them is true or false, and other values as they are.

    Example:
        >>> import numpy as np
        >>> without_array(np.array([1, 2])), without_array("ab"), without_array(None)
        ([1, 2], 'ab', None)
    """
    return value.tolist() if hasattr(value, "tolist") else value


def as_names(value: Any) -> Any:  # noqa: ANN401 - checked where columns are known
    """Return the names of several columns as a list, whatever holds them; text and None as they are.

    Example:
        >>> import pandas as pd
        >>> as_names(pd.DataFrame({"age": [1], "pay": [2]}).columns), as_names("age"), as_names(None)
        (['age', 'pay'], 'age', None)
    """
    return [*value] if isinstance(value, Iterable) and not isinstance(value, str) else value


def check_choice(what: str, value: object, choices: Iterable[str]) -> None:
    """Raise unless the value is one of the choices; the closest ones are listed first.

    Example:
        >>> check_choice("decay", "l1", ["decoupled", "l2"])
        Traceback (most recent call last):
        tabvision.errors.UnknownNameError: no decay named 'l1'. Choices: decoupled, l2.
    """
    names = tuple(choices)
    if value not in names:
        raise UnknownNameError(what, value, names)


def check_present(names: Iterable[object], present: Collection[object], remedy: str) -> None:
    """Raise unless a frame has the columns; the error suggests the closest names.

    Example:
        >>> check_present(["age"], ["Age", "sex"], "Pass a frame with the training columns")
        Traceback (most recent call last):
        tabvision.errors.MissingColumnsError: the frame lacks 1 column: 'age' (did you mean 'Age'?). Pass a frame with ...
    """
    if missing := [name for name in names if name not in present]:
        raise MissingColumnsError(missing, present, remedy)
