"""The page to try a model by hand: one HTML text that loads nothing from elsewhere."""

from __future__ import annotations

import json
from html import escape

from tabvision.preprocess.encode import Source, sources_of
from tabvision.schema import Label, Schema

MAX_OPTIONS = 60  # values in a drop-down list; more are typed, with suggestions
MAX_SUGGESTED = 1_000


def page(schema: Schema, nonce: str) -> str:
    """The page, with a form built from the schema or an upload.

    Args:
        schema: Of the model.
        nonce: Allows this page's own style and script, and no other.

    Example:
        >>> from tabvision.schema import Continuous, Target
        >>> from tabvision.tasks import Regression
        >>> age = Continuous(name="<age>", source="<age>", mean=40.0, std=10.0, fill=38.0)
        >>> text = page(Schema(target=Target(columns=("pay",), task=Regression()), continuous=(age,)), "n")
        >>> "&lt;age&gt;" in text, "<age>" in text
        (True, False)
    """
    title = escape(f"Predict {', '.join(schema.target.columns)}")
    fields = _upload() if schema.image is not None else "\n".join(_fields(schema))
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" href="data:,">
<style nonce="{escape(nonce)}">{_STYLE}</style>
</head>
<body>
<main>
<h1>{title}</h1>
<p>{escape(_introduction(schema))}</p>
<form id="form" data-kind="{"images" if schema.image is not None else "row"}">
{fields}
<button type="submit">Predict</button>
</form>
<noscript><p>This page needs JavaScript. Or send JSON to <code>/predict</code>.</p></noscript>
<section aria-labelledby="answer-title">
<h2 id="answer-title">Answer</h2>
<div id="answer" role="status" aria-live="polite">Nothing asked yet.</div>
</section>
</main>
<script nonce="{escape(nonce)}">{_SCRIPT}</script>
</body>
</html>
"""


def _introduction(schema: Schema) -> str:
    if schema.image is not None:
        return "Choose one photo or several. They go to this server alone."
    return "Fill in what is known; an empty field counts as missing. The values go to this server alone."


def _upload() -> str:
    return (
        '<div class="field"><label for="images">Photos</label>'
        '<input id="images" name="images" type="file" accept="image/*" multiple required></div>'
    )


def _fields(schema: Schema) -> list[str]:
    makers = {"number": _number, "category": _category, "date": _date}
    return [makers[source.kind](index, source) for index, source in enumerate(sources_of(schema))]


def _field(index: int, name: str, control: str) -> str:
    return f'<div class="field"><label for="field-{index}">{escape(name)}</label>{control}</div>'


def _attributes(index: int, name: str, kind: str) -> str:
    return f'id="field-{index}" data-name="{escape(name)}" data-kind="{kind}" autocomplete="off"'


def _number(index: int, source: Source) -> str:
    name, (_, column) = source.name, source.continuous[0]
    hint = escape(f"such as {column.fill:.6g}")
    return _field(
        index, name, f'<input {_attributes(index, name, "number")} type="number" step="any" placeholder="{hint}">'
    )


def _category(index: int, source: Source) -> str:
    name, vocabulary = source.name, source.categorical[0][1].vocabulary
    if len(vocabulary) > MAX_OPTIONS:
        return _suggestions(index, name, vocabulary)
    options = "".join(
        f'<option value="{escape(json.dumps(label))}">{escape(str(label))}</option>' for label in vocabulary
    )
    empty = '<option value="null">(missing)</option>'
    return _field(index, name, f"<select {_attributes(index, name, 'json')}>{empty}{options}</select>")


def _suggestions(index: int, name: str, vocabulary: tuple[Label, ...]) -> str:
    kind = "text" if isinstance(vocabulary[0], str) else "number"
    options = "".join(f'<option value="{escape(str(label))}"></option>' for label in vocabulary[:MAX_SUGGESTED])
    control = f'<input {_attributes(index, name, kind)} type="text" list="list-{index}">'
    return _field(index, name, f'{control}<datalist id="list-{index}">{options}</datalist>')


def _date(index: int, source: Source) -> str:
    parts = {column.part for _, column in source.categorical}
    hint = "2024-01-31 09:30" if parts & {"hour", "minute"} else "2024-01-31"
    return _field(
        index, source.name, f'<input {_attributes(index, source.name, "text")} type="text" placeholder="{hint}">'
    )


_STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 44rem; margin: 2rem auto; padding: 0 1rem; }
form { display: grid; grid-template-columns: repeat(auto-fit, minmax(13rem, 1fr)); gap: 0.8rem 1.2rem; }
.field { display: flex; flex-direction: column; }
label { font-weight: 600; overflow-wrap: anywhere; }
input, select, button { font: inherit; padding: 0.35rem 0.5rem; min-width: 0; }
button { grid-column: 1 / -1; justify-self: start; padding: 0.45rem 1.4rem; cursor: pointer; }
:focus-visible { outline: 3px solid #2563eb; outline-offset: 2px; }
table { border-collapse: collapse; margin-bottom: 1rem; }
th, td { text-align: left; padding: 0.25rem 1rem 0.25rem 0; border-bottom: 1px solid #8888; }
td { font-variant-numeric: tabular-nums; }
.error { color: #b91c1c; font-weight: 600; }
@media (prefers-color-scheme: dark) { .error { color: #f87171; } }
img { display: block; max-width: 12rem; max-height: 12rem; }
"""

# Every text from outside goes through textContent, never into markup.
_SCRIPT = """
"use strict";
const form = document.getElementById("form");
const answer = document.getElementById("answer");

function valueOf(field) {
  const text = field.value.trim();
  if (field.dataset.kind === "json") return JSON.parse(field.value);
  if (text === "") return null;
  return field.dataset.kind === "number" && text !== "" && isFinite(text) ? Number(text) : text;
}

function show(child) {
  answer.replaceChildren(child);
}

function message(text, isError) {
  const line = document.createElement("p");
  line.textContent = text;
  if (isError) line.className = "error";
  return line;
}

function tableOf(record) {
  const table = document.createElement("table");
  for (const [name, value] of Object.entries(record)) {
    const row = table.insertRow();
    const head = document.createElement("th");
    head.scope = "row";
    head.textContent = name.replace(/^probability_/, "probability of ");
    row.append(head);
    row.insertCell().textContent = typeof value === "number" ? String(Number(value.toPrecision(6))) : String(value);
  }
  return table;
}

function request() {
  if (form.dataset.kind === "images") {
    const body = new FormData();
    for (const file of document.getElementById("images").files) body.append("images", file);
    return { method: "POST", body };
  }
  const row = {};
  for (const field of form.querySelectorAll("[data-name]")) row[field.dataset.name] = valueOf(field);
  return { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(row) };
}

function picture(place) {
  const image = document.createElement("img");
  const file = document.getElementById("images").files[place];
  image.src = URL.createObjectURL(file);
  image.alt = file.name;
  image.onload = () => URL.revokeObjectURL(image.src);
  return image;
}

async function ask(event) {
  if (event) event.preventDefault();
  show(message("Asking…", false));
  try {
    const response = await fetch("predict", request());
    const found = await response.json();
    if (!response.ok) return show(message(found.error, true));
    const all = document.createElement("div");
    (Array.isArray(found) ? found : [found]).forEach((record, place) => {
      if (form.dataset.kind === "images") all.append(picture(place));
      all.append(tableOf(record));
    });
    show(all);
  } catch (error) {
    show(message("The server did not answer: " + error.message, true));
  }
}

form.addEventListener("submit", ask);
if (location.hash.length > 1 && form.dataset.kind === "row") {  // a link that carries the values
  const values = new URLSearchParams(location.hash.slice(1));
  for (const field of form.querySelectorAll("[data-name]")) {
    if (values.has(field.dataset.name)) field.value = values.get(field.dataset.name);
  }
  ask(null);
}
"""
