"""Convert values to plain data, and plain data to dataclasses with every field checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import msgspec
import numpy as np

from tabvision.errors import BadTypeError, BadValueError, TabvisionError, accepting_who

Kind = TypeVar("Kind")
Label = str | int | float | bool  # a class, or a value of a category


def from_plain(data: object, kind: type[Kind], decode: Callable[[type, object], object] | None = None) -> Kind:
    """Return a dataclass built from plain data, with every field checked against its annotation.

    Args:
        data: Dicts, lists, strings, numbers, booleans and None, as loaded from JSON.
        kind: A dataclass.
        decode: Called with the annotation and the data of a field that is not plain.

    Raises:
        BadValueError: A field is missing or has the wrong type.

    Example:
        >>> from tabvision.schema import LeftOut
        >>> from_plain({"name": "id", "reason": "every value differs"}, LeftOut)
        LeftOut(name='id', reason='every value differs')
    """
    try:
        return msgspec.convert(data, kind, dec_hook=decode)
    except (msgspec.ValidationError, UnicodeEncodeError) as error:
        if isinstance(error.__cause__, TabvisionError):  # raised by the dataclass's own check, which is more specific
            raise error.__cause__ from None
        raise BadValueError(f"the facts of a {kind.__name__} do not fit: {error}", "Pass what to_dict wrote") from error


@accepting_who
def to_plain(value: object) -> object:
    """Return a value as plain Python data, which a checkpoint can store and load safely.

    numpy scalars become Python numbers and paths text; tuples, lists and dicts are converted recursively.

    Raises:
        BadTypeError: The value is anything else, such as an array, a function or an object.

    Example:
        >>> import numpy as np
        >>> to_plain({"lr": np.float64(0.5), "widths": (np.int64(3),)})
        {'lr': 0.5, 'widths': (3,)}
    """
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {to_plain(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(to_plain(item) for item in value)
    problem = f"settings must be plain data, got {type(value).__name__}: {value!r:.60}"
    raise BadTypeError(problem, "Pass numbers, strings, lists or dicts")
