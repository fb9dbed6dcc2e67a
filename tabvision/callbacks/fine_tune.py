"""fastai's `fine_tune` on any Trainer: one cycle for the head alone, then one for every layer."""

from __future__ import annotations

from typing import final

from typing_extensions import override

from tabvision import lightning as pl
from tabvision.callbacks.discriminative_lr import DiscriminativeLR
from tabvision.callbacks.layer_groups import Groups, layer_groups_of
from tabvision.callbacks.ownership import Quantity
from tabvision.callbacks.schedule import RunLength, Schedule
from tabvision.callbacks.unfreeze import BatchNormPolicy, Unfreeze
from tabvision.checks import check_fraction, check_least, check_positive, check_whole
from tabvision.errors import BadValueError, count, speaking
from tabvision.lightning import Callback
from tabvision.nets.layer_groups import num_new
from tabvision.schedules import Setting, even_multiples, one_cycle

_FROZEN_DIV = 25.0
_BODY_RATIO = 10.0  # fastai's `slice(base_lr)`, for body groups that train in the frozen cycle
_MOMENTUM = (0.95, 0.85, 0.95)


@final
class FineTune(Schedule, Unfreeze):
    """Two one-cycle schedules with an unfreeze between them, like fastai's `fine_tune`: an `Unfreeze` and a schedule.

    For `freeze_epochs` the last layer group trains alone at `base_lr`; then every group trains, the head at `base_lr / 2`
    and the first group at a rate `lr_mult` times smaller. Other new groups, such as the `table` of a `FusedModule`, train
    like the head. `Trainer(max_epochs=...)` is the total length, including the frozen epochs.

    Args:
        freeze_epochs: Epochs in which only new groups train, at least 0.
        base_lr: Peak rate of the head in the frozen epochs.
        lr_mult: The ratio of the head's rate to the first group's after unfreezing.
        pct_start: Fraction of the second cycle in which the rate rises, in (0, 1).
        div: The first rate of the second cycle is its peak divided by this.
        div_final: The last rate of each cycle is its peak divided by this.
        frozen_pct_start: Fraction of the frozen cycle in which the rate rises, in (0, 1); in fastai it only rises. With
            several frozen epochs, 0.3 gives better results.
        batch_norm: What BatchNorm does outside the last group: "keep", "eval" or, as in fastai, "train"; see `Unfreeze`.
        groups: For a module without `layer_groups()`: a function from the module to its parts, input side first.

    Raises:
        BadValueError: A setting is out of range, or the fit is no longer than the frozen epochs.

    Source: fastai 2.8 `Learner.fine_tune`.

    Example:
        >>> FineTune(freeze_epochs=1).num_trainable(epoch=0, num_groups=3)
        1
    """

    owns: frozenset[Quantity] = Schedule.owns | Unfreeze.owns | {"the base rates"}
    needs_groups = True

    @speaking()
    def __init__(
        self,
        freeze_epochs: int = 1,
        base_lr: float = 2e-3,
        lr_mult: float = 100.0,
        pct_start: float = 0.3,
        div: float = 5.0,
        *,
        div_final: float = 1e5,
        frozen_pct_start: float = 0.99,
        batch_norm: BatchNormPolicy = "keep",
        groups: Groups | None = None,
    ) -> None:
        check_whole("freeze_epochs", freeze_epochs, 0)
        check_positive("base_lr", base_lr, remedy="Pass a number such as 2e-3")
        check_fraction("pct_start", pct_start, "()")
        check_fraction("frozen_pct_start", frozen_pct_start, "()")
        for name, value in (("lr_mult", lr_mult), ("div", div), ("div_final", div_final)):
            check_least(name, value, 1)
        Schedule.__init__(self, groups)
        Unfreeze.__init__(self, freeze_epochs, batch_norm=batch_norm, groups=groups)
        self.freeze_epochs = freeze_epochs
        self.base_lr = base_lr
        self._last: float | None = None
        self._num_new = 1  # the number of groups that train like the head
        self.lr_mult = lr_mult
        self.pct_start = pct_start
        self.div = div
        self.frozen_pct_start = frozen_pct_start
        self.div_final = div_final

    @property
    def unfreeze(self) -> Unfreeze:
        """The callback itself, since it also decides which layers train."""
        return self

    @property
    def _head_rate(self) -> float:
        return self._last or self.base_lr

    def take_rate(self, rate: float) -> None:
        """Use a rate found by a sweep as `base_lr`."""
        self._last = rate

    @override
    def peaks(self, num_groups: int) -> list[float]:
        """Return the peak rate of each group after unfreezing."""
        high = self._head_rate / 2
        rates = even_multiples(high / self.lr_mult, high, num_groups - self._num_new + 1)
        return rates + [high] * (num_groups - len(rates))

    @override
    @speaking()
    def setting(self, step: int, length: RunLength, number: int, num_groups: int) -> Setting:
        frozen = self._frozen_steps(length)
        if step < frozen:
            factor, momentum = one_cycle(
                step,
                frozen,
                pct_start=self.frozen_pct_start,
                div=_FROZEN_DIV,
                div_final=self.div_final,
                momentum=_MOMENTUM,
            )
            is_new = number >= num_groups - self._num_new
            peak = self._head_rate / (1 if is_new else _BODY_RATIO)
            return Setting(factor * peak / self.peaks(num_groups)[number], momentum)
        return one_cycle(
            step - frozen,
            length.total - frozen,
            pct_start=self.pct_start,
            div=self.div,
            div_final=self.div_final,
            momentum=_MOMENTUM,
        )

    def _frozen_steps(self, length: RunLength) -> int:
        return length.ends[: self.freeze_epochs][-1] if self.freeze_epochs else 0  # fewer epochs in a fast_dev_run

    @override
    def for_sweep(self, epoch: int) -> list[Callback]:
        """Return the callbacks that preserve an epoch's frozen layers and rate ratios in a learning-rate sweep."""
        frozen = epoch < self.freeze_epochs
        rates = (None, self.base_lr) if frozen else (self.base_lr / self.lr_mult, self.base_lr)
        return [*super().for_sweep(epoch), DiscriminativeLR(rates, groups=self.groups)]

    @override
    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        if stage == "fit":
            self._num_new = num_new(layer_groups_of(pl_module, self.groups))

    @override
    @speaking()
    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.max_epochs is None or trainer.max_epochs < 0:
            problem = "the length of the fit must be given in epochs, but max_epochs is not set"
            raise BadValueError(problem, "Pass Trainer(max_epochs=...), including the frozen epochs")
        if trainer.max_epochs <= self.freeze_epochs and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            frozen = count(self.freeze_epochs, "frozen epoch")
            problem = f"max_epochs must be more than the {frozen}, got {trainer.max_epochs}"
            raise BadValueError(problem, "Raise Trainer(max_epochs=...), or freeze for fewer epochs")
        super().on_fit_start(trainer, pl_module)

    @override
    @speaking()
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        is_cut = trainer.max_steps > 0 and not trainer.fast_dev_run  # type: ignore[attr-defined]
        if is_cut and self._frozen_steps(self._length) >= self._length.total:
            problem = f"max_steps={trainer.max_steps} ends the fit before its frozen epochs do"
            raise BadValueError(problem, "Raise Trainer(max_steps=...), or freeze for fewer epochs")
