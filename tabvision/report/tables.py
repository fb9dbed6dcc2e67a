"""Turn frames and the sections of a page into plain data, and format numbers for readers."""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import pandas as pd

from tabvision.errors import cut
from tabvision.interpret.slices import four_digits

Section: TypeAlias = dict[str, Any]
Table: TypeAlias = dict[str, Any]  # "columns", "rows" and "attrs", all plain data


def _table_of(frame: pd.DataFrame) -> Table:
    """Return a frame as plain data without its index: None for missing or infinite values, text for dates and objects.

    Example:
        >>> _table_of(pd.DataFrame({"job": ["cook", None], "error": [0.5, float("inf")]}))
        {'columns': ['job', 'error'], 'rows': [['cook', 0.5], [None, None]], 'attrs': {}}
    """
    columns = [[_plain(value) for value in frame.iloc[:, index].tolist()] for index in range(frame.shape[1])]
    rows = [list(row) for row in zip(*columns, strict=True)]
    attrs = {str(name): _plain(value) for name, value in frame.attrs.items()}
    return {"columns": [str(name) for name in frame.columns], "rows": rows, "attrs": attrs}


def frame_of(table: Table) -> pd.DataFrame:
    """Return the frame that `_table_of` turned into plain data."""
    frame = pd.DataFrame(table["rows"], columns=table["columns"])
    frame.attrs.update(table["attrs"])
    return frame


def section_of(
    title: str, *texts: str, parts: list[dict[str, Any]] | None = None, commands: tuple[str, ...] = ()
) -> Section:
    """Return a section of a page: sentences, commands, and parts with a table, a figure or both."""
    return {"title": title, "texts": list(texts), "parts": parts or [], "commands": list(commands)}


def part_of(
    caption: str,
    frame: pd.DataFrame | None,
    figure: str | None = None,
    data: pd.DataFrame | None = None,
    *,
    text: str = "",
) -> dict[str, Any]:
    """Return a part of a page: below a text, a table, a figure of `tabvision.plots` with its data, or both."""
    table: Table | None = None if frame is None else _table_of(frame)
    drawn = (table if data is None else _table_of(data)) if figure else None
    return {"caption": caption, "text": text, "table": table, "figure": figure, "data": drawn}


def cell_text(value: Any, most: int = 80) -> str:  # noqa: ANN401 - a cell of a table
    """Format a cell: floats with four digits, long text cut, missing values empty.

    Example:
        >>> cell_text(13_722.31), cell_text(0.123456), cell_text(2012), cell_text(None), cell_text("a" * 100, 4)
        ('13,722', '0.1235', '2012', '', 'aaa…')
    """
    if value is None:
        return ""
    if isinstance(value, float):
        return four_digits(value)
    return cut(str(value), most)


def rounded(value: float) -> str:
    """Format a number with three significant digits, for a sentence.

    Example:
        >>> rounded(13_722.3), rounded(0.012345), rounded(2.0), rounded(1e20)
        ('13,700', '0.0123', '2', '1e+20')
    """
    if not 1_000 <= abs(value) < 1e15:
        return f"{value:.3g}"
    return f"{round(value, 2 - math.floor(math.log10(abs(value)))):,.0f}"


def of_100(fraction: float) -> str:
    """Format a fraction as a percentage without the sign; only exact values become 0 or 100.

    Example:
        >>> of_100(0.974), of_100(0.9999), of_100(1.0), of_100(0.0001)
        ('97', '99.9', '100', '0.1')
    """
    percent = 100 * fraction
    if percent in (0, 100) or 1 <= percent <= 99:
        return f"{percent:.0f}"
    return f"{min(99.9, max(0.1, percent)):.1f}"


def _plain(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, bool | int | str) or (isinstance(value, float) and math.isfinite(value)):
        return value
    if value is None or (pd.api.types.is_scalar(value) and (pd.isna(value) or isinstance(value, float))):
        return None
    return str(value)
