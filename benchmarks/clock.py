"""Time the training in a Lightning fit, without validation."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import final

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from typing_extensions import override


@final
class TrainingClock(Callback):
    """Record the seconds from the start of each epoch to the next: batches, logging and checkpoints, but no validation.

    After the fit, `epoch_seconds` has one number per epoch.

    Args:
        now: A function that returns the time in seconds.
    """

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self.now = now
        self.epoch_seconds: list[float] = []
        self._started: float | None = None
        self._paused_at = self._paused = 0.0

    @override
    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._finish()
        self._started, self._paused = self.now(), 0.0

    @override
    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._paused_at = self.now()

    @override
    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._paused += self.now() - self._paused_at

    @override
    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._finish()
        self._started = None

    def _finish(self) -> None:
        if self._started is not None:
            self.epoch_seconds.append(self.now() - self._started - self._paused)
