"""Set a base learning rate for each layer group."""

from __future__ import annotations

from typing import final

from typing_extensions import override

from tabvision import lightning as pl
from tabvision.callbacks.layer_groups import Groups, checked_groups, divide_optimizers, layer_groups_of
from tabvision.callbacks.ownership import Owner, Quantity, check_no_scheduler
from tabvision.checks import check_least
from tabvision.errors import speaking
from tabvision.lightning import Callback
from tabvision.nets.layer_groups import group_sizes
from tabvision.schedules import Rates, check_rates, rates_like, spread_rates


@final
class DiscriminativeLR(Owner):
    """Give each layer group its own base rate, which a schedule then scales.

    The optimizer's param groups are divided by layer group before a checkpoint is restored, so that its state matches.

    Args:
        lr: One rate, `(first, last)` for equal multiples from the input side to the head, `(None, last)` for the last group
            and `last / body_ratio` for all others, "first:last", or a list with one rate per group.
        body_ratio: The ratio of the last group's rate to that of the others when only the last is given: 10 in fastai 2, 3
            in its 2019 course.
        groups: For a module without `layer_groups()`: a function from the module to its parts, input side first.

    Raises:
        BadTypeError: A rate or `body_ratio` is not a number.
        BadValueError: A rate is not above zero, the numbers of rates and groups differ, or `body_ratio` is below 1.

    Example:
        >>> DiscriminativeLR((1e-5, 1e-3)).lr
        (1e-05, 0.001)
    """

    owns: frozenset[Quantity] = frozenset({"the base rates"})

    @speaking()
    def __init__(self, lr: Rates, *, body_ratio: float = 10.0, groups: Groups | None = None) -> None:
        check_rates(lr, groups_known=False)
        check_least("body_ratio", body_ratio, 1)
        self.lr = lr
        self.body_ratio = body_ratio
        self.groups = checked_groups(groups)
        self._last: float | None = None

    @override
    @speaking()
    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        check_no_scheduler(trainer)
        self._set_rates(trainer, pl_module)

    @override
    @speaking()
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # set again, since a resumed optimizer restores the rates it was saved with, which the user may have changed
        self._set_rates(trainer, pl_module)

    def take_rate(self, rate: float) -> None:
        """Use a sweep's rate for the last layer group, and scale the others in proportion."""
        self._last = rate

    def for_sweep(self, epoch: int) -> list[Callback]:
        """Return the callbacks that preserve the ratios of the rates in a learning-rate sweep."""
        del epoch
        return [DiscriminativeLR(self.lr, body_ratio=self.body_ratio, groups=self.groups)]

    def _set_rates(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        found = layer_groups_of(module, self.groups)
        divide_optimizers(trainer.optimizers, found, module)
        rates = spread_rates(self.lr, len(found), body_ratio=self.body_ratio, sizes=group_sizes(found))
        rates = rates_like(rates, self._last)
        for optimizer in trainer.optimizers:
            for group in optimizer.param_groups:
                rate = rates[group["layer_group"]]
                group["lr"] *= rate / group["initial_lr"]  # keeps the factor that a schedule may already have applied
                group["initial_lr"] = rate
