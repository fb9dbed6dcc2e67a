"""Points move with their images, whatever happens to these, and come back as pixels of each image."""

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from tabvision.augment import Augmentation
from tabvision.augment.geometry import to_output
from tabvision.callbacks import FineTune, ProgressiveResize
from tabvision.data import ImageDataModule
from tabvision.errors import BadValueError
from tabvision.inference import OnnxPredictor, Predictor, gather
from tabvision.inference.exporting import export
from tabvision.modules import VisionModule
from tabvision.tasks import Points
from tabvision.tasks.points import _move_points
from tests.made.images import encoded
from tests.made.points import COLUMNS, SIZES, blob, make, spotted
from tests.made.trainers import quiet_trainer

GEOMETRY = Augmentation(flip_vertical=0.5, transpose=0.5, rotate=30, shear=10, lighting_share=0, affine_share=1)


def found_spots(images: torch.Tensor) -> NDArray[np.float64]:
    """The centers of mass of the red and the green spot of normalized or uint8 images, in the network's frame."""
    values = images[:, :2].double().numpy()
    values = np.clip(values - np.median(values, axis=(2, 3), keepdims=True), 0, None)
    values = np.where(values > 0.4 * values.max(axis=(2, 3), keepdims=True), values, 0)
    down, across = np.mgrid[: values.shape[2], : values.shape[3]]
    mass = np.maximum(values.sum(axis=(2, 3)), 1e-9)  # a spot may be out of view
    pixels = np.stack([(values * across).sum(axis=(2, 3)) / mass, (values * down).sum(axis=(2, 3)) / mass], axis=2)
    frame = np.linalg.inv(to_output((values.shape[2], values.shape[3])))
    return _move_points(pixels.reshape(len(values), -1), np.repeat(frame[None], len(values), axis=0))


def batches(data: ImageDataModule, part: Any = "train") -> list[Any]:
    return [data.on_after_batch_transfer(batch, 0) for batch in data.loader(part)]


def brightness_at(images: torch.Tensor, points: torch.Tensor) -> NDArray[np.float64]:
    """How bright each spot's channel is at its point, from 0 for the channel's darkest to 1 for its brightest pixel."""
    values = images[:, :2].double()
    low, high = values.amin(dim=(2, 3)), values.amax(dim=(2, 3))
    seen = torch.nn.functional.grid_sample(values, points.double().reshape(-1, 1, 2, 2), align_corners=False)[:, :, 0]
    at_own = seen.diagonal(dim1=1, dim2=2)
    return ((at_own - low) / (high - low).clamp(min=1e-9)).numpy()


@pytest.mark.parametrize("resize", ["crop", "squish", "pad"])
@pytest.mark.parametrize("is_cached", [False, True], ids=["files", "cache"])
@pytest.mark.parametrize("on_device", [False, True], ids=["threads", "device"])
@pytest.mark.parametrize(
    "preset", [GEOMETRY, {"preset": "strong", "erase": 0, "lighting_share": 0}], ids=["all", "strong"]
)
def test_the_varied_image_is_brightest_where_its_points_are(
    tmp_path: Path, resize: Any, is_cached: bool, on_device: bool, preset: Any
) -> None:
    cache = str(tmp_path / "cache") if is_cached else None
    frame = spotted(tmp_path / "photos")
    data = make(frame, resize=resize, augment=preset, split=None, cache=cache, device_augment=on_device)

    for _ in range(2):  # the second pass is from the cache
        for batch in batches(data):
            inside = (batch["target"].reshape(-1, 2, 2).abs() < 0.9).all(dim=2).numpy()  # the edge may cut a spot
            assert brightness_at(batch["image"], batch["target"])[inside] == pytest.approx(1, abs=0.15)


def test_points_in_a_cache_of_an_earlier_run_are_right(tmp_path: Path) -> None:
    frame = spotted(tmp_path / "photos")
    settings = {"split": None, "cache": str(tmp_path / "cache"), "augment": GEOMETRY}
    batches(make(frame, **settings))

    for batch in batches(make(frame, **settings)):
        inside = (batch["target"].reshape(-1, 2, 2).abs() < 0.9).all(dim=2).numpy()
        assert brightness_at(batch["image"], batch["target"])[inside] == pytest.approx(1, abs=0.15)


def test_validation_points_are_where_the_image_shows_them(tmp_path: Path) -> None:
    data = make(spotted(tmp_path), split=0.5, batch_size=8)

    for batch in batches(data, "val"):
        np.testing.assert_allclose(found_spots(batch["image"]), batch["target"].numpy(), atol=0.02)


def test_a_view_leads_back_to_the_users_pixels(tmp_path: Path) -> None:
    frame = spotted(tmp_path)
    data = make(frame, split=None, augment=GEOMETRY, resize="squish")

    for batch in batches(data):
        back = _move_points(batch["target"].double(), batch["view"].double()).numpy()
        wanted = frame[COLUMNS].to_numpy()[batch["index"].numpy()]
        there = np.isfinite(back)
        np.testing.assert_allclose(back[there], wanted[there], atol=1e-2)


def test_points_of_a_flipped_image_change_sides(tmp_path: Path) -> None:
    frame = spotted(tmp_path)
    flipped = make(frame, split=None, augment={"preset": "none", "flip": 1}, batch_size=12)
    plain = make(frame, split=None, augment="none", batch_size=12)

    (one,), (other,) = batches(flipped), batches(plain)

    signs = torch.tensor([-1.0, 1.0, -1.0, 1.0])
    torch.testing.assert_close(one["target"], other["target"] * signs)


def test_points_count_in_the_upright_image(tmp_path: Path) -> None:
    upright = np.zeros((40, 80, 3), np.uint8)
    blob(upright, 60, 10, 0)
    blob(upright, 15, 30, 1)
    lying = np.rot90(upright)  # orientation 6 says: turn a quarter to the right
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_bytes(encoded(np.ascontiguousarray(lying), orientation=6, quality=95))
    frame = pd.DataFrame([[name, 60, 10, 15, 30] for name in ("a.jpg", "b.jpg")], columns=["file", *COLUMNS])

    (batch,) = batches(make(frame, split=None, augment="none", root=tmp_path))

    np.testing.assert_allclose(found_spots(batch["image"]), batch["target"].numpy(), atol=0.03)


def test_points_that_training_does_not_show_are_no_number_and_validation_keeps_them(tmp_path: Path) -> None:
    Image.new("RGB", (100, 50)).save(tmp_path / "a.png")
    frame = pd.DataFrame({"file": ["a.png"] * 4, "x": [5.0, 50, 95, np.nan], "y": [25.0, 25, 25, np.nan]})
    data = make(frame, ["x", "y"], resize="crop", augment="none", split=0.5, root=tmp_path, batch_size=4)
    data.parts["val"] = data.parts["train"]._replace(rows=torch.arange(4))
    data.parts["train"] = data.parts["val"]

    (trained,), (checked,) = batches(data), batches(data, "val")

    order = trained["index"].argsort()
    assert trained["target"][order].isnan().all(dim=1).tolist() == [True, False, True, True]
    assert checked["target"].isnan().all(dim=1).tolist() == [False, False, False, True]
    assert checked["target"][0, 0] < -1


def test_squish_is_the_default_since_it_keeps_every_point_in_view(tmp_path: Path) -> None:
    data = make(spotted(tmp_path))

    assert data.schema.image is not None
    assert data.schema.image.resize == "squish"
    assert data.schema.target.columns == tuple(COLUMNS)
    assert data.schema.task == Points(num_points=2)


class Trained:
    """One small fit for several questions."""

    def __init__(self, folder: Path) -> None:
        torch.manual_seed(0)
        self.frame = spotted(folder / "photos", 48)
        self.frame.loc[3, COLUMNS[:2]] = np.nan
        self.data = make(self.frame, split=0.25, batch_size=12, augment={"preset": "none", "flip": 0.5}, size=48)
        self.module = VisionModule(self.data.schema, body="test_resnet", weights=None, head="linear", lr=1e-2)
        self.trainer = quiet_trainer(max_epochs=12, default_root_dir=folder)
        self.trainer.fit(self.module, self.data)
        self.path = folder / "points.ckpt"
        self.trainer.save_checkpoint(self.path)

    @functools.cached_property
    def exported(self) -> OnnxPredictor:
        return OnnxPredictor(export(self.path, self.path.with_suffix(".onnx")).path)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return Trained(tmp_path_factory.mktemp("points"))


def test_a_network_learns_where_points_are_and_its_checkpoint_is_plain_data(trained: Trained) -> None:
    distance = float(trained.trainer.callback_metrics["val/distance"])
    assert distance < 0.8 * trained.data.baseline()["val/distance"]

    kept = torch.load(trained.path, weights_only=True)
    assert kept["hyper_parameters"]["schema"]["target"]["task"]["name"] == "points"
    assert VisionModule.load_from_checkpoint(trained.path).schema == trained.module.schema

    with pytest.raises(BadValueError, match="points have nothing that is calibrated"):
        Predictor(trained.path).calibrate(trained.frame)


def test_a_checkpoint_answers_in_pixels_of_each_image(trained: Trained) -> None:
    answers = Predictor(trained.path).predict(trained.frame)
    rows = trained.data.parts["val"].rows.numpy()
    wanted = trained.frame[COLUMNS].to_numpy()[rows]
    given = answers[[f"prediction_{name}" for name in COLUMNS]].to_numpy()[rows]

    assert np.nanmean(np.abs(given - wanted)) < 20
    middle = np.array([[SIZES[row % 4][1], SIZES[row % 4][0]] * 2 for row in rows]) / 2
    assert np.nanmean(np.abs(given - wanted)) < np.nanmean(np.abs(middle - wanted))


def test_every_way_to_ask_gives_the_same_pixels(trained: Trained) -> None:
    rows = trained.data.parts["val"].rows.numpy()
    whole = Predictor(trained.path).predict(trained.frame)
    files = Predictor(trained.path).predict(trained.frame["file"].tolist(), batch_size=5)
    gathered = gather(trained.trainer.predict(trained.module, trained.data.val_dataloader()))
    exported = trained.exported.predict(trained.frame)

    np.testing.assert_allclose(files.to_numpy(), whole.to_numpy(), rtol=1e-4, atol=1e-2)
    np.testing.assert_allclose(gathered["predictions"].numpy(), whole.to_numpy()[rows], rtol=1e-4, atol=1e-2)
    np.testing.assert_allclose(exported.to_numpy(), whole.to_numpy(), rtol=1e-3, atol=1e-1)


def test_looking_again_at_varied_images_answers_in_the_same_pixels(trained: Trained) -> None:
    predictor = Predictor(trained.path)

    plain, varied = predictor.predict(trained.frame), predictor.predict(trained.frame, tta=4)

    assert np.abs(plain.to_numpy() - varied.to_numpy()).mean() < 12  # flipped answers would be half an image away
    assert not np.allclose(plain.to_numpy(), varied.to_numpy())


def test_a_image_that_cannot_be_read_keeps_its_row(trained: Trained) -> None:
    for predictor in (Predictor(trained.path), trained.exported):
        answers = predictor.predict([b"no image", trained.frame["file"][0]])

        assert answers["error"].isna().tolist() == [False, True]
        assert answers.iloc[0, :4].isna().all()
        assert answers.iloc[1, :4].notna().all()


def test_a_schema_used_again_reads_other_images(trained: Trained, tmp_path: Path) -> None:
    data = ImageDataModule(spotted(tmp_path), schema=trained.module.schema, path="file", split=None, verbose=False)

    assert data.schema.task == Points(num_points=2)
    assert next(iter(data.train_dataloader()))["target"].shape[1] == 4


def test_a_size_that_grows_moves_the_points_along(tmp_path: Path) -> None:
    data = make(spotted(tmp_path), split=0.5, size=64, augment="none")
    module = VisionModule(data.schema, body="test_resnet", weights=None, head="linear")
    trainer = quiet_trainer(
        max_epochs=2, default_root_dir=tmp_path, callbacks=[ProgressiveResize({0: 32, 1: 64}), FineTune(1)]
    )

    trainer.fit(module, data)
    data.set_size(32)
    (batch,) = list(batches(data, "val"))

    np.testing.assert_allclose(found_spots(batch["image"]), batch["target"].numpy(), atol=0.05)


def test_a_bad_image_leaves_its_batch_with_its_points(tmp_path: Path) -> None:
    frame = spotted(tmp_path)
    Path(frame["file"][5]).write_bytes(b"damaged")
    data = make(frame, split=None, bad_share=0.5, augment="none", batch_size=12)

    (batch,) = batches(data)

    assert 5 not in batch["index"].tolist()
    np.testing.assert_allclose(found_spots(batch["image"]), batch["target"].numpy(), atol=0.02)


def test_the_shown_batch_holds_the_points(tmp_path: Path) -> None:
    shown = make(spotted(tmp_path), augment="none").show_batch(2)

    for image, label in shown:
        assert label == "2 points"
        assert (image == (255, 255, 0)).all(axis=2).sum() >= 2
