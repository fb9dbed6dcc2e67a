"""What `ExactResume` saves beside the weights: the state of each rank, and what a `ModelCheckpoint` has saved last."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, distributed

from tabvision import lightning as pl
from tabvision.lightning import ModelCheckpoint, WeightAveraging, callbacks_of
from tabvision.random_state import random_state

State = dict[str, Any]
# Whether DDP copies rank 0's buffers to all ranks before the next forward pass: not after one without a step, such as a
# validation or an accumulation
_SHARES = "require_forward_param_sync"


@runtime_checkable
class Resumable(Protocol):
    """A module with state inside an epoch beyond its weights."""

    def resume_state(self) -> dict[str, Any]:
        """Return that state: sums, as tensors or numbers, which are added up if fewer or more ranks go on."""

    def load_resume_state(self, state: dict[str, Any]) -> None:
        """Restore what `resume_state` returned."""


def metrics_of(trainer: pl.Trainer) -> dict[str, Tensor]:
    """Return a copy of the metrics that callbacks monitor."""
    return {name: value.detach().cpu().clone() for name, value in trainer.callback_metrics.items()}


def state_of_rank(module: pl.LightningModule) -> dict[str, Any]:
    """Return what a checkpoint holds of each rank, beside its metrics."""
    # whether the last optimizer step has used the gradients; under manual optimization the next one may use all
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
    """Return the buffers of a module and of the averages that Lightning keeps of it, by name."""
    averages = [callback._average_model for callback in callbacks_of(module.trainer, WeightAveraging)]  # noqa: SLF001
    models = [module, *(average for average in averages if average is not None)]
    return {f"{number} {name}": part for number, model in enumerate(models) for name, part in model.named_buffers()}


def _own_buffers(module: pl.LightningModule) -> dict[str, Tensor]:
    """Return the buffers in which this rank differs from rank 0, whose buffers the checkpoint holds."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return {}
    mine = {name: buffer.cpu() for name, buffer in _buffers(module).items()}
    theirs = [mine]
    distributed.broadcast_object_list(theirs)
    return {name: value.clone() for name, value in mine.items() if not torch.equal(value, theirs[0][name])}


def restore_buffers(module: pl.LightningModule, saved: dict[str, Any]) -> None:
    """Restore the buffers of this rank, and whether rank 0's are copied over them before the next forward pass."""
    buffers = _buffers(module)
    for name, value in saved.get("buffers", {}).items():
        if name in buffers:  # else it was of an average, which is left out now
            buffers[name].copy_(value)
    model = module.trainer.strategy.model
    if hasattr(model, _SHARES):
        setattr(model, _SHARES, saved.get("shares", True))


def state_on(saved: Sequence[State], rank: int, ranks: int) -> State:
    """Return what a rank goes on with, of what each of the ranks that saved a checkpoint had.

    On other ranks sums are joined in the first one, and each has the mean of the accumulated gradients.
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


# What a ModelCheckpoint does not restore: whether a step is saved already, and whether a save waits for the validation
_OF_MODEL_CHECKPOINT = (
    "dirpath",
    "current_score",
    "_last_global_step_saved",
    "_last_checkpoint_saved",
    "_defer_save_until_validation",
)


def last_saved(trainer: pl.Trainer) -> dict[str, dict[str, Any]]:
    """Return what each `ModelCheckpoint` of a Trainer has saved last, by its key in a checkpoint."""
    return {
        callback.state_key: {name: copy.copy(getattr(callback, name)) for name in _OF_MODEL_CHECKPOINT}
        for callback in callbacks_of(trainer, ModelCheckpoint)
    }


def restore_last_saved(trainer: pl.Trainer, saved: dict[str, dict[str, Any]]) -> None:
    """Restore what `last_saved` returned, of those that still write to the same folder."""
    for callback in callbacks_of(trainer, ModelCheckpoint):
        own = saved.get(callback.state_key, {})
        if own.get("dirpath") != callback.dirpath:  # as Lightning does with the scores
            continue
        for name, value in own.items():
            setattr(callback, name, value)
        path = str(trainer.ckpt_path)
        if path in (callback.best_model_path, callback.last_model_path, *callback.best_k_models):  # it wrote the file
            callback._last_global_step_saved, callback._last_checkpoint_saved = trainer.global_step, path  # noqa: SLF001
            callback._defer_save_until_validation = False  # noqa: SLF001 - it is reset after the file is written
