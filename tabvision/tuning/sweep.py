"""The learning-rate finder: sweep the rate on a copy of the model, without side effects."""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from typing_extensions import override

from tabvision import lightning as pl
from tabvision.checks import check_whole, is_number
from tabvision.errors import BadTypeError, BadValueError, count, speaking
from tabvision.lightning import (
    Callback,
    CUDAAccelerator,
    DDPStrategy,
    Strategy,
    TrainerStatus,
    callbacks_of,
    check_trainer,
    is_overridden,
)
from tabvision.random_state import same_random_state
from tabvision.tuning import suggestions

_SMOOTHING = 0.98  # of the loss, bias-corrected, as in fastai
_COMPILED_STEPS = ("forward", "training_step", "validation_step", "test_step", "predict_step")
_LEAST_STEPS = 20  # with fewer, dropping the last 5 points would cut off the rates that matter

Way = Literal["lowest", "valley", "steep", "minimum", "slide"]
WAYS: tuple[Way, ...] = get_args(Way)  # the methods that suggest a rate, fields of `LRFinding`


@dataclass(frozen=True)
class LRFinding:
    """A sweep and the rates that it suggests.

    Args:
        lrs: Rate of the last layer group in each batch that had a loss; the other groups keep their ratio to it.
        losses: Smoothed training loss of each such batch, averaged over ranks.
        valley: Rate halfway along the longest fall of the loss: fastai's choice, a cautious one.
        steep: Rate at which the loss falls fastest.
        minimum: A tenth of the rate with the lowest loss.
        slide: Rate at which a window sliding in from the right is equally steep at both ends.
        lowest: Rate with the lowest loss after smoothing without lag: the suggested one.
    """

    lrs: tuple[float, ...]
    losses: tuple[float, ...]
    valley: float
    steep: float
    minimum: float
    slide: float
    lowest: float = math.nan

    @property
    def suggestion(self) -> float:
        """The rate to use as the peak of one cycle; `benchmarks/found_rates.py` compares the methods."""
        return self.lowest


@speaking("lr_find")
def lr_find(
    trainer: pl.Trainer,
    model: pl.LightningModule,
    data: Any,  # noqa: ANN401 - any data that Trainer.fit takes
    *,
    start: float = 1e-7,
    end: float = 10.0,
    num_steps: int = 100,
    stop_factor: float = 4.0,
) -> LRFinding:
    """Train a copy of the model for some batches at increasing rates, and suggest a rate from the losses.

    The model, its optimizer, the trainer, all random states and files are left unchanged. The rates of all layer groups are
    scaled by the same factor, so their ratios are preserved, and layers frozen by the trainer's callbacks stay frozen.

    Args:
        trainer: The trainer for the fit; the sweep uses its accelerator, devices, strategy, precision and clipping.
        model: The module to train.
        data: A datamodule or a training loader.
        start: First rate of the last layer group.
        end: Last rate of the last layer group.
        num_steps: Number of batches in the sweep, at least 20. A batch whose `training_step` returns no loss is skipped.
        stop_factor: The sweep ends when the smoothed loss exceeds the lowest one by this factor.

    Raises:
        BadTypeError: The trainer comes from the Lightning package that the library does not build on.
        BadValueError: A rate or number is out of range, no batch has a loss, or the loss is NaN from the start.

    Source: fastai 2.8 `LRFinder` and `lr_find`; Smith 2015.
    """
    check_trainer(trainer)
    check_sweep(start, end, num_steps)
    sweep = _Sweep(start, end, num_steps, stop_factor)
    # callbacks that should act in a sweep as they do in a fit, such as Unfreeze
    sweepable: list[Any] = [callback for callback in callbacks_of(trainer, Callback) if hasattr(callback, "for_sweep")]
    callbacks: list[Callback] = [part for each in sweepable for part in each.for_sweep(trainer.current_epoch)]
    with same_random_state(), _same_generators(data):
        model_copy = _copy_of(model)
        owner = getattr(data, "trainer", None)
        try:
            # the sweep does not validate; an empty list avoids Lightning's warning about that
            is_loader = data is not None and not isinstance(data, pl.LightningDataModule)
            unvalidated: list[Any] | None = [] if is_loader and is_overridden("validation_step", model) else None
            _sweep_trainer(trainer, [*callbacks, sweep]).fit(model_copy, data, unvalidated)
        finally:
            if isinstance(data, pl.LightningDataModule):
                data.trainer = owner
    if not sweep.losses:
        problem = f"training_step must return a loss, and returned none in {sweep.batches:,} batches"
        raise BadValueError(problem, "Return the loss, under manual optimization too")
    lrs, losses = suggestions.usable(sweep.lrs, sweep.losses, sweep.num_steps)
    if len(losses) < 2:
        problem = f"the loss must be finite for more than {count(len(sweep.losses), 'step')}"
        raise BadValueError(problem, "Start at a smaller rate, or look at the data and the loss")
    found = {way: getattr(suggestions, way)(lrs, losses) for way in ("valley", "steep", "minimum", "slide")}
    found["lowest"] = suggestions.lowest(*suggestions.usable(sweep.lrs, sweep.raw_losses, sweep.num_steps))
    if found["lowest"] <= lrs[len(lrs) // 10]:
        note = f"lr_find: the loss never fell below that of the first batches, so the rate {found['lowest']:.2e} means little"
        logging.getLogger("tabvision").warning(f"{note}. Raise num_steps, and look at the losses of the sweep.")
    return LRFinding(tuple(sweep.lrs), tuple(sweep.losses), **found)


def _copy_of(model: pl.LightningModule) -> pl.LightningModule:
    """Return a copy of the model that shares nothing with it."""
    model = getattr(model, "_orig_mod", model)  # unwrap torch.compile
    copied = copy.deepcopy(model, {id(model._trainer): None})  # noqa: SLF001 - do not copy the trainer
    if getattr(copied, "_compiler_ctx", None):  # its compiled steps would use the original's weights
        copied._compiler_ctx = None  # noqa: SLF001 - a test guards it
        for step in _COMPILED_STEPS:
            vars(copied).pop(step, None)
    return copied


@contextmanager
def _same_generators(data: object) -> Iterator[None]:
    """Restore a loader's random generators afterwards."""
    owners = (data, getattr(data, "sampler", None), getattr(data, "batch_sampler", None))
    found = [getattr(owner, "generator", None) for owner in owners]
    states = {generator: generator.get_state() for generator in found if isinstance(generator, torch.Generator)}
    try:
        yield
    finally:
        for generator, state in states.items():
            generator.set_state(state)


class _Sweep(Callback):
    """Set the rate before each batch, in equal multiples from `start` to `end`, and record the batch's loss if it has one.

    It counts batches, not optimizer steps, of which manual optimization may take more or fewer.
    """

    def __init__(self, start: float, end: float, num_steps: int, stop_factor: float) -> None:
        self.start, self.end, self.num_steps, self.stop_factor = start, end, num_steps, stop_factor
        self.lrs: list[float] = []
        self.losses: list[float] = []
        self.raw_losses: list[float] = []
        self.batches = 0
        self._mean = 0.0
        self._base: list[list[float]] = []

    @override
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._base = [[group["lr"] for group in optimizer.param_groups] for optimizer in trainer.optimizers]

    @override
    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: object, batch_idx: int
    ) -> None:
        rate = self._rate()
        for optimizer, base in zip(trainer.optimizers, self._base, strict=True):
            for group, own in zip(optimizer.param_groups, base, strict=True):
                group["lr"] = rate * own / base[-1]

    @override
    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: object, batch_idx: int
    ) -> None:
        rate = self._rate()
        self.batches += 1
        if self.batches == self.num_steps:
            trainer.should_stop = True
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        own = torch.zeros(2, device=pl_module.device)  # the sum of losses, and their number
        if loss is not None:
            own[0], own[1] = loss.detach(), 1
        total, number = trainer.strategy.reduce(own, reduce_op="sum").tolist()
        if not number:
            return
        mean = total / number
        self.lrs.append(rate)
        self.raw_losses.append(mean)
        self._mean = _SMOOTHING * self._mean + (1 - _SMOOTHING) * mean
        self.losses.append(self._mean / (1 - _SMOOTHING ** (len(self.losses) + 1)))
        last = self.losses[-1]
        read = self.losses[suggestions.first_read(self.num_steps) :]  # earlier ones are too noisy
        if not math.isfinite(last) or (read and last > self.stop_factor * min(read)):
            trainer.should_stop = True

    def _rate(self) -> float:
        return self.start * math.pow(self.end / self.start, self.batches / self.num_steps)


def _sweep_trainer(trainer: pl.Trainer, callbacks: list[Callback]) -> pl.Trainer:
    """Return a trainer with the user's settings that writes no files."""
    on_cuda = isinstance(trainer.accelerator, CUDAAccelerator)
    strategy: Strategy | str = "auto"
    if trainer.world_size > 1 and isinstance(given := trainer.strategy, DDPStrategy):
        settings = given._ddp_kwargs  # noqa: SLF001 - find_unused_parameters and the like; a test guards it
        start_method = given._start_method  # noqa: SLF001
        strategy = DDPStrategy(process_group_backend=given.process_group_backend, start_method=start_method, **settings)
    elif trainer.world_size > 1:
        strategy = getattr(trainer.strategy, "strategy_name", "auto")
    made = pl.Trainer(
        accelerator=trainer.accelerator,
        devices=trainer.device_ids if on_cuda else trainer.num_devices,
        num_nodes=trainer.num_nodes,
        strategy=strategy,
        precision=trainer.precision,
        gradient_clip_val=trainer.gradient_clip_val,
        gradient_clip_algorithm=trainer.gradient_clip_algorithm,
        max_epochs=-1,  # the sweep stops itself
        limit_val_batches=0,
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
        callbacks=callbacks,
    )
    if trainer.state.status == TrainerStatus.RUNNING:  # its processes already exist
        made.strategy._launcher = None  # noqa: SLF001 - a test guards it
    return made


def check_sweep(start: float, end: float, num_steps: int) -> None:
    """Raise unless the rates are positive and increase, and there are enough steps."""
    problem = f"rates must increase from above zero, got start={start!r} and end={end!r}"
    if not (is_number(start) and is_number(end)):
        raise BadTypeError(problem, "Leave both out for 1e-7 to 10")
    if not 0 < start < end < math.inf:
        raise BadValueError(problem, "Leave both out for 1e-7 to 10")
    check_whole("num_steps", num_steps, _LEAST_STEPS, remedy="Leave it out for 100")
