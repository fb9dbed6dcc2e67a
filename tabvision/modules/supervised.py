"""Training, validation, test and prediction steps, written once for every kind of data."""

from __future__ import annotations

import inspect
import os
import warnings
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from types import FrameType
from typing import Any, Self

import torch
from torch import Tensor, nn
from torchmetrics import MetricCollection
from typing_extensions import override

from tabvision import __version__
from tabvision import lightning as pl
from tabvision.batch import Batch
from tabvision.errors import BadValueError, speaking
from tabvision.lightning import MixedPrecision, warn_of_both
from tabvision.metrics import RunningMean
from tabvision.modules.network import CHECKPOINT_FORMAT, CHECKPOINT_KEY, OWN, SchemaNetwork
from tabvision.modules.optimizers import Decay, OptimizerFactory, make_optimizer, param_groups
from tabvision.modules.saved_settings import check_loading_settings, is_damage, settings_not_taken, without_advice
from tabvision.nets.layer_groups import check_groups, to_group
from tabvision.nets.layers import broadcast_tensors, fact_device, restore_pretrained_norms
from tabvision.nets.weights import check_undamaged
from tabvision.plain import to_plain, without_tuples
from tabvision.schedules import Rates
from tabvision.schema import Schema, SchemaSource, schema_of
from tabvision.tasks import Task, own_task
from tabvision.tasks.losses import at_least_float32

_WEIGHTS_ONLY = 4  # position of `weights_only` in Lightning's `load_from_checkpoint`


class SupervisedModule(pl.LightningModule, SchemaNetwork):
    """Train, validate, test and predict with any network that has a task.

    A concrete module implements `forward` and `layer_groups`. All settings are saved as plain data, so
    `load_from_checkpoint(path, weights_only=True)` and `Predictor(path)` need nothing else, except for settings that are a
    user's own network or function, which must be passed again.

    Logged once per epoch: `train/loss`, `val/loss`, `test/loss` and the task's metrics, such as `val/accuracy`; with several
    loaders, each gets its own, under Lightning's names, as in `val/loss/dataloader_idx_0`. The progress bar also shows
    `train/loss_step`, every `Trainer(log_every_n_steps=...)` batches. A step that a subclass overrides logs what it computes
    itself. A hook that a subclass overrides must call `super()`: these metrics and the checkpoint's facts depend on it.

    Args:
        schema: The schema of the data, an object with a `schema`, such as the datamodule, or the dict it was saved as.
        lr: One rate, `(first, last)` group, `(None, last)`, "first:last", or a list with one rate per layer group.
        optimizer: "adamw", "adam", "sgd", "rmsprop", or a function from param groups to an optimizer.
        weight_decay: Strength of the weight decay, at least 0.
        decay: "decoupled" (AdamW) or "l2" (added to the gradient).
        decay_norms: Whether norms and biases decay as well.
        momentum: For SGD and RMSprop, in [0, 1).
        saved: Settings of a subclass to save in place of those passed: with defaults filled in, or "own" for an object that
            is not plain data. LightningCLI would otherwise save what the user wrote.

    Attributes:
        other_data: The remedy, for error messages, if the data's schema differs from the checkpoint's.
        own_settings: The settings that may be a user's own function or network, with their names in error messages. A
            checkpoint does not hold these: pass them again, as in `load_from_checkpoint(path, optimizer=...)`.
    """

    def __init__(
        self,
        schema: SchemaSource,
        *,
        lr: Rates = 2e-2,
        optimizer: str | OptimizerFactory = "adamw",
        weight_decay: float = 0.01,
        decay: Decay = "decoupled",
        decay_norms: bool = False,
        momentum: float = 0.9,
        saved: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__()
        warn_of_both(type(self).__name__)
        own: dict[str, Any] = {"lr": lr, "weight_decay": weight_decay, "decay": decay, "momentum": momentum}
        self._set_up(schema, optimizer=optimizer, **own)
        with without_advice():
            super().save_hyperparameters(ignore=["schema", "optimizer", "saved"])
        # LightningCLI saves what the class accepts, and a subclass may accept fewer settings
        own |= {"decay_norms": decay_norms, **self.hparams, **(saved or {})}
        with speaking(type(self).__name__):
            plain = {name: self._plain_setting(name, value) for name, value in own.items()}
        self._set_settings(plain, optimizer if isinstance(optimizer, str) else OWN)
        self._optimizer = optimizer
        self._loss: dict[str | int, RunningMean] = {"train": RunningMean()}  # plus one per evaluation loader
        self._train_loss: Tensor | None = None  # of the epoch, once its last batch is done
        with fact_device():
            self.val_metrics = self.task.metrics()
            self.test_metrics = self.task.metrics()
        self._begin_evaluation(self.val_metrics, 1)

    @override
    def save_hyperparameters(
        self,
        *args: Any,
        ignore: Sequence[str] | str | None = None,
        frame: FrameType | None = None,
        logger: bool = True,
    ) -> None:
        """Save settings that a subclass adds, as for any LightningModule; our own are saved already.

        Args:
            args: As for any LightningModule.
            ignore: Settings of a subclass not to save; those of tabvision's classes are needed to build the network.
            frame: As for any LightningModule.
            logger: As for any LightningModule.
        """
        current = inspect.currentframe()
        names = {ignore} if isinstance(ignore, str) else {*(ignore or ())}
        ours = (kind for kind in type(self).__mro__ if kind.__module__.startswith("tabvision."))
        needed = {"schema", "optimizer"}.union(*(inspect.signature(kind).parameters for kind in ours))
        before = {name: value for name, value in self.hparams.items() if name not in names - needed}
        with without_advice():
            super().save_hyperparameters(
                *args, ignore=ignore, frame=frame or (current and current.f_back), logger=logger
            )
        with speaking(type(self).__name__):
            added = {name: to_plain(value) for name, value in self.hparams.items() if name not in before}
        optimizer = before.pop("optimizer")
        before.pop("schema")
        self._set_settings({**before, **added}, optimizer)

    def _set_settings(self, plain: Mapping[str, object], optimizer: str) -> None:
        """Set the hyperparameters for checkpoints, and those for loggers."""
        self.hparams.clear()
        # only checkpoints get the schema: loggers should not list every vocabulary
        self.hparams.update({**plain, "optimizer": optimizer, "schema": self.schema.to_dict()})
        self._hparams_initial = without_tuples(plain)  # for loggers; plain YAML has no tuples

    def _plain_setting(self, name: str, value: object) -> object:
        """Return a setting as plain data, or `OWN` for a user's own object."""
        if name not in self.own_settings:
            if isinstance(value, str) and value == OWN:
                raise self.not_held(name)
            if isinstance(value, nn.Module) or callable(value):
                return OWN
        return to_plain(value)

    @override
    def __setattr__(self, name: str, value: Any) -> None:
        # Lightning sets the current hook's name 43 times per step, which would take 0.2 ms with torch's __setattr__
        if name == "_current_fx_name":
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    @abstractmethod
    def forward(self, batch: Batch) -> Tensor:
        """Return the logits of a batch, (B, num_outputs) float."""

    @override
    @speaking()
    def setup(self, stage: str) -> None:
        schema = getattr(getattr(self.trainer, "datamodule", None), "schema", self.schema)
        self._check_schema(schema, "the data was prepared for another schema")

    @override
    @speaking()
    def configure_optimizers(self) -> Any:  # an optimizer; a subclass may return schedulers as well
        settings = self.hparams
        if self._optimizer == OWN:
            raise self.not_held("optimizer")
        layers = [to_group(part, number) for number, part in enumerate(self.layer_groups())]
        check_groups(layers, self)
        lr, weight_decay, decay_norms = settings["lr"], settings["weight_decay"], settings["decay_norms"]
        groups = param_groups(layers, lr=lr, weight_decay=weight_decay, decay_norms=decay_norms)
        return make_optimizer(
            self._optimizer, groups, decay=settings["decay"], momentum=settings["momentum"], fused=self._may_fuse()
        )

    def _may_fuse(self) -> bool:
        """Return whether the optimizer may be fused; under mixed precision Lightning cannot clip gradients if it is."""
        trainer = self._trainer
        if trainer is None or self.device.type not in ("cpu", "cuda"):
            return False
        return not (isinstance(trainer.precision_plugin, MixedPrecision) and trainer.gradient_clip_val)

    @override
    def on_fit_start(self) -> None:
        self._train_loss = None  # from an earlier fit; resuming at the end of an epoch does not start that epoch
        if not torch.cuda.is_available():
            # Lightning sets it to 1, which makes torch look for the GPU driver in every optimizer step: 0.2 ms each
            os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "0"

    @override
    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss = self._mean_loss(batch, self.member_logits(batch), "train")
        # 0 means never, as for a barebones Trainer or none at all
        every: int = getattr(self._trainer, "log_every_n_steps", 0)
        if every and batch_idx % every == 0:  # logging every step would take a fifth of a small network's step
            self.log("train/loss_step", loss.detach(), prog_bar=True, logger=False, on_step=True, on_epoch=False)
        return loss

    @override
    def on_train_epoch_start(self) -> None:
        self._loss["train"].reset()
        self._train_loss = None

    @override
    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        if self.trainer.is_last_batch:  # callbacks read the loss in their on_train_epoch_end, which runs before ours
            self._train_loss = self._log_loss("train/loss", "train")

    @override
    def on_train_epoch_end(self) -> None:
        broadcast_tensors(self.buffers())
        loss = self._log_loss("train/loss", "train") if self._train_loss is None else self._train_loss
        if loss is not None and not loss.isfinite():
            problem = f"the training loss is {loss.item()} in epoch {self.current_epoch}"
            warnings.warn(f"{type(self).__name__}: {problem}. Lower lr.", stacklevel=1)

    @override
    def validation_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        self._evaluate(batch, dataloader_idx)

    @override
    def on_validation_epoch_start(self) -> None:
        self._begin_evaluation(self.val_metrics, len(self.trainer.num_val_batches))

    @override
    def on_validation_batch_end(self, outputs: Any, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        self._log_when_done("val", batch_idx)

    @override
    def on_validation_epoch_end(self) -> None:
        self._log_evaluation("val")

    @override
    def test_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        self._evaluate(batch, dataloader_idx)

    @override
    def on_test_epoch_start(self) -> None:
        self._begin_evaluation(self.test_metrics, len(self.trainer.num_test_batches))

    @override
    def on_test_batch_end(self, outputs: Any, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        self._log_when_done("test", batch_idx)

    @override
    def on_test_epoch_end(self) -> None:
        self._log_evaluation("test")

    @override
    def predict_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> dict[str, Tensor]:
        """Return the predictions of a batch, their row numbers, and the losses if there is a target.

        Shape:
            - predictions: (B, C) probabilities, or (B, T) numbers in the user's units
            - index: (B,) int64
            - loss: (B,) float, if the batch has a target
            - fold: (B,) int64, if the batch has folds
        """
        logits = self.answer_logits(batch).float()
        predictions = self.task.in_user_units(self.task.activate(logits), batch.get("view"))
        loss = {"loss": self.task.loss(logits, batch["target"])} if "target" in batch else {}
        fold = {"fold": batch["fold"]} if "fold" in batch else {}
        return {"predictions": predictions, "index": self.needed(batch, "index"), **loss, **fold}

    @override
    @classmethod
    def load_from_checkpoint(
        cls, *args: Any, task: Task | type[Task] | None = None, schema: SchemaSource | None = None, **settings: Any
    ) -> Self:
        """Return the module saved in a checkpoint, as for any LightningModule.

        Args:
            args: The path, as for any LightningModule.
            task: The class of your own task, which a checkpoint cannot hold.
            schema: The schema of the data to continue with, which must equal the checkpoint's; None for no check.
            settings: As for any LightningModule, including objects of your own. `weights_only` is True unless given.

        Raises:
            BadValueError: The checkpoint is damaged or has another schema, or one of your own objects is missing.
            UnknownNameError: The module has no such setting.
        """
        if len(args) <= _WEIGHTS_ONLY:  # Lightning's default would unpickle, and so run code from, a file at a URL
            settings.setdefault("weights_only", True)
        with speaking(cls.__name__), own_task(task):
            if getattr(cls, "__final__", False):
                check_loading_settings(cls, settings)
                settings["_instantiator"] = None  # `fit --config` saves one that rejects final classes
            check_undamaged(args[0] if args else settings.get("checkpoint_path"))
            try:
                module = super().load_from_checkpoint(*args, **settings)
            except Exception as error:
                if is_damage(error, plain=settings.get("weights_only") is True):
                    problem = "the file is damaged, holds more than plain data, or is not a Trainer's checkpoint"
                    raise BadValueError(problem, "Copy it again, or pass another one") from error
                if not isinstance(error, RuntimeError) or "loading state_dict" not in str(error):
                    raise
                problem = f"the weights in the checkpoint do not fit the {cls.__name__} that these settings build"
                raise BadValueError(problem, f"Leave out what changes the network. {cls.other_data}") from error
            if schema is not None:
                module._check_schema(schema_of(schema), "the checkpoint has another schema")  # noqa: SLF001 - of this class
            return module

    @speaking()
    def grow(self, schema: SchemaSource) -> Self:
        """Return a module that also knows the categories, columns and classes of new rows; at first it answers as this one.

        Its optimizer starts afresh. Prepare the rows with its schema: `TabularDataModule(..., schema=module.schema)`.

        - A new category starts like an unknown one and a new column with zero weights, so answers for old rows stay the same.
        - A new class starts with a probability of 0.001; the others keep their ratios. A `VisionModule` with a single rate
          then trains its first group at a twentieth of that rate and its head at five times the rate.

        Args:
            schema: A datamodule fitted to the new rows, or its schema.

        Raises:
            BadValueError: The rows do not fit the network's target or columns, or the network has a part of the user's own.
        """
        from tabvision.modules.growth import grown_module  # here, since it imports every kind of network

        return grown_module(self, schema_of(schema))

    @override
    @speaking()
    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        check_undamaged(getattr(self._trainer, "ckpt_path", None))
        restore_pretrained_norms(self, checkpoint)
        saved = checkpoint.get("hyper_parameters", {}).get("schema")
        if saved is None:  # not saved by tabvision
            return
        with own_task(self.task, required=False):
            saved_schema = Schema.from_dict(saved)
        self._check_schema(saved_schema, "the checkpoint has another schema")

    @override
    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        facts = {"format": CHECKPOINT_FORMAT, "version": __version__, "module": type(self).__name__}
        datamodule = getattr(self._trainer, "datamodule", None)
        checkpoint[CHECKPOINT_KEY] = {**facts, **getattr(datamodule, "checkpoint_facts", dict)()}
        # LightningCLI passes all of them to the class again
        for name in settings_not_taken(type(self), checkpoint.get("hyper_parameters", ())) - {"schema"}:
            del checkpoint["hyper_parameters"][name]

    def resume_state(self) -> dict[str, Any]:
        """Return the sums accumulated within an epoch, for resuming in the middle of it."""
        return {"train": self._loss["train"].totals()}

    def load_resume_state(self, state: dict[str, Any]) -> None:
        """Restore what `resume_state` returned."""
        self._loss["train"].load(state["train"].to(self.device))

    def _mean_loss(self, batch: Batch, logits: Tensor, part: str | int) -> Tensor:
        losses = self._losses(batch, at_least_float32(logits))
        weights = batch.get("weight")
        if weights is None:
            loss = losses.mean()
            self._loss[part].update(loss, len(losses))
        else:
            weights = weights.to(losses.dtype)
            total = weights.sum()
            loss = (losses * weights).sum() / total.clamp(min=torch.finfo(total.dtype).tiny)  # 0 if all weights are 0
            self._loss[part].update(loss, total)
        return loss

    def _losses(self, batch: Batch, logits: Tensor) -> Tensor:
        """Return the loss of each row, (B,), averaged over the members that learn from it."""
        num_rows, members = logits.shape[:2]
        target = self._checked_target(batch)
        if members == 1:
            return self.task.loss(logits.flatten(0, 1), target)
        losses = self.task.loss(logits.flatten(0, 1), target.repeat_interleave(members, 0)).view(num_rows, members)
        if (folds := batch.get("fold")) is not None:
            learns = folds.unsqueeze(1) != torch.arange(members, device=folds.device)
            losses = losses * learns * (members / (members - 1))
        return losses.mean(1)

    @torch.compiler.disable  # type: ignore[untyped-decorator]  # it looks at values
    def _checked_target(self, batch: Batch) -> Tensor:
        """Return the target; raise if the loss is not defined for it, which a user's own loader may cause."""
        target = self.needed(batch, "target")
        is_ours = hasattr(getattr(self._trainer, "datamodule", None), "schema")
        if is_ours or not len(target) or (target.is_cuda and self.current_epoch):  # looking at values waits for the GPU
            return target
        if expected := self.task.expected_target(target):
            kind, ends = str(target.dtype).removeprefix("torch."), f"{target.min().item():g} to {target.max().item():g}"
            problem = f"the target of a batch must be {expected}, got {kind} {tuple(target.shape)} from {ends}"
            raise BadValueError(type(self).__name__, problem, "Correct it, or drop such rows, where batches are made")
        return target

    def _begin_evaluation(self, metrics: MetricCollection, num_loaders: int) -> None:
        metrics.reset()
        self._metrics = [metrics, *(metrics.clone() for _ in range(1, num_loaders))]
        self._loss |= {dataloader_idx: RunningMean() for dataloader_idx in range(num_loaders)}
        self._is_logged = False

    def _evaluate(self, batch: Batch, dataloader_idx: int) -> None:
        logits = at_least_float32(self.answer_logits(batch))
        if len(logits):  # a rank gets no rows if there are fewer rows than ranks, and no rows have no mean
            self._mean_loss(batch, logits.unsqueeze(1), dataloader_idx)
        self._update_metrics(dataloader_idx, self.task.activate(logits), self.needed(batch, "target"))

    @torch.compiler.disable  # type: ignore[untyped-decorator]  # traced, an update would leave a metric's lists empty
    def _update_metrics(self, dataloader_idx: int, predictions: Tensor, target: Tensor) -> None:
        self._metrics[dataloader_idx].update(predictions, target)

    def _log_when_done(self, stage: str, batch_idx: int) -> None:
        """Log after the last batch, since callbacks read the metrics in their epoch-end hooks, which run before ours.

        Not with several loaders: Lightning would attribute what is logged after a batch to the last one.
        """
        trainer: Any = self.trainer
        sizes = trainer.num_sanity_val_batches if trainer.sanity_checking else getattr(trainer, f"num_{stage}_batches")
        if sizes == [batch_idx + 1]:
            self._log_evaluation(stage)

    def _log_evaluation(self, stage: str) -> None:
        if self._is_logged:
            return
        self._is_logged = True
        for dataloader_idx, metrics in enumerate(self._metrics):
            loader = f"/dataloader_idx_{dataloader_idx}" if len(self._metrics) > 1 else ""
            if self._log_loss(f"{stage}/loss{loader}", dataloader_idx) is not None:
                self._log({f"{stage}/{name}{loader}": value for name, value in metrics.compute().items()})

    def _log_loss(self, name: str, part: str | int) -> Tensor | None:
        """Log and return the mean loss over all ranks; None if there was no batch, or the step is a subclass's own."""
        totals: Tensor = self.trainer.strategy.reduce(self._loss[part].totals().to(self.device), reduce_op="sum")
        if not totals[1] > 0:
            return None
        loss = (totals[0] / totals[1]).float()
        self._log({name: loss})
        return loss

    def _log(self, values: Mapping[str, Tensor]) -> None:
        if not self.trainer.barebones:  # a barebones Trainer warns on every call of log
            settings: dict[str, Any] = {"on_epoch": True, "on_step": False, "sync_dist": True, "batch_size": 1}
            self.log_dict(values, prog_bar=True, add_dataloader_idx=False, **settings)
