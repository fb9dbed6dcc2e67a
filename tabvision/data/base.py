"""What every datamodule shares: parts, loaders, shards; and the one whose parts are prepared tensors."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Generic, Literal, NamedTuple, TypedDict, TypeVar

import pandas as pd
import torch
from torch import Tensor
from typing_extensions import override

from tabvision import lightning as pl
from tabvision.batch import Batch
from tabvision.data.loaders import TensorLoader, check_batch_size, check_seed
from tabvision.errors import BadValueError, count, speaking
from tabvision.lightning import CombinedLoader, TrainerFn
from tabvision.logs import notes_at
from tabvision.schema import Schema

PartName = Literal["train", "val", "test", "predict"]
# Rows evaluated at once, whatever the training batch: measured, a CPU's caches hold 2,048; an accelerator wants more
CPU_EVAL_BATCH_SIZE = 2048
ACCELERATOR_EVAL_BATCH_SIZE = 16_384


class Part(NamedTuple):
    """Some rows of prepared tensors.

    Args:
        tensors: What a batch holds, sharing the first dimension.
        rows: (R,) int64 row numbers.
    """

    tensors: Mapping[str, Tensor]
    rows: Tensor


class Order(TypedDict):
    """How the rows of a part are visited, and by whom: what every loader is told."""

    shuffle: bool
    seed: int
    rank: int
    world_size: int


AnyLoader = TypeVar("AnyLoader")


class PartsDataModule(pl.LightningDataModule, ABC, Generic[AnyLoader]):
    """Serves the parts of a source, sharded over ranks: a concrete class fills the parts in.

    Args:
        batch_size: Rows a rank takes in one training step, at least 1.
        seed: Decides, together with the epoch, the order of training rows and all else that is random; from 0.
        verbose: Whether to print what was found.
    """

    schema: Schema
    sources: ClassVar[str]  # what a part can be made from, in words

    @speaking()
    def __init__(self, *, batch_size: int, seed: int, verbose: bool = True) -> None:
        super().__init__()
        self.batch_size, self.seed = check_batch_size(batch_size), check_seed(seed)
        self.verbose = verbose
        self.parts: dict[PartName, Part] = {}

    @abstractmethod
    def make_loader(self, part: PartName, order: Order) -> AnyLoader:
        """Return the batches of a part that is there, in that order."""

    def summary(self) -> str:
        """Return what became of every column, and how many rows each part has."""
        sizes = ", ".join(f"{name} {len(part.rows):,}" for name, part in self.parts.items())
        return f"{self.schema}\nrows: {sizes}"

    @override
    def __str__(self) -> str:
        return self.summary()

    def baseline(self) -> dict[str, float]:
        """Validation metrics of the best answer that looks at no input: class shares, or the mean of the training rows."""
        if "val" not in self.parts:
            return {}
        task = self.schema.task
        targets = {name: self.targets_of(name) for name in ("train", "val")}
        constant = torch.from_numpy(task.constant(targets["train"].numpy()))
        metrics = task.metrics()
        metrics.update(constant.expand(len(targets["val"]), -1).float(), targets["val"])
        return {f"val/{name}": float(value) for name, value in metrics.compute().items()}

    def targets_of(self, part: PartName) -> Tensor:
        """Return the targets of a part's rows, as a module meets them in evaluation."""
        return self.parts[part].tensors["target"][self.parts[part].rows]

    @speaking()
    def part(self, name: PartName) -> Part:
        """Return the rows of a part.

        Raises:
            BadValueError: There is no such part.
        """
        if name not in self.parts:
            remedy = f"Pass {name}= {self.sources}" if name != "val" else "Pass split= a share such as 0.2"
            raise BadValueError(f"there is no {name} part, only {', '.join(self.parts)}", remedy)
        return self.parts[name]

    @override
    def train_dataloader(self) -> AnyLoader:
        return self.loader("train")

    @override
    def val_dataloader(self) -> AnyLoader | list[AnyLoader] | CombinedLoader:
        if "val" in self.parts or (self.trainer is not None and self.trainer.state.fn == TrainerFn.VALIDATING):
            return self.loader("val")
        return [] if self.trainer is None else _NoLoaders([])

    @override
    def test_dataloader(self) -> AnyLoader:
        return self.loader("test")

    @override
    def predict_dataloader(self) -> AnyLoader:
        """Return the `predict` source; without one the test rows, and without those the validation rows."""
        found = next((part for part in ("predict", "test", "val") if part in self.parts), "predict")
        return self.loader(found)  # type: ignore[arg-type]  # one of PartName

    @speaking()
    def loader(self, part: PartName) -> AnyLoader:
        """Return the batches of a part that this rank takes.

        Raises:
            BadValueError: There is no such part.
        """
        self.part(part)
        trainer = self.trainer
        order = Order(
            shuffle=part == "train" and not (trainer is not None and trainer.overfit_batches > 0),  # type: ignore[attr-defined]  # set by Lightning's connector
            seed=self.seed,
            rank=0 if trainer is None else trainer.global_rank,
            world_size=1 if trainer is None else trainer.world_size,
        )
        return self.make_loader(part, order)

    def _say(self, *messages: str) -> None:
        with notes_at(self.verbose):
            for message in messages:
                logging.getLogger("tabvision").info(message)

    def _check_weights(self) -> None:
        """Raise if no row of a part has a weight."""
        for name, (tensors, rows) in self.parts.items():
            if "weight" in tensors and not tensors["weight"][rows].any():
                problem = f"the weights of all {count(len(rows), f'{name} row')} are 0"
                raise BadValueError(problem, "Give some rows a weight above 0, or leave weight out")


class _NoLoaders(CombinedLoader):
    """No validation part, by choice: Lightning skips it, and does not ask of an empty list whether it was intended."""

    @property
    @override
    def flattened(self) -> list[Any]:
        return []

    @flattened.setter
    def flattened(self, flattened: list[Any]) -> None:
        assert not flattened, "there is nothing to load"


class TensorDataModule(PartsDataModule[TensorLoader]):
    """Serves prepared tensors as whole batches, sharded over ranks."""

    sources = "a table or file"
    frame: pd.DataFrame  # the source; `index` in a batch is the place of a row in it

    @override
    def make_loader(self, part: PartName, order: Order) -> TensorLoader:
        batch_size = self.batch_size if part == "train" else _eval_batch_size(self.trainer)
        return TensorLoader(*self.parts[part], batch_size=batch_size, **order)

    @override
    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        if device.type == "cpu":  # it is there already; finding that out in general costs more than a small step's copy
            return batch
        moved: Batch = super().transfer_batch_to_device(batch, device, dataloader_idx)
        return moved


def _eval_batch_size(trainer: pl.Trainer | None) -> int:
    on_cpu = trainer is None or trainer.strategy.root_device.type == "cpu"
    return CPU_EVAL_BATCH_SIZE if on_cpu else ACCELERATOR_EVAL_BATCH_SIZE
