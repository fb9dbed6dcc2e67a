"""What one training run is made of, as a recipe names it."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, final


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


def without_nones(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Only what was asked for.

    Example:
        >>> without_nones({"size": 128, "task": None})
        {'size': 128}
    """
    return {name: value for name, value in settings.items() if value is not None}


AUTO = "auto"  # the word for a rate that is found before training


def given_rate(lr: str | None) -> str | None:
    """The rate that was asked for, unless it is to be found."""
    return None if lr == AUTO else lr


def finder(lr: str | None) -> list[Part]:
    """What finds the rate before training, if it is to be found.

    Example:
        >>> finder("1e-3"), [part.class_path for part in finder("auto")]
        ([], ['tabvision.tuning.FindLR'])
    """
    return [Part("tabvision.tuning.FindLR")] if lr == AUTO else []


MIN_BATCH, MAX_BATCH = 32, 4096
STEPS_PER_EPOCH = 60  # enough for batches to be large on large tables and for small tables to take enough steps
MIN_STEPS = 600  # a fit should take so many steps, as long as that is not too many epochs
MIN_EPOCHS, MAX_EPOCHS = 5, 20


def default_batch_size(num_rows: int) -> int:
    """A power of two that gives about `STEPS_PER_EPOCH` steps an epoch.

    Example:
        >>> [default_batch_size(rows) for rows in (100, 40_000, 10_000_000)]
        [32, 512, 4096]
    """
    batch_size = MIN_BATCH
    while batch_size < MAX_BATCH and batch_size * 2 * STEPS_PER_EPOCH <= num_rows:
        batch_size *= 2
    return batch_size


def default_epochs(num_rows: int, batch_size: int) -> int:
    """Epochs for about `MIN_STEPS` steps, more for small tables, fewer for large ones.

    Example:
        >>> [default_epochs(rows, default_batch_size(rows)) for rows in (100, 40_000, 10_000_000)]
        [20, 8, 5]
    """
    steps = max(1, num_rows // batch_size)
    return min(MAX_EPOCHS, max(MIN_EPOCHS, round(MIN_STEPS / steps)))


MIN_IMAGE_BATCH, MAX_IMAGE_BATCH = 8, 64
IMAGE_STEPS_PER_EPOCH = 15  # a few hundred photos still take enough steps in the few epochs of a fine-tune


def default_image_batch_size(num_images: int) -> int:
    """A power of two that gives about `IMAGE_STEPS_PER_EPOCH` steps an epoch.

    Example:
        >>> [default_image_batch_size(images) for images in (20, 245, 7_000)]
        [8, 16, 64]
    """
    batch_size = MIN_IMAGE_BATCH
    while batch_size < MAX_IMAGE_BATCH and batch_size * 2 * IMAGE_STEPS_PER_EPOCH <= num_images + batch_size * 2:
        batch_size *= 2
    return batch_size
