"""The race of optimizers."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from tabvision.errors import BadTypeError, BadValueError, speaking
from tabvision.plots.style import COLORS, INK, legend, panels
from tabvision.scratch.optimizers import INTERCEPT, SLOPE

_COLUMNS = {"optimizer", "epoch", "slope", "intercept"}


@speaking("plots.optimizer_race")
def optimizer_race(frame: pd.DataFrame) -> Figure:
    """Draw slope and intercept of each optimizer over the epochs, beside the true values.

    Args:
        frame: The frame that `scratch.optimizer_race` returned.

    Raises:
        BadTypeError: The frame lacks a column.
        BadValueError: The frame has no rows.

    Example:
        >>> from tabvision.scratch import optimizer_race as race
        >>> [axes.get_ylabel() for axes in optimizer_race(race(max_epochs=5)).axes]
        ['slope', 'intercept']
    """
    if missing := sorted(_COLUMNS - set(frame.columns)):
        raise BadTypeError(f"the frame lacks {', '.join(missing)}", "Pass what scratch.optimizer_race gave")
    if frame.empty:
        raise BadValueError("the frame has no rows", "Pass what scratch.optimizer_race gave")
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
