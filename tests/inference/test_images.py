"""Images in every form give the same answer; what cannot be read keeps its row."""

import functools
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from PIL import Image

from tabvision.data import ImageDataModule
from tabvision.errors import BadTypeError, BadValueError, MissingColumnsError, MissingFileError
from tabvision.inference import Predictor, gather
from tabvision.inference.batches import blend, predict_all
from tabvision.modules import VisionModule
from tabvision.modules.network import CHECKPOINT_KEY
from tests.made.trained import fitted, folder

SIDE = 32


@functools.cache
def photos() -> Path:
    """Two folders of ten noisy images: one dark, one bright."""
    place = folder() / "photos"
    random = np.random.default_rng(0)
    for name, level in (("dark", 60), ("bright", 190)):
        (place / name).mkdir(parents=True)
        for number in range(10):
            pixels = random.integers(level - 40, level + 40, (40, 48, 3)).astype(np.uint8)
            cv2.imwrite(str(place / name / f"{number}.png"), pixels)
    return place


@functools.cache
def trained() -> tuple[Path, ImageDataModule, VisionModule]:
    """A checkpoint of a module for images, its data and the module."""
    torch.manual_seed(0)
    data = ImageDataModule(photos(), size=SIDE, batch_size=8, split=0.5, verbose=False)
    module = VisionModule(data.schema, body="test_resnet", weights=None, head_widths=[8])
    return fitted(module, data, "photos", max_epochs=1), data, module.eval()


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor(trained()[0], device="cpu")


@pytest.fixture
def paths() -> list[str]:
    return sorted(map(str, photos().glob("*/*.png")))


def test_a_checkpoint_alone_answers_as_the_trainer_does(predictor: Predictor) -> None:
    _, data, module = trained()
    trainer = pl.Trainer(accelerator="cpu", devices=1, logger=False, enable_progress_bar=False, barebones=False)
    found = gather(trainer.predict(module, data.val_dataloader()))
    files = [str(photos() / data.frame["image"].iloc[row]) for row in found["index"].tolist()]

    answers = predictor.predict(files)

    assert list(answers) == ["label", "probability_bright", "probability_dark"]
    np.testing.assert_allclose(answers.iloc[:, 1:], found["predictions"], atol=1e-5)


FORMS: dict[str, Any] = {
    "path": str,
    "Path": Path,
    "bytes": lambda path: Path(path).read_bytes(),
    "PIL": Image.open,
    "array": lambda path: np.asarray(Image.open(path)),
    "row": lambda path: {"image": path},
}


@pytest.mark.parametrize("form", list(FORMS))
def test_every_form_of_a_image_gets_the_same_answer(form: str, predictor: Predictor, paths: list[str]) -> None:
    expected = predictor.predict(paths[:2])

    alone = predictor.predict(FORMS[form](paths[0]))
    listed = predictor.predict([FORMS[form](path) for path in paths[:2]])

    pd.testing.assert_frame_equal(alone, expected.head(1), check_exact=False, atol=1e-5)
    pd.testing.assert_frame_equal(listed, expected, check_exact=False, atol=1e-5)


def test_a_table_keeps_its_index_and_is_relative_to_its_file(predictor: Predictor, paths: list[str]) -> None:
    expected = predictor.predict(paths[:3])
    frame = pd.DataFrame({"image": paths[:3], "note": "x"}, index=[7, 5, 9])
    relative = pd.DataFrame({"image": [str(Path(path).relative_to(photos())) for path in paths[:3]]})
    relative.to_csv(photos() / "names.csv", index=False)

    answers = predictor.predict(frame)

    assert answers.index.tolist() == [7, 5, 9]
    pd.testing.assert_frame_equal(answers.reset_index(drop=True), expected)
    pd.testing.assert_frame_equal(predictor.predict(photos() / "names.csv").reset_index(drop=True), expected)


def test_a_folder_is_answered_with_its_paths(predictor: Predictor, paths: list[str]) -> None:
    answers = predictor.predict(photos())

    assert list(answers) == ["image", "label", "probability_bright", "probability_dark"]
    assert len(answers) == len(paths)


def test_what_cannot_be_read_keeps_its_row_with_the_reason(predictor: Predictor, paths: list[str]) -> None:
    answers = predictor.predict([paths[0], "nowhere.png", b"no image", paths[1]])

    assert answers["error"].isna().tolist() == [True, False, False, True]
    assert answers["error"].iloc[1] == "no such file"
    assert answers["label"].isna().tolist() == [False, True, True, False]
    assert answers["probability_dark"].isna().tolist() == [False, True, True, False]
    expected = predictor.predict(paths[:2])["probability_dark"]
    np.testing.assert_allclose(answers["probability_dark"].iloc[[0, 3]], expected, atol=1e-6)


def test_nothing_readable_is_still_a_row_each(predictor: Predictor) -> None:
    answers = predictor.predict([b"", b"no image"])

    assert answers["error"].notna().all()
    assert answers[["probability_bright", "probability_dark"]].isna().all(axis=None)


def test_no_images_give_no_rows(predictor: Predictor) -> None:
    assert len(predictor.predict([])) == 0


def test_looking_again_blends_the_plain_view_with_varied_ones(predictor: Predictor, paths: list[str]) -> None:
    plain = predictor.predict(paths).iloc[:, 1:].to_numpy()

    once, again = predictor.predict(paths, tta=2), predictor.predict(paths, tta=2)

    pd.testing.assert_frame_equal(once, again)
    inputs = predictor.read(paths)
    looks = [predict_all(predictor.answers, inputs, num_answers=2, view=view) for view in (1, 2)]
    assert np.abs(looks[0] - looks[1]).max() > 0
    np.testing.assert_allclose(once.iloc[:, 1:], blend(plain, np.stack(looks)), atol=1e-6)
    largest = predictor.predict(paths, tta=2, use_max=True)
    np.testing.assert_allclose(largest.iloc[:, 1:], np.maximum(plain, np.stack(looks).max(axis=0)), atol=1e-6)


def test_looking_again_says_that_an_own_augmentation_is_missing(
    paths: list[str], caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    saved = torch.load(trained()[0], weights_only=True)
    saved[CHECKPOINT_KEY]["own_augmentation"] = "darkened"
    torch.save(saved, tmp_path / "own.ckpt")
    predictor = Predictor(tmp_path / "own.ckpt", device="cpu")

    predictor.predict(paths)
    assert not caplog.messages
    predictor.predict(paths, tta=1)
    assert "without darkened, your own augmentation" in caplog.messages[0]


def test_batches_of_another_size_change_nothing(predictor: Predictor, paths: list[str]) -> None:
    pd.testing.assert_frame_equal(predictor.predict(paths, batch_size=3), predictor.predict(paths), atol=1e-5)


def test_calibrating_on_class_folders_writes_a_checkpoint_that_answers_alike(tmp_path: Path, paths: list[str]) -> None:
    saved = torch.load(trained()[0], weights_only=True)
    for name in list(saved["state_dict"])[-2:]:  # the last layer: one epoch leaves its answers too unsure to calibrate
        saved["state_dict"][name] *= 100
    torch.save(saved, tmp_path / "surer.ckpt")
    own = Predictor(tmp_path / "surer.ckpt", device="cpu")
    shutil.copytree(photos(), tmp_path / "photos")
    (tmp_path / "photos" / "dark" / "0.png").rename(
        tmp_path / "photos" / "bright" / "dark.png"
    )  # none is sure to be right

    fitted = own.calibrate(tmp_path / "photos", out=tmp_path / "sure.ckpt", metric="f1")

    assert fitted.num_rows == len(paths)
    assert fitted.after["cross_entropy"] <= fitted.before["cross_entropy"] + 1e-9
    pd.testing.assert_frame_equal(Predictor(tmp_path / "sure.ckpt").predict(paths), own.predict(paths))


def test_the_augmentation_of_training_is_in_the_checkpoint(predictor: Predictor) -> None:
    assert predictor.read([]).images.augment == trained()[1].augment  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        ("nowhere.jpg", MissingFileError, "there is no 'nowhere.jpg'"),
        (3, BadTypeError, "source must be images, got int"),
        ([3], BadTypeError, "image 0 of the list is of type int"),
        (pd.DataFrame({"file": ["a.jpg"]}), MissingColumnsError, "'image'"),
    ],
)
def test_what_is_no_image_is_refused(source: Any, error: type[Exception], message: str, predictor: Predictor) -> None:
    with pytest.raises(error, match=message):
        predictor.predict(source)


@pytest.mark.parametrize(("tta", "error"), [(-1, BadValueError), (True, BadTypeError), (1.5, BadTypeError)])
def test_a_number_of_looks_that_is_none_is_refused(tta: Any, error: type[Exception], predictor: Predictor) -> None:
    with pytest.raises(error, match="tta must be"):
        predictor.predict([], tta=tta)


def test_an_empty_folder_is_refused(predictor: Predictor, tmp_path: Path) -> None:
    with pytest.raises(BadValueError, match="Predictor"):
        predictor.predict(tmp_path)


def test_calibrating_needs_the_answers(predictor: Predictor, paths: list[str]) -> None:
    with pytest.raises(BadTypeError, match="images must have their targets"):
        predictor.calibrate(paths)
