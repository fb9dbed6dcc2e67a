"""The few facts of a JPEG that are needed before it is decoded, read from its first bytes."""

from __future__ import annotations

import struct
from typing import NamedTuple

from PIL import Image

START, END = b"\xff\xd8", b"\xff\xd9"
_STANDALONE = {0x01, *range(0xD0, 0xD9)}  # markers without a length
_FRAMES = {0xC0, 0xC1, 0xC2}  # baseline, extended, progressive: what every decoder reads
_OTHER_FRAMES = {*range(0xC3, 0xD0)} - {0xC4, 0xC8, 0xCC}  # lossless, arithmetic and hierarchical ones
_EXIF, _EXIF_START = 0xE1, b"Exif\x00\x00"
_ORIENTATION = 0x0112


class JpegHeader(NamedTuple):
    """What a JPEG says of itself.

    Args:
        height: Of the stored picture, in pixels.
        width: Likewise.
        num_channels: 1 for grey, 3 for color, 4 for CMYK.
        orientation: EXIF's, 1 to 8; 1 is upright.
    """

    height: int
    width: int
    num_channels: int
    orientation: int


def jpeg_header(data: bytes) -> JpegHeader | None:
    """The header, or None where the bytes are no JPEG of 8 bits a channel that every decoder reads.

    Source:
        ITU-T T.81, table B.1 (markers) and B.2.2 (frame header); EXIF 2.32, section 4.6.4 (orientation).

    Example:
        >>> frame = bytes([0xFF, 0xC0, 0, 11, 8, 0, 20, 0, 30, 3])
        >>> jpeg_header(START + frame)
        JpegHeader(height=20, width=30, num_channels=3, orientation=1)
    """
    if not data.startswith(START):
        return None
    orientation, place = 1, 2
    while place + 10 <= len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if marker in _FRAMES:
            bits, height, width, num_channels = struct.unpack_from(">BHHB", data, place + 4)
            return JpegHeader(height, width, num_channels, orientation) if bits == 8 and height and width else None
        if marker in _OTHER_FRAMES:
            return None
        if marker == 0xFF or marker in _STANDALONE:  # 0xFF fills
            place += 1 if marker == 0xFF else 2
            continue
        (length,) = struct.unpack_from(">H", data, place + 2)
        if marker == _EXIF:
            orientation = _orientation(data[place + 4 : place + 2 + length], orientation)
        place += 2 + length
    return None


def is_whole(data: bytes) -> bool:
    """Whether the bytes end as a JPEG does; zeros may follow.

    A file that was cut, or never filled to its end, does not.

    Example:
        >>> is_whole(START + END), is_whole(START + END + bytes(3)), is_whole(START)
        (True, True, False)
    """
    return data.endswith(END) or data.rstrip(b"\x00").endswith(END)


def _orientation(segment: bytes, known: int) -> int:
    if not segment.startswith(_EXIF_START):
        return known
    exif = Image.Exif()
    try:
        exif.load(segment)
        found = exif.get(_ORIENTATION, known)
    except (OSError, SyntaxError, ValueError, struct.error, KeyError, IndexError, TypeError):
        return known  # damaged facts about a picture do not make it unreadable
    return found if found in range(1, 9) else known
