"""Open images by row number: from files, from a list, or presized in a cache."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple, final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from typing_extensions import override

from tabvision.augment.geometry import Matrices, to_output
from tabvision.checks import check_fraction
from tabvision.data.images.bands import open_as
from tabvision.data.images.cache import ImageCache
from tabvision.data.images.decode import ImageSource, Pixels, StoredArray, StoredImage, UnreadableImageError
from tabvision.data.images.files import ImageTable
from tabvision.data.images.views import Extras, Presize, Size, View, draw
from tabvision.errors import BadValueError, count, listed, speaking
from tabvision.schema import Image

_FEW = 3  # unreadable files that are always allowed, if there are enough files


class ImageStore(ABC):
    """Images by row number.

    Args:
        image: The channels and the range of values to read from each image; None for 8-bit RGB.
    """

    def __init__(self, image: Image | None = None) -> None:
        self.image = image
        self.channels = 3 if image is None else image.channels

    @abstractmethod
    def sources_of(self, rows: NDArray[np.int64]) -> Sequence[ImageSource | None]:
        """Return the source to open each row's image from."""

    @abstractmethod
    def open(self, row: int, source: Any) -> StoredImage:  # noqa: ANN401 - from `sources_of`
        """Return the image of a row; several threads may call this at once.

        Raises:
            UnreadableImageError: It cannot be opened.
        """

    @abstractmethod
    def to_source(self, rows: NDArray[np.int64]) -> list[tuple[Size, NDArray[np.float64]]]:
        """Return each image's (height, width) as `open` gives it, and the (3, 3) matrix to pixels of its source.

        Raises:
            UnreadableImageError: An image cannot be opened.
        """


@final
class SourceStore(ImageStore):
    """Images from a list of paths, bytes, PIL images or arrays, with None for no image.

    Args:
        sources: The image of each row.
        image: The channels and the range of values to read from each image; None for 8-bit RGB.
    """

    def __init__(self, sources: Sequence[ImageSource | None], image: Image | None = None) -> None:
        super().__init__(image)
        self.sources = sources

    @override
    def sources_of(self, rows: NDArray[np.int64]) -> list[ImageSource | None]:
        return [self.sources[row] for row in rows.tolist()]

    @override
    def open(self, row: int, source: ImageSource | None) -> StoredImage:
        if source is None:
            raise UnreadableImageError.because("no image")
        return open_as(source, self.image)

    @override
    def to_source(self, rows: NDArray[np.int64]) -> list[tuple[Size, NDArray[np.float64]]]:
        return [(self.open(row, self.sources[row]).size, np.eye(3)) for row in rows.tolist()]


@final
class FileStore(ImageStore):
    """Images from a table of paths, optionally presized and cached.

    Args:
        table: The paths of the files.
        bad: Files known to be unreadable; they are not tried again.
        presize: The size to which images are resized first, or None.
        cache: The cache of presized images, or None.
        image: The channels and the range of values to read from each image; None for 8-bit RGB.
    """

    def __init__(
        self,
        table: ImageTable,
        bad: BadFiles,
        presize: Presize | None = None,
        cache: ImageCache | None = None,
        image: Image | None = None,
    ) -> None:
        super().__init__(image)
        self.table, self.bad, self.presize, self.cache = table, bad, presize, cache
        self._sizes: dict[int, Size] = {}  # of the sources that `to_source` has opened

    @override
    def sources_of(self, rows: NDArray[np.int64]) -> list[str]:
        return self.table.files(rows)

    @override
    def to_source(self, rows: NDArray[np.int64]) -> list[tuple[Size, NDArray[np.float64]]]:
        sizes = [self._size(row) for row in rows.tolist()]
        if self.presize is None or self.cache is None:
            return [(size, np.eye(3)) for size in sizes]
        return [(self.presize.shape(size), self.presize.matrix(size)) for size in sizes]

    def _size(self, row: int) -> Size:
        """Return the (height, width) of a row's source, which is opened only once."""
        if row not in self._sizes:
            self._sizes[row] = open_as(self.table.files(np.array([row]))[0], self.image).size
        return self._sizes[row]

    @override
    def open(self, row: int, source: str) -> StoredImage:
        if source in self.bad.reasons:
            raise UnreadableImageError.because(self.bad.reasons[source])
        if self.presize is None or self.cache is None:
            return open_as(source, self.image)
        try:
            stamp = self.cache.stamp(row, source)
        except OSError as error:
            raise UnreadableImageError.because(f"cannot be read: {error.strerror or error}") from error
        pixels = self.cache.get(row, stamp)
        if pixels is None:
            pixels = self.presize(open_as(source, self.image))
            self.cache.put(row, stamp, pixels)
        return StoredArray(pixels)


class Drawn(NamedTuple):
    """The outcome of `draw_rows`.

    Args:
        reasons: Why a row has no image, by the row's position.
        positions: The positions of the rows that were opened.
        extras: Arrays with one row per opened image, with which the device finishes the images.
    """

    reasons: dict[int, str]
    positions: list[int]
    extras: Extras


def draw_rows(store: ImageStore, view: View, rows: NDArray[np.int64], out: Pixels, epoch: int) -> Drawn:
    """Draw the images of some rows through a view.

    Args:
        store: The images.
        view: How to draw them.
        rows: (B,) row numbers.
        out: (B, H, W, C) uint8, to be filled with the images.
        epoch: Epoch, from 0.
    """
    images, reasons = dict[int, StoredImage](), dict[int, str]()
    for position, (row, source) in enumerate(zip(rows.tolist(), store.sources_of(rows), strict=True)):
        try:
            images[position] = store.open(row, source)
        except UnreadableImageError as error:
            reasons[position] = error.reason
    if not images:
        return Drawn(reasons, [], {})
    matrices, tables, extras = view.prepare([image.size for image in images.values()], rows[[*images]], epoch)
    for (position, image), matrix, table in zip(images.items(), matrices, tables, strict=True):
        try:
            draw(image, matrix, out[position], table)
        except UnreadableImageError as error:
            reasons[position] = error.reason
    return Drawn(reasons, [*images], extras)


@final
class BadFiles:
    """The files found to be unreadable, and the fraction of files that may be.

    Args:
        max_fraction: The largest fraction of files in [0, 1] that may be unreadable; unless it is 0, a few are always
            allowed: one in ten, at most 3.
        speaker: The datamodule that speaks in errors.

    Raises:
        BadTypeError: The fraction is not a number.
        BadValueError: The fraction is out of range.
    """

    def __init__(self, max_fraction: float, speaker: str = "ImageDataModule") -> None:
        self.num_files, self.max_fraction, self.speaker = 0, max_fraction, speaker
        self.reasons: dict[str, str] = {}
        remedy = "Pass the fraction of files that may be unreadable, such as 0.01"
        with speaking(speaker):
            check_fraction("bad_share", max_fraction, "[]", remedy=remedy)

    def add(self, file: str, reason: str) -> None:
        """Add a file; safe to call from several threads."""
        self.reasons[file] = reason

    def check(self) -> None:
        """Raise if too many files are unreadable: more than a few, and a larger fraction than `max_fraction`."""
        few = min(_FEW, self.num_files // 10) if self.max_fraction else 0  # one bad file in 40 is already more than 1 %
        if len(self.reasons) <= max(few, self.max_fraction * self.num_files):
            return
        shown = listed([f"{file!r} ({reason})" for file, reason in self.reasons.items()])
        problem = f"{len(self.reasons):,} of {count(self.num_files, 'image')} cannot be read so far, more than "
        problem += f"bad_share={self.max_fraction:g} allows: {shown}"
        fix = "Replace or remove them (tabvision check-images lists them all)"
        raise BadValueError(problem, f"{fix}, or allow more with bad_share (--bad-share)")

    def frame(self) -> pd.DataFrame:
        """Return the columns `image` and `reason`, sorted by file."""
        found = sorted(self.reasons.items())
        columns = {"image": [file for file, _ in found], "reason": [reason for _, reason in found]}
        return pd.DataFrame(columns, dtype="str")


def views_of(store: ImageStore, view: View, rows: NDArray[np.int64], epoch: int) -> Matrices:
    """Return the matrices that map the network's frame, -1 to 1, to pixels of each source under the view.

    Shape:
        - returns: (B, 3, 3) float64

    Raises:
        UnreadableImageError: An image cannot be opened.
    """
    if not len(rows):
        return np.empty((0, 3, 3))
    opened = store.to_source(rows)
    matrices = view.matrices([size for size, _ in opened], rows, epoch)
    whole: Matrices = np.stack([matrix for _, matrix in opened]) @ matrices @ to_output(view.size)
    return whole / whole[:, 2:, 2:]
