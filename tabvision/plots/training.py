"""Draw training: loss, metrics and learning rates of runs, a schedule, a learning-rate sweep, a race of optimizers."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias, cast

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter

from tabvision.callbacks.schedule import RunLength, Schedule
from tabvision.callbacks.unfreeze import Unfreeze
from tabvision.errors import BadTypeError, BadValueError, MissingFileError, speaking
from tabvision.plots.style import COLORS, INK, check_frame, legend, panels, set_figure_title, short
from tabvision.schedules import epoch_ends
from tabvision.scratch.optimizers import INTERCEPT, SLOPE
from tabvision.tuning.sweep import WAYS, LRFinding

Metrics: TypeAlias = "str | Path | pd.DataFrame"
_STYLES = {"train": ":", "val": "-", "oof": "--", "test": "-."}  # a line style for each part of the data
_RATE = "^lr(-|$)"  # columns of Lightning's LearningRateMonitor
_REMEDY = "Pass the metrics.csv of a run"
_MAX_POINTS = 500  # of a longer run, draw only every n-th step
_TALLEST = 1.5  # multiple of the first loss: larger losses would squash the rest


@speaking("plots.history")
def history(metrics: Metrics | Mapping[str, Metrics], *, title: str = "") -> Figure:
    """Draw the loss and each metric over the epochs, counted from 1, and the learning rates over the steps.

    Args:
        metrics: The path of the `metrics.csv` that Lightning's `CSVLogger` writes, or its contents as a frame; or a dict of
            several by name, to compare runs.
        title: The title of the figure.

    Raises:
        BadTypeError: `metrics` are neither paths nor frames.
        MissingFileError: There is no such file.
        BadValueError: There is no metric for any epoch.

    Example:
        >>> frame = pd.DataFrame({"epoch": [0, 0, 1], "train/loss": [0.9, None, 0.7], "val/loss": [None, 0.8, 0.6]})
        >>> [line.get_label() for line in history(frame).axes[0].get_lines()]
        ['train', 'val']
    """
    runs = metrics if isinstance(metrics, Mapping) else {"": metrics}
    frames = {str(name): _read(each) for name, each in runs.items()}
    by_epoch = {name: _per_epoch(frame) for name, frame in frames.items()}
    # Names without the part of the data: "f1" for "val/f1", "loss" for "train_loss"
    names = list(
        dict.fromkeys(re.split("[/_]", column, maxsplit=1)[1] for frame in by_epoch.values() for column in frame)
    )
    names.sort(key=lambda name: name != "loss")
    rates = [name for frame in frames.values() for name in frame.filter(regex=_RATE).dropna(axis=1, how="all")]
    num_panels = len(names) + bool(rates)
    if not num_panels:
        raise BadValueError("no metric has a value in any epoch", _REMEDY)
    columns = min(2, num_panels)
    rows = math.ceil(num_panels / columns)
    figure, grid = panels(2.2 * rows + 0.6, rows, columns)
    for axes, name in zip(grid, names, strict=False):
        _draw_metric(axes, name, by_epoch)
    if rates:
        _draw_rates(grid[len(names)], frames)
        if len(frames) == 1 < len(rates):
            legend(grid[len(names)])
    for axes in grid[num_panels:]:
        axes.set_axis_off()
    legend(grid[0])
    set_figure_title(figure, title)
    return figure


def _draw_metric(axes: Axes, name: str, runs: Mapping[str, pd.DataFrame]) -> None:
    for index, (run, frame) in enumerate(runs.items()):
        for part, style in _STYLES.items():
            column = next((each for each in frame if each in (f"{part}/{name}", f"{part}_{name}")), None)
            if column is None:
                continue
            color = COLORS[index % len(COLORS)] if len(runs) > 1 else COLORS[list(_STYLES).index(part)]
            values = frame[column].dropna()
            label = f"{short(run)} {part}" if run else part
            axes.plot(values.index, values, style, color=color, label=label, marker="o" if len(values) < 3 else "")
    axes.set(xlabel="epoch", ylabel=short(name))
    axes.yaxis.set_major_formatter(ScalarFormatter(useOffset=False))  # 1559.6, not -0.4 below "+1.56e3"
    axes.locator_params(axis="x", integer=True)
    if len(epochs := {epoch for frame in runs.values() for epoch in frame.index}) == 1:
        axes.set_xticks(list(epochs))


def _draw_rates(axes: Axes, runs: Mapping[str, pd.DataFrame]) -> None:
    for index, frame in enumerate(runs.values()):
        for number, name in enumerate(frame.filter(regex=_RATE)):
            rate = frame[name].dropna()
            color = COLORS[(index if len(runs) > 1 else number) % len(COLORS)]
            steps = frame.loc[rate.index, "step"] if "step" in frame else rate.index
            axes.plot(steps, rate, color=color, label=name.partition("-")[2])
    axes.set(xlabel="step", ylabel="learning rate")


def _read(metrics: object) -> pd.DataFrame:
    if isinstance(metrics, str | Path):
        path = Path(metrics).expanduser()
        if not path.is_file():
            raise MissingFileError(f"there is no file {str(path)!r}", _REMEDY)
        try:
            metrics = pd.read_csv(path)
        except (pd.errors.EmptyDataError, pd.errors.ParserError) as error:
            raise BadValueError(f"{str(path)!r} is not a table of metrics", _REMEDY) from error
    if not isinstance(metrics, pd.DataFrame):
        raise BadTypeError(f"a path or a frame is needed, got {type(metrics).__name__}", _REMEDY)
    return metrics.rename(columns=str).reset_index(drop=True)


def _per_epoch(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the last value of each metric in each epoch, counted from 1, leaving out empty columns.

    Example:
        >>> _per_epoch(pd.DataFrame({"epoch": [0, 0], "val/loss": [0.5, None], "train/loss": [None, 0.4]})).to_dict()
        {'val/loss': {1: 0.5}, 'train/loss': {1: 0.4}}
    """
    numbers = frame.select_dtypes("number")
    parts = tuple(f"{part}{mark}" for part in _STYLES for mark in "/_")
    names = [name for name in numbers if name.startswith(parts) and numbers[name].notna().any()]
    epochs = numbers["epoch"] if "epoch" in numbers else pd.Series(frame.index, frame.index)
    return cast("pd.DataFrame", numbers[names].groupby(epochs + 1).last())


@speaking("plots.schedule")
def schedule(
    callback: Schedule,
    *,
    num_epochs: int,
    batches_per_epoch: int,
    groups: Sequence[str] = ("body", "head"),
    lr: float = 1.0,
    unfreeze: Unfreeze | None = None,
) -> Figure:
    """Draw the learning rate and momentum of every layer group over the steps, with frozen spans shaded.

    Args:
        callback: OneCycle, FineTune or another schedule.
        num_epochs: The Trainer's `max_epochs`.
        batches_per_epoch: Optimizer steps per epoch.
        groups: Names of the layer groups, input side first.
        lr: The optimizer's learning rate, for a schedule without a peak of its own.
        unfreeze: The callback that freezes layers, if it is separate.

    Raises:
        BadValueError: There are no epochs, batches or groups.

    Example:
        >>> from tabvision.callbacks import FineTune
        >>> figure = schedule(FineTune(freeze_epochs=1), num_epochs=3, batches_per_epoch=10)
        >>> [axes.get_ylabel() for axes in figure.axes]
        ['learning rate', 'momentum']
    """
    if num_epochs < 1 or batches_per_epoch < 1 or not groups:
        problem = (
            f"at least one epoch, batch and group are needed, got {num_epochs}, {batches_per_epoch}, {list(groups)}"
        )
        raise BadValueError(problem, "Pass what the Trainer will have")
    ends = epoch_ends(batches_per_epoch, [1] * num_epochs)
    length = RunLength(ends[-1], tuple(ends))
    steps = range(0, length.total, max(1, length.total // _MAX_POINTS))
    figure = Figure(figsize=(8, 5), layout="constrained")
    top, bottom = figure.subplots(2, sharex=True, height_ratios=(3, 1))
    peaks = callback.peaks(len(groups)) or [lr] * len(groups)
    for index, (name, peak) in enumerate(zip(groups, peaks, strict=True)):
        settings = [callback.setting(step, length, index, len(groups)) for step in steps]
        top.plot(steps, [peak * setting.factor for setting in settings], label=name)
        if index == 0 and all(setting.momentum is not None for setting in settings):
            bottom.plot(steps, [setting.momentum or 0.0 for setting in settings], color="gray")
    stages = unfreeze or getattr(callback, "unfreeze", None)  # FineTune has its own
    for epoch, (start, end) in enumerate(itertools.pairwise([0, *ends])):
        num_frozen = 0 if stages is None else len(groups) - stages.num_trainable(epoch, len(groups))
        if num_frozen:
            top.axvspan(start, end, color="tab:blue", alpha=0.12, linewidth=0)
            label = f"{', '.join(groups[:num_frozen])}\nfrozen"
            top.annotate(label, ((start + end) / 2, 0.03), xycoords=("data", "axes fraction"), ha="center", fontsize=8)
    top.set(ylabel="learning rate", title=type(callback).__name__, yscale="log" if len(set(peaks)) > 1 else "linear")
    bottom.set(ylabel="momentum", xlabel="step")
    top.legend()
    return figure


def lr_curve(finding: LRFinding) -> Figure:
    """Draw the smoothed loss over the learning rate, and mark the suggested rates.

    Args:
        finding: The result of `lr_find`.

    Example:
        >>> finding = LRFinding((1e-3, 1e-2), (1.0, 0.5), lowest=1e-3, valley=1e-3, steep=1e-3, minimum=1e-3, slide=1e-3)
        >>> lr_curve(finding).axes[0].get_xscale()
        'log'
    """
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(finding.lrs, finding.losses, color="gray")
    for color, way in enumerate(WAYS):
        rate = getattr(finding, way)
        at = min(range(len(finding.lrs)), key=lambda index, rate=rate: abs(finding.lrs[index] - rate))  # type: ignore[misc]
        axes.plot(finding.lrs[at], finding.losses[at], "o", color=f"C{color}", label=f"{way} {rate:.1e}")
    low, high = min(finding.losses), max(finding.losses[0] * _TALLEST, finding.losses[0])
    axes.set(xscale="log", xlabel="learning rate of the last layer group", ylabel="smoothed training loss")
    if high > low:
        axes.set_ylim(low - 0.05 * (high - low), high)
    axes.legend()
    return figure


@speaking("plots.optimizer_race")
def optimizer_race(frame: pd.DataFrame) -> Figure:
    """Draw each optimizer's slope and intercept over the epochs, along with the true values.

    Args:
        frame: The result of `scratch.optimizer_race`.

    Raises:
        BadTypeError: The frame lacks a column.
        BadValueError: The frame has no rows.

    Example:
        >>> from tabvision.scratch import optimizer_race as race
        >>> [axes.get_ylabel() for axes in optimizer_race(race(max_epochs=5)).axes]
        ['slope', 'intercept']
    """
    check_frame(frame, ("optimizer", "epoch", "slope", "intercept"), "Pass what scratch.optimizer_race gave")
    figure, (top, bottom) = panels(4.6, rows=2, sharex=True)
    for color, (name, rows) in zip(COLORS, frame.groupby("optimizer", sort=False), strict=False):
        label = f"{name}, {rows['epoch'].max():,} epochs"
        for axes, column in ((top, "slope"), (bottom, "intercept")):
            axes.plot(rows["epoch"] + 1, rows[column], color=color, label=label, linewidth=1.4)
            axes.plot(rows["epoch"].iloc[-1] + 1, rows[column].iloc[-1], "o", color=color, markersize=4)
    for axes, column, goal in ((top, "slope", SLOPE), (bottom, "intercept", INTERCEPT)):
        axes.axhline(goal, color=INK, linewidth=0.8, linestyle=":")
        axes.set(ylabel=column, xscale="log")
    bottom.set_xlabel("epoch + 1")
    legend(bottom)
    return figure
