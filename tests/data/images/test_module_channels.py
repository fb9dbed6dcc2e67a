"""Images that are not 8-bit RGB, from the folder to the answer: gray, a fourth band, a stack of pages, 12 bits and floats."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tabvision.augment import Augmentation
from tabvision.data import ImageDataModule
from tabvision.errors import BadTypeError, BadValueError
from tabvision.inference import OnnxPredictor, Predictor, export
from tabvision.modules import VisionModule
from tabvision.schema import Schema
from tests.made.images import encoded, make, pixels, tiff, write_classes, write_folder
from tests.made.sweeps import slow_but
from tests.made.trainers import MakeTrainer

SIZE = 32


def noise(seed: int, *shape: int) -> NDArray[np.float64]:
    return np.random.default_rng(seed).random(shape)


def deep(code: int, number: int) -> bytes:
    """12 bits in a 16-bit PNG, as cameras and scanners write them."""
    return encoded((noise(number, 40, 50) * 3000 + 1000 * code).astype(np.uint16), "PNG")


def near_infrared(code: int, number: int) -> bytes:
    """A PNG whose fourth channel alone tells the classes apart."""
    return encoded((noise(number, 40, 50, 4) * [255, 255, 255, 90] + [0, 0, 0, 150 * code]).astype(np.uint8), "PNG")


def stack(code: int, number: int) -> bytes:
    values = noise(number, 40, 50, 13) * np.arange(1, 14) * 300 + 100 * code
    return tiff(*np.moveaxis(values.astype(np.uint16), 2, 0))


def floats(code: int, number: int) -> bytes:
    return tiff((noise(number, 40, 50) + code).astype(np.float32))


KINDS: dict[str, tuple[Any, str, int]] = {
    "gray of 12 bits": (deep, ".png", 1),
    "near infrared": (near_infrared, ".png", 4),
    "pages": (stack, ".tif", 13),
    "floats": (floats, ".tif", 1),
}


@pytest.fixture(params=list(KINDS))
def data(request: pytest.FixtureRequest, tmp_path: Path) -> ImageDataModule:
    made, suffix, channels = KINDS[request.param]
    return make(write_classes(tmp_path / "images", made, suffix), size=SIZE, channels=channels)


def images_of(loader: Any) -> Tensor:
    return torch.cat([batch["image"] for batch in loader])


@pytest.mark.parametrize("data", slow_but(["gray of 12 bits"], ["gray of 12 bits", "pages"]), indirect=True)
def test_a_network_trains_on_them_and_every_predictor_agrees(
    data: ImageDataModule, tmp_path: Path, quick_trainer: MakeTrainer
) -> None:
    model = VisionModule(data.schema, body="test_resnet", weights=None, head="linear")
    trainer = quick_trainer(max_epochs=1)
    trainer.fit(model, data)
    trainer.save_checkpoint(tmp_path / "model.ckpt")
    files = data.tables["val"].files(data.parts["val"].rows.numpy())

    predictor = Predictor(tmp_path / "model.ckpt", device="cpu")
    answers = predictor.predict(files)
    export(tmp_path / "model.ckpt", tmp_path / "model.onnx")
    by_onnx = OnnxPredictor(tmp_path / "model.onnx").predict([Path(file).read_bytes() for file in files])

    probabilities = answers.filter(like="probability").to_numpy()
    np.testing.assert_allclose(by_onnx.filter(like="probability").to_numpy(), probabilities, atol=1e-5)
    assert predictor.predict(files, tta=2).notna().all(axis=None)
    assert Schema.from_dict(data.schema.to_dict()) == data.schema == predictor.schema


def test_threads_caches_and_the_device_give_the_same_pixels(data: ImageDataModule, tmp_path: Path) -> None:
    source = tmp_path / "images"
    channels = data.schema.image.channels if data.schema.image else 0
    expected = images_of(data.val_dataloader())

    assert expected.shape[1:] == (channels, SIZE, SIZE)
    for settings in ({"cache": None}, {"cache": "memory"}, {"cache": tmp_path / "cache"}, {"num_workers": 0}):
        other = make(source, size=SIZE, channels=channels, **settings)
        for _ in range(2):
            assert torch.equal(images_of(other.val_dataloader()), expected)
    threads, device = (
        make(source, size=SIZE, channels=channels, cache=None, augment="none", device_augment=on)
        for on in (False, True)
    )
    for drawn, moved in zip(threads.train_dataloader(), device.train_dataloader(), strict=True):
        one, two = threads.on_after_batch_transfer(drawn, 0)["image"], device.on_after_batch_transfer(moved, 0)["image"]
        assert one.shape == two.shape
        assert (one - two).abs().mean() < 0.5  # noise, which two interpolations blur, in stds


def test_a_channel_without_a_number_has_a_range_all_the_same(tmp_path: Path) -> None:
    values = np.dstack([noise(0, 20, 20), np.full((20, 20), np.nan)]).astype(np.float32)
    image = make(write_classes(tmp_path / "images", lambda *_: tiff(values), ".tif"), channels=2).schema.image

    assert image is not None
    assert image.value_range[1] == (0.0, 1.0)
    np.testing.assert_allclose(image.value_range[0], (0, 1), atol=0.05)


def test_a_second_range_has_a_cache_of_its_own(tmp_path: Path) -> None:
    source = write_classes(tmp_path / "images", deep)
    one, two = (
        images_of(make(source, channels=1, cache=tmp_path / "cache", value_range=(0, high)).val_dataloader())
        for high in (4000, 8000)
    )

    assert one.float().mean() > 1.8 * two.float().mean()


def test_values_of_12_bits_do_not_become_a_few_levels(tmp_path: Path) -> None:
    data = make(write_classes(tmp_path / "images", deep), size=SIZE)

    assert min(len(np.unique(image)) for image, _ in data.show_batch()) > 100
    assert data.schema.image is not None
    ((low, high),) = data.schema.image.value_range
    assert 0 <= low < 40
    assert 3900 < high <= 4000


def test_a_stated_range_is_kept_and_reused(tmp_path: Path) -> None:
    source = write_classes(tmp_path / "images", stack, ".tif")
    ranges = [(0, 300 * (band + 1)) for band in range(13)]
    schema = make(source, channels=13, value_range=ranges).schema

    assert schema.image is not None
    assert schema.image.value_range == tuple((0.0, float(high)) for _, high in ranges)
    assert make(source, schema=schema).schema is schema


def test_statistics_are_those_of_the_training_images_unless_they_are_rgb(tmp_path: Path) -> None:
    source = write_classes(tmp_path / "images", near_infrared, num=20)
    data = make(source, channels=4, size=(40, 50))
    values = data.parts["train"].rows.numpy()
    pixels = np.stack([np.asarray(image) for image in read(data.tables["train"].files(values))]) / 255

    assert data.schema.image is not None
    np.testing.assert_allclose(data.schema.image.mean, pixels.mean(axis=(0, 1, 2)))
    np.testing.assert_allclose(data.schema.image.std, pixels.std(axis=(0, 1, 2)))
    rgb = make(write_folder(tmp_path / "photos", {"a": 4, "b": 4})).schema.image
    assert rgb is not None
    assert rgb.mean == ()
    deep_rgb = make(write_classes(tmp_path / "deep", deep)).schema.image
    assert deep_rgb is not None
    assert deep_rgb.mean == ()


def read(files: list[str]) -> list[Any]:
    from PIL import Image

    return [Image.open(file) for file in files]


def test_the_fourth_band_is_heard(tmp_path: Path) -> None:
    data = make(write_classes(tmp_path / "images", near_infrared), channels=4)
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(4, 8, 3, 2), nn.ReLU())
    predictor = Predictor(VisionModule(data.schema, body=body, head="linear", num_groups=2), device="cpu")
    image = np.full((8, 8, 4), 90, np.uint8)
    other = image.copy()
    other[..., 3] = 200

    one, two = predictor.predict([image, other])["probability_a"]
    assert one != two


def test_lighting_changes_gray_and_rgb_alone(tmp_path: Path) -> None:
    source = write_classes(tmp_path / "images", near_infrared)

    assert make(source, channels=4, augment=Augmentation(brightness=0.9)).augment.lighting_share == 0
    assert make(source, channels=1).augment.lighting_share == make(source).augment.lighting_share == 0.75


@pytest.mark.parametrize(
    ("kind", "channels", "note"),
    [
        (
            "near infrared",
            None,
            "10 of 10 images have another channel (transparency or an extra band) that is not read",
        ),
        ("pages", None, "10 of 10 images have 13 pages, of which only the first is read: channels=13"),
        ("gray of 12 bits", None, "10 of 10 images have 16 bits per channel, of which 256 levels are kept"),
        ("near infrared", 1, "10 of 10 images have color, which becomes gray: channels=3 keeps it"),
        ("floats", 1, "Values from "),
    ],
)
def test_what_is_lost_is_said(
    kind: str, channels: int | None, note: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made, suffix, _ = KINDS[kind]
    with caplog.at_level(logging.INFO, logger="tabvision"):
        make(write_classes(tmp_path / "images", made, suffix), channels=channels, verbose=True)

    assert note in caplog.text


def test_of_photos_nothing_is_said_and_of_many_64_are_looked_at(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="tabvision"):
        make(write_folder(tmp_path / "photos", {"a": 4, "b": 4}), verbose=True)
        assert "images have" not in caplog.text
        make(write_classes(tmp_path / "many", near_infrared, num=60), verbose=True)

    assert "64 of 64 images have another channel" in caplog.text


def test_files_of_both_depths_keep_the_whole_range_of_each(tmp_path: Path) -> None:
    source = write_classes(
        tmp_path / "images", lambda code, _: encoded(pixels()[..., 0], "PNG") if code else deep(0, 1)
    )

    image = make(source).schema.image
    assert image is not None
    assert image.value_range == ()


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"channels": 0}, BadValueError, "channels must be at least 1, got 0. Pass 1 for gray, 3 for RGB"),
        ({"channels": "4"}, BadTypeError, "channels must be a whole number, got '4'"),
        ({"channels": 5}, BadValueError, r"no training image can be read with channels=5: '.*png' \(it has 4 channels"),
        ({"value_range": 3}, BadTypeError, "value_range must be two numbers, got 3"),
        ({"value_range": (9, 3)}, BadValueError, r"value_range must be a lower and a higher number, got \(9, 3\)"),
        ({"value_range": [(0, 1), (0, 2)]}, BadValueError, "value_range must be a lower and a higher number"),
        (
            {"channels": 4, "normalize": "imagenet"},
            BadValueError,
            "normalize='imagenet' is for 3 channels, got 4",
        ),
        ({"channels": 4, "normalize": ([0.5] * 3, [0.5] * 3)}, BadTypeError, "normalize needs 4 means and 4 stds"),
    ],
)
def test_a_wrong_setting_is_a_sentence(
    settings: dict[str, Any], error: type[Exception], message: str, tmp_path: Path
) -> None:
    source = write_classes(tmp_path / "images", near_infrared, num=3)

    with pytest.raises(error, match=f"ImageDataModule: {message}"):
        make(source, **settings)


def test_another_number_of_channels_than_the_schema_s_is_a_sentence(tmp_path: Path) -> None:
    source = write_classes(tmp_path / "images", near_infrared, num=3)
    schema = make(source, channels=4).schema

    with pytest.raises(BadValueError, match=r"channels and value_range must be the schema's, 4 and \(\), got 1 and"):
        make(source, channels=1, schema=schema)


def test_an_image_of_other_channels_is_a_row_with_its_reason(tmp_path: Path) -> None:
    data = make(write_classes(tmp_path / "images", near_infrared, num=3), channels=4, size=SIZE)
    predictor = Predictor(VisionModule(data.schema, body="test_resnet", weights=None, head="linear"), device="cpu")

    answers = predictor.predict([pixels(), np.zeros((9, 9, 4), np.uint8)])
    assert answers["error"].tolist()[0] == "it has 3 channels, not 4 (channels=4)"
    assert answers["label"].notna().tolist() == [False, True]


def test_16_bits_are_said_where_training_had_8(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = make(write_folder(tmp_path / "photos", {"a": 3, "b": 3}), size=SIZE)
    predictor = Predictor(VisionModule(data.schema, body="test_resnet", weights=None, head="linear"), device="cpu")

    with caplog.at_level(logging.INFO, logger="tabvision"):
        predictor.predict([pixels(), deep(0, 0)])
    assert "1 of the first 2 images have 16 bits a channel, and the training images had 8" in caplog.text
