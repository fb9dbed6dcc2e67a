"""Resume a fit so that it ends bit for bit where the uninterrupted one does."""

from __future__ import annotations

import copy
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, final, runtime_checkable

import torch
from torch import Tensor, distributed
from typing_extensions import override

from tabvision import lightning as pl
from tabvision.data.tables.write import written_whole
from tabvision.errors import BadValueError, speaking
from tabvision.lightning import (
    Callback,
    EarlyStopping,
    EarlyStoppingReason,
    GradientAccumulationScheduler,
    ModelCheckpoint,
    TorchCheckpointIO,
    check_trainer,
    rank_zero_warn,
)
from tabvision.random_state import random_state, set_random_state

if TYPE_CHECKING:
    from pytorch_lightning.loops.fit_loop import _FitLoop as FitLoop


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

    That is, of each rank, the random state, the gradients accumulated since the last optimizer step, the sums of a module
    within an epoch and the metrics that callbacks monitor; further what a `ModelCheckpoint` has saved last. The loaders of
    tabvision know which rows come next: their order is a function of seed and epoch, and they continue within an epoch. A
    loader of your own should have `state_dict` and `load_state_dict`, or be saved only at the end of an epoch.

    A validation that was due when the checkpoint was saved is run, and an epoch whose last step it followed is ended; a fit
    that `EarlyStopping` had stopped stays so. Checkpoints are written to a temporary file and renamed when complete, so a
    process killed while writing leaves the previous one intact.

    Raises:
        BadValueError: The fit is resumed inside an epoch on a different number of ranks.
    """

    def __init__(self) -> None:
        self._saved: dict[str, Any] = {}
        self._module: pl.LightningModule | None = None
        self._inside_epoch = False
        self._ends_epoch = False
        self._stopped = False

    @override
    @speaking()
    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        check_trainer(trainer)
        self._module = pl_module
        write_checkpoints_whole(trainer)

    @override
    def state_dict(self) -> dict[str, Any]:
        module = self._module
        if module is None:  # saved before any fit
            return {"ranks": []}
        summed: dict[str, Any] = module.resume_state() if isinstance(module, _Resumable) else {}
        metrics = {name: value.detach().cpu() for name, value in module.trainer.callback_metrics.items()}
        gradients = _unused_gradients(module)
        ranks: list[Any] = [{"random": random_state(), "module": summed, "gradients": gradients, "metrics": metrics}]
        if distributed.is_available() and distributed.is_initialized():
            (own,), ranks = ranks, [None] * distributed.get_world_size()
            distributed.all_gather_object(ranks, own)
        return {"ranks": ranks, "checkpoints": _last_saved(module.trainer)}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._saved = state_dict if state_dict.get("ranks") else {}

    @override
    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        ranks = checkpoint["callbacks"].get(self.state_key, {}).get("ranks", [])
        if len(ranks) == trainer.world_size:  # else the sums cannot be assigned, and the epoch counts as done
            self._ends_epoch = _go_on_from_last_step(checkpoint["loops"]["fit_loop"])

    @override
    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.ckpt_path is None:  # what was loaded to validate or test
            self._saved, self._ends_epoch = {}, False
        if self._of_these_ranks(trainer):  # so that the loader's iterator draws the same numbers
            set_random_state(self._saved["ranks"][trainer.global_rank]["random"])

    @override
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._ends_epoch:
            _skip_training(trainer.fit_loop)
        _leave_ended_epoch(trainer.fit_loop)
        if not self._saved:
            return
        batches = trainer.fit_loop.epoch_loop.batch_progress
        # after the last step of an epoch, Lightning still calls it the middle
        self._inside_epoch = trainer.fit_loop.restarted_mid_epoch and not batches.is_last_batch
        if batches.is_last_batch:  # Lightning compares its number, which more and smaller batches would exceed
            batches.current.completed = max(batches.current.completed, int(trainer.num_training_batches))
        if self._of_these_ranks(trainer):
            self._restore(trainer, pl_module)
        else:
            self._go_on_with_other_ranks(trainer)
        self._ends_epoch = False

    @override
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        _stop_restarting(trainer.fit_loop)  # else Lightning skips the step of the user's own scheduler in this epoch
        trainer.should_stop = trainer.should_stop or self._stopped
        self._stopped = False

    @override
    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: object, batch_idx: int
    ) -> None:
        if self._saved and self._inside_epoch:  # creating the loader's iterator may have drawn random numbers
            set_random_state(self._saved["ranks"][trainer.global_rank]["random"])
        self._saved = {}

    def _of_these_ranks(self, trainer: pl.Trainer) -> bool:
        return len(self._saved.get("ranks", [])) == trainer.world_size

    def _restore(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        mine = self._saved["ranks"][trainer.global_rank]
        metrics = {name: value.to(pl_module.device) for name, value in mine.get("metrics", {}).items()}
        trainer.callback_metrics.update(metrics)
        _restore_last_saved(trainer, self._saved.get("checkpoints", {}))
        self._stopped = _stay_stopped(trainer)
        if not trainer.fit_loop.restarted_mid_epoch:
            return
        set_random_state(mine["random"])  # the iterator, created just now, existed before the state was saved
        if isinstance(pl_module, _Resumable):
            pl_module.load_resume_state(mine["module"])
        if self._ends_epoch:
            return
        _accumulate_as_in_this_epoch(trainer)
        for name, gradient in mine.get("gradients", {}).items():
            parameter = pl_module.get_parameter(name)
            parameter.grad = gradient.to(parameter)
        if _validate_first(trainer.fit_loop):
            self._inside_epoch = False  # the random state of the first step is what the validation leaves

    def _go_on_with_other_ranks(self, trainer: pl.Trainer) -> None:
        problem = f"the checkpoint was saved by {len(self._saved['ranks'])} ranks, and {trainer.world_size} resume it"
        if self._inside_epoch:
            remedy = "Resume on as many ranks, or from a checkpoint saved at the end of an epoch"
            raise BadValueError(f"{problem}, inside an epoch", remedy)
        rank_zero_warn(f"ExactResume: {problem}. The fit continues with different random numbers.")
        self._saved = {}


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


def _unused_gradients(module: pl.LightningModule) -> dict[str, Tensor]:
    """Return the gradients that the next optimizer step will use, by parameter; under manual optimization all there are."""
    if module.automatic_optimization and not module.trainer.fit_loop._should_accumulate():  # noqa: SLF001 - a test guards it
        return {}
    return {name: part.grad.cpu() for name, part in module.named_parameters() if part.grad is not None}


# What a ModelCheckpoint does not restore: whether a step is saved already, and whether a save waits for the validation
_OF_MODEL_CHECKPOINT = (
    "dirpath",
    "current_score",
    "_last_global_step_saved",
    "_last_checkpoint_saved",
    "_defer_save_until_validation",
)


def _model_checkpoints(trainer: pl.Trainer) -> list[ModelCheckpoint]:
    return [callback for callback in trainer.checkpoint_callbacks if isinstance(callback, ModelCheckpoint)]


def _last_saved(trainer: pl.Trainer) -> dict[str, dict[str, Any]]:
    return {
        callback.state_key: {name: copy.copy(getattr(callback, name)) for name in _OF_MODEL_CHECKPOINT}
        for callback in _model_checkpoints(trainer)
    }


def _restore_last_saved(trainer: pl.Trainer, saved: dict[str, dict[str, Any]]) -> None:
    for callback in _model_checkpoints(trainer):
        own = saved.get(callback.state_key, {})
        if own.get("dirpath") != callback.dirpath:  # as Lightning does with the scores
            continue
        for name, value in own.items():
            setattr(callback, name, value)
        path = str(trainer.ckpt_path)
        if path in (callback.best_model_path, callback.last_model_path, *callback.best_k_models):  # it wrote the file
            callback._last_global_step_saved, callback._last_checkpoint_saved = trainer.global_step, path  # noqa: SLF001
            callback._defer_save_until_validation = False  # noqa: SLF001 - it is reset after the file is written


def _accumulate_as_in_this_epoch(trainer: pl.Trainer) -> None:
    """Set the number of batches per step, which Lightning's scheduler sets only where an epoch starts."""
    for callback in trainer.callbacks:  # type: ignore[attr-defined]  # a plain list, set by Lightning's connector
        if isinstance(callback, GradientAccumulationScheduler):
            trainer.accumulate_grad_batches = callback.get_accumulate_grad_batches(trainer.current_epoch)


def _stay_stopped(trainer: pl.Trainer) -> bool:
    """Stop a fit that was stopped when it was saved; return whether its epoch must be ended first."""
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    stopping = [callback for callback in callbacks if isinstance(callback, EarlyStopping)]
    if all(callback.stopping_reason == EarlyStoppingReason.NOT_STOPPED for callback in stopping):
        return False
    logging.getLogger("tabvision").info(
        "ExactResume: EarlyStopping had stopped this fit. Leave EarlyStopping out to train on."
    )
    loop = trainer.fit_loop
    if loop.restarted_mid_epoch and loop._can_stop_early:  # noqa: SLF001 - a test guards it
        if loop._should_accumulate():  # noqa: SLF001
            loop.epoch_loop._batches_that_stepped -= 1  # noqa: SLF001 - the step number in logs: a last batch counts one
        loop.epoch_loop.batch_progress.is_last_batch = True
        return True
    trainer.should_stop = True
    return False


_BATCHES = "epoch_loop.batch_progress"
_VALIDATION = "epoch_loop.val_loop.batch_progress"
_BEGUN = {"ready": 1, "started": 1, "processed": 0, "completed": 0}  # counts by which Lightning runs a validation again


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
    fit_loop[_VALIDATION]["total"] = dict(_BEGUN)
    fit_loop[_VALIDATION]["current"] = dict.fromkeys(_BEGUN, 0)
    return True


def _validate_first(loop: FitLoop) -> bool:
    """Make a loop that resumes right after a step validate, if that was due there; return whether it was.

    Lightning considers it done.
    """
    epoch = loop.epoch_loop
    assert loop._data_fetcher is not None  # noqa: SLF001 - created before training starts
    if not epoch.restarted_on_train_batch_end or not epoch._should_check_val_fx(loop._data_fetcher):  # noqa: SLF001
        return False
    epoch.batch_progress.increment_completed()
    validated = epoch.val_loop.batch_progress
    seen = copy.copy(validated.total)
    validated.total.load_state_dict(_BEGUN)
    validated.current.reset()
    epoch.update_restart_stage()
    validated.total = seen
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
