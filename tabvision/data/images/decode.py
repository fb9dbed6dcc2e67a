"""Pictures from files, bytes, PIL images or arrays, as uint8 RGB.

PIL is the reference: for every format the pixels are those of its `convert("RGB")`, upright as EXIF says. An ordinary JPEG
goes through a quicker decoder with the same pixels: simplejpeg where it is installed, else OpenCV.
"""

from __future__ import annotations

import functools
import io
import struct
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, final

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from typing_extensions import override

from tabvision.augment.geometry import rescaled
from tabvision.errors import BadValueError

try:
    import simplejpeg
except ImportError:  # OpenCV serves as well, a tenth slower
    simplejpeg = None

Pixels = NDArray[np.uint8]
PictureSource: TypeAlias = str | Path | bytes | Image.Image | NDArray[Any]
"""What can be opened: a path, a file's bytes, a PIL image, or an array (h, w), (h, w, 3) or (h, w, 4)."""

MAX_PIXELS = 89_478_485  # PIL's own bound on what it takes without a warning: a quarter of a gigabyte of RGB
SHRINKS = (8, 4, 2)  # a JPEG decodes at these fractions in a fraction of the time
_SCALED_FLAGS = {
    1: cv2.IMREAD_COLOR_RGB,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}
_WIDE_FORMATS = ("PNG", "PPM")  # where PIL's mode "I" holds 16 bits
_MAGIC = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8")  # how common formats begin
_ZEROS = bytes(64)  # no picture ends so by chance
_NO_RANGE = "pixels have no fixed range; save it with 8 or 16 bits"


class UnreadableImageError(BadValueError):
    """A file, or something else, that should be a picture and cannot be read."""

    @property
    def reason(self) -> str:
        """Why, in a few words."""
        return str(self.args[0])


class Stored(NamedTuple):
    """Decoded pixels, as they are stored.

    Args:
        pixels: (h, w, 3) uint8, perhaps smaller than the picture, perhaps lying on a side.
        place: (3, 3), from the upright picture's pixel coordinates (x, y, 1) to those of `pixels`.
    """

    pixels: Pixels
    place: NDArray[np.float64]


class Picture(ABC):
    """A picture whose size is known and whose pixels are not decoded yet.

    Args:
        size: (height, width) as a viewer shows it.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        self.size = size

    @abstractmethod
    def decode(self, shrink: int = 1) -> Stored:
        """The pixels.

        Args:
            shrink: 1, 2, 4 or 8: a picture that many times smaller will do, where that is quicker.

        Raises:
            UnreadableImageError: The pixels are damaged.
        """


@final
class ArrayPicture(Picture):
    """Pixels that are there already: (h, w, 3) uint8."""

    def __init__(self, pixels: Pixels) -> None:
        super().__init__(pixels.shape[:2])
        self.pixels = pixels

    @override
    def decode(self, shrink: int = 1) -> Stored:
        return Stored(self.pixels, np.eye(3))


@final
class _PilPicture(Picture):
    """Any picture, decoded by PIL; of several frames the first."""

    def __init__(self, image: Image.Image) -> None:
        width, height = image.size
        super().__init__((height, width))
        self.image = image

    @override
    def decode(self, shrink: int = 1) -> Stored:
        return Stored(_rgb(self.image), np.eye(3))


@final
class _JpegPicture(Picture):
    """An ordinary JPEG, grey or color."""

    def __init__(self, data: bytes, header: _JpegHeader) -> None:
        self.stored_size = (header.height, header.width)
        super().__init__(self.stored_size if header.orientation < 5 else (header.width, header.height))
        self.data, self.orientation = data, header.orientation

    @override
    def decode(self, shrink: int = 1) -> Stored:
        pixels = _decode_jpeg(self.data, self.stored_size, shrink)
        if pixels is None:  # PIL is the judge of what can be read
            return _opened_by_pil(self.data).decode()
        return Stored(pixels, rescaled(_upright_to_stored(self.orientation, self.stored_size), 1 / shrink))


def open_picture(source: PictureSource) -> Picture:
    """A picture, its size known and its pixels not yet decoded.

    Raises:
        UnreadableImageError: No such file, no picture, or one of more than `MAX_PIXELS`.
    """
    if isinstance(source, np.ndarray):
        return ArrayPicture(_array_as_rgb(source))
    if isinstance(source, Image.Image):
        return _PilPicture(_upright(source))
    data = source if isinstance(source, bytes) else _read(source)
    if not data:
        raise unreadable("0 bytes")
    header = _jpeg_header(data)
    if header is not None and data.endswith(_ZEROS) and not is_whole(data):  # PIL would take them for grey pixels
        raise unreadable("damaged: it ends in zeros, as a file does that was not written to its end")
    if header is None or header.num_channels not in (1, 3) or not is_whole(data):
        return _opened_by_pil(data)
    _check_pixels(header.height, header.width)
    return _JpegPicture(data, header)


def unreadable(reason: str) -> UnreadableImageError:
    """The error for one picture."""
    return UnreadableImageError("decode", reason, "Replace the file, or leave it out")


def _upright_to_stored(orientation: int, stored_size: tuple[int, int]) -> NDArray[np.float64]:
    """Where each pixel of the upright picture is stored, as a (3, 3) matrix over (x, y, 1).

    Args:
        orientation: EXIF's, 1 to 8.
        stored_size: (height, width) of what is stored.

    Source: EXIF 2.32, section 4.6.4, tag 0x0112.

    Example:
        >>> (_upright_to_stored(6, (20, 30)) @ [0, 0, 1]).tolist()
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


def _read(path: str | Path) -> bytes:
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        raise unreadable("no such file") from None
    except (OSError, ValueError) as error:
        raise unreadable(f"cannot be read: {getattr(error, 'strerror', None) or error}") from error


def _decode_jpeg(data: bytes, size: tuple[int, int], shrink: int) -> Pixels | None:
    """The pixels, or None where the decoder has something to complain about."""
    if simplejpeg is None:
        flags = _SCALED_FLAGS[shrink] | cv2.IMREAD_IGNORE_ORIENTATION
        try:
            pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
        except cv2.error:
            return None
        return pixels if shrink == 1 or pixels is None else cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)  # type: ignore[return-value]
    height, width = (-(-side // shrink) for side in size)
    try:
        return simplejpeg.decode_jpeg(data, "RGB", min_height=height, min_width=width)  # type: ignore[no-any-return]
    except ValueError:
        return None


@functools.cache
def _formats() -> tuple[str, ...]:
    """What PIL may read: the formats that it reads by itself. For others, such as EPS, it starts programs of the machine."""
    Image.init()  # finds those that this build of PIL has
    wanted = ("AVIF", "BMP", "GIF", "ICO", "JPEG", "JPEG2000", "PNG", "PPM", "TGA", "TIFF", "WEBP")
    return tuple(name for name in wanted if name in Image.OPEN)


def _opened_by_pil(data: bytes) -> _PilPicture:
    try:
        image = Image.open(io.BytesIO(data), formats=_formats())
        _check_pixels(image.height, image.width)
        return _PilPicture(_upright(image))
    except UnreadableImageError:
        raise
    except UnidentifiedImageError:
        cut = data.startswith(_MAGIC)
        raise unreadable("damaged: it is cut within its header" if cut else "not a picture in a known format") from None
    except Exception as error:  # PIL's formats raise whatever their parsing runs into
        raise unreadable(_reason_of(error)) from error


def _upright(image: Image.Image) -> Image.Image:
    """The picture as EXIF turns it; decoded only if it has to be turned."""
    try:
        orientation = image.getexif().get(0x0112, 1)
    except Exception:  # damaged facts about a picture do not make it unreadable
        orientation = 1
    if orientation == 1 or image.format == "TIFF":  # PIL turns TIFF files itself
        return image
    return ImageOps.exif_transpose(image)


def _rgb(image: Image.Image) -> Pixels:
    """The pixels by PIL's `convert`, 16 bits scaled to 8."""
    if image.mode == "F" or (image.mode == "I" and image.format not in _WIDE_FORMATS):
        raise unreadable(f"its 32-bit {_NO_RANGE}")
    try:
        if image.mode.startswith("I"):
            return _array_as_rgb(np.asarray(image).astype(np.uint16))
        if "transparency" in image.info and image.mode == "P":
            image = image.convert("RGBA")  # what PIL warns about when it is left out
        return np.array(image.convert("RGB"))
    except Exception as error:  # as on opening
        raise unreadable(_reason_of(error)) from error


def _array_as_rgb(pixels: NDArray[Any]) -> Pixels:
    """An array of grey, RGB or RGBA as (h, w, 3) uint8."""
    if pixels.dtype not in (np.uint8, np.uint16, np.bool_):
        raise unreadable(f"an array must hold uint8 or uint16, not {pixels.dtype}, whose {_NO_RANGE}")
    if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] not in (1, 3, 4)) or not pixels.size:
        raise unreadable(f"an array must be (h, w), (h, w, 1), (h, w, 3) or (h, w, 4), not {pixels.shape}")
    if pixels.dtype == np.uint16:
        pixels = ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
    elif pixels.dtype == np.bool_:
        pixels = pixels.astype(np.uint8) * np.uint8(255)
    grey = pixels.ndim == 2 or pixels.shape[2] == 1
    return np.ascontiguousarray(np.repeat(pixels.reshape(*pixels.shape[:2], 1), 3, 2) if grey else pixels[..., :3])


def _check_pixels(height: int, width: int) -> None:
    if height * width > MAX_PIXELS:
        raise unreadable(f"{width:,} x {height:,} pixels, more than the {MAX_PIXELS:,} that are safe to decode")


def _reason_of(error: Exception) -> str:
    return f"damaged: {(str(error).strip() or type(error).__name__).splitlines()[0].rstrip('.')}"


START, END = b"\xff\xd8", b"\xff\xd9"
_STANDALONE = {0x01, *range(0xD0, 0xD9)}  # markers without a length
_FRAMES = {0xC0, 0xC1, 0xC2}  # baseline, extended, progressive: what every decoder reads
_OTHER_FRAMES = {*range(0xC3, 0xD0)} - {0xC4, 0xC8, 0xCC}  # lossless, arithmetic and hierarchical ones
_EXIF, _EXIF_START = 0xE1, b"Exif\x00\x00"
_ORIENTATION = 0x0112


class _JpegHeader(NamedTuple):
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


def _jpeg_header(data: bytes) -> _JpegHeader | None:
    """The header, or None where the bytes are no JPEG of 8 bits a channel that every decoder reads.

    Source:
        ITU-T T.81, table B.1 (markers) and B.2.2 (frame header); EXIF 2.32, section 4.6.4 (orientation).

    Example:
        >>> frame = bytes([0xFF, 0xC0, 0, 11, 8, 0, 20, 0, 30, 3])
        >>> _jpeg_header(START + frame)
        _JpegHeader(height=20, width=30, num_channels=3, orientation=1)
    """
    if not data.startswith(START):
        return None
    orientation, place = 1, 2
    while place + 10 <= len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if marker in _FRAMES:
            bits, height, width, num_channels = struct.unpack_from(">BHHB", data, place + 4)
            return _JpegHeader(height, width, num_channels, orientation) if bits == 8 and height and width else None
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
