"""Adjust Lightning's counts of epochs and batches so that a resumed fit continues where the saved one was."""

from __future__ import annotations

import copy
import logging
from typing import TYPE_CHECKING, Any

from tabvision import lightning as pl
from tabvision.lightning import EarlyStopping, EarlyStoppingReason, callbacks_of

if TYPE_CHECKING:
    from pytorch_lightning.loops.fit_loop import _FitLoop as FitLoop

_BATCHES = "epoch_loop.batch_progress"
_VALIDATION = "epoch_loop.val_loop.batch_progress"
_BEGUN = {"ready": 1, "started": 1, "processed": 0, "completed": 0}  # counts with which Lightning reruns a validation


def was_stopped(trainer: pl.Trainer, checkpoint: dict[str, Any]) -> bool:
    """Return whether one of the Trainer's `EarlyStopping` callbacks had stopped the fit that saved a checkpoint."""
    saved = [checkpoint["callbacks"].get(part.state_key, {}) for part in callbacks_of(trainer, EarlyStopping)]
    going = EarlyStoppingReason.NOT_STOPPED.value
    return any(state.get("stopping_reason", going) != going for state in saved)


def stay_stopped(trainer: pl.Trainer) -> bool:
    """Stop a fit again that had stopped when it was saved; return whether it must end its epoch first."""
    stopping = callbacks_of(trainer, EarlyStopping)
    if all(callback.stopping_reason == EarlyStoppingReason.NOT_STOPPED for callback in stopping):
        return False
    logging.getLogger("tabvision").info(
        "ExactResume: EarlyStopping had stopped this fit. Leave EarlyStopping out to continue training."
    )
    loop = trainer.fit_loop
    if loop.restarted_mid_epoch and loop._can_stop_early:  # noqa: SLF001 - a test guards it
        if loop._should_accumulate():  # noqa: SLF001
            loop.epoch_loop._batches_that_stepped -= 1  # noqa: SLF001 - the step number in logs, which the last batch raises
        loop.epoch_loop.batch_progress.is_last_batch = True
        return True
    trainer.should_stop = True
    return False


def go_on_from_last_step(fit_loop: dict[str, Any]) -> bool:
    """Return whether a fit was saved right after the last step of an epoch; if so, adjust its counts in place."""
    batches, epochs = fit_loop[_BATCHES], fit_loop["epoch_progress"]["total"]
    total = batches["total"]
    at_step = total["ready"] == total["processed"] == total["completed"] + 1
    within_epoch = epochs["started"] == epochs["ready"] == epochs["processed"] + 1
    if not (at_step and within_epoch and batches["is_last_batch"]):
        return False
    for counts in (total, batches["current"]):
        counts["completed"] += 1
    fit_loop[_VALIDATION]["total"] = dict(_BEGUN)
    fit_loop[_VALIDATION]["current"] = dict.fromkeys(_BEGUN, 0)
    return True


def redo_batch_in_flight(fit_loop: dict[str, Any]) -> bool:
    """Make a fit that was saved while it failed inside a batch redo that batch, or its whole validation; adjust in place.

    Returns:
        Whether that is a batch of training.

    Example:
        >>> train, val = {"ready": 4, "processed": 3, "completed": 3}, {"ready": 2, "processed": 2, "completed": 2}
        >>> loop = {"epoch_loop.batch_progress": {"total": train, "is_last_batch": True}}
        >>> loop |= {"epoch_loop.val_loop.batch_progress": {"total": val, "current": val}}
        >>> loop["state_dict"] = {"combined_loader": [{"epoch": 0, "done": 4, "steps": 4}]}
        >>> redo_batch_in_flight(loop), loop["state_dict"]["combined_loader"]
        (True, [{'epoch': 0, 'done': 3, 'steps': 4}])
    """
    batches, validated = fit_loop[_BATCHES], fit_loop[_VALIDATION]
    if validated["current"]["ready"] != validated["current"]["completed"]:
        validated["total"], validated["current"] = dict(_BEGUN), dict.fromkeys(_BEGUN, 0)
    if batches["total"]["ready"] == batches["total"]["processed"]:
        return False
    batches["is_last_batch"] = False
    for loader in fit_loop["state_dict"].get("combined_loader", ()):
        if isinstance(loader, dict) and "done" in loader and "steps" in loader:  # one of ours
            loader["done"] -= 1
    return True


def uncount_batch_in_flight(loop: FitLoop) -> None:
    """Take back the step that Lightning will count for the logs when a loop resumes, as it does after a step."""
    if not loop.epoch_loop._should_accumulate():  # noqa: SLF001 - a test guards it
        loop.epoch_loop._batches_that_stepped -= 1  # noqa: SLF001


def is_cut(loop: FitLoop) -> bool:
    """Return whether an epoch ends with batches left, since the fit reached `max_steps` or was told to stop."""
    assert loop._data_fetcher is not None  # noqa: SLF001 - it exists until the fit ends
    return not loop.epoch_loop.batch_progress.is_last_batch and not loop._data_fetcher.done  # noqa: SLF001


def reopen_cut_epoch(fit_loop: dict[str, Any]) -> bool:
    """Return whether a fit was saved after an epoch had ended; if so, mark that epoch as unfinished, in place.

    Args:
        fit_loop: The state of Lightning's fit loop in a checkpoint, saved after an epoch was cut short.
    """
    epochs = fit_loop["epoch_progress"]
    if not epochs["total"]["ready"] == epochs["total"]["processed"] > 0:
        return False
    for counts in (epochs["total"], epochs["current"]):
        counts["processed"] -= 1
        counts["completed"] = counts["processed"]
    return True


def forget_restart(loop: FitLoop) -> None:
    """Make a loop that resumes after everything in a step is done train the next batch.

    Lightning would run the end of the step again if a validation was due then.
    """
    epoch = loop.epoch_loop
    epoch.reset_restart_stage()
    if not epoch._should_accumulate():  # noqa: SLF001 - a test guards it
        epoch._batches_that_stepped -= 1  # noqa: SLF001 - the loop then counts the step for the logs


def validate_first(loop: FitLoop) -> bool:
    """Make a loop that resumes right after a step run a validation if one was due; return whether it was.

    Lightning considers that validation done.
    """
    epoch = loop.epoch_loop
    assert loop._data_fetcher is not None  # noqa: SLF001 - created before training starts
    if not epoch.restarted_on_train_batch_end or not epoch._should_check_val_fx(loop._data_fetcher):  # noqa: SLF001
        return False
    epoch.batch_progress.increment_completed()
    validated = epoch.val_loop.batch_progress
    seen = copy.copy(validated.total)
    validated.total.load_state_dict(_BEGUN)
    validated.current.reset()
    epoch.update_restart_stage()
    validated.total = seen
    return True


def leave_ended_epoch(loop: FitLoop) -> None:
    """Make a loop that resumes at the end of an epoch start the next one.

    With `max_steps`, Lightning considers the finished epoch unfinished and runs through it again without training.
    """
    counts = loop.epoch_progress.total
    has_ended = loop.restarted_on_epoch_end or counts.ready == counts.completed > 0
    if loop.trainer.max_steps == -1 or not has_ended:
        return
    if loop.restarted_on_epoch_end:
        loop.epoch_progress.increment_completed()
    loop.reset_restart_stage()
    stop_restarting(loop)


def stop_restarting(loop: FitLoop) -> None:
    """Tell a loop that it is no longer resuming; with `max_steps`, its own setter treats every value as True."""
    loop._restarting = False  # noqa: SLF001 - a test guards it
    loop.epoch_loop.restarting = False


def skip_training(loop: FitLoop) -> None:
    """Make a loop that resumes at the last step of an epoch end that epoch, after validation if it is due."""
    epoch = loop.epoch_loop
    epoch.val_loop.batch_progress.total.reset()  # its count has been read
    assert loop._data_fetcher is not None  # noqa: SLF001 - created before training starts
    if not epoch._should_check_val_fx(loop._data_fetcher):  # noqa: SLF001 - a test guards what is used here
        epoch.val_loop._has_run = True  # noqa: SLF001 - otherwise Lightning would train one more batch
        epoch._batches_that_stepped += 1  # noqa: SLF001 - the step number in logs
