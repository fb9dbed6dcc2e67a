"""Raise before a fit starts if two callbacks would set the same quantity."""

from __future__ import annotations

from typing import Literal, Protocol, runtime_checkable

from tabvision import lightning as pl
from tabvision.errors import BadValueError
from tabvision.lightning import Callback, LearningRateFinder, StochasticWeightAveraging

Quantity = Literal[
    "which layers train", "the base rates", "the rate over time", "how rows are mixed", "the image size"
]  # fmt: skip

_RATES: tuple[Quantity, ...] = ("the base rates", "the rate over time")
# Lightning's callbacks that override rates set by ours: what they do, and what to use instead
_RIVALS: tuple[tuple[type[Callback], str, str], ...] = (
    (
        StochasticWeightAveraging,
        "replaces the rates set here with its own, and adds a scheduler",
        "Average with Lightning's EMAWeightAveraging, which leaves rates alone",
    ),
    (
        LearningRateFinder,
        "gives every param group one rate, which is ignored here",
        "Find it with tabvision.tuning.FindLR()",
    ),
)


@runtime_checkable
class _Owner(Protocol):
    """A callback that declares which quantities it sets."""

    @property
    def owns(self) -> frozenset[Quantity]:
        """The quantities that it sets."""


def check_owners(trainer: pl.Trainer) -> None:
    """Raise if two callbacks set one quantity, or if one of Lightning's sets rates that another owns.

    Raises:
        BadValueError: Two callbacks set the same thing.
    """
    owners: dict[Quantity, str] = {}
    for callback in trainer.callbacks:  # type: ignore[attr-defined]  # a plain list, set by Lightning's connector
        name = type(callback).__name__
        for quantity in sorted(callback.owns) if isinstance(callback, _Owner) else ():
            if quantity in owners:
                problem = f"{quantity} has one owner, and both {owners[quantity]} and {name} set it"
                raise BadValueError(problem, f"Leave one out; {name} and {owners[quantity]} do not go together")
            owners[quantity] = name
    if owner := next((owners[quantity] for quantity in _RATES if quantity in owners), None):
        _check_no_rival(trainer, owner)


def _check_no_rival(trainer: pl.Trainer, owner: str) -> None:
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        for kind, does, remedy in _RIVALS:
            if isinstance(callback, kind):
                raise BadValueError(f"{kind.__name__} {does}", f"{remedy}, or leave {owner} out")


def check_no_scheduler(trainer: pl.Trainer) -> None:
    """Raise if the module's `configure_optimizers` returned a scheduler.

    Raises:
        BadValueError: It did.
    """
    if trainer.lr_scheduler_configs:
        problem = "the module's configure_optimizers returns a scheduler of its own, which would fight over the rate"
        raise BadValueError(problem, "Return the optimizer alone, or leave this callback out")
