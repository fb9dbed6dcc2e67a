"""Load batches of images in an order set by seed and epoch, resumable within an epoch."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Unpack, cast, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import override

from tabvision.batch import Batch
from tabvision.data.images.files import PATH_COLUMN
from tabvision.data.images.reader import BatchReader, Read
from tabvision.data.images.stores import BadFiles, FileStore, views_of
from tabvision.data.loaders import BatchLoader, Order, check_mapped
from tabvision.errors import BadValueError, listed, speaking
from tabvision.plain import Label
from tabvision.tasks import Task

ROW = "row"  # optional key of a batch: the position of each row in the tensors


class ImageLoader(BatchLoader):
    """Batches of images: uint8 (B, C, H, W) in channels-last memory, with targets, weights and row numbers.

    A row whose file cannot be read is left out of its batch and recorded. Every rank still takes all planned steps: a
    training batch with fewer than two readable rows (BatchNorm has no variance over one) gets the next readable ones.

    Args:
        make_reader: Makes the reader for an epoch, so that a change of size takes effect at the next epoch.
        tensors: Tensors to take the other entries of a batch from, all with the same first dimension; if `index` is not
            among them, it holds the row numbers.
        rows: (R,) int64 row numbers to load.
        bad: The record of unreadable files.
        batch_size: Rows per rank (or micro-batch) in one step, at least 1.
        on_end: Called when a pass ends or is interrupted.
        task: The kind of target; a target that moves with its image is transformed into the network's view.
        classes: The label of each code in `target`, each of which needs a readable image; empty for no such check.
        settings: See `Order`; by default the rows come in order, on one rank.

    Attributes:
        cached: None to read images; or a function, called when a pass begins, that returns tensors for all readable rows
            with their `ROW`, from which batches are then taken; if it returns None, images are read.

    Raises:
        BadTypeError: `batch_size` is not a whole number.
        BadValueError: `batch_size` is below 1, or there are fewer rows to shuffle than ranks.
    """

    @speaking()
    def __init__(
        self,
        make_reader: Callable[[], BatchReader],
        tensors: Mapping[str, Tensor],
        rows: Tensor,
        bad: BadFiles,
        *,
        batch_size: int,
        on_end: Callable[[], None] | None = None,
        task: Task | None = None,
        classes: Sequence[Label] = (),
        **settings: Unpack[Order],
    ) -> None:
        super().__init__(rows, batch_size, noun="image", **settings)
        self.classes = classes
        self.make_reader, self.tensors, self.bad, self.on_end, self.task = make_reader, tensors, bad, on_end, task
        self.cached: Callable[[], Mapping[str, Tensor] | None] | None = None
        self.least = 2 if self.batch_sampler.sampler.shuffle else 0
        self._reader: BatchReader | None = None

    def __iter__(self) -> Iterator[Batch]:
        cached = None if self.cached is None else self.cached()
        yield from self._read_batches() if cached is None else self._cached_batches(cached)

    def _cached_batches(self, cached: Mapping[str, Tensor]) -> Iterator[Batch]:
        self._reader = None
        check_mapped(cached)
        order = self.batch_sampler.sampler.rows
        position = torch.full((int(order.max()) + 1 if len(order) else 0,), -1)
        position[cached[ROW]] = torch.arange(len(cached[ROW]))
        for rows in self.batch_sampler:
            check_mapped(cached)  # again, since others may have written to the file meanwhile
            found = position[rows][position[rows] >= 0]  # rows at -1 could not be read
            if len(found) < (least := min(self.least, len(rows))):
                others = position[torch.from_numpy(self._rows_after(rows.numpy()))]
                found = torch.cat([found, others[others >= 0][: least - len(found)]])
            if len(found):
                yield cast("Batch", {name: tensor[found] for name, tensor in cached.items() if name != ROW})

    def _read_batches(self) -> Iterator[Batch]:
        reader = self.make_reader()
        epoch = self.batch_sampler.sampler.epoch
        self._reader = reader
        try:
            for read in reader.read_all(self._planned(reader), epoch):
                with speaking(self.bad.speaker):
                    self._record_errors(reader, read)
                    batch = self._finished(reader, read, epoch)
                if len(batch["index"]):
                    yield batch
        finally:
            if self.on_end is not None:
                self.on_end()

    @override
    def state_dict(self) -> dict[str, int]:
        state = self.batch_sampler.state_dict()
        ahead = 0 if self._reader is None else self._reader.num_ahead  # batches read ahead do not count
        return {**state, "done": state["done"] - ahead}

    def _planned(self, reader: BatchReader) -> Iterator[NDArray[np.int64]]:  # noqa: ARG002 - for overrides
        """Yield the image numbers of each batch of the pass."""
        return (rows.numpy() for rows in self.batch_sampler)

    def _finished(self, reader: BatchReader, read: Read, epoch: int) -> Batch:
        """Return the batch made from what was read."""
        self._check_classes(reader, read)
        return self._batch_of(reader, self._filled(reader, read, epoch), epoch)

    def _record_errors(self, reader: BatchReader, read: Read) -> None:
        """Record the files that could not be read."""
        if not read.errors:
            return
        rows = np.array(list(read.errors), dtype=np.int64)
        names = reader.store.table.files(rows) if isinstance(reader.store, FileStore) else map(str, rows)
        for name, reason in zip(names, read.errors.values(), strict=True):
            self.bad.add(name, reason)
        self.bad.check()

    def _check_classes(self, reader: BatchReader, read: Read) -> None:
        """Raise if the errors leave a class without a readable image: the network would not learn that class."""
        codes, store = self.tensors.get("target"), reader.store
        if not (read.errors and self.classes and isinstance(store, FileStore)) or codes is None or codes.ndim != 1:
            return
        rows = self.batch_sampler.sampler.rows
        for code in set(codes[list(read.errors)].tolist()):
            same = rows[codes[rows] == code]
            files = store.table.files(same.numpy()) if len(same) <= len(self.bad.reasons) else [""]
            if all(file in self.bad.reasons for file in files):
                found = listed([f"{file!r} ({self.bad.reasons[file]})" for file in files])
                problem = f"no training image of the class {self.classes[int(code)]!r} can be read: {found}"
                raise BadValueError(problem, "Replace them, or leave the class out")

    def _filled(self, reader: BatchReader, read: Read, epoch: int) -> Read:
        """If a batch has too few readable rows, add the next readable ones of the part."""
        least = min(self.least, len(read.rows) + len(read.errors))
        if len(read.rows) >= least:
            return read
        for row in self._rows_after(np.array([*read.rows, *read.errors], dtype=np.int64)):
            other = reader.read(np.array([row]), epoch)
            self._record_errors(reader, other)
            read = read.extended(other)
            if len(read.rows) >= least:
                return read
        raise BadValueError("too few images can be read to train on", "Replace the damaged files")

    def _rows_after(self, taken: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the rows of the part outside a batch, starting with the first one after the batch's lowest."""
        rows = np.sort(self.batch_sampler.sampler.rows.numpy())
        rolled = np.roll(rows, -int(np.searchsorted(rows, taken.min())))
        return rolled[~np.isin(rolled, taken)]

    def _batch_of(self, reader: BatchReader, read: Read, epoch: int) -> Batch:
        rows = torch.from_numpy(read.rows)
        batch: dict[str, Any] = {"image": read.images}
        batch |= {name: tensor.index_select(0, rows) for name, tensor in self.tensors.items()}
        batch |= {name: torch.from_numpy(values) for name, values in read.extras.items()}
        if "matrix" in batch:
            batch["size"] = torch.tensor(reader.view.size)  # to which the device warps the images
        if self.task is not None and self.task.moves_with_image:
            views = views_of(reader.store, reader.view, read.rows, epoch)
            batch["view"] = torch.from_numpy(views.astype(np.float32))
            if "target" in batch:
                target = self.task.to_view(batch["target"].numpy(), views, cut=reader.view.augment is not None)
                batch["target"] = torch.from_numpy(target)
        return cast("Batch", {"index": rows, **batch})


@final
class FusedLoader(ImageLoader):
    """Batches of columns and images: uint8 (B, P, C, H, W) with zeros for missing images, and `has_image` (B, P).

    Args like those of `ImageLoader`, and:
        num_images: P, the number of images per row.
    """

    def __init__(self, *args: Any, num_images: int, **settings: Any) -> None:  # noqa: ANN401 - as in `ImageLoader`
        super().__init__(*args, **settings)
        self._num_images = num_images
        self._started: deque[Tensor] = deque()  # rows of the batches being read

    @override
    def _planned(self, reader: BatchReader) -> Iterator[NDArray[np.int64]]:
        self._started.clear()
        has_path = (reader.store.table.frame[PATH_COLUMN] != "").to_numpy()  # type: ignore[attr-defined]  # a FileStore
        for rows in self.batch_sampler:
            self._started.append(rows)
            images = self._images_of(rows).ravel()
            yield images[has_path[images]]

    @override
    def _finished(self, reader: BatchReader, read: Read, epoch: int) -> Batch:
        rows = self._started.popleft()
        batch: dict[str, Any] = {name: tensor.index_select(0, rows) for name, tensor in self.tensors.items()}
        has_image = torch.from_numpy(np.isin(self._images_of(rows), read.rows))
        is_there = has_image.flatten()
        size = read.images.shape[2:] if len(read.images) else reader.view.size  # without images, nothing to warp
        images = torch.zeros(len(is_there), *size, reader.store.channels, dtype=torch.uint8).permute(0, 3, 1, 2)
        images[is_there] = read.images if len(read.images) else images[is_there]
        for name, values in read.extras.items():
            whole = torch.from_numpy(values[:1]).expand(len(is_there), *values.shape[1:]).clone()  # any valid values
            whole[is_there] = torch.from_numpy(values)
            batch[name] = whole.unflatten(0, has_image.shape)  # type: ignore[no-untyped-call]  # torch
        if "matrix" in batch:
            batch["size"] = torch.tensor(reader.view.size)
        by_row = images.unflatten(0, has_image.shape)  # type: ignore[no-untyped-call]  # torch
        return cast("Batch", {**batch, "image": by_row, "has_image": has_image.float()})

    def _images_of(self, rows: Tensor) -> NDArray[np.int64]:
        """Return the image numbers of some rows, (B, P): row numbers in the table from `images_by_row`."""
        sources = self.tensors["index"].index_select(0, rows).numpy()
        return sources[:, None] * self._num_images + np.arange(self._num_images)
