"""Make the commands' Trainers from a recipe, reword their errors, and load their checkpoints as plain data."""

from __future__ import annotations

import functools
import logging
import os
import signal
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from tabvision import lightning as pl
from tabvision.callbacks.exact_resume import write_checkpoints_whole
from tabvision.cli.folder import METRICS_BEFORE
from tabvision.cli.jobs import EXACT_RESUME, Job, build, model_checkpoint
from tabvision.cli.progress import progress_callbacks
from tabvision.data.tables.write import written_whole
from tabvision.errors import BadValueError, TabvisionError, speaking
from tabvision.inference.checkpoint import read_state
from tabvision.lightning import CSVLogger, MisconfigurationException, Strategy, TQDMProgressBar, TrainerFn, tree

_WHO = "recipe"
_SETTING_ERRORS = (ValueError, TypeError, RuntimeError, MisconfigurationException)
_TERMINATED = 128 + signal.SIGTERM
_CONNECTOR = "checkpoint_connector.py"  # Lightning's module that restores a checkpoint


@contextmanager
def reworded_trainer_errors(speaker: str, *, only: tuple[type[Exception], ...] = _SETTING_ERRORS) -> Iterator[None]:
    """Reword a Trainer's errors about its settings as one sentence.

    Args:
        speaker: The name that starts the sentence.
        only: The types of errors to reword; fewer if a user's own code runs too.
    """
    try:
        yield
    except TabvisionError:
        raise
    except only as error:
        problem = " ".join(str(error).split()).rstrip(".")
        raise BadValueError(speaker, problem, f"Correct that setting; they are those of {tree()}.Trainer") from error


@contextmanager
def tidied(trainer: pl.Trainer, remedy: str = "") -> Iterator[None]:
    """Merge the rows of each epoch in `metrics.csv` when the block ends; name the best network if a signal ends it.

    Args:
        trainer: The Trainer that fits in the block.
        remedy: How to continue, with the punctuation before it.

    Raises:
        KeyboardInterrupt: With what was saved; it also replaces the SystemExit that a Trainer raises on Ctrl-C.
        SystemExit: With the status of a process that SIGTERM ends; a Trainer's own has none, which means success.
    """
    loggers = [logger for logger in trainer.loggers if isinstance(logger, CSVLogger)]
    try:
        yield
    except (SystemExit, KeyboardInterrupt) as stop:
        is_ctrl_c = isinstance(stop, KeyboardInterrupt) or isinstance(stop.__context__, KeyboardInterrupt)
        is_terminated = not is_ctrl_c and trainer.received_sigterm
        best = best_networks(trainer)
        found = f"the best network so far is {best[0]}{remedy}" if best else "no network was saved yet"
        if is_terminated:
            logging.getLogger("tabvision").warning(f"stopped by SIGTERM; {found}")
            raise SystemExit(_TERMINATED) from stop
        if not is_ctrl_c or not trainer.is_global_zero:
            raise
        raise KeyboardInterrupt(found) from stop
    finally:
        for logger in loggers if trainer.is_global_zero else ():
            file = Path(logger.log_dir) / "metrics.csv"
            rows = pd.read_csv(file, dtype="str") if file.exists() else pd.DataFrame()
            if {"epoch", "step"} <= {*rows}:  # Lightning writes training rows below validation rows
                _write_rows(rows.groupby(["epoch", "step"], sort=False, dropna=False, as_index=False).first(), file)


def best_networks(trainer: pl.Trainer) -> list[str]:
    """Return the path of each callback's best checkpoint, but no last one, relative to the working directory."""
    callbacks = [callback for callback in trainer.checkpoint_callbacks if getattr(callback, "filename", None) != "last"]
    paths = [getattr(callback, "best_model_path", "") for callback in callbacks]
    return [os.path.relpath(path) if Path(path).is_relative_to(Path.cwd()) else path for path in paths if path]


def guard_checkpoints(trainer: pl.Trainer) -> None:
    """Make a Trainer load every checkpoint with `read_state` and write each one atomically.

    Lightning itself would unpickle a checkpoint from a URL and keep a copy in torch's cache.
    """
    write_checkpoints_whole(trainer)
    trainer.strategy.load_checkpoint = functools.partial(_read_state, trainer)  # type: ignore[method-assign]


@speaking(_WHO)
def _read_state(trainer: pl.Trainer, checkpoint_path: str | Path, **_: object) -> dict[str, Any]:
    kind = type(trainer.strategy)
    if kind.load_checkpoint is not Strategy.load_checkpoint:
        problem = f"{kind.__name__} opens {str(checkpoint_path)!r} in its own way, which may run code"
        raise BadValueError(problem, "Resume from Python with trainer.fit(ckpt_path=...), if you trust the file")
    folders = [str(folder) for each in trainer.checkpoint_callbacks if (folder := getattr(each, "dirpath", None))]
    state = read_state(checkpoint_path, folders)
    if trainer.state.fn == TrainerFn.FITTING and "optimizer_states" not in state:
        problem = f"{str(checkpoint_path)!r} holds only weights, and a fit also resumes the state of its optimizer"
        raise BadValueError(problem, "Pass the last.ckpt that the run wrote next to it")
    return state


def state_after_epoch(file: Path) -> dict[str, Any]:
    """Return the state of a fit, including what `ExactResume` saves.

    Raises:
        BadValueError: The file has another kind of state.
    """
    state = read_state(file)
    try:
        state["epoch"], state["global_step"], state["callbacks"]["ExactResume"]["ranks"][0]["metrics"].keys()
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise BadValueError(f"{str(file)!r} is not what a run saves after an epoch", "Ask for the original") from error
    return state


@contextmanager
def reworded_resume_errors() -> Iterator[None]:
    """Turn any error from a checkpoint that does not match the run into one sentence."""
    try:
        yield
    except TabvisionError:
        raise
    except Exception as error:
        frames = [each for each in traceback.extract_tb(error.__traceback__) if Path(each.filename).name == _CONNECTOR]
        if not any(frame.name.lstrip("_").startswith(("resume", "restore")) for frame in frames):
            raise
        reason = (str(error).strip() or "no reason given").splitlines()[0].rstrip(":.")
        problem = f"the checkpoint does not fit this recipe ({type(error).__name__}: {reason:.100})"
        raise BadValueError(_WHO, problem, "Pass one that this recipe wrote, or train from the start") from error


def make_trainer(job: Job, folder: Path, **settings: Any) -> pl.Trainer:  # noqa: ANN401
    """Return a new Trainer for the run; call it before removing an older run from the folder."""
    callbacks = job.recipe["trainer"]["callbacks"]
    if not settings.get("enable_checkpointing", True):
        callbacks = [each for each in callbacks if each["class_path"] not in (model_checkpoint(), EXACT_RESUME)]
    shown = progress_callbacks(job.recipe["trainer"]["log_every_n_steps"], quiet=job.quiet)
    bar = {} if any(isinstance(each, TQDMProgressBar) for each in shown) else {"enable_progress_bar": False}
    saved = {"dirpath": folder, "enable_version_counter": False}
    with reworded_trainer_errors("tabvision train"):
        built = [
            build(each, **saved) if each["class_path"] == model_checkpoint() else build(each) for each in callbacks
        ]
        own: dict[str, Any] = {"default_root_dir": folder, "callbacks": [*built, *shown], **bar, **settings}
        trainer = pl.Trainer(**{**job.recipe["trainer"], **own})
    guard_checkpoints(trainer)
    return trainer


def continue_metrics_file(trainer: pl.Trainer, folder: Path) -> None:
    """Make the logger continue after the checkpoint's epoch; otherwise it would overwrite the file.

    That epoch's metrics come from the checkpoint, since a run may be killed between writing it and logging them.
    """
    file, kept, state = folder / "metrics.csv", folder / METRICS_BEFORE, state_after_epoch(folder / "last.ckpt")
    saved = next((each for each in (kept, file) if each.exists() and each.stat().st_size), None)
    before = pd.DataFrame() if saved is None else pd.read_csv(saved, dtype="str")
    if {"epoch", "step"} <= {*before}:
        before = before.dropna(subset=["epoch", "step"])  # an incomplete line if the run was killed
        before = before[pd.to_numeric(before["epoch"]) <= state["epoch"]]
    metrics = state["callbacks"]["ExactResume"]["ranks"][0]["metrics"]
    logged = {name: value.item() for name, value in metrics.items() if not name.endswith("_step")}
    own = pd.DataFrame([{"epoch": state["epoch"], "step": state["global_step"] - 1, **logged}]).astype("str")
    rows = pd.concat([before, own]).sort_index(axis=1)  # in the writer's order of columns
    logger: Any = trainer.logger
    _write_rows(rows, kept)
    logger.experiment.metrics_keys = [*rows.columns]  # creating the writer removes the file
    _write_rows(rows, file)
    kept.unlink()


def _write_rows(rows: pd.DataFrame, file: Path) -> None:
    with written_whole(file) as partial:
        rows.to_csv(partial, index=False)
