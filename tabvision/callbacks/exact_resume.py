"""Resume a fit so that it ends bit for bit where the uninterrupted one does."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import torch
from torch import Tensor
from typing_extensions import override

from tabvision import lightning as pl
from tabvision.callbacks.loop_counts import (
    forget_restart,
    go_on_from_last_step,
    is_cut,
    leave_ended_epoch,
    redo_batch_in_flight,
    reopen_cut_epoch,
    skip_training,
    stay_stopped,
    stop_restarting,
    uncount_batch_in_flight,
    validate_first,
    was_stopped,
)
from tabvision.callbacks.micro_batches import Accumulation, convert_counts, is_dealing, micro_batch_at
from tabvision.callbacks.resume_state import (
    Resumable,
    last_saved,
    metrics_of,
    restore_buffers,
    restore_last_saved,
    state_of_rank,
    state_on,
)
from tabvision.checks import check_whole
from tabvision.counter_random import seed_of
from tabvision.data.tables.write import interrupts_held, writing, written_whole
from tabvision.errors import BadValueError, count, speaking
from tabvision.lightning import (
    Callback,
    DoublePrecision,
    GradientAccumulationScheduler,
    TorchCheckpointIO,
    TrainerFn,
    callbacks_of,
    check_trainer,
    datamodule_of,
    rank_zero_warn,
)
from tabvision.nets.layers import of_all_ranks
from tabvision.random_state import set_random_state

if TYPE_CHECKING:
    from pytorch_lightning.loops.fit_loop import _FitLoop as FitLoop


@final
class ExactResume(Callback):
    """Save what Lightning leaves out of a checkpoint, so that a resumed fit repeats the uninterrupted one.

    For each rank, this is the random state, the gradients accumulated since the last optimizer step, the module's sums
    within an epoch, the running statistics if they differ from rank 0's, and the metrics that callbacks monitor; also the
    last save of each `ModelCheckpoint`. The loaders of tabvision know which rows come next: their order is a function of
    seed and epoch, and they can resume within an epoch. A loader of your own should have `state_dict` and `load_state_dict`,
    or be saved only at the end of an epoch.

    With a datamodule of tabvision, a fit can resume on any number of ranks that divides the micro-batches of a step: rank
    m modulo the number of ranks takes micro-batch m, and gradients accumulate. Torch's random numbers, such as dropout's,
    are seeded in each batch by seed, epoch, step and micro-batch, and running statistics come from the first micro-batch.
    Thus the rows of each step, rates and stages are the same, and the weights up to rounding; on as many ranks, to the bit.

    A validation that was due when the checkpoint was saved is run first, and an epoch whose last step was done is ended. A
    fit that `EarlyStopping` had stopped stays stopped; one that `max_steps`, `max_time` or `should_stop` ended inside an
    epoch continues with the rest of it. Checkpoints are written to a temporary file and renamed when complete, so a process
    killed while writing leaves the previous one intact.

    Args:
        micro_batches: Micro-batches of `batch_size` rows in a step, a multiple of the ranks. A Trainer's settings in batches,
            such as `val_check_interval`, then count in steps. None for the checkpoint's number, or that of the ranks.

    Raises:
        BadTypeError: `micro_batches` is not a whole number.
        BadValueError: `micro_batches` is below 1. When a fit starts: the ranks cannot share a step's micro-batches, or the
            fit is resumed inside an epoch, or inside a step, on a number of ranks that the data or the step does not allow.
    """

    @speaking()
    def __init__(self, micro_batches: int | None = None) -> None:
        if micro_batches is not None:
            check_whole("micro_batches", micro_batches, remedy="Pass the most ranks that will train, such as 4")
        self.micro_batches = micro_batches
        self._accumulation: Accumulation | None = None
        self._micro_batches = 0  # in a step of the last fit
        self._seed = 0
        self._first_buffers: list[tuple[Tensor, Tensor]] = []  # as a step's first micro-batch left them
        self._saved: dict[str, Any] = {}
        self._module: pl.LightningModule | None = None
        self._inside_epoch = False
        self._ends_epoch = False
        self._redoes_batch = False
        self._goes_on = False
        self._stopped = False
        self._at_cut: dict[str, Any] | None = None  # this rank's state if the fit ended inside an epoch

    @override
    @speaking()
    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        check_trainer(trainer)
        self._module = pl_module
        write_checkpoints_whole(trainer)
        if stage == "fit":
            # Lightning's scheduler of accumulation starts first, since it rejects a number that was restored before
            callbacks = callbacks_of(trainer, Callback)
            callbacks.sort(key=lambda each: not isinstance(each, GradientAccumulationScheduler))
            trainer.callbacks = callbacks  # type: ignore[attr-defined]  # a plain list, set by Lightning's connector
            self._divide_steps(trainer, self.micro_batches or trainer.world_size)
            if isinstance(trainer.precision_plugin, DoublePrecision):
                pl_module.double()  # Lightning does this only after restoring the weights, which rounds them

    def _divide_steps(self, trainer: pl.Trainer, micro_batches: int) -> None:
        self._release()
        self._accumulation, self._micro_batches = Accumulation(trainer, micro_batches), micro_batches

    def _release(self) -> None:
        if self._accumulation is not None:
            self._accumulation.release()
        self._accumulation = None

    @override
    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._release()

    @override
    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        if is_dealing(trainer):
            # keep the Trainer's counts until its next fit, since a checkpoint may still be saved
            datamodule_of(trainer).micro_batches = None

    @override
    def state_dict(self) -> dict[str, Any]:
        module = self._module
        if module is None:  # there was no fit yet
            return {"ranks": []}
        ranks = of_all_ranks({**(self._at_cut or state_of_rank(module)), "metrics": metrics_of(module.trainer)})
        steps = {"micro_batches": self._micro_batches, "seed": self._seed}
        return {"ranks": ranks, "checkpoints": last_saved(module.trainer), "cut": self._at_cut is not None, **steps}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._saved = state_dict if state_dict.get("ranks") else {}

    @override
    @speaking()
    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        saved, fit_loop = checkpoint["callbacks"].get(self.state_key, {}), checkpoint["loops"]["fit_loop"]
        ranks = saved.get("ranks", [])
        if not _can_continue(ranks, trainer):  # the sums belong to no rank; the epoch counts as done
            return
        self._redoes_batch = redo_batch_in_flight(fit_loop)
        if trainer.state.fn == TrainerFn.FITTING:
            self._divide_as_saved(trainer, saved.get("micro_batches", len(ranks)), len(ranks), fit_loop)
        self._ends_epoch = go_on_from_last_step(fit_loop)
        if saved.get("cut", False):
            self._at_cut = state_on(ranks, trainer.global_rank, trainer.world_size)
            self._goes_on = not was_stopped(trainer, checkpoint) and reopen_cut_epoch(fit_loop)

    def _divide_as_saved(self, trainer: pl.Trainer, saved: int, saved_ranks: int, fit_loop: dict[str, Any]) -> None:
        """Divide a step into as many micro-batches as the saved fit did, unless the user sets their number."""
        if self.micro_batches is None and is_dealing(trainer):
            self._divide_steps(trainer, saved)
        if self._micro_batches == saved and not convert_counts(fit_loop, saved_ranks, trainer.world_size):
            ranks = count(saved_ranks, "rank")
            problem = f"the checkpoint was saved inside a step by {ranks}, whose parts of it cannot be divided again"
            raise BadValueError(problem, f"Resume on {ranks}, or from a checkpoint saved after a step")

    @override
    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.ckpt_path is None:  # drop state that was loaded for validation or testing
            self._saved, self._ends_epoch, self._redoes_batch, self._goes_on = {}, False, False, False
        self._seed = self._saved.get("seed", trainer.strategy.broadcast(torch.initial_seed() % 2**63))
        self._set_random_state(trainer)  # so that the loader's iterator draws the same numbers

    @override
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.on_train_epoch_start(trainer, pl_module)
        if self._ends_epoch:
            skip_training(trainer.fit_loop)
        leave_ended_epoch(trainer.fit_loop)
        if not self._saved:
            return
        batches = trainer.fit_loop.epoch_loop.batch_progress
        # Lightning says mid-epoch even after the last step of an epoch
        self._inside_epoch = trainer.fit_loop.restarted_mid_epoch and not batches.is_last_batch
        if batches.is_last_batch:  # Lightning compares its number to that of all batches, which may be larger now
            batches.current.completed = max(batches.current.completed, int(trainer.num_training_batches))
        if _can_continue(self._saved["ranks"], trainer):
            self._restore(trainer, pl_module)
        else:
            self._go_on_with_other_ranks(trainer)
        self._ends_epoch = self._redoes_batch = self._goes_on = False

    @override
    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._accumulation is not None:
            self._accumulation.validate_after_whole_steps()

    @override
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        stop_restarting(trainer.fit_loop)  # otherwise Lightning would not step the user's own scheduler in this epoch
        trainer.should_stop = trainer.should_stop or self._stopped
        self._stopped = False
        self._at_cut = None
        if is_cut(trainer.fit_loop):
            self._at_cut = {**state_of_rank(pl_module), "metrics at cut": metrics_of(trainer)}

    @override
    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: object, batch_idx: int
    ) -> None:
        if self._inside_epoch:  # creating the loader's iterator may have drawn random numbers
            self._set_random_state(trainer)
        self._saved, self._at_cut = {}, None
        step, number = micro_batch_at(trainer, batch_idx)
        seed = seed_of(self._seed, trainer.current_epoch, step, number)
        # torch.manual_seed would take 0.1 ms, since it looks for accelerators
        (torch.default_generator.manual_seed if pl_module.device.type == "cpu" else torch.manual_seed)(seed)
        if number >= trainer.world_size:
            self._first_buffers = [(buffer, buffer.clone()) for buffer in pl_module.buffers()]

    @override
    def on_after_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        for buffer, value in self._first_buffers:
            buffer.copy_(value)
        self._first_buffers = []

    def _set_random_state(self, trainer: pl.Trainer) -> None:
        if len(ranks := self._saved.get("ranks", [])) == trainer.world_size:
            set_random_state(ranks[trainer.global_rank]["random"])

    def _restore(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        mine = state_on(self._saved["ranks"], trainer.global_rank, trainer.world_size)
        saved = mine.get("metrics at cut" if self._goes_on else "metrics", {})
        metrics = {name: value.to(pl_module.device) for name, value in saved.items()}
        trainer.callback_metrics.update(metrics)
        restore_last_saved(trainer, self._saved.get("checkpoints", {}))
        restore_buffers(pl_module, mine)
        self._stopped = stay_stopped(trainer)
        if not trainer.fit_loop.restarted_mid_epoch:
            return
        self._set_random_state(trainer)  # undo the draws of creating the iterator, which existed when this was saved
        if isinstance(pl_module, Resumable):
            pl_module.load_resume_state(mine["module"])
        if self._ends_epoch:
            return
        for scheduler in callbacks_of(trainer, GradientAccumulationScheduler):  # it sets this only when an epoch starts
            trainer.accumulate_grad_batches = scheduler.get_accumulate_grad_batches(trainer.current_epoch)
        for name, gradient in mine.get("gradients", {}).items():
            parameter = pl_module.get_parameter(name)
            parameter.grad = gradient.to(parameter)
        self._adjust_loop(trainer.fit_loop)

    def _adjust_loop(self, loop: FitLoop) -> None:
        """Adjust the counts of a loop that resumes inside an epoch."""
        if self._redoes_batch:
            uncount_batch_in_flight(loop)
        elif self._goes_on:
            forget_restart(loop)
        elif validate_first(loop):
            self._inside_epoch = False  # the validation sets the random state of the first step

    def _go_on_with_other_ranks(self, trainer: pl.Trainer) -> None:
        saved, ranks = (count(number, "rank") for number in (len(self._saved["ranks"]), trainer.world_size))
        if self._inside_epoch:
            problem = f"the checkpoint was saved inside an epoch by {saved}, and this fit has {ranks}"
            raise BadValueError(problem, f"Resume on {saved}, or from a checkpoint saved at the end of an epoch")
        problem = f"the checkpoint was saved by {saved}, and this fit has {ranks}"
        rank_zero_warn(f"ExactResume: {problem}. The fit continues with different random numbers.")
        self._saved = {}


def write_checkpoints_whole(trainer: pl.Trainer) -> None:
    """Make a Trainer replace a checkpoint only with a complete one, unless the user set a checkpoint plugin."""
    if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:
        trainer.strategy.checkpoint_io = _AtomicCheckpointIO()


@final
class _AtomicCheckpointIO(TorchCheckpointIO):
    """Write a checkpoint to a temporary file and rename it when it is complete.

    A process killed while writing leaves the previous checkpoint intact, and a hidden file that the next write removes.
    """

    @override
    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        if "://" in str(path) or storage_options is not None:  # a remote store has its own atomic writes
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        with writing(path := Path(path)):
            path.parent.mkdir(parents=True, exist_ok=True)
        with interrupts_held(), written_whole(path) as partial, partial.open("wb") as file:
            torch.save(checkpoint, file)


def _can_continue(ranks: list[dict[str, Any]], trainer: pl.Trainer) -> bool:
    """Return whether a Trainer can resume from the state that these ranks saved."""
    return bool(ranks) and (len(ranks) == trainer.world_size or is_dealing(trainer))
