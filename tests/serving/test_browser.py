"""The page in headless Chromium: it comes up, asks, and shows the answer."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.serving.running import model, running

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: apt-get install chromium")


def dump(address: str, profile: Path) -> str:
    """The document as Chromium holds it once the script has run."""
    assert CHROMIUM is not None
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}"]
    command += ["--virtual-time-budget=10000", "--dump-dom", address]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout


@needs_chromium
def test_the_page_asks_and_shows_the_answer(tmp_path: Path) -> None:
    row = {"x": 1.5, "z": 100.0, "job": "cook", "size": "s"}
    filled = urlencode({"x": 1.5, "z": 100.0, "job": '"cook"', "size": '"s"'})

    with running() as client:
        text = dump(f"{client.base_url}/#{filled}", tmp_path)

    expected = model().predict(row).iloc[0]
    assert f"<td>{expected['label']}</td>" in text
    assert f"{expected['probability_yes']:.4g}"[:5] in text


@needs_chromium
def test_the_page_comes_up_with_its_form(tmp_path: Path) -> None:
    with running() as client:
        text = dump(f"{client.base_url}/", tmp_path)

    assert "Nothing asked yet." in text
    assert text.count("data-name=") == 4
