"""A resumed fit that ends bit for bit where the uninterrupted one does."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Protocol, final, runtime_checkable

from torch import distributed
from typing_extensions import override

from tabvision import lightning as pl
from tabvision.errors import BadValueError
from tabvision.lightning import Callback, FitLoop, TorchCheckpointIO, rank_zero_warn
from tabvision.random_state import random_state, set_random_state


@runtime_checkable
class Resumable(Protocol):
    """A module that keeps something within an epoch, beside its weights."""

    def resume_state(self) -> dict[str, Any]:
        """What it keeps, as tensors and plain data."""

    def load_resume_state(self, state: dict[str, Any]) -> None:
        """Takes it back."""


@final
class ExactResume(Callback):
    """Saves with each checkpoint what Lightning leaves out, so that a resumed fit repeats the uninterrupted one.

    That is each rank's random state, and what a module sums within an epoch. Which rows come next is known to tabvision's
    loaders, whose order is a function of seed and epoch and which go on within an epoch; a loader of your own should have
    `state_dict` and `load_state_dict`, or be saved at the ends of epochs only. A fit resumed from an epoch's last step
    validates and ends that epoch, which Lightning takes for done. Checkpoints are written beside their place and moved
    there when whole, so a process killed while writing leaves the one before.

    Raises:
        BadValueError: The fit is resumed on another number of ranks inside an epoch.
    """

    def __init__(self) -> None:
        self._saved: list[dict[str, Any]] = []
        self._module: pl.LightningModule | None = None
        self._inside_epoch = False
        self._ends_epoch = False

    @override
    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._module = pl_module
        if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:
            trainer.strategy.checkpoint_io = AtomicCheckpointIO()

    @override
    def state_dict(self) -> dict[str, Any]:
        kept: dict[str, Any] = self._module.resume_state() if isinstance(self._module, Resumable) else {}
        return {"ranks": _of_every_rank({"random": random_state(), "module": kept})}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._saved = list(state_dict.get("ranks", []))

    @override
    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        ranks = checkpoint["callbacks"].get(self.state_key, {}).get("ranks", [])
        if len(ranks) == trainer.world_size:  # others cannot take over what each summed: the epoch then counts as done
            self._ends_epoch = go_on_from_last_step(checkpoint["loops"]["fit_loop"])

    @override
    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if len(self._saved) == trainer.world_size:  # making the loader's iterator draws what the uninterrupted fit drew
            set_random_state(self._saved[trainer.global_rank]["random"])

    @override
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._ends_epoch:
            skip_training(trainer.fit_loop)
        self._ends_epoch = False
        leave_ended_epoch(trainer.fit_loop)
        if not self._saved:
            return
        batches = trainer.fit_loop.epoch_loop.batch_progress
        # after an epoch's last step, Lightning still calls it the middle
        self._inside_epoch = trainer.fit_loop.restarted_mid_epoch and not batches.is_last_batch
        if (
            batches.is_last_batch
        ):  # of that epoch; Lightning asks the number, which more and smaller batches would exceed
            batches.current.completed = max(batches.current.completed, int(trainer.num_training_batches))
        if len(self._saved) == trainer.world_size:
            self._restore(trainer, pl_module)
        else:
            self._go_on_with_other_ranks(trainer)

    @override
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        stop_restarting(trainer.fit_loop)  # else Lightning leaves out this epoch's step of the user's own scheduler

    @override
    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: object, batch_idx: int
    ) -> None:
        if self._saved and self._inside_epoch:  # making the loader's iterator may have drawn random numbers
            set_random_state(self._saved[trainer.global_rank]["random"])
        self._saved = []

    def _restore(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.fit_loop.restarted_mid_epoch:
            return
        mine = self._saved[trainer.global_rank]
        set_random_state(mine["random"])  # the iterator that was made just now was there when it was saved
        if isinstance(pl_module, Resumable):
            pl_module.load_resume_state(mine["module"])

    def _go_on_with_other_ranks(self, trainer: pl.Trainer) -> None:
        problem = f"the checkpoint was saved by {len(self._saved)} ranks, and {trainer.world_size} resume it"
        if self._inside_epoch:
            remedy = "Resume on as many ranks, or from a checkpoint saved at the end of an epoch"
            raise BadValueError(f"{problem}, inside an epoch", remedy)
        rank_zero_warn(f"ExactResume: {problem}. The fit goes on, with other random numbers.")
        self._saved = []


def _of_every_rank(state: dict[str, Any]) -> list[dict[str, Any]]:
    if not (distributed.is_available() and distributed.is_initialized()):
        return [state]
    states: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(states, state)
    return states


@final
class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside its place and moves it there when it is whole.

    A process killed while writing leaves the checkpoint before, and a `.part` file that the next write replaces.
    """

    @override
    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        if "://" in str(path):  # a remote store has its own way to be atomic
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        part = f"{path}.part"
        super().save_checkpoint(checkpoint, part, storage_options)
        with Path(part).open("rb") as written:
            os.fsync(written.fileno())
        Path(part).replace(path)


BATCHES = "epoch_loop.batch_progress"
VALIDATION = "epoch_loop.val_loop.batch_progress"


def go_on_from_last_step(fit_loop: dict[str, Any]) -> bool:
    """Sets the counters of a fit saved right after an epoch's last step, in place; whether it was.

    Args:
        fit_loop: The state of the fit's loop in a checkpoint.
    """
    batches, epochs = fit_loop[BATCHES], fit_loop["epoch_progress"]["total"]
    total = batches["total"]
    at_step = total["ready"] == total["processed"] == total["completed"] + 1
    within_epoch = epochs["started"] == epochs["ready"] == epochs["processed"] + 1
    if not (at_step and within_epoch and batches["is_last_batch"]):
        return False
    for counts in (total, batches["current"]):
        counts["completed"] += 1
    fit_loop[VALIDATION]["total"] = {"ready": 1, "started": 1, "processed": 0, "completed": 0}
    fit_loop[VALIDATION]["current"] = {"ready": 0, "started": 0, "processed": 0, "completed": 0}
    return True


def leave_ended_epoch(loop: FitLoop) -> None:
    """Lets a loop that goes on from an epoch's end begin the next one.

    Under `max_steps` Lightning takes the ended epoch for an unfinished one: it passes through it again without training.
    """
    if not loop.restarted_on_epoch_end or loop.trainer.max_steps == -1:
        return
    loop.epoch_progress.increment_completed()
    loop.reset_restart_stage()
    stop_restarting(loop)


def stop_restarting(loop: FitLoop) -> None:
    """Tells a loop that it no longer resumes; its own setter takes every value for True under `max_steps`."""
    loop._restarting = False  # noqa: SLF001 - a test guards it
    loop.epoch_loop.restarting = False


def skip_training(loop: FitLoop) -> None:
    """Lets a loop that goes on from an epoch's last step end the epoch, validated first where that is due."""
    epoch = loop.epoch_loop
    epoch.val_loop.batch_progress.total.reset()  # read already
    assert loop._data_fetcher is not None  # noqa: SLF001 - made before training starts
    if not epoch._should_check_val_fx(loop._data_fetcher):  # noqa: SLF001 - a test guards what is used here
        epoch.val_loop._has_run = True  # noqa: SLF001 - or Lightning would train a batch more
        epoch._batches_that_stepped += 1  # noqa: SLF001 - the step's number in logs
