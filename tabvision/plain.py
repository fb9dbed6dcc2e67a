"""Convert values to plain data, and plain data to dataclasses with every field checked."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from tabvision.errors import BadTypeError, BadValueError, TabvisionError, accepting_who

LARGEST_EXACT = 2**53  # from here on float64 skips integers
Kind = TypeVar("Kind")
Label = str | int | float | bool  # a class, or a value of a category
_WITH_UNIT = r"[^0-9\n]{0,20}1[.,]5[^0-9\n]{0,20}[23]?"  # a number with what stands before and after it, such as 1.5 kg
NumberFormat = Annotated[str, msgspec.Meta(pattern=rf"^(strict|lenient|1,234|1\.234,5|[$€£¥%],?|h:m:s|{_WITH_UNIT})\Z")]


def from_plain(data: object, kind: type[Kind], decode: Callable[[type, object], object] | None = None) -> Kind:
    """Return a dataclass built from plain data, with every field checked against its annotation.

    Args:
        data: Dicts, lists, strings, numbers, booleans and None, as loaded from JSON.
        kind: A dataclass.
        decode: Called with the annotation and the data of a field that is not plain.

    Raises:
        BadValueError: A field is missing, is not known or has the wrong type.

    Example:
        >>> from tabvision.schema import LeftOut
        >>> from_plain({"name": "id", "reason": "every value differs"}, LeftOut)
        LeftOut(name='id', reason='every value differs')
    """
    known = {field.name for field in dataclasses.fields(kind)}  # type: ignore[arg-type]  # it is a dataclass
    if isinstance(data, Mapping) and (unknown := sorted(map(str, set(data) - known))):
        raise BadValueError(f"{kind.__name__} has no facts {unknown}", f"Known facts: {sorted(known)}")
    try:
        return msgspec.convert(data, kind, dec_hook=decode)
    except (msgspec.ValidationError, UnicodeEncodeError) as error:
        if isinstance(error.__cause__, TabvisionError):  # raised by the dataclass's own check, which is more specific
            raise error.__cause__ from None
        raise BadValueError(
            f"the facts of a {kind.__name__} are invalid: {error}", "Pass what to_dict wrote"
        ) from error


def object_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object, as a hook of `json.loads`; raise if a name occurs twice, where Python keeps the last value.

    Raises:
        ValueError: A name occurs twice.

    Example:
        >>> import json
        >>> json.loads('{"age": 41, "age": 14}', object_pairs_hook=object_of)
        Traceback (most recent call last):
        ValueError: the name 'age' occurs twice in an object
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        ((name, _),) = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"the name {name!r} occurs twice in an object")
    return found


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


def without_tuples(value: Any) -> Any:  # noqa: ANN401 - plain data
    """Return plain data with lists in place of tuples, as YAML writes them.

    Example:
        >>> without_tuples({"widths": (3, (1, 2))})
        {'widths': [3, [1, 2]]}
    """
    if isinstance(value, Mapping):
        return {key: without_tuples(item) for key, item in value.items()}
    return [without_tuples(item) for item in value] if isinstance(value, list | tuple) else value


def shortest_decimals(values: NDArray[Any]) -> NDArray[np.float64]:
    """Return floats as float64; those of less than 64 bits as the shortest decimals that stand for them, as they print.

    Example:
        >>> shortest_decimals(np.array([0.1], np.float32)).tolist(), np.array([0.1], np.float32).tolist()
        ([0.1], [0.10000000149011612])
    """
    if values.dtype.itemsize >= 8:
        return values.astype(np.float64, copy=False)
    distinct, indices = np.unique(values, return_inverse=True)
    return np.array([float(str(value)) for value in distinct])[indices]


def codes_by_label(labels: Sequence[Label]) -> dict[Label, int]:
    """Return for each label its index plus 1; also for the numbers that stand for the same, as a narrower float widened.

    Example:
        >>> codes_by_label(["a", "b"]), codes_by_label([0.1])[float(np.float32(0.1))]
        ({'a': 1, 'b': 2}, 1)
    """
    codes: dict[Label, int] = {label: code for code, label in enumerate(labels, start=1)}
    fractions = np.array([label for label in labels if isinstance(label, float) and not label.is_integer()])
    for kind in (np.float32, np.float16):
        with np.errstate(over="ignore"):
            narrow = fractions.astype(kind)
        shortest = shortest_decimals(narrow).tolist()
        for label, wide, short in zip(fractions.tolist(), narrow.tolist(), shortest, strict=True):
            if label in (wide, short):
                codes.setdefault(wide, codes[label])
                codes.setdefault(short, codes[label])
    return codes


def check_digits(values: NDArray[Any], name: str, largest: float = np.inf) -> None:
    """Raise if floats are to be names (ids, categories, classes), and are so large that they have lost their last digits.

    Args:
        values: Numbers; integers are exact.
        name: The name of the column.
        largest: The largest of the known names: among small ones, no large number can be mistaken for another.

    Raises:
        BadTypeError: A float of 64 bits is at least 2**53, one of 32 bits at least 2**24.

    Example:
        >>> check_digits(np.array([900719925474099301.0]), "account")
        Traceback (most recent call last):
        tabvision.errors.BadTypeError: column 'account' holds whole numbers that became floats and lost their last \
digits, such as 9.0072e+17. Read them as text: pd.read_csv(..., dtype={'account': str}).
    """
    if values.dtype.kind != "f" or largest < (limit := 2.0 ** (np.finfo(values.dtype).nmant + 1)):
        return
    rounded = values[np.isfinite(values) & (np.abs(values) >= limit)]
    if len(rounded):
        shown = f"such as {rounded[0]:g}"
        problem = f"column {name!r} holds whole numbers that became floats and lost their last digits, {shown}"
        raise BadTypeError(problem, f"Read them as text: pd.read_csv(..., dtype={{{name!r}: str}})")
