"""A rate found when the fit starts, for whatever schedule then runs."""

from __future__ import annotations

import copy
from typing import Any, Literal, Protocol, final, get_args, runtime_checkable

from typing_extensions import override

from tabvision import lightning as pl
from tabvision.checks import check_choice
from tabvision.errors import BadValueError, speaking
from tabvision.lightning import Callback, rank_zero_info
from tabvision.tuning.sweep import LRFinding, check_sweep, lr_find

Way = Literal["lowest", "steep", "valley", "minimum", "slide"]
WAYS: tuple[Way, ...] = get_args(Way)


@runtime_checkable
class _RateOwner(Protocol):
    """A callback that may own the base rates, and takes a found one."""

    @property
    def owns(self) -> frozenset[str]:
        """The quantities it sets."""

    def take_rate(self, rate: float) -> None:
        """Trains the last layer group at that rate, the others at their ratios to it."""


@final
class FindLR(Callback):
    """Sweeps the rate when a fit starts, as `lr_find` does, and trains with what it suggests.

    Whoever owns the base rates takes the found one for the last layer group, and the others keep their ratio to it:
    `OneCycle(max_lr)` and `FineTune(base_lr)` as their peak, `DiscriminativeLR(lr)` as its last rate, else the optimizer's
    own param groups. The sweep leaves no other trace. All ranks find the same rate; a resumed fit takes it from the
    checkpoint. Its place in the list of callbacks does not matter.

    Args:
        way: Which suggestion of the sweep to take.
        start: First rate of the sweep.
        end: Last rate of the sweep.
        num_steps: Steps from one to the other.

    Raises:
        BadValueError: A setting out of range, a scheduler of the module's own, a sweep whose loss is no number, or a fit
            resumed from a checkpoint without a found rate.
        UnknownNameError: No such way.

    Example:
        >>> FindLR("valley").state_dict()
        {'rate': None}
    """

    @speaking()
    def __init__(self, way: Way = "lowest", *, start: float = 1e-7, end: float = 10.0, num_steps: int = 100) -> None:
        check_choice("way", way, WAYS)
        check_sweep(start, end, num_steps)
        self.way = way
        self.start, self.end, self.num_steps = start, end, num_steps
        self.rate: float | None = None
        self.finding: LRFinding | None = None

    @override
    @speaking()
    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        resumed = trainer.ckpt_path is not None
        if trainer.lr_scheduler_configs:
            problem = "the module's configure_optimizers returns a scheduler, which keeps the rates it was made with"
            raise BadValueError(problem, "Return the optimizer alone, and schedule with OneCycle() or FineTune()")
        if resumed and self.rate is None:
            problem = "a resumed fit takes its rate from the checkpoint, and this one holds none"
            raise BadValueError(problem, "Leave FindLR out, and pass the rate that the fit was begun with")
        if not resumed:
            self._find(trainer, pl_module)
        assert self.rate is not None
        owners = [
            owner for owner in _callbacks(trainer) if isinstance(owner, _RateOwner) and "the base rates" in owner.owns
        ]
        for owner in owners:
            owner.take_rate(self.rate)
        if not owners and not resumed:  # a checkpoint brings the optimizer's rates
            _scale(trainer, self.rate)

    @override
    def state_dict(self) -> dict[str, Any]:
        return {"rate": self.rate}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rate = state_dict["rate"]

    def _find(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        settings: dict[str, Any] = {"start": self.start, "end": self.end, "num_steps": self.num_steps}
        self.finding = lr_find(trainer, module, _data_of(trainer), **settings)
        rate: float = getattr(self.finding, self.way)
        self.rate = rate
        rank_zero_info(f"FindLR: the last layer group trains at {rate:.2e} ({self.way}).")


def _callbacks(trainer: pl.Trainer) -> list[Callback]:
    return trainer.callbacks  # type: ignore[attr-defined, no-any-return]  # a plain list, set by Lightning's connector


def _scale(trainer: pl.Trainer, rate: float) -> None:
    """Sets the last param group's rate, and the others at their ratio to it."""
    for optimizer in trainer.optimizers:
        factor = rate / optimizer.param_groups[-1]["lr"]
        for group in optimizer.param_groups:
            group["lr"] *= factor
            if "initial_lr" in group:  # what a schedule scales
                group["initial_lr"] *= factor


def _data_of(trainer: pl.Trainer) -> Any:  # noqa: ANN401 - whatever the fit was given
    """The training data of a running fit, for another trainer."""
    datamodule = trainer.datamodule  # type: ignore[attr-defined]  # set by Lightning's connector
    if datamodule is None:
        data = trainer.fit_loop._data_source.instance  # noqa: SLF001 - a test guards it
        return None if isinstance(data, pl.LightningModule) else data
    ready = copy.copy(datamodule)
    for hook in ("prepare_data", "setup", "teardown"):  # the fit has prepared it, and still needs it
        setattr(ready, hook, _nothing)
    return ready


def _nothing(stage: str = "") -> None:
    pass
