"""Resuming from an epoch's last step: the epoch is trained, but neither validated nor ended.

Lightning takes such an epoch for done: it is never validated, no hook sees its end, and nothing of it is logged. Its
checkpoints hold counters of what has begun and what has ended. Those of the batch are set to "ended", as in a checkpoint
saved a moment later; those of the validation to "begun", so that it runs. The loops then go on by themselves.
"""

from __future__ import annotations

from typing import Any

from pytorch_lightning.loops.fit_loop import _FitLoop

BATCHES = "epoch_loop.batch_progress"
VALIDATION = "epoch_loop.val_loop.batch_progress"


def go_on_from_last_step(fit_loop: dict[str, Any]) -> bool:
    """Sets the counters of a fit saved right after an epoch's last step, in place; whether it was.

    Args:
        fit_loop: The state of the fit's loop in a checkpoint.
    """
    batches, epochs = fit_loop[BATCHES], fit_loop["epoch_progress"]["total"]
    total = batches["total"]
    at_step = total["ready"] == total["processed"] == total["completed"] + 1
    within_epoch = epochs["started"] == epochs["ready"] == epochs["processed"] + 1
    if not (at_step and within_epoch and batches["is_last_batch"]):
        return False
    for counts in (total, batches["current"]):
        counts["completed"] += 1
    fit_loop[VALIDATION]["total"] = {"ready": 1, "started": 1, "processed": 0, "completed": 0}
    fit_loop[VALIDATION]["current"] = {"ready": 0, "started": 0, "processed": 0, "completed": 0}
    return True


def leave_ended_epoch(loop: _FitLoop) -> None:
    """Lets a loop that goes on from an epoch's end begin the next one.

    Under `max_steps` Lightning takes the ended epoch for an unfinished one: it passes through it again without training.
    """
    if not loop.restarted_on_epoch_end or loop.trainer.max_steps == -1:
        return
    loop.epoch_progress.increment_completed()
    loop.reset_restart_stage()
    stop_restarting(loop)


def stop_restarting(loop: _FitLoop) -> None:
    """Tells a loop that it no longer resumes; its own setter takes every value for True under `max_steps`."""
    loop._restarting = False  # noqa: SLF001 - a test guards it
    loop.epoch_loop.restarting = False


def skip_training(loop: _FitLoop) -> None:
    """Lets a loop that goes on from an epoch's last step end the epoch, validated first where that is due."""
    epoch = loop.epoch_loop
    epoch.val_loop.batch_progress.total.reset()  # read already
    assert loop._data_fetcher is not None  # noqa: SLF001 - made before training starts
    if not epoch._should_check_val_fx(loop._data_fetcher):  # noqa: SLF001 - a test guards what is used here
        epoch.val_loop._has_run = True  # noqa: SLF001 - or Lightning would train a batch more
        epoch._batches_that_stepped += 1  # noqa: SLF001 - the step's number in logs
