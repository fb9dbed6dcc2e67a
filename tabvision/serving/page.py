"""Render the page to try a model by hand: `page.html` with one field per input, loading nothing from other sites."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from tabvision.plain import LARGEST_EXACT
from tabvision.preprocess.encode import Source, sources_of
from tabvision.schema import Schema

_MAX_OPTIONS = 60  # the most values for a drop-down list; above that, a text field suggests them
_MAX_SUGGESTED = 1_000
_ENVIRONMENT = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
_PAGE = _ENVIRONMENT.from_string(Path(__file__).with_suffix(".html").read_text(encoding="utf-8"))


def page(schema: Schema, nonce: str) -> str:
    """Return the page, with a form built from the schema, or an image upload.

    Args:
        schema: The schema of the model.
        nonce: The token that allows the page's own style and script, and no others.

    Example:
        >>> from tabvision.schema import Continuous, Target
        >>> from tabvision.tasks import Regression
        >>> age = Continuous(name="<age>", source="<age>", mean=40.0, std=10.0, fill=38.0)
        >>> text = page(Schema(target=Target(columns=("pay",), task=Regression()), continuous=(age,)), "n")
        >>> "&lt;age&gt;" in text, "<age>" in text
        (True, False)
    """
    return _PAGE.render(
        target=", ".join(schema.target.columns),
        nonce=nonce,
        is_of_images=schema.is_of_images,
        shrink=_shrunk_side(schema),
        fields=[_field(source) for source in sources_of(schema)],
        photos=() if schema.image is None or schema.is_of_images else schema.image.columns,
    )


def _shrunk_side(schema: Schema) -> int:
    """Return the shorter side in pixels to which the page shrinks larger photos before upload; 0 to send the original files.

    Shrinking to twice the network's size changes predictions only by rounding. Originals are sent for points, which are
    predicted in pixels of the file, and for more than 8 bits or three channels, which a browser would drop.
    """
    image = schema.image
    if image is None or schema.task.moves_with_image or image.value_range or image.channels not in (1, 3):
        return 0
    return 2 * max(image.size)


def _field(source: Source) -> dict[str, Any]:
    """Return what the page needs for a raw column: its name, the script's kind of value, and a hint or the known values."""
    if source.kind == "number":
        return {"name": source.name, "kind": "number", "hint": f"{source.continuous[0][1].fill:.6g}"}
    if source.kind == "date":
        has_time = not {"hour", "minute"}.isdisjoint(column.part for _, column in source.categorical)
        return {"name": source.name, "kind": "text", "hint": "2024-01-31 09:30" if has_time else "2024-01-31"}
    vocabulary = source.categorical[0][1].vocabulary
    if len(vocabulary) <= _MAX_OPTIONS:
        options = []
        for label in vocabulary:  # JavaScript would round a large integer, so send it as text
            is_rounded = isinstance(label, int) and abs(label) >= LARGEST_EXACT
            options.append((json.dumps(str(label) if is_rounded else label), str(label)))
        return {"name": source.name, "kind": "json", "options": options}
    kind = "text" if isinstance(vocabulary[0], str) else "number"
    return {"name": source.name, "kind": kind, "suggested": list(map(str, vocabulary[:_MAX_SUGGESTED]))}
