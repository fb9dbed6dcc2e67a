"""The two tables for speed measurements, with batch sizes and epochs as in fastai's baseline."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

from datamodules.diamonds import DiamondsDataModule
from datamodules.flights import FlightsDataModule
from tabvision.data import TabularDataModule


@final
@dataclass(frozen=True)
class TableSet:
    """A table to measure on.

    Args:
        make: Returns the datamodule for a batch size.
        batch_size: Rows per training step.
        epochs: Epochs in a full training run.
        metric: The metric to compare afterwards: "auroc", higher is better, or "rmse", lower is better.
    """

    make: Callable[[int], TabularDataModule]
    batch_size: int
    epochs: int
    metric: str


def _flights(batch_size: int) -> TabularDataModule:
    return FlightsDataModule(batch_size=batch_size, verbose=False)


def _diamonds(batch_size: int) -> TabularDataModule:
    return DiamondsDataModule(batch_size=batch_size, verbose=False)


SETS = {
    "flights": TableSet(_flights, batch_size=4096, epochs=3, metric="auroc"),
    "diamonds": TableSet(_diamonds, batch_size=1024, epochs=5, metric="rmse"),
}
