"""The page: a field for every column, safe against what column names may hold, nothing from elsewhere."""

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typing_extensions import override

from tabvision.data import TabularDataModule
from tabvision.schema import Image, Schema, Target
from tabvision.serving.page import _MAX_OPTIONS, page
from tabvision.tasks import Binary, Points, Task
from tests.made.trained import trained

EVIL = "\"><script>alert(1)</script>&'<img src=x onerror=alert(1)>"


class Elements(HTMLParser):
    """Every element with its attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    @override
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def all(self, *tags: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.found if tag in tags]


def schema_of(frame: pd.DataFrame, **settings: Any) -> Schema:
    return TabularDataModule(frame, "paid", verbose=False, split=None, **settings).schema


def evil() -> Schema:
    frame = pd.DataFrame({EVIL: [EVIL, "b"] * 20, "x": range(40), "paid": ["no", EVIL] * 20})
    return schema_of(frame, categorical=[EVIL])


def test_every_input_has_a_field_with_a_label() -> None:
    schema = trained("binary")[2].schema
    elements = Elements(page(schema, "nonce"))

    fields = [field for field in elements.all("input", "select") if "data-name" in field]
    assert sorted(str(field["data-name"]) for field in fields) == sorted(schema.inputs)
    assert {field["id"] for field in fields} <= {label["for"] for label in elements.all("label")}


def test_names_and_values_are_never_markup_and_nothing_is_loaded_from_elsewhere() -> None:
    text = page(evil(), "nonce")
    elements = Elements(text)
    assert len(elements.all("script")) == 1
    assert not elements.all("img")
    (select,) = elements.all("select")
    assert select["data-name"] == EVIL
    assert json.dumps(EVIL) in [option["value"] for option in elements.all("option")]

    sources = [
        value
        for _, attributes in elements.found
        for name, value in attributes.items()
        if name in ("src", "href", "action")
    ]
    assert sources == ["data:,"]
    assert "http" not in text.replace("https://", "http://").replace("http-equiv", "")


def test_script_and_style_carry_the_nonce() -> None:
    elements = Elements(page(evil(), "n0nce"))

    assert [each["nonce"] for each in elements.all("script", "style")] == ["n0nce", "n0nce"]


def test_many_values_are_suggested_rather_than_listed() -> None:
    frame = pd.DataFrame({"city": [f"c{row % 100}" for row in range(400)], "paid": ["no", "yes"] * 200})
    elements = Elements(page(schema_of(frame, categorical=["city"]), "n"))

    assert len(elements.all("datalist")) == 1
    assert len(elements.all("option")) == 100 > _MAX_OPTIONS
    assert not elements.all("select")


def test_a_date_has_a_field_that_shows_how_to_write_it() -> None:
    days = pd.date_range("2024-01-01", periods=60)
    frame = pd.DataFrame({"day": days, "paid": ["no", "yes"] * 30})

    (field,) = [each for each in Elements(page(schema_of(frame), "n")).all("input") if "data-name" in each]

    assert field["data-name"] == "day"
    assert field["placeholder"] == "2024-01-31"


def test_images_are_uploaded() -> None:
    schema = Schema(target=Target(columns=("pet",), task=Binary(), classes=("cat", "dog")), image=Image(size=(8, 8)))

    (field,) = Elements(page(schema, "n")).all("input")

    assert field["type"] == "file"
    assert field["accept"] == "image/*"


@pytest.mark.parametrize(
    ("image", "task", "side"),
    [
        (Image(size=(8, 12)), Binary(), "24"),
        (Image(size=(8, 12), channels=4), Binary(), "0"),
        (Image(size=(8, 12), value_range=((0.0, 4095.0),)), Binary(), "0"),
        (Image(size=(8, 12)), Points(), "0"),
    ],
    ids=["photos", "four bands", "12 bits", "points"],
)
def test_photos_are_shrunk_before_they_are_sent_where_nothing_is_lost(image: Image, task: Task, side: str) -> None:
    columns = ("x", "y") if task == Points() else ("pet",)
    schema = Schema(target=Target(columns=columns, task=task, classes=("cat", "dog")), image=image)

    (form,) = Elements(page(schema, "n")).all("form")

    assert form["data-shrink"] == side


SHIM = """
const field = (name, kind, value) => ({ value, dataset: { name, kind } });
const fields = [field("x", "number", " 1.5 "), field("z", "number", ""), field("job", "json", '"cook"')];
fields.push(field("size", "json", "null"), field("day", "text", "2024-01-31"));
fields.push(field("id", "number", "900719925474099301"));
const asked = [];
const form = { dataset: { kind: "row" }, querySelectorAll: () => fields };
form.addEventListener = (_, what) => { globalThis.submit = what; };
const answer = { shown: null, replaceChildren(child) { this.shown = child; } };
const element = (tag) => ({ tag, children: [], textContent: "", append(child) { this.children.push(child); },
  insertRow() { const row = element("tr"); this.children.push(row); return row; },
  insertCell() { const cell = element("td"); this.children.push(cell); return cell; } });
globalThis.document = { getElementById: (id) => (id === "form" ? form : answer), createElement: element };
globalThis.location = { hash: "" };
globalThis.fetch = async (url, options) => { asked.push([url, options]); return REPLY; };
"""
CHECK = """
submit({ preventDefault() {} }).then(() => console.log(JSON.stringify({ asked, shown: answer.shown })));
"""


def run_script(reply: str, tmp_path: Path) -> Any:
    """What the page's script asks and shows, in Node with a stand-in for the few elements that it touches."""
    if not shutil.which("node"):
        pytest.skip("Node.js is not installed; the script is also run by the test in Chromium")
    (script,) = re.findall(r"<script[^>]*>(.*?)</script>", page(trained("binary")[2].schema, "n"), re.DOTALL)
    path = tmp_path / "page.js"
    path.write_text(
        SHIM.replace("REPLY", reply)
        + script.replace('"use strict";', "").replace("const form =", "// ").replace("const answer =", "// ")
        + CHECK
    )
    done = subprocess.run(["node", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_script_sends_the_fields_as_a_row_and_shows_the_answer(tmp_path: Path) -> None:
    found = run_script(
        """{ ok: true, text: async () => '{"label": "<b>yes</b>", "probability_yes": 0.123456789}' }""", tmp_path
    )

    ((url, options),) = found["asked"]
    assert url == "predict"
    assert json.loads(options["body"]) == {
        "x": 1.5,
        "z": None,
        "job": "cook",
        "size": None,
        "day": "2024-01-31",
        "id": "900719925474099301",
    }
    (table,) = found["shown"]["children"]
    cells = [[cell["textContent"] for cell in row["children"]] for row in table["children"]]
    assert cells == [["label", "<b>yes</b>"], ["probability of yes", "12.3%"]]


def test_the_script_shows_all_digits_of_integers(tmp_path: Path) -> None:
    record = {
        "label": 900719925474099301,
        "seven": 1234567,
        "text": ': 900719925474099301, \\"',
        "probability_1": 1e-20,
        "probability_2": 1,
    }
    found = run_script(f"{{ ok: true, text: async () => {json.dumps(json.dumps(record))} }}", tmp_path)

    (table,) = found["shown"]["children"]
    cells = [row["children"][1]["textContent"] for row in table["children"]]
    assert cells == ["900719925474099301", "1234567", record["text"], "100.0%", "0.0%"]


def test_an_integer_that_a_script_would_round_is_offered_as_text() -> None:
    ids = [900719925474099301, 900719925474099302]
    frame = pd.DataFrame({"id": ids * 20, "paid": ["no", "yes", "yes", "no"] * 10})
    elements = Elements(page(schema_of(frame, categorical=["id"]), "n"))

    assert [option["value"] for option in elements.all("option")] == ["null", *(f'"{number}"' for number in ids)]


def test_the_script_shows_an_error_as_text(tmp_path: Path) -> None:
    found = run_script('{ ok: false, text: async () => JSON.stringify({ error: "Wrong <i>x</i>." }) }', tmp_path)

    assert found["shown"]["textContent"] == "Wrong <i>x</i>."
    assert found["shown"]["className"] == "error"
