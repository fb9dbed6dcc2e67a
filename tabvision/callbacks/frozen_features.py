"""Compute a frozen body's features of each image once, and train the head on them."""

from __future__ import annotations

import functools
import hashlib
import logging
import mmap
import pickle
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from tabvision import __version__
from tabvision import lightning as pl
from tabvision.callbacks.layer_groups import layer_groups_of
from tabvision.callbacks.ownership import owner_of
from tabvision.callbacks.unfreeze import unfreeze_of
from tabvision.checks import check_positive, check_whole
from tabvision.data.images.base import BaseImageDataModule
from tabvision.data.images.cache import stamp_of
from tabvision.data.images.loader import ImageLoader
from tabvision.data.loaders import MappedTensors
from tabvision.data.splits.base import PartName
from tabvision.data.tables.write import interrupts_held, writing, written_whole
from tabvision.errors import BadValueError, speaking
from tabvision.lightning import Callback, TrainerFn, check_trainer, datamodule_of
from tabvision.nets.layer_groups import num_new
from tabvision.nets.layers import evaluating, of_all_ranks

_CHUNK_ROWS = 64  # images per forward pass: fixed, so that features do not depend on the number of ranks
_logger = logging.getLogger("tabvision")
_Tensors = Mapping[str, Tensor]


@final
class FrozenFeatures(Callback):
    """Compute a frozen body's features of each image once, and train the head on them; use with `FineTune` or `Unfreeze`.

    While the last layer group trains alone, a batch has `features` in place of `image`, and the body does not run.
    View 0 of a training image is not augmented, view 1 is augmented like epoch 1, and so on; a validation image has one view.
    Features are computed by `module.features(batch)` in evaluation mode, in fixed chunks that are divided among ranks. They
    depend only on weights and view, so nothing is saved and a resumed fit computes the same ones. Each process keeps them in
    memory until the body is unfrozen; with `folder`, they are also kept on disk for later fits.

    With `MixUp` or `CutMix`, which blend images, training features are computed in every epoch, as without this callback,
    and only validation features are cached.

    With a `FitTable` that scores on folds, the rows of a fold are scored on their cached features too.

    A module of your own needs `features(batch)`, and a `forward` that uses `batch["features"]` if present. It may have
    `pooled(features)`, which returns smaller features that `forward` accepts instead.

    Args:
        views: Views of each training image, at least 1: epoch e trains on view e modulo `views`.
        most_gb: The most memory for features, in gigabytes, above 0. If they need more, every epoch computes them, as
            without this callback, and a message says so.
        folder: A folder for caching the features, shared by ranks and fits: a fit with the same weights, images and settings
            reads them from there. It holds at most `most_gb`; features beyond that are not written, and a message says so.
            None for no folder.

    Raises:
        BadTypeError: An argument has the wrong type.
        BadValueError: An argument is out of range, or `folder` is a file. When a fit starts: nothing freezes the body, its
            BatchNorm updates its statistics, the data has no images, or the module has no `features`.
    """

    @speaking()
    def __init__(self, views: int = 1, *, most_gb: float = 2.0, folder: str | Path | None = None) -> None:
        check_whole("views", views, remedy="Pass 1, or 2 for an augmented view as well")
        check_positive("most_gb", most_gb, remedy="Pass 2")
        self.views = views
        self.most_gb = most_gb
        self.folder = None if folder is None else Path(folder).expanduser()
        if self.folder is not None and self.folder.exists() and not self.folder.is_dir():
            raise BadValueError(f"folder must be a folder, got the file {str(self.folder)!r}", "Name another")
        self._kept: dict[tuple[object, ...], _Tensors] = {}
        self._is_too_large = False

    @override
    @speaking()
    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        check_trainer(trainer)
        if stage == "fit":
            self._check(trainer, pl_module)
            self._is_too_large = False

    @override
    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.state.fn == TrainerFn.FITTING:
            self._serve(trainer, pl_module, trainer.val_dataloaders, view=0)

    @override
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.on_train_epoch_start(trainer, pl_module)  # a resumed fit may skip it

    @override
    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if owner_of(trainer, "how rows are mixed") is None:
            self._serve(trainer, pl_module, trainer.train_dataloader, view=trainer.current_epoch % self.views)
            data = datamodule_of(trainer)
            if "fold" in data.parts["train"].tensors:  # each training row is held out from one member
                self._serve(trainer, pl_module, data.fold_loader(), view=0)

    @override
    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._kept = {}
        for loader in (*_loaders(trainer.train_dataloader), *_loaders(trainer.val_dataloaders)):
            loader.cached = None

    @override
    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self.teardown(trainer, pl_module, "fit")

    def _serve(self, trainer: pl.Trainer, module: pl.LightningModule, loaders: object, *, view: int) -> None:
        """Make loaders yield features from their next pass on if only the head trains, else images."""
        unfreeze = unfreeze_of(trainer)
        assert unfreeze is not None
        groups = layer_groups_of(module, unfreeze.groups)
        is_frozen = unfreeze.num_trained(trainer.current_epoch, groups) <= num_new(groups) < len(groups)
        if not is_frozen:
            self._kept = {}
        data: BaseImageDataModule = datamodule_of(trainer)
        for loader in _loaders(loaders):
            rows = loader.batch_sampler.sampler.rows
            part = next((name for name, part in data.parts.items() if part.rows is rows), None)
            loader.cached = None
            if is_frozen and part is not None and not trainer.fast_dev_run:  # type: ignore[attr-defined]  # set by Lightning's connector
                # called when the pass begins, after all other callbacks have run
                loader.cached = functools.partial(self._tensors, trainer, module, part, view)

    def _tensors(self, trainer: pl.Trainer, module: Any, part: PartName, view: int) -> _Tensors | None:  # noqa: ANN401 - a module with `features`
        """Return the tensors of all readable rows of a split, for one view, or None if they need too much memory."""
        data: BaseImageDataModule = datamodule_of(trainer)
        key = (part, view, data.size)
        if any(kept[-1] != data.size for kept in self._kept):
            self._kept = {}
        if key in self._kept or self._is_too_large:
            return self._kept.get(key)
        found = self._read_or_computed(trainer, module, part, view)
        if found is None:
            self._is_too_large = True
        else:
            self._kept[key] = found
        fit = getattr(module, "fit_on_features", None)
        if part == "train" and "fold" in data.parts["train"].tensors and callable(fit):
            if found is None:
                problem = f"the network fits heads to the features of all rows, which exceed most_gb={self.most_gb:g}"
                raise BadValueError("FrozenFeatures", problem, "Raise most_gb, or pass FitTable(folds=False)")
            fit(found)
        return found

    def _read_or_computed(self, trainer: pl.Trainer, module: Any, part: PartName, view: int) -> _Tensors | None:  # noqa: ANN401 - as above
        """Return the result of `_computed`, read from the folder if it is there and written to it otherwise."""
        data: BaseImageDataModule = datamodule_of(trainer)
        if self.folder is None or (view and data.augment.own is not None):  # a user's function may change
            return self._computed(trainer, module, part, view)
        file = self.folder / f"{_key(trainer, module, part, view)}.pt"
        if trainer.strategy.reduce_boolean_decision(file.exists()):
            return _read(file)
        found = self._computed(trainer, module, part, view)
        if found is None:
            return None
        if not trainer.strategy.reduce_boolean_decision(not data.bad.reasons):
            _logger.info(
                "FrozenFeatures: some images cannot be read, which each fit has to find out itself, so no features are kept "
                "on disk."
            )
            return found
        if trainer.is_global_zero:
            self._write(found, file)
        trainer.strategy.barrier()
        is_written = trainer.strategy.reduce_boolean_decision(file.exists())
        return _read(file) if is_written else found  # mapped, so one copy for all processes on a machine

    def _write(self, found: _Tensors, file: Path) -> None:
        """Write features atomically, unless they would exceed what the folder may hold."""
        with writing(file.parent):
            file.parent.mkdir(parents=True, exist_ok=True)
            held = sum(each.stat().st_size for each in file.parent.glob("*.pt"))
            needed = sum(each.nbytes for each in found.values())
            if held + needed > self.most_gb * 1e9:
                problem = f"{str(file.parent)!r} would hold more than most_gb={self.most_gb:g}"
                _logger.info(
                    f"FrozenFeatures: {problem}, so no more features are kept there. Remove old files, or raise most_gb."
                )
                return
        with interrupts_held(), written_whole(file) as partial, partial.open("wb") as opened:
            torch.save(dict(found), opened)

    @torch.no_grad()
    def _computed(self, trainer: pl.Trainer, module: Any, part: PartName, view: int) -> _Tensors | None:  # noqa: ANN401 - as above
        """Compute features on this rank, gather the other ranks', and return all; None if they need too much memory."""
        data: BaseImageDataModule = datamodule_of(trainer)
        rows = data.parts[part].rows
        chunks = torch.split(rows, _CHUNK_ROWS)[trainer.global_rank :: trainer.world_size]
        loader = data.ordered_loader(part, torch.cat(chunks or (rows[:0],)), _CHUNK_ROWS, epoch=view or None)
        own: list[dict[str, Tensor]] = []
        exceeds, is_mixed = False, owner_of(trainer, "how rows are mixed") is not None
        with evaluating(module):
            module.training = part == "train"  # but not its parts, as in a frozen epoch
            for batch in loader:
                moved = data.transfer_batch_to_device(batch, module.device, 0)
                finished: Any = data.on_after_batch_transfer(moved, 0)
                with trainer.precision_plugin.forward_context():
                    features = module.features(finished)
                    features = module.pooled(features) if hasattr(module, "pooled") else features
                if exceeds := self._exceeds(features, data, ("val",) if is_mixed else ("train", "val")):
                    break
                others = {name: tensor.cpu() for name, tensor in finished.items() if name != "image"}
                own.append({**others, "features": features.cpu()})
        batches: list[dict[str, Tensor]] = []
        for part_of_rank in of_all_ranks(None if exceeds else own):
            if part_of_rank is None:
                return None
            batches += part_of_rank
        return {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}

    def _exceeds(self, features: Tensor, data: BaseImageDataModule, parts: Sequence[PartName]) -> bool:
        """Return whether the features of all rows and views to keep would be too large; if so, log it."""
        counts = {name: len(part.rows) * (self.views if name == "train" else 1) for name, part in data.parts.items()}
        images = sum(counts.get(name, 0) for name in parts)
        needed = features[:1].numel() * features.itemsize * images / 1e9
        if needed > self.most_gb:
            problem = f"the features take {needed:.1f} GB, more than most_gb={self.most_gb:g}"
            _logger.info(f"FrozenFeatures: {problem}, so they are computed anew in each epoch.")
        return needed > self.most_gb

    def _check(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        unfreeze = unfreeze_of(trainer)
        if unfreeze is None:
            raise BadValueError("nothing freezes the body", "Add FineTune() or Unfreeze()")
        if unfreeze.batch_norm == "train":
            problem = "the features change from step to step, since batch_norm='train' lets BatchNorm follow the data"
            raise BadValueError(problem, "Leave batch_norm out")
        data = datamodule_of(trainer)
        if not isinstance(data, BaseImageDataModule):
            raise BadValueError(
                f"the data must be an ImageDataModule, got {type(data).__name__}", "Pass fit(module, data)"
            )
        if not callable(getattr(module, "features", None)):
            problem = f"{type(module).__name__} has no features(batch)"
            raise BadValueError(problem, 'Add one, and a forward that uses batch["features"] if present')
        if (mixing := owner_of(trainer, "how rows are mixed")) is not None:
            _logger.info(
                f"FrozenFeatures: {type(mixing).__name__} blends images, so the features of training images are computed "
                "in each frozen epoch, and only those of validation images once."
            )


def _read(file: Path) -> MappedTensors:
    """Memory-map features from a file, so that processes share them.

    Raises:
        BadValueError: The file is damaged.
    """
    try:
        found: dict[str, Tensor] = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
        with file.open("rb") as opened:
            return MappedTensors(found, {str(file): mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)})
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        problem = f"the features in {str(file)!r} cannot be read ({type(error).__name__})"
        raise BadValueError("FrozenFeatures", problem, "Remove the file") from error


def _key(trainer: pl.Trainer, module: pl.LightningModule, part: PartName, view: int) -> str:
    """Return a hash of everything that determines the features of a split, for one view."""
    data: BaseImageDataModule = datamodule_of(trainer)
    unfreeze = unfreeze_of(trainer)
    assert unfreeze is not None
    groups = layer_groups_of(module, unfreeze.groups)
    parts = [each for group in groups[-num_new(groups) :] for each in group.modules]
    new = {id(tensor) for each in parts for tensor in each.state_dict(keep_vars=True).values()}
    weights = {name: each for name, each in module.state_dict(keep_vars=True).items() if id(each) not in new}
    tensors, rows = data.parts[part]
    hashed = hashlib.sha256()
    for name, tensor in {**weights, **tensors, "rows": rows}.items():
        plain = tensor.detach().cpu().contiguous()
        hashed.update(f"{name} {plain.dtype} {tuple(plain.shape)}".encode())
        hashed.update(plain.flatten().view(torch.uint8).numpy())
    for file in data.tables[part].files(np.arange(len(data.tables[part].frame), dtype=np.int64)):
        with suppress(OSError):  # an empty cell names no file
            hashed.update(stamp_of(file, with_sample=True))
    network = (repr(module), module.hparams.get("frozen_bf16"), getattr(getattr(module, "schema", None), "image", None))
    augment = (data.augment.to_dict(), data.cache is None, data.device_augment)
    images = (part, view, data.seed, data.size, data.image, *augment)
    machine = (trainer.precision, module.device.type, torch.__version__, __version__)
    hashed.update(repr((network, images, machine)).encode())
    return hashed.hexdigest()


def _loaders(found: object) -> list[ImageLoader]:
    """Return tabvision's own loaders among one or several."""
    return [each for each in (found if isinstance(found, list | tuple) else [found]) if isinstance(each, ImageLoader)]
