"""Read images other than 8-bit RGB: gray, more channels, 16 bits, floats, and the pages of a TIFF as channels.

The schema's range of values is mapped to 0 to 255, so everything that follows handles uint8, whatever a file holds.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, final

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as PilImage
from typing_extensions import override

from tabvision.data.images.decode import (
    NO_RANGE,
    ImageSource,
    Pixels,
    Stored,
    StoredImage,
    StoredPil,
    UnreadableImageError,
    check_pixels,
    open_image,
    read_file,
    reason_of,
)
from tabvision.data.images.jpeg import upright_to_stored
from tabvision.data.images.layout import (
    ALONE,
    PNG,
    SAMPLES,
    BandLayout,
    added_up,
    array_of,
    check_chunks,
    layout_of,
    side_by_side,
)
from tabvision.errors import count
from tabvision.schema import Image

_LUMINANCE = (0.299, 0.587, 0.114)  # of red, green and blue: ITU-R BT.601, as PIL's mode "L"
_RGBA, _FLOAT_BITS = 4, 64
_MOST_COMPRESSED = 10_000  # times fewer bytes than values: deflate reaches 1,032, of which 1 bit makes 8 as many
_FAR = 2.0  # times the highest value of the range: an image whose median is above has another scale


def open_as(source: ImageSource, image: Image | None) -> StoredImage:
    """Open an image as a network reads it, without decoding its pixels.

    Args:
        source: The image.
        image: The channels and the range of values; None for 8-bit RGB.

    Raises:
        UnreadableImageError: It is not an image, is too large, or does not have these channels.

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
    """Return the error, with the number of channels for a TIFF that only `channels=` can read."""
    try:
        layout = layout_of(source)
    except UnreadableImageError:
        return error
    num, bits = layout.channels, layout.bits
    if layout.tags is None or (num in ALONE and bits in (8, 16)):
        return error
    way = "value_range (--value-range)" if num in ALONE else f"channels={num} (--channels {num})"
    kind = f"{bits} bits" if bits else "floats"
    return UnreadableImageError.because(f"it has {count(num, 'channel')} of {kind}, read only with {way}")


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
    """An image of any number of channels and any range of values."""

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


def stored_values(source: ImageSource, layout: BandLayout, channels: int) -> NDArray[Any]:
    """Return the values of an image as stored; pages are channels if that gives the number of channels.

    Shape:
        - returns: (h, w, C) of any number type

    Raises:
        UnreadableImageError: The pixels are damaged, or compressed in a way that is not supported.
    """
    try:
        if isinstance(source, np.ndarray | PilImage.Image):
            return array_of(source)
        data = source if isinstance(source, bytes) else read_file(source)
        if layout.tags is None and not data.startswith(PNG):
            return array_of(StoredPil.of(data).image)
        _check_channels(layout, channels)
        return _by_opencv(data, layout, channels)
    except UnreadableImageError:
        raise
    except Exception as error:  # decoders raise whatever they run into
        raise UnreadableImageError.because(reason_of(error)) from error


def _by_opencv(data: bytes, layout: BandLayout, channels: int) -> NDArray[Any]:
    """Return the values of a PNG or TIFF, which PIL would reduce to 8 bits or four channels."""
    is_stack = _is_stacked(layout, channels)
    _check_bytes(layout, len(data), num_channels=channels if is_stack else layout.channels)
    if layout.tags is not None and layout.tags.get(SAMPLES, (1, 1))[1] not in ALONE:
        data = side_by_side(data, layout.tags)
    if layout.tags is None:
        check_chunks(data)
    content = np.frombuffer(data, np.uint8)
    pages: Any = [cv2.imdecode(content, cv2.IMREAD_UNCHANGED)]
    if is_stack:
        pages = cv2.imdecodemulti(content, cv2.IMREAD_UNCHANGED)[1]
    height, width = layout.height, layout.width
    if any(page is None or page.size % (height * width) for page in pages):
        raise UnreadableImageError.because("damaged, or its pages differ in size")
    decoded = [_in_order(page.reshape(height, width, -1), layout) for page in pages]
    return decoded[0] if len(decoded) == 1 else np.concatenate(decoded, axis=2)


def _is_stacked(layout: BandLayout, channels: int) -> bool:
    """Return whether the pages of an image are its channels; RGB and gray are always one page."""
    return channels not in (1, 3, layout.channels) and layout.pages * layout.channels == channels


def _in_order(values: NDArray[Any], layout: BandLayout) -> NDArray[Any]:
    """Return a page of OpenCV's as (h, w, C), red first."""
    if layout.tags is not None and layout.tags.get(SAMPLES, (1, 1))[1] not in ALONE:
        return added_up(values, layout.tags)
    if values.shape[2] not in (3, 4):
        return values
    if layout.channels == 2:  # gray and transparency of a PNG, which OpenCV makes four of
        return values[..., [0, 3]]
    return values[..., [2, 1, 0, 3][: values.shape[2]]]


def as_channels(values: NDArray[Any], channels: int) -> NDArray[Any]:
    """Return the values with a number of channels: RGB becomes gray and gray RGB, and transparency is left out.

    Raises:
        UnreadableImageError: There are others.
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
    raise _other_channels(num, channels)


def _check_bytes(layout: BandLayout, num_bytes: int, *, num_channels: int) -> None:
    """Raise before decoding an image that is too large, or too large for its bytes: OpenCV would fill its memory first."""
    each = num_channels * (layout.bits or _FLOAT_BITS) // 8
    check_pixels(layout.height, layout.width, num_bytes=each)
    if layout.height * layout.width * each > _MOST_COMPRESSED * num_bytes:
        raise UnreadableImageError.because(
            f"damaged: {num_bytes:,} bytes hold no {layout.width:,} x {layout.height:,} pixels"
        )


def _check_channels(layout: BandLayout, channels: int) -> None:
    """Raise before decoding more channels than are read."""
    if layout.channels > _RGBA and layout.channels != channels and not _is_stacked(layout, channels):
        raise _other_channels(layout.channels, channels)


def _other_channels(num: int, channels: int) -> UnreadableImageError:
    return UnreadableImageError.because(
        f"it has {count(num, 'channel')}, and {channels} are read (channels={channels})"
    )


def _as_bytes(values: NDArray[Any], ranges: NDArray[np.float64]) -> Pixels:
    """Return values of a range as 0 to 255.

    Args:
        values: The values as stored.
        ranges: (1, 2) or (C, 2), lowest and highest; empty for the whole range of 8 or 16 bits.

    Raises:
        UnreadableImageError: The values have no range, or one that is far from this.
    """
    if not ranges.size:
        if values.dtype == np.uint16:
            return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
        if values.dtype != np.uint8:
            raise UnreadableImageError.because(f"its {values.dtype} {NO_RANGE}, or pass value_range (--value-range)")
        return values
    low, high = ranges.T
    described = f"the range is {low.min():,.6g} to {high.max():,.6g}"
    if values.dtype == np.uint8 and high.max() > 255:
        raise UnreadableImageError.because(f"it has 8 bits a channel, and {described}")
    if (np.median(values[::4, ::4], axis=(0, 1)) > low + _FAR * (high - low)).any():
        raise UnreadableImageError.because(f"most of its values are far above, as {described}")
    if values.dtype.itemsize > 2:
        return _scaled(values, low, high)
    kind = np.uint8 if values.dtype.itemsize == 1 else np.uint16  # a table of all values is faster
    table = _scaled(np.arange(np.iinfo(kind).max + 1).astype(kind).view(values.dtype)[:, None], low, high)
    index = np.ascontiguousarray(values).view(kind)
    if len(ranges) == 1:
        found: Pixels = table[:, 0][index]
        return found
    return np.stack([table[:, channel][index[..., channel]] for channel in range(len(ranges))], axis=2)


def _scaled(values: NDArray[Any], low: NDArray[np.float64], high: NDArray[np.float64]) -> Pixels:
    return np.asarray(np.rint(np.nan_to_num((np.clip(values, low, high) - low) * (255 / (high - low)))), np.uint8)


def losses(source: ImageSource, image: Image) -> Iterator[str]:
    """Yield what an image holds that a network does not see, as the end of a sentence about several images.

    Example:
        >>> list(losses(np.zeros((2, 2, 3), np.uint8), Image(size=(2, 2), channels=1)))
        ['have color, which becomes gray: channels=3 keeps it']
    """
    layout, channels = layout_of(source), image.channels
    num, pages = layout.channels, layout.pages
    if pages > 1 and not _is_stacked(layout, channels):
        total = pages * num
        way = f": channels={total} (--channels {total}) reads them all" if layout.tags and total != 3 else ""
        yield f"have {pages} pages, of which only the first is read{way}"
    if channels == 1 and num in (3, 4):
        yield "have color, which becomes gray: channels=3 keeps it"
    if (channels, num) in ((3, 2), (3, 4), (1, 2), (1, 4)) and _varies(source, layout):
        way = f": channels={num} (--channels {num}) reads it" if num == 4 else ""
        yield f"have another channel, transparency or a band of its own, that is not read{way}"
    if layout.bits != 8:
        kind = f"{layout.bits} bits a channel" if layout.bits else "floating-point values"
        way = "" if image.value_range else "; value_range= (--value-range) states between which values"
        yield f"have {kind}, of which 256 levels are kept{way}"


def _varies(source: ImageSource, layout: BandLayout) -> bool:
    """Return whether the last channel differs from pixel to pixel."""
    last = stored_values(source, layout, layout.channels)[..., -1]
    return bool(last.max() > last.min())
