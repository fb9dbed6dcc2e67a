"""Every kind of file gives the pixels that PIL gives, upright, and what is no image says why."""

import io
import itertools
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from tabvision.data.images import decode
from tabvision.data.images.decode import StoredArray, StoredPil, UnreadableImageError, _StoredJpeg, open_image
from tabvision.data.images.jpeg import is_whole, jpeg_header
from tabvision.data.images.layout import layout_of
from tests.made.images import encoded, pixels, read_image

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF")
NOT_WRITTEN = {
    "JPEG P",
    "JPEG RGBA",
    "JPEG LA",
    "PNG CMYK",
    "BMP CMYK",
    "BMP LA",
    "GIF CMYK",
}  # the format has no such mode
decoders = pytest.mark.parametrize("decoder", ["simplejpeg", "opencv"])


def by_pil(data: bytes) -> np.ndarray:
    return np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))


def choose(decoder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if decoder == "opencv":
        monkeypatch.setattr(decode, "simplejpeg", None)
    else:
        pytest.importorskip("simplejpeg")


@decoders
def test_the_pixels_are_those_of_pil(decoder: str, monkeypatch: pytest.MonkeyPatch, subtests: pytest.Subtests) -> None:
    choose(decoder, monkeypatch)
    for kind, mode in itertools.product(FORMATS, ["RGB", "L", "P", "1", "CMYK", "RGBA", "LA"]):
        with subtests.test(kind=kind, mode=mode):
            if f"{kind} {mode}" in NOT_WRITTEN:
                continue
            data = encoded(Image.fromarray(pixels()).convert(mode), kind)

            assert np.array_equal(read_image(data), by_pil(data))


@decoders
def test_a_turned_image_stands_upright(
    decoder: str, monkeypatch: pytest.MonkeyPatch, subtests: pytest.Subtests
) -> None:
    for kind, orientation in itertools.product(["JPEG", "PNG", "WEBP", "TIFF"], range(1, 9)):
        with subtests.test(kind=kind, orientation=orientation):
            choose(decoder, monkeypatch)
            data = encoded(pixels(), kind, orientation=orientation)
            expected = by_pil(data)

            assert np.array_equal(read_image(data), expected)
            assert open_image(data).size == expected.shape[:2]


def test_stored_pixels_say_where_the_upright_ones_are(subtests: pytest.Subtests) -> None:
    for orientation in range(1, 9):
        with subtests.test(orientation=orientation):
            data = encoded(pixels(), orientation=orientation)
            upright, (stored, place) = by_pil(data), open_image(data).decode()

            for y, x in np.ndindex(*upright.shape[:2]):
                across, down, _ = place @ [x, y, 1]
                assert (stored[int(down), int(across)] == upright[y, x]).all()


@decoders
@pytest.mark.parametrize("shrink", [2, 4, 8])
def test_a_shrunk_jpeg_is_the_image_at_that_size(decoder: str, shrink: int, monkeypatch: pytest.MonkeyPatch) -> None:
    choose(decoder, monkeypatch)
    data = encoded(pixels(160, 240), quality=95)
    draft = Image.open(io.BytesIO(data))
    draft.draft("RGB", (240 // shrink, 160 // shrink))

    stored, place = open_image(data).decode(shrink)

    assert np.array_equal(stored, np.asarray(draft))
    assert (place @ [-0.5, -0.5, 1]).tolist() == [-0.5, -0.5, 1]
    assert (place @ [239.5, 159.5, 1]).tolist() == [240 / shrink - 0.5, 160 / shrink - 0.5, 1]


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_to_eight(kind: str) -> None:
    wide = np.arange(0, 65536, 137, dtype=np.uint16)[:400].reshape(20, 20)

    found = read_image(encoded(Image.fromarray(wide), kind))

    assert np.abs(found[..., 0] - wide / 257).max() <= 0.5


def test_of_an_animation_the_first_frame_counts() -> None:
    frames = [Image.fromarray(pixels(seed=seed)).quantize() for seed in range(3)]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])

    assert np.array_equal(read_image(data), np.asarray(frames[0].convert("RGB")))


def test_paths_bytes_pil_images_and_arrays_are_alike(tmp_path: Path) -> None:
    data = encoded(pixels(), "PNG")
    (tmp_path / "a.png").write_bytes(data)
    sources: list[Any] = [tmp_path / "a.png", str(tmp_path / "a.png"), data, Image.fromarray(pixels()), pixels()]

    for source in sources:
        assert np.array_equal(read_image(source), pixels())


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 1), (4, 5, 4)])
def test_arrays_of_grey_or_with_alpha_become_rgb(shape: tuple[int, ...]) -> None:
    assert read_image(np.full(shape, 7, dtype=np.uint8)).tolist() == np.full((4, 5, 3), 7).tolist()


def test_a_mask_is_black_and_white_and_each_kind_of_source_has_its_image() -> None:
    assert read_image(np.array([[True, False]])).tolist() == [[[255] * 3, [0] * 3]]
    assert isinstance(open_image(encoded(pixels())), _StoredJpeg)
    assert isinstance(open_image(encoded(pixels(), "PNG")), StoredPil)
    assert isinstance(open_image(pixels()), StoredArray)


whole = encoded(pixels(90, 90))
broken = {
    "0 bytes": b"",
    "not an image in a known format": b"<html>not found</html>" * 20,
    "damaged: image file is truncated": whole[: -len(whole) // 4],
    "damaged: it ends in zeros": whole[: len(whole) // 2] + bytes(500),
    "damaged: cut short within its header": encoded(pixels(), "PNG")[:10],
    "damaged: ": encoded(pixels(), "PNG")[:-60],
}


@decoders
@pytest.mark.parametrize("reason", broken)
def test_a_damaged_file_says_why(decoder: str, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    choose(decoder, monkeypatch)
    with pytest.raises(UnreadableImageError, match=reason) as caught:
        read_image(broken[reason])

    assert caught.value.reason.startswith(reason)


def test_a_jpeg_with_something_after_its_end_is_read() -> None:
    assert np.array_equal(read_image(whole + b"trailer"), by_pil(whole))


def test_a_file_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(UnreadableImageError, match="no such file"):
        read_image(tmp_path / "nowhere.jpg")


def test_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")

    for name in ("", "pipe.jpg"):
        for read in (read_image, layout_of):
            with pytest.raises(UnreadableImageError, match="cannot be read: not a regular file"):
                read(tmp_path / name)
    with pytest.raises(UnreadableImageError, match="cannot be read: Too many levels"):
        read_image(tmp_path / "loop.jpg")


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_bomb_is_refused_before_it_is_decoded(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "_MAX_PIXELS", 599)

    with pytest.raises(UnreadableImageError, match="30 x 20 pixels, more than the 599 that are safe"):
        open_image(encoded(pixels(), kind))


def test_a_format_for_which_pil_would_start_a_program_is_not_read(tmp_path: Path) -> None:
    """PIL hands PostScript to Ghostscript."""
    postscript = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n"
    (tmp_path / "a.eps").write_bytes(postscript)

    for source in (postscript, tmp_path / "a.eps"):
        with pytest.raises(UnreadableImageError, match="not an image in a known format"):
            open_image(source)


# The header says what PIL says.


def test_size_channels_and_orientation_are_read(subtests: pytest.Subtests) -> None:
    options: list[dict[str, Any]] = [{}, {"progressive": True}, {"orientation": 6}, {"comment": b"a" * 900}]
    for more, (mode, channels) in itertools.product(options, [("RGB", 3), ("L", 1), ("CMYK", 4)]):
        with subtests.test(more=more, mode=mode):
            data = encoded(Image.fromarray(pixels()).convert(mode), **more)

            assert jpeg_header(data) == (20, 30, channels, more.get("orientation", 1))


@pytest.mark.parametrize("data", [b"", b"\xff\xd8", encoded(pixels(), "PNG"), encoded(pixels())[:30]])
def test_what_is_no_jpeg_has_no_header(data: bytes) -> None:
    assert jpeg_header(data) is None


def test_a_frame_that_not_every_decoder_reads_is_none_and_a_cut_file_not_whole() -> None:
    data = encoded(pixels())
    place = data.index(b"\xff\xc0")
    assert jpeg_header(data[:place] + b"\xff\xc3" + data[place + 2 :]) is None  # lossless
    assert jpeg_header(data[: place + 4] + b"\x0c" + data[place + 5 :]) is None  # 12 bits

    data = encoded(pixels())
    assert is_whole(data)
    assert is_whole(data + bytes(100))
    assert not is_whole(data[:-2])
    assert Image.open(io.BytesIO(data)).size == (30, 20)


def test_damaged_exif_leaves_the_image_as_it_lies() -> None:
    data = encoded(pixels(), orientation=6)
    place = data.index(b"Exif") + 6
    damaged = data[:place] + b"\x00" * 8 + data[place + 8 :]

    header = jpeg_header(damaged)

    assert header is not None
    assert header.orientation == 1
