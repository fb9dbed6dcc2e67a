"""What `ExactResume` saves in addition to the weights: each rank's state, and the last save of each `ModelCheckpoint`."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, distributed

from tabvision import lightning as pl
from tabvision.lightning import ModelCheckpoint, WeightAveraging, callbacks_of
from tabvision.random_state import random_state

# DDP's flag for copying rank 0's buffers to all ranks before the next forward pass; it is False after a pass without a step,
# such as in validation or accumulation
_SHARES = "require_forward_param_sync"


@runtime_checkable
class Resumable(Protocol):
    """A module with state inside an epoch beyond its weights."""

    def resume_state(self) -> dict[str, Any]:
        """Return that state: sums, as tensors or numbers, which are added up if another number of ranks resumes."""

    def load_resume_state(self, state: dict[str, Any]) -> None:
        """Restore what `resume_state` returned."""


def metrics_of(trainer: pl.Trainer) -> dict[str, Tensor]:
    """Return a copy of the metrics that callbacks monitor."""
    return {name: value.detach().cpu().clone() for name, value in trainer.callback_metrics.items()}


def state_of_rank(module: pl.LightningModule) -> dict[str, Any]:
    """Return a rank's state for a checkpoint, without its metrics."""
    # whether the last optimizer step used up the gradients; with manual optimization the next one may still need them
    are_used = module.automatic_optimization and not module.trainer.fit_loop._should_accumulate()  # noqa: SLF001 - a test guards it
    parameters = () if are_used else module.named_parameters()
    return {
        "random": random_state(),
        "module": module.resume_state() if isinstance(module, Resumable) else {},
        "gradients": {name: part.grad.cpu() for name, part in parameters if part.grad is not None},
        "buffers": _own_buffers(module),
        "shares": getattr(module.trainer.strategy.model, _SHARES, True),
    }


def _buffers(module: pl.LightningModule) -> dict[str, Tensor]:
    """Return the buffers of a module, and of Lightning's averages of it, by name."""
    averages = [callback._average_model for callback in callbacks_of(module.trainer, WeightAveraging)]  # noqa: SLF001
    models = [module, *(average for average in averages if average is not None)]
    return {f"{number} {name}": part for number, model in enumerate(models) for name, part in model.named_buffers()}


def _own_buffers(module: pl.LightningModule) -> dict[str, Tensor]:
    """Return this rank's buffers that differ from rank 0's, which the checkpoint holds anyway."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return {}
    mine = {name: buffer.cpu() for name, buffer in _buffers(module).items()}
    theirs = [mine]
    distributed.broadcast_object_list(theirs)
    return {name: value.clone() for name, value in mine.items() if not torch.equal(value, theirs[0][name])}


def restore_buffers(module: pl.LightningModule, saved: dict[str, Any]) -> None:
    """Restore this rank's buffers, and DDP's flag for overwriting them with rank 0's before the next forward pass."""
    buffers = _buffers(module)
    for name, value in saved.get("buffers", {}).items():
        if name in buffers:  # one may belong to an average that the fit no longer has
            buffers[name].copy_(value)
    model = module.trainer.strategy.model
    if hasattr(model, _SHARES):
        setattr(model, _SHARES, saved.get("shares", True))


def state_on(saved: Sequence[dict[str, Any]], rank: int, ranks: int) -> dict[str, Any]:
    """Return the state from which a rank resumes, given those of all ranks that saved a checkpoint.

    If the number of ranks has changed, rank 0 gets all sums, and every rank gets the mean of the accumulated gradients.
    """
    if len(saved) == ranks:
        return saved[rank]
    gradients = [each.get("gradients", {}) for each in saved]
    names = set().union(*gradients)
    return {
        **{name: saved[0][name] for name in ("metrics", "metrics at cut") if name in saved[0]},
        "module": {name: sum(each["module"][name] for each in saved) * (rank == 0) for name in saved[0]["module"]},
        "gradients": {name: sum(each[name] for each in gradients if name in each) / len(saved) for name in names},
    }


# What a ModelCheckpoint does not restore itself: whether a step is saved already, and whether a save awaits validation
_OF_MODEL_CHECKPOINT = (
    "dirpath",
    "current_score",
    "_last_global_step_saved",
    "_last_checkpoint_saved",
    "_defer_save_until_validation",
)


def last_saved(trainer: pl.Trainer) -> dict[str, dict[str, Any]]:
    """Return the facts about the last save of each of a Trainer's `ModelCheckpoint`s, by its key in a checkpoint."""
    return {
        callback.state_key: {name: copy.copy(getattr(callback, name)) for name in _OF_MODEL_CHECKPOINT}
        for callback in callbacks_of(trainer, ModelCheckpoint)
    }


def restore_last_saved(trainer: pl.Trainer, saved: dict[str, dict[str, Any]]) -> None:
    """Restore what `last_saved` returned for each `ModelCheckpoint` that still writes to the same folder."""
    for callback in callbacks_of(trainer, ModelCheckpoint):
        own = saved.get(callback.state_key, {})
        if own.get("dirpath") != callback.dirpath:  # Lightning treats its own scores the same way
            continue
        for name, value in own.items():
            setattr(callback, name, value)
        path = str(trainer.ckpt_path)
        if path in (callback.best_model_path, callback.last_model_path, *callback.best_k_models):  # it wrote the file
            callback._last_global_step_saved, callback._last_checkpoint_saved = trainer.global_step, path  # noqa: SLF001
            callback._defer_save_until_validation = False  # noqa: SLF001 - the file was written before this was reset
