"""The documentation site builds without a warning, shows every public name, and needs no network."""

import json
import os
import re
import subprocess
import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

import pytest
from typing_extensions import override

from docs import mkdocs_hook
from tests.made.chromium import CHROMIUM, MISSING, browsing
from tests.test_surface import SURFACE, command_line, library_names

ROOT = Path(__file__).parents[1]
FETCHED = re.compile(r"<(?:script|img|iframe|link)\b[^>]*?\b(?:src|href)=\"?([^\"\s>]+)")


class SilentHandler(SimpleHTTPRequestHandler):
    @override
    def log_message(self, format: str, *args: Any) -> None: ...


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
def test_every_public_name_and_command_is_shown(site: Path) -> None:
    pages = {path.stem: path.read_text(encoding="utf-8") for path in site.glob("reference/*.html")}

    names = {re.split(r"[(\[ ]", line)[0] for line in library_names()}
    shown = set(re.findall(r'\bid="(tabvision\.[\w.]+)"', "".join(pages.values())))
    assert {name for name in names if name.count(".") == 2} <= shown
    for line in command_line():
        *_, option = line.split("/")[0].split(" {")[0].split()
        assert not option.startswith("-") or option in pages["commands"], line


@pytest.mark.slow
def test_what_pages_fetch_comes_with_the_site(site: Path) -> None:
    for page in site.rglob("*.html"):
        for link in FETCHED.findall(page.read_text(encoding="utf-8")):
            base = site if page.name == "404.html" else page.parent  # that page's links begin at the root
            found = base / urlsplit(link).path.lstrip("/")
            assert not urlsplit(link).netloc, f"{page.name} asks {link}"
            assert found.exists(), f"{page.name}: {link}"


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None and "CI" not in os.environ, reason=MISSING)
def test_a_reader_finds_a_callback_by_search(site: Path, tmp_path: Path) -> None:
    handler = partial(SilentHandler, directory=str(site))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server, browsing(tmp_path) as tab:
        Thread(target=server.serve_forever, daemon=True).start()
        tab.open(f"http://127.0.0.1:{server.server_port}/index.html?q=OneCycle")
        tab.wait_for(
            "[...document.querySelectorAll('.md-search-result a')].some(it => it.href.includes('callbacks.html'))"
        )
        asked = tab.value_of("performance.getEntriesByType('resource').map(it => new URL(it.name).hostname)")
        server.shutdown()

    assert set(asked) == {"127.0.0.1"}


@pytest.mark.slow
def test_a_lesson_can_be_opened_as_a_notebook(site: Path) -> None:
    for lesson in (ROOT / "docs" / "lessons").glob("[0-9]*.md"):
        assert json.loads((site / "docs" / "lessons" / f"{lesson.stem}.ipynb").read_text(encoding="utf-8"))["cells"]
        page = (site / "docs" / "lessons" / f"{lesson.stem}.html").read_text(encoding="utf-8")
        assert f'href="{lesson.stem}.ipynb"' in page


def test_names_are_those_of_the_surface() -> None:
    names = mkdocs_hook.public_names()

    assert "OneCycle" in names["callbacks"]
    assert f"tabvision.errors.{names['errors'][0]}" in SURFACE.read_text(encoding="utf-8")
    assert not any("." in name for part in names.values() for name in part)


@pytest.mark.parametrize(
    ("text", "linked"),
    [
        ("`OneCycle`", "[`OneCycle`][tabvision.callbacks.OneCycle]"),
        ("`OneCycle(0.1)` and", "[`OneCycle(0.1)`][tabvision.callbacks.OneCycle] and"),
        ("`plots.importance`", "[`plots.importance`][tabvision.plots.importance]"),
        ("`lr_find(trainer, model)`", "[`lr_find(trainer, model)`][tabvision.tuning.lr_find]"),
        ("`schedule`", "`schedule`"),  # a word, and a function of plots
        ("`importance(...)`", "`importance(...)`"),  # of plots and of interpret
        ("[`OneCycle`](tables.md)", "[`OneCycle`](tables.md)"),  # a link already
        ("`pl.Trainer(...)`", "`pl.Trainer(...)`"),
    ],
)
def test_names_in_documents_are_linked_to_the_reference(text: str, linked: str) -> None:
    assert mkdocs_hook.link_names(text) == linked


def test_code_blocks_stay_as_they_are() -> None:
    text = "```python\nx = `OneCycle`\n```\n"

    assert mkdocs_hook.link_names(text) == text
