"""Both ways to warp agree with each other, with torch's antialiased resize, and leave an equal size alone."""

import itertools

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn import functional

from tabvision.augment.geometry import NUM_DRAWS, evaluation_matrices, rescaled, training_matrices
from tabvision.augment.settings import augmentation_named
from tabvision.augment.warp import warp_batch, warp_image
from tabvision.counter_random import uniforms
from tests.made.images import checkerboard, photo

StoredImage = NDArray[np.uint8]


def warped(source: StoredImage, matrix: NDArray[np.float64], size: tuple[int, int]) -> StoredImage:
    out = np.empty((*size, source.shape[2]), np.uint8)
    warp_image(source, matrix, out)
    return out


def answered(source: StoredImage, size: tuple[int, int], resize: str = "crop") -> StoredImage:
    return warped(source, evaluation_matrices(resize, np.array([source.shape[:2]]), size)[0], size)


def as_batch(source: StoredImage, num: int = 1) -> torch.Tensor:
    return torch.from_numpy(source).permute(2, 0, 1)[None].expand(num, -1, -1, -1)


def as_images(batch: torch.Tensor) -> NDArray[np.float32]:
    images: NDArray[np.float32] = batch.permute(0, 2, 3, 1).numpy() * 255
    return images


@pytest.mark.parametrize("resize", ["crop", "squish", "pad"])
@pytest.mark.parametrize("size", [(30, 20), (64, 64)])
def test_a_image_of_the_networks_size_keeps_every_pixel(resize: str, size: tuple[int, int]) -> None:
    source = photo(*size)

    assert np.array_equal(answered(source, size, resize), source)
    batch = warp_batch(as_batch(source), torch.eye(3)[None], size)
    assert np.abs(as_images(batch)[0] - source).max() < 1e-2


def test_a_flip_and_a_quarter_turn_keep_every_pixel() -> None:
    source = photo(24, 24)
    draws = np.full((1, NUM_DRAWS), 0.5)

    for changes, expected in (
        ({"flip": 1}, source[:, ::-1]),
        ({"flip": 0, "flip_vertical": 1}, source[::-1]),
        ({"flip": 0, "transpose": 1}, source.transpose(1, 0, 2)),
        ({"flip": 1, "transpose": 1}, np.rot90(source)),
    ):
        settings = augmentation_named({"preset": "none", **changes})
        matrix = training_matrices(settings, draws, np.array([[24, 24]]), (24, 24), "crop")[0]
        assert np.array_equal(warped(source, matrix, (24, 24)), expected)


@pytest.mark.parametrize("preset", ["default", "none"])
@pytest.mark.parametrize("shape", [(90, 120), (700, 900)])
def test_widened_pixels_give_what_each_channel_gives_alone(shape: tuple[int, int], preset: str) -> None:
    source = photo(*shape)
    draws = uniforms(0, 0, np.arange(8), NUM_DRAWS)
    matrices = training_matrices(augmentation_named(preset), draws, np.tile([shape], (8, 1)), (64, 48), "crop")

    for matrix in matrices:
        together = warped(source, matrix, (64, 48))
        for channel in range(3):
            alone = warped(np.ascontiguousarray(source[..., channel : channel + 1]), matrix, (64, 48))
            assert np.array_equal(together[..., channel], alone[..., 0])


@pytest.mark.parametrize(("preset", "resize"), [("default", "crop"), ("strong", "crop"), ("strong", "pad")])
def test_both_ways_agree_within_two_grey_levels(preset: str, resize: str, subtests: pytest.Subtests) -> None:
    for shape in [(96, 96), (150, 200), (60, 50), (333, 500), (700, 450), (900, 250)]:
        with subtests.test(shape=shape):
            source, num = photo(*shape), 8
            draws = uniforms(0, 0, np.arange(num), NUM_DRAWS)
            matrices = training_matrices(
                augmentation_named(preset), draws, np.tile([shape], (num, 1)), (96, 128), resize
            )

            singly = np.stack([warped(source, matrix, (96, 128)) for matrix in matrices])
            together = as_images(warp_batch(as_batch(source, num), torch.from_numpy(matrices), (96, 128)))

            difference = np.abs(singly - together)
            assert difference.mean() < 0.5
            assert np.quantile(difference, 0.999) <= 2  # OpenCV 4 interpolates in steps of 1/32 pixel, OpenCV 5 exactly


def test_only_the_mirror_image_is_looked_at_where_the_image_is_missed() -> None:
    source = photo(120, 400)
    matrix = np.array([[3.0, 0, 20], [0, 3, -110], [0, 0, 1]])  # from 110 pixels above the image to 17 below its top

    singly = warped(source, matrix, (43, 60))
    together = as_images(warp_batch(as_batch(source), torch.from_numpy(matrix)[None], (43, 60)))

    assert np.abs(singly - together[0]).max() <= 2


def test_a_part_of_a_wider_image_is_filled_in_place() -> None:
    source, out = photo(40, 40), np.full((20, 64, 3), 7, np.uint8)
    matrix = evaluation_matrices("crop", np.array([[40, 40]]), (20, 32))[0]

    warp_image(source, matrix, out[:, 16:48])

    assert np.array_equal(out[:, 16:48], warped(source, matrix, (20, 32)))
    assert (out[:, :16] == 7).all()
    assert (out[:, 48:] == 7).all()


def test_a_batch_gives_the_rows_it_gives_alone() -> None:
    source, num = photo(300, 400), 6
    draws = uniforms(0, 0, np.arange(num), NUM_DRAWS)
    matrices = torch.from_numpy(
        training_matrices(augmentation_named("strong"), draws, np.tile([[300, 400]], (num, 1)), (64, 64), "crop")
    )
    images = as_batch(source, num)

    together = warp_batch(images, matrices, (64, 64))

    for row in range(num):
        apart = warp_batch(images[row : row + 1], matrices[row : row + 1], (64, 64))
        torch.testing.assert_close(together[row : row + 1], apart)


def test_floats_keep_their_units_and_bytes_become_shares() -> None:
    source = photo(40, 40)
    matrices = torch.from_numpy(evaluation_matrices("crop", np.array([[40, 40]]), (32, 32)))

    from_bytes = warp_batch(as_batch(source), matrices, (32, 32))
    from_floats = warp_batch(as_batch(source).float(), matrices, (32, 32))

    assert from_bytes.dtype == from_floats.dtype == torch.float32
    assert from_bytes.is_contiguous(memory_format=torch.channels_last)
    assert warp_batch(as_batch(source).contiguous(), matrices, (32, 32)).is_contiguous()
    assert 0 <= float(from_bytes.min()) < float(from_bytes.max()) <= 1
    torch.testing.assert_close(from_bytes * 255, from_floats)


@pytest.mark.parametrize("factor", [1.3, 2.0, 2.7, 3.0, 4.0, 6.2, 8.0])
def test_shrinking_agrees_with_torchs_antialiased_resize(factor: float) -> None:
    side = round(96 * factor)
    source = photo(side, side, grain=32)

    ours = answered(source, (96, 96)).astype(float)

    reference = functional.interpolate(as_batch(source).float(), (96, 96), mode="bilinear", antialias=True)
    difference = ours - reference[0].permute(1, 2, 0).numpy()
    assert np.sqrt((difference**2).mean()) < 3
    assert abs(difference.mean()) < 0.3, "nothing is shifted or made darker"


@pytest.mark.parametrize("factor", [2.0, 2.5, 3.0, 4.0, 5.5])
def test_a_fine_checkerboard_turns_grey_instead_of_coarse(factor: float) -> None:
    side = round(64 * factor)

    ours = answered(checkerboard(side), (64, 64)).astype(float)
    batch = as_images(
        warp_batch(
            as_batch(checkerboard(side)),
            torch.from_numpy(evaluation_matrices("crop", np.array([[side, side]]), (64, 64))),
            (64, 64),
        )
    )

    assert np.abs(ours - 127.5).max() < 16
    assert np.abs(batch - 127.5).max() < 16


def test_without_averaging_the_checkerboard_would_not_turn_grey() -> None:
    out = np.empty((64, 64, 3), np.uint8)
    matrix = evaluation_matrices("crop", np.array([[192, 192]]), (64, 64))[0]

    cv2.warpAffine(checkerboard(192), matrix[:2], (64, 64), out, cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)

    assert np.abs(out - 127.5).max() > 100


def test_a_image_squished_one_way_is_averaged_that_way_only() -> None:
    source = photo(64, 256, noise=0)

    ours = answered(source, (64, 64), "squish").astype(float)

    expected = source.reshape(64, 64, 4, 3).mean(axis=2)
    assert np.abs(ours - expected).max() <= 1


def test_a_image_stored_at_half_its_size_looks_the_same() -> None:
    source = photo(256, 256, noise=0)
    half = source.reshape(128, 2, 128, 2, 3).mean(axis=(1, 3)).round().astype(np.uint8)
    matrix = evaluation_matrices("crop", np.array([[256, 256]]), (100, 100))[0]

    difference = warped(source, matrix, (100, 100)) - warped(half, rescaled(matrix, 0.5), (100, 100)).astype(float)

    assert np.abs(difference).max() <= 4
    assert abs(difference.mean()) < 0.2


def test_what_lies_outside_is_the_mirror_image() -> None:
    source = np.repeat(np.arange(8, dtype=np.uint8)[None, :, None] * 30, 8, axis=0).repeat(3, axis=2)
    matrix = np.array([[1.0, 0, -4], [0, 1, 0], [0, 0, 1]])
    out = np.empty((8, 6, 3), np.uint8)

    warp_image(source, matrix, out)
    batch = as_images(warp_batch(as_batch(source), torch.from_numpy(matrix)[None], (8, 6)))

    assert out[3, :, 0].tolist() == [90, 60, 30, 0, 0, 30]
    assert batch[0, 3, :, 0] == pytest.approx(out[3, :, 0], abs=0.01)


def test_a_image_far_thinner_than_a_block_is_still_seen() -> None:
    source = photo(3, 400)

    out = answered(source, (20, 20), "pad")

    assert np.abs(out.mean(axis=(0, 1)) - source.mean(axis=(0, 1))).max() < 12


def test_a_image_of_one_pixel_or_one_line_is_warped_too(subtests: pytest.Subtests) -> None:
    for shape, resize in itertools.product([(1, 1), (1, 300), (300, 1)], ["crop", "squish", "pad"]):
        with subtests.test(shape=shape, resize=resize):
            source = np.full((*shape, 3), 77, np.uint8)

            assert (answered(source, (16, 16), resize) == 77).all()


def test_one_channel_is_warped_as_three_are() -> None:
    source = photo(300, 300)

    grey, colored = answered(source[..., :1].copy(), (64, 64)), answered(source, (64, 64))

    assert np.array_equal(grey[..., 0], colored[..., 0])
