"""Find a learning rate at the start of a fit, for any schedule."""

from __future__ import annotations

import copy
import logging
from typing import Any, final

from typing_extensions import override

from tabvision import lightning as pl
from tabvision.checks import check_choice
from tabvision.errors import BadValueError, speaking
from tabvision.lightning import Callback, callbacks_of, check_trainer, datamodule_of
from tabvision.tuning.sweep import WAYS, LRFinding, Way, check_sweep, lr_find

logger = logging.getLogger("tabvision")


@final
class FindLR(Callback):
    """Run the sweep of `lr_find` when a fit starts, and train with the suggested learning rate.

    The rate applies to the last layer group, and the other groups keep their ratio to it. It becomes the peak of
    `OneCycle(max_lr)` or `FineTune(base_lr)`, or the last rate of `DiscriminativeLR(lr)`; without these callbacks it is set
    in the optimizer's param groups. The sweep has no other effect. All ranks find the same rate, and a resumed fit takes it
    from the checkpoint. The position in the list of callbacks does not matter.

    Args:
        way: Which of the sweep's suggestions to use.
        start: First rate of the sweep.
        end: Last rate of the sweep.
        num_steps: Number of batches in the sweep, at least 20.

    Raises:
        BadValueError: A setting is out of range, the module has its own scheduler, the sweep finds no loss or only NaN, or
            the fit is resumed from a checkpoint that holds no rate.
        UnknownNameError: The way does not exist.

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
        check_trainer(trainer)
        resumed = trainer.ckpt_path is not None
        if trainer.lr_scheduler_configs:
            problem = "the module's configure_optimizers returns a scheduler, which keeps the rates it was created with"
            raise BadValueError(problem, "Return the optimizer alone, and schedule with OneCycle() or FineTune()")
        if resumed and self.rate is None:
            problem = "a resumed fit takes its rate from the checkpoint, and this one holds none"
            raise BadValueError(problem, "Leave FindLR out, and pass the rate that the fit was started with")
        if not resumed:
            self._find(trainer, pl_module)
        assert self.rate is not None
        callbacks: list[Any] = callbacks_of(trainer, Callback)
        owners = [owner for owner in callbacks if hasattr(owner, "take_rate") and "the base rates" in owner.owns]
        for owner in owners:
            owner.take_rate(self.rate)
        if not owners and not resumed:  # on resuming, the optimizer's state has the rates
            _scale(trainer, self.rate)

    @override
    def state_dict(self) -> dict[str, Any]:
        return {"rate": self.rate}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rate = state_dict["rate"]

    def _find(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        settings: dict[str, Any] = {"start": self.start, "end": self.end, "num_steps": self.num_steps}
        data = datamodule_of(trainer)
        if data is not None:
            data = copy.copy(data)
            for hook in ("prepare_data", "setup", "teardown"):  # the data is prepared, and the fit still needs it
                setattr(data, hook, lambda *_, **__: None)
        else:
            source = trainer.fit_loop._data_source.instance  # noqa: SLF001 - a test guards it
            data = None if isinstance(source, pl.LightningModule) else source
        self.finding = lr_find(trainer, module, data, **settings)
        self.rate = rate = float(getattr(self.finding, self.way))
        logger.info(f"FindLR: the last layer group trains at {rate:.2e} ({self.way}).")


def _scale(trainer: pl.Trainer, rate: float) -> None:
    """Set the rate of the last param group, and scale the others to keep their ratio to it."""
    for optimizer in trainer.optimizers:
        factor = rate / optimizer.param_groups[-1]["lr"]
        for group in optimizer.param_groups:
            group["lr"] *= factor
            if "initial_lr" in group:  # schedules scale this one
                group["initial_lr"] *= factor
