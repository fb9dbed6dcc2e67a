"""Retrain the network of a run, or a linear head, on training and validation rows, once it was measured on the latter."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

from tabvision import lightning as pl
from tabvision.callbacks import AverageAndStop
from tabvision.cli.folder import TRAINED
from tabvision.cli.jobs import Job, build, component
from tabvision.cli.trainer import make_trainer, tidied
from tabvision.data import ImageDataModule, TabularDataModule
from tabvision.data.splits.base import PartName
from tabvision.errors import BadValueError, count, speaking
from tabvision.lightning import callbacks_of, seed_everything
from tabvision.modules import VisionModule
from tabvision.tuning.linear_probe import refitted

logger = logging.getLogger("tabvision")

_LEARNED: tuple[PartName, ...] = ("train", "val")
_STOPPING = ("tabvision.callbacks.FitTable", "tabvision.callbacks.AverageAndStop")
_MOST_ROWS = 10_000  # to refit a head on: above that, more rows help little and their features take long


@final
@dataclass(frozen=True)
class Refit:
    """What a network was retrained on.

    Args:
        num_rows: Number of training and validation rows.
        num_epochs: The best number of epochs of the measured network; 0 if only its linear head was refitted.
    """

    num_rows: int
    num_epochs: int


@speaking("tabvision train")
def refits(job: Job) -> bool:
    """Return whether to retrain the network of a run on the validation rows too; by default if they are the latest.

    Raises:
        BadValueError: `--refit` is given but not possible.
    """
    data = job.datamodule
    is_table = type(data) is TabularDataModule
    reasons = {
        "this run is not on a table, or its table has photos": not is_table,
        "there are no validation rows": "val" not in data.parts,
        "a prepared table is not read into memory": data.sampled() is not data,
        "--from continues with a trained network": job.module is not None,
        "--verifiable is for a network trained only on the training rows": job.verifiable,
    }
    reason = next((text for text, holds in reasons.items() if holds), "")
    if job.refit and reason:
        raise BadValueError(f"--refit retrains a network with the validation rows, but {reason}", "Leave --refit out")
    if job.refit is not None:
        return job.refit
    return not reason and not data.may_fold


def refit(job: Job, folder: Path, fitted: pl.Trainer) -> Refit:
    """Train a new network on all rows except test rows and save it as best.ckpt; trained.ckpt is the measured one.

    The latest rows of a table are the most like future ones, so a network that was not trained on them lags behind.
    It trains for the best number of epochs, and its logits are divided by the best temperature.
    """
    data = job.datamodule.with_validation_rows()
    (average,) = callbacks_of(fitted, AverageAndStop)
    trainer_of = job.recipe["trainer"]
    num_epochs = average.best_epoch + 1 if average.best_epoch >= 0 else trainer_of["max_epochs"]
    found = Refit(len(data.parts["train"].rows), num_epochs)
    logger.info(
        f"Retraining for {count(num_epochs, 'epoch')} on {count(found.num_rows, 'row')}, validation rows included, for "
        "best.ckpt (--no-refit skips this); the metrics are those of the network before."
    )
    callbacks = [
        component(each["class_path"], **{**each.get("init_args", {}), "patience": None})
        if each["class_path"] in _STOPPING  # by the loss on held-out rows, and now there are none
        else each
        for each in trainer_of["callbacks"]
    ]
    recipe = {**job.recipe, "trainer": {**trainer_of, "max_epochs": num_epochs, "callbacks": callbacks}}
    trainer = make_trainer(replace(job, recipe=recipe), folder, logger=False, enable_checkpointing=False)
    seed_everything(job.recipe["seed_everything"], verbose=False)
    module: Any = build(job.recipe["model"], data.schema)
    with tidied(fitted, f"; continue with --resume {folder}"):
        trainer.fit(module, data)
    module.scale_logits(1 / average.temperature)
    best = folder / "best.ckpt"
    if trainer.is_global_zero:
        best.replace(folder / TRAINED)  # a resumed run starts from it
    trainer.strategy.barrier()
    trainer.save_checkpoint(best, weights_only=True)
    return found


def refits_head(job: Job) -> bool:
    """Return whether a linear head that is the best is refitted with the validation rows, after it was measured.

    Validation rows that the user gives in a file, folder or column may be meant for other networks too, so they are not used.
    """
    data = job.datamodule
    if type(data) is not ImageDataModule or job.refit is False or "val" not in data.parts:
        return False
    split = job.recipe["data"]["init_args"].get("split")
    is_named = isinstance(split, dict) and split["class_path"].endswith(("SourceSplit", "ColumnSplit"))
    is_few = sum(len(data.parts[part].rows) for part in _LEARNED) <= _MOST_ROWS
    return is_few and not is_named and data.tables["train"].part is None


@speaking("tabvision train")
def refit_head(job: Job, folder: Path, fitted: pl.Trainer) -> Refit:
    """Refit the linear head of best.ckpt on all rows except test rows: with few photos, a fifth more is worth it."""
    data, best = job.datamodule, folder / "best.ckpt"
    module = VisionModule.load_from_checkpoint(best, map_location="cpu", weights_only=True)
    refitted(module.to(fitted.strategy.root_device), data).save(best, data)
    num_rows = sum(len(data.parts[part].rows) for part in _LEARNED)
    print(
        f"Its head was then refitted on all {count(num_rows, 'image')}, validation images included (--no-refit skips this); "
        "the metrics are those of the head before."
    )
    return Refit(num_rows, num_epochs=0)
