"""Decode images from files, bytes, PIL images or arrays to uint8 RGB.

PIL is the reference: in every format the pixels are those of its `convert("RGB")`, turned upright according to EXIF. An
ordinary JPEG goes through a faster decoder that gives the same pixels: simplejpeg if it is installed, else OpenCV.
"""

from __future__ import annotations

import functools
import io
import os
import stat
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeAlias, final

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from typing_extensions import override

from tabvision.augment.geometry import rescaled
from tabvision.data.images.jpeg import JpegHeader, is_whole, jpeg_header, upright_to_stored
from tabvision.data.tables.text_file import first_line
from tabvision.errors import BadValueError

try:
    import simplejpeg
except ImportError:  # OpenCV does it, too, a tenth slower
    simplejpeg = None

Pixels = NDArray[np.uint8]
ImageSource: TypeAlias = str | Path | bytes | Image.Image | NDArray[Any]
"""An image to open: a path, a file's bytes, a PIL image, or an array (h, w) or (h, w, channels)."""

_MAX_PIXELS = 89_478_485  # PIL's own limit for opening without a warning: a quarter of a gigabyte of RGB
SHRINKS = (8, 4, 2)  # a JPEG decodes at 1/8, 1/4 and 1/2 of its size in a fraction of the time
_SCALED_FLAGS = {
    1: cv2.IMREAD_COLOR_RGB,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}
_WIDE_FORMATS = ("PNG", "PPM")  # in these formats PIL's mode "I" holds 16 bits
_MAGIC = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8")  # first bytes of common formats
_ZEROS = bytes(64)  # no complete image ends in so many zeros
NO_RANGE = "pixels have no fixed range; save it with 8 or 16 bits"


class UnreadableImageError(BadValueError):
    """A file or another source that cannot be read as an image."""

    @classmethod
    def because(cls, reason: str) -> UnreadableImageError:
        """Return the error for one image."""
        return cls("decode", reason, "Replace the file, or leave it out")

    @property
    def reason(self) -> str:
        """The reason why the image cannot be read, in a few words."""
        return str(self.args[0])


class Stored(NamedTuple):
    """Decoded pixels, laid out as in the file.

    Args:
        pixels: (h, w, 3) uint8, perhaps smaller than the image, perhaps not yet rotated upright.
        matrix: (3, 3), maps pixel coordinates (x, y, 1) of the upright image to those of `pixels`.
    """

    pixels: Pixels
    matrix: NDArray[np.float64]


class StoredImage(ABC):
    """An image whose size is known and whose pixels are not decoded yet.

    Args:
        size: (height, width) of the upright image.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        self.size = size

    @abstractmethod
    def decode(self, shrink: int = 1) -> Stored:
        """Decode the pixels.

        Args:
            shrink: 1, 2, 4 or 8: how many times smaller the result may be, if that is faster to decode.

        Raises:
            UnreadableImageError: The pixels are damaged.
        """


@final
class StoredArray(StoredImage):
    """An image that is already decoded: (h, w, 3) uint8."""

    def __init__(self, pixels: Pixels) -> None:
        super().__init__(pixels.shape[:2])
        self.pixels = pixels

    @override
    def decode(self, shrink: int = 1) -> Stored:
        return Stored(self.pixels, np.eye(3))


@final
class StoredPil(StoredImage):
    """An image of any format, decoded by PIL; of several frames, the first."""

    def __init__(self, image: Image.Image) -> None:
        orientation = orientation_of(image)
        # PIL rotates TIFF files itself; rotating another format decodes it here, so skip those that are upright
        self.image = image if orientation == 1 or image.format == "TIFF" else ImageOps.exif_transpose(image)
        width, height = self.image.size
        super().__init__((height, width))

    @classmethod
    def of(cls, data: bytes) -> StoredPil:
        """Open the bytes of a file.

        Raises:
            UnreadableImageError: The bytes are not an image that PIL reads, or it has too many pixels.
        """
        try:
            image = Image.open(io.BytesIO(data), formats=known_formats())
            check_pixels(image.height, image.width)
            return cls(image)
        except UnreadableImageError:
            raise
        except UnidentifiedImageError:
            cut = data.startswith(_MAGIC)
            reason = "damaged: cut short within its header" if cut else "not an image in a known format"
            raise UnreadableImageError.because(reason) from None
        except Exception as error:  # PIL's parsers may raise anything
            raise UnreadableImageError.because(f"damaged: {first_line(error)}") from error

    @override
    def decode(self, shrink: int = 1) -> Stored:
        return Stored(self._rgb(), np.eye(3))

    def _rgb(self) -> Pixels:
        """Return the pixels from PIL's `convert`; 16-bit ones are scaled to 8 bits."""
        image = self.image
        if image.mode == "F" or (image.mode == "I" and image.format not in _WIDE_FORMATS):
            raise UnreadableImageError.because(f"its 32-bit {NO_RANGE}")
        try:
            if image.mode.startswith("I"):
                return _array_as_rgb(np.asarray(image).astype(np.uint16))
            if "transparency" in image.info and image.mode == "P":
                image = image.convert("RGBA")  # otherwise PIL warns
            return np.array(image.convert("RGB"))
        except Exception as error:  # as in `of`
            raise UnreadableImageError.because(f"damaged: {first_line(error)}") from error


def orientation_of(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 to 8; 1 if it is unknown."""
    try:
        orientation = image.getexif().get(0x0112, 1)
    except Exception:  # an image with damaged metadata is still readable
        return 1
    return orientation if orientation in range(1, 9) else 1


@final
class _StoredJpeg(StoredImage):
    """An ordinary JPEG, gray or color."""

    def __init__(self, data: bytes, header: JpegHeader) -> None:
        self.stored_size = (header.height, header.width)
        super().__init__(self.stored_size if header.orientation < 5 else (header.width, header.height))
        self.data, self.orientation = data, header.orientation

    @override
    def decode(self, shrink: int = 1) -> Stored:
        pixels = self._pixels(shrink)
        if pixels is None:  # let PIL decide whether it can be read
            return StoredPil.of(self.data).decode()
        return Stored(pixels, rescaled(upright_to_stored(self.orientation, self.stored_size), 1 / shrink))

    def _pixels(self, shrink: int) -> Pixels | None:
        """Return the pixels as stored, or None if the decoder complains."""
        if simplejpeg is None:
            flags = _SCALED_FLAGS[shrink] | cv2.IMREAD_IGNORE_ORIENTATION
            try:
                pixels = cv2.imdecode(np.frombuffer(self.data, np.uint8), flags)
            except cv2.error:
                return None
            return pixels if shrink == 1 or pixels is None else cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)  # type: ignore[return-value]
        height, width = (-(-side // shrink) for side in self.stored_size)
        try:
            return simplejpeg.decode_jpeg(self.data, "RGB", min_height=height, min_width=width)  # type: ignore[no-any-return]
        except ValueError:
            return None


def open_image(source: ImageSource) -> StoredImage:
    """Open an image, without decoding its pixels.

    Raises:
        UnreadableImageError: There is no such file, it is not an image, or it has more than `_MAX_PIXELS` pixels.
    """
    if isinstance(source, np.ndarray):
        return StoredArray(_array_as_rgb(source))
    if isinstance(source, Image.Image):
        return StoredPil(source)
    data = source if isinstance(source, bytes) else read_file(source)
    if not data:
        raise UnreadableImageError.because("0 bytes")
    header = jpeg_header(data)
    if header is not None and data.endswith(_ZEROS) and not is_whole(data):  # PIL would decode the zeros as gray pixels
        raise UnreadableImageError.because("damaged: it ends in zeros, like a file that was not fully written")
    if header is None or header.num_channels not in (1, 3) or not is_whole(data):
        return StoredPil.of(data)
    check_pixels(header.height, header.width)
    return _StoredJpeg(data, header)


def read_file(path: str | Path) -> bytes:
    """Return the bytes of a file.

    Raises:
        UnreadableImageError: There is no such file, or it cannot be read.
    """
    with open_file(path) as file:
        return file.read()


@contextmanager
def open_file(path: str | Path) -> Iterator[BinaryIO]:
    """Open a file to read its bytes.

    Raises:
        UnreadableImageError: There is no such file; it is a folder, a pipe or a device; or it cannot be read.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116 - opening a pipe would block forever
            raise UnreadableImageError.because("cannot be read: not a regular file")
        with Path(path).open("rb") as file:
            yield file
    except UnreadableImageError:
        raise
    except FileNotFoundError:
        raise UnreadableImageError.because("no such file") from None
    except (OSError, ValueError) as error:
        raise UnreadableImageError.because(f"cannot be read: {getattr(error, 'strerror', None) or error}") from error


@functools.cache
def known_formats() -> tuple[str, ...]:
    """Return the formats that PIL decodes itself; for others, such as EPS, it runs external programs."""
    Image.init()  # registers the formats that this build of PIL supports
    wanted = ("AVIF", "BMP", "GIF", "ICO", "JPEG", "JPEG2000", "PNG", "PPM", "TGA", "TIFF", "WEBP")
    return tuple(name for name in wanted if name in Image.OPEN)


def _array_as_rgb(pixels: NDArray[Any]) -> Pixels:
    """Return an array of gray, RGB or RGBA values as (h, w, 3) uint8."""
    if pixels.dtype not in (np.uint8, np.uint16, np.bool_):
        raise UnreadableImageError.because(f"an array must hold uint8 or uint16, not {pixels.dtype}, whose {NO_RANGE}")
    if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] not in (1, 3, 4)) or not pixels.size:
        reason = f"an array must be (h, w), (h, w, 1), (h, w, 3) or (h, w, 4), not {pixels.shape}"
        raise UnreadableImageError.because(reason)
    if pixels.dtype == np.uint16:
        pixels = to_8_bits(pixels)
    elif pixels.dtype == np.bool_:
        pixels = pixels.astype(np.uint8) * np.uint8(255)
    gray = pixels.ndim == 2 or pixels.shape[2] == 1
    return np.ascontiguousarray(np.repeat(pixels.reshape(*pixels.shape[:2], 1), 3, 2) if gray else pixels[..., :3])


def to_8_bits(values: NDArray[np.uint16]) -> Pixels:
    """Return 16-bit values scaled to 8 bits and rounded."""
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)


def check_pixels(height: int, width: int, num_bytes: int = 3) -> None:
    """Raise if an image has too many pixels, of `num_bytes` each, to be decoded safely."""
    most = 3 * _MAX_PIXELS // num_bytes
    if height * width > most:
        reason = f"{width:,} x {height:,} pixels, more than the {most:,} that are safe to decode"
        raise UnreadableImageError.because(reason)
