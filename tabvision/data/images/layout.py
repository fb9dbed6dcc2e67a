"""Read the header of an image of any format: size, channels, bits and pages, without decoding a pixel."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PilImage
from PIL import UnidentifiedImageError

from tabvision.data.images.decode import (
    ImageSource,
    StoredPil,
    UnreadableImageError,
    known_formats,
    orientation_of,
    reason_of,
)

PNG = b"\x89PNG\r\n\x1a\n"
ALONE = (1, 3)  # numbers of channels that OpenCV reads from a TIFF as they are: four it multiplies by the fourth
_TIFFS = {b"II*\x00": "<", b"MM\x00*": ">"}
_MAX_PAGES = 4096
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _ORIENTATION = 256, 257, 258, 259, 262, 274  # tags of a TIFF
SAMPLES, _PLANAR, _PREDICTOR, _TILE_WIDTH, _EXTRA, _KIND = 277, 284, 317, 322, 338, 339
_PALETTE, _BY_PIL = 3, (5, 8)  # colors of a TIFF: a palette; CMYK and Lab, which PIL converts
_WHOLE = {3: "H", 4: "I"}  # kinds of whole numbers in a TIFF
_LOSSLESS = (1, 5, 8, 32946, 32773)  # none, LZW, deflate in two numbers, run lengths: they know no channels
_PREDICTING = (5, 8, 32946)  # those that heed the predictor
_PLAIN = ("L", "LA", "RGB", "RGBA", "I", "I;16", "I;16B", "F")


class BandLayout(NamedTuple):
    """What the header of an image says about its values.

    Args:
        height: Height as stored, in pixels.
        width: Width as stored, in pixels.
        channels: Channels of a page, transparency among them.
        bits: Bits of a value; 0 for floats.
        pages: Pages or frames.
        orientation: EXIF orientation, 1 to 8, of a file whose pixels are decoded as stored.
        tags: The tags of a TIFF's first page: the number of values, and the first.
    """

    height: int
    width: int
    channels: int
    bits: int = 8
    pages: int = 1
    orientation: int = 1
    tags: dict[int, tuple[int, int]] | None = None


def layout_of(source: ImageSource) -> BandLayout:
    """Return what the header of an image says, without decoding its pixels.

    Raises:
        UnreadableImageError: It is not an image.

    Example:
        >>> layout_of(np.zeros((20, 30, 4), np.uint16))[:4]
        (20, 30, 4, 16)
    """
    if isinstance(source, np.ndarray | PilImage.Image):
        values = array_of(source)
        bits = 0 if values.dtype.kind == "f" else 8 * values.dtype.itemsize
        height, width, channels = values.shape
        return BandLayout(height, width, channels, bits)
    try:
        with io.BytesIO(source) if isinstance(source, bytes) else Path(source).open("rb") as file:
            start = file.read(32)
            if start[:4] in _TIFFS:
                return _layout_of_tiff(file, start)
            return _layout_of_other(file, start)
    except UnidentifiedImageError:
        raise UnreadableImageError.because("not an image in a known format") from None
    except Exception as error:  # struct, PIL and the system raise whatever their parsing runs into
        raise UnreadableImageError.because(reason_of(error)) from error


def _layout_of_other(file: BinaryIO, start: bytes) -> BandLayout:
    image = PilImage.open(file, formats=known_formats())
    is_png, mode = start.startswith(PNG), image.mode
    bits = start[24] if is_png else 16 if mode.startswith("I") else 0 if mode == "F" else 8
    channels = 4 if image.has_transparency_data and mode in ("P", "RGB") else {"P": 3, "CMYK": 3}.get(mode)
    pages = 1 if image.format in ("JPEG", "MPO") else getattr(image, "n_frames", 1)  # MPO: previews of a phone's photo
    orientation, height, width = orientation_of(image), image.height, image.width
    if orientation >= 5 and not is_png:  # which `StoredPil` turns
        height, width = width, height
    bits, channels = max(bits, 8) if bits else 0, channels or len(image.getbands())
    return BandLayout(height, width, channels, bits, pages, orientation if is_png else 1)


def _layout_of_tiff(file: BinaryIO, start: bytes) -> BandLayout:
    order, seen = _TIFFS[start[:4]], set[int]()
    (position,) = struct.unpack_from(f"{order}I", start, 4)
    tags: dict[int, tuple[int, int]] = {}
    while position and position not in seen and len(seen) < _MAX_PAGES:
        seen.add(position)
        file.seek(position)
        (num,) = struct.unpack(f"{order}H", file.read(2))
        entries, end = file.read(12 * num), file.read(4)
        tags = tags or _tags_of(file, entries, order)
        (position,) = struct.unpack(f"{order}I", end)
    height, width, channels = (tags.get(tag, (1, 1))[1] for tag in (_HEIGHT, _WIDTH, SAMPLES))
    colors = tags.get(_PHOTOMETRIC, (1, 1))[1]
    bits = 0 if tags.get(_KIND, (1, 1))[1] == 3 else max(tags.get(_BITS, (1, 1))[1], 8)
    orientation = tags.get(_ORIENTATION, (1, 1))[1]
    if orientation >= 5 and (channels in ALONE or colors in _BY_PIL):  # the decoder turns these
        height, width = width, height
    if height < 1 or width < 1 or channels < 1 or orientation not in range(1, 9):
        raise ValueError("its header has no size")
    if colors in _BY_PIL:
        return BandLayout(height, width, 3, bits, len(seen))
    orientation = 1 if channels in ALONE else orientation
    return BandLayout(height, width, 3 if colors == _PALETTE else channels, bits, len(seen), orientation, tags)


def _tags_of(file: BinaryIO, entries: bytes, order: str) -> dict[int, tuple[int, int]]:
    """Return the number of values, and the first, of each tag of whole numbers in a directory."""
    found = {}
    for tag, kind, num, value in struct.iter_unpack(f"{order}HHI4s", entries):
        if kind not in _WHOLE:
            continue
        form = f"{order}{_WHOLE[kind]}"
        if num * struct.calcsize(form) > 4:
            file.seek(struct.unpack(f"{order}I", value)[0])
            found[tag] = (num, struct.unpack_from(form, file.read(4))[0])
        else:
            found[tag] = (num, struct.unpack_from(form, value)[0])
    return found


def side_by_side(data: bytes, tags: dict[int, tuple[int, int]]) -> bytes:
    """Return a TIFF in which the channels of each pixel are gray pixels side by side, as OpenCV reads any number of them.

    If they are differences from the pixel before, they stay so; see `added_up`.

    Source: TIFF 6.0, section 2, and section 7 for the interleaved layout of samples.
    """
    order, num = _TIFFS[data[:4]], tags[SAMPLES][1]
    known = tags.get(_PLANAR, (1, 1))[1] == 1 and tags.get(_PREDICTOR, (1, 1))[1] in (1, 2)
    if not known or tags.get(_COMPRESSION, (1, 1))[1] not in _LOSSLESS:
        reason = f"its {num} channels are compressed or laid out in a way that is not read"
        raise UnreadableImageError.because(f"{reason}; save it uncompressed, or with a page for each")
    changed = {tag: (3, tags.get(tag, (1, 1))[1]) for tag in (_BITS, _KIND)} | {_PHOTOMETRIC: (3, 1), SAMPLES: (3, 1)}
    changed |= {tag: (4, tags[tag][1] * num) for tag in (_WIDTH, _TILE_WIDTH) if tag in tags}
    (position,) = struct.unpack_from(f"{order}I", data, 4)
    (length,) = struct.unpack_from(f"{order}H", data, position)
    entries = {}
    for at in range(position + 2, position + 2 + 12 * length, 12):
        (tag,) = struct.unpack_from(f"{order}H", data, at)
        kind, value = changed.get(tag, (0, 0))
        entry = struct.pack(f"{order}HHI{_WHOLE[kind]}", tag, kind, 1, value).ljust(12, b"\0") if kind else b""
        entries[tag] = entry or data[at : at + 12]
    kept = [entry for tag, entry in entries.items() if tag not in (_EXTRA, _ORIENTATION, _PREDICTOR)]
    padding = bytes(len(data) % 2)
    directory = struct.pack(f"{order}H", len(kept)) + b"".join(kept) + bytes(4)
    return data[:4] + struct.pack(f"{order}I", len(data) + len(padding)) + data[8:] + padding + directory


def check_chunks(data: bytes) -> None:
    """Raise if a chunk of a PNG is longer than the file: OpenCV would take memory for it.

    Source: PNG, third edition, section 5.3: a length, a type, the data and a checksum.
    """
    position = len(PNG)
    while position + 12 <= len(data):
        kind = data[position + 4 : position + 8]
        position += 12 + int(struct.unpack_from(">I", data, position)[0])
        if kind == b"IEND":
            return
    raise UnreadableImageError.because("damaged: it is cut off")


def added_up(values: NDArray[Any], tags: dict[int, tuple[int, int]]) -> NDArray[Any]:
    """Return the values of pixels side by side; differences from the pixel before are summed, in place, within each tile."""
    if tags.get(_PREDICTOR, (1, 1))[1] == 2 and tags.get(_COMPRESSION, (1, 1))[1] in _PREDICTING:
        width = values.shape[1]
        step = max(tags.get(_TILE_WIDTH, (1, width))[1], 16)  # the least that TIFF allows
        for start in range(0, width, step):
            tile = values[:, start : start + step]
            np.cumsum(tile, axis=1, dtype=tile.dtype, out=tile)
    return values


def array_of(source: NDArray[Any] | PilImage.Image) -> NDArray[Any]:
    """Return the values of an array or a PIL image as (h, w, C)."""
    if isinstance(source, PilImage.Image):
        source = StoredPil(source).image  # upright
        mode = "RGBA" if source.has_transparency_data and source.mode in ("P", "RGB") else "RGB"
        source = np.asarray(source if source.mode in _PLAIN else source.convert(mode))
    if source.dtype.kind not in "biuf" or source.ndim not in (2, 3) or not source.size:
        reason = f"an array must be (h, w) or (h, w, channels) of numbers, not {source.shape} of {source.dtype}"
        raise UnreadableImageError.because(reason)
    values = source.astype(np.uint8) * np.uint8(255) if source.dtype == np.bool_ else source
    return values.reshape(*values.shape[:2], -1)
