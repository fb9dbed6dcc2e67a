"""The base class of callbacks that own a quantity; a fit will not start if two of them would set the same one."""

from __future__ import annotations

import itertools
from typing import Literal

from typing_extensions import override

from tabvision import lightning as pl
from tabvision.errors import BadValueError, speaking
from tabvision.lightning import (
    BackboneFinetuning,
    BaseFinetuning,
    Callback,
    LearningRateFinder,
    StochasticWeightAveraging,
    WeightAveraging,
    callbacks_of,
    check_trainer,
)

# The quantities that callbacks declare in `owns`; only one callback of a fit may set each
Quantity = Literal[
    "which layers train", "the base rates", "the rate over time", "how rows are mixed", "the image size",
    "which weights are kept",
]  # fmt: skip

_RATES: frozenset[Quantity] = frozenset({"the base rates", "the rate over time"})
_UNFREEZE = "Leave it out and unfreeze layers with Unfreeze()"
_AVERAGES = "averages the weights too, and keeps its own average"
# Lightning's callbacks that set quantities owned by ours: the quantities, what they do, and what to use instead
_RIVALS: tuple[tuple[type[Callback], frozenset[Quantity], str, str], ...] = (
    (
        BackboneFinetuning,
        _RATES | {"which layers train"},
        "adds the backbone to the optimizer during the fit, at a rate of its own",
        _UNFREEZE,
    ),
    (BaseFinetuning, frozenset({"which layers train"}), "freezes and unfreezes layers too", _UNFREEZE),
    (
        StochasticWeightAveraging,
        _RATES,
        "replaces the rates set here with its own, and adds a scheduler",
        "Average with Lightning's EMAWeightAveraging, which leaves rates alone",
    ),
    (
        LearningRateFinder,
        _RATES,
        "gives every param group one rate, which is ignored here",
        "Find it with tabvision.tuning.FindLR()",
    ),
    (StochasticWeightAveraging, frozenset({"which weights are kept"}), _AVERAGES, "Leave it out"),
    (WeightAveraging, frozenset({"which weights are kept"}), _AVERAGES, "Leave it out"),
)


class Owner(Callback):
    """A callback that alone sets some quantities of a fit, and undoes its changes when the fit ends or fails."""

    owns: frozenset[Quantity]

    @override
    @speaking()
    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if stage == "fit":
            check_owners(trainer)

    @override
    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._release(trainer, pl_module)

    @override
    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._release(trainer, pl_module)

    def _release(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Undo the changes made for the fit, for whatever runs after it."""


def owner_of(trainer: pl.Trainer, quantity: Quantity) -> Callback | None:
    """Return the callback of a Trainer that sets a quantity, if there is one."""
    return next((each for each in callbacks_of(trainer, Callback) if quantity in getattr(each, "owns", ())), None)


def check_owners(trainer: pl.Trainer) -> None:
    """Raise if two callbacks set the same quantity, or if one of Lightning's sets a quantity that another owns.

    Raises:
        BadValueError: Two callbacks set the same quantity.
        BadTypeError: The Trainer comes from the Lightning package that the library does not build on.
    """
    check_trainer(trainer)
    owners: dict[Quantity, str] = {}
    callbacks = callbacks_of(trainer, Callback)
    for callback in callbacks:
        name = type(callback).__name__
        for quantity in sorted(getattr(callback, "owns", ())):
            if quantity in owners:
                problem = f"only one callback may set {quantity}, got {owners[quantity]} and {name}"
                raise BadValueError(problem, "Leave one of them out")
            owners[quantity] = name
    for callback, (kind, quantities, does, remedy) in itertools.product(callbacks, _RIVALS):
        owner = next((owners[each] for each in owners if each in quantities), None)
        if owner and isinstance(callback, kind):
            raise BadValueError(f"{type(callback).__name__} {does}", f"{remedy}, or leave {owner} out")


def check_no_scheduler(trainer: pl.Trainer) -> None:
    """Raise if the module's `configure_optimizers` returned a scheduler."""
    if trainer.lr_scheduler_configs:
        problem = "the module's configure_optimizers returns a scheduler, which would set the rate as well"
        remedy = "Return only the optimizer, or keep the scheduler and replace this callback with Unfreeze()"
        raise BadValueError(problem, remedy)
