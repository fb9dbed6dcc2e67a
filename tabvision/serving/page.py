"""The page to try a model by hand: `page.html`, filled with escaped values; it loads nothing from elsewhere."""

from __future__ import annotations

import json
import string
from html import escape
from pathlib import Path

from tabvision.preprocess.encode import Category, DateColumns, plan_of
from tabvision.schema import Label, Schema

MAX_OPTIONS = 60  # values in a drop-down list; more are typed, with suggestions
MAX_SUGGESTED = 1_000
_TEMPLATE = string.Template(Path(__file__).with_suffix(".html").read_text(encoding="utf-8"))
_OF_IMAGES = "Choose one photo or several. They go to this server alone."
_OF_ROWS = "Fill in what is known; an empty field counts as missing. The values go to this server alone."
_UPLOAD = (
    '<div class="field"><label for="images">Photos</label>'
    '<input id="images" name="images" type="file" accept="image/*" multiple required></div>'
)


def page(schema: Schema, nonce: str) -> str:
    """The page, with a form built from the schema or an upload.

    Args:
        schema: Of the model.
        nonce: Allows this page's own style and script, and no other.

    Example:
        >>> from tabvision.schema import Continuous, Target
        >>> from tabvision.tasks import Regression
        >>> age = Continuous(name="<age>", source="<age>", mean=40.0, spread=10.0, fill=38.0)
        >>> text = page(Schema(target=Target(columns=("pay",), task=Regression()), continuous=(age,)), "n")
        >>> "&lt;age&gt;" in text, "<age>" in text
        (True, False)
    """
    has_images = schema.image is not None
    return _TEMPLATE.substitute(
        title=escape(f"Predict {', '.join(schema.target.columns)}"),
        nonce=escape(nonce),
        introduction=escape(_OF_IMAGES if has_images else _OF_ROWS),
        kind="images" if has_images else "row",
        fields=_UPLOAD if has_images else "\n".join(_fields(schema)),
    )


def _fields(schema: Schema) -> list[str]:
    plan = plan_of(schema)
    fields = [_number(place, number.column.source, number.column.fill) for place, number in enumerate(plan.numbers)]
    fields += [_category(len(fields) + place, category) for place, category in enumerate(plan.categories)]
    return fields + [_date(len(fields) + place, date) for place, date in enumerate(plan.dates)]


def _field(place: int, name: str, control: str) -> str:
    return f'<div class="field"><label for="field-{place}">{escape(name)}</label>{control}</div>'


def _attributes(place: int, name: str, kind: str) -> str:
    return f'id="field-{place}" data-name="{escape(name)}" data-kind="{kind}" autocomplete="off"'


def _number(place: int, name: str, typical: float) -> str:
    hint = escape(f"such as {typical:.6g}")
    return _field(
        place, name, f'<input {_attributes(place, name, "number")} type="number" step="any" placeholder="{hint}">'
    )


def _category(place: int, category: Category) -> str:
    name, vocabulary = category.column.source, category.column.vocabulary
    if len(vocabulary) > MAX_OPTIONS:
        return _suggestions(place, name, vocabulary)
    options = "".join(
        f'<option value="{escape(json.dumps(label))}">{escape(str(label))}</option>' for label in vocabulary
    )
    empty = '<option value="null">(missing)</option>'
    return _field(place, name, f"<select {_attributes(place, name, 'json')}>{empty}{options}</select>")


def _suggestions(place: int, name: str, vocabulary: tuple[Label, ...]) -> str:
    kind = "text" if isinstance(vocabulary[0], str) else "number"
    options = "".join(f'<option value="{escape(str(label))}"></option>' for label in vocabulary[:MAX_SUGGESTED])
    control = f'<input {_attributes(place, name, kind)} type="text" list="list-{place}">'
    return _field(place, name, f'{control}<datalist id="list-{place}">{options}</datalist>')


def _date(place: int, date: DateColumns) -> str:
    with_time = {"hour", "minute"} & set(date.names)
    hint = "2024-01-31 09:30" if with_time else "2024-01-31"
    return _field(place, date.name, f'<input {_attributes(place, date.name, "text")} type="text" placeholder="{hint}">')
