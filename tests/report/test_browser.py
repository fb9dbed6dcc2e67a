"""The page in headless Chromium: axe-core finds nothing that keeps people out, and nothing is asked of the network."""

import json
import os
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from tabvision.report import write_report
from tests.made.chromium import CHROMIUM, MISSING, Tab, browsing
from tests.made.results import KINDS, others, results_of

AXE = resources.files("axe_core_python") / "axe.min.js"

needs_chromium = pytest.mark.skipif(CHROMIUM is None and "CI" not in os.environ, reason=MISSING)


def violations(tab: Tab) -> list[Any]:
    """The rules of axe-core that the page breaks, each with the start of the first element that does."""
    told = "axe.run().then(found => JSON.stringify(found.violations.map(it => [it.id, it.help, it.nodes[0].html])))"
    answer = tab.do("Runtime.evaluate", expression=told, awaitPromise=True, returnByValue=True)
    found: list[Any] = json.loads(answer["result"]["value"])
    return found


@pytest.mark.slow
@needs_chromium
@pytest.mark.parametrize("kind", KINDS)
def test_the_page_is_accessible_and_asks_for_nothing(kind: str, tmp_path: Path) -> None:
    page = write_report(tmp_path / "report.html", results_of(kind), **others(kind))

    with browsing(tmp_path / "profile") as tab:
        tab.open(page.as_uri())
        tab.do("Log.enable")
        requests = tab.value_of("performance.getEntriesByType('resource').map(it => it.name).join()")
        told = [event["params"]["entry"]["text"] for event in tab.events if event.get("method") == "Log.entryAdded"]
        tab.do("Runtime.evaluate", expression=AXE.read_text(encoding="utf-8"))
        found = {}
        for scheme in ("light", "dark"):
            tab.do("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
            found[scheme] = (tab.value_of("matchMedia('(prefers-color-scheme: dark)').matches"), violations(tab))

    assert (requests, told) == ("", [])
    assert found == {"light": (False, []), "dark": (True, [])}


@pytest.mark.slow
@needs_chromium
def test_what_keeps_people_out_is_found(tmp_path: Path) -> None:
    page = write_report(tmp_path / "report.html", results_of("binary"), **others())
    text = page.read_text(encoding="utf-8")
    page.write_text(text.replace('lang="en"', "").replace("CanvasText", "#eeeeef"), encoding="utf-8")

    with browsing(tmp_path / "profile") as tab:
        tab.open(page.as_uri())
        tab.do("Runtime.evaluate", expression=AXE.read_text(encoding="utf-8"))
        found = {rule for rule, *_ in violations(tab)}

    assert {"html-has-lang", "color-contrast"} <= found
