"""Schedules over the whole fit: one cycle, flat then cosine, cosine with restarts, and inverse decay without a horizon."""

from __future__ import annotations

from typing import final

from typing_extensions import override

from tabvision import lightning as pl
from tabvision.callbacks.discriminative_lr import DiscriminativeLR
from tabvision.callbacks.layer_groups import Groups
from tabvision.callbacks.schedule import RunLength, Schedule
from tabvision.checks import check_choice, check_fraction, check_least, check_positive, check_whole, finite_numbers
from tabvision.errors import BadValueError, speaking
from tabvision.lightning import Callback
from tabvision.schedules import (
    Convention,
    Rates,
    Setting,
    check_rates,
    cosine_restarts,
    flat_cosine,
    inverse_decay,
    one_cycle,
    rates_like,
    spread_rates,
)
from tabvision.schema import Schema


class _PeakSchedule(Schedule):
    """A schedule that can also set the peak rates.

    Args:
        max_lr: The peak: one rate, `(first, last)`, `(None, last)`, "first:last" or a list with one rate per layer group.
            None takes the optimizer's own rates.
        groups: For a module without `layer_groups()`, if groups have different rates.
    """

    @speaking()
    def __init__(self, max_lr: Rates | None, groups: Groups | None) -> None:
        super().__init__(groups)
        if max_lr is not None:
            check_rates(max_lr, groups_known=False)
            self.owns |= {"the base rates"}
        self.max_lr = max_lr
        self.needs_groups = isinstance(max_lr, tuple | list) or (isinstance(max_lr, str) and ":" in max_lr)
        self._last: float | None = None

    def take_rate(self, rate: float) -> None:
        """Use a sweep's rate as the peak of the last layer group, and scale the others in proportion."""
        self._last = rate

    def for_sweep(self, epoch: int) -> list[Callback]:
        """Return the callbacks that preserve the ratios of the rates in a learning-rate sweep."""
        del epoch
        if self.max_lr is None or not self.needs_groups:
            return []
        return [DiscriminativeLR(self.max_lr, groups=self.groups)]

    @override
    @speaking()
    def peaks(self, num_groups: int) -> list[float] | None:
        if self.max_lr is None:
            return None
        return rates_like(spread_rates(self.max_lr, num_groups, sizes=self.sizes), self._last)


@final
class OneCycle(_PeakSchedule):
    """One cycle over the whole fit: the rate rises, then falls; momentum does the reverse.

    It works with the optimizer of any LightningModule. The rate is a function of the step, so there is no state that could
    be restored wrongly. `LearningRateMonitor` shows every param group under its name.

    Args:
        max_lr: The peak: one rate, `(first, last)`, `(None, last)`, "first:last" or a list with one rate per layer group.
            None takes the optimizer's own rates.
        pct_start: Fraction of the fit in which the rate rises, in (0, 1).
        div: The first rate is the peak divided by this.
        div_final: The last rate is the peak (fastai) or the first rate (torch) divided by this.
        momentum: Momentum at the start, at the peak and at the end, each in [0, 1); None leaves it unchanged.
        convention: "fastai" for the values of its `fit_one_cycle`, "torch" for those of its `OneCycleLR`.
        groups: For a module without `layer_groups()`, if groups have different rates: a function from the module to its
            parts, input side first.

    Raises:
        BadValueError: A setting is out of range.
        UnknownNameError: The convention does not exist.

    Example:
        >>> round(OneCycle(max_lr=0.1).at(step=25, total=100).factor, 6)
        1.0
    """

    @speaking()
    def __init__(
        self,
        max_lr: Rates | None = None,
        pct_start: float = 0.25,
        div: float = 25.0,
        div_final: float = 1e5,
        momentum: tuple[float, float, float] | None = (0.95, 0.85, 0.95),
        *,
        convention: Convention = "fastai",
        groups: Groups | None = None,
    ) -> None:
        super().__init__(max_lr, groups)
        check_fraction("pct_start", pct_start, "()")
        check_least("div", div, 1)
        check_least("div_final", div_final, 1)
        check_choice("convention", convention, ["fastai", "torch"])
        self.pct_start = pct_start
        self.div = div
        self.div_final = div_final
        if momentum is not None:
            found = finite_numbers(momentum, 3)
            if found is None or not all(0 <= each < 1 for each in found):
                problem = f"momentum must be three numbers in [0, 1), got {momentum!r}"
                raise BadValueError(problem, "Pass (start, peak, end) such as (0.95, 0.85, 0.95), or None")
            momentum = (found[0], found[1], found[2])
        self.momentum = momentum
        self.convention: Convention = convention

    def at(self, step: int, total: int) -> Setting:
        """Return the factor on the peak rate, and the momentum, at a step of a fit of `total` steps."""
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
    def setting(self, step: int, length: RunLength, number: int, num_groups: int) -> Setting:
        return self.at(step, length.total)


@final
class FlatCosine(_PeakSchedule):
    """Keep the peak rate for a fraction of the fit, then anneal along a cosine: fastai's `fit_flat_cos`.

    Momentum is unchanged.

    Args:
        max_lr: The peak, as for `OneCycle`; None takes the optimizer's own rates.
        pct_start: Fraction of the fit at the peak rate, in (0, 1).
        div_final: The last rate is the peak divided by this.
        groups: For a module without `layer_groups()`, if groups have different rates.

    Example:
        >>> FlatCosine().setting(10, RunLength(100), number=0, num_groups=1).factor
        1.0
    """

    @speaking()
    def __init__(
        self, max_lr: Rates | None = None, pct_start: float = 0.75, div_final: float = 1e5, groups: Groups | None = None
    ) -> None:
        super().__init__(max_lr, groups)
        check_fraction("pct_start", pct_start, "()")
        check_least("div_final", div_final, 1)
        self.pct_start = pct_start
        self.div_final = div_final

    @override
    def setting(self, step: int, length: RunLength, number: int, num_groups: int) -> Setting:
        factor = flat_cosine(step, length.total, pct_start=self.pct_start, div_final=self.div_final)
        return Setting(factor, None)


@final
class CosineRestarts(_PeakSchedule):
    """Anneal the rate to zero along a cosine in cycles of growing length: fastai's `fit_sgdr`.

    Momentum is unchanged.

    Args:
        max_lr: The peak, as for `OneCycle`; None takes the optimizer's own rates.
        num_cycles: Number of cycles in the fit, at least 1.
        cycle_mult: The ratio of each cycle's length to the previous one's, at least 1.
        groups: For a module without `layer_groups()`, if groups have different rates.

    Example:
        >>> restarts = CosineRestarts(num_cycles=2, cycle_mult=2)
        >>> [restarts.setting(step, RunLength(30), number=0, num_groups=1).factor for step in (0, 10)]
        [1.0, 1.0]
    """

    @speaking()
    def __init__(
        self, max_lr: Rates | None = None, num_cycles: int = 3, cycle_mult: int = 2, groups: Groups | None = None
    ) -> None:
        super().__init__(max_lr, groups)
        for name, value in (("num_cycles", num_cycles), ("cycle_mult", cycle_mult)):
            check_whole(name, value, remedy="Pass a number such as 2")
        self.num_cycles = num_cycles
        self.cycle_mult = cycle_mult

    @override
    def setting(self, step: int, length: RunLength, number: int, num_groups: int) -> Setting:
        factor = cosine_restarts(step, length.total, num_cycles=self.num_cycles, cycle_mult=self.cycle_mult)
        return Setting(factor, None)


class InverseDecay(Schedule):
    """Decay the rate as half / (half + step), to a power, after a short warmup; the length of the fit need not be known.

    The rate at a step is the same whether the fit stops after 3 epochs or 60, so it can stop when it no longer improves.

    Args:
        half: Steps after which the rate is half its peak, for a power of 1; None for 400, or 200 below 20,000 rows.
        power: How fast the rate falls; None for 1, or 0.5 below 20,000 rows.
        warmup: Number of steps in which the rate rises.

    Example:
        >>> InverseDecay(half=100, power=1.0).setting(100, RunLength(1), number=0, num_groups=1).factor
        0.5
    """

    has_horizon = False

    @speaking()
    def __init__(self, half: float | None = None, power: float | None = None, warmup: int = 10) -> None:
        super().__init__()
        for name, value in (("half", half), ("power", power)):
            if value is not None:
                check_positive(name, value)
        check_whole("warmup", warmup, 0)
        self.half, self.power, self.warmup = half, power, warmup
        self._is_small = False

    @override
    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_fit_start(trainer, pl_module)
        schema = getattr(pl_module, "schema", None)
        self._is_small = isinstance(schema, Schema) and schema.target.of_small_table

    @override
    def setting(self, step: int, length: RunLength, number: int, num_groups: int) -> Setting:
        half = self.half or (200.0 if self._is_small else 400.0)
        power = self.power or (0.5 if self._is_small else 1.0)
        return Setting(inverse_decay(step, half=half, power=power, warmup=self.warmup), None)

    def for_sweep(self, epoch: int) -> list[Callback]:  # noqa: ARG002 - the same in every epoch
        """Return the callbacks that a learning-rate sweep needs: none, since all groups share a rate."""
        return []
