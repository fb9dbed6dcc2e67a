"""A schema as text: what each raw column is used for, in a terminal and in a notebook."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tabvision.errors import count, cut

if TYPE_CHECKING:
    from tabvision.schema import Categorical, Continuous, Label, Schema

_MAX_COLUMNS = 40
_MAX_NAME, _MAX_WIDTH = 32, 80  # characters of a column's name and of a line


def as_text(schema: Schema) -> str:
    """Return a short table with a line for each raw column; if there are many, each kind is cut."""
    shown = _some_uses(schema)
    width = min(_MAX_NAME, max(len(name) for name, _, _ in shown))
    lines = [f"{cut(name, width):<{width}}  {kind:<11}  {facts}" for name, kind, facts in shown]
    return "\n".join(cut(line, _MAX_WIDTH).rstrip() for line in lines)


def as_html(schema: Schema) -> str:
    """Return the same as a table for a notebook."""
    rows = [[html.escape(cut(cell, _MAX_WIDTH)) for cell in row] for row in _some_uses(schema)]
    body = "\n".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table>\n<tr><th>column</th><th>use</th><th>facts</th></tr>\n{body}\n</table>"


def column_uses(schema: Schema) -> list[tuple[str, str, str]]:
    """Return the name, use and facts of every raw column, however many there are."""
    return [(name, kind, facts) for kind, rows in _uses(schema).items() for name, facts in rows]


def _some_uses(schema: Schema) -> list[list[str]]:
    """Return the name, use and facts of each raw column to print, without line breaks and the like."""
    uses = _uses(schema)
    is_long = sum(map(len, uses.values())) > _MAX_COLUMNS
    most = _MAX_COLUMNS // 4 if is_long else _MAX_COLUMNS
    shown = []
    for kind, rows in uses.items():
        shown += [(name, kind, facts) for name, facts in rows[:most]]
        if len(rows) > most:
            shown.append(("…", kind, f"and {count(len(rows) - most, 'more column')}"))
    return [["".join(it if it.isprintable() else repr(it)[1:-1] for it in cell) for cell in row] for row in shown]


def _uses(schema: Schema) -> dict[str, list[tuple[str, str]]]:
    """Return name and facts of the raw columns by their use."""
    target, task = schema.target, schema.task
    if task.is_classes:
        number = count(len(schema.classes), "class").replace("classs", "classes")
        predicted = f"{task.name}, {number}: {some_labels(schema.classes, 6)}"
    else:
        predicted = ", ".join(filter(None, [task.name, count(len(target.columns), "number"), task.settings_text]))
    columns: tuple[Continuous | Categorical, ...] = (*schema.continuous, *schema.categorical)
    dates = {}
    for date in schema.dates:
        parts = [str(column.part) for column in columns if column.source == date.name]
        written = (
            "" if date.format == "iso" else f"{'Unix time in' if date.is_unix else 'text read as'} {date.format}, "
        )
        dates[date.name] = f"{written}{count(len(parts), 'part')}: {', '.join(parts)}"
    return {
        "target": [(", ".join(target.columns), predicted)],
        "date": list(dates.items()),
        "categorical": [(it.name, it.describe()) for it in schema.categorical if it.source not in dates],
        "continuous": [(it.name, it.describe()) for it in schema.continuous if it.source not in dates],
        "image": [] if schema.image is None else [(name, schema.image.describe()) for name in schema.image.columns],
        "left out": [(it.name, it.reason) for it in schema.left_out],
    }


def some_labels(labels: Sequence[Label], most: int) -> str:
    """Return the first labels, those with outer spaces or commas in quotes."""
    shown = [repr(it) if isinstance(it, str) and (it != it.strip() or "," in it) else str(it) for it in labels[:most]]
    return ", ".join(shown) + (", …" if len(labels) > most else "")
