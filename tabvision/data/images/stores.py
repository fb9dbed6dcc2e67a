"""Pictures by row number: from files, from a list, or presized and kept."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from typing_extensions import override

from tabvision.augment.geometry import Matrices, to_output
from tabvision.checks import check_fraction
from tabvision.data.images.cache import PictureCache
from tabvision.data.images.decode import (
    ArrayPicture,
    Picture,
    PictureSource,
    Pixels,
    UnreadableImageError,
    open_picture,
    unreadable,
)
from tabvision.data.images.files import PictureTable
from tabvision.data.images.views import Extras, Presize, Size, View
from tabvision.errors import BadValueError, count, listed, speaking

Opened = Picture | UnreadableImageError
"""A picture, or why there is none."""


class PictureStore(ABC):
    """Pictures by row number."""

    @abstractmethod
    def open_all(self, rows: NDArray[np.int64]) -> list[Opened]:
        """The pictures of some rows, or what is wrong with them; called from several threads at once."""

    @abstractmethod
    def places(self, rows: NDArray[np.int64]) -> list[tuple[Size, NDArray[np.float64]]]:
        """Of each picture that `open_all` gives: (height, width), and the (3, 3) matrix from its pixels to its source's.

        Raises:
            UnreadableImageError: One cannot be opened.
        """


@final
class SourceStore(PictureStore):
    """Pictures of a list: paths, bytes, PIL images, arrays.

    Args:
        sources: One a row.
    """

    def __init__(self, sources: Sequence[PictureSource]) -> None:
        self.sources = sources

    @override
    def open_all(self, rows: NDArray[np.int64]) -> list[Opened]:
        return [_tried(lambda row=row: open_picture(self.sources[row])) for row in rows.tolist()]  # type: ignore[misc]

    @override
    def places(self, rows: NDArray[np.int64]) -> list[tuple[Size, NDArray[np.float64]]]:
        return [(open_picture(self.sources[row]).size, np.eye(3)) for row in rows.tolist()]


@final
class FileStore(PictureStore):
    """Pictures of a table, presized and kept if wished.

    Args:
        table: Where the files are.
        bad: Files known to be unreadable, which are not tried again.
        presize: To what size they are brought first, or None.
        cache: Where presized ones are kept, or None.
    """

    def __init__(
        self, table: PictureTable, bad: BadFiles, presize: Presize | None = None, cache: PictureCache | None = None
    ) -> None:
        self.table, self.bad, self.presize, self.cache = table, bad, presize, cache
        self._sizes: dict[int, Size] = {}  # of sources, where they are asked for

    @override
    def open_all(self, rows: NDArray[np.int64]) -> list[Opened]:
        files = self.table.files(rows)
        return [
            _tried(lambda row=row, file=file: self._open(row, file))  # type: ignore[misc]
            for row, file in zip(rows.tolist(), files, strict=True)
        ]

    @override
    def places(self, rows: NDArray[np.int64]) -> list[tuple[Size, NDArray[np.float64]]]:
        sizes = [self._size(row) for row in rows.tolist()]
        if self.presize is None or self.cache is None:
            return [(size, np.eye(3)) for size in sizes]
        return [(self.presize.shape(size), self.presize.place(size)) for size in sizes]

    def _size(self, row: int) -> Size:
        """(height, width) of a row's source, which is opened for it once."""
        if row not in self._sizes:
            self._sizes[row] = open_picture(self.table.files(np.array([row]))[0]).size
        return self._sizes[row]

    def _open(self, row: int, file: str) -> Picture:
        if file in self.bad.reasons:
            raise unreadable(self.bad.reasons[file])
        if self.presize is None or self.cache is None:
            return open_picture(file)
        try:
            stamp = self.cache.stamp(file)
        except OSError as error:
            raise unreadable(f"cannot be read: {error.strerror or error}") from error
        pixels = self.cache.get(row, stamp)
        if pixels is None:
            pixels = self.presize(open_picture(file))
            self.cache.put(row, stamp, pixels)
        return ArrayPicture(pixels)


def draw_rows(
    store: PictureStore, view: View, rows: NDArray[np.int64], out: Pixels, epoch: int
) -> tuple[dict[int, str], list[int], Extras]:
    """Draw some rows as a view shows them.

    Args:
        store: The images.
        view: How they are drawn.
        rows: (B,) row numbers.
        out: (B, H, W, 3) uint8, to be filled.
        epoch: From 0.

    Returns:
        Why there is no image, by position in `rows`; the positions that were opened; what these need on their device.
    """
    opened = store.open_all(rows)
    reasons = {place: each.reason for place, each in enumerate(opened) if isinstance(each, UnreadableImageError)}
    places = [place for place, each in enumerate(opened) if isinstance(each, Picture)]
    if not places:
        return reasons, places, {}
    images = [each for each in opened if isinstance(each, Picture)]
    drawings, extras = view.prepare([image.size for image in images], rows[places], epoch)
    for place, image, drawing in zip(places, images, drawings, strict=True):
        try:
            drawing(image, out[place])
        except UnreadableImageError as error:
            reasons[place] = error.reason
    return reasons, places, extras


@final
class BadFiles:
    """Files found to be unreadable, and how many are too many.

    Args:
        most_share: The largest share of them that is borne, in [0, 1].

    Raises:
        BadTypeError: The share is no number.
        BadValueError: It is out of range.
    """

    @speaking("ImageDataModule")
    def __init__(self, most_share: float) -> None:
        remedy = "Pass the fraction of files that may be unreadable, such as 0.01"
        check_fraction("bad_share", most_share, "[]", remedy=remedy)
        self.num_files, self.most_share = 0, most_share
        self.reasons: dict[str, str] = {}

    def add(self, file: str, reason: str) -> None:
        """Writes one down; several threads may at once."""
        self.reasons[file] = reason

    @speaking("ImageDataModule")
    def check(self) -> None:
        """Refuses to go on with too many.

        Raises:
            BadValueError: They are more than the share that is borne.
        """
        if len(self.reasons) <= self.most_share * self.num_files:
            return
        shown = listed([f"{file!r} ({reason})" for file, reason in self.reasons.items()])
        problem = f"{len(self.reasons):,} of {count(self.num_files, 'picture')} cannot be read so far, more than "
        problem += f"bad_share={self.most_share:g} allows: {shown}"
        remedy = (
            "Replace or remove them (tabvision check-images lists them all), or allow more with bad_share (--bad-share)"
        )
        raise BadValueError(problem, remedy)

    def frame(self) -> pd.DataFrame:
        """Columns `image` and `reason`, sorted by file."""
        found = sorted(self.reasons.items())
        columns = {"image": [file for file, _ in found], "reason": [reason for _, reason in found]}
        return pd.DataFrame(columns, dtype="str")


def views_of(store: PictureStore, view: View, rows: NDArray[np.int64], epoch: int) -> Matrices:
    """Return the matrices from the network's frame, -1 to 1, to pixels of each source, as the view shows it.

    Shape:
        - returns: (B, 3, 3) float64

    Raises:
        UnreadableImageError: A picture cannot be opened.
    """
    if not len(rows):
        return np.empty((0, 3, 3))
    held = store.places(rows)
    shown = view.matrices([size for size, _ in held], rows, epoch)
    whole: Matrices = np.stack([place for _, place in held]) @ shown @ to_output(view.size)
    return whole / whole[:, 2:, 2:]


def _tried(open_one: Callable[[], Picture]) -> Opened:
    try:
        return open_one()
    except UnreadableImageError as error:
        return error
