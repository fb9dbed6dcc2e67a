"""What every datamodule of prepared tensors shares: parts, loaders, shards."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Literal, NamedTuple

import pytorch_lightning as pl
import torch
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor
from typing_extensions import override

from tabvision.batch import Batch
from tabvision.data.loaders import TensorLoader, check_batch_size, check_seed
from tabvision.errors import BadValueError
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


class TensorDataModule(pl.LightningDataModule):
    """Serves prepared tensors as whole batches, sharded over ranks.

    Args:
        batch_size: Rows a rank takes in one training step, at least 1.
        seed: Decides the order of training rows, together with the epoch; from 0.
    """

    schema: Schema

    def __init__(self, *, batch_size: int, seed: int) -> None:
        super().__init__()
        self.batch_size = check_batch_size(type(self).__name__, batch_size)
        self.seed = check_seed(type(self).__name__, seed)
        self.parts: dict[PartName, Part] = {}

    @override
    def train_dataloader(self) -> TensorLoader:
        return self.loader("train")

    @override
    def val_dataloader(self) -> TensorLoader | list[TensorLoader]:
        if "val" in self.parts or (self.trainer is not None and self.trainer.state.fn == TrainerFn.VALIDATING):
            return self.loader("val")
        # no validation part, by choice: Lightning skips it, and need not ask whether that was the intention
        warnings.filterwarnings("ignore", "Total length of `list` across ranks is zero", UserWarning)
        return []

    @override
    def test_dataloader(self) -> TensorLoader:
        return self.loader("test")

    @override
    def predict_dataloader(self) -> TensorLoader:
        """The `predict` source; without one the test rows, and without those the validation rows."""
        found = next((part for part in ("predict", "test", "val") if part in self.parts), "predict")
        return self.loader(found)  # type: ignore[arg-type]  # one of PartName

    def loader(self, part: PartName) -> TensorLoader:
        """The batches of a part that this rank takes.

        Raises:
            BadValueError: There is no such part.
        """
        if part not in self.parts:
            remedy = f"Pass {part}= a table or file" if part != "val" else "Pass split= a share such as 0.2"
            who = type(self).__name__
            raise BadValueError(who, f"there is no {part} part, only {', '.join(self.parts)}", remedy)
        tensors, rows = self.parts[part]
        trainer = self.trainer
        shuffle = part == "train" and not (trainer is not None and trainer.overfit_batches > 0)  # type: ignore[attr-defined]  # set by Lightning's connector
        return TensorLoader(
            tensors,
            rows,
            batch_size=self.batch_size if part == "train" else _eval_batch_size(trainer),
            shuffle=shuffle,
            seed=self.seed,
            rank=0 if trainer is None else trainer.global_rank,
            world_size=1 if trainer is None else trainer.world_size,
        )

    @override
    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        if device.type == "cpu":  # it is there already; finding that out in general costs more than a small step's copy
            return batch
        moved: Batch = super().transfer_batch_to_device(batch, device, dataloader_idx)
        return moved


def _eval_batch_size(trainer: pl.Trainer | None) -> int:
    on_cpu = trainer is None or trainer.strategy.root_device.type == "cpu"
    return CPU_EVAL_BATCH_SIZE if on_cpu else ACCELERATOR_EVAL_BATCH_SIZE
