"""Render the page to try a model by hand: `page.html` with escaped values; it loads nothing from other sites."""

from __future__ import annotations

import json
import string
from html import escape
from pathlib import Path

from tabvision.plain import LARGEST_EXACT, Label
from tabvision.preprocess.encode import Source, sources_of
from tabvision.schema import Schema

_MAX_OPTIONS = 60  # values in a drop-down list; more are typed, with suggestions
_MAX_SUGGESTED = 1_000
_TEMPLATE = string.Template(Path(__file__).with_suffix(".html").read_text(encoding="utf-8"))
_OF_IMAGES = "Ask about one photo or several. They go to this server alone."
_OF_ROWS = "Fill in what is known; an empty field counts as missing. The values go to this server alone."
_UPLOAD = (
    '<div class="field drop" id="drop"><label for="images">Drop photos here, or choose them</label>'
    '<input id="images" name="images" type="file" accept="image/*" multiple required></div>'
)


def page(schema: Schema, nonce: str) -> str:
    """Return the page, with a form built from the schema or an upload of images.

    Args:
        schema: The schema of the model.
        nonce: The token that allows this page's own style and script, and no other.

    Example:
        >>> from tabvision.schema import Continuous, Target
        >>> from tabvision.tasks import Regression
        >>> age = Continuous(name="<age>", source="<age>", mean=40.0, std=10.0, fill=38.0)
        >>> text = page(Schema(target=Target(columns=("pay",), task=Regression()), continuous=(age,)), "n")
        >>> "&lt;age&gt;" in text, "<age>" in text
        (True, False)
    """
    has_images = schema.is_of_images
    controls = {"number": _number, "category": _category, "date": _date}
    fields = [controls[source.kind](index, source) for index, source in enumerate(sources_of(schema))]
    names = () if schema.image is None or has_images else schema.image.columns
    fields += [_photo(index, name) for index, name in enumerate(names, start=len(fields))]
    return _TEMPLATE.substitute(
        title=escape(f"Predict {', '.join(schema.target.columns)}"),
        nonce=escape(nonce),
        introduction=escape(_OF_IMAGES if has_images else _OF_ROWS),
        kind="images" if has_images else "row",
        shrink=_shrunk_side(schema),
        fields=_UPLOAD if has_images else "\n".join(fields),
    )


def _shrunk_side(schema: Schema) -> int:
    """Return the shorter side in pixels to which the page shrinks larger photos before it sends them, 0 to send the files.

    Twice the network's size leaves the answer as it is but for rounding. Points are answered in pixels of the file, and a
    browser keeps neither more than 8 bits nor more than three channels.
    """
    image = schema.image
    if image is None or schema.task.moves_with_image or image.value_range or image.channels not in (1, 3):
        return 0
    return 2 * max(image.size)


def _field(index: int, name: str, control: str) -> str:
    return f'<div class="field"><label for="field-{index}">{escape(name)}</label>{control}</div>'


def _attributes(index: int, name: str, kind: str) -> str:
    return f'id="field-{index}" data-name="{escape(name)}" data-kind="{kind}" autocomplete="off"'


def _number(index: int, source: Source) -> str:
    _, column = source.continuous[0]
    hint = escape(f"such as {column.fill:.6g}")
    attributes = _attributes(index, source.name, "number")
    return _field(index, source.name, f'<input {attributes} type="number" step="any" placeholder="{hint}">')


def _category(index: int, source: Source) -> str:
    name, vocabulary = source.name, source.categorical[0][1].vocabulary
    if len(vocabulary) <= _MAX_OPTIONS:
        pairs = [(escape(json.dumps(_for_script(label))), escape(str(label))) for label in vocabulary]
        options = "".join(f'<option value="{value}">{text}</option>' for value, text in [("null", "(missing)"), *pairs])
        return _field(index, name, f"<select {_attributes(index, name, 'json')}>{options}</select>")
    kind = "text" if isinstance(vocabulary[0], str) else "number"
    options = "".join(f'<option value="{escape(str(label))}"></option>' for label in vocabulary[:_MAX_SUGGESTED])
    control = f'<input {_attributes(index, name, kind)} type="text" list="list-{index}">'
    return _field(index, name, f'{control}<datalist id="list-{index}">{options}</datalist>')


def _photo(index: int, name: str) -> str:
    attributes = f'id="field-{index}" data-column="{escape(name)}" type="file" accept="image/*"'
    return _field(index, name, f"<input {attributes}>")


def _for_script(label: Label) -> Label:
    """Return a label as JavaScript keeps it: an integer that it would round as text, which is read exactly."""
    return str(label) if isinstance(label, int) and abs(label) >= LARGEST_EXACT else label


def _date(index: int, source: Source) -> str:
    parts = {column.part for _, column in source.categorical}
    hint = "2024-01-31 09:30" if parts & {"hour", "minute"} else "2024-01-31"
    attributes = _attributes(index, source.name, "text")
    return _field(index, source.name, f'<input {attributes} type="text" placeholder="{hint}">')
