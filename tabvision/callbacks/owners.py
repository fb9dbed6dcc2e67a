"""One owner for each quantity: two callbacks that would set the same thing are refused before anything runs."""

from __future__ import annotations

from typing import Literal, Protocol, runtime_checkable

import pytorch_lightning as pl

from tabvision.errors import BadValueError

Quantity = Literal[
    "which layers train", "the base rates", "the rate over time", "how rows are mixed", "the size of pictures"
]  # fmt: skip


@runtime_checkable
class Owner(Protocol):
    """A callback that sets some quantities, and says which."""

    @property
    def owns(self) -> frozenset[Quantity]:
        """The quantities it sets."""


def check_owners(trainer: pl.Trainer) -> None:
    """Refuses two owners of one quantity.

    Raises:
        BadValueError: Two callbacks set the same thing.
    """
    owners: dict[Quantity, str] = {}
    for callback in trainer.callbacks:  # type: ignore[attr-defined]  # a plain list, set by Lightning's connector
        name = type(callback).__name__
        for quantity in sorted(callback.owns) if isinstance(callback, Owner) else ():
            if quantity in owners:
                problem = f"{quantity} has one owner, and both {owners[quantity]} and {name} set it"
                raise BadValueError(name, problem, f"Leave one out; {name} and {owners[quantity]} do not go together")
            owners[quantity] = name


def check_no_scheduler(who: str, trainer: pl.Trainer) -> None:
    """Refuses a scheduler that the module's own `configure_optimizers` returned.

    Raises:
        BadValueError: There is one.
    """
    if trainer.lr_scheduler_configs:
        problem = "the module's configure_optimizers returns a scheduler of its own, which would fight over the rate"
        raise BadValueError(who, problem, "Return the optimizer alone, or leave this callback out")
