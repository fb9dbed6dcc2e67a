"""Read the plain data of a schema in any format, and accept the names that facts had in earlier versions."""

from __future__ import annotations

import functools
import re
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from tabvision.errors import BadTypeError, BadValueError, listed

_Kind = TypeVar("_Kind")
_PASS = "Pass what to_dict wrote"
_UPDATE = "Update tabvision: pip install --upgrade tabvision"
_PARTS = (
    "year|month|week|day|weekday|day_of_year|hour|minute|elapsed|is_month_start|is_month_end|is_quarter_start|is_quarter_end"
    "|is_year_start|is_year_end"
)
_DERIVED = re.compile(rf"_({_PARTS}|missing)(_[0-9]+)?")


def read_facts(data: object, newest: int, known: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Return the facts in a schema's plain data of any format; `Schema` then checks their values.

    Args:
        data: What `Schema.to_dict` wrote, in this version or an earlier one.
        newest: The newest format.
        known: The names of the facts that the target and each list may hold.

    Raises:
        BadTypeError: The data is not an object, or a list is not one.
        BadValueError: The format is newer, a fact is unknown, or there are several images.
    """
    if not isinstance(data, Mapping):
        raise BadTypeError(f"a schema must be an object, got {type(data).__name__}", _PASS)
    version = data.get("format")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise BadValueError(f"format must be a whole number from 1, got {version!r}", _PASS)
    if version > newest:
        raise BadValueError(f"format {version} is newer than {newest}, the newest that this version reads", _UPDATE)
    facts = {**(_upgraded(data) if version == 1 else data)}
    _check_known(facts, ("format", "na_values", *known))
    for name, names in known.items():
        if name != "target" and not isinstance(facts.get(name, ()), list | tuple):
            raise BadTypeError(f"{name} must be a list, got {type(facts[name]).__name__}", _PASS)
        for column in [facts.get(name)] if name == "target" else facts.get(name, ()):
            _check_known(column, names)
    images = facts.pop("images", ())
    if len(images) > 1:
        raise BadValueError(f"a row has {len(images)} images, and this version reads one", _UPDATE)
    del facts["format"]
    return {**facts, "image": images[0] if images else None}


def _check_known(facts: object, known: Sequence[str]) -> None:
    """Raise if there are unknown facts, which may change the meaning of the others."""
    if isinstance(facts, Mapping) and (unknown := sorted(set(map(str, facts)) - set(known))):
        raise BadValueError(f"facts that this version does not know: {listed(unknown)}", _UPDATE)


def _upgraded(data: Mapping[str, Any]) -> dict[str, Any]:
    """Convert a schema's plain data from format 1 to format 2; values that do not fit are left for the reader to reject.

    Format 1 called the standard deviation `spread` and had one `image`. Only a column's name told which part of a date or
    which indicator it is: `{source}_{part}`, followed by `_2`, `_3`, … if that name was taken.

    Raises:
        BadValueError: The name of a column that is made of a date does not name a part.

    Example:
        >>> _upgraded({"image": {"size": [8, 8], "spread": [0.25]}})["images"]
        [{'size': [8, 8], 'std': [0.25]}]
    """
    facts: dict[str, Any] = {**data, "format": 2}
    if (image := facts.pop("image", None)) is not None:
        facts["images"] = [image]
    for name in ("continuous", "categorical", "dates", "images"):
        columns = facts.get(name, ())
        if not isinstance(columns, list | tuple) or not all(isinstance(column, Mapping) for column in columns):
            return facts
        facts[name] = [{"std" if fact == "spread" else fact: it for fact, it in column.items()} for column in columns]
    dates = {str(date.get("name")) for date in facts["dates"]}
    numbers = {str(column.get("source")) for column in facts["continuous"]} - dates
    for column in (*facts["continuous"], *facts["categorical"]):
        if (source := str(column.get("source"))) in dates:
            column["part"] = _part_of(str(column.get("name")), source)
    for column in facts["categorical"]:
        if str(column.get("source")) in numbers:
            column["part"] = "missing"
    return facts


def _part_of(name: str, source: str) -> str:
    match = _DERIVED.fullmatch(name.removeprefix(source))
    if match is None:
        problem = f"{name!r} is computed from the date {source!r}, but names no part of it"
        raise BadValueError(problem, f"Name it {source}_month, for instance")
    return match[1]


def accepting_spread(kind: type[_Kind]) -> type[_Kind]:
    """Accept `spread`, the name of `std` before 0.2, as an argument and an attribute, with a DeprecationWarning."""

    def warn() -> None:
        message = f"{kind.__name__}: `spread` will be removed in 0.3. Use std instead."
        warnings.warn(message, DeprecationWarning, stacklevel=3)

    original = kind.__init__

    @functools.wraps(original)
    def init(self: object, **facts: Any) -> None:  # noqa: ANN401 - as the class says
        if "spread" in facts:
            warn()
            facts["std"] = facts.pop("spread")
        original(self, **facts)

    def spread(self: Any) -> Any:  # noqa: ANN401 - a number or several
        warn()
        return self.std

    setattr(kind, "__init__", init)  # noqa: B010 - mypy knows no other way
    setattr(kind, "spread", property(spread))  # noqa: B010
    return kind
