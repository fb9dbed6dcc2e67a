"""The one-cycle schedule: rate and momentum over the whole fit, as a function of the step alone."""

from __future__ import annotations

import math
from typing import Any, final

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback, GradientAccumulationScheduler
from torch.optim import Optimizer
from typing_extensions import override

from tabvision.errors import BadTypeError, BadValueError, UnknownNameError
from tabvision.schedules import Convention, Rates, Setting, check_rates, num_steps, one_cycle, spread_rates


@final
class OneCycle(Callback):
    """One cycle over the whole fit: the rate rises, then falls; momentum does the reverse.

    Works on the optimizer of any LightningModule. Nothing is saved and nothing can be restored wrongly: the rate is a
    function of the step. `LearningRateMonitor` shows every param group under its name.

    Args:
        max_lr: The peak: one rate, `(first, last)`, `(None, last)`, "first:last" or a list with one a layer group. None
            takes the optimizer's own rates.
        pct_start: Share of the fit in which the rate rises, in (0, 1).
        div: The first rate is the peak divided by this.
        div_final: The last rate is the peak (fastai) or the first rate (torch) divided by this.
        momentum: At the start, at the peak and at the end, each in [0, 1); None leaves it alone.
        convention: "fastai" or "torch": whose `fit_one_cycle` or `OneCycleLR` the values equal.

    Raises:
        BadValueError: A setting is out of range.
        UnknownNameError: No such convention.

    Example:
        >>> round(OneCycle(max_lr=0.1).at(step=25, total=100).factor, 6)
        1.0
    """

    def __init__(
        self,
        max_lr: Rates | None = None,
        pct_start: float = 0.25,
        div: float = 25.0,
        div_final: float = 1e5,
        momentum: tuple[float, float, float] | None = (0.95, 0.85, 0.95),
        convention: Convention = "fastai",
    ) -> None:
        if max_lr is not None:
            check_rates("OneCycle", max_lr)
        _check_numbers(pct_start, div, div_final)
        if convention not in ("fastai", "torch"):
            raise UnknownNameError("OneCycle", "convention", convention, ["fastai", "torch"])
        self.max_lr = max_lr
        self.pct_start = pct_start
        self.div = div
        self.div_final = div_final
        self.momentum = _checked_momentum(momentum)
        self.convention: Convention = convention
        self._first_step = 0
        self._total = 1
        self._last_set = -1

    def at(self, step: int, total: int) -> Setting:
        """Factor on the peak rate, and momentum, at a step of a fit of that many steps."""
        return one_cycle(
            step,
            total,
            pct_start=self.pct_start,
            div=self.div,
            div_final=self.div_final,
            momentum=self.momentum,
            convention=self.convention,
        )

    @override
    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.lr_scheduler_configs:
            problem = "the module's configure_optimizers returns a scheduler of its own, which would fight over the rate"
            raise BadValueError("OneCycle", problem, "Return the optimizer alone, or leave this callback out")
        for optimizer in trainer.optimizers:
            for group in optimizer.param_groups:  # saved with the optimizer, so a resumed fit has it again
                group.setdefault("initial_lr", group["lr"])

    @override
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        resumed = trainer.ckpt_path is not None
        self._first_step = 0 if resumed else trainer.global_step  # a second fit has a cycle of its own
        self._total = total_steps(trainer, "OneCycle") - self._first_step
        if self.max_lr is not None:
            for optimizer in trainer.optimizers:
                _set_peak(optimizer, self.max_lr)
        self._last_set = -1
        self._apply(trainer)

    @override
    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        self._apply(trainer)  # for the next step: whoever looks when it starts finds the rate it will use

    def _apply(self, trainer: pl.Trainer) -> None:
        step = trainer.global_step - self._first_step
        if step == self._last_set:  # gradients still accumulate
            return
        self._last_set = step
        factor, momentum = self.at(step, self._total)
        for optimizer in trainer.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] * factor
                if momentum is not None:
                    _set_momentum(group, momentum)


def total_steps(trainer: pl.Trainer, who: str) -> int:
    """Optimizer steps of the whole fit, from the trainer's own settings.

    Lightning's `estimated_stepping_batches` is wrong in a second fit and under a GradientAccumulationScheduler.

    Raises:
        BadValueError: The length cannot be known: an unsized loader, or neither max_epochs nor max_steps.
    """
    limit = trainer.max_steps if trainer.max_steps is not None and trainer.max_steps > 0 else math.inf
    batches = trainer.num_training_batches
    epochs = trainer.max_epochs
    if epochs is None or epochs < 0 or batches == math.inf:
        if limit < math.inf:
            return int(limit)
        unknown = "the loader has no length" if batches == math.inf else "max_epochs is not set"
        remedy = "Pass Trainer(max_steps=...), or Trainer(max_epochs=...) with a loader that has a length"
        raise BadValueError(who, f"the length of the fit must be known, but {unknown}", remedy)
    steps = num_steps(int(batches), [_accumulation(trainer, epoch) for epoch in range(epochs)])
    return max(1, int(min(steps, limit)))


def _accumulation(trainer: pl.Trainer, epoch: int) -> int:
    for callback in trainer.callbacks:  # type: ignore[attr-defined]  # a plain list, set by Lightning's connector
        if isinstance(callback, GradientAccumulationScheduler):
            return callback.get_accumulate_grad_batches(epoch)
    return trainer.accumulate_grad_batches


def _set_peak(optimizer: Optimizer, rates: Rates) -> None:
    """Sets `initial_lr` of each param group by its layer group; param groups without one count as groups themselves."""
    groups = optimizer.param_groups
    numbers = [group.get("layer_group", place) for place, group in enumerate(groups)]
    spread = spread_rates("OneCycle", rates, max(numbers) + 1)
    for number, group in zip(numbers, groups, strict=True):
        group["initial_lr"] = spread[number]


def _set_momentum(group: dict[str, Any], momentum: float) -> None:
    if "betas" in group:
        group["betas"] = (momentum, *group["betas"][1:])
    elif "momentum" in group and group["momentum"]:  # SGD without momentum stays so
        group["momentum"] = momentum


def _check_numbers(pct_start: object, div: object, div_final: object) -> None:
    for name, value in (("pct_start", pct_start), ("div", div), ("div_final", div_final)):
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise BadTypeError("OneCycle", f"{name} must be a number, got {value!r}", "Leave it out for the default")
        if name == "pct_start" and not 0 < value < 1:
            raise BadValueError("OneCycle", f"pct_start must lie in (0, 1), got {value!r}", "Pass a share such as 0.25")
        if name != "pct_start" and not 1 <= value < math.inf:
            raise BadValueError("OneCycle", f"{name} must be at least 1, got {value!r}", "Leave it out for the default")


def _checked_momentum(momentum: object) -> tuple[float, float, float] | None:
    if momentum is None:
        return None
    numbers = (
        isinstance(momentum, tuple | list)
        and len(momentum) == 3
        and all(isinstance(value, int | float) and 0 <= value < 1 for value in momentum)
    )
    if not numbers:
        problem = f"momentum must be three numbers in [0, 1), got {momentum!r}"
        raise BadValueError("OneCycle", problem, "Pass (start, peak, end) such as (0.95, 0.85, 0.95), or None")
    return tuple(momentum)  # type: ignore[arg-type]  # three numbers, checked just before
