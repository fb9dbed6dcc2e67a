"""Base class of the schedules, which set rates and momentum from the step alone, for any LightningModule's optimizer."""

from __future__ import annotations

import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch.optim import Optimizer
from typing_extensions import override

from tabvision import lightning as pl
from tabvision.callbacks.layer_groups import Groups, checked_groups, divide_optimizers, layer_groups_of
from tabvision.callbacks.ownership import Owner, Quantity, check_no_scheduler
from tabvision.errors import BadValueError, count, speaking
from tabvision.lightning import EarlyStopping, GradientAccumulationScheduler, Timer, callbacks_of
from tabvision.nets.layer_groups import group_sizes
from tabvision.schedules import Setting, epoch_ends

logger = logging.getLogger("tabvision")


@dataclass(frozen=True)
class RunLength:
    """The length of a fit: the steps completed, plus those expected from the loader's length.

    Args:
        total: Total number of optimizer steps.
        ends: Optimizer steps completed by the end of each epoch, 0 for epochs before this fit; empty if the length of the
            fit is given in steps only.
    """

    total: int
    ends: tuple[int, ...] = ()


class Schedule(Owner, ABC):
    """Set rate and momentum over time, for every param group.

    After each step, the rate for the next one is set from the number of optimizer steps done and the length of the fit in
    steps. The length is measured again whenever it can change: at the start of an epoch, which may have a new loader, and at
    every step with manual optimization, where only past steps show how many batches a step takes, or with
    `Trainer(max_time=...)`, where they show how many steps there is time for. Checkpoints hold the measured length, and the
    step at which the schedule began (a second fit has its own). Hooks call super, since `FineTune` is an `Unfreeze` as well.

    Args:
        groups: For a module without `layer_groups()`, if groups have different rates: a function from the module to its
            parts, input side first.
    """

    owns: frozenset[Quantity] = frozenset({"the rate over time"})
    has_horizon: ClassVar[bool] = True  # whether the rate depends on the length of the fit
    needs_groups: bool = False  # whether layer groups have different rates, so that param groups must be split by them

    def __init__(self, groups: Groups | None = None) -> None:
        self.groups = checked_groups(groups)
        self.sizes: dict[str, int] = {}
        self._first_step = self._first_batch = 0
        self._batches_per_step = 1.0  # measured with manual optimization
        self._length = RunLength(total=1)
        self._saved: Mapping[str, Any] = {}
        self._last_set = -1

    def peaks(self, num_groups: int) -> list[float] | None:
        """Return the rate of each group, which the factors scale, or None for the optimizer's own rates."""
        del num_groups
        return None

    @abstractmethod
    def setting(self, step: int, length: RunLength, number: int, num_groups: int) -> Setting:
        """Return the factor on the rate of layer group `number`, and the momentum, at a step of the fit."""

    @override
    @speaking()
    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        check_no_scheduler(trainer)
        if not any(optimizer.param_groups for optimizer in trainer.optimizers):  # Lightning's placeholder has none
            problem = "the module's configure_optimizers must return one optimizer, got none"
            raise BadValueError(problem, "Return one, or leave this callback out")
        if (number := len(trainer.optimizers)) > 1:
            returned = f"{number}, whose steps Lightning counts together"
            problem = f"the module's configure_optimizers must return one optimizer, got {returned}"
            raise BadValueError(problem, "Return one with several param groups, or leave this callback out")
        if self.needs_groups:
            found = layer_groups_of(pl_module, self.groups)
            divide_optimizers(trainer.optimizers, found, pl_module)
            self.sizes = group_sizes(found)
            self.peaks(len(found))  # raise for wrong rates before training starts
        for group in trainer.optimizers[0].param_groups:  # saved with the optimizer, for a resumed fit
            group.setdefault("initial_lr", group["lr"])
        super().on_fit_start(trainer, pl_module)

    @override
    @speaking()
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        epoch, saved = trainer.current_epoch, self._saved
        if trainer.ckpt_path is None:
            saved = {"first_step": trainer.global_step, "first_batch": _num_batches(trainer), "ends": [0] * epoch}
        self._first_step, self._first_batch = saved.get("first_step", 0), saved.get("first_batch", 0)
        self._batches_per_step = saved.get("batches_per_step", 1.0)
        ends = saved.get("ends")
        if ends is None:  # the checkpoint has no schedule, or comes from an earlier version
            ends = [max(0, end - self._first_step) for end in self._measured(trainer, []).ends]
        self._length = self._measured(trainer, ends[:epoch])
        self._log_changed_length(trainer, saved.get("total", self._length.total), "when saved")
        if self.has_horizon:
            self._warn_of_early_stopping(trainer)
        groups = _numbered(trainer.optimizers[0])
        for _, group in groups:  # a checkpoint saved without a schedule removes it
            group.setdefault("initial_lr", group["lr"])
        peaks = self.peaks(1 + max(number for number, _ in groups))
        if peaks is not None:
            for number, group in groups:
                group["initial_lr"] = float(peaks[number])  # a checkpoint with numpy's floats could not be read
        self._last_set = -1
        self._apply(trainer)
        super().on_train_start(trainer, pl_module)

    @override
    @speaking()
    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        epoch, before = trainer.current_epoch, self._length.total
        if epoch and self._length.ends:
            done = trainer.global_step - self._first_step
            self._length = self._measured(trainer, [*self._length.ends[: epoch - 1], done])
        if self._length.total != before:
            self._log_changed_length(trainer, before, "as measured before this epoch")
            self._last_set = -1
            self._apply(trainer)
        super().on_train_epoch_start(trainer, pl_module)

    @override
    @speaking()
    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        step = trainer.global_step - self._first_step
        if step == self._last_set:  # gradients are still accumulating
            return
        if not pl_module.automatic_optimization and step:
            self._batches_per_step = (_num_batches(trainer) - self._first_batch) / step
        if _is_estimated(trainer):
            self._length = self._measured(trainer, self._length.ends[: trainer.current_epoch])
        self._apply(trainer)  # for the next step, so that a monitor logs the rate that the step will use

    @override
    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_train_end(trainer, pl_module)
        if _time_limits(trainer):
            self._length = self._measured(trainer, self._length.ends[: trainer.current_epoch])
        step, total = trainer.global_step - self._first_step, self._length.total
        if step >= total:
            return
        factors = [
            self.setting(at, self._length, 0, 1).factor for at in (step, *(total * i // 200 for i in range(200)))
        ]
        speaker, fraction = type(self).__name__, factors[0] / max(factors)
        logger.warning(
            f"{speaker}: the fit ended after {step:,} of {total:,} steps, with the rate at {fraction:.0%} of the peak."
        )

    @override
    def state_dict(self) -> dict[str, Any]:
        return {
            "total": self._length.total,
            "ends": list(self._length.ends),
            "first_step": self._first_step,
            "first_batch": self._first_batch,
            "batches_per_step": self._batches_per_step,
        }

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._saved = state_dict

    def _measured(self, trainer: pl.Trainer, past: Sequence[int]) -> RunLength:
        """Return the length of the fit, given the steps completed at the end of each past epoch; 1 without a horizon.

        Lightning's `estimated_stepping_batches` is wrong in a second fit, for a loader that changes, with manual
        optimization and with a GradientAccumulationScheduler.

        Raises:
            BadValueError: The length is unknown: the loader has no length, or neither max_epochs nor max_steps is set.
        """
        if not self.has_horizon:
            return RunLength(1)
        max_steps = trainer.max_steps if trainer.max_steps is not None and trainer.max_steps > 0 else math.inf
        limit = min(max_steps - self._first_step, self._steps_in_time(trainer))
        batches = trainer.num_training_batches
        if math.inf in (batches, max_epochs(trainer)):
            if limit < math.inf:
                return RunLength(max(1, int(limit)))
            unknown = "the loader has no length" if batches == math.inf else "max_epochs is not set"
            remedy = (
                "Pass Trainer(max_steps=...) or max_time=, or Trainer(max_epochs=...) with a loader that has a length"
            )
            raise BadValueError(f"the length of the fit must be known, but {unknown}", remedy)
        is_automatic = trainer.lightning_module.automatic_optimization
        batches_per_step = [
            _accumulation(trainer, epoch) if is_automatic else self._batches_per_step
            for epoch in range(len(past), int(max_epochs(trainer)))
        ]
        done = past[-1] if past else 0
        ends = [*past, *(done + end for end in epoch_ends(int(batches), batches_per_step))]
        ends = [max(0, int(min(end, limit))) for end in ends]
        return RunLength(max(1, ends[-1] if ends else 1), tuple(ends))

    def _steps_in_time(self, trainer: pl.Trainer) -> float:
        """Estimate after how many steps a time limit ends the fit, the same on all ranks; infinite without a limit."""
        times = [(timer.time_elapsed(), timer.time_remaining() or 0.0) for timer in _time_limits(trainer)]
        if not times:
            return math.inf
        used = max(min(1.0, elapsed / max(elapsed + left, 1e-9)) for elapsed, left in times)
        return round(max(1, trainer.global_step - self._first_step) / max(trainer.strategy.broadcast(used), 1e-9))

    def _warn_of_early_stopping(self, trainer: pl.Trainer) -> None:
        """Warn if `EarlyStopping` can end the fit before the schedule does."""
        for callback in callbacks_of(trainer, EarlyStopping):
            if callback.patience + 1 < (checks := _num_checks(trainer, callback)):
                patience = f"EarlyStopping(patience={callback.patience})"
                problem = (
                    f"{patience} can end the fit after {callback.patience + 1} of {checks} checks, near the peak rate"
                )
                remedy = f"Set patience={checks - 1}, or leave EarlyStopping out and use the best checkpoint"
                logger.warning(f"{type(self).__name__}: {problem}. {remedy}.")

    def _log_changed_length(self, trainer: pl.Trainer, before: int, when: str) -> None:
        if before != (total := self._length.total) and not _is_estimated(trainer):
            lengths = f"{count(before, 'step')} {when}, {total:,} now"
            logger.info(f"{type(self).__name__}: the fit was {lengths}; the schedule is stretched over the new length.")

    def _apply(self, trainer: pl.Trainer) -> None:
        step = self._last_set = trainer.global_step - self._first_step
        _check_none_added(trainer.optimizers[0])
        groups = _numbered(trainer.optimizers[0])
        num_groups = 1 + max(number for number, _ in groups)
        settings = [self.setting(step, self._length, number, num_groups) for number in range(num_groups)]
        for number, group in groups:
            factor, momentum = settings[number]
            group["lr"] = float(group["initial_lr"] * factor)
            if momentum is not None and "betas" in group:
                group["betas"] = (float(momentum), *group["betas"][1:])
            elif momentum is not None and group.get("momentum"):  # SGD without momentum stays without
                group["momentum"] = float(momentum)


def _check_none_added(optimizer: Optimizer) -> None:
    """Raise if a param group was added after the fit started, and so has no base rate."""
    for number, group in enumerate(optimizer.param_groups):
        if "initial_lr" not in group:
            problem = f"param group {number} was added during the fit, and has no base rate to scale"
            remedy = "Give the optimizer all parameters from the start and use Unfreeze(), or set its 'initial_lr'"
            raise BadValueError(problem, remedy)


def _time_limits(trainer: pl.Trainer) -> list[Timer]:
    """Return the timers that limit a fit; `Trainer(max_time=...)` creates one."""
    return [timer for timer in callbacks_of(trainer, Timer) if timer.time_remaining() is not None]


def _is_estimated(trainer: pl.Trainer) -> bool:
    """Return whether the length of the fit can only be estimated, from the steps so far."""
    return not trainer.lightning_module.automatic_optimization or bool(_time_limits(trainer))


def max_epochs(trainer: pl.Trainer) -> float:
    """Return the Trainer's `max_epochs`; infinite if it is not set."""
    return math.inf if trainer.max_epochs is None or trainer.max_epochs < 0 else trainer.max_epochs


def num_epochs(trainer: pl.Trainer) -> float:
    """Return how many epochs a fit starts: fewer than `max_epochs` if `max_steps` ends it first; infinite if unknown."""
    epochs = max_epochs(trainer)
    if trainer.max_steps <= 0 or trainer.num_training_batches in (0, math.inf):
        return epochs
    per_epoch = math.ceil(trainer.num_training_batches / trainer.accumulate_grad_batches)
    return min(epochs, math.ceil(trainer.max_steps / per_epoch))


def _num_batches(trainer: pl.Trainer) -> int:
    """Return the number of training batches that the Trainer has started, over all epochs and fits."""
    return trainer.fit_loop.total_batch_idx + 1


def _num_checks(trainer: pl.Trainer, stopping: EarlyStopping) -> int:
    """Return how often `EarlyStopping` checks its metric in the rest of the fit; 0 if that is not known."""
    batches, every, interval = trainer.num_training_batches, trainer.check_val_every_n_epoch, trainer.val_check_batch
    if math.inf in (batches, num_epochs(trainer)):
        return 0
    epochs = int(num_epochs(trainer)) - trainer.current_epoch
    if stopping._check_on_train_epoch_end:  # noqa: SLF001 - a test guards it
        return epochs
    if interval is None:  # validation runs at wall-clock intervals
        return 0
    per_epoch = int(batches // interval) if interval < math.inf else 1
    return int(epochs * batches // interval) if every is None else epochs // every * per_epoch


def _accumulation(trainer: pl.Trainer, epoch: int) -> int:
    for callback in callbacks_of(trainer, GradientAccumulationScheduler):
        return callback.get_accumulate_grad_batches(epoch)
    return trainer.accumulate_grad_batches


def _numbered(optimizer: Optimizer) -> list[tuple[int, dict[str, Any]]]:
    """Return each param group with the number of its layer group, or its own number if it has none."""
    return [(group.get("layer_group", number), group) for number, group in enumerate(optimizer.param_groups)]
