"""Base class of the schedules: set rates and momentum from the step alone, on the optimizer of any LightningModule."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch.optim import Optimizer
from typing_extensions import override

from tabvision import lightning as pl
from tabvision.callbacks.layer_groups import Groups, checked_groups, divide_optimizers, group_sizes, layer_groups_of
from tabvision.callbacks.ownership import Quantity, check_no_scheduler, check_none_added, check_owners
from tabvision.errors import BadValueError, count, speaking
from tabvision.lightning import Callback, GradientAccumulationScheduler, rank_zero_info
from tabvision.schedules import Setting, epoch_ends


@dataclass(frozen=True)
class RunLength:
    """The length of a fit.

    Args:
        total: Total number of optimizer steps.
        ends: Optimizer steps completed at the end of each epoch, 0 for epochs before this fit; empty where the fit is counted
            in steps alone.
    """

    total: int
    ends: tuple[int, ...] = ()


class Schedule(Callback, ABC):
    """Set rate and momentum over time, for every param group.

    As soon as a step is done, the rate for the next one is set, from the step's number alone. Only the step at which the
    schedule began (a second fit has its own) and the length are saved, the latter to report when a resumed fit has another.

    Args:
        groups: For a module without `layer_groups()`, if groups have different rates: a function from the module to its
            parts, input side first.
    """

    has_horizon: ClassVar[bool] = True  # whether the rate depends on the length of the fit

    def __init__(self, groups: Groups | None = None) -> None:
        self.groups = checked_groups(groups)
        self.sizes: dict[str, int] = {}
        self._first_step = 0
        self._length = RunLength(total=1)
        self._saved: Mapping[str, int] = {}
        self._last_set = -1

    @property
    def owns(self) -> frozenset[Quantity]:
        """The quantities that this callback sets."""
        return frozenset({"the rate over time"})

    @property
    def needs_groups(self) -> bool:
        """Whether layer groups have different rates, so that the optimizer must be divided by them."""
        return False

    def peaks(self, num_groups: int) -> list[float] | None:
        """Return the rate of each group that the factors scale, or None for the optimizer's own rates."""
        del num_groups
        return None

    @abstractmethod
    def setting(self, step: int, length: RunLength, number: int, num_groups: int) -> Setting:
        """Return the factor on the rate of layer group `number`, and the momentum, at a step of the fit."""

    @override
    @speaking()
    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if stage == "fit":
            check_owners(trainer)

    @override
    @speaking()
    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        check_no_scheduler(trainer)
        if len(trainer.optimizers) > 1:
            num_optimizers = len(trainer.optimizers)
            problem = f"one optimizer is scheduled, got {num_optimizers}, whose steps Lightning counts together"
            raise BadValueError(problem, "Join them into one with several param groups, or leave this callback out")
        for optimizer in trainer.optimizers:
            if self.needs_groups:
                found = layer_groups_of(pl_module, self.groups)
                divide_optimizers([optimizer], found, pl_module)
                self.sizes = group_sizes(found)
                self.peaks(len(found))  # raises for wrong rates before anything trains
            for group in optimizer.param_groups:  # saved with the optimizer, so that a resumed fit has it
                group.setdefault("initial_lr", group["lr"])

    @override
    @speaking()
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        resumed = trainer.ckpt_path is not None
        self._first_step = self._saved.get("first_step", 0) if resumed else trainer.global_step
        if self.has_horizon:
            self._length = _run_length(trainer, self._first_step)
        if resumed and self._saved.get("total", self._length.total) != self._length.total:
            lengths = f"{count(self._saved['total'], 'step')} when saved, {self._length.total:,} now"
            speaker = type(self).__name__
            rank_zero_info(f"{speaker}: the fit was {lengths}; the schedule is stretched over the new length.")
        for optimizer in trainer.optimizers:
            for group in optimizer.param_groups:  # restoring a checkpoint of a fit without a schedule removes it
                group.setdefault("initial_lr", group["lr"])
            peaks = self.peaks(_num_groups(optimizer))
            if peaks is not None:
                for number, group in _numbered(optimizer):
                    group["initial_lr"] = peaks[number]
        self._last_set = -1
        self._apply(trainer)

    @override
    @speaking()
    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        self._apply(trainer)  # for the next step, so that a monitor sees the rate that the step will use

    @override
    def state_dict(self) -> dict[str, Any]:
        return {"total": self._length.total, "first_step": self._first_step}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._saved = state_dict

    def _apply(self, trainer: pl.Trainer) -> None:
        step = trainer.global_step - self._first_step
        if step == self._last_set:  # gradients are still accumulating
            return
        self._last_set = step
        for optimizer in trainer.optimizers:
            check_none_added(optimizer)
            num_groups = _num_groups(optimizer)
            settings = [self.setting(step, self._length, number, num_groups) for number in range(num_groups)]
            for number, group in _numbered(optimizer):
                factor, momentum = settings[number]
                group["lr"] = group["initial_lr"] * factor
                if momentum is not None and "betas" in group:
                    group["betas"] = (momentum, *group["betas"][1:])
                elif momentum is not None and group.get("momentum"):  # SGD without momentum stays so
                    group["momentum"] = momentum


def _run_length(trainer: pl.Trainer, first_step: int = 0) -> RunLength:
    """Return the length of the fit from `first_step` on, from the trainer's own settings.

    Lightning's `estimated_stepping_batches` is wrong in a second fit and under a GradientAccumulationScheduler.

    Raises:
        BadValueError: The length is unknown: the loader has no length, or neither max_epochs nor max_steps is set.
    """
    limit = trainer.max_steps if trainer.max_steps is not None and trainer.max_steps > 0 else math.inf
    batches, epochs = trainer.num_training_batches, trainer.max_epochs
    if epochs is None or epochs < 0 or batches == math.inf:
        if limit < math.inf:
            return RunLength(max(1, int(limit) - first_step))
        unknown = "the loader has no length" if batches == math.inf else "max_epochs is not set"
        remedy = "Pass Trainer(max_steps=...), or Trainer(max_epochs=...) with a loader that has a length"
        raise BadValueError(f"the length of the fit must be known, but {unknown}", remedy)
    ends = epoch_ends(int(batches), [_accumulation(trainer, epoch) for epoch in range(epochs)])
    ends = [max(0, int(min(end, limit)) - first_step) for end in ends]
    return RunLength(max(1, ends[-1] if ends else 1), tuple(ends))


def _accumulation(trainer: pl.Trainer, epoch: int) -> int:
    for callback in trainer.callbacks:  # type: ignore[attr-defined]  # a plain list, set by Lightning's connector
        if isinstance(callback, GradientAccumulationScheduler):
            return callback.get_accumulate_grad_batches(epoch)
    return trainer.accumulate_grad_batches


def _numbered(optimizer: Optimizer) -> list[tuple[int, dict[str, Any]]]:
    """Return each param group with the number of its layer group; one without counts as a layer group itself."""
    return [(group.get("layer_group", number), group) for number, group in enumerate(optimizer.param_groups)]


def _num_groups(optimizer: Optimizer) -> int:
    return max(number for number, _ in _numbered(optimizer)) + 1
