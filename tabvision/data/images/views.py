"""Resize images to the network's input: compute the matrix first, then decode only as many pixels as it needs."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast, final

import cv2
import numpy as np
from numpy.typing import NDArray

from tabvision.augment import color, erase, geometry
from tabvision.augment.settings import NUM_OWN_DRAWS, Augmentation
from tabvision.augment.warp import resize_image, warp_image
from tabvision.counter_random import uniforms
from tabvision.data.images.decode import SHRINKS, Pixels, StoredImage
from tabvision.schema import Image

Size = tuple[int, int]
Extras = dict[str, NDArray[np.generic]]
"""Arrays with one row per image, with which the device finishes a batch; see `View.prepare`."""
_MOST_PRESIZE = 1.5  # multiple of the network's size: crops of less than (1 / 1.5)**2 of the area get softer instead
_DEVICE_SLACK = 1.15  # multiple of the network's size, so that the device's second interpolation costs no sharpness


def draw(image: StoredImage, matrix: NDArray[np.float64], out: Pixels, table: NDArray[np.uint8] | None = None) -> None:
    """Warp an image into `out`.

    Args:
        image: The source.
        matrix: (3, 3), maps output pixels to pixels of the upright source.
        out: (H, W, C), contiguous.
        table: (256,) new value for each pixel value, or None to keep the values.
    """
    stored = image.decode(_shrink(image.size, matrix, out.shape[:2]))
    whole = stored.matrix @ matrix
    if stored.pixels.shape == out.shape and np.array_equal(whole, np.eye(3)):
        out[:] = stored.pixels
    else:
        warp_image(stored.pixels, whole, out)
    if table is not None:
        cv2.LUT(out, table, out)


def _shrink(source: Size, matrix: NDArray[np.float64], size: Size) -> int:
    """Return the factor by which decoding may shrink the source without loss: 1, 2, 4 or 8."""
    if source[0] * source[1] < 4 * size[0] * size[1]:  # too small to shrink: skip the computation
        return 1
    shrink = geometry.shrink_of(matrix, size)
    return next((each for each in SHRINKS if each <= shrink), 1)


@final
@dataclass(frozen=True)
class Presize:
    """Resize an image once, before every epoch augments it.

    Args:
        size: (height, width) of the network's input.
        resize: "crop", "squish" or "pad".
        reach: Multiple of `size` to keep, at least 1; 0 for exactly the network's input, as in evaluation.
        channels: Number of channels.
        value_range: The range of values to map to 0 to 255, as in the schema.
    """

    size: Size
    resize: str
    reach: float
    channels: int = 3
    value_range: tuple[tuple[float, float], ...] = ()

    @classmethod
    def of(cls, image: Image, size: Size, augment: Augmentation | None) -> Presize:
        """Return the size at which the augmentation's smallest crop needs no enlarging, up to `_MOST_PRESIZE`.

        Example:
            >>> round(Presize.of(Image(size=(96, 96)), (224, 224), Augmentation(min_scale=0.75)).reach, 3)
            1.155
        """
        reach = 0 if augment is None else min(1 / math.sqrt(augment.min_scale), _MOST_PRESIZE)
        return cls(size, image.resize, reach, image.channels, image.value_range)

    @property
    def key(self) -> str:
        """The name of these settings, for caches."""
        name = f"{self.size[0]}x{self.size[1]}-{self.resize}-{self.reach:.3f}"
        if self.channels == 3 and not self.value_range:
            return name
        return f"{name}-{self.channels}-{zlib.crc32(repr(self.value_range).encode()):08x}"

    @property
    def most_bytes(self) -> int:
        """The most bytes of pixels per image; only a very elongated image needs more."""
        height, width = (math.ceil(side * max(self.reach, 1)) for side in self.size)
        return self.channels * height * width * (2 if self.resize == "crop" and self.reach else 1)

    def shape(self, source: Size) -> Size:
        """Return (height, width) of a presized image, never larger than the source unless `reach` is 0."""
        if not self.reach:
            return self.size
        scales = [side * self.reach / own for side, own in zip(self.size, source, strict=True)]
        if self.resize != "squish":
            scales = [max(scales) if self.resize == "crop" else min(scales)] * 2
        height, width = (max(1, round(own * min(scale, 1))) for own, scale in zip(source, scales, strict=True))
        return height, width

    def matrix(self, source: Size) -> NDArray[np.float64]:
        """Return the (3, 3) matrix that maps pixels of the presized image to those of a source of that size."""
        resize = "squish" if self.reach else self.resize
        matrices = geometry.evaluation_matrices(resize, np.array([source]), self.shape(source))
        return cast("NDArray[np.float64]", matrices[0])

    def __call__(self, image: StoredImage) -> Pixels:
        """Return the pixels of the presized image.

        Raises:
            UnreadableImageError: The image is damaged.
        """
        shape, matrix = self.shape(image.size), self.matrix(image.size)
        out = np.empty((*shape, self.channels), np.uint8)
        if not self.reach:
            draw(image, matrix, out)
            return out
        stored = image.decode(_shrink(image.size, matrix, shape))
        if stored.matrix[0, 0] > 0 and stored.matrix[1, 1] > 0:  # upright: resizing is five times as fast as warping
            shrinks = stored.pixels.shape[0] >= 2 * shape[0] or stored.pixels.shape[1] >= 2 * shape[1]
            interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
            return resize_image(stored.pixels, shape[::-1], interpolation)
        warp_image(stored.pixels, stored.matrix @ matrix, out)
        return out


class Prepared(NamedTuple):
    """How to draw some images.

    Args:
        matrices: (B, 3, 3), map pixels of the drawn image to those of its source.
        tables: For each image, the new value of each of the 256 pixel values, or None to keep them.
        extras: Arrays with one row per image, with which the device finishes the batch.
    """

    matrices: NDArray[np.float64]
    tables: Sequence[NDArray[np.uint8] | None]
    extras: Extras


@final
class View:
    """Show images at the network's size: resized the same way each time, or augmented differently in each epoch.

    Args:
        size: (height, width) of the network's input.
        resize: "crop", "squish" or "pad".
        augment: The augmentation, applied as one warp and one lookup table per image; None for none.
        seed: Determines the augmentation's random numbers, together with epoch and row.
        on_device: Whether to draw only the visible box of each image, and leave the rest to the device, which is faster.
    """

    def __init__(
        self, size: Size, resize: str, augment: Augmentation | None = None, seed: int = 0, *, on_device: bool = False
    ) -> None:
        self.size, self.resize, self.augment, self.seed, self.on_device = size, resize, augment, seed, on_device

    @property
    def drawn_size(self) -> Size:
        """The (height, width) of the drawn images."""
        height, width = (math.ceil(side * (_DEVICE_SLACK if self.on_device else 1)) for side in self.size)
        return height, width

    def matrices(self, sizes: Sequence[Size], rows: NDArray[np.int64], epoch: int) -> NDArray[np.float64]:
        """Return the (B, 3, 3) matrices that map the network's pixels to those of each image; see `prepare`."""
        return self._drawn(sizes, rows, epoch)[0]

    def prepare(self, sizes: Sequence[Size], rows: NDArray[np.int64], epoch: int) -> Prepared:
        """Return how to draw each image.

        Args:
            sizes: (height, width) of each image.
            rows: Row number of each image.
            epoch: Epoch, from 0.
        """
        matrices, lights, extras = self._drawn(sizes, rows, epoch)
        tables: Sequence[NDArray[np.uint8] | None] = [None] * len(rows)
        if self.augment is not None and lights is not None and not self.on_device:
            tables = list(color.lighting_tables(self.augment, lights))
        elif self.augment is not None and lights is not None:
            extras["light"] = np.stack(color.lighting_strengths(self.augment, lights), axis=1).astype(np.float32)
        if self.on_device:
            boxes = self._visible_boxes(matrices, np.array(sizes))
            extras["matrix"] = (np.linalg.inv(boxes) @ matrices).astype(np.float32)
            matrices = boxes
        return Prepared(matrices, tables, extras)

    def _drawn(
        self, sizes: Sequence[Size], rows: NDArray[np.int64], epoch: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64] | None, Extras]:
        """Return the matrices, the random draws for lighting (None without it), and the arrays for the device."""
        augment = self.augment
        if augment is None:
            return geometry.evaluation_matrices(self.resize, np.array(sizes), self.size), None, {}
        counts = [geometry.NUM_DRAWS, color.NUM_DRAWS, erase.NUM_DRAWS, NUM_OWN_DRAWS if augment.own else 0]
        draws = uniforms(self.seed, epoch, rows, sum(counts))
        warps, lights, boxes, own = np.split(draws, np.cumsum(counts[:-1]), axis=1)
        extras: Extras = {"own": own.astype(np.float32)} if augment.own else {}
        if augment.erase:
            extras |= {"box": erase.erase_boxes(augment, boxes, self.size), "noise": erase.noise_seeds(boxes)}
        matrices = geometry.training_matrices(augment, warps, np.array(sizes), self.size, self.resize)
        is_lit = augment.lighting_share > 0 and (augment.brightness > 0 or augment.contrast > 0)
        return matrices, lights if is_lit else None, extras

    def _visible_boxes(self, matrices: NDArray[np.float64], sizes: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the upright box of each source that its matrix shows, as matrices that map `drawn_size` to the source.

        Shape:
            - matrices: (B, 3, 3), map output pixels to source pixels
            - sizes: (B, 2)
            - returns: (B, 3, 3), map pixels of the box to source pixels
        """
        height, width = self.size
        across, down = [-0.5, width - 0.5, -0.5, width - 0.5], [-0.5, -0.5, height - 0.5, height - 0.5]
        corners = matrices @ np.array([across, down, [1, 1, 1, 1]])
        points = corners[:, :2] / corners[:, 2:]
        ends = sizes[:, ::-1] - 0.5
        low = np.clip(points.min(axis=2), -0.5, ends - 1)
        high = np.clip(points.max(axis=2), low + 1, ends)
        scale = (high - low) / np.array(self.drawn_size[::-1])
        boxes = np.zeros((len(matrices), 3, 3))
        boxes[:, 0, 0], boxes[:, 1, 1], boxes[:, 2, 2] = scale[:, 0], scale[:, 1], 1
        boxes[:, :2, 2] = low + scale / 2
        return boxes
