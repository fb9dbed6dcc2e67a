"""Find the images to predict in any kind of source, and draw them at the network's size. No torch."""

from __future__ import annotations

import functools
import logging
import os
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image as PilImage

from tabvision.augment.settings import Augmentation
from tabvision.checks import check_present
from tabvision.data.images.decode import ImageSource, UnreadableImageError
from tabvision.data.images.files import PATH_COLUMN, ImageTable, check_missing, is_image
from tabvision.data.images.layout import layout_of
from tabvision.data.images.sources import SourceReader, is_folder
from tabvision.data.images.stores import Drawn, SourceStore, draw_rows, views_of
from tabvision.data.images.views import View
from tabvision.data.tables.files import are_tables, files_of, folder_of, is_glob, table_files
from tabvision.data.tables.read import read_frame
from tabvision.data.tables.text_file import TextFormat
from tabvision.errors import BadTypeError, MissingFileError, count
from tabvision.inference.batches import Inputs, is_row
from tabvision.schema import Image, Schema

_MAX_THREADS = 16
_MAX_SAMPLED, _DEEP = 16, 16  # images whose headers are read for a note; bits per value
_BATCHES_AHEAD = 2
_Pending = tuple[NDArray[np.int64], NDArray[np.uint8], list[Future[Drawn]]]  # rows, pixels, and their chunks
_CHUNK_ROWS = 8  # rows per thread task: enough to draw random numbers together, few enough to split a batch


@final
class ImageBatches:
    """Images drawn at the network's size by threads, a few batches ahead of the network.

    Args:
        sources: The images: paths, bytes of files, PIL images or arrays. If rows may lack images, all those of the first
            row, with None for a missing one, then those of the second, and so on.
        schema: The schema of the trained module: image size, resize, and whether the target moves with the image.
        augment: The augmentation used in training; None if only plain views are drawn.

    Example:
        >>> from tabvision.schema import Target
        >>> from tabvision.tasks import Binary
        >>> schema = Schema(target=Target(columns=("pet",), task=Binary()), image=Image(size=(2, 2)))
        >>> images = ImageBatches([np.full((4, 6, 3), 7, np.uint8), b"none"], schema)
        >>> [drawn["image"].shape for drawn in images.batches(8)], list(images.errors)
        ([(1, 3, 2, 2)], [1])
    """

    def __init__(
        self, sources: Sequence[ImageSource | None], schema: Schema, augment: Augmentation | None = None
    ) -> None:
        assert schema.image is not None
        self.sources, self.schema, self.image, self.augment = sources, schema, schema.image, augment
        self._store = SourceStore(sources, schema.image)
        self.needs_view = schema.task.moves_with_image
        self.errors: dict[int, str] = {}  # by row number, for unreadable images, which do not reach the network
        self.absent: dict[str, set[int]] = {}  # rows without an image, by column, if rows may lack them

    def take(self, rows: NDArray[np.integer]) -> ImageBatches:
        """Return some of the images."""
        images = self._images_of(rows).tolist()
        return ImageBatches([self.sources[number] for number in images], self.schema, self.augment)

    def _images_of(self, rows: NDArray[np.integer]) -> NDArray[np.integer]:
        """Return the positions of the images of some rows."""
        num = len(self.image.columns)
        return (rows[:, None] * num + np.arange(num)).ravel()

    def batches(self, batch_size: int, view: int = 0) -> Iterator[dict[str, NDArray[Any]]]:
        """Yield the arrays of the readable images, in order; `errors` then holds the reasons for the others.

        Args:
            batch_size: Images in a batch.
            view: 0 for the plain view; 1, 2 and so on for different augmented views.

        Shape:
            - index: (B,) int64, the row numbers
            - image: (B, C, H, W) uint8; (B, P, C, H, W) if rows may lack images
            - has_image: (B, P) float32, if rows may lack images
            - view: (B, 3, 3) float64, for a target that moves with its image: maps the network's frame to image pixels
        """
        size, resize, pending = self.image.size, self.image.resize, deque[_Pending]()
        assert self.augment is not None or not view
        drawn_as = View(size, resize, self.augment if view else None, seed=view)
        with ThreadPoolExecutor(
            min(_MAX_THREADS, os.cpu_count() or 1), thread_name_prefix="tabvision-images"
        ) as threads:
            num_rows = len(self.sources) // len(self.image.columns)
            for start in range(0, num_rows, batch_size):
                rows = np.arange(start, min(start + batch_size, num_rows))
                images = self._images_of(rows)
                pixels = np.empty((len(images), *self.image.size, self.image.channels), np.uint8)
                chunks = [slice(first, first + _CHUNK_ROWS) for first in range(0, len(images), _CHUNK_ROWS)]
                draw = functools.partial(draw_rows, self._store, drawn_as)
                drawn = [threads.submit(draw, images[chunk], pixels[chunk], view) for chunk in chunks]
                pending.append((rows, pixels, drawn))
                if len(pending) > _BATCHES_AHEAD:
                    yield self._finished(*pending.popleft(), drawn_as, view)
            while pending:
                yield self._finished(*pending.popleft(), drawn_as, view)

    def _finished(
        self,
        rows: NDArray[np.int64],
        pixels: NDArray[np.uint8],
        chunks: Sequence[Future[Drawn]],
        drawn_as: View,
        view: int,
    ) -> dict[str, NDArray[Any]]:
        """Wait until every chunk of a batch is drawn, and return its arrays."""
        reasons = {
            number * _CHUNK_ROWS + position: reason
            for number, chunk in enumerate(chunks)
            for position, reason in chunk.result().reasons.items()
        }
        if self.image.optional:
            return self._with_absent(rows, pixels, list(reasons))
        if reasons:
            self.errors |= {int(rows[position]): reason for position, reason in reasons.items()}
            is_readable = ~np.isin(np.arange(len(rows)), list(reasons))
            rows, pixels = rows[is_readable], pixels[is_readable]
        drawn: dict[str, NDArray[Any]] = {"index": rows, "image": pixels.transpose(0, 3, 1, 2)}
        if self.needs_view:
            drawn["view"] = views_of(self._store, drawn_as, rows, view)
        return drawn

    def _with_absent(
        self, rows: NDArray[np.int64], pixels: NDArray[np.uint8], absent: list[int]
    ) -> dict[str, NDArray[Any]]:
        """Return the arrays for rows that may lack images."""
        columns = self.image.columns
        has_image = np.ones(len(pixels), np.float32)
        has_image[absent], pixels[absent] = 0, 0
        for position in absent:
            self.absent.setdefault(columns[position % len(columns)], set()).add(int(rows[position // len(columns)]))
        by_row = pixels.transpose(0, 3, 1, 2).reshape(len(rows), len(columns), self.image.channels, *self.image.size)
        return {"index": rows, "image": by_row, "has_image": has_image.reshape(len(rows), -1)}


def _source_in(cell: object, root: Path | str) -> ImageSource | None:
    """Return the image that a cell names or holds, or None if it is empty."""
    if isinstance(cell, str | Path):
        return os.path.join(root, cell) if str(cell) else None  # noqa: PTH118 - as for a table of images
    is_image = isinstance(cell, bytes | PilImage.Image | np.ndarray)
    if not is_image and not pd.isna(cell):
        problem = f"a cell of an image column holds {type(cell).__name__}"
        raise BadTypeError(problem, "Pass a path, bytes, a PIL image or an array")
    return cell if is_image else None  # type: ignore[return-value]  # one of these


def _is_deep(source: ImageSource) -> bool:
    with suppress(UnreadableImageError):
        return layout_of(source).bits == _DEEP
    return False


@final
@dataclass(frozen=True)
class ImageReader:
    """Find the images in a source, by the schema of a module that reads images.

    Args:
        schema: The schema of the module, with the name of a table's column of paths.
        augment: The augmentation used in training; None if only plain views are drawn.
        form: How a text file is written.
    """

    schema: Schema
    augment: Augmentation | None
    form: TextFormat

    def __call__(self, source: object, *, labeled: bool = False) -> Inputs:
        """Return the images in a folder, a table of file names, one image, or a list.

        Args:
            source: Any of these.
            labeled: Whether to read the targets too; a folder then has one folder for each class.

        Raises:
            MissingFileError: The file or folder does not exist.
            BadTypeError: The source is not an image and does not name any.
            TabvisionError: A folder has no images, or a table has no paths of images.
        """
        if labeled and isinstance(source, str | Path) and is_folder(source):
            return self._from_table(SourceReader().labeled(source, None, self.schema, least=1))
        if isinstance(source, np.ndarray) and source.ndim == 4:
            return self._inputs(list(source))
        if isinstance(source, bytes | PilImage.Image | np.ndarray):
            return self._inputs([source])
        if isinstance(source, str | Path):
            return self._from_list(list(files_of(source))) if is_glob(source) else self._from_path(source)
        if isinstance(source, pd.DataFrame):
            return self._from_frame(source)
        if hasattr(source, "__arrow_c_stream__"):
            return self._from_frame(read_frame(source))
        if isinstance(source, Mapping):
            return self._from_frame(pd.DataFrame([source] if is_row(source) else dict(source)))
        return self._from_list(source)

    def _from_path(self, source: str | Path) -> Inputs:
        path = Path(source).expanduser()
        if path.is_dir() and not table_files(path):
            return self._from_table(SourceReader().unlabeled(str(path)), shown=True)
        if not path.exists():
            remedy = "Pass the path of an image, a folder of images, or a table that names them"
            raise MissingFileError(f"there is no {str(path)!r}", remedy)
        if is_image(path.name):
            return self._inputs([str(path)])
        frame = read_frame(path, **self.form, known=self.schema.known_columns)
        return self._from_frame(frame, root=folder_of(path))

    def _from_frame(self, frame: pd.DataFrame, root: Path | str = "") -> Inputs:
        name = self._image.name
        check_present(self._image.columns, frame.columns, "Name the files in that column, as in training")
        if self._image.optional:
            cells = frame[list(self._image.columns)].to_numpy(dtype=object).ravel()
            sources = [_source_in(cell, root) for cell in cells]
            self._check_most_exist([source for source in sources if isinstance(source, str)], root)
            return self._inputs(sources, len(frame), index=frame.index, frame=frame)
        table = SourceReader(path=name, root=root).unlabeled(frame)
        self._check_most_exist(table.files(np.arange(len(frame), dtype=np.int64)), root)
        return self._from_table(table, index=frame.index)

    def _check_most_exist(self, files: Sequence[str], root: Path | str) -> None:
        """Raise if most rows lack their image, which means that the table names files wrongly; a few rows may."""
        if len(files) > 1:
            where = f"they are read from {str(root) or '.'!r}"
            remedy = f"Write the paths in full, with their suffix: {where} (on the command line: --root, --suffix)"
            named = ImageTable(pd.DataFrame({PATH_COLUMN: files}))
            check_missing(named, self._image.columns, remedy, optional=self._image.optional)

    def _from_list(self, source: object) -> Inputs:
        remedy = "Pass paths, bytes, PIL images or arrays, a folder, or a table that names files"
        if not isinstance(source, list | tuple):
            raise BadTypeError(f"source must be images, got {type(source).__name__}", remedy)
        if are_tables(source):
            frame = read_frame(source, **self.form, known=self.schema.known_columns)
            return self._from_frame(frame, root=folder_of(source))
        if source and all(isinstance(each, Mapping) for each in source):
            return self._from_frame(pd.DataFrame(list(source)))
        kinds = (str, Path, bytes, PilImage.Image, np.ndarray)
        for index, each in enumerate(source):
            if not isinstance(each, kinds):
                raise BadTypeError(f"image {index} of the list is of type {type(each).__name__}", remedy)
        return self._inputs(list(source))

    def _from_table(self, table: ImageTable, *, index: pd.Index | None = None, shown: bool = False) -> Inputs:
        files = table.files(np.arange(len(table.frame), dtype=np.int64))
        columns = {self._image.name: table.frame[table.path].to_numpy()} if shown else {}
        return self._inputs(files, index=index, frame=table.frame, shown=columns)

    def _inputs(
        self,
        sources: Sequence[ImageSource | None],
        num_rows: int | None = None,
        **rest: Any,  # noqa: ANN401 - of `Inputs`
    ) -> Inputs:
        sampled = [source for source in sources[:_MAX_SAMPLED] if source is not None]
        if not self._image.value_range and (deep := sum(map(_is_deep, sampled))):
            those = f"{deep:,} of the first {count(len(sampled), 'image')}"
            note = f"{those} have 16 bits a channel, and the training images had 8"
            logging.getLogger("tabvision").info(f"{note}; values from 0 to 65,535 are read as 0 to 255.")
        num_rows = len(sources) if num_rows is None else num_rows
        return Inputs(num_rows, images=ImageBatches(sources, self.schema, self.augment), **rest)

    @property
    def _image(self) -> Image:
        assert self.schema.image is not None
        return self.schema.image
