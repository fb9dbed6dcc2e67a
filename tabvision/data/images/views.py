"""A picture brought to the size that a network wants: the matrix first, then as few pixels decoded as it needs."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast, final

import cv2
import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from tabvision.augment import color, erase, geometry
from tabvision.augment.settings import NUM_OWN_DRAWS, Augmentation
from tabvision.augment.warp import warp_image
from tabvision.counter_random import uniforms
from tabvision.data.images.decode import SHRINKS, Picture, Pixels

Size = tuple[int, int]
Extras = dict[str, NDArray[np.generic]]
"""What else a batch needs on its device, a row each; see `View.prepare`."""
MOST_PRESIZE = 1.5  # of the network's size: crops that keep less than (1 / 1.5)**2 of the area get softer instead
DEVICE_SLACK = 1.15  # of the network's size, so that the second interpolation of `DeviceView` costs no sharpness


def draw(picture: Picture, matrix: NDArray[np.float64], out: Pixels) -> None:
    """Fills `out` with a picture seen through a matrix.

    Args:
        picture: The source.
        matrix: (3, 3), output pixel to pixel of the upright source.
        out: (H, W, 3), contiguous.

    Raises:
        UnreadableImageError: The picture is damaged.
    """
    stored = picture.decode(_shrink(picture.size, matrix, out.shape[:2]))
    whole = stored.place @ matrix
    if stored.pixels.shape == out.shape and np.array_equal(whole, np.eye(3)):
        out[:] = stored.pixels
    else:
        warp_image(stored.pixels, whole, out)


def _shrink(source: Size, matrix: NDArray[np.float64], size: Size) -> int:
    """How many times smaller a source will do: 1, 2, 4 or 8."""
    if source[0] * source[1] < 4 * size[0] * size[1]:  # spares a longer look where it cannot be
        return 1
    shrink = geometry.shrink_of(matrix, size)
    return next((each for each in SHRINKS if each <= shrink), 1)


@final
@dataclass(frozen=True)
class Presize:
    """To what size a picture is brought once, before it is varied again and again.

    Args:
        size: (height, width) that the network gets.
        resize: "crop", "squish" or "pad".
        reach: Times that size, at least 1; 0 for the network's very input, as evaluation sees it.
    """

    size: Size
    resize: str
    reach: float

    @classmethod
    def of(cls, size: Size, resize: str, augment: Augmentation | None) -> Presize:
        """Large enough that the smallest crop of an augmentation is not enlarged, within `MOST_PRESIZE`.

        Example:
            >>> round(Presize.of((224, 224), "crop", Augmentation(min_scale=0.75)).reach, 3)
            1.155
        """
        return cls(size, resize, 0 if augment is None else min(1 / math.sqrt(augment.min_scale), MOST_PRESIZE))

    @property
    def key(self) -> str:
        """A name for what comes out."""
        return f"{self.size[0]}x{self.size[1]}-{self.resize}-{self.reach:.3f}"

    @property
    def most_bytes(self) -> int:
        """More than this only a very long picture needs."""
        height, width = (math.ceil(side * max(self.reach, 1)) for side in self.size)
        return 3 * height * width * (2 if self.resize == "crop" and self.reach else 1)

    def shape(self, source: Size) -> Size:
        """(height, width) of a picture brought to it; never larger than the source, unless `reach` is 0."""
        if not self.reach:
            return self.size
        shares = [side * self.reach / own for side, own in zip(self.size, source, strict=True)]
        if self.resize != "squish":
            shares = [max(shares) if self.resize == "crop" else min(shares)] * 2
        height, width = (max(1, round(own * min(share, 1))) for own, share in zip(source, shares, strict=True))
        return height, width

    def place(self, source: Size) -> NDArray[np.float64]:
        """From pixels of what comes out to those of a source of that size, (3, 3)."""
        resize = "squish" if self.reach else self.resize
        matrices = geometry.evaluation_matrices(resize, np.array([source]), self.shape(source))
        return cast("NDArray[np.float64]", matrices[0])

    def __call__(self, picture: Picture) -> Pixels:
        """The picture at that size.

        Raises:
            UnreadableImageError: It is damaged.
        """
        shape = self.shape(picture.size)
        if self.reach:
            return _resized(picture, shape)
        out = np.empty((*shape, 3), np.uint8)
        draw(picture, geometry.evaluation_matrices(self.resize, np.array([picture.size]), shape)[0], out)
        return out


def _resized(picture: Picture, shape: Size) -> Pixels:
    """A whole picture, upright; a plain resize takes a fifth of a warp's time."""
    matrix = geometry.evaluation_matrices("squish", np.array([picture.size]), shape)[0]
    stored = picture.decode(_shrink(picture.size, matrix, shape))
    if stored.place[0, 0] > 0 and stored.place[1, 1] > 0:  # it is stored upright
        shrinks = stored.pixels.shape[0] >= 2 * shape[0] or stored.pixels.shape[1] >= 2 * shape[1]
        way = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        return cast("Pixels", cv2.resize(stored.pixels, shape[::-1], interpolation=way))
    out = np.empty((*shape, 3), np.uint8)
    warp_image(stored.pixels, stored.place @ matrix, out)
    return out


class View(ABC):
    """How rows become pictures of the network's size.

    Args:
        size: (height, width) of the network's input.
        resize: "crop", "squish" or "pad".
    """

    def __init__(self, size: Size, resize: str) -> None:
        self.size = size
        self.resize = resize

    @property
    def drawn_size(self) -> Size:
        """(height, width) of what `prepare` draws."""
        return self.size

    @abstractmethod
    def matrices(self, sizes: Sequence[Size], rows: NDArray[np.int64], epoch: int) -> NDArray[np.float64]:
        """From the network's pixels to those of each picture, (B, 3, 3); see `prepare`."""

    @abstractmethod
    def prepare(self, sizes: Sequence[Size], rows: NDArray[np.int64], epoch: int) -> tuple[list[_Drawing], Extras]:
        """What is to be drawn of each picture, and what is left to do on the device.

        Args:
            sizes: (height, width) of each picture.
            rows: Their row numbers.
            epoch: From 0.
        """


@final
@dataclass(frozen=True)
class _Drawing:
    """What is drawn of one picture.

    Args:
        matrix: Output pixel to source pixel.
        table: (256,) what each value becomes, or None.
    """

    matrix: NDArray[np.float64]
    table: NDArray[np.uint8] | None = None

    def __call__(self, picture: Picture, out: Pixels) -> None:
        """Fills `out`, (H, W, 3)."""
        draw(picture, self.matrix, out)
        if self.table is not None:
            cv2.LUT(out, self.table, out)


@final
class EvaluationView(View):
    """Pictures as they are, the center kept."""

    @override
    def matrices(self, sizes: Sequence[Size], rows: NDArray[np.int64], epoch: int) -> NDArray[np.float64]:
        return geometry.evaluation_matrices(self.resize, np.array(sizes), self.size)

    @override
    def prepare(self, sizes: Sequence[Size], rows: NDArray[np.int64], epoch: int) -> tuple[list[_Drawing], Extras]:
        return [_Drawing(matrix) for matrix in self.matrices(sizes, rows, epoch)], {}


class VariedView(View):
    """Pictures varied anew in each epoch.

    Args:
        size: (height, width) of the network's input.
        resize: "crop", "squish" or "pad".
        augment: How strongly.
        seed: Decides what is drawn, together with epoch and row.
    """

    def __init__(self, size: Size, resize: str, augment: Augmentation, seed: int) -> None:
        super().__init__(size, resize)
        self.augment, self.seed = augment, seed

    @final
    @override
    def matrices(self, sizes: Sequence[Size], rows: NDArray[np.int64], epoch: int) -> NDArray[np.float64]:
        return self._drawn(sizes, rows, epoch)[0]

    @final
    def _drawn(
        self, sizes: Sequence[Size], rows: NDArray[np.int64], epoch: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64] | None, Extras]:
        """Draw each row's matrix, the numbers for its lighting (None where it does not vary), and what is left to do last."""
        augment = self.augment
        counts = [geometry.NUM_DRAWS, color.NUM_DRAWS, erase.NUM_DRAWS, NUM_OWN_DRAWS if augment.own else 0]
        draws = uniforms(self.seed, epoch, rows, sum(counts))
        places, lights, boxes, own = np.split(draws, np.cumsum(counts[:-1]), axis=1)
        extras: Extras = {"own": own.astype(np.float32)} if augment.own else {}
        if augment.erase:
            extras |= {"box": erase.erase_boxes(augment, boxes, self.size), "noise": erase.noise_seeds(boxes)}
        matrices = geometry.training_matrices(augment, places, np.array(sizes), self.size, self.resize)
        is_lit = augment.lighting_share > 0 and (augment.brightness > 0 or augment.contrast > 0)
        return matrices, lights if is_lit else None, extras


@final
class TrainingView(VariedView):
    """Pictures varied in one warp and one table of values each."""

    @override
    def prepare(self, sizes: Sequence[Size], rows: NDArray[np.int64], epoch: int) -> tuple[list[_Drawing], Extras]:
        matrices, lights, extras = self._drawn(sizes, rows, epoch)
        if lights is None:
            return [_Drawing(matrix) for matrix in matrices], extras
        return list(map(_Drawing, matrices, color.lighting_tables(self.augment, lights))), extras


@final
class DeviceView(VariedView):
    """The part of each picture that will be seen, for a device that varies whole batches faster."""

    @property
    @override
    def drawn_size(self) -> Size:
        height, width = (math.ceil(side * DEVICE_SLACK) for side in self.size)
        return height, width

    @override
    def prepare(self, sizes: Sequence[Size], rows: NDArray[np.int64], epoch: int) -> tuple[list[_Drawing], Extras]:
        matrices, lights, extras = self._drawn(sizes, rows, epoch)
        parts = _seen_parts(matrices, np.array(sizes), self.size, self.drawn_size)
        extras["matrix"] = (np.linalg.inv(parts) @ matrices).astype(np.float32)
        if lights is not None:
            extras["light"] = np.stack(color.lighting_strengths(self.augment, lights), axis=1).astype(np.float32)
        return list(map(_Drawing, parts)), extras


def _seen_parts(
    matrices: NDArray[np.float64], sizes: NDArray[np.int64], size: Size, drawn_size: Size
) -> NDArray[np.float64]:
    """The upright box of each source that its matrix looks at, as matrices from `drawn_size` to the source.

    Shape:
        - matrices: (B, 3, 3), output pixel to source pixel
        - sizes: (B, 2)
        - returns: (B, 3, 3), pixel of the box to source pixel
    """
    height, width = size
    edges = np.array([[-0.5, width - 0.5, -0.5, width - 0.5], [-0.5, -0.5, height - 0.5, height - 0.5], [1, 1, 1, 1]])
    corners = matrices @ edges
    points = corners[:, :2] / corners[:, 2:]
    ends = sizes[:, ::-1] - 0.5
    low = np.clip(points.min(axis=2), -0.5, ends - 1)
    high = np.clip(points.max(axis=2), low + 1, ends)
    scale = (high - low) / np.array(drawn_size[::-1])
    parts = np.zeros((len(matrices), 3, 3))
    parts[:, 0, 0], parts[:, 1, 1], parts[:, 2, 2] = scale[:, 0], scale[:, 1], 1
    parts[:, :2, 2] = low + scale / 2
    return parts
