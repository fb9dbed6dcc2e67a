"""Serve images to a Trainer: loaders, caches, and the last steps on the device."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from typing_extensions import override

from tabvision.augment.settings import Augmentation
from tabvision.batch import Batch
from tabvision.data.base import PartsDataModule
from tabvision.data.images.cache import make_cache
from tabvision.data.images.decode import UnreadableImageError
from tabvision.data.images.device import finished, moved
from tabvision.data.images.files import ImageTable
from tabvision.data.images.loader import ROW, ImageLoader
from tabvision.data.images.reader import CACHED_WORKERS, BatchReader, check_workers
from tabvision.data.images.settings import checked_size
from tabvision.data.images.stores import BadFiles, FileStore, views_of
from tabvision.data.images.views import Presize, View
from tabvision.data.loaders import Order
from tabvision.data.splits.base import PartName
from tabvision.data.tables.write import write_frame
from tabvision.errors import BadTypeError, count, speaking
from tabvision.logs import notes_at
from tabvision.schema import Image

_MOSTLY_CACHED = 0.9  # fraction of a part's images; unreadable files and very elongated images are never cached
_EVAL_BATCHES = 2  # an evaluation batch is twice a training batch, since it stores no gradients


class BaseImageDataModule(PartsDataModule[ImageLoader]):
    """Serve images in whole batches, sharded over ranks; a concrete class prepares the parts.

    Args:
        image: The network's input.
        augment: The augmentation of training images.
        batch_size: Images per rank in one training step, at least 1.
        seed: Determines the order and the augmentation of training rows, together with the epoch; from 0.
        num_workers: Number of decoding threads, 0 for none; None for one per core, or a few once all images are cached.
        cache: "auto", "memory", a folder or None.
        device_augment: Whether the device augments whole batches; "auto" means only on a GPU.
        bad_share: The largest fraction of files in [0, 1] that may be unreadable; unless it is 0, a few are always allowed:
            one in ten, at most 3.
        verbose: Whether to print a summary of the data.
    """

    sources = "a folder or table"
    frame: pd.DataFrame  # paths, targets and a table's other columns; `index` in a batch is a row number in it

    @speaking()
    def __init__(
        self,
        image: Image,
        augment: Augmentation,
        *,
        batch_size: int,
        seed: int,
        num_workers: int | None,
        cache: str | Path | None,
        device_augment: bool | Literal["auto"],
        bad_share: float,
        verbose: bool,
    ) -> None:
        super().__init__(batch_size=batch_size, seed=seed, verbose=verbose)
        check_workers(num_workers)
        if not isinstance(device_augment, bool) and device_augment != "auto":
            problem = f'device_augment must be True, False or "auto", got {device_augment!r}'
            raise BadTypeError(problem, 'Leave it out for "auto"')
        self.image, self.size, self.augment = image, image.size, augment
        if image.channels not in (1, 3):  # lighting changes are defined only for gray and RGB
            self.augment = replace(augment, lighting_share=0)
        self.num_workers, self.cache, self.device_augment = num_workers, cache, device_augment
        self.bad = BadFiles(bad_share, type(self).__name__)
        self.tables: dict[PartName, ImageTable] = {}
        self._stores: dict[tuple[str, str], FileStore] = {}
        self._num_written = 0
        self._run_folder: Path | None = None
        self._listed_in: Path | None = None  # the file that lists `bad_files`

    @property
    def bad_files(self) -> pd.DataFrame:
        """Return the files that have turned out to be unreadable so far: columns `image` and `reason`."""
        return self.bad.frame()

    def checkpoint_facts(self) -> dict[str, Any]:
        """Return what a checkpoint stores besides the schema: the augmentation settings, for test-time augmentation."""
        own = self.augment.own
        name = {} if own is None else {"own_augmentation": getattr(own, "__qualname__", type(own).__qualname__)}
        return {"augment": self.augment.to_dict(), **name}

    @speaking()
    def set_size(self, size: int | Sequence[int]) -> None:
        """Change the size of the network's input, starting with the next pass over a loader.

        Args:
            size: Side, or (height, width), in pixels.
        """
        self.size = checked_size(size)

    @override
    def setup(self, stage: str) -> None:
        if self.trainer is not None:  # ask here, since Lightning needs every rank to ask for the run's folder
            folder = Path(self.trainer.log_dir or self.trainer.default_root_dir)
            self._run_folder = None if folder.absolute() == Path.cwd() else folder  # no files there unless asked

    @override
    def targets_of(self, part: PartName) -> Tensor:
        targets, task = super().targets_of(part), self.schema.task
        if not task.moves_with_image:
            return targets
        store, view = FileStore(self.tables[part], self.bad, image=self.image), View(self.size, self.image.resize)
        found = []
        for row, target in zip(self.parts[part].rows.numpy(), targets.numpy(), strict=True):
            with suppress(UnreadableImageError):  # the loader leaves it out too
                found.append(task.to_view(target[None], views_of(store, view, row[None], 0), cut=False))
        return torch.from_numpy(np.concatenate(found)) if found else targets[:0]

    @override
    def make_loader(self, part: PartName, order: Order) -> ImageLoader:
        batch_size = self.batch_size * (1 if part == "train" else _EVAL_BATCHES)
        classes = self.schema.classes if part == "train" else ()  # a small part may lack a class
        settings: dict[str, Any] = {"batch_size": batch_size, "classes": classes, **order}
        return self._loader(functools.partial(self._reader, part), *self.parts[part], **settings)

    def _loader(
        self,
        make_reader: Callable[[], BatchReader],
        tensors: Mapping[str, Tensor],
        rows: Tensor,
        **settings: Any,  # noqa: ANN401
    ) -> ImageLoader:
        """Return a loader of rows of a part; see `ImageLoader`."""
        facts: dict[str, Any] = {"task": self.schema.task, "on_end": self._write_bad_files}
        return ImageLoader(make_reader, tensors, rows, self.bad, **facts, **settings)

    def ordered_loader(
        self, part: PartName, rows: Tensor | None = None, batch_size: int | None = None, *, epoch: int | None = None
    ) -> ImageLoader:
        """Return a loader of rows of a part in the given order, the same on every rank; a batch has their numbers as `ROW`.

        Args:
            part: Name of the part.
            rows: (R,) int64 positions in the part's tensors; None for the whole part.
            batch_size: Rows per batch; None for the evaluation batch size.
            epoch: The epoch whose augmentation to apply; None for no augmentation.
        """
        tensors, all_rows = self.part(part)
        numbered = {**tensors, ROW: torch.arange(int(all_rows.max()) + 1 if len(all_rows) else 0)}
        loader = self._loader(
            functools.partial(self._reader, part, plain=epoch is None),
            numbered,
            all_rows if rows is None else rows,
            batch_size=batch_size or self.batch_size * _EVAL_BATCHES,
        )
        loader.batch_sampler.sampler.set_epoch(epoch or 0)
        return loader

    @override
    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        move = super().transfer_batch_to_device
        return moved(batch, lambda rest: move(rest, device, dataloader_idx))

    @override
    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        module = None if self.trainer is None else self.trainer.lightning_module
        facts = [getattr(getattr(module, "schema", None), "image", None), self.schema.image]
        mean, std = next(((image.mean, image.std) for image in facts if image and image.mean), ((), ()))
        done = finished(batch, mean, std, self.augment.own)
        if self.trainer is None or "features" in done:
            return done
        # the Trainer converted floats to its precision while these images were still uint8
        return {**done, "image": self.trainer.precision_plugin.convert_input(done["image"])}

    def __getstate__(self) -> dict[str, Any]:
        """Pickle without the caches: every process fills its own."""
        return {**self.__dict__, "_stores": {}}

    def _reader(self, part: PartName, *, plain: bool = False) -> BatchReader:
        """Return the reader of the part's images at the current size; training images are augmented unless `plain`."""
        trainer = self.trainer
        on_gpu = trainer is not None and trainer.strategy.root_device.type == "cuda"
        view = View(self.size, self.image.resize)
        if part == "train" and not plain:
            on_device = on_gpu if self.device_augment == "auto" else self.device_augment
            view = View(self.size, self.image.resize, self.augment, self.seed, on_device=on_device)
        store, workers = self._store(part), check_workers(self.num_workers, self._num_local_ranks())
        num_images = len(self.parts[part].rows) * len(self.image.columns)
        is_cached = store.cache is not None and store.cache.num_cached() >= _MOSTLY_CACHED * num_images
        if is_cached and self.num_workers is None:
            workers = min(workers, CACHED_WORKERS)
        return BatchReader(store, view, num_workers=workers, pin=on_gpu, is_cached=is_cached)

    @speaking()
    def _store(self, part: PartName) -> FileStore:
        presize = Presize.of(self.image, self.size, self.augment if part == "train" else None)
        key = (part, presize.key)
        if key not in self._stores:
            num_slots = len(self.tables[part].frame)
            num = len(self.parts[part].rows) * len(self.image.columns)
            ranks = self._num_local_ranks()
            cache = make_cache(self.cache, presize, num, num_slots=num_slots, part=part, num_processes=ranks)
            for old in [each for each in self._stores if each[0] == part]:
                del self._stores[old]  # for another size
            self._stores[key] = FileStore(self.tables[part], self.bad, presize, cache, self.image)
        return self._stores[key]

    def _num_local_ranks(self) -> int:
        """Return the number of ranks on this machine."""
        return 1 if self.trainer is None else max(1, self.trainer.num_devices)

    def _write_bad_files(self) -> None:
        """List the unreadable files in the folder of the run if it has one, unless another list is already there."""
        if len(self.bad.reasons) == self._num_written or self.trainer is None:
            return
        rank = self.trainer.global_rank
        folder = self._run_folder or Path()
        file = folder / ("bad_files.csv" if rank == 0 else f"bad_files_rank{rank}.csv")
        self._num_written = len(self.bad.reasons)
        where = f", listed in {str(file)!r}."
        if self._run_folder is None:
            where = ". `bad_files` of the datamodule lists them."
        elif file.exists() and file != self._listed_in:
            where = f"; {str(file)!r} already existed and is kept. `bad_files` of the datamodule lists them."
        else:
            folder.mkdir(parents=True, exist_ok=True)
            write_frame(self.bad_files, file, overwrite=True)
            self._listed_in = file
        with notes_at(self.verbose):
            logging.getLogger("tabvision").info(f"{count(self._num_written, 'file')} left out as unreadable{where}")
