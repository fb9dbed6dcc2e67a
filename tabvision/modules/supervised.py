"""The four steps of a supervised module, written once for every kind of data."""

from __future__ import annotations

import os
import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self, cast, final, get_args

import torch
from torch import Tensor, distributed
from torch.optim import Optimizer
from torchmetrics import MetricCollection
from typing_extensions import override

from tabvision import __version__
from tabvision import lightning as pl
from tabvision.batch import Batch
from tabvision.checks import check_choice, check_fraction, check_least
from tabvision.errors import BadValueError, speaking
from tabvision.lightning import MixedPrecision
from tabvision.modules.optimizers import Decay, OptimizerFactory, check_optimizer, make_optimizer, param_groups
from tabvision.nets.layer_groups import LayerGroup, check_groups
from tabvision.plain import to_plain
from tabvision.schedules import Rates, check_rates
from tabvision.schema import Schema
from tabvision.tasks import Task, own_task

CHECKPOINT_FORMAT = 1
CHECKPOINT_KEY = "tabvision"  # where a checkpoint says who wrote it
OWN = "own"  # saved in place of a function or network of the user's own, which is no plain data


class SupervisedModule(pl.LightningModule, ABC):
    """Training, validation, test and prediction of any network with a task.

    A concrete module answers two questions, `forward` and `layer_groups`. Everything it is built from is saved as plain
    data, so `load_from_checkpoint(path, weights_only=True)` and `Predictor(path)` need nothing else.

    Logged once an epoch: `train/loss`, `val/loss`, `test/loss` and the task's metrics, such as `val/accuracy`. The
    progress bar also shows `train/loss_step`, taken every `Trainer(log_every_n_steps=...)` batches.

    Args:
        schema: What the data is: `data.schema`, or the dict it was saved as.
        lr: One rate, `(first, last)` group, `(None, last)`, "first:last", or a list with one a layer group.
        optimizer: "adamw", "adam", "sgd", "rmsprop", or a function from param groups to an optimizer.
        weight_decay: Strength of the decay of weights, at least 0.
        decay: "decoupled" (AdamW) or "l2" (added to the gradient).
        decay_norms: Whether norms and biases decay as well.
        momentum: For SGD and RMSprop, in [0, 1).

    Attributes:
        own_settings: The settings that may be a function or a network of the user's own, with what a sentence calls it. A
            checkpoint does not hold them: pass them again, as in `load_from_checkpoint(path, optimizer=...)`.
    """

    own_settings: ClassVar[Mapping[str, str]] = {"optimizer": "an optimizer function"}

    def __init__(
        self,
        schema: Schema | dict[str, Any],
        *,
        lr: Rates = 2e-2,
        optimizer: str | OptimizerFactory = "adamw",
        weight_decay: float = 0.01,
        decay: Decay = "decoupled",
        decay_norms: bool = False,  # noqa: ARG002 - saved with the settings, like all of them
        momentum: float = 0.9,
    ) -> None:
        super().__init__()
        with speaking(type(self).__name__):  # no decorator: Lightning reads the arguments in the frame above
            if optimizer != OWN:  # a checkpoint's word; only training needs the function itself
                check_optimizer(optimizer)
            check_least("weight_decay", to_plain(weight_decay), 0, remedy="Pass 0 for none")
            check_choice("decay", decay, get_args(Decay))
            check_fraction("momentum", to_plain(momentum), remedy="Pass a fraction such as 0.9")
            check_rates(cast("Rates", to_plain(lr)))
        self.schema = schema if isinstance(schema, Schema) else Schema.from_dict(schema)
        self.task = self.schema.task
        self.save_hyperparameters(ignore=["schema", "optimizer"])
        with speaking(type(self).__name__):
            plain = {name: to_plain(value) for name, value in self.hparams.items()}
        self.hparams.update(plain)
        self.hparams["optimizer"] = optimizer if isinstance(optimizer, str) else OWN
        self.hparams["schema"] = self.schema.to_dict()  # set last: loggers list the settings, not every vocabulary
        self._optimizer = optimizer
        self._loss = {stage: _RunningMean() for stage in ("train", "val", "test")}
        self.val_metrics = self.task.metrics()
        self.test_metrics = self.task.metrics()

    @override
    def __setattr__(self, name: str, value: Any) -> None:
        # Lightning notes the hook it is in, 43 times a step; by torch's way of setting attributes that costs 0.2 ms
        if name == "_current_fx_name":
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    @abstractmethod
    def forward(self, batch: Batch) -> Tensor:
        """Logits of a batch, (B, num_outputs) float."""

    @abstractmethod
    def layer_groups(self) -> list[LayerGroup]:
        """The network's parts, input side first, head last, every parameter once."""

    @override
    @speaking()
    def setup(self, stage: str) -> None:
        schema = getattr(getattr(self.trainer, "datamodule", None), "schema", self.schema)
        if image := self.schema.image:  # the data may leave the statistics to the weights
            schema = schema.with_statistics(image.mean, image.std)
        if schema != self.schema:
            problem = f"the data was prepared for another schema; what differs: {_difference(schema, self.schema)}"
            remedy = "Pass schema=module.schema to the datamodule, or build the module from data.schema"
            raise BadValueError(problem, remedy)

    @override
    @speaking()
    def configure_optimizers(self) -> Optimizer:
        settings = self.hparams
        if self._optimizer == OWN:
            raise self.not_held("optimizer")
        layers = self.layer_groups()
        check_groups(layers, self)
        lr, weight_decay, decay_norms = settings["lr"], settings["weight_decay"], settings["decay_norms"]
        groups = param_groups(layers, lr=lr, weight_decay=weight_decay, decay_norms=decay_norms)
        return make_optimizer(
            self._optimizer, groups, decay=settings["decay"], momentum=settings["momentum"], fused=self._may_fuse()
        )

    @classmethod
    def not_held(cls, setting: str) -> BadValueError:
        """Return the error that asks for a piece of the user's own, which no checkpoint holds.

        Args:
            setting: Its name, one of `own_settings`.
        """
        problem = f"it was trained with {cls.own_settings[setting]} of your own, which no checkpoint holds"
        predictor = "" if setting == "optimizer" else f", Predictor(path, {setting}=...)"
        return BadValueError(problem, f"Pass it again: load_from_checkpoint(path, {setting}=...){predictor}")

    def _may_fuse(self) -> bool:
        """Lightning refuses to clip gradients for a fused optimizer under mixed precision."""
        trainer = self._trainer
        if trainer is None or self.device.type not in ("cpu", "cuda"):
            return False
        return not (isinstance(trainer.precision_plugin, MixedPrecision) and trainer.gradient_clip_val)

    @override
    def on_fit_start(self) -> None:
        if not torch.cuda.is_available():
            # Lightning sets it to 1, and torch then looks for the GPU's driver in every optimizer step: 0.2 ms each
            os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "0"

    @override
    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss = self._mean_loss(batch, self(batch), "train")
        every: int = self.trainer.log_every_n_steps  # type: ignore[attr-defined]  # 0: never, as in a barebones Trainer
        if every and batch_idx % every == 0:  # a log at every step would cost a fifth of a small net's step
            self.log("train/loss_step", loss.detach(), prog_bar=True, logger=False, on_step=True, on_epoch=False)
        return loss

    @override
    def on_train_epoch_start(self) -> None:
        self._loss["train"].reset()

    @override
    def on_train_epoch_end(self) -> None:
        self._share_buffers()
        loss = self._log_loss("train")
        if not loss.isfinite() and self._loss["train"].totals()[1] > 0:  # else no batch was trained on
            message = (
                f"{type(self).__name__}: the training loss is {loss.item()} in epoch {self.current_epoch}. Lower lr."
            )
            warnings.warn(message, stacklevel=1)

    @override
    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self._evaluate(batch, "val")

    @override
    def on_validation_epoch_start(self) -> None:
        self._reset("val")

    @override
    def on_validation_epoch_end(self) -> None:
        self._log_evaluation("val")

    @override
    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self._evaluate(batch, "test")

    @override
    def on_test_epoch_start(self) -> None:
        self._reset("test")

    @override
    def on_test_epoch_end(self) -> None:
        self._log_evaluation("test")

    @override
    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Predictions of a batch with the row numbers they belong to.

        Shape:
            - predictions: (B, C) probabilities, or (B, T) numbers in the user's units
            - index: (B,) int64
        """
        predictions = self.task.activate(self(batch).float())
        return {"predictions": self.task.in_user_units(predictions, batch.get("view")), "index": batch["index"]}

    @override
    @classmethod
    def load_from_checkpoint(cls, *args: Any, task: Task | type[Task] | None = None, **settings: Any) -> Self:
        """Return the module that a checkpoint holds, as every LightningModule does.

        Args:
            args: The path, as for any LightningModule.
            task: The class of a task of your own, which no checkpoint holds.
            settings: As for any LightningModule; pieces of your own.
        """
        with speaking(cls.__name__), own_task(task):
            return super().load_from_checkpoint(*args, **settings)

    @override
    @speaking()
    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        saved = checkpoint.get("hyper_parameters", {}).get("schema")
        if saved is None:  # weights that somebody else saved
            return
        with own_task(self.task, required=False):
            theirs = Schema.from_dict(saved)
        if theirs != self.schema:
            problem = f"the checkpoint is of another schema; what differs: {_difference(self.schema, theirs)}"
            remedy = "Pass the checkpoint's schema to the datamodule (schema=), or train anew"
            raise BadValueError(problem, remedy)

    @override
    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        facts = {"format": CHECKPOINT_FORMAT, "version": __version__, "module": type(self).__name__}
        datamodule = getattr(self._trainer, "datamodule", None)
        checkpoint[CHECKPOINT_KEY] = {**facts, **getattr(datamodule, "checkpoint_facts", dict)()}

    def resume_state(self) -> dict[str, Any]:
        """What is summed within an epoch, for a fit that goes on inside it."""
        return {"train": self._loss["train"].totals()}

    def load_resume_state(self, state: dict[str, Any]) -> None:
        """Takes it back."""
        self._loss["train"].load(state["train"].to(self.device))

    def _share_buffers(self) -> None:
        """Gives every rank the first one's running statistics, which DDP does before a step, but not after the last."""
        if distributed.is_available() and distributed.is_initialized():
            for buffer in self.buffers():
                distributed.broadcast(buffer, src=0)

    def _mean_loss(self, batch: Batch, logits: Tensor, stage: str) -> Tensor:
        losses = self.task.loss(_at_least_float32(logits), batch["target"])
        weights = batch.get("weight")
        if weights is None:
            loss = losses.mean()
            self._loss[stage].update(loss, len(losses))
        else:
            weights = weights.to(losses.dtype)
            total = weights.sum()
            loss = (losses * weights).sum() / total.clamp(min=torch.finfo(total.dtype).tiny)  # no weight at all: 0
            self._loss[stage].update(loss, total)
        return loss

    def _evaluate(self, batch: Batch, stage: str) -> None:
        logits = _at_least_float32(self(batch))
        if len(batch["index"]):  # none where there are fewer rows than ranks, and no rows have no mean
            self._mean_loss(batch, logits, stage)
        self._metrics(stage).update(self.task.activate(logits), batch["target"])

    def _metrics(self, stage: str) -> MetricCollection:
        return self.val_metrics if stage == "val" else self.test_metrics

    def _reset(self, stage: str) -> None:
        self._loss[stage].reset()
        self._metrics(stage).reset()

    def _log_loss(self, stage: str) -> Tensor:
        totals = self.trainer.strategy.reduce(self._loss[stage].totals().to(self.device), reduce_op="sum")
        loss = (totals[0] / totals[1]).float()
        self._log({f"{stage}/loss": loss})
        return loss

    def _log_evaluation(self, stage: str) -> None:
        self._log_loss(stage)
        self._log({f"{stage}/{name}": value for name, value in self._metrics(stage).compute().items()})

    def _log(self, values: Mapping[str, Tensor]) -> None:
        if not self.trainer.barebones:  # which warns at every log
            self.log_dict(values, prog_bar=True, on_epoch=True, on_step=False, sync_dist=True)


def settled(schema: Schema | dict[str, Any], unused_with: str | None, **settings: tuple[Any, Any]) -> dict[str, Any]:
    """Return some settings with their defaults filled in, or None for each where they have no effect.

    Args:
        schema: As the module got it. One that was saved in format 1 comes from a checkpoint that holds every setting, used
            or not; those without effect are dropped.
        unused_with: What leaves them without effect, such as "kind='dot'"; None where they have one.
        settings: Of each setting what was passed, None for not given, and the default.

    Raises:
        BadValueError: A setting was given that has no effect.
    """
    if unused_with is None:
        return {name: default if value is None else value for name, (value, default) in settings.items()}
    for name, (value, _) in settings.items():
        if value is not None and not (isinstance(schema, dict) and schema.get("format") == 1):
            raise BadValueError(f"{name} has no effect with {unused_with}, got {value!r}", f"Leave {name} out")
    return dict.fromkeys(settings)


def _at_least_float32(logits: Tensor) -> Tensor:
    return logits.float() if logits.itemsize < 4 else logits


def _difference(one: Schema, other: Schema) -> str:
    """The first column or fact in which two schemas differ."""
    ours, theirs = one.to_dict(), other.to_dict()
    for part in ours | theirs:
        mine, its = ours.get(part, []), theirs.get(part, [])
        if mine != its:
            return {"images": "image", "target": "target"}.get(part) or f"{part} {_first_difference(mine, its)}"
    return "nothing that is saved"


def _first_difference(ours: Sequence[Any], theirs: Sequence[Any]) -> str:
    for mine, other in zip(ours, theirs, strict=False):
        if mine != other:
            return repr(mine.get("name", "image"))  # the name that is not written
    return f"({len(ours)} columns against {len(theirs)})"


@final
class _RunningMean:
    """The weighted mean of values seen so far, summed on the device.

    Example:
        >>> mean = _RunningMean()
        >>> mean.update(torch.tensor(2.0), 1)
        >>> mean.update(torch.tensor(5.0), 3)
        >>> (mean.totals()[0] / mean.totals()[1]).item()
        4.25
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forgets everything."""
        self._sum: Tensor | None = None
        self._weight: Tensor | float = 0.0

    def update(self, mean: Tensor, weight: Tensor | float) -> None:
        """Adds the mean of some rows and how much they weigh."""
        weight = _wide(weight) if isinstance(weight, Tensor) else weight
        share = _wide(mean) * weight
        self._sum = share if self._sum is None else self._sum + share
        self._weight = self._weight + weight  # not in place: a tensor may be the caller's

    def load(self, totals: Tensor) -> None:
        """Takes back what `totals` gave."""
        self._sum, self._weight = totals[0], totals[1]

    def totals(self) -> Tensor:
        """Sum and weight, (2,), to be added over ranks."""
        total = torch.zeros((), dtype=torch.float64) if self._sum is None else self._sum
        return torch.stack([total, torch.as_tensor(self._weight).to(total)])


def _wide(value: Tensor) -> Tensor:
    """In float64 where the device has it: a float32 sum over a long epoch loses digits."""
    return value.detach() if value.device.type == "mps" else value.detach().double()
