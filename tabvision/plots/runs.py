"""The course of a run, or of several beside each other: loss, metrics and learning rate."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias, cast

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tabvision.errors import BadTypeError, BadValueError, MissingFileError, speaking
from tabvision.plots.style import COLORS, headline, legend, panels, short

Metrics: TypeAlias = "str | Path | pd.DataFrame"
_STYLES = {"train": ":", "val": "-", "oof": "--", "test": "-."}  # a line for each part of the data
_REMEDY = "Pass the metrics.csv of a run"


@speaking("plots.history")
def history(metrics: Metrics | Mapping[str, Metrics], *, title: str = "") -> Figure:
    """Draw the loss and each metric over the epochs, and the learning rates over the steps.

    Args:
        metrics: The path of the `metrics.csv` that Lightning's `CSVLogger` writes, the same as a frame, or several by a name
            to compare runs.
        title: The title of the figure.

    Raises:
        BadTypeError: Neither paths nor frames.
        MissingFileError: No such file.
        BadValueError: No metric of any epoch.

    Example:
        >>> frame = pd.DataFrame({"epoch": [0, 0, 1], "train/loss": [0.9, None, 0.7], "val/loss": [None, 0.8, 0.6]})
        >>> [line.get_label() for line in history(frame).axes[0].get_lines()]
        ['train', 'val']
    """
    runs = metrics if isinstance(metrics, Mapping) else {"": metrics}
    frames = {str(name): _read(each) for name, each in runs.items()}
    by_epoch = {name: _per_epoch(frame) for name, frame in frames.items()}
    names = list(dict.fromkeys(_metric(column) for frame in by_epoch.values() for column in frame))
    names.sort(key=lambda name: name != "loss")
    rates = [name for frame in frames.values() for name in frame if _is_rate(name) and frame[name].notna().any()]
    num_panels = len(names) + bool(rates)
    if not num_panels:
        raise BadValueError("there is no metric of any epoch", _REMEDY)
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
    headline(figure, title)
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
    axes.locator_params(axis="x", integer=True)
    if len(epochs := {epoch for frame in runs.values() for epoch in frame.index}) == 1:
        axes.set_xticks(list(epochs))


def _draw_rates(axes: Axes, runs: Mapping[str, pd.DataFrame]) -> None:
    for index, frame in enumerate(runs.values()):
        for number, name in enumerate(filter(_is_rate, frame)):
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
            raise BadValueError(f"{str(path)!r} is no table of metrics", _REMEDY) from error
    if not isinstance(metrics, pd.DataFrame):
        raise BadTypeError(f"a path or a frame is needed, got {type(metrics).__name__}", _REMEDY)
    return metrics.rename(columns=str).reset_index(drop=True)


def _per_epoch(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the last value of each metric in each epoch, in the columns that have any.

    Example:
        >>> _per_epoch(pd.DataFrame({"epoch": [0, 0], "val/loss": [0.5, None], "train/loss": [None, 0.4]})).to_dict("list")
        {'val/loss': [0.5], 'train/loss': [0.4]}
    """
    numbers = frame.select_dtypes("number")
    parts = tuple(f"{part}{mark}" for part in _STYLES for mark in "/_")
    names = [name for name in numbers if name.startswith(parts) and numbers[name].notna().any()]
    epochs = numbers["epoch"] if "epoch" in numbers else pd.Series(frame.index, frame.index)
    return cast("pd.DataFrame", numbers[names].groupby(epochs).last())


def _metric(column: str) -> str:
    """Return a metric's name without the part of the data.

    Example:
        >>> _metric("val/f1"), _metric("train_loss")
        ('f1', 'loss')
    """
    return column[len(next(part for part in _STYLES if column.startswith(part))) + 1 :]


def _is_rate(column: str) -> bool:
    return column == "lr" or column.startswith("lr-")
