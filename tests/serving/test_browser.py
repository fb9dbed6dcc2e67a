"""The page in headless Chromium: it comes up, a row is filled in or a photo is uploaded, and it shows the answer."""

import base64
import os
import subprocess
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
import pytest
from PIL import Image

from tabvision.inference import Predictor
from tabvision.modules import FusedModule, VisionModule
from tests.made.chromium import CHROMIUM, MISSING, browsing
from tests.made.pairs import Pair
from tests.made.servers import model, running
from tests.made.trainers import saved

needs_chromium = pytest.mark.skipif(CHROMIUM is None and "CI" not in os.environ, reason=MISSING)


def dump(address: str, profile: Path) -> str:
    """The document as Chromium holds it once the script has run."""
    assert CHROMIUM is not None, MISSING
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}"]
    command += ["--virtual-time-budget=10000", "--dump-dom", address]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout


@pytest.mark.slow
@needs_chromium
def test_the_page_asks_and_shows_the_answer(tmp_path: Path) -> None:
    row = {"x": 1.5, "z": 100.0, "job": "cook", "size": "s"}
    filled = urlencode({"x": 1.5, "z": 100.0, "job": '"cook"', "size": '"s"'})

    with running() as client:
        text = dump(f"{client.base_url}/#{filled}", tmp_path)

    expected = model().predict(row).iloc[0]
    assert f"<td>{expected['label']}</td>" in text
    assert f"{100 * expected['probability_yes']:.1f}%" in text


@needs_chromium
def test_the_page_comes_up_with_its_form(tmp_path: Path) -> None:
    with running() as client:
        text = dump(f"{client.base_url}/", tmp_path)

    assert "No prediction yet." in text
    assert text.count("data-name=") == 4


def vision(folder: Path) -> Predictor:
    """A network for photos, opened from its checkpoint."""
    pair = Pair(VisionModule, "multiclass")
    return Predictor(saved(pair.module(pair.data().schema), folder / "photos.ckpt"), device="cpu")


def photos(folder: Path) -> list[str]:
    draw, paths = np.random.default_rng(0), []
    for name in ("a.png", "b.jpg", "<i>c.png"):
        paths.append(str(folder / name))
        Image.fromarray(draw.integers(0, 256, (40, 60, 3), dtype=np.uint8)).save(paths[-1])
    return paths


@pytest.mark.slow
@needs_chromium
def test_photos_are_uploaded_and_shown_with_their_answers(tmp_path: Path) -> None:
    predictor, paths = vision(tmp_path), photos(tmp_path)

    with running(predictor) as client, browsing(tmp_path / "profile") as tab:
        tab.open(str(client.base_url))
        tab.choose_files("#images", paths)
        tab.value_of("document.querySelector('button').click()")
        tab.wait_for("document.querySelectorAll('#answer table').length === 3")
        tab.wait_for("[...document.querySelectorAll('#answer img')].every((image) => image.naturalWidth === 60)")
        shown = tab.value_of(
            "[...document.querySelectorAll('#answer table')].map((table) => [...table.rows].map((row) => row.innerText))"
        )
        alts = tab.value_of("[...document.querySelectorAll('#answer img')].map((image) => image.alt)")

    assert alts == [Path(path).name for path in paths]
    for lines, expected in zip(shown, predictor.predict(paths).to_dict("records"), strict=True):
        found = dict(line.split("\t") for line in lines)
        assert found.pop("label") == expected.pop("label")
        wanted = {name.replace("probability_", "probability of "): value for name, value in expected.items()}
        assert [*found] == sorted(wanted, key=lambda name: -wanted[name])
        assert found == {name: f"{100 * value:.1f}%" for name, value in wanted.items()}


@pytest.mark.slow
@needs_chromium
def test_a_row_with_a_photo_is_filled_in_uploaded_and_answered(tmp_path: Path) -> None:
    pair = Pair(FusedModule, "regression")
    predictor = Predictor(pair.module(pair.data().schema), device="cpu")
    photo = photos(tmp_path)[0]

    with running(predictor) as client, browsing(tmp_path / "profile") as tab:
        tab.open(str(client.base_url))
        tab.value_of("document.querySelector('[data-name=x]').value = '0.5'")
        tab.choose_files("[data-column=file]", [photo])
        tab.value_of("document.querySelector('button').click()")
        tab.wait_for("document.querySelectorAll('#answer table').length === 1")
        found = tab.value_of("document.querySelector('#answer td').innerText")

    row = {"x": 0.5, "z": None, "job": None, "size": None, "file": photo, "back": None}
    assert float(found) == pytest.approx(predictor.predict(row)["prediction"].iloc[0], rel=1e-4)


DROP = """
const bytes = Uint8Array.from(atob("%s"), (letter) => letter.charCodeAt(0));
const moved = new DataTransfer();
moved.items.add(new File([bytes], "large.jpg", { type: "image/jpeg" }));
const sent = [], send = window.fetch;
window.fetch = (url, options) => { sent.push(...options.body.getAll("images")); return send(url, options); };
window.sent = sent;
document.dispatchEvent(new DragEvent("drop", { dataTransfer: moved, bubbles: true, cancelable: true }));
"""


@pytest.mark.slow
@needs_chromium
def test_a_large_photo_that_is_dropped_is_sent_small_and_answered_as_the_file(tmp_path: Path) -> None:
    predictor, file = vision(tmp_path), tmp_path / "large.jpg"
    rows, columns = np.mgrid[:900, :1200]
    pixels = np.stack([rows / 4, columns / 5, (rows + columns) / 9], axis=2).astype(np.uint8)
    Image.fromarray(pixels).save(file, quality=95)

    with running(predictor) as client, browsing(tmp_path / "profile") as tab:
        tab.open(str(client.base_url))
        tab.value_of(DROP % base64.b64encode(file.read_bytes()).decode())
        tab.wait_for("document.querySelectorAll('#answer table').length === 1")
        sent = tab.value_of("[sent[0].name, sent[0].size]")
        caption = tab.value_of("document.querySelector('#answer figcaption').innerText")
        shown = tab.value_of("[...document.querySelectorAll('#answer tr')].map((row) => row.innerText)")

    assert (sent[0], caption) == ("large.jpg", "large.jpg")
    assert sent[1] < file.stat().st_size / 10
    expected = predictor.predict(str(file)).iloc[0]
    found = dict(line.split("\t") for line in shown)
    assert found["label"] == expected["label"]
    for name, value in found.items():
        if name.startswith("probability of "):
            assert (
                abs(float(value.rstrip("%")) / 100 - expected[name.replace("probability of ", "probability_")]) < 0.02
            )


@pytest.mark.slow
@needs_chromium
def test_a_file_that_is_no_photo_is_told_on_the_page(tmp_path: Path) -> None:
    (tmp_path / "notes.png").write_text("no photo")

    with running(vision(tmp_path)) as client, browsing(tmp_path / "profile") as tab:
        tab.open(str(client.base_url))
        tab.choose_files("#images", [str(tmp_path / "notes.png")])
        tab.value_of("document.querySelector('button').click()")
        tab.wait_for("document.querySelector('#answer .error') !== null")
        text = tab.value_of("document.getElementById('answer').innerText")

    assert text == "Image 1: not an image in a known format."
