"""Text that commands print: tables, numbers, the name of the data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from tabvision.errors import shown


def format_table(rows: Sequence[Sequence[str]], *, left: int = 1) -> str:
    """Return the rows as lines, with the first columns left-aligned and the others right-aligned.

    Example:
        >>> print(format_table([("run", "f1"), ("a", "0.5")]))
        run   f1
        a    0.5
    """
    cells = [[shown(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ([*map(str.ljust, row[:left], widths[:left]), *map(str.rjust, row[left:], widths[left:])] for row in cells)
    return "\n".join("  ".join(line).rstrip() for line in lines)


def format_number(value: float | None) -> str:
    """Format with four decimals, or four significant digits for small and large numbers; "" for None and NaN.

    Example:
        >>> format_number(0.5), format_number(2.5e-31), format_number(None)
        ('0.5000', '2.5e-31', '')
    """
    if value is None or math.isnan(value):
        return ""
    return f"{value:.4f}" if value == 0 or 1e-3 <= abs(value) < 1e5 else f"{value:.4g}"


def json_number(value: float | None) -> float | None:
    """Return a number that JSON can hold, with None for NaN and infinity."""
    return None if value is None or not math.isfinite(value) else float(value)


def short_name(source: object) -> str:
    """Return the name of the data without its folder; for several files, the first name and the number of others.

    Example:
        >>> short_name("data/people.csv"), short_name(["a.csv", "b.csv"])
        ('people.csv', 'a.csv and 1 more')
    """
    first, *others = source if isinstance(source, list) else [source]
    return Path(str(first)).name + (f" and {len(others):,} more" if others else "")
