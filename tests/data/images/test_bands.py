"""Images as a network reads them: channels, ranges of values, and what is said to be lost."""

import contextlib
import io
import zlib
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as PilImage

from tabvision.data.images.bands import ignored_content, open_as
from tabvision.data.images.decode import UnreadableImageError
from tabvision.schema import Image
from tests.made.images import encoded, pixels, read_image, tiff

DRAW = np.random.default_rng(0)
DEEP = (DRAW.random((40, 50)) * 4000).astype(np.uint16)


def image(**facts: Any) -> Image:
    return Image(size=(8, 8), **facts)


def drawn(source: Any, **facts: Any) -> NDArray[np.uint8]:
    """The pixels of an image, upright."""
    opened = open_as(source, image(**facts))
    stored = opened.decode()
    y, x = np.indices(opened.size)
    across, down, _ = np.rint(stored.matrix @ np.stack([x.ravel(), y.ravel(), np.ones(x.size)])).astype(int)
    found: NDArray[np.uint8] = stored.pixels[down, across].reshape(*opened.size, -1)
    return found


def test_8_bit_rgb_is_read_as_ever(subtests: pytest.Subtests) -> None:
    for kind in ("JPEG", "PNG", "WEBP", "TIFF"):
        for orientation in (1, 6):
            with subtests.test(kind, orientation=orientation):
                data = encoded(pixels(), kind, orientation=orientation)
                assert np.array_equal(drawn(data), read_image(data))


def test_12_bits_keep_their_levels_and_of_color_their_order() -> None:
    shown = drawn(encoded(DEEP, "PNG"), value_range=((0.0, 4000.0),))
    assert len(np.unique(shown)) == len(np.unique(np.rint(DEEP * (255 / 4000))))
    assert np.array_equal(shown[..., 0], np.rint(DEEP * (255 / 4000)).astype(np.uint8))
    assert np.array_equal(shown[..., 0], shown[..., 2])

    values = (DRAW.random((40, 50, 3)) * [4000, 2000, 1000]).astype(np.uint16)
    data = cv2.imencode(".png", values[..., ::-1])[1].tobytes()
    assert np.array_equal(drawn(data, value_range=((0.0, 4000.0),)), np.rint(values * (255 / 4000)).astype(np.uint8))


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.uint16, np.uint32, np.float16, np.float32])
def test_each_channel_has_a_range_of_its_own(kind: type[np.generic]) -> None:
    values = (DRAW.random((6, 7, 5)) * [10, 50, 90, 120, 100]).astype(kind)
    ranges = ((0.0, 10.0), (0.0, 50.0), (10.0, 90.0), (0.0, 120.0), (0.0, 60.0))
    low, high = np.array(ranges).T

    expected = np.rint((np.clip(values, low, high) - low) * (255 / (high - low))).astype(np.uint8)
    assert np.array_equal(drawn(tiff(values), channels=5, value_range=ranges), expected)
    assert np.array_equal(drawn(values, channels=5, value_range=ranges), expected)


def test_floats_outside_the_range_or_without_a_value_are_its_ends() -> None:
    values = np.array([[0.5, -3.0, 3e38], [np.nan, np.inf, -np.inf]], np.float32)

    assert drawn(tiff(values), channels=1, value_range=((0.0, 1.0),))[..., 0].tolist() == [[128, 0, 255], [0, 255, 0]]


def test_all_orientations_agree_with_pil(subtests: pytest.Subtests) -> None:
    gray = DRAW.integers(0, 256, (6, 9), dtype=np.uint8)
    for orientation in range(1, 9):
        for source in (gray, np.dstack([gray, gray.T.reshape(6, 9)]), DRAW.integers(0, 256, (6, 9, 4), dtype=np.uint8)):
            png, turned = io.BytesIO(), PilImage.Exif()
            turned[274] = orientation
            PilImage.fromarray(source).save(png, "PNG", exif=turned)
            other = io.BytesIO()
            PilImage.fromarray(source).save(other, "TIFF", tiffinfo={274: orientation}, compression="tiff_lzw")
            for name, file in (("PNG", png), ("TIFF", other)):
                with subtests.test(name, orientation=orientation, shape=source.shape):
                    channels = 1 if source.ndim == 2 else source.shape[2]
                    expected = upright(source, orientation).reshape(*upright(source, orientation).shape[:2], -1)
                    full = ((0.0, 255.0),)
                    assert np.array_equal(drawn(file.getvalue(), channels=channels, value_range=full), expected)


def upright(values: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """The pixels that EXIF's orientation means."""
    if orientation >= 5:
        values = values.swapaxes(0, 1)
    across = {2: True, 3: True, 6: True, 7: True}.get(orientation, False)
    down = {3: True, 4: True, 7: True, 8: True}.get(orientation, False)
    return np.ascontiguousarray(values[:: -1 if down else 1, :: -1 if across else 1])


def test_a_fourth_band_is_a_channel_where_four_are_read() -> None:
    values = DRAW.integers(0, 256, (6, 9, 4), dtype=np.uint8)

    for source in (encoded(values, "PNG"), tiff(values), values, PilImage.fromarray(values)):
        assert np.array_equal(drawn(source, channels=4), values)
        assert np.array_equal(drawn(source), values[..., :3])


def test_gray_is_the_luminance_whatever_the_depth() -> None:
    gray = drawn(encoded(pixels(), "PNG"), channels=1)[..., 0].astype(int)
    expected = np.array(PilImage.fromarray(pixels()).convert("L")).astype(int)
    deep = cv2.imencode(".png", pixels()[..., ::-1].astype(np.uint16) * 16)[1].tobytes()

    assert np.abs(gray - expected).max() <= 1
    found = drawn(deep, channels=1, value_range=((0.0, 255 * 16.0),))[..., 0].astype(int)
    assert np.abs(found - expected).max() <= 1
    assert np.array_equal(drawn(pixels()[..., 0], channels=1)[..., 0], pixels()[..., 0])


@pytest.mark.parametrize(
    ("source", "facts", "message"),
    [
        (pixels(), {"channels": 4}, "it has 3 channels, not 4"),
        (
            tiff(np.zeros((4, 5, 6), np.uint8)),
            {},
            r"it has 6 channels of 8 bits, which need channels=6 \(--channels 6\)",
        ),
        (tiff(np.zeros((4, 5, 3), np.float32)), {}, "it has 3 channels of floats, which need value_range"),
        (tiff(np.zeros((4, 5, 6), np.uint8)), {"channels": 5}, "it has 6 channels, not 5"),
        (tiff(np.zeros((4, 5, 5), np.float32)), {"channels": 5}, "its float32 pixels have no fixed range"),
        (
            pixels(),
            {"value_range": ((0.0, 4000.0),)},
            "it has 8 bits per channel, but the range of values is 0 to 4,000",
        ),
        (pixels(), {"value_range": ((0.0, 1.0),)}, "most of its values are far above the range of 0 to 1"),
        (np.zeros((4, 5, 2, 2), np.uint8), {"channels": 4}, "an array must be"),
        (np.array([["a"]]), {"channels": 4}, "an array must be"),
        (tiff(np.zeros((4, 5, 5), np.complex64)), {"channels": 5}, "its values are complex numbers"),
    ],
)
def test_an_image_that_does_not_fit_is_a_sentence(source: Any, facts: dict[str, Any], message: str) -> None:
    with pytest.raises(UnreadableImageError, match=message):
        drawn(source, **facts)


def test_more_values_than_are_safe_are_refused_before_they_are_decoded() -> None:
    wide = np.lib.stride_tricks.as_strided(np.zeros(1, np.uint8), (9000, 9000, 13), (0, 0, 0))

    with pytest.raises(UnreadableImageError, match="9,000 x 9,000 pixels, more than the 10,324,"):
        open_as(wide, image(channels=13))


def test_a_header_of_more_pixels_than_its_bytes_hold_is_refused_before_memory_is_taken() -> None:
    data = bytearray(encoded(DEEP, "PNG"))
    data[16:24] = (6000).to_bytes(4, "big") * 2
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")

    assert drawn(encoded(np.zeros((1000, 1000), np.uint16), "PNG", compress_level=9), value_range=((0, 9),)).max() == 0
    with pytest.raises(UnreadableImageError, match="bytes cannot hold 6,000 x 6,000 pixels"):
        drawn(bytes(data), value_range=((0, 9),))


def test_what_is_lost_is_named(subtests: pytest.Subtests) -> None:
    rgba = DRAW.integers(0, 256, (6, 9, 4), dtype=np.uint8)
    opaque = np.dstack([rgba[..., :3], np.full((6, 9), 255, np.uint8)])
    stack = tiff(*[np.zeros((4, 5), np.uint8)] * 13)
    another = "have another channel (transparency or an extra band) that is not read"
    pages = "have 13 pages, of which only the first is read: channels=13 (--channels 13) reads them all"
    color = "have color, which becomes gray: channels=3 keeps it"
    cases: list[tuple[Any, dict[str, Any], list[str]]] = [
        (encoded(pixels()), {}, []),
        (encoded(pixels()[..., 0], "PNG"), {}, []),
        (encoded(opaque, "PNG"), {}, []),
        (encoded(rgba, "PNG"), {}, [f"{another}: channels=4 (--channels 4) reads it"]),
        (tiff(rgba), {"channels": 4}, []),
        (encoded(rgba[..., :2], "PNG"), {}, [another]),
        (stack, {}, [pages]),
        (stack, {"channels": 13}, []),
        (encoded(pixels()), {"channels": 1}, [color]),
        (encoded(DEEP, "PNG"), {"value_range": ((0, 9),)}, ["have 16 bits per channel, of which 256 levels are kept"]),
        (
            tiff(np.zeros((4, 5), np.float32)),
            {"value_range": ((0, 9),)},
            ["have floating-point values, of which 256 levels are kept"],
        ),
    ]
    for source, facts, expected in cases:
        with subtests.test("; ".join(expected)):
            assert list(ignored_content(source, image(**facts))) == expected


@pytest.mark.parametrize("seed", range(3))
def test_a_damaged_file_is_unreadable_or_an_image_and_nothing_else(seed: int) -> None:
    draw = np.random.default_rng(seed)
    five = (DRAW.random((12, 14, 5)) * 4000).astype(np.uint16)
    files = [
        tiff(five),
        tiff(*np.moveaxis(five, 2, 0)),
        encoded(DEEP, "PNG"),
        encoded(five[..., :4].astype(np.uint8), "TIFF"),
    ]
    facts = [
        image(channels=5),
        image(channels=4),
        image(channels=1, value_range=((0, 4000),)),
        image(value_range=((0, 9),)),
    ]
    for data in files * 20:
        changed = bytearray(data)
        for at in draw.integers(0, len(data), 3):
            changed[-at if at % 2 else at // 8] = draw.integers(256)
        for each in facts:
            with contextlib.suppress(UnreadableImageError):
                assert open_as(bytes(changed), each).decode().pixels.shape[2] == each.channels
            list(suppressed(bytes(changed), each))


def suppressed(data: bytes, facts: Image) -> list[str]:
    with contextlib.suppress(UnreadableImageError):
        return list(ignored_content(data, facts))
    return []
