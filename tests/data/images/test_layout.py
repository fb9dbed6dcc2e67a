"""What headers say: size, channels, bits, pages; and the values of TIFFs and PNGs as stored."""

import io
import re
from typing import Any, Literal

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tabvision.data.images.decode import UnreadableImageError
from tabvision.data.images.layout import layout_of, stored_values
from tests.made.images import encoded, pixels, tiff

DRAW = np.random.default_rng(0)


def values_of(data: bytes) -> NDArray[Any]:
    layout = layout_of(data)
    return stored_values(data, layout, layout.channels)


@pytest.mark.parametrize("order", ["<", ">"])
def test_every_kind_of_tiff_is_read_exactly(order: Literal["<", ">"], subtests: pytest.Subtests) -> None:
    for kind in (np.uint8, np.uint16, np.int16, np.uint32, np.float32, np.float64):
        for channels in (1, 2, 3, 4, 5, 13):
            with subtests.test(kind=kind.__name__, channels=channels):
                values = (DRAW.random((6, 9, channels)) * 200).astype(kind)
                data = tiff(values, order=order)
                layout = layout_of(data)

                assert layout[:3] == (6, 9, channels)
                assert layout.bits == (0 if values.dtype.kind == "f" else 8 * values.dtype.itemsize)
                read = stored_values(data, layout, channels)
                assert read.dtype == values.dtype
                assert np.array_equal(read, values)


def test_pages_are_counted_and_stacked_if_they_are_the_channels(subtests: pytest.Subtests) -> None:
    values = (DRAW.random((6, 9, 13)) * 4000).astype(np.uint16)
    data = tiff(*np.moveaxis(values, 2, 0))
    layout = layout_of(data)

    assert layout[:5] == (6, 9, 1, 16, 13)
    assert np.array_equal(stored_values(data, layout, 13), values)
    for channels in (1, 3, 4):
        with subtests.test(channels=channels):
            assert np.array_equal(stored_values(data, layout, channels), values[..., :1])


def test_headers_of_other_formats(subtests: pytest.Subtests) -> None:
    rgba = np.dstack([pixels(), pixels()[..., :1]])
    deep = cv2.imencode(".png", pixels().astype(np.uint16) * 16)[1].tobytes()
    frames = io.BytesIO()
    Image.fromarray(pixels()).save(frames, "GIF", save_all=True, append_images=[Image.fromarray(pixels(seed=1))])
    clear = io.BytesIO()
    Image.fromarray(pixels()).quantize(8).save(clear, "PNG", transparency=0)
    expected: dict[str, tuple[Any, tuple[int, ...]]] = {
        "JPEG": (encoded(pixels()), (20, 30, 3, 8, 1)),
        "gray JPEG": (encoded(pixels()[..., 0]), (20, 30, 1, 8, 1)),
        "CMYK": (encoded(Image.fromarray(pixels()).convert("CMYK")), (20, 30, 3, 8, 1)),
        "turned JPEG": (encoded(pixels(), orientation=6), (30, 20, 3, 8, 1)),
        "RGBA": (encoded(rgba, "PNG"), (20, 30, 4, 8, 1)),
        "palette with transparency": (clear.getvalue(), (20, 30, 4, 8, 1)),
        "16-bit RGB": (deep, (20, 30, 3, 16, 1)),
        "two frames": (frames.getvalue(), (20, 30, 3, 8, 2)),
        "array": (np.zeros((4, 5), np.float32), (4, 5, 1, 0, 1)),
        "PIL": (Image.fromarray(np.zeros((4, 5), np.uint16)), (4, 5, 1, 16, 1)),
    }
    for name, (source, layout) in expected.items():
        with subtests.test(name):
            assert layout_of(source)[:5] == layout


def test_what_is_no_image_is_a_sentence(subtests: pytest.Subtests) -> None:
    for data in (b"none", b"II*\0", b"II*\0\xff\0\0\0", tiff(np.zeros((4, 5), np.uint8))[:40], b"\x89PNG\r\n\x1a\n"):
        with subtests.test(data=data), pytest.raises(UnreadableImageError):
            layout_of(data)


def test_a_directory_that_leads_to_itself_is_one_page() -> None:
    data = bytearray(tiff(np.zeros((4, 5), np.uint8)))
    data[-4:] = data[4:8]

    assert layout_of(bytes(data)).pages == 1


def test_a_cut_file_is_damaged_and_never_half_black(subtests: pytest.Subtests) -> None:
    values = (DRAW.random((40, 50, 5)) * 4000).astype(np.uint16)
    first = io.BytesIO()
    Image.fromarray(values[..., 0]).save(first, "TIFF")  # its directory comes first
    files = {"png": cv2.imencode(".png", values[..., 0])[1].tobytes(), "five": tiff(values), "first": first.getvalue()}
    for name, data in files.items():
        for fraction in (0.1, 0.5, 0.9, 0.99):
            with subtests.test(name, fraction=fraction), pytest.raises(UnreadableImageError, match="damaged"):
                values_of(data[: int(len(data) * fraction)])


def test_four_channels_are_not_multiplied_by_their_transparency_whatever_the_compression(
    subtests: pytest.Subtests,
) -> None:
    values = DRAW.integers(0, 256, (40, 50, 4), dtype=np.uint8)
    for compression in (None, "tiff_lzw", "tiff_adobe_deflate", "packbits"):
        for predictor in (1, 2):
            with subtests.test(compression=compression, predictor=predictor):
                file = io.BytesIO()
                Image.fromarray(values).save(file, "TIFF", compression=compression, tiffinfo={317: predictor})

                assert np.array_equal(values_of(file.getvalue()), values)


def test_cmyk_is_converted_by_pil() -> None:
    file = io.BytesIO()
    image = Image.fromarray(pixels()).convert("CMYK")
    image.save(file, "TIFF")

    assert np.array_equal(values_of(file.getvalue()), np.array(image.convert("RGB")))


def test_tiles_planes_and_compressions_are_read_exactly(subtests: pytest.Subtests) -> None:
    values = DRAW.integers(0, 65536, (40, 50, 5), dtype=np.uint16)
    planes = {"planarconfig": "separate"}
    for options in (
        {"tile": (16, 16)},
        {"compression": "zlib", "predictor": True},
        {"compression": "lzw", "predictor": True, "tile": (16, 16)},
        planes,
        {**planes, "compression": "zstd"},
    ):
        with subtests.test(**options):
            data = tiff(np.moveaxis(values, 2, 0) if "planarconfig" in options else values, **options)
            assert np.array_equal(values_of(data), values)


def test_a_lossy_compression_and_missing_strips_are_a_sentence(subtests: pytest.Subtests) -> None:
    values = DRAW.integers(0, 256, (40, 50, 5), dtype=np.uint8)
    planes = bytearray(tiff(values))
    planes[planes.index(b"\x1c\x01\x03\x00") + 8] = 2  # the tag of the layout of the samples
    lossy = tiff(np.moveaxis(values, 2, 0), planarconfig="separate", compression="jpegxl")
    for data, reason in ((bytes(planes), "damaged"), (lossy, "compression (JPEGXL) is not supported")):
        with subtests.test(reason), pytest.raises(UnreadableImageError, match=re.escape(reason)):
            values_of(data)
