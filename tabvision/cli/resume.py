"""Checkpoints that a recipe resumes from, or whose address its user passes: opened as plain data, whatever it says."""

from __future__ import annotations

import functools
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tabvision import lightning as pl
from tabvision.callbacks.exact_resume import write_checkpoints_whole
from tabvision.errors import BadValueError, TabvisionError, speaking
from tabvision.inference.checkpoint import read_state
from tabvision.lightning import Strategy, TrainerFn

_WHO = "recipe"
_CONNECTOR = "checkpoint_connector.py"  # where Lightning spreads a checkpoint over the parts of a fit


def guard_checkpoints(trainer: pl.Trainer) -> None:
    """Make a Trainer open every checkpoint with `read_state`, and write every one whole.

    Lightning itself would unpickle one from an address, and keep a copy in torch's cache.
    """
    write_checkpoints_whole(trainer)
    strategy = trainer.strategy
    open_one = _opened if type(strategy).load_checkpoint is Strategy.load_checkpoint else _refused
    strategy.load_checkpoint = functools.partial(open_one, trainer)  # type: ignore[method-assign]


@speaking(_WHO)
def _opened(trainer: pl.Trainer, checkpoint_path: str | Path, **_: object) -> dict[str, Any]:
    folders = [str(folder) for each in trainer.checkpoint_callbacks if (folder := getattr(each, "dirpath", None))]
    state = read_state(checkpoint_path, folders)
    if trainer.state.fn == TrainerFn.FITTING and "optimizer_states" not in state:
        problem = (
            f"{str(checkpoint_path)!r} holds weights alone, and a fit resumes from the state of its optimizer as well"
        )
        raise BadValueError(problem, "Pass the last.ckpt that the run wrote beside it")
    return state


@speaking(_WHO)
def _refused(trainer: pl.Trainer, checkpoint_path: str | Path, **_: object) -> dict[str, Any]:
    problem = (
        f"{type(trainer.strategy).__name__} opens {str(checkpoint_path)!r} in a way of its own, which may run code"
    )
    raise BadValueError(problem, "Resume from Python with trainer.fit(ckpt_path=...), if you trust the file")


@contextmanager
def reworded_resume_errors() -> Iterator[None]:
    """Turn any error from a checkpoint whose contents do not fit the run into one sentence.

    Raises:
        BadValueError: The checkpoint does not fit.
    """
    try:
        yield
    except TabvisionError:
        raise
    except Exception as error:
        if not any(_restores(frame) for frame in traceback.extract_tb(error.__traceback__)):
            raise
        reason = (str(error).strip() or "no reason given").splitlines()[0].rstrip(":.")
        problem = f"the checkpoint does not fit this recipe ({type(error).__name__}: {reason:.100})"
        raise BadValueError(_WHO, problem, "Pass one that this recipe wrote, or train from the start") from error


def _restores(frame: traceback.FrameSummary) -> bool:
    """Return whether Lightning restores from a checkpoint in this frame."""
    return Path(frame.filename).name == _CONNECTOR and frame.name.lstrip("_").startswith(("resume", "restore"))
