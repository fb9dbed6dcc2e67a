"""The page shows the images with the highest loss, each with a text in its place, and none of a file's path but its name."""

from __future__ import annotations

import base64
import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from typing_extensions import override

from tabvision.data import FusedDataModule
from tabvision.inference import Predictor, Results
from tabvision.interpret.mistakes import worst_rows
from tabvision.modules import FusedModule, VisionModule
from tabvision.report import summarize, write_report
from tests.made.chromium import CHROMIUM, MISSING, browsing
from tests.made.drawn import with_files
from tests.made.images import make, write_folder
from tests.made.pairs import make_frame
from tests.report.test_write import EVIL, Elements

FILE = EVIL.replace("/", "")
needs_chromium = pytest.mark.skipif(CHROMIUM is None and "CI" not in os.environ, reason=MISSING)


def answered(folder: Path, net: nn.Module | None = None) -> tuple[Results, Predictor]:
    """The answers to thirty images of two classes in a folder, one of them of hostile name."""
    write_folder(folder / "hidden", {"cat": 15, FILE: 15}, size=(40, 60))
    (folder / "hidden" / "cat" / "cat_000.jpg").rename(folder / "hidden" / "cat" / f"{FILE}.jpg")
    schema = make(folder / "hidden", size=(32, 48)).schema
    torch.manual_seed(0)
    settings = {"head": "linear", "num_groups": 2} if net else {"head_widths": [8], "weights": None}
    module = VisionModule(schema, body=net or "test_resnet", **settings)
    predictor = Predictor(module, device="cpu")
    return predictor.losses(folder / "hidden"), predictor


def test_the_photos_of_the_worst_rows_stand_on_the_page_of_rows_with_photos(tmp_path: Path) -> None:
    frame = with_files(make_frame(30), tmp_path / "photos").assign(back=None)[["x", "job", "file", "back", "pay"]]
    data = FusedDataModule(frame, "pay", image=["file", "back"], size=32, verbose=False)
    torch.manual_seed(0)
    predictor = Predictor(FusedModule(data.schema, body="test_resnet", weights=None), device="cpu")

    results = predictor.losses(frame)
    text = write_report(tmp_path / "a.html", results, model=predictor).read_text(encoding="utf-8")

    images = [attributes for tag, attributes in Elements(text).found if tag == "img"]
    worst = results.frame.index[worst_rows(results, 12)]
    assert [str(image["alt"]).partition(";")[0] for image in images] == [f"file of row {row}" for row in worst]
    assert "The images of the 12 rows with the highest loss" in text


def test_the_worst_images_stand_on_the_page_with_where_the_network_looked(tmp_path: Path) -> None:
    results, predictor = answered(tmp_path)

    path = write_report(tmp_path / "a.html", results, model=predictor)

    text = path.read_text(encoding="utf-8")
    elements = Elements(text)
    images = [attributes for tag, attributes in elements.found if tag == "img"]
    assert len(images) == 48
    assert all(image["alt"] for image in images)
    prefix = "data:image/jpeg;base64,"
    for image in images:
        pixels = Image.open(io.BytesIO(base64.b64decode(str(image["src"]).removeprefix(prefix))))
        assert pixels.size == (48, 32)
    assert path.stat().st_size < 8_000_000
    assert "script" not in {tag for tag, _ in elements.found}
    assert not [name for _, attributes in elements.found for name in attributes if name.startswith("on")]
    assert FILE[:40] in elements.text
    assert "hidden" not in text
    assert "No slice of a column" not in text  # there are no columns
    assert str(tmp_path) not in text


def test_a_summary_with_images_is_plain_data(tmp_path: Path) -> None:
    results, predictor = answered(tmp_path)

    summary = summarize(results, model=predictor)

    assert json.loads(json.dumps(summary, allow_nan=False)) == summary


def test_a_large_photo_becomes_a_small_one(tmp_path: Path) -> None:
    write_folder(tmp_path / "photos", {"a": 2, "b": 2}, size=(700, 900))
    torch.manual_seed(0)
    schema = make(tmp_path / "photos", size=(320, 640)).schema
    module = VisionModule(schema, body="test_resnet", weights=None, head_widths=[8])
    results = Predictor(module, device="cpu").losses(tmp_path / "photos")

    path = write_report(tmp_path / "a.html", results, model=module)

    sources = [attributes["src"] for tag, attributes in Elements(path.read_text()).found if tag == "img"]
    pixels = [Image.open(io.BytesIO(base64.b64decode(str(source).partition(",")[2]))) for source in sources]
    assert [image.size for image in pixels] == [(320, 160)] * 8


class NoGradient(nn.Module):
    """A network whose answers have no gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    @override
    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.conv(images).detach()
        return features


@pytest.mark.parametrize("net", [nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 48, 4)), NoGradient()])
def test_without_a_map_the_images_stand_alone_and_the_page_says_so(net: nn.Module, tmp_path: Path) -> None:
    results, predictor = answered(tmp_path, net)

    text = write_report(tmp_path / "a.html", results, model=predictor).read_text(encoding="utf-8")

    assert len([tag for tag, _ in Elements(text).found if tag == "img"]) == 24
    assert "Where the network looked is not shown" in text


def test_a_file_that_is_gone_is_shown_as_text(tmp_path: Path) -> None:
    results, predictor = answered(tmp_path)
    worst = results.take(np.argsort(-results.loss)[:2])
    for source in worst.images.sources:  # type: ignore[union-attr]
        Path(str(source)).unlink()

    elements = Elements(write_report(tmp_path / "a.html", worst, model=predictor).read_text(encoding="utf-8"))

    assert "img" not in {tag for tag, _ in elements.found}
    assert elements.text.count("cannot be shown: no such file") == 2


@pytest.mark.slow
@needs_chromium
def test_a_browser_shows_every_image(tmp_path: Path) -> None:
    results, predictor = answered(tmp_path)
    path = write_report(tmp_path / "a.html", results, model=predictor)

    with browsing(tmp_path / "profile") as tab:
        tab.open(path.as_uri())

        shown = tab.value_of("[...document.images].filter(image => image.naturalWidth === 48).length")
        wide = tab.value_of("document.documentElement.scrollWidth <= window.innerWidth")

    assert (shown, wide) == (48, True)
