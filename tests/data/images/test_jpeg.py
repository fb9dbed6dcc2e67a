"""The header says what PIL says."""

import io

import pytest
from PIL import Image

from tabvision.data.images.jpeg import is_whole, jpeg_header
from tests.data.pictures import encoded, pixels


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"orientation": 6}, {"comment": b"a" * 900}])
@pytest.mark.parametrize(("mode", "channels"), [("RGB", 3), ("L", 1), ("CMYK", 4)])
def test_size_channels_and_orientation_are_read(options: dict[str, int], mode: str, channels: int) -> None:
    data = encoded(Image.fromarray(pixels()).convert(mode), **options)  # type: ignore[arg-type]

    assert jpeg_header(data) == (20, 30, channels, options.get("orientation", 1))


@pytest.mark.parametrize("data", [b"", b"\xff\xd8", encoded(pixels(), "PNG"), encoded(pixels())[:30]])
def test_what_is_no_jpeg_has_no_header(data: bytes) -> None:
    assert jpeg_header(data) is None


def test_a_frame_that_not_every_decoder_reads_is_none() -> None:
    data = encoded(pixels())
    place = data.index(b"\xff\xc0")

    assert jpeg_header(data[:place] + b"\xff\xc3" + data[place + 2 :]) is None  # lossless
    assert jpeg_header(data[: place + 4] + b"\x0c" + data[place + 5 :]) is None  # 12 bits


def test_damaged_exif_leaves_the_picture_as_it_lies() -> None:
    data = encoded(pixels(), orientation=6)
    place = data.index(b"Exif") + 6
    damaged = data[:place] + b"\x00" * 8 + data[place + 8 :]

    header = jpeg_header(damaged)

    assert header is not None
    assert header.orientation == 1


def test_a_cut_file_is_not_whole() -> None:
    data = encoded(pixels())

    assert is_whole(data)
    assert is_whole(data + bytes(100))
    assert not is_whole(data[:-2])
    assert Image.open(io.BytesIO(data)).size == (30, 20)
