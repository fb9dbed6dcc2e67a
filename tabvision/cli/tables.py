"""`tabvision train` on a table: infer columns, and choose batch size and epochs by the number of rows."""

from __future__ import annotations

import argparse
import logging

import numpy as np
import torch

from tabvision.cli.jobs import LAST, Job, build, component, lr_setting, make_job, source_settings
from tabvision.cli.options import DEFAULT_VALIDATION
from tabvision.cli.splits import split_setting
from tabvision.data.prepared.table import default_folder, does_not_fit
from tabvision.data.tables.sizes import fast_epochs, most_epochs, table_batch_size
from tabvision.errors import BadValueError, speaking
from tabvision.inference.calibration.conformal import half_widths
from tabvision.modules.tabular_network import packed_defaults
from tabvision.tasks import Task

_BAG = 5  # networks of --preset best
_MANY_LOGITS = 5_000_000_000  # an epoch with more takes minutes on a CPU


def table_job(arguments: argparse.Namespace) -> Job:
    """Return the run for a table, with batch size and maximum epochs chosen by the number of rows.

    Without `--epochs` the fit stops early by itself; with it, or with `--preset fast`, it is one cycle over a fixed number
    of epochs.

    Raises:
        BadValueError: `--validation` is given with `--preset best`, `--epochs` with `--preset fast`, or `--intervals` for
            a target that is not a number or with too few rows.
    """
    _check_preset(arguments)
    is_bag, is_fast = arguments.preset == "best", arguments.preset == "fast"
    is_fixed = is_fast or bool(arguments.epochs)
    split = split_setting(arguments, None if is_bag else DEFAULT_VALIDATION if is_fixed else "auto")
    settings = {**source_settings(arguments, "table"), "split": split}
    if "prepared" not in settings and does_not_fit(arguments.data, _num_ranks(arguments)):
        settings["prepared"] = str(default_folder(arguments.data))  # so that the recipe names the folder
        note = "The table would not fit in memory, so it is prepared on disk (--prepared FOLDER says where)."
        logging.getLogger("tabvision").info(note)
    data = build(component("tabvision.data.TabularDataModule", **settings))
    num_rows = len(data.parts["train"].rows)
    model = component("tabvision.modules.TabularModule", **lr_setting("lr", arguments.lr))
    has_folds = data.schema.target.of_small_table and data.may_fold and not is_fixed
    has_rows = has_folds or is_bag or "val" in data.parts
    if arguments.intervals:
        num_held_out = len(data.parts.get("val", data.parts["train"]).rows) if has_rows else 0
        _check_intervals(data.schema.task, num_held_out, arguments.intervals)
    epochs = fast_epochs(num_rows) if is_fast else arguments.epochs or most_epochs(num_rows)
    _note_cost(num_rows, packed_defaults(data.schema)["members"], data.schema.target.first_outputs)
    if not has_rows and not is_fixed:
        epochs, is_fixed = max(2, epochs // 2), True
        logging.getLogger("tabvision").info(
            f"There are no validation rows to stop the fit by, so it runs for {epochs} epochs, as many as most fits of this "
            "many rows take. --epochs sets another number."
        )
    if is_fixed:
        average = component("tabvision.callbacks.AverageAndStop", patience=None)
        callbacks = [component("tabvision.callbacks.OneCycle"), average]
    else:
        callbacks = [component("tabvision.callbacks.FitTable")]
    return make_job(
        arguments,
        data,
        settings,
        batch_size=arguments.batch_size or table_batch_size(num_rows),
        epochs=epochs,
        model=model,
        callbacks=callbacks,
        num_folds=_BAG if is_bag else 1,
        intervals=arguments.intervals,
        refit=arguments.refit,
        monitor="oof/loss" if has_folds else "val/loss" if has_rows else LAST,
    )


def _num_ranks(arguments: argparse.Namespace) -> int:
    """Return about how many processes will train, each with the table in memory."""
    if arguments.devices.isdecimal():
        return int(arguments.devices)
    return 1 if arguments.accelerator == "cpu" else max(1, torch.cuda.device_count())  # auto, -1 or a list


def _note_cost(num_rows: int, members: int, num_outputs: int) -> None:
    """Log that an epoch takes minutes if rows and classes are so many that most time goes into logits."""
    logits = num_rows * members * num_outputs
    if logits > _MANY_LOGITS:
        logging.getLogger("tabvision").info(
            f"An epoch computes {logits / 1e9:,.0f} billion logits ({num_outputs:,} per row and member), which takes minutes "
            "on a CPU. Group the classes if coarser ones will do, or try it on some of the rows first."
        )


@speaking("tabvision train")
def _check_preset(arguments: argparse.Namespace) -> None:
    """Raise if an option contradicts the preset."""
    if arguments.preset == "fast" and arguments.epochs:
        problem = f"--preset fast sets the number of epochs, got --epochs {arguments.epochs} as well"
        raise BadValueError(problem, "Leave one of the two out")
    if arguments.preset == "best":
        for name, value in (("validation", arguments.validation), ("split", arguments.split)):
            if value is not None:
                problem = f"with --preset best every row is held out once, got --{name} {value} as well"
                raise BadValueError(problem, f"Leave --{name} out")
        if arguments.calibration is not None:
            problem = "--calibration keeps rows for `tabvision calibrate --run`, which takes no run with --preset best"
            raise BadValueError(problem, "Leave --calibration out, or keep rows in a file of your own")


@speaking("tabvision train")
def _check_intervals(task: Task, num_rows: int, coverage: float) -> None:
    """Raise before the fit if the target cannot have intervals, or if there are too few held-out rows for them."""
    if "intervals" not in task.calibrated_by:
        raise BadValueError(f"--intervals is for numbers, and the target is {task.name}", "Leave --intervals out")
    if not num_rows:
        problem = "--intervals are fitted to the errors on held-out rows, but no rows are held out"
        raise BadValueError(problem, "Leave --validation none out")
    half_widths(np.zeros((num_rows, 1)), np.zeros((num_rows, 1)), coverage)
