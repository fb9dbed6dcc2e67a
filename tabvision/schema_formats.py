"""Schemas as earlier versions wrote them, and the names that the facts had then."""

from __future__ import annotations

import functools
import re
import warnings
from collections.abc import Mapping
from typing import Any, TypeVar

from tabvision.errors import BadValueError

_Kind = TypeVar("_Kind")
_PARTS = (
    "year|month|week|day|weekday|day_of_year|hour|minute|elapsed|is_month_start|is_month_end|is_quarter_start|is_quarter_end"
    "|is_year_start|is_year_end"
)
_DERIVED = re.compile(rf"_({_PARTS}|missing)(_[0-9]+)?")


def upgraded(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a schema's plain data in format 2; what does not fit is left for the reader to refuse.

    Format 1 said `spread` for the standard deviation and had one `image`; which part of a date or which indicator a column is
    stood only in its name, `{source}_{part}`, with `_2`, `_3`, … behind it where that name was taken.

    Raises:
        BadValueError: A column that is made of a date names none of its parts.

    Example:
        >>> age = {"name": "age", "source": "age", "mean": 40.0, "spread": 10.0, "fill": 38.0}
        >>> upgraded({"format": 1, "continuous": [age]})["continuous"][0]["std"]
        10.0
    """
    if data["format"] != 1:
        return data
    facts: dict[str, Any] = {**data, "format": 2, "images": [data["image"]] if data.get("image") is not None else []}
    facts.pop("image", None)
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
        problem = f"{name!r} is made of the date {source!r}, but names none of its parts"
        raise BadValueError(problem, f"Name it {source}_month, for instance")
    return match[1]


def accepting_spread(kind: type[_Kind]) -> type[_Kind]:
    """Let `spread`, the name of `std` before 0.2, be passed and read, with a DeprecationWarning."""

    def warn() -> None:
        message = f"{kind.__name__}: `spread` goes with 0.3. Say std instead."
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
