"""A schema as text: what each raw column is used for, in a terminal and in a notebook."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tabvision.errors import count, cut

if TYPE_CHECKING:
    from tabvision.schema import Categorical, Continuous, Date, Label, Schema

_MAX_COLUMNS = 40
_MAX_NAME, _MAX_WIDTH = 32, 80  # characters of a column's name and of a line


def as_text(schema: Schema) -> str:
    """Return a short table with a line for each raw column; if there are many, each kind is cut."""
    shown = [[_on_one_line(cell) for cell in row] for row in _some_uses(schema)]
    width = min(_MAX_NAME, max(len(name) for name, _, _ in shown))
    lines = [f"{cut(name, width):<{width}}  {kind:<11}  {facts}" for name, kind, facts in shown]
    return "\n".join(cut(line, _MAX_WIDTH).rstrip() for line in lines)


def as_html(schema: Schema) -> str:
    """Return the same as a table for a notebook."""
    rows = [[html.escape(cut(_on_one_line(cell), _MAX_WIDTH)) for cell in row] for row in _some_uses(schema)]
    body = "\n".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table>\n<tr><th>column</th><th>use</th><th>facts</th></tr>\n{body}\n</table>"


def column_uses(schema: Schema) -> list[tuple[str, str, str]]:
    """Return the name, use and facts of every raw column, however many there are."""
    return [(name, kind, facts) for kind, rows in _uses(schema).items() for name, facts in rows]


def _some_uses(schema: Schema) -> list[tuple[str, str, str]]:
    """Return the name, use and facts of each raw column to print."""
    uses = _uses(schema)
    is_long = sum(map(len, uses.values())) > _MAX_COLUMNS
    most = _MAX_COLUMNS // 4 if is_long else _MAX_COLUMNS
    shown = []
    for kind, rows in uses.items():
        shown += [(name, kind, facts) for name, facts in rows[:most]]
        if len(rows) > most:
            shown.append(("…", kind, f"and {count(len(rows) - most, 'more column')}"))
    return shown


def _uses(schema: Schema) -> dict[str, list[tuple[str, str]]]:
    """Return name and facts of the raw columns by their use."""
    dates = {date.name for date in schema.dates}
    return {
        "target": [(", ".join(schema.target.columns), _target_facts(schema))],
        "date": [(date.name, _date_facts(schema, date)) for date in schema.dates],
        "categorical": [(it.name, it.describe()) for it in schema.categorical if it.source not in dates],
        "continuous": [(it.name, it.describe()) for it in schema.continuous if it.source not in dates],
        "image": [] if schema.image is None else [(name, schema.image.describe()) for name in schema.image.columns],
        "left out": [(it.name, it.reason) for it in schema.left_out],
    }


def _target_facts(schema: Schema) -> str:
    task = schema.task
    if task.is_classes:
        number = count(len(schema.classes), "class").replace("classs", "classes")
        return f"{task.name}, {number}: {some_labels(schema.classes, 6)}"
    said = [task.name, count(len(schema.target.columns), "number"), task.settings_text]
    return ", ".join(filter(None, said))


def _date_facts(schema: Schema, date: Date) -> str:
    """Return the parts that are made of a date, and how text is read if it is not ISO."""
    columns: tuple[Continuous | Categorical, ...] = (*schema.continuous, *schema.categorical)
    parts = [str(column.part) for column in columns if column.source == date.name]
    is_unix = date.format in ("s", "ms", "us", "ns")
    written = "" if date.format == "iso" else f"{'Unix time in' if is_unix else 'text read as'} {date.format}, "
    return f"{written}{count(len(parts), 'part')}: {', '.join(parts)}"


def some_labels(labels: Sequence[Label], most: int) -> str:
    """Return the first labels, those with outer spaces or commas in quotes."""
    shown = [repr(it) if isinstance(it, str) and (it != it.strip() or "," in it) else str(it) for it in labels[:most]]
    return ", ".join(shown) + (", …" if len(labels) > most else "")


def _on_one_line(text: str) -> str:
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)
