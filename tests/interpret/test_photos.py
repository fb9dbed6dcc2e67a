"""The images of results come with their labels, and with the answers to them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import pytorch_lightning as pl
import torch

from tabvision.data import ImageDataModule
from tabvision.errors import BadTypeError
from tabvision.inference import Predictor, Results, gather
from tabvision.interpret import top_losses
from tabvision.interpret.mistakes import worst_rows
from tabvision.interpret.photos import overlaid, photos_of
from tabvision.modules import VisionModule
from tests.made.images import encoded, make, pixels, write_folder
from tests.made.results import results_of


def folder_of(root: Path) -> Path:
    return write_folder(root / "photos", {"cat": 4, "dog": 5}, size=(16, 16))


def network(data: Any) -> VisionModule:
    torch.manual_seed(0)
    return VisionModule(data.schema, body="test_resnet", weights=None, head_widths=[8])


def test_each_photo_has_its_own_label_and_answer(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    module = network(make(folder, size=32))

    results = Predictor(module, device="cpu").losses(folder)
    photos = photos_of(results, worst_rows(results, 4), module)

    worst = top_losses(results, 4)
    assert [photo.answer for photo in photos] == worst["label"].tolist()
    assert [photo.name for photo in photos] == [Path(name).name for name in worst["image"]]
    assert [photo.loss for photo in photos] == pytest.approx(worst["loss"].tolist())
    for photo in photos:
        assert photo.label == photo.name.split("_")[0]
        assert photo.is_right == (photo.label == photo.answer)
        assert photo.image is not None
        assert photo.heat is not None
        assert photo.image.shape == (*photo.heat.shape, 3) == (32, 32, 3)
        assert photo.image.mean(axis=(0, 1)).argmax() == ["cat", "dog"].index(photo.label)  # the color of its class
        assert photo.probability is not None
        assert photo.probability >= 0.5
        assert overlaid(photo).shape == photo.image.shape


def test_photos_of_a_trainer_are_the_same_though_rows_without_a_target_lie_between(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    files = sorted(folder.rglob("*.jpg"))
    names = [str(file.relative_to(folder)) for file in files]
    frame = pd.DataFrame({"file": names, "kind": [file.parent.name for file in files]})
    frame.loc[::3, "kind"] = None
    data = ImageDataModule(
        frame,
        "kind",
        root=folder,
        size=32,
        batch_size=4,
        num_workers=1,
        split=0.4,
        missing_target="drop",
        verbose=False,
    )
    module = network(data)
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False)

    gathered = gather(trainer.predict(module, data.val_dataloader()))
    results = Results.of_gathered(data.schema, data.frame, gathered, files=data.files)

    photos = photos_of(results, np.arange(len(results)))
    assert [photo.name for photo in photos] == [Path(name).name for name in results.frame["file"]]
    assert [photo.label for photo in photos] == [photo.name.split("_")[0] for photo in photos]


def test_a_file_that_is_gone_has_its_reason(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    module = network(make(folder, size=32))
    results = Predictor(module, device="cpu").losses(folder)
    (folder / "cat" / "cat_001.jpg").unlink()

    gone, there = photos_of(results, np.array([1, 0]), module)

    assert (gone.image, gone.reason, gone.heat, gone.name) == (None, "no such file", None, "cat_001.jpg")
    assert there.image is not None
    assert there.reason == ""


def test_points_are_drawn_beside_the_answer(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encoded(pixels(40, 40), "PNG"))
    frame = pd.DataFrame({"file": ["a.png"] * 8, "x": [10.0] * 8, "y": [30.0] * 8})
    data = ImageDataModule(frame, ["x", "y"], root=tmp_path, task="points", size=32, batch_size=4, verbose=False)

    results = Predictor(network(data), device="cpu").losses(frame.assign(file=str(tmp_path / "a.png")))
    (photo,) = photos_of(results, np.array([0]))

    assert photo.image is not None
    assert photo.image.shape == (32, 64, 3)
    is_yellow = (photo.image == [255, 255, 0]).all(axis=2)
    row, column = (float(each.mean()) for each in np.nonzero(is_yellow[:, :32]))
    assert (row, column) == pytest.approx((24, 8), abs=1)
    assert is_yellow[:, 32:].any()
    off = np.hypot(*(results.decoded[0] - results.target[0]))
    assert photo.answer == f"on the right, off by {off:.3g} pixels"


def test_results_without_files_are_a_sentence() -> None:
    with pytest.raises(BadTypeError, match="the results have no images"):
        photos_of(results_of("binary"), np.array([0]))


def test_a_photo_without_labels_says_so(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    files = sorted(map(str, folder.rglob("*.jpg")))
    frame = pd.DataFrame({"file": files, "tags": ["a b", "", "a"] * 3})
    data = ImageDataModule(frame, "tags", separator=" ", size=32, batch_size=4, num_workers=1, verbose=False)

    results = Predictor(network(data), device="cpu").losses(frame)

    assert [photo.label for photo in photos_of(results, np.arange(3))] == ["a b", "none", "a"]
