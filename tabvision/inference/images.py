"""Images to be answered: found in whatever form they come, and drawn at the network's size. No torch."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image as PilImage

from tabvision.augment.settings import Augmentation
from tabvision.data.images.decode import PictureSource, Pixels, UnreadableImageError, open_picture
from tabvision.data.images.files import PictureTable, is_picture
from tabvision.data.images.sources import SourceReader, is_folder
from tabvision.data.images.stores import SourceStore, views_of
from tabvision.data.images.views import EvaluationView, TrainingView, View
from tabvision.data.tables.read import read_frame
from tabvision.errors import BadTypeError, MissingColumnsError, MissingFileError
from tabvision.schema import Image, Schema

MAX_THREADS = 16
BATCHES_AHEAD = 2


@final
class ImageBatches:
    """Images drawn at the network's size by threads, some batches ahead of the network.

    Args:
        sources: Each image: a path, a file's bytes, a PIL image or an array.
        schema: Of the trained module: the images' size and resize, and whether its target moves with them.
        augment: How images were varied in training; None where only plain views are asked for.

    Example:
        >>> from tabvision.schema import Target
        >>> from tabvision.tasks import Binary
        >>> schema = Schema(target=Target(columns=("pet",), task=Binary()), image=Image(size=(2, 2)))
        >>> images = ImageBatches([np.full((4, 6, 3), 7, np.uint8), b"none"], schema)
        >>> [drawn["image"].shape for drawn in images.batches(8)], list(images.errors)
        ([(1, 3, 2, 2)], [1])
    """

    def __init__(self, sources: Sequence[PictureSource], schema: Schema, augment: Augmentation | None = None) -> None:
        assert schema.image is not None
        self.sources, self.image, self.augment = sources, schema.image, augment
        self.needs_view = schema.task.moves_with_image
        self.errors: dict[int, str] = {}  # by row number; its pixels never reach the network

    def batches(self, batch_size: int, view: int = 0) -> Iterator[dict[str, NDArray[Any]]]:
        """Yield the arrays of the images that can be read, in order; `errors` then says why others cannot.

        Args:
            batch_size: Images at once.
            view: 0 for images as they are; from 1 for varied ones, each number another way.

        Shape:
            - index: (B,) int64, the row numbers
            - image: (B, 3, H, W) uint8
            - view: (B, 3, 3) float64, for a target that moves with its image: from the network's frame to its pixels
        """
        drawn_as, begun = self._view(view), deque[_Batch]()
        with ThreadPoolExecutor(
            min(MAX_THREADS, os.cpu_count() or 1), thread_name_prefix="tabvision-images"
        ) as threads:
            for start in range(0, len(self.sources), batch_size):
                rows = np.arange(start, min(start + batch_size, len(self.sources)))
                pixels = np.empty((len(rows), *self.image.size, 3), np.uint8)
                places = zip(rows.tolist(), pixels, strict=True)
                reasons = [threads.submit(self._draw, row, out, drawn_as, view) for row, out in places]
                begun.append(_Batch(rows, pixels, reasons))
                if len(begun) > BATCHES_AHEAD:
                    yield self._finished(begun.popleft(), drawn_as, view)
            while begun:
                yield self._finished(begun.popleft(), drawn_as, view)

    def _view(self, number: int) -> View:
        size, resize = self.image.size, self.image.resize
        if not number:
            return EvaluationView(size, resize)
        assert self.augment is not None
        return TrainingView(size, resize, self.augment, seed=number)

    def _draw(self, row: int, out: Pixels, drawn_as: View, view: int) -> str | None:
        """Fill `out`, (H, W, 3), and return why it could not be done, if so."""
        try:
            image = open_picture(self.sources[row])
            (drawing,), _ = drawn_as.prepare([image.size], np.array([row]), view)
            drawing(image, out)
        except UnreadableImageError as error:
            return error.reason
        return None

    def _finished(self, batch: _Batch, drawn_as: View, view: int) -> dict[str, NDArray[Any]]:
        reasons = [reason.result() for reason in batch.reasons]
        rows, pixels = batch.rows, batch.pixels
        if any(reasons):
            self.errors |= {row: reason for row, reason in zip(rows.tolist(), reasons, strict=True) if reason}
            is_readable = np.array([reason is None for reason in reasons])
            rows, pixels = rows[is_readable], pixels[is_readable]
        drawn: dict[str, NDArray[Any]] = {"index": rows, "image": pixels.transpose(0, 3, 1, 2)}
        if self.needs_view:
            drawn["view"] = views_of(SourceStore(self.sources), drawn_as, rows, view)
        return drawn


class _Batch(NamedTuple):
    """A batch under way: its pixels are drawn once every reason is known, None for an image that was read."""

    rows: NDArray[np.int64]
    pixels: NDArray[np.uint8]
    reasons: list[Future[str | None]]


@final
@dataclass(frozen=True)
class FoundImages:
    """The images of a source.

    Args:
        sources: Each image: a path, a file's bytes, a PIL image or an array.
        index: Of the frame that came; None where no frame did.
        frame: The rows as a table, where there is one.
        shown: Columns that stand before the answers: the paths of a folder's images.
    """

    sources: Sequence[PictureSource]
    index: pd.Index | None = None
    frame: pd.DataFrame | None = None
    shown: Mapping[str, Any] = field(default_factory=dict)


def find_images(source: object, schema: Schema, *, encoding: str | None = None, labeled: bool = False) -> FoundImages:
    """Return the images of a folder, a table that names files, one image, or a list.

    Args:
        source: Any of these; a folder of class folders if `labeled`.
        schema: Of the module that is asked; names the column of paths.
        encoding: Of a text file that is not UTF-8.
        labeled: Whether the rows' targets are wanted as well.

    Raises:
        MissingFileError: No such file or folder.
        BadTypeError: Something that is no image and names none.
        TabvisionError: A folder without images, or a table without their paths.
    """
    find = _Finder(schema, encoding)
    if labeled and isinstance(source, str | Path) and is_folder(source):
        return find.table_of(SourceReader().labeled(source, None, schema, least=1))
    return find(source)


@final
@dataclass(frozen=True)
class _Finder:
    schema: Schema
    encoding: str | None

    def __call__(self, source: object) -> FoundImages:
        if isinstance(source, np.ndarray) and source.ndim == 4:
            return FoundImages(list(source))
        if isinstance(source, bytes | PilImage.Image | np.ndarray):
            return FoundImages([source])
        if isinstance(source, str | Path):
            return self._from_path(Path(source).expanduser())
        if isinstance(source, pd.DataFrame):
            return self._from_frame(source)
        if isinstance(source, Mapping):
            is_row = not any(isinstance(value, list | tuple | np.ndarray | pd.Series) for value in source.values())
            return self._from_frame(pd.DataFrame([source] if is_row else dict(source)))
        return self._from_list(source)

    def _from_path(self, path: Path) -> FoundImages:
        if path.is_dir():
            return self.table_of(SourceReader().unlabeled(str(path)), shown=True)
        if not path.exists():
            remedy = "Pass the path of a picture, a folder of pictures, or a table that names them"
            raise MissingFileError(f"there is no {str(path)!r}", remedy)
        if is_picture(path.name):
            return FoundImages([str(path)])
        frame = read_frame(path, encoding=self.encoding, text=self.schema.text_columns)
        return self._from_frame(frame, root=path.parent)

    def _from_frame(self, frame: pd.DataFrame, root: Path | None = None) -> FoundImages:
        name = self._image.name
        if name not in frame.columns:
            raise MissingColumnsError([name], frame.columns, "Name the files in that column, as in training")
        return self.table_of(SourceReader(path=name, root=root).unlabeled(frame), index=frame.index)

    def _from_list(self, source: object) -> FoundImages:
        remedy = "Pass paths, bytes, PIL images or arrays, a folder, or a table that names files"
        if not isinstance(source, list | tuple):
            raise BadTypeError(f"pictures are asked for, got {type(source).__name__}", remedy)
        if source and all(isinstance(each, Mapping) for each in source):
            return self._from_frame(pd.DataFrame(list(source)))
        kinds = (str, Path, bytes, PilImage.Image, np.ndarray)
        wrong = [place for place, each in enumerate(source) if not isinstance(each, kinds)]
        if wrong:
            found = type(source[wrong[0]]).__name__
            raise BadTypeError(f"picture {wrong[0]} of the list is of type {found}", remedy)
        return FoundImages(list(source))

    def table_of(self, table: PictureTable, *, index: pd.Index | None = None, shown: bool = False) -> FoundImages:
        """The images of a table."""
        files = table.files(np.arange(len(table.frame), dtype=np.int64))
        columns = {self._image.name: table.frame[table.path].to_numpy()} if shown else {}
        return FoundImages(files, index, table.frame, columns)

    @property
    def _image(self) -> Image:
        assert self.schema.image is not None
        return self.schema.image
