"""The report is one file for every kind of target, in which no name is markup and nothing is loaded from elsewhere."""

import dataclasses
import functools
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from typing_extensions import override

from tabvision.errors import BadValueError
from tabvision.report import write_report
from tests.made.results import KINDS, others, results_of
from tests.made.sweeps import slow_but

# Others draw with the same lines, or stand in a test below or in one of the command.
QUICK = ("multilabel", "regression", "points")
EVIL = "\"><script>alert(1)</script>&'{{ 7 * 7 }}<img src=x onerror=alert(1)>"


class Elements(HTMLParser):
    """Every element with its attributes, and the text of the page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    @override
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    @override
    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Writes the page of a kind of target, alone in its folder, once."""
    return functools.cache(
        lambda kind: write_report(tmp_path_factory.mktemp(kind) / "report.html", results_of(kind), **others(kind))
    )


@pytest.mark.parametrize("kind", slow_but(QUICK, KINDS))
def test_every_kind_of_target_has_a_page(kind: str, pages: Callable[[str], Path]) -> None:
    path = pages(kind)

    text = path.read_text(encoding="utf-8")
    elements = Elements(text)
    tags = [tag for tag, _ in elements.found]
    figures, tables = tags.count("svg"), tags.count("table")
    assert figures >= 3
    assert tables >= figures
    assert all(attributes.get("aria-label") for tag, attributes in elements.found if tag == "svg")
    assert ("html", {"lang": "en"}) in elements.found
    assert (tags.count("h1"), "prefers-color-scheme" in text or "color-scheme: light dark" in text) == (1, True)
    assert path.stat().st_size < 2_000_000
    assert [file.name for file in path.parent.iterdir()] == ["report.html"]


def test_nothing_is_loaded_from_elsewhere_and_no_id_stands_twice(pages: Callable[[str], Path]) -> None:
    text = pages("regression").read_text(encoding="utf-8")

    elements = Elements(text)
    assert "script" not in [tag for tag, _ in elements.found]
    assert "://" not in text
    addresses = [value for _, attributes in elements.found for name, value in attributes.items() if "href" in name]
    assert all(str(value).startswith(("#", "data:")) for value in addresses)
    ids = re.findall(r'\bid="([^"]*)"', text)
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("kind", ["multiclass", "several"])
def test_names_and_values_are_never_markup(kind: str, tmp_path: Path) -> None:
    made = results_of(kind)
    renamed = {name: f"{EVIL}{name}" for name in made.schema.target.columns}
    frame = made.frame.rename(columns=renamed).assign(**{EVIL: EVIL})
    classes = tuple(f"{EVIL}{name}" for name in made.schema.target.classes)
    target = dataclasses.replace(made.schema.target, columns=tuple(renamed.values()), classes=classes)
    results = dataclasses.replace(made, schema=dataclasses.replace(made.schema, target=target), frame=frame)
    rest = {
        **others(),
        "importance": pd.DataFrame({"column": [EVIL], "importance": [1.0], "std": [0.1]}),
        "facts": {EVIL: EVIL},
        "oddities": [EVIL],
        "drift": pd.DataFrame({"column": [EVIL], "measure": [EVIL], "distance": [1.0], "drifted": [True]}),
    }

    text = write_report(tmp_path / "a.html", results, title=EVIL, **rest).read_text(encoding="utf-8")

    elements = Elements(text)
    assert not {"script", "img"} & {tag for tag, _ in elements.found}
    assert not [name for _, attributes in elements.found for name in attributes if name.startswith("on")]
    assert "{{ 7 * 7 }}" in elements.text


def test_a_file_is_only_replaced_if_told_to(tmp_path: Path) -> None:
    path = tmp_path / "a.html"
    path.write_text("mine")

    with pytest.raises(BadValueError, match=r"write_report: .* is a file already"):
        write_report(path, results_of("binary"))
    assert path.read_text() == "mine"
    write_report(path, results_of("binary"), overwrite=True)
    assert path.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_another_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadValueError, match=r"the name must end in \.html"):
        write_report(tmp_path / "a.pdf", results_of("binary"))
