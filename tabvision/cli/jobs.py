"""What one training run is made of, as a recipe names it."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, final

from tabvision.cli.options import settings_of

_AUTO = "auto"  # the word for a rate that is found before training


@final
@dataclass(frozen=True)
class Part:
    """A class and its settings.

    Args:
        class_path: Where it is imported from.
        init_args: Its settings; whatever is left out has its default.
    """

    class_path: str
    init_args: Mapping[str, Any] = field(default_factory=dict)

    def build(self, *arguments: Any) -> Any:  # noqa: ANN401 - whatever the class is
        """The object."""
        module, _, name = self.class_path.rpartition(".")
        return getattr(importlib.import_module(module), name)(*arguments, **self.init_args)

    def to_recipe(self) -> dict[str, Any]:
        """Itself in a recipe.

        Example:
            >>> Part("tabvision.callbacks.OneCycle").to_recipe()
            {'class_path': 'tabvision.callbacks.OneCycle'}
        """
        settings = {"init_args": dict(self.init_args)} if self.init_args else {}
        return {"class_path": self.class_path, **settings}


@final
@dataclass(frozen=True, kw_only=True)
class Job:
    """One training run.

    Args:
        seed: Of weights, split and order.
        data: The datamodule.
        datamodule: The object that `data` describes, built already: its rows decide batch size and epochs.
        model: The module, which also gets the datamodule's schema.
        callbacks: In any order.
        trainer: Settings of the Trainer that a recipe names too.
        shown: Columns that stand beside the target in predictions.csv.
        more: What else is measured, from the best module and the datamodule to values and the naive answer's values.
    """

    seed: int
    data: Part
    datamodule: Any
    model: Part
    callbacks: Sequence[Part]
    trainer: Mapping[str, Any]
    shown: Sequence[str] = ()
    more: Callable[[Any, Any], tuple[Mapping[str, float], Mapping[str, float]]] | None = None

    def to_recipe(self) -> dict[str, Any]:
        """The run as a LightningCLI recipe, which `tabvision fit --config` repeats to the same numbers."""
        best = Part("pytorch_lightning.callbacks.ModelCheckpoint", {"filename": "best", "monitor": "val/loss"})
        logger = Part("pytorch_lightning.loggers.CSVLogger", {"save_dir": "runs"})
        trainer = {
            **self.trainer,
            "logger": logger.to_recipe(),
            "callbacks": [part.to_recipe() for part in (*self.callbacks, best)],
            "enable_model_summary": False,
        }
        return {
            "seed_everything": self.seed,
            "trainer": trainer,
            "model": {"class_path": self.model.class_path, "init_args": dict(self.model.init_args)},
            "data": {"class_path": self.data.class_path, "init_args": dict(self.data.init_args)},
        }


def table_job(arguments: argparse.Namespace) -> Job:
    """Return the run for a table: columns inferred, batch size and epochs chosen by the number of rows."""
    from tabvision.data import TabularDataModule

    settings = source_settings(arguments, "table")
    data = TabularDataModule(**settings)
    num_rows = len(data.parts["train"].rows)
    batch_size = arguments.batch_size or default_batch_size(num_rows)
    return make_job(
        arguments,
        data,
        settings,
        batch_size=batch_size,
        epochs=arguments.epochs or _default_epochs(num_rows, batch_size),
        model=Part("tabvision.modules.TabularModule", lr_setting("lr", arguments.lr)),
        callback=Part("tabvision.callbacks.OneCycle"),
    )


def source_settings(arguments: argparse.Namespace, kind: str) -> dict[str, Any]:
    """Return the settings of a datamodule with a target, as in a recipe; a single target by itself."""
    settings = {"source": arguments.data, **settings_of(arguments, kind, "data")}
    if len(settings.get("target", ())) == 1:
        (settings["target"],) = settings["target"]
    return settings


def make_job(
    arguments: argparse.Namespace,
    datamodule: Any,  # noqa: ANN401 - one of ours
    settings: dict[str, Any],
    *,
    batch_size: int,
    epochs: int,
    model: Part,
    callback: Part,
    **rest: Any,  # noqa: ANN401
) -> Job:
    """Return the run of a datamodule that is built.

    Args:
        arguments: The parsed words.
        datamodule: The object.
        settings: What it was built from; the batch size is added to them.
        batch_size: Rows in a step.
        epochs: Passes over the training rows.
        model: The module.
        callback: What schedules the rate.
        rest: Other fields of `Job`.
    """
    datamodule.batch_size = settings["batch_size"] = batch_size
    num_steps = len(datamodule.parts["train"].rows) // batch_size
    data = Part(f"tabvision.data.{type(datamodule).__name__}", settings)
    finder = [Part("tabvision.tuning.FindLR")] if arguments.lr == _AUTO else []
    # steps between two looks at the loss
    trainer = {"max_epochs": epochs, "log_every_n_steps": max(1, min(10, num_steps))}
    parts = {"data": data, "datamodule": datamodule, "model": model, "callbacks": [callback, *finder]}
    return Job(seed=arguments.seed, trainer=trainer, **parts, **rest)


def lr_setting(name: str, lr: Any) -> dict[str, Any]:  # noqa: ANN401 - text, or a number
    """Return the setting of a rate that was given; none for one that is not, or that is found before training.

    Example:
        >>> lr_setting("lr", "1e-3"), lr_setting("lr", "auto")
        ({'lr': '1e-3'}, {})
    """
    return {} if lr in (None, _AUTO) else {name: lr}


_MIN_BATCH, _MAX_BATCH = 32, 4096
_STEPS_PER_EPOCH = 60  # enough for batches to be large on large tables and for small tables to take enough steps
_MIN_STEPS = 600  # a fit should take so many steps, as long as that is not too many epochs
_MIN_EPOCHS, _MAX_EPOCHS = 5, 20


def default_batch_size(num_rows: int) -> int:
    """A power of two that gives about `_STEPS_PER_EPOCH` steps an epoch.

    Example:
        >>> [default_batch_size(rows) for rows in (100, 40_000, 10_000_000)]
        [32, 512, 4096]
    """
    batch_size = _MIN_BATCH
    while batch_size < _MAX_BATCH and batch_size * 2 * _STEPS_PER_EPOCH <= num_rows:
        batch_size *= 2
    return batch_size


def _default_epochs(num_rows: int, batch_size: int) -> int:
    """Epochs for about `_MIN_STEPS` steps, more for small tables, fewer for large ones.

    Example:
        >>> [_default_epochs(rows, default_batch_size(rows)) for rows in (100, 40_000, 10_000_000)]
        [20, 8, 5]
    """
    steps = max(1, num_rows // batch_size)
    return min(_MAX_EPOCHS, max(_MIN_EPOCHS, round(_MIN_STEPS / steps)))
