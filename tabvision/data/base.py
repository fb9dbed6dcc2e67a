"""Base classes of all datamodules: splits, loaders and sharding over ranks."""

from __future__ import annotations

import html
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Generic, NamedTuple, Self, TypeVar

import pandas as pd
import torch
from torch import Tensor
from typing_extensions import override

from tabvision import lightning as pl
from tabvision.batch import Batch
from tabvision.checks import check_whole
from tabvision.data.loaders import BATCH_SIZE, Order, TensorLoader
from tabvision.data.rows import row_weights
from tabvision.data.splits.base import PartName
from tabvision.errors import BadValueError, count, speaking
from tabvision.lightning import CombinedLoader, TrainerFn, check_trainer, warn_of_both
from tabvision.metrics import values_of
from tabvision.schema import Schema

# Rows per batch in evaluation, whatever the training batch: 2,048 fit a CPU's caches, as measured; accelerators need more
CPU_EVAL_BATCH_SIZE = 2048
_ACCELERATOR_EVAL_BATCH_SIZE = 16_384

BALANCED = "balanced"  # the sampler that draws each class equally often


class DataPart(NamedTuple):
    """The rows of one split, as indices into prepared tensors.

    Args:
        tensors: The tensors of a batch by name, all with the same first dimension.
        rows: (R,) int64 indices into that dimension.
    """

    tensors: Mapping[str, Tensor]
    rows: Tensor


AnyLoader = TypeVar("AnyLoader")


class PartsDataModule(pl.LightningDataModule, ABC, Generic[AnyLoader]):
    """Serve the splits of a source, sharded over ranks; a subclass fills `parts`.

    Args:
        batch_size: Rows per rank in one training step, at least 1.
        seed: Determines, together with the epoch, the order of training rows and everything else that is random; at least 0.
        verbose: Whether to print what was inferred.
    """

    schema: Schema
    sources: ClassVar[str]  # the kinds of source in an error message
    frame: pd.DataFrame  # the source; `index` in a batch holds row numbers in it
    sampler: str | None = None  # "balanced", or a column with how often each row is drawn
    micro_batches: int | None = None  # in a training step, shared among ranks; `ExactResume` sets it during a fit

    @speaking()
    def __init__(self, *, batch_size: int, seed: int, verbose: bool = True) -> None:
        super().__init__()
        warn_of_both(type(self).__name__)
        self.batch_size = check_whole("batch_size", batch_size, remedy=BATCH_SIZE)
        self.seed = check_whole("seed", seed, 0, remedy="Pass a whole number such as 0")
        self.verbose = verbose
        self.parts: dict[PartName, DataPart] = {}

    @abstractmethod
    def make_loader(self, part: PartName, order: Order) -> AnyLoader:
        """Return the loader of a split that exists, in the given order."""

    @property
    def trainer(self) -> pl.Trainer | None:
        """The Trainer that uses it, as for any LightningDataModule."""
        return self._trainer

    @trainer.setter
    @speaking()
    def trainer(self, trainer: pl.Trainer | None) -> None:
        check_trainer(trainer)  # here, since Lightning would fail on its class before calling anything else
        self._trainer = trainer

    def __getstate__(self) -> dict[str, Any]:
        """Return everything but the Trainer for a copy or pickle, as a LightningModule does."""
        return {**self.__dict__, "_trainer": None}

    def summary(self) -> str:
        """Return the use of every column, and the number of rows in each split."""
        sizes = ", ".join(f"{name} {len(part.rows):,}" for name, part in self.parts.items())
        return f"{self.schema}\nrows: {sizes}"

    @override
    def __str__(self) -> str:
        return self.summary()

    def _repr_html_(self) -> str:
        """Return the summary for a notebook."""
        rows = self.summary().removeprefix(str(self.schema)).strip()
        return f"{self.schema._repr_html_()}\n<p>{html.escape(rows).replace(chr(10), '<br>')}</p>"

    def baseline(self, part: PartName = "val") -> dict[str, float]:
        """Return metrics of the best constant prediction: class frequencies, or the mean of the training rows.

        Args:
            part: The split to measure on; without that split there are no metrics.
        """
        if part not in self.parts:
            return {}
        task, measured = self.schema.task, self.targets_of(part)
        constant = torch.from_numpy(task.constant(self.targets_of("train").numpy()))
        found = values_of(task.metrics(), constant.expand(len(measured), -1).float(), measured)
        return {f"val/{name}": value for name, value in found.items()}

    def sampled(self) -> Self:
        """Return a datamodule with its rows in memory, as `frame`: itself, unless the rows do not fit in memory."""
        return self

    def targets_of(self, part: PartName) -> Tensor:
        """Return the targets of a split's rows, in the form that modules evaluate."""
        return self.parts[part].tensors["target"][self.parts[part].rows]

    @speaking()
    def part(self, name: PartName) -> DataPart:
        """Return the rows of a split.

        Raises:
            BadValueError: The split does not exist.
        """
        if name not in self.parts:
            remedy = f"Pass {self.sources} as {name}=" if name != "val" else "Pass a fraction such as split=0.2"
            raise BadValueError(f"there is no {name} split, only {', '.join(self.parts)}", remedy)
        return self.parts[name]

    @override
    def train_dataloader(self) -> Any:  # ours; a subclass may return any loader
        return self.loader("train")

    @override
    def val_dataloader(self) -> Any:
        if "val" in self.parts or (self.trainer is not None and self.trainer.state.fn == TrainerFn.VALIDATING):
            return self.loader("val")
        return [] if self.trainer is None else _NoLoaders([])

    @override
    def test_dataloader(self) -> Any:
        return self.loader("test")

    @override
    def predict_dataloader(self) -> Any:
        """Return a loader of the `predict` source, else of the test rows, else of the validation rows."""
        found = next((part for part in ("predict", "test", "val") if part in self.parts), "predict")
        return self.loader(found)  # type: ignore[arg-type]  # one of PartName

    @speaking()
    def loader(self, part: PartName) -> AnyLoader:
        """Return a loader of this rank's batches of a split.

        Raises:
            BadValueError: The split does not exist.
        """
        self.part(part)
        trainer, (rank, world_size) = self.trainer, self._ranks
        shuffle = part == "train" and not (trainer is not None and trainer.overfit_batches > 0)  # type: ignore[attr-defined]  # set by Lightning's connector
        order = Order(
            shuffle=shuffle,
            micro_batches=self.micro_batches if part == "train" else None,
            chances=self._chances() if shuffle else None,
            seed=self.seed,
            rank=rank,
            world_size=world_size,
        )
        return self.make_loader(part, order)

    @property
    def _ranks(self) -> tuple[int, int]:
        """This rank, from 0, and the number of ranks."""
        return (0, 1) if self.trainer is None else (self.trainer.global_rank, self.trainer.world_size)

    def _chances(self) -> Tensor | None:
        """Return the relative frequency at which to draw each training row; None for each once.

        Raises:
            MissingColumnsError: The sampler's column does not exist.
            BadValueError: Rows do not have a single class each, or the column does not hold valid numbers.
        """
        if self.sampler is None:
            return None
        tensors, rows = self.parts["train"]
        if self.sampler != BALANCED:
            numbers = tensors["index"][rows] if "index" in tensors else rows
            chances = torch.from_numpy(row_weights(self.frame.iloc[numbers.numpy()], self.sampler))
            if not chances.any():
                problem = f"sampler={self.sampler!r} is 0 in each of the {count(len(rows), 'training row')}"
                raise BadValueError(problem, "Give some rows a number above 0, or leave sampler out")
            return chances
        target = tensors["target"][rows]
        if not self.schema.task.is_classes or target.ndim > 1:
            problem = f"sampler='balanced' needs one class per row, and the target is {self.schema.task.name}"
            raise BadValueError(problem, "Name a column that says how often a row is drawn, or leave sampler out")
        return 1 / target.bincount()[target]

    def _check_free(self, name: PartName) -> None:
        """Raise if the split already holds out a part that is also given by a source of its own."""
        if name in self.parts:
            problem = f"the split already holds out {name} rows, and {name}= names others"
            raise BadValueError(problem, f"Leave {name}= (--{name}) out, or split without {name} rows")

    def _check_weights(self) -> None:
        """Raise if the weights of a split are all 0."""
        for name, (tensors, rows) in self.parts.items():
            if "weight" in tensors and not tensors["weight"][rows].any():
                problem = f"the weights of all {count(len(rows), f'{name} row')} are 0"
                raise BadValueError(problem, "Give some rows a weight above 0, or leave weight out")


class _NoLoaders(CombinedLoader):
    """No validation loaders, on purpose: Lightning skips them without the warning that it gives for an empty list."""

    @property
    @override
    def flattened(self) -> list[Any]:
        return []

    @flattened.setter
    def flattened(self, flattened: list[Any]) -> None:
        assert not flattened, "there is nothing to load"


class TensorDataModule(PartsDataModule[TensorLoader]):
    """Serve prepared tensors as whole batches, sharded over ranks."""

    sources = "a table or file"

    @override
    def make_loader(self, part: PartName, order: Order) -> TensorLoader:
        batch_size = self.batch_size
        if part != "train":
            on_cpu = self.trainer is None or self.trainer.strategy.root_device.type == "cpu"
            batch_size = CPU_EVAL_BATCH_SIZE if on_cpu else _ACCELERATOR_EVAL_BATCH_SIZE
        return TensorLoader(*self.parts[part], batch_size=batch_size, **order)

    @override
    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        if device.type == "cpu":  # the batch is there already, and checking each tensor costs more than a small copy
            return batch
        moved: Batch = super().transfer_batch_to_device(batch, device, dataloader_idx)
        return moved
