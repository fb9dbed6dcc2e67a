"""A module of a user's own with any optimizer, what it trained with, and what torch's OneCycleLR would set."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import OneCycleLR
from torch.utils.data import DataLoader, IterableDataset, TensorDataset
from typing_extensions import override


class Own(pl.LightningModule):
    """A user's own module, which knows nothing of tabvision."""

    def __init__(self, make_optimizer: Callable[[Any], Any], num_groups: int = 1) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(2, 1) for _ in range(num_groups)])
        self.make_optimizer = make_optimizer

    @override
    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        return torch.stack([layer(batch[0]) for layer in self.layers]).square().mean()

    @override
    def configure_optimizers(self) -> Any:
        if len(self.layers) == 1:
            return self.make_optimizer(self.parameters())
        return self.make_optimizer([{"params": list(layer.parameters())} for layer in self.layers])


class Recorder(pl.Callback):
    """The rates and momenta that each batch was trained with, one list a batch."""

    def __init__(self) -> None:
        self.rates: list[list[float]] = []
        self.momenta: list[list[float]] = []

    @override
    def on_before_optimizer_step(self, trainer: pl.Trainer, pl_module: Any, optimizer: Optimizer) -> None:
        groups = optimizer.param_groups
        self.rates.append([group["lr"] for group in groups])
        self.momenta.append([group["betas"][0] if "betas" in group else group["momentum"] for group in groups])

    def first(self, what: str) -> list[float]:
        """Those of the first param group."""
        return [step[0] for step in getattr(self, what)]


class Unsized(IterableDataset[list[Tensor]]):
    """Batches without end or length."""

    @override
    def __iter__(self) -> Iterator[list[Tensor]]:
        while True:
            yield [torch.randn(4, 2)]


def batches(number: int = 7) -> DataLoader[Any]:
    return DataLoader(TensorDataset(torch.randn(number * 4, 2)), batch_size=4)


def sgd(params: Any) -> SGD:
    return SGD(params, lr=0.1, momentum=0.9)


def expected_of_torch(make: Callable[[Any], Optimizer], total: int, **settings: Any) -> Recorder:
    """What OneCycleLR sets for each of `total` steps."""
    recorder, parameter = Recorder(), nn.Parameter(torch.zeros(1))
    optimizer = make([parameter])
    schedule = OneCycleLR(optimizer, total_steps=total, **settings)
    for step in range(total):
        recorder.on_before_optimizer_step(None, None, optimizer)  # type: ignore[arg-type]
        optimizer.step()
        if step + 1 < total:
            schedule.step()
    return recorder
