"""Resume a fit so that it ends bit for bit where the uninterrupted one does."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol, final, runtime_checkable

import torch
from torch import distributed
from typing_extensions import override

from tabvision import lightning as pl
from tabvision.data.tables.write import written_whole
from tabvision.errors import BadValueError
from tabvision.lightning import Callback, FitLoop, TorchCheckpointIO, rank_zero_warn
from tabvision.random_state import random_state, set_random_state


@runtime_checkable
class _Resumable(Protocol):
    """A module with state inside an epoch beyond its weights."""

    def resume_state(self) -> dict[str, Any]:
        """Return that state as tensors and plain data."""

    def load_resume_state(self, state: dict[str, Any]) -> None:
        """Restore what `resume_state` returned."""


@final
class ExactResume(Callback):
    """Save what Lightning leaves out of a checkpoint, so that a resumed fit repeats the uninterrupted one.

    That is the random state of each rank, and the sums that a module accumulates within an epoch. The loaders of tabvision
    know which rows come next: their order is a function of seed and epoch, and they continue within an epoch. A loader of
    your own should have `state_dict` and `load_state_dict`, or be saved only at the end of an epoch. A fit resumed from the
    last step of an epoch validates and ends that epoch, which Lightning considers done. Checkpoints are written to a
    temporary file and renamed when complete, so a process killed while writing leaves the previous one intact.

    Raises:
        BadValueError: The fit is resumed inside an epoch on a different number of ranks.
    """

    def __init__(self) -> None:
        self._saved: list[dict[str, Any]] = []
        self._module: pl.LightningModule | None = None
        self._inside_epoch = False
        self._ends_epoch = False

    @override
    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._module = pl_module
        write_checkpoints_whole(trainer)

    @override
    def state_dict(self) -> dict[str, Any]:
        summed: dict[str, Any] = self._module.resume_state() if isinstance(self._module, _Resumable) else {}
        ranks: list[Any] = [{"random": random_state(), "module": summed}]
        if distributed.is_available() and distributed.is_initialized():
            (own,), ranks = ranks, [None] * distributed.get_world_size()
            distributed.all_gather_object(ranks, own)
        return {"ranks": ranks}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._saved = list(state_dict.get("ranks", []))

    @override
    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        ranks = checkpoint["callbacks"].get(self.state_key, {}).get("ranks", [])
        if len(ranks) == trainer.world_size:  # else the sums cannot be assigned, and the epoch counts as done
            self._ends_epoch = _go_on_from_last_step(checkpoint["loops"]["fit_loop"])

    @override
    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if len(self._saved) == trainer.world_size:  # so that the loader's iterator draws the same numbers
            set_random_state(self._saved[trainer.global_rank]["random"])

    @override
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._ends_epoch:
            _skip_training(trainer.fit_loop)
        self._ends_epoch = False
        _leave_ended_epoch(trainer.fit_loop)
        if not self._saved:
            return
        batches = trainer.fit_loop.epoch_loop.batch_progress
        # after the last step of an epoch, Lightning still calls it the middle
        self._inside_epoch = trainer.fit_loop.restarted_mid_epoch and not batches.is_last_batch
        if batches.is_last_batch:  # Lightning compares its number, which more and smaller batches would exceed
            batches.current.completed = max(batches.current.completed, int(trainer.num_training_batches))
        if len(self._saved) == trainer.world_size:
            self._restore(trainer, pl_module)
        else:
            self._go_on_with_other_ranks(trainer)

    @override
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        _stop_restarting(trainer.fit_loop)  # else Lightning skips the step of the user's own scheduler in this epoch

    @override
    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: object, batch_idx: int
    ) -> None:
        if self._saved and self._inside_epoch:  # creating the loader's iterator may have drawn random numbers
            set_random_state(self._saved[trainer.global_rank]["random"])
        self._saved = []

    def _restore(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.fit_loop.restarted_mid_epoch:
            return
        mine = self._saved[trainer.global_rank]
        set_random_state(mine["random"])  # the iterator, created just now, existed before the state was saved
        if isinstance(pl_module, _Resumable):
            pl_module.load_resume_state(mine["module"])

    def _go_on_with_other_ranks(self, trainer: pl.Trainer) -> None:
        problem = f"the checkpoint was saved by {len(self._saved)} ranks, and {trainer.world_size} resume it"
        if self._inside_epoch:
            remedy = "Resume on as many ranks, or from a checkpoint saved at the end of an epoch"
            raise BadValueError(f"{problem}, inside an epoch", remedy)
        rank_zero_warn(f"ExactResume: {problem}. The fit continues with different random numbers.")
        self._saved = []


def write_checkpoints_whole(trainer: pl.Trainer) -> None:
    """Have a Trainer replace a checkpoint only by a complete one, unless it writes in a way of the user's own."""
    if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:
        trainer.strategy.checkpoint_io = _AtomicCheckpointIO()


@final
class _AtomicCheckpointIO(TorchCheckpointIO):
    """Write a checkpoint to a temporary file and rename it when it is complete.

    A process killed while writing leaves the previous checkpoint, and a `.part` file that the next write replaces.
    """

    @override
    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        if "://" in str(path) or storage_options is not None:  # a remote store is atomic in its own way
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        with written_whole(Path(path), Path(f"{path}.part")) as part:
            part.parent.mkdir(parents=True, exist_ok=True)
            with part.open("wb") as file:
                torch.save(checkpoint, file)


_BATCHES = "epoch_loop.batch_progress"
_VALIDATION = "epoch_loop.val_loop.batch_progress"


def _go_on_from_last_step(fit_loop: dict[str, Any]) -> bool:
    """Return whether a fit was saved right after the last step of an epoch; if so, adjust its counters in place.

    Args:
        fit_loop: The state of Lightning's fit loop in a checkpoint.
    """
    batches, epochs = fit_loop[_BATCHES], fit_loop["epoch_progress"]["total"]
    total = batches["total"]
    at_step = total["ready"] == total["processed"] == total["completed"] + 1
    within_epoch = epochs["started"] == epochs["ready"] == epochs["processed"] + 1
    if not (at_step and within_epoch and batches["is_last_batch"]):
        return False
    for counts in (total, batches["current"]):
        counts["completed"] += 1
    fit_loop[_VALIDATION]["total"] = {"ready": 1, "started": 1, "processed": 0, "completed": 0}
    fit_loop[_VALIDATION]["current"] = {"ready": 0, "started": 0, "processed": 0, "completed": 0}
    return True


def _leave_ended_epoch(loop: FitLoop) -> None:
    """Make a loop that resumes at the end of an epoch begin the next one.

    Under `max_steps` Lightning considers the ended epoch unfinished and passes through it again without training.
    """
    if not loop.restarted_on_epoch_end or loop.trainer.max_steps == -1:
        return
    loop.epoch_progress.increment_completed()
    loop.reset_restart_stage()
    _stop_restarting(loop)


def _stop_restarting(loop: FitLoop) -> None:
    """Tell a loop that it no longer resumes; under `max_steps` its own setter treats every value as True."""
    loop._restarting = False  # noqa: SLF001 - a test guards it
    loop.epoch_loop.restarting = False


def _skip_training(loop: FitLoop) -> None:
    """Make a loop that resumes at the last step of an epoch end that epoch, after validation if it is due."""
    epoch = loop.epoch_loop
    epoch.val_loop.batch_progress.total.reset()  # already read
    assert loop._data_fetcher is not None  # noqa: SLF001 - created before training starts
    if not epoch._should_check_val_fx(loop._data_fetcher):  # noqa: SLF001 - a test guards what is used here
        epoch.val_loop._has_run = True  # noqa: SLF001 - or Lightning would train one more batch
        epoch._batches_that_stepped += 1  # noqa: SLF001 - the step number in logs
