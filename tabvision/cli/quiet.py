"""Reword Lightning's errors, and tidy what a Trainer leaves behind."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd

from tabvision import lightning as pl
from tabvision.data.tables.write import written_whole
from tabvision.errors import BadValueError, TabvisionError
from tabvision.lightning import CSVLogger, MisconfigurationException, tree


@contextmanager
def reworded_trainer_errors(speaker: str, *, only: type[Exception] = Exception) -> Iterator[None]:
    """Turn a Trainer's errors about its settings into one sentence.

    Args:
        speaker: The name that starts the sentence.
        only: The kind of errors to turn, where a user's own code runs as well.

    Raises:
        BadValueError: The settings are wrong.
    """
    try:
        yield
    except TabvisionError:
        raise
    except (ValueError, TypeError, RuntimeError, MisconfigurationException) as error:
        if not isinstance(error, only):
            raise
        problem = " ".join(str(error).split()).rstrip(".")
        remedy = f"Correct that setting; they are those of {tree()}.Trainer"
        raise BadValueError(speaker, problem, remedy) from error


@contextmanager
def tidied(trainer: pl.Trainer, remedy: str = "") -> Iterator[None]:
    """Join the rows of `metrics.csv` when the block ends, and name the best network if Ctrl-C ends it.

    Args:
        trainer: The Trainer that fits in the block.
        remedy: How to go on, with the punctuation before it.

    Raises:
        KeyboardInterrupt: With what is left, also in place of the SystemExit that a Trainer raises then.
    """
    loggers = [logger for logger in trainer.loggers if isinstance(logger, CSVLogger)]
    try:
        yield
    except (SystemExit, KeyboardInterrupt) as stop:
        is_ctrl_c = isinstance(stop, KeyboardInterrupt) or isinstance(stop.__context__, KeyboardInterrupt)
        if not is_ctrl_c or not trainer.is_global_zero:
            raise
        best = best_networks(trainer)
        raise KeyboardInterrupt(
            f"the best network so far is {best[0]}{remedy}" if best else "no network was saved yet"
        ) from stop
    finally:
        for logger in loggers if trainer.is_global_zero else ():
            _join_rows(Path(logger.log_dir) / "metrics.csv")


def best_networks(trainer: pl.Trainer) -> list[str]:
    """Return the path of the best checkpoint of each callback, but no last one, as seen from the working directory."""
    callbacks = [callback for callback in trainer.checkpoint_callbacks if getattr(callback, "filename", None) != "last"]
    paths = [getattr(callback, "best_model_path", "") for callback in callbacks]
    return [os.path.relpath(path) if Path(path).is_relative_to(Path.cwd()) else path for path in paths if path]


def _join_rows(file: Path) -> None:
    """Join the rows of an epoch: Lightning writes its training metrics into a row of their own, after those of validation."""
    if not file.exists():
        return
    rows = pd.read_csv(file, dtype="str")
    if {"epoch", "step"} <= {*rows}:
        joined = rows.groupby(["epoch", "step"], sort=False, dropna=False, as_index=False).first()
        with written_whole(file) as partial:
            joined.to_csv(partial, index=False)
