"""What serves pictures: loaders, threads, caches, and the last steps on the device."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from typing_extensions import override

from tabvision.augment.color import light_batch
from tabvision.augment.erase import erase_batch
from tabvision.augment.normalize import normalize
from tabvision.augment.settings import Augmentation
from tabvision.augment.warp import warp_batch
from tabvision.batch import Batch
from tabvision.data.base import Order, PartName, PartsDataModule
from tabvision.data.images.cache import make_cache
from tabvision.data.images.decode import UnreadableImageError
from tabvision.data.images.files import PictureTable
from tabvision.data.images.loader import EXTRAS, ImageLoader
from tabvision.data.images.reader import BatchReader, check_workers
from tabvision.data.images.settings import checked_size
from tabvision.data.images.stores import BadFiles, FileStore, views_of
from tabvision.data.images.views import DeviceView, EvaluationView, Presize, TrainingView, View
from tabvision.data.tables.write import write_frame
from tabvision.errors import BadTypeError, count, speaking
from tabvision.logs import notes_at
from tabvision.schema import IMAGENET_MEAN, IMAGENET_SPREAD, Image

Own: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""An augmentation of the user's own; see `Augmentation.own`."""
EVAL_BATCHES = 2  # training batches that an evaluation batch holds: it keeps no gradients


class PictureDataModule(PartsDataModule[ImageLoader]):
    """Serves pictures as whole batches, sharded over ranks: the parts are for a concrete class to fill in.

    Args:
        image: The network's input.
        augment: How strongly training pictures are varied.
        batch_size: Pictures a rank takes in one training step, at least 1.
        seed: Decides, together with the epoch, the order of training rows and how each is varied; from 0.
        num_workers: Threads that decode, 0 for none; None for one a core.
        cache: "auto", "memory", a folder or None.
        device_augment: Whether the device varies whole batches; "auto" on a GPU.
        bad_share: The largest share of files in [0, 1] that may be unreadable.
        verbose: Whether to print what was found.
    """

    sources = "a folder or table"
    frame: pd.DataFrame  # the source: paths, targets and what else a table holds; `index` in a batch is a row of it

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
        self.num_workers, self.cache, self.device_augment = num_workers, cache, device_augment
        self.bad = BadFiles(bad_share)
        self.tables: dict[PartName, PictureTable] = {}
        self._stores: dict[tuple[str, str], FileStore] = {}
        self._num_written = 0

    @property
    def bad_files(self) -> pd.DataFrame:
        """The files found to be unreadable so far: columns `image` and `reason`."""
        return self.bad.frame()

    def checkpoint_facts(self) -> dict[str, Any]:
        """What a checkpoint keeps of the data beside the schema: how pictures were varied, for looking at them again."""
        own = self.augment.own
        name = {} if own is None else {"own_augmentation": getattr(own, "__qualname__", type(own).__qualname__)}
        return {"augment": self.augment.to_dict(), **name}

    @speaking()
    def set_size(self, size: int | Sequence[int]) -> None:
        """Changes the size of the network's input, from the next pass over a loader on.

        Args:
            size: Side, or (height, width), in pixels.
        """
        self.size = checked_size(size)

    @override
    def targets_of(self, part: PartName) -> Tensor:
        targets, task = super().targets_of(part), self.schema.task
        if not task.moves_with_image:
            return targets
        store, view = FileStore(self.tables[part], self.bad), EvaluationView(self.size, self.image.resize)
        found = []
        for row, target in zip(self.parts[part].rows.numpy(), targets.numpy(), strict=True):
            with suppress(UnreadableImageError):  # the loader leaves it out as well
                found.append(task.to_view(target[None], views_of(store, view, row[None], 0), cut=False))
        return torch.from_numpy(np.concatenate(found)) if found else targets[:0]

    @override
    def make_loader(self, part: PartName, order: Order) -> ImageLoader:
        return ImageLoader(
            lambda: self._reader(part),
            *self.parts[part],
            self.bad,
            batch_size=self.batch_size * (1 if part == "train" else EVAL_BATCHES),
            on_end=self._write_bad_files,
            task=self.schema.task,
            **order,
        )

    @override
    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        return moved(
            batch, lambda rest: super(PictureDataModule, self).transfer_batch_to_device(rest, device, dataloader_idx)
        )

    @override
    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        module = None if self.trainer is None else self.trainer.lightning_module
        facts = [getattr(getattr(module, "schema", None), "image", None), self.schema.image]
        mean, spread = next(((image.mean, image.std) for image in facts if image and image.mean), ((), ()))
        done = finished(batch, mean, spread, self.augment.own)
        if self.trainer is None:
            return done
        # the Trainer brought floats to its precision before there were any of these
        return {**done, "image": self.trainer.precision_plugin.convert_input(done["image"])}

    def __getstate__(self) -> dict[str, Any]:
        """Without the caches, which every process fills for itself."""
        return {**self.__dict__, "_stores": {}}

    def _reader(self, part: PartName) -> BatchReader:
        """How the part's pictures are read at the present size."""
        trainer = self.trainer
        on_gpu = trainer is not None and trainer.strategy.root_device.type == "cuda"
        view: View = EvaluationView(self.size, self.image.resize)
        if part == "train":
            on_device = on_gpu if self.device_augment == "auto" else self.device_augment
            kind = DeviceView if on_device else TrainingView
            view = kind(self.size, self.image.resize, self.augment, self.seed)
        workers = check_workers(self.num_workers, self._sharers())
        return BatchReader(self._store(part), view, num_workers=workers, pin=on_gpu)

    def _store(self, part: PartName) -> FileStore:
        presize = Presize.of(self.size, self.image.resize, self.augment if part == "train" else None)
        place = (part, presize.key)
        if place not in self._stores:
            num = len(self.parts[part].rows)
            slots = len(self.tables[part].frame)
            cache = make_cache(self.cache, presize, num, num_slots=slots, part=part, sharers=self._sharers())
            for old in [each for each in self._stores if each[0] == part]:
                del self._stores[old]  # of a size that is over
            self._stores[place] = FileStore(self.tables[part], self.bad, presize, cache)
        return self._stores[place]

    def _sharers(self) -> int:
        """Ranks on this machine."""
        return 1 if self.trainer is None else max(1, self.trainer.num_devices)

    def _write_bad_files(self) -> None:
        """Writes down the files found to be unreadable, in the Trainer's folder."""
        if len(self.bad.reasons) == self._num_written or self.trainer is None:
            return
        rank = self.trainer.global_rank
        folder = Path(self.trainer.default_root_dir)
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / ("bad_files.csv" if rank == 0 else f"bad_files_rank{rank}.csv")
        write_frame(self.bad_files, file, overwrite=True)
        self._num_written = len(self.bad.reasons)
        with notes_at(self.verbose):
            logging.getLogger("tabvision").info(
                f"{count(self._num_written, 'file')} that cannot be read left out, listed in {str(file)!r}."
            )


STAY = ("matrix", "box", "noise", "size")  # looked at by the processor first


def moved(batch: Batch, move: Callable[[Batch], Batch]) -> Batch:
    """A batch with its tensors moved, except those that the processor looks at first."""
    stay = {name: value for name, value in batch.items() if name in STAY}
    rest = {name: value for name, value in batch.items() if name not in STAY}
    return cast("Batch", {**move(cast("Batch", rest)), **stay})


def finished(batch: Batch, mean: Sequence[float], spread: Sequence[float], own: Own | None = None) -> Batch:
    """A batch with float32 pictures, varied and normalized, in channels-last memory; one that is, as it is.

    Args:
        batch: As a loader yields it, on its device.
        mean: Of each channel, of values in [0, 1]; empty for ImageNet's.
        spread: Standard deviation of each channel, likewise.
        own: The augmentation of the user's own, for batches that carry numbers for it.

    Shape:
        - batch["image"]: (B, 3, h, w) uint8
        - returns: `image` (B, 3, H, W) float32, without what was left to do
    """
    if batch["image"].dtype != torch.uint8:
        return batch
    left: dict[str, Any] = {name: value for name, value in batch.items() if name in EXTRAS}
    rest = {name: value for name, value in batch.items() if name not in EXTRAS}
    images = normalize(
        _varied(batch["image"], left, own), *((mean, spread) if len(mean) else (IMAGENET_MEAN, IMAGENET_SPREAD))
    )
    images = images.contiguous(memory_format=torch.channels_last)
    if "box" in left:
        images = erase_batch(images, left["box"].numpy(), left["noise"].numpy())
    return cast("Batch", {**rest, "image": images})


def _varied(images: Tensor, left: dict[str, Any], own: Own | None) -> Tensor:
    """Return the images after the warp and the lighting that are left to the device, and the user's own augmentation."""
    if "matrix" in left:
        images = warp_batch(images, left["matrix"], tuple(left["size"].tolist()))
    if "light" in left:
        images = light_batch(images, left["light"][:, 0], left["light"][:, 1])
    return images if own is None or "own" not in left else varied_by(own, images, left["own"])


@speaking("augment")
def varied_by(own: Own, images: Tensor, numbers: Tensor) -> Tensor:
    """Return images as a function of the user's own varies them.

    Args:
        own: The function.
        images: As they are so far; floats in [0, 1] are rounded to bytes first.
        numbers: The random numbers of each row.

    Shape:
        - images: (B, 3, H, W) uint8 or float
        - numbers: (B, `NUM_OWN_DRAWS`) float32
        - returns: (B, 3, H, W) uint8

    Raises:
        BadTypeError: It returns something else.
    """
    if images.is_floating_point():
        images = images.mul(255).round_().to(torch.uint8)
    varied = own(images, numbers)
    if not isinstance(varied, Tensor) or varied.dtype != torch.uint8 or varied.shape != images.shape:
        got = f"{varied.dtype} {tuple(varied.shape)}" if isinstance(varied, Tensor) else type(varied).__name__
        problem = f"your augmentation must return uint8 images of shape {tuple(images.shape)} as it got them, got {got}"
        raise BadTypeError(problem, "Return a tensor of the same shape and type")
    return varied
