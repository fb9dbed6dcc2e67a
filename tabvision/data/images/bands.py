"""Read images other than 8-bit RGB: gray, more channels, 16 bits, floats, and the pages of a TIFF as channels.

The schema's range of values is mapped to 0 to 255, so that all later steps handle uint8, whatever a file holds.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, final

import cv2
import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from tabvision.data.images.decode import (
    NO_RANGE,
    ImageSource,
    Pixels,
    Stored,
    StoredImage,
    UnreadableImageError,
    check_pixels,
    open_image,
    read_file,
    to_8_bits,
)
from tabvision.data.images.jpeg import upright_to_stored
from tabvision.data.images.layout import layout_of, other_channels, stored_values
from tabvision.errors import count
from tabvision.schema import Image

_LUMINANCE = (0.299, 0.587, 0.114)  # of red, green and blue: ITU-R BT.601, as PIL's mode "L"
_FAR = 2.0  # an image with a median above low + 2 * (high - low) must be on another scale than the range


def open_as(source: ImageSource, image: Image | None) -> StoredImage:
    """Open an image as a network reads it, without decoding its pixels.

    Raises:
        UnreadableImageError: The source is not an image, is too large, or does not have these channels.

    Example:
        >>> image = Image(size=(8, 8), channels=1, value_range=((0, 4000),))
        >>> open_as(np.array([[0, 2000, 4000]], np.uint16), image).decode().pixels.ravel().tolist()
        [0, 128, 255]
    """
    if image is not None and (image.value_range or image.channels not in (1, 3)):
        return _StoredBands(source, image)
    try:
        stored = open_image(source)
    except UnreadableImageError as error:
        raise _explained(source, error) from error
    return stored if image is None or image.channels == 3 else _Gray(stored)


def _explained(source: ImageSource, error: UnreadableImageError) -> UnreadableImageError:
    """Return the error; for a TIFF that only `channels=` or `value_range=` can read, one that says so."""
    try:
        layout = layout_of(source)
    except UnreadableImageError:
        return error
    num, bits = layout.channels, layout.bits
    if layout.decoder != "tifffile" or (num in (1, 3) and bits in (8, 16)):
        return error
    way = "value_range (--value-range)" if num in (1, 3) else f"channels={num} (--channels {num})"
    kind = f"{bits} bits" if bits else "floats"
    return UnreadableImageError.because(f"it has {count(num, 'channel')} of {kind}, which need {way}")


@final
class _Gray(StoredImage):
    """The luminance of an image."""

    def __init__(self, stored: StoredImage) -> None:
        super().__init__(stored.size)
        self.stored = stored

    @override
    def decode(self, shrink: int = 1) -> Stored:
        pixels, matrix = self.stored.decode(shrink)
        return Stored(np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.uint8)[..., None], matrix)


@final
class _StoredBands(StoredImage):
    """An image with any number of channels and any range of values."""

    def __init__(self, source: ImageSource, image: Image) -> None:
        self.source = read_file(source) if isinstance(source, str | Path) else source
        self.layout, self.image = layout_of(self.source), image
        height, width = self.layout.height, self.layout.width
        check_pixels(height, width, num_bytes=image.channels * (2 if self.layout.bits in (8, 16) else 8))
        super().__init__((height, width) if self.layout.orientation < 5 else (width, height))

    @override
    def decode(self, shrink: int = 1) -> Stored:
        values = as_channels(stored_values(self.source, self.layout, self.image.channels), self.image.channels)
        pixels = _as_bytes(values, np.array(self.image.value_range, np.float64))
        return Stored(pixels, upright_to_stored(self.layout.orientation, pixels.shape[:2]))


def as_channels(values: NDArray[Any], channels: int) -> NDArray[Any]:
    """Convert values to a number of channels: RGB to gray, gray to RGB, or either without its transparency.

    Raises:
        UnreadableImageError: There is no such conversion.
    """
    num = values.shape[2]
    if num == channels:
        return values
    if channels == 3 and num in (1, 2):
        return np.repeat(values[..., :1], 3, axis=2)
    if (channels, num) in ((3, 4), (1, 2)):
        return values[..., :channels]
    if channels == 1 and num in (3, 4):
        gray = values[..., :3] @ np.array(_LUMINANCE, np.float64)
        return (gray if values.dtype.kind == "f" else np.rint(gray)).astype(values.dtype)[..., None]
    raise other_channels(num, channels)


def _as_bytes(values: NDArray[Any], ranges: NDArray[np.float64]) -> Pixels:
    """Map a range of values to 0 to 255.

    Args:
        values: The values as stored.
        ranges: (1, 2) or (C, 2), lowest and highest value; empty for the full range of 8 or 16 bits.

    Raises:
        UnreadableImageError: The values need a range and none is given, or they are far above it.
    """
    if not ranges.size:
        if values.dtype == np.uint16:
            return to_8_bits(values)
        if values.dtype != np.uint8:
            raise UnreadableImageError.because(f"its {values.dtype} {NO_RANGE}, or pass value_range (--value-range)")
        return values
    low, high = ranges.T
    described = f"{low.min():,.6g} to {high.max():,.6g}"
    if values.dtype == np.uint8 and high.max() > 255:
        raise UnreadableImageError.because(f"it has 8 bits per channel, but the range of values is {described}")
    if (np.median(values[::4, ::4], axis=(0, 1)) > low + _FAR * (high - low)).any():
        raise UnreadableImageError.because(f"most of its values are far above the range of {described}")
    if values.dtype.itemsize > 2 or values.dtype.kind == "f":
        return _scaled(values, low, high)
    kind = np.uint8 if values.dtype.itemsize == 1 else np.uint16  # looking values up in a table is faster
    table = _scaled(np.arange(np.iinfo(kind).max + 1).astype(kind).view(values.dtype)[:, None], low, high)
    index = np.ascontiguousarray(values).view(kind)
    if len(ranges) == 1:
        found: Pixels = table[:, 0][index]
        return found
    return np.stack([table[:, channel][index[..., channel]] for channel in range(len(ranges))], axis=2)


def _scaled(values: NDArray[Any], low: NDArray[np.float64], high: NDArray[np.float64]) -> Pixels:
    return np.asarray(np.rint(np.nan_to_num((np.clip(values, low, high) - low) * (255 / (high - low)))), np.uint8)


def ignored_content(source: ImageSource, image: Image) -> Iterator[str]:
    """Yield descriptions of what the network does not see in an image, each the end of a sentence about several images.

    Example:
        >>> list(ignored_content(np.zeros((2, 2, 3), np.uint8), Image(size=(2, 2), channels=1)))
        ['have color, which becomes gray: channels=3 keeps it']
    """
    layout, channels = layout_of(source), image.channels
    num, pages = layout.channels, layout.pages
    if pages > 1 and not layout.is_stacked(channels):
        total = pages * num
        way = (
            f": channels={total} (--channels {total}) reads them all"
            if layout.decoder == "tifffile" and total != 3
            else ""
        )
        yield f"have {pages} pages, of which only the first is read{way}"
    if channels == 1 and num in (3, 4):
        yield "have color, which becomes gray: channels=3 keeps it"
    if (channels, num) in ((3, 2), (3, 4), (1, 2), (1, 4)):
        last = stored_values(source, layout, num)[..., -1]
        way = f": channels={num} (--channels {num}) reads it" if num == 4 else ""
        if last.max() > last.min():
            yield f"have another channel (transparency or an extra band) that is not read{way}"
    if layout.bits != 8:
        kind = f"{layout.bits} bits per channel" if layout.bits else "floating-point values"
        way = "" if image.value_range else "; value_range= (--value-range) sets the range"
        yield f"have {kind}, of which 256 levels are kept{way}"
