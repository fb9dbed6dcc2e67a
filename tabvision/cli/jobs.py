"""One training run: its components, as a recipe names them, and the settings that all kinds of data share."""

from __future__ import annotations

import argparse
import importlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from tabvision.cli.options import settings_of
from tabvision.data.tables.files import name_of
from tabvision.errors import BadValueError, UnknownNameError, speaking
from tabvision.lightning import tree

if TYPE_CHECKING:
    from tabvision.modules import SupervisedModule
    from tabvision.tuning import Probe

_OF_DATA = ("num_classes", "num_points", "mean", "spread", "low", "high")  # settings of tasks that the data fill in
_WEIGHTED = ("binary", "multiclass", "multilabel")  # tasks with class weights
LOGGERS = {"tensorboard": "TensorBoardLogger", "mlflow": "MLFlowLogger", "wandb": "WandbLogger"}  # besides metrics.csv
_MLFLOW_SERVER = "MLFLOW_TRACKING_URI"  # the environment variable that MLflow reads
LAST = "epoch"  # what is monitored where the last network is the best
_AUTO = "auto"  # --lr auto: the rate is found before training
EXACT_RESUME = "tabvision.callbacks.ExactResume"
CHECKPOINTS = "checkpoints"  # the folder, in that of a run, of what `--verifiable` keeps
KEEP_EVERY: dict[str, Any] = {  # the settings of the `ModelCheckpoint` that does
    "filename": f"{CHECKPOINTS}/{{step}}",
    "save_top_k": -1,
    "save_on_train_epoch_end": True,
    "mode": "max",  # decides nothing without a monitor, but Lightning tells two of them apart by it
}


def tracking(logger: Component | None, folder: str | Path) -> dict[str, str]:
    """Return where MLflow keeps a run if its environment names no server: a database, since it refuses plain folders.

    Example:
        >>> tracking(Component("pytorch_lightning.loggers.MLFlowLogger"), "runs/people")
        {'tracking_uri': 'sqlite:///runs/people/mlflow.db'}
    """
    is_mlflow = logger is not None and logger.class_path.endswith(LOGGERS["mlflow"])
    return {"tracking_uri": f"sqlite:///{folder}/mlflow.db"} if is_mlflow and not os.environ.get(_MLFLOW_SERVER) else {}


def model_checkpoint() -> str:
    """Return the import path of Lightning's `ModelCheckpoint`."""
    return f"{tree()}.callbacks.ModelCheckpoint"


@final
@dataclass(frozen=True)
class Component:
    """A class and its settings, as a recipe names them.

    Args:
        class_path: The import path of the class.
        init_args: Its settings; those left out have their defaults.
    """

    class_path: str
    init_args: Mapping[str, Any] = field(default_factory=dict)

    def build(self, *arguments: Any) -> Any:  # noqa: ANN401 - whatever the class is
        """Return an object of the class."""
        module, _, name = self.class_path.rpartition(".")
        settings = {
            key: value.build() if isinstance(value, Component) else value for key, value in self.init_args.items()
        }
        return getattr(importlib.import_module(module), name)(*arguments, **settings)

    def to_recipe(self) -> dict[str, Any]:
        """Return the component as it stands in a recipe.

        Example:
            >>> Component("tabvision.callbacks.OneCycle").to_recipe()
            {'class_path': 'tabvision.callbacks.OneCycle'}
        """
        settings = {
            key: value.to_recipe() if isinstance(value, Component) else value for key, value in self.init_args.items()
        }
        return {"class_path": self.class_path, **({"init_args": settings} if settings else {})}


@final
@dataclass(frozen=True, kw_only=True)
class Job:
    """One training run.

    Args:
        seed: Seed of the weights, the split and the order of the rows.
        data: The datamodule.
        datamodule: The object that `data` describes, already built: its rows decide batch size and epochs.
        model: The module, which also gets the datamodule's schema.
        callbacks: In any order.
        trainer: Settings of the Trainer, as in a recipe.
        monitor: The logged loss that says which checkpoint is best; "epoch" for the last one, where no rows are held out.
        shown: Columns to write beside the target in predictions.csv.
        num_folds: The networks of a bag, as for `cross_validate`, which no recipe holds; 1 for a single network.
        intervals: Coverage of the intervals to put into the checkpoint, by the held-out rows; None for none.
        probe: What answers before the run, to be saved with it; None for none.
        logger: A logger besides metrics.csv, or None.
        micro_batches: Batches that make a step, as for `ExactResume`; None for one a device.
        verifiable: Whether the checkpoint of every epoch is kept, for `tabvision verify`.
        quiet: Whether nothing is shown while it fits.
        module: The network to go on with in place of a new one, which no recipe holds; or None.
        extra_metrics: A function from the best module and the datamodule to more metrics: its own, and a naive answer's.
    """

    seed: int
    data: Component
    datamodule: Any
    model: Component
    callbacks: Sequence[Component]
    trainer: Mapping[str, Any]
    monitor: str = "val/loss"
    shown: Sequence[str] = ()
    num_folds: int = 1
    intervals: float | None = None
    probe: Probe | None = None
    logger: Component | None = None
    micro_batches: int | None = None
    verifiable: bool = False
    quiet: bool = False
    module: SupervisedModule | None = None
    extra_metrics: Callable[[Any, Any], tuple[Mapping[str, float], Mapping[str, float]]] | None = None

    @property
    def measured_on(self) -> str:
        """The rows on which the network is measured: "validation", "out-of-fold", or "" if no rows are held out."""
        if "val" in self.datamodule.parts:
            return "validation"
        return "out-of-fold" if self.num_folds > 1 or self.monitor == "oof/loss" else ""

    def saving(self, **settings: Any) -> list[Component]:  # noqa: ANN401
        """Return the callbacks that save the best network, weights alone, and after each epoch what a fit resumes from."""
        best = {"filename": "best", "monitor": self.monitor, "save_weights_only": True, **settings}
        best |= {"mode": "max"} if self.monitor == LAST else {}
        last = {"filename": "last", "save_on_train_epoch_end": True, **settings}
        every = [{**KEEP_EVERY, **settings}] if self.verifiable else []
        steps = {} if self.micro_batches is None else {"micro_batches": self.micro_batches}
        return [*(Component(model_checkpoint(), each) for each in (best, *every, last)), Component(EXACT_RESUME, steps)]

    def to_recipe(self) -> dict[str, Any]:
        """Return the run as a LightningCLI recipe, which `tabvision fit --config` repeats to the same numbers."""
        named = {"save_dir": "runs", "name": name_of(self.data.init_args.get("source"))}
        logger = Component(f"{tree()}.loggers.CSVLogger", named)
        is_board = self.logger is not None and self.logger.class_path.endswith(LOGGERS["tensorboard"])
        named_too = named if is_board else {"save_dir": "runs", **tracking(self.logger, "runs")}
        more = None if self.logger is None else replace(self.logger, init_args=named_too)
        trainer = {
            **self.trainer,
            "logger": logger.to_recipe() if more is None else [logger.to_recipe(), more.to_recipe()],
            "callbacks": [part.to_recipe() for part in (*self.callbacks, *self.saving())],
            "enable_model_summary": False,
        }
        return {
            "seed_everything": self.seed,
            "trainer": trainer,
            "model": {"class_path": self.model.class_path, "init_args": dict(self.model.init_args)},
            "data": self.data.to_recipe(),
        }


def source_settings(arguments: argparse.Namespace, kind: str) -> dict[str, Any]:
    """Return the settings of a datamodule as in a recipe; a single target is a string instead of a list."""
    settings = {"source": arguments.data, **settings_of(arguments, kind, "data"), **shared_settings(arguments)}
    if len(settings.get("target", ())) == 1:
        (settings["target"],) = settings["target"]
    return settings


@speaking("tabvision train")
def shared_settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the settings of options that all datamodules take: a test file, the task and its settings, silence.

    Raises:
        BadValueError: `--class-weights` without `--task`.
        UnknownNameError: The task has no such setting.
    """
    settings: dict[str, Any] = {}
    if isinstance(arguments.test, str):
        settings["test"] = arguments.test
    if arguments.quiet:
        settings["verbose"] = False
    task, given = arguments.task or (None, {})
    of_task = dict(given)
    if arguments.class_weights is not None:
        if task not in _WEIGHTED:
            problem = f"--class-weights is for classes or labels, and --task is {task or 'not given'}"
            raise BadValueError(problem, f"Add --task {' or '.join(_WEIGHTED)}, or leave it out")
        of_task["class_weights"] = arguments.class_weights
    if task:
        settings["task"] = Component(f"tabvision.tasks.{task.capitalize()}", of_task) if of_task else task
    if of_task:
        from tabvision.tasks.registry import task_named

        kinds: Any = fields(task_named(task))  # type: ignore[arg-type]  # all are dataclasses
        known = [each.name for each in kinds if each.name not in _OF_DATA]
        if unknown := [name for name in of_task if name not in known]:
            raise UnknownNameError(f"setting of --task {task}", unknown[0], known)
    return settings


def build_datamodule(arguments: argparse.Namespace, data: Component) -> Any:  # noqa: ANN401 - one of our datamodules
    """Return the datamodule; a table that was read to learn its columns is not read again, as a pipe cannot be."""
    frame = getattr(arguments, "frame", None)
    return data.build() if frame is None else replace(data, init_args={**data.init_args, "source": frame}).build()


def make_job(
    arguments: argparse.Namespace,
    datamodule: Any,  # noqa: ANN401 - one of ours
    settings: dict[str, Any],
    *,
    batch_size: int,
    epochs: int,
    model: Component,
    callbacks: Sequence[Component],
    **rest: Any,  # noqa: ANN401
) -> Job:
    """Return the run of a datamodule that is already built from `settings`, to which the batch size is added."""
    datamodule.batch_size = settings["batch_size"] = batch_size
    machine = {name: getattr(arguments, name) for name in ("accelerator", "devices", "precision")}
    num_steps = len(datamodule.parts["train"].rows) // batch_size
    data = Component(f"tabvision.data.{type(datamodule).__name__}", settings)
    finder = [Component("tabvision.tuning.FindLR")] if arguments.lr == _AUTO else []
    trainer = {"max_epochs": epochs, "log_every_n_steps": max(1, min(10, num_steps))}
    trainer |= {name: value for name, value in machine.items() if value is not None}
    if arguments.max_time is not None:
        trainer["max_time"] = arguments.max_time
    if "val" not in datamodule.parts:
        rest = {"monitor": LAST, **rest}
    parts = {"data": data, "datamodule": datamodule, "model": model, "callbacks": [*callbacks, *finder]}
    logger = Component(f"{tree()}.loggers.{LOGGERS[arguments.logger]}") if arguments.logger in LOGGERS else None
    rest = {"micro_batches": arguments.micro_batches, "verifiable": arguments.verifiable, **rest}
    return Job(seed=arguments.seed, trainer=trainer, logger=logger, quiet=arguments.quiet, **parts, **rest)


def lr_setting(name: str, lr: Any) -> dict[str, Any]:  # noqa: ANN401 - text, or a number
    """Return the setting for a given rate; no setting if none is given, or if it is found before training.

    Example:
        >>> lr_setting("lr", "1e-3"), lr_setting("lr", "auto")
        ({'lr': '1e-3'}, {})
    """
    return {} if lr in (None, _AUTO) else {name: lr}


def default_batch_size(num_rows: int, *, least: int = 32, most: int = 4096, steps_per_epoch: int = 60) -> int:
    """Return the largest power of two from `least` to `most` that gives about `steps_per_epoch` steps.

    60 steps make batches large on large tables and let small tables take enough steps.

    Example:
        >>> [default_batch_size(rows) for rows in (100, 40_000, 10_000_000)]
        [32, 512, 4096]
        >>> [default_batch_size(images, least=8, most=64, steps_per_epoch=14) for images in (20, 245, 7_000)]
        [8, 16, 64]
    """
    batch_size = least
    while batch_size < most and batch_size * 2 * steps_per_epoch <= num_rows:
        batch_size *= 2
    return batch_size
