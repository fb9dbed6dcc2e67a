"""The micro-batches of a training step, which can be shared by any number of ranks that divides their number."""

from __future__ import annotations

import math
from typing import Any, final

from tabvision import lightning as pl
from tabvision.errors import BadValueError, listed
from tabvision.lightning import GradientAccumulationScheduler, callbacks_of, datamodule_of


def batches_per_rank(trainer: pl.Trainer) -> int:
    """Return how many of a step's micro-batches each rank trains in turn: one, unless `ExactResume` sets more."""
    own: int | None = getattr(datamodule_of(trainer), "micro_batches", None)
    return (own or int(trainer.world_size)) // int(trainer.world_size)


def micro_batch_at(trainer: pl.Trainer, batch_idx: int) -> tuple[int, int]:
    """Return the step of the epoch to which this rank's batch belongs, and its number among that step's micro-batches."""
    per_rank = batches_per_rank(trainer)
    return batch_idx // per_rank, batch_idx % per_rank * trainer.world_size + trainer.global_rank


@final
class Accumulation:
    """Make a Trainer accumulate gradients over each rank's micro-batches of a step, until the fit ends.

    Lightning counts this rank's batches, so settings in batches (`accumulate_grad_batches`, `val_check_interval`,
    `limit_train_batches`) are multiplied by the number of micro-batches that each rank trains.

    Raises:
        BadValueError: The ranks cannot share the micro-batches.
    """

    def __init__(self, trainer: pl.Trainer, micro_batches: int) -> None:
        self._trainer: Any = trainer
        self._before: list[tuple[object, str, Any]] = []  # object, setting and its earlier value
        if is_dealing(trainer) or micro_batches != trainer.world_size:
            _check(trainer, micro_batches)  # afterwards there must be a datamodule
            datamodule_of(trainer).micro_batches = micro_batches
        if (per_rank := batches_per_rank(trainer)) > 1:
            self._multiply(per_rank)

    def _multiply(self, per_rank: int) -> None:
        trainer = self._trainer
        scheduler = next(iter(callbacks_of(trainer, GradientAccumulationScheduler)), None)
        if scheduler is not None:
            self._set(scheduler, "scheduling", {epoch: per_rank * it for epoch, it in scheduler.scheduling.items()})
        for name in ("accumulate_grad_batches", "val_check_interval", "limit_train_batches"):
            value = getattr(trainer, name)
            if isinstance(value, int) and not (scheduler and name == "accumulate_grad_batches"):
                self._set(trainer, name, per_rank * value)

    def _set(self, owner: object, name: str, value: object) -> None:
        self._before.append((owner, name, getattr(owner, name)))
        setattr(owner, name, value)

    def validate_after_whole_steps(self) -> None:
        """Round a fractional `val_check_interval` to whole steps, as with one rank per micro-batch."""
        trainer, per_rank = self._trainer, batches_per_rank(self._trainer)
        interval, batches = trainer.val_check_interval, trainer.num_training_batches
        if per_rank > 1 and isinstance(interval, float) and batches < math.inf:
            trainer.val_check_batch = per_rank * max(1, int(batches // per_rank * interval))

    def release(self) -> None:
        """Restore the settings of the Trainer and the data."""
        for owner, name, value in self._before:
            setattr(owner, name, value)
        self._before = []
        if is_dealing(self._trainer):
            datamodule_of(self._trainer).micro_batches = None


def is_dealing(trainer: pl.Trainer) -> bool:
    """Return whether a Trainer has a datamodule that distributes micro-batches over ranks."""
    return hasattr(datamodule_of(trainer), "micro_batches")


def _check(trainer: pl.Trainer, micro_batches: int) -> None:
    """Raise if the ranks of a Trainer cannot share the micro-batches of a step."""
    ranks: int = trainer.world_size
    step = f"a step of this fit has {micro_batches} micro-batches"
    if micro_batches % ranks:
        divisors = [str(each) for each in range(1, micro_batches + 1) if micro_batches % each == 0]
        problem = f"{step}, which {ranks} ranks cannot share evenly"
        more = math.lcm(micro_batches, ranks)
        remedy = f"ExactResume(micro_batches={more}) (--micro-batches {more})"
        raise BadValueError(problem, f"Use {listed(divisors)} ranks, or start over with {remedy}")
    if micro_batches == ranks:
        return
    found = f"{step}, and there are {ranks} ranks" if ranks > 1 else f"{step}, and there is one rank"
    if not is_dealing(trainer):
        raise BadValueError(f"{found}, but the data is not a tabvision datamodule", f"Use {micro_batches} ranks")
    if not trainer.lightning_module.automatic_optimization:
        raise BadValueError(f"{found}, but the module's optimization is manual", f"Use {micro_batches} ranks")
    if trainer.strategy.handles_gradient_accumulation:
        name = type(trainer.strategy).__name__
        raise BadValueError(f"{found}, but {name} accumulates gradients in its own way", f"Use {micro_batches} ranks")
    limit: float = trainer.limit_train_batches
    if isinstance(limit, float) and limit != 1.0:
        raise BadValueError(f"{found}, but limit_train_batches={limit!r} is a fraction", "Pass a number of batches")


def convert_counts(fit_loop: dict[str, Any], saved_ranks: int, ranks: int) -> bool:
    """Convert a checkpoint's counts of batches per rank to another number of ranks, in place.

    Returns:
        Whether the new counts are whole numbers, as they are after each step.

    Example:
        >>> counts = {"ready": 4, "started": 4, "processed": 4, "completed": 3}
        >>> loop = {"epoch_loop.batch_progress": {"total": counts, "current": dict(counts), "is_last_batch": False}}
        >>> convert_counts(loop, 1, 2), counts
        (True, {'ready': 2, 'started': 2, 'processed': 2, 'completed': 1})
    """
    progress = fit_loop["epoch_loop.batch_progress"]
    both = progress["total"], progress["current"]
    if any(counts["ready"] * saved_ranks % ranks for counts in both):
        return False
    for counts in both:
        more = counts["ready"] * saved_ranks // ranks - counts["ready"]
        counts |= {name: number + more for name, number in counts.items()}
    return True
