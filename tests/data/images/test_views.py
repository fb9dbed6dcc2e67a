"""Images at the network's size: by the matrix, at no more pixels than needed, the same on a device."""

import itertools

import numpy as np
import pytest
import torch
from PIL import Image

from tabvision import schema
from tabvision.augment import geometry
from tabvision.augment.settings import Augmentation, augmentation_named
from tabvision.augment.warp import warp_batch
from tabvision.data.images.decode import Stored, StoredArray, _StoredJpeg, open_image
from tabvision.data.images.views import Presize, View, draw
from tests.made.images import encoded, pixels, read_image

ROWS = np.array([3, 8], dtype=np.int64)


def drawn(view: View, sources: list[np.ndarray], epoch: int = 0, rows: np.ndarray = ROWS) -> np.ndarray:
    out = np.empty((len(sources), *view.drawn_size, 3), np.uint8)
    matrices, tables, _ = view.prepare([source.shape[:2] for source in sources], rows, epoch)
    for place, (matrix, table, source) in enumerate(zip(matrices, tables, sources, strict=True)):
        draw(StoredArray(source), matrix, out[place], table)
    return out


def test_a_image_of_the_right_size_is_copied() -> None:
    sources = [pixels(24, 32), pixels(24, 32, seed=1)]

    assert np.array_equal(drawn(View((24, 32), "crop"), sources), sources)


def test_evaluation_is_a_resize_and_center_crop() -> None:
    source = pixels(120, 160)
    expected = np.asarray(Image.fromarray(source[:, 20:140]).resize((60, 60), Image.Resampling.BOX), dtype=int)

    found = drawn(View((60, 60), "crop"), [source], rows=ROWS[:1])[0].astype(int)

    assert np.abs(found - expected).max() <= 1


@pytest.mark.parametrize("size", [(40, 40), (300, 420)])
def test_a_turned_jpeg_is_drawn_as_its_upright_self(size: tuple[int, int], subtests: pytest.Subtests) -> None:
    for orientation in range(1, 9):
        with subtests.test(orientation=orientation):
            data = encoded(pixels(400, 300), orientation=orientation, quality=95)
            upright = read_image(data)
            matrix = geometry.evaluation_matrices("squish", np.array([upright.shape[:2]]), size)[0]
            found, expected = (np.empty((*size, 3), np.uint8) for _ in range(2))

            draw(open_image(data), matrix, found)
            draw(StoredArray(upright), matrix, expected)

            assert np.abs(found.astype(int) - expected).max() <= 6
            assert np.abs(found.astype(int) - expected).mean() < 1


@pytest.mark.parametrize(
    ("source", "size", "shrink"),
    [((400, 400), 100, 4), ((399, 399), 100, 2), ((199, 199), 100, 1), ((1000, 200), 100, 2), ((900, 900), 100, 8)],
)
def test_a_jpeg_is_decoded_at_the_size_that_is_needed_and_no_smaller(
    source: tuple[int, int], size: int, shrink: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    decode = _StoredJpeg.decode

    def note(self: _StoredJpeg, shrink: int = 1) -> Stored:
        asked.append(shrink)
        return decode(self, shrink)

    monkeypatch.setattr(_StoredJpeg, "decode", note)
    matrix = geometry.evaluation_matrices("crop", np.array([source]), (size, size))[0]

    draw(open_image(encoded(pixels(*source))), matrix, np.empty((size, size, 3), np.uint8))

    assert asked == [shrink]


def test_training_draws_anew_each_epoch_and_the_same_for_the_same_row() -> None:
    view, source = View((32, 32), "crop", augmentation_named("strong"), seed=1), pixels(60, 80)

    first, again = drawn(view, [source, source]), drawn(view, [source, source])
    later = drawn(view, [source, source], epoch=1)
    swapped = drawn(view, [source, source], rows=ROWS[::-1].copy())

    assert np.array_equal(first, again)
    assert np.array_equal(first[::-1], swapped)
    assert not np.array_equal(first, later)
    assert not np.array_equal(first[0], first[1])


@pytest.mark.parametrize("preset", ["none", "default", "strong"])
@pytest.mark.parametrize("resize", ["crop", "squish"])
def test_a_device_ends_with_the_image_of_the_threads(preset: str, resize: str) -> None:
    augment, sources = augmentation_named(preset), [pixels(150, 200), pixels(220, 140, seed=1)]
    threads, device = (View((64, 64), resize, augment, seed=2, on_device=it) for it in (False, True))
    _, _, extras = device.prepare([source.shape[:2] for source in sources], ROWS, 0)
    plain = View((64, 64), resize, augmentation_named({**augment.to_dict(), "lighting_share": 0}), seed=2)
    expected = drawn(plain, sources).astype(float)

    boxes = torch.from_numpy(drawn(device, sources)).permute(0, 3, 1, 2)
    found = warp_batch(boxes, torch.from_numpy(extras["matrix"]), (64, 64)).permute(0, 2, 3, 1).numpy() * 255

    assert threads.drawn_size == (64, 64)
    assert device.drawn_size == (74, 74)
    assert np.abs(found - expected).mean() < 3
    assert ("light" in extras) == (preset != "none")


def test_noise_is_asked_for_only_where_boxes_are_erased() -> None:
    sizes = [(30, 40), (30, 40)]

    for on_device in (False, True):
        _, _, extras = View((16, 16), "crop", Augmentation(erase=1.0), on_device=on_device).prepare(sizes, ROWS, 0)
        assert extras["box"].shape == (2, 4)
        assert extras["noise"].shape == (2,)
        _, _, extras = View((16, 16), "crop", Augmentation(), on_device=on_device).prepare(sizes, ROWS, 0)
        assert "box" not in extras


@pytest.mark.parametrize(
    ("resize", "source", "shape"),
    [
        ("crop", (200, 400), (110, 220)),
        ("squish", (200, 400), (110, 110)),
        ("pad", (200, 400), (55, 110)),
        ("crop", (90, 400), (90, 400)),
        ("squish", (90, 400), (90, 110)),
    ],
)
def test_presizing_keeps_what_the_crop_can_show(resize: str, source: tuple[int, int], shape: tuple[int, int]) -> None:
    presize = Presize((100, 100), resize, 1.1)

    assert presize.shape(source) == shape
    assert presize(StoredArray(pixels(*source))).shape == (*shape, 3)


def test_presizing_shows_the_whole_upright_image(subtests: pytest.Subtests) -> None:
    for orientation, size in itertools.product(range(1, 9), [25, 60, 95]):
        with subtests.test(orientation=orientation, size=size):
            data = encoded(pixels(100, 140), orientation=orientation, quality=95)
            image, upright = open_image(data), read_image(data)
            small = Presize((size, size), "crop", 1.0)(image)
            expected = Image.fromarray(upright).resize(small.shape[1::-1], Image.Resampling.BOX)

            assert min(small.shape[:2]) == size
            assert np.abs(small.astype(int) - np.asarray(expected)).mean() < 3


def test_presizing_for_evaluation_gives_the_very_input() -> None:
    presize, view = Presize.of(schema.Image(size=(32, 32)), (32, 32), None), View((32, 32), "crop")
    source = pixels(77, 91)

    small = presize(StoredArray(source))

    assert np.array_equal(drawn(view, [small], rows=ROWS[:1]), drawn(view, [source], rows=ROWS[:1]))


def test_smaller_crops_need_more_pixels_within_bounds() -> None:
    size = (224, 224)
    facts = schema.Image(size=size)
    reaches = [Presize.of(facts, size, Augmentation(min_scale=scale)).reach for scale in (1, 0.75, 0.08)]

    assert reaches == pytest.approx([1, 1.1547, 1.5], abs=1e-4)
