"""Read the header of a JPEG (size, channels and orientation) without decoding any pixels."""

from __future__ import annotations

import struct
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

START, END = b"\xff\xd8", b"\xff\xd9"
_STANDALONE = {0x01, *range(0xD0, 0xD9)}  # markers without a length
_FRAMES = {0xC0, 0xC1, 0xC2}  # baseline, extended and progressive, which every decoder reads
_OTHER_FRAMES = {*range(0xC3, 0xD0)} - {0xC4, 0xC8, 0xCC}  # lossless, arithmetic and hierarchical ones
_EXIF, _EXIF_START = 0xE1, b"Exif\x00\x00"
_ORIENTATION = 0x0112


class JpegHeader(NamedTuple):
    """The facts in a JPEG's header.

    Args:
        height: Height of the stored image, in pixels.
        width: Width of the stored image, in pixels.
        num_channels: 1 for gray, 3 for color, 4 for CMYK.
        orientation: EXIF orientation, 1 to 8; 1 is upright.
    """

    height: int
    width: int
    num_channels: int
    orientation: int


def jpeg_header(data: bytes) -> JpegHeader | None:
    """Return the header if the bytes are a JPEG with 8 bits per channel that every decoder reads, else None.

    Source:
        ITU-T T.81, table B.1 (markers) and B.2.2 (frame header); EXIF 2.32, section 4.6.4 (orientation).

    Example:
        >>> frame = bytes([0xFF, 0xC0, 0, 11, 8, 0, 20, 0, 30, 3])
        >>> jpeg_header(START + frame)
        JpegHeader(height=20, width=30, num_channels=3, orientation=1)
    """
    if not data.startswith(START):
        return None
    orientation, position = 1, 2
    while position + 10 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker in _FRAMES:
            bits, height, width, num_channels = struct.unpack_from(">BHHB", data, position + 4)
            return JpegHeader(height, width, num_channels, orientation) if bits == 8 and height and width else None
        if marker in _OTHER_FRAMES:
            return None
        if marker == 0xFF or marker in _STANDALONE:  # 0xFF is padding
            position += 1 if marker == 0xFF else 2
            continue
        (length,) = struct.unpack_from(">H", data, position + 2)
        if marker == _EXIF:
            orientation = _orientation(data[position + 4 : position + 2 + length], orientation)
        position += 2 + length
    return None


def is_whole(data: bytes) -> bool:
    """Return whether the bytes end as a JPEG does, perhaps followed by zeros.

    A truncated file does not, nor does one that was never written to its end.

    Example:
        >>> is_whole(START + END), is_whole(START + END + bytes(3)), is_whole(START)
        (True, True, False)
    """
    return data.endswith(END) or data.rstrip(b"\x00").endswith(END)


def _orientation(segment: bytes, known: int) -> int:
    """Return the orientation in a segment of metadata, or `known` if the segment holds none or is damaged."""
    if not segment.startswith(_EXIF_START):
        return known
    exif = Image.Exif()
    try:
        exif.load(segment)
        found = exif.get(_ORIENTATION, known)
    except (OSError, SyntaxError, ValueError, struct.error, KeyError, IndexError, TypeError):
        return known  # an image with damaged metadata is still readable
    return found if found in range(1, 9) else known


def upright_to_stored(orientation: int, stored_size: tuple[int, int]) -> NDArray[np.float64]:
    """Return the (3, 3) matrix that maps pixels (x, y, 1) of the upright image to stored pixels.

    Args:
        orientation: EXIF orientation, 1 to 8.
        stored_size: (height, width) of the stored pixels.

    Source: EXIF 2.32, section 4.6.4, tag 0x0112.

    Example:
        >>> (upright_to_stored(6, (20, 30)) @ [0, 0, 1]).tolist()
        [0.0, 19.0, 1.0]
    """
    height, width = stored_size
    across, down = [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]
    x, y = (across, down) if orientation < 5 else (down, across)
    if orientation in (2, 3, 7, 8):
        x = [-x[0], -x[1], width - 1.0]
    if orientation in (3, 4, 6, 7):
        y = [-y[0], -y[1], height - 1.0]
    return np.array([x, y, [0.0, 0.0, 1.0]])
