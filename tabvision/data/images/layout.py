"""Read the headers and the stored values of images with any number of channels, bits and pages.

PIL reads the formats that it keeps without loss; tifffile reads any TIFF, and imagecodecs 16-bit PNGs.
"""

from __future__ import annotations

import io
import logging
import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PilImage
from PIL import UnidentifiedImageError

from tabvision.data.images.decode import (
    ImageSource,
    StoredPil,
    UnreadableImageError,
    check_pixels,
    known_formats,
    open_file,
    orientation_of,
    read_file,
)
from tabvision.data.tables.text_file import first_line
from tabvision.errors import count

logging.getLogger("tifffile").addHandler(logging.NullHandler())  # our errors say what it logs

_RGBA, _FLOAT_BITS = 4, 64
_MOST_COMPRESSED = 10_000  # bytes of values per byte of file: deflate reaches 1,032, eight times that for 1-bit values
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # either byte order; the latter two are BigTIFF
_PNG = b"\x89PNG\r\n\x1a\n"
_BY_PIL = ("PALETTE", "SEPARATED", "YCBCR", "CIELAB")  # colors of a TIFF that PIL converts to RGB
_UNPREDICTED = ("NONE", "PACKBITS")  # these compressions have no predictor, whatever the tag says
_LOSSLESS = (*_UNPREDICTED, "LZW", "DEFLATE", "ADOBE_DEFLATE", "ZSTD")
_PLAIN = ("L", "LA", "RGB", "RGBA", "I", "I;16", "I;16B", "F")


class BandLayout(NamedTuple):
    """What the header of an image says about its values.

    Args:
        height: Height as decoded, in pixels.
        width: Width as decoded, in pixels.
        channels: Channels per page, including transparency.
        bits: Bits per value; 0 for floats.
        pages: Number of pages or frames.
        orientation: EXIF orientation, 1 to 8, for a file whose pixels are decoded as stored.
        decoder: The library that decodes it: "PIL" (upright), "tifffile" or "imagecodecs" (as stored).
    """

    height: int
    width: int
    channels: int
    bits: int = 8
    pages: int = 1
    orientation: int = 1
    decoder: str = "PIL"

    def is_stacked(self, channels: int) -> bool:
        """Return whether the pages together make up that many channels; RGB and gray always come from one page."""
        return channels not in (1, 3, self.channels) and self.pages * self.channels == channels


def layout_of(source: ImageSource) -> BandLayout:
    """Return what the header of an image in any format says, without decoding any pixels.

    Raises:
        UnreadableImageError: The source is not an image.

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
        with io.BytesIO(source) if isinstance(source, bytes) else open_file(source) as file:
            start = file.read(32)
            file.seek(0)
            layout = _layout_of_tiff(file) if start.startswith(_TIFF) else None
            return layout or _layout_by_pil(file, start)
    except UnreadableImageError:
        raise
    except UnidentifiedImageError:
        raise UnreadableImageError.because("not an image in a known format") from None
    except Exception as error:  # the decoders may raise anything
        raise UnreadableImageError.because(f"damaged: {first_line(error)}") from error


def _layout_of_tiff(file: Any) -> BandLayout | None:  # noqa: ANN401 - a binary file
    """Return the layout of a TIFF, or None if PIL has to convert its colors."""
    import tifffile

    with tifffile.TiffFile(file) as tiff:
        page = tiff.pages.first
        if min(page.imagelength, page.imagewidth, page.samplesperpixel) < 1 or page.imagedepth != 1:
            raise ValueError("its header has no size")
        if page.photometric in [tifffile.PHOTOMETRIC[name] for name in _BY_PIL]:
            return None
        tag = page.tags.get("Orientation")
        return BandLayout(
            height=page.imagelength,
            width=page.imagewidth,
            channels=page.samplesperpixel,
            bits=0 if page.dtype is not None and page.dtype.kind == "f" else max(page.bitspersample, 8),
            pages=len(tiff.pages),
            orientation=tag.value if tag is not None and tag.value in range(1, 9) else 1,
            decoder="tifffile",
        )


def _layout_by_pil(file: Any, start: bytes) -> BandLayout:  # noqa: ANN401 - a binary file
    """Return the layout of an image that PIL opens."""
    image = PilImage.open(file, formats=known_formats())
    mode, channels = image.mode, len(image.getbands())
    if mode in ("P", "RGB", "CMYK"):
        channels = 4 if mode != "CMYK" and image.has_transparency_data else 3
    bits = start[24] if start.startswith(_PNG) else 16 if mode.startswith("I") else 0 if mode == "F" else 8
    pages = 1 if image.format in ("JPEG", "MPO") else getattr(image, "n_frames", 1)  # an MPO adds previews
    orientation, height, width = orientation_of(image), image.height, image.width
    if start.startswith(_PNG) and bits == 16:  # PIL would keep only 8 bits of a color
        channels = {0: 1, 2: 3, 4: 2, 6: 4}[start[25]]
        return BandLayout(height, width, channels, bits, pages, orientation, "imagecodecs")
    if orientation >= 5:
        height, width = width, height
    return BandLayout(height, width, channels, max(bits, 8) if bits else 0, pages)


def stored_values(source: ImageSource, layout: BandLayout, channels: int) -> NDArray[Any]:
    """Return the stored values of an image; its pages become channels if that gives the number of channels.

    Shape:
        - returns: (h, w, C) of any number type

    Raises:
        UnreadableImageError: The pixels are damaged, or compressed in a way that is not supported.
    """
    try:
        if isinstance(source, np.ndarray | PilImage.Image):
            return array_of(source)
        data = source if isinstance(source, bytes) else read_file(source)
        if layout.decoder == "PIL":
            return array_of(StoredPil.of(data).image)
        _check_bytes(layout, len(data), channels)
        if layout.decoder == "tifffile":
            import tifffile

            with tifffile.TiffFile(io.BytesIO(data)) as tiff:
                pages = list(tiff.pages) if layout.is_stacked(channels) else [tiff.pages.first]
                return np.concatenate([_page_values(page, layout, len(data)) for page in pages], axis=2)
        import imagecodecs

        return np.asarray(imagecodecs.png_decode(data)).reshape(layout.height, layout.width, layout.channels)
    except UnreadableImageError:
        raise
    except Exception as error:  # decoders may raise anything
        raise UnreadableImageError.because(f"damaged: {first_line(error)}") from error


def _page_values(page: Any, layout: BandLayout, num_bytes: int) -> NDArray[Any]:  # noqa: ANN401 - a page or a frame
    """Return the values of one page as (h, w, C).

    Raises:
        UnreadableImageError: The page is damaged, or its compression is not supported.
    """
    shape = (page.imagelength, page.imagewidth, page.samplesperpixel)
    ends = np.add(page.dataoffsets, page.databytecounts)
    if shape != layout[:3] or len(ends) != math.prod(page.chunked) or int(ends.max()) > num_bytes:
        raise UnreadableImageError.because("damaged, or its pages differ in size")
    if page.compression.name not in _LOSSLESS:
        reason = f"its compression ({page.compression.name}) is not supported; save it uncompressed"
        raise UnreadableImageError.because(reason)
    if page.compression.name in _UNPREDICTED:
        page.predictor = 1
    values = page.asarray()
    if values.dtype.kind == "c":
        raise UnreadableImageError.because("its values are complex numbers")
    planes = page.planarconfig == 2 and layout.channels > 1
    return np.moveaxis(values, 0, -1) if planes else values.reshape(shape)


def _check_bytes(layout: BandLayout, num_bytes: int, channels: int) -> None:
    """Raise before decoding if an image has other channels, is too large, or claims more pixels than its bytes can hold."""
    is_stack = layout.is_stacked(channels)
    if layout.channels > _RGBA and layout.channels != channels and not is_stack:
        raise other_channels(layout.channels, channels)
    each = (channels if is_stack else layout.channels) * (layout.bits or _FLOAT_BITS) // 8
    check_pixels(layout.height, layout.width, num_bytes=each)
    if layout.height * layout.width * each > _MOST_COMPRESSED * num_bytes:
        reason = f"damaged: {num_bytes:,} bytes cannot hold {layout.width:,} x {layout.height:,} pixels"
        raise UnreadableImageError.because(reason)


def other_channels(num: int, channels: int) -> UnreadableImageError:
    """Return the error for an image of that many channels."""
    return UnreadableImageError.because(f"it has {count(num, 'channel')}, not {channels} (channels={channels})")


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
