"""Pictures that somebody asks about, in whatever form they come, to batches that a network reads."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeAlias, final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image as PilImage
from typing_extensions import override

from tabvision.augment.settings import Augmentation
from tabvision.batch import Batch
from tabvision.checks import check_whole
from tabvision.data.images.decode import PictureSource, UnreadableImageError, open_picture
from tabvision.data.images.files import PictureTable, is_picture
from tabvision.data.images.keypoints import views_of
from tabvision.data.images.sources import Where, is_folder, labeled_pictures, unlabeled_pictures
from tabvision.data.images.stores import SourceStore
from tabvision.data.images.views import EvaluationView, TrainingView, View
from tabvision.data.tables.read import read_frame
from tabvision.errors import BadTypeError, MissingColumnsError, MissingFileError
from tabvision.inference.batches import Asked
from tabvision.schema import Image, Schema
from tabvision.tasks import Points, Task

BATCH_SIZE = 64
Pictures: TypeAlias = (
    pd.DataFrame | Mapping[str, object] | Sequence[Mapping[str, object]] | PictureSource | Sequence[PictureSource]
)
"""A folder, a table that names files, one picture, or a list of pictures: paths, bytes, PIL images or arrays."""


@final
class AskedPictures(Asked):
    """Pictures, read in threads as they are asked for.

    Args:
        sources: Each picture: a path, a file's bytes, a PIL image or an array.
        image: The size and resize of the trained module.
        augment: How its pictures were varied in training.
        index: Of the frame that came; None where no frame did.
        shown: Columns that stand before the answers.
        frame: The rows, where a table came.
        has_points: Whether points are asked for, so that a batch holds its `view`.
    """

    def __init__(
        self,
        sources: Sequence[PictureSource],
        image: Image,
        augment: Augmentation,
        *,
        index: pd.Index | None = None,
        shown: Mapping[str, Any] | None = None,
        frame: pd.DataFrame | None = None,
        has_points: bool = False,
    ) -> None:
        super().__init__(len(sources), index=index, shown=shown, frame=frame)
        self.sources, self.image, self.augment, self.has_points = sources, image, augment, has_points

    @property
    @override
    def default_batch_size(self) -> int:
        return BATCH_SIZE

    @override
    def batches(self, batch_size: int, look: int = 0) -> Iterator[tuple[NDArray[np.int64], Batch]]:
        import torch  # an exported model draws its pictures without

        from tabvision.data.images.reader import BatchReader, check_workers

        size, resize = self.image.size, self.image.resize
        view: View = TrainingView(size, resize, self.augment, seed=look) if look else EvaluationView(size, resize)
        workers = min(check_workers(None), self.num_rows - 1)  # one picture needs no thread of its own
        reader = BatchReader(SourceStore(self.sources), view, num_workers=max(0, workers))
        starts = range(0, self.num_rows, batch_size)
        for read in reader.read_all((np.arange(at, min(at + batch_size, self.num_rows)) for at in starts), epoch=look):
            self.errors |= read.errors
            batch: Batch = {"image": read.images, "index": torch.from_numpy(read.rows)}
            if self.has_points:
                views = views_of(reader.store, view, read.rows, look)
                batch["view"] = torch.from_numpy(views.astype(np.float32))
            yield read.rows, batch

    def in_user_units(
        self, task: Task, predictions: NDArray[Any], start: int, errors: Mapping[int, str]
    ) -> NDArray[Any]:
        """What a network without a batch's `view` says of some pictures, as the user reads it.

        Args:
            task: The trained module's.
            predictions: (B, T), as the task activates them.
            start: The place of the first picture.
            errors: By place from there, pictures that cannot be read.
        """
        if not self.has_points:
            return predictions
        views = np.tile(np.eye(3), (len(predictions), 1, 1))
        rows = np.setdiff1d(np.arange(len(predictions)), list(errors))
        plain = EvaluationView(self.image.size, self.image.resize)
        views[rows] = views_of(SourceStore(self.sources), plain, start + rows, 0)
        return task.in_user_units(predictions, views).astype(predictions.dtype)


@final
class PictureInputs:
    """Reads what somebody asks about, by the schema of a module for pictures.

    Args:
        schema: Of the module.
        augment: How its pictures were varied in training.
    """

    def __init__(self, schema: Schema, augment: Augmentation) -> None:
        if schema.image is None:
            raise ValueError("the schema has no picture")
        self.schema, self.image, self.augment = schema, schema.image, augment

    def __call__(self, source: Pictures) -> Asked:
        """The pictures.

        Raises:
            MissingFileError: No such file or folder.
            BadTypeError: Something that is no picture and names none.
            TabvisionError: A folder without pictures, or a table without their paths.
        """
        if isinstance(source, np.ndarray) and source.ndim == 4:
            return self._asked(list(source))
        if isinstance(source, bytes | PilImage.Image | np.ndarray):
            return self._asked([source])
        if isinstance(source, str | Path):
            return self._from_path(Path(source).expanduser())
        if isinstance(source, pd.DataFrame | Mapping):
            return self._from_table(_as_frame(source))
        return self._from_list(source)

    def labeled(self, source: Pictures) -> Asked:
        """Pictures whose answer is known: a folder of class folders, or a table with the target."""
        if not (isinstance(source, str | Path) and is_folder(source)):
            return self(source)
        table = labeled_pictures(source, None, self.schema, Where(), least=1)
        return self._from_pictures(table)

    def _from_path(self, path: Path) -> Asked:
        if path.is_dir():
            table = unlabeled_pictures(str(path), Where())
            return self._from_pictures(table, shown=True)
        if not path.exists():
            remedy = "Pass the path of a picture, a folder of pictures, or a table that names them"
            raise MissingFileError(f"there is no {str(path)!r}", remedy)
        if is_picture(path.name):
            return self._asked([str(path)])
        return self._from_table(read_frame(path, text=self.schema.text_columns), root=path.parent)

    def _from_table(self, frame: pd.DataFrame, root: Path | None = None) -> Asked:
        name = self.image.name
        if name not in frame.columns:
            raise MissingColumnsError([name], frame.columns, "Name the files in that column, as in training")
        table = unlabeled_pictures(frame, Where(path=name, root=root))
        return self._from_pictures(table, index=frame.index)

    def _from_list(self, source: object) -> Asked:
        remedy = "Pass paths, bytes, PIL images or arrays, a folder, or a table that names files"
        if not isinstance(source, list | tuple):
            raise BadTypeError(f"pictures are asked for, got {type(source).__name__}", remedy)
        if source and all(isinstance(each, Mapping) for each in source):
            return self._from_table(pd.DataFrame(list(source)))
        kinds = (str, Path, bytes, PilImage.Image, np.ndarray)
        wrong = [place for place, each in enumerate(source) if not isinstance(each, kinds)]
        if wrong:
            found = type(source[wrong[0]]).__name__
            raise BadTypeError(f"picture {wrong[0]} of the list is of type {found}", remedy)
        return self._asked(list(source))

    def _from_pictures(self, table: PictureTable, *, index: pd.Index | None = None, shown: bool = False) -> Asked:
        files = table.files(np.arange(len(table.frame), dtype=np.int64))
        columns = {self.image.name: table.frame[table.path].to_numpy()} if shown else None
        return self._asked(files, index=index, shown=columns, frame=table.frame)

    def _asked(self, sources: Sequence[PictureSource], **rest: Any) -> Asked:  # noqa: ANN401 - the settings of `AskedPictures`
        has_points = isinstance(self.schema.task, Points)
        return AskedPictures(sources, self.image, self.augment, has_points=has_points, **rest)


def _as_frame(source: pd.DataFrame | Mapping[str, object]) -> pd.DataFrame:
    """A table from columns, or of one row."""
    if isinstance(source, pd.DataFrame):
        return source
    is_row = not any(isinstance(value, list | tuple | np.ndarray | pd.Series) for value in source.values())
    return pd.DataFrame([source] if is_row else dict(source))


def check_looks(tta: object) -> int:
    """How many varied views of each picture are asked.

    Raises:
        BadTypeError: No whole number.
        BadValueError: It is negative.

    Example:
        >>> check_looks(None), check_looks(4)
        (0, 4)
    """
    remedy = "Pass 4, or None to look at each picture once, as it is"
    if tta is None:
        return 0
    return check_whole("tta", tta, 0, remedy=remedy)


MAX_THREADS = 16


def draw_pictures(sources: Sequence[PictureSource], image: Image) -> tuple[NDArray[np.uint8], dict[int, str]]:
    """The pictures at the network's size, and by place why one could not be read; its pixels stay black.

    Args:
        sources: Paths, bytes, PIL images or arrays.
        image: The size and resize of the trained module.

    Shape:
        - returns: (N, 3, H, W) uint8

    Example:
        >>> pixels, errors = draw_pictures([np.full((4, 6, 3), 7, np.uint8), b"none"], Image(size=(2, 2)))
        >>> pixels.shape, int(pixels[0].max()), list(errors)
        ((2, 3, 2, 2), 7, [1])
    """
    view, errors = EvaluationView(image.size, image.resize), {}
    out = np.zeros((len(sources), *image.size, 3), np.uint8)

    def draw(place: int) -> None:
        try:
            picture = open_picture(sources[place])
            drawings, _ = view.prepare([picture.size], np.array([place]), 0)
            drawings[0](picture, out[place])
        except UnreadableImageError as error:
            out[place] = 0
            errors[place] = error.reason

    threads = min(MAX_THREADS, os.cpu_count() or 1, len(sources))
    if threads < 2:
        for place in range(len(sources)):
            draw(place)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(draw, range(len(sources))))
    return np.ascontiguousarray(out.transpose(0, 3, 1, 2)), errors
