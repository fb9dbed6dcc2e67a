"""A training run: its recipe, and the settings that all kinds of data share."""

from __future__ import annotations

import argparse
import importlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from tabvision.checks import check_choice
from tabvision.cli.options import settings_of
from tabvision.data.tables.files import name_of
from tabvision.errors import BadValueError, speaking
from tabvision.lightning import tree
from tabvision.tasks.registry import task_named

if TYPE_CHECKING:
    from tabvision.modules import SupervisedModule
    from tabvision.tuning import Probe

_OF_DATA = ("num_classes", "num_points", "mean", "spread", "low", "high")  # task settings taken from the data
_WEIGHTED = ("binary", "multiclass", "multilabel")  # tasks with class weights
LOGGERS = {"tensorboard": "TensorBoardLogger", "mlflow": "MLFlowLogger", "wandb": "WandbLogger"}  # besides metrics.csv
_MLFLOW_SERVER = "MLFLOW_TRACKING_URI"  # the environment variable that MLflow reads
LAST = "epoch"  # the monitored value if the last network counts as the best
_AUTO = "auto"  # --lr auto: find the learning rate before training
EXACT_RESUME = "tabvision.callbacks.ExactResume"
CHECKPOINTS = "checkpoints"  # subfolder of a run for the checkpoints of `--verifiable`
KEEP_EVERY: dict[str, Any] = {  # settings of the `ModelCheckpoint` that keeps them
    "filename": f"{CHECKPOINTS}/{{step}}",
    "save_top_k": -1,
    "save_on_train_epoch_end": True,
    "mode": "max",  # has no effect without a monitor, but lets Lightning tell two of these callbacks apart
}


def component(class_path: str, **settings: Any) -> dict[str, Any]:  # noqa: ANN401 - whatever the class takes
    """Return a class and its settings in the form of a recipe.

    Example:
        >>> component("tabvision.data.RandomSplit", share=0.1)
        {'class_path': 'tabvision.data.RandomSplit', 'init_args': {'share': 0.1}}
    """
    return {"class_path": class_path, **({"init_args": settings} if settings else {})}


def build(value: Any, *arguments: Any, **changed: Any) -> Any:  # noqa: ANN401 - settings of a recipe
    """Build a component of a recipe, with the components in its settings; return any other setting unchanged.

    Args:
        value: A component, or another setting.
        arguments: Positional arguments of the class.
        changed: Settings that replace or extend those of the recipe.
    """
    if not isinstance(value, Mapping) or "class_path" not in value:
        return value
    module, _, name = value["class_path"].rpartition(".")
    settings = {key: build(each) for key, each in {**value.get("init_args", {}), **changed}.items()}
    if module.startswith("tabvision.tasks"):  # their settings are tuples, which YAML writes as lists
        settings = {key: tuple(each) if isinstance(each, list) else each for key, each in settings.items()}
    return getattr(importlib.import_module(module), name)(*arguments, **settings)


def model_checkpoint() -> str:
    """Return the import path of Lightning's `ModelCheckpoint`."""
    return f"{tree()}.callbacks.ModelCheckpoint"


def extra_logger(class_path: str, folder: str | Path, **named: str) -> dict[str, Any]:
    """Return a logger besides metrics.csv that writes to a folder; `named` has name and version for TensorBoard."""
    settings = {"save_dir": str(folder), **(named if class_path.endswith(LOGGERS["tensorboard"]) else {})}
    if class_path.endswith(LOGGERS["mlflow"]) and not os.environ.get(_MLFLOW_SERVER):
        settings["tracking_uri"] = f"sqlite:///{folder}/mlflow.db"  # it does not accept plain folders
    return component(class_path, **settings)


@final
@dataclass(frozen=True, kw_only=True)
class Job:
    """One training run: its recipe, and what a recipe cannot hold.

    Args:
        recipe: The recipe, which `tabvision fit --config` reproduces to the same numbers.
        datamodule: The datamodule of the recipe, already built, since its rows determine batch size and epochs.
        module: The network to continue with instead of a new one, or None.
        num_folds: Number of networks in a bag, as for `cross_validate`; 1 for a single network.
        intervals: Coverage of the intervals to add to the checkpoint, fitted on held-out rows; None for none.
        probe: The linear probe to save with the run; None for none.
        refit: Whether to retrain on training and validation rows after measuring the first network; None for the default,
            which does so if the validation rows are the latest.
        report: Whether to write report.html; None for yes.
        quiet: Whether to show nothing during the fit.
    """

    recipe: dict[str, Any]
    datamodule: Any
    module: SupervisedModule | None = None
    num_folds: int = 1
    intervals: float | None = None
    probe: Probe | None = None
    refit: bool | None = None
    report: bool | None = None
    quiet: bool = False

    @property
    def monitor(self) -> str:
        """The logged loss that determines the best checkpoint; "epoch" for the last one, if no rows are held out."""
        return monitor_of(self.recipe)

    @property
    def verifiable(self) -> bool:
        """Whether to keep the checkpoint of every epoch, for `tabvision verify`."""
        return any(each.get("init_args", {}).get("save_top_k") == -1 for each in self.recipe["trainer"]["callbacks"])

    @property
    def measured_on(self) -> str:
        """The rows that measure the network: "validation", "out-of-fold", or "" if no rows are held out."""
        if "val" in self.datamodule.parts:
            return "validation"
        return "out-of-fold" if self.num_folds > 1 or self.monitor == "oof/loss" else ""


def monitor_of(recipe: Mapping[str, Any]) -> str:
    """Return what the first `ModelCheckpoint` in a recipe monitors."""
    settings = (each.get("init_args", {}) for each in recipe["trainer"]["callbacks"])
    return str(next((each["monitor"] for each in settings if "monitor" in each), LAST))


def _saving(arguments: argparse.Namespace, monitor: str) -> list[dict[str, Any]]:
    """Return the callbacks that save the weights of the best network, and after each epoch the state to resume from."""
    best = {
        "filename": "best",
        "monitor": monitor,
        "save_weights_only": True,
        **({"mode": "max"} if monitor == LAST else {}),
    }
    last = {"filename": "last", "save_on_train_epoch_end": True}
    saved = [best, *([KEEP_EVERY] if arguments.verifiable else []), last]
    steps = {} if arguments.micro_batches is None else {"micro_batches": arguments.micro_batches}
    return [*(component(model_checkpoint(), **each) for each in saved), component(EXACT_RESUME, **steps)]


@speaking("tabvision train")
def source_settings(arguments: argparse.Namespace, kind: str) -> dict[str, Any]:
    """Return the settings of a datamodule as in a recipe; a single target is a string, not a list.

    Raises:
        BadValueError: `--class-weights` without `--task`.
        UnknownNameError: The task has no such setting.
    """
    settings = {"source": arguments.data, **settings_of(arguments, kind, "data")}
    if len(settings.get("target", ())) == 1:
        (settings["target"],) = settings["target"]
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
        settings["task"] = component(f"tabvision.tasks.{task.capitalize()}", **of_task) if of_task else task
        kinds: Any = fields(task_named(task))  # type: ignore[arg-type]  # all are dataclasses
        known = [each.name for each in kinds if each.name not in _OF_DATA]
        for name in of_task:
            check_choice(f"setting of --task {task}", name, known)
    return settings


def make_job(
    arguments: argparse.Namespace,
    datamodule: Any,  # noqa: ANN401 - one of ours
    settings: dict[str, Any],
    *,
    batch_size: int,
    epochs: int,
    model: Mapping[str, Any],
    callbacks: Sequence[Mapping[str, Any]],
    monitor: str | None = None,
    **rest: Any,  # noqa: ANN401 - what a recipe cannot hold
) -> Job:
    """Return the run of a datamodule already built from `settings`; add the batch size to both."""
    datamodule.batch_size = settings["batch_size"] = batch_size
    name, num_steps = name_of(settings["source"]), len(datamodule.parts["train"].rows) // batch_size
    loggers = [component(f"{tree()}.loggers.CSVLogger", save_dir="runs", name=name)]
    if arguments.logger in LOGGERS:
        loggers.append(extra_logger(f"{tree()}.loggers.{LOGGERS[arguments.logger]}", "runs", name=name))
    finder = [component("tabvision.tuning.FindLR")] if arguments.lr == _AUTO else []
    monitor = monitor or ("val/loss" if "val" in datamodule.parts else LAST)
    given = {name: getattr(arguments, name) for name in ("accelerator", "devices", "precision", "max_time")}
    trainer = {
        "max_epochs": epochs,
        "log_every_n_steps": max(1, min(10, num_steps)),
        **{name: value for name, value in given.items() if value is not None},
        "logger": loggers if loggers[1:] else loggers[0],
        "callbacks": [*callbacks, *finder, *_saving(arguments, monitor)],
        "enable_model_summary": False,
    }
    recipe = {
        "seed_everything": arguments.seed,
        "trainer": trainer,
        "model": {"class_path": model["class_path"], "init_args": model.get("init_args", {})},
        "data": component(f"tabvision.data.{type(datamodule).__name__}", **settings),
    }
    return Job(recipe=recipe, datamodule=datamodule, quiet=arguments.quiet, **rest)


def lr_setting(name: str, lr: Any) -> dict[str, Any]:  # noqa: ANN401 - text, or a number
    """Return the setting for a learning rate; no setting if none is given or if it is found before training.

    Example:
        >>> lr_setting("lr", "1e-3"), lr_setting("lr", "auto")
        ({'lr': '1e-3'}, {})
    """
    return {} if lr in (None, _AUTO) else {name: lr}


def default_batch_size(num_rows: int, *, least: int = 32, most: int = 4096, steps_per_epoch: int = 60) -> int:
    """Return the largest power of two from `least` to `most` that gives about `steps_per_epoch` steps.

    60 steps give large batches on large tables and enough steps on small ones.

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
