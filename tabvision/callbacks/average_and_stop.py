"""Average the weights over the steps of a fit, and stop it when the held-out loss no longer improves."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from tabvision import lightning as pl
from tabvision.callbacks.micro_batches import batches_per_rank
from tabvision.callbacks.ownership import Owner, Quantity, owner_of
from tabvision.callbacks.unfreeze import unfreeze_of
from tabvision.checks import check_least, check_positive, check_whole
from tabvision.errors import speaking
from tabvision.lightning import ModelCheckpoint, TrainerFn, callbacks_of, datamodule_of
from tabvision.nets.layers import broadcast_tensors, evaluating

logger = logging.getLogger("tabvision")

_LIVE = "current_model_state"  # the checkpoint key of Lightning's WeightAveraging for the weights being trained
_STATE_DICT = "lightning_module_state_dict"  # the strategy's method that returns the weights for a checkpoint

_LAST_EPOCH = 1 << 60
_FEWEST_BATCHES = 100  # until then the rate is at its highest, and a small table's score jumps around
_TEMPERATURES = tuple(1.05**step for step in range(-40, 19))  # 0.14 to 2.4


def _held_out_losses(
    trainer: pl.Trainer,
    module: Any,  # noqa: ANN401 - one of ours
    loader: Any,  # noqa: ANN401
    temperatures: Sequence[float] = (1.0,),
) -> Tensor:
    """Return the mean loss of held-out rows with the logits divided by each temperature; the same on all ranks.

    A training row with a fold is predicted by the member that does not train on it.
    """
    totals = torch.zeros(len(temperatures) + 1, dtype=torch.float64, device=module.device)
    with evaluating(module), torch.no_grad(), trainer.precision_plugin.val_step_context():
        for batch in loader:
            moved = trainer.strategy.batch_to_device(trainer.precision_plugin.convert_input(batch))
            logits, target = module.answer_logits(moved).float(), moved["target"]
            losses = torch.stack([module.task.loss(logits / each, target).double() for each in temperatures])
            weights = moved["weight"].double() if "weight" in moved else torch.ones_like(losses[0])
            totals += torch.cat([losses @ weights, weights.sum()[None]])
    totals = trainer.strategy.reduce(totals, reduce_op="sum")
    return (totals[:-1] / totals[-1]).float()


class AverageAndStop(Owner):
    """Average the weights over the steps, keep those of the best epoch, and stop when they no longer improve.

    After each step the average moves toward the weights by (window + 1) / (step + window), at most 1, so it covers about the
    last tenth of all steps so far. BatchNorm's statistics are averaged too. Validation uses the average, and checkpoints
    hold it in addition to the weights being trained. After the fit the module has the average of the best epoch. If folds
    score it, it is then averaged with a linear model, weighted to do best on the folds; and for classes, its logits are
    divided by the temperature that is best on the held-out rows. Checkpoints saved during the fit lack these last two steps:
    save the module again after it (`trainer.save_checkpoint`).

    The score is the loss on held-out rows. If the module is a packed network whose members have inputs of their own, each
    training row is held out from one member (a fold), and the score is that member's loss, logged as `oof/loss`, so that
    every row is trained on. Otherwise the score is `val/loss`, the first one of several. Without either, the fit runs to its
    end, and the last average is kept.

    Args:
        window: Larger values average over a shorter part of the fit.
        patience: The number of epochs without gain after which the fit stops, as a fraction of the epochs up to the best one;
            None to run to the end and keep the last average, which suits a `OneCycle`.
        min_patience: The fewest epochs without gain before a stop; None for as many as 100 batches take, at least 4.
        folds: Whether to score on folds if the network allows it.
    """

    owns: frozenset[Quantity] = frozenset({"which weights are kept"})

    @speaking()
    def __init__(
        self, window: float = 9.0, patience: float | None = 0.5, min_patience: int | None = None, *, folds: bool = True
    ) -> None:
        super().__init__()
        check_positive("window", window)
        if patience is not None:
            check_least("patience", patience, 0)
        if min_patience is not None:
            check_whole("min_patience", min_patience)
        self.window, self.patience, self.min_patience, self.folds = window, patience, min_patience, folds
        self.best_score, self.best_epoch = math.inf, -1
        self.scores: list[float] = []
        self.temperature = 1.0  # the kept weights' logits were divided by this
        self.linear_share = 0.0  # the weight of the linear model averaged into the kept weights
        self.has_folds = False
        self._average: dict[str, Tensor] = {}
        self._best: dict[str, Tensor] = {}
        self._first_step = self._last_step = 0
        self._is_fitting = self._is_swapped = self._validated = self._resumed = False

    @override
    @speaking()
    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._stop_saving_average(trainer)  # a fit that failed goes on saving it
        super().setup(trainer, pl_module, stage)
        if stage != "fit":
            return
        self._average, self._resumed = {}, False
        data = datamodule_of(trainer)
        self.has_folds = self.uses_folds(trainer, pl_module, data)
        if self.has_folds:
            data.use_folds(pl_module.fold_members)

    def uses_folds(self, trainer: pl.Trainer, module: Any, data: Any) -> bool:  # noqa: ANN401 - perhaps not ours
        """Return whether a fit is scored on folds, which needs members that can leave out rows, and no mixing of rows."""
        if not self.folds or self.patience is None or getattr(module, "fold_members", 1) < 2:
            return False
        if owner_of(trainer, "how rows are mixed") is not None or not getattr(data, "may_fold", False):
            return False
        if not (num_shared := getattr(module, "num_shared_groups", 0)):
            return True
        # layers that the members share must stay frozen for the whole fit
        groups, unfreeze = module.layer_groups(), unfreeze_of(trainer)
        return unfreeze is not None and unfreeze.num_trained(_LAST_EPOCH, groups) <= len(groups) - num_shared

    @override
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        if not self._resumed:
            self._first_step = trainer.global_step
            self.best_score, self.best_epoch, self._best = math.inf, -1, {}
            self.scores, self.temperature, self.linear_share = [], 1.0, 0.0
            self._scale_inputs(trainer, pl_module)
        self._live = _averaged_tensors(trainer, pl_module)
        if self._average:  # loaded before the module was moved to its device
            self._average = {name: value.to(self._live[name].device) for name, value in self._average.items()}
        else:
            self._average = {name: value.clone() for name, value in self._live.items()}
        self._last_step = trainer.global_step
        self._is_fitting = True
        self._validated = False
        self._save_average(trainer)
        if self._resumed and self._is_over(trainer, trainer.current_epoch - 1):  # it had stopped when it was saved
            trainer.should_stop = True

    @override
    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        if trainer.global_step == self._last_step:  # gradients are still accumulating
            return
        self._last_step = trainer.global_step
        weight = min(1.0, (self.window + 1) / (self._last_step - self._first_step + self.window))
        with torch.no_grad():
            torch._foreach_lerp_([*self._average.values()], [*self._live.values()], weight)

    @override
    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._is_fitting:
            self._swap()
            broadcast_tensors(pl_module.buffers())

    @override
    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._is_fitting:
            self._swap()
            self._validated = True

    @override
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_train_epoch_end(trainer, pl_module)
        score = None if self.patience is None else self._score(trainer, pl_module)
        if score is None:
            return
        self.scores.append(score)
        epoch = trainer.current_epoch
        if score < self.best_score or not self._best:
            self.best_score, self.best_epoch = score, epoch
            self._best = {name: value.clone() for name, value in self._average.items()}
        elif self._is_over(trainer, epoch):
            trainer.should_stop = True

    def _is_over(self, trainer: pl.Trainer, epoch: int) -> bool:
        """Return whether patience has run out at the end of an epoch."""
        if self.patience is None or not self._best:
            return False
        steps = trainer.num_training_batches / batches_per_rank(trainer)
        least = self.min_patience or max(4, math.ceil(_FEWEST_BATCHES / steps))
        return epoch - self.best_epoch >= max(least, self.patience * (self.best_epoch + 1))

    @override
    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_train_end(trainer, pl_module)
        self._is_fitting = False
        with torch.no_grad():
            for name, value in (self._best or self._average).items():
                self._live[name].copy_(value)
        broadcast_tensors(pl_module.buffers())
        if self._best:
            self._stack_linear(trainer, pl_module)
            self._fit_temperature(trainer, pl_module)
            kept = f"the average of epoch {self.best_epoch + 1} of {trainer.current_epoch}"
            logger.info(f"{type(self).__name__}: kept {kept}, loss {self.best_score:.4g}.")
            self._warn_of_leap()
        elif self.patience is not None:
            logger.warning(
                f"{type(self).__name__}: no rows were held out, so the fit ran to its end. Pass validation rows."
            )

    def _warn_of_leap(self) -> None:
        """Warn if in some epoch the loss was more than twice the highest before it."""
        for epoch in range(1, len(self.scores)):
            before, after = self.scores[epoch - 1], self.scores[epoch]
            if after > 2 * max(self.scores[:epoch]):
                logger.warning(
                    f"{type(self).__name__}: the loss on held-out rows jumped from {before:.4g} to {after:.4g} in epoch "
                    f"{epoch + 1}, so some predictions may be far off. Look for outliers in the target and in the rows "
                    f'with the largest errors; for numbers compare error="mse", "huber" and, if they are skewed, "tweedie".'
                )
                return

    @override
    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        if self._is_swapped:
            self._swap()
        self._leave_folds(trainer)  # but keep the average, since a checkpoint may still be saved

    @override
    def _release(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._stop_saving_average(trainer)
        self._leave_folds(trainer)

    def _leave_folds(self, trainer: pl.Trainer) -> None:
        if self.has_folds:
            datamodule_of(trainer).leave_folds()

    @override
    def state_dict(self) -> dict[str, Any]:
        facts = {"best_score": self.best_score, "best_epoch": self.best_epoch, "first": self._first_step}
        return {**super().state_dict(), **facts, "scores": [*self.scores], "best": self._best}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self.best_score, self.best_epoch = state_dict["best_score"], state_dict["best_epoch"]
        self._first_step, self._best = state_dict["first"], dict(state_dict["best"])
        self.scores = [*state_dict.get("scores", ())]
        self._resumed = True

    @override
    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if self._is_fitting:
            checkpoint[_LIVE] = self._state_dict(averaged=False)

    @override
    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if _LIVE in checkpoint and trainer.state.fn == TrainerFn.FITTING:  # otherwise the average is wanted
            saved = checkpoint["state_dict"]  # without what an older version did not have
            new = _averaged_tensors(trainer, pl_module)
            self._average = {name: saved.get(name, value).clone() for name, value in new.items()}
            pl_module.load_state_dict(checkpoint[_LIVE])

    def _save_average(self, trainer: pl.Trainer) -> None:
        """Make every checkpoint hold the average until the fit ends; no callback hook runs for a weights-only checkpoint."""
        own = trainer.strategy.lightning_module_state_dict

        def state_dict(*, averaged: bool = True) -> dict[str, Any]:
            if not self._is_fitting or averaged == self._is_swapped:
                return own()
            return {**own(), **self._average}

        self._state_dict = state_dict
        setattr(trainer.strategy, _STATE_DICT, state_dict)

    def _stop_saving_average(self, trainer: pl.Trainer) -> None:
        self._is_fitting = False
        vars(trainer.strategy).pop(_STATE_DICT, None)

    @torch.no_grad()
    def _swap(self) -> None:
        """Swap the average with the weights being trained, in the module and in `_average`."""
        for name, average in self._average.items():
            live, kept = self._live[name], average.clone()
            average.copy_(live)
            live.copy_(kept)
        self._is_swapped = not self._is_swapped

    def _scale_inputs(self, trainer: pl.Trainer, module: Any) -> None:  # noqa: ANN401 - perhaps not ours
        """Scale the inputs of a new network by how much each column tells about the classes, outside each fold."""
        if self.has_folds and hasattr(module, "scale_inputs"):
            module.scale_inputs(_training_rows(trainer))
            broadcast_tensors(module.buffers())  # ranks may differ in the last bit

    def _stack_linear(self, trainer: pl.Trainer, module: Any) -> None:  # noqa: ANN401 - perhaps not ours
        """Average the network with a linear model, weighted to do best on the held-out folds (stacking)."""
        if not self.has_folds or not hasattr(module, "stack_linear"):
            return
        data = datamodule_of(trainer)
        with evaluating(module):
            share = trainer.strategy.broadcast(module.stack_linear(_training_rows(trainer)))  # as above
        broadcast_tensors([*module.parameters(), *module.buffers()])
        self.linear_share = 1 - share
        if share < 1:
            (loss,) = _held_out_losses(trainer, module, data.fold_loader())
            self.best_score = float(loss)
            logger.info(f"{type(self).__name__}: a linear model makes up {self.linear_share:.0%} of every prediction.")

    def _fit_temperature(self, trainer: pl.Trainer, module: Any) -> None:  # noqa: ANN401 - perhaps not ours
        """Divide the logits of classes by the temperature that is best on the held-out rows, in the network's last layer.

        A fit that stops early is underconfident. Folds are predicted by single members, which are more confident than the
        average of all, so folds never raise the temperature above 1.
        """
        data = datamodule_of(trainer)
        is_ours = hasattr(module, "scale_logits") and hasattr(data, "fold_loader")
        if not is_ours or not module.task.is_classes or not (self.has_folds or "val" in data.parts):
            return
        loader = data.fold_loader() if self.has_folds else data.loader("val")
        losses = _held_out_losses(trainer, module, loader, _TEMPERATURES)
        best = _TEMPERATURES[int(losses.argmin())]
        self.temperature = min(best, 1.0) if self.has_folds else best
        module.scale_logits(1 / self.temperature)

    def _score(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> float | None:
        """Return the loss of the average on held-out rows, the same on all ranks; None if none was measured."""
        if not self.has_folds:
            metrics, is_measured = trainer.callback_metrics, self._validated
            self._validated = False
            found = [metrics[name] for name in ("val/loss", "val/loss/dataloader_idx_0") if name in metrics]
            return float(found[0]) if found and is_measured else None
        self._swap()
        try:
            broadcast_tensors(pl_module.buffers())
            (loss,) = _held_out_losses(trainer, pl_module, datamodule_of(trainer).fold_loader())
        finally:
            self._swap()
        if not trainer.barebones:  # a barebones Trainer warns on every call of log
            pl_module.log("oof/loss", loss, prog_bar=True, sync_dist=True)
        return float(loss)


def _training_rows(trainer: pl.Trainer) -> Any:  # noqa: ANN401 - a batch
    """Return all training rows with their folds as one batch on the module's device, the same on all ranks."""
    data = datamodule_of(trainer)
    batch = data.fold_loader().batch_of(data.parts["train"].rows)
    return trainer.strategy.batch_to_device(trainer.precision_plugin.convert_input(batch))


def save_kept_weights(trainer: pl.Trainer) -> None:
    """Write the weights that an `AverageAndStop` has kept, with their temperature, into the best checkpoints of a fit.

    The last checkpoint keeps the weights being trained, so that the fit can resume, as do all if every one is kept.
    """
    if any(callback.best_epoch >= 0 for callback in callbacks_of(trainer, AverageAndStop)):
        for checkpoint in callbacks_of(trainer, ModelCheckpoint):
            has_best = checkpoint.monitor is not None or checkpoint.save_top_k != -1
            is_last = checkpoint.filename == ModelCheckpoint.CHECKPOINT_NAME_LAST
            if checkpoint.best_model_path and has_best and not is_last:
                trainer.save_checkpoint(checkpoint.best_model_path, weights_only=checkpoint.save_weights_only)


def _averaged_tensors(trainer: pl.Trainer, module: pl.LightningModule) -> dict[str, Tensor]:
    """Return the trainable weights and running statistics by name, without counters, sharing the module's memory."""
    unfreeze = unfreeze_of(trainer)
    is_fixed = unfreeze is not None and len(unfreeze.stages) == 1  # what is frozen now is never unfrozen
    frozen = {name for name, parameter in module.named_parameters() if is_fixed and not parameter.requires_grad}
    return {
        name: value.detach()
        for name, value in module.state_dict().items()
        if isinstance(value, Tensor) and value.is_floating_point() and name not in frozen
    }
