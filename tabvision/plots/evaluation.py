"""Draw what a model learned and where it is wrong, from the frames that `tabvision.interpret` returns.

Figures have a transparent background and colors that are legible on light and dark pages.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from matplotlib.colors import LinearSegmentedColormap, PowerNorm
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from tabvision.checks import check_whole
from tabvision.errors import BadValueError, speaking
from tabvision.plots.style import COLORS, INK, check_frame, label_ticks, legend, panels, set_figure_title, short

_MAX_WRITTEN = 12  # the most classes with a number in each cell
_MOST_SIDE_BY_SIDE, _WIDEST_SIDE_BY_SIDE = 3, 13  # classes, and their letters, up to which names are not turned
_MAX_PANELS = 6
_MAX_POINTS = 4_000  # the most rows in a scatter plot
_MAX_LINES = len(COLORS)
_MAX_NAME = 32  # the most characters of a slice's name
_BAR = 0.28  # inches per bar with its label
_BLUE = (0.15, 0.38, 0.75)
_CELLS = LinearSegmentedColormap.from_list("cells", [(*_BLUE, 0.0), (*_BLUE, 1.0)])  # from transparent to opaque


@speaking("confusion_matrix")
def confusion_matrix(frame: pd.DataFrame, *, title: str = "") -> Figure:
    """Draw how often each true class is predicted as each class, shaded by the fraction of the true class.

    Small fractions are shaded more than proportionally, so that confusions are visible next to a strong diagonal.

    Args:
        frame: The result of `interpret.confusion`, counts or fractions. With more than 12 classes, cells have no numbers.
        title: The title of the figure.

    Raises:
        BadTypeError: `frame` is not a frame.
        BadValueError: There are no classes.

    Example:
        >>> figure = confusion_matrix(pd.DataFrame([[8, 2], [1, 9]], ["no", "yes"], ["no", "yes"]))
        >>> [text.get_text() for text in figure.axes[0].texts]
        ['8', '2', '1', '9']
    """
    check_frame(frame, (), "Pass what interpret.confusion gave")
    counts = frame.to_numpy(dtype=float)
    sums = np.nansum(counts, axis=1, keepdims=True)
    fractions = np.nan_to_num(np.divide(counts, sums, out=np.zeros_like(counts), where=sums > 0))
    side = min(6.0, 1.6 + 0.45 * max(counts.shape))
    figure, (axes,) = panels(side)
    shade = PowerNorm(0.6, vmin=0, vmax=fractions.max() or 1)
    axes.imshow(fractions, cmap=_CELLS, norm=shade, interpolation="nearest", aspect="equal")
    axes.spines[:].set_visible(True)
    axes.set(xlabel="predicted", ylabel="true", title=short(title, 60))
    names = [str(name) for name in frame.columns]
    is_tight = len(names) > _MOST_SIDE_BY_SIDE or max(map(len, names)) > _WIDEST_SIDE_BY_SIDE
    label_ticks(axes, "x", names, rotation=90 if is_tight else 0, max_labels=34)
    label_ticks(axes, "y", map(str, frame.index), max_labels=34)
    if max(counts.shape) <= _MAX_WRITTEN:
        for (row, column), value in np.ndenumerate(counts):
            text = f"{value:.2f}" if value % 1 else f"{value:,.0f}"
            cell = axes.text(column, row, text, ha="center", va="center", color=INK, fontsize=8)
            if shade(fractions[row, column]) > 0.4:  # INK would not stand out
                cell.set(color="white", path_effects=[withStroke(linewidth=3, foreground=_BLUE)])
    return figure


@speaking("plots.importance")
def importance(frame: pd.DataFrame, k: int = 20, *, title: str = "") -> Figure:
    """Draw how much the model relies on each column as bars, with the most important on top.

    Args:
        frame: The result of `interpret.importance`.
        k: The most bars, at least 1.
        title: The title of the figure.

    Raises:
        BadTypeError: `frame` is not a frame, or has no importances.
        BadValueError: There are no rows, or `k` is below 1.

    Example:
        >>> figure = importance(pd.DataFrame({"column": ["age", "job"], "importance": [0.1, 0.4], "std": 0.02}))
        >>> [text.get_text() for text in figure.axes[0].get_yticklabels()]
        ['job', 'age']
    """
    check_frame(frame, ("column", "importance"), "Pass what interpret.importance gave")
    check_whole("k", k)
    top = frame.sort_values("importance", ascending=False, kind="stable").head(k)
    figure, (axes,) = panels(0.9 + _BAR * len(top))
    std, line = (top["std"].fillna(0) if "std" in top else None), {"ecolor": INK, "elinewidth": 1}
    axes.barh(range(len(top)), top["importance"], xerr=std, color=COLORS[0], error_kw=line)
    label_ticks(axes, "y", top["column"], most=_MAX_NAME + 12)
    axes.set_ylim(len(top) - 0.4, -0.6)  # the first is on top
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.set(xlabel="how much worse the predictions are\nwhen its values are shuffled", title=short(title, 60))
    return figure


@speaking("plots.effects")
def effects(frame: pd.DataFrame, *, title: str = "") -> Figure:
    """Draw the mean answer over the values of a column, with its band: one line per class or predicted number.

    Args:
        frame: The result of `interpret.effects`. Of many answers, those that change most are drawn.
        title: The title of the figure.

    Raises:
        BadTypeError: `frame` is not a frame, or has no effects.
        BadValueError: There are no rows.

    Example:
        >>> columns = {"age": [20, 60], "answer": "pay", "mean": [1.0, 2.0], "low": [0.8, 1.7], "high": [1.2, 2.3]}
        >>> effects(pd.DataFrame(columns)).axes[0].get_xlabel()
        'age'
    """
    check_frame(frame, ("answer", "mean"), "Pass what interpret.effects gave")
    column, second = frame.columns[:2]
    if second != "answer":
        raise BadValueError("effects of two columns cannot be drawn as lines", "Pass the effects of one column")
    ranges = frame.groupby("answer", sort=False, observed=True)["mean"].agg(lambda mean: mean.max() - mean.min())
    answers = list(ranges.sort_values(ascending=False, kind="stable").index[:_MAX_LINES])
    figure, (axes,) = panels(3.4)
    is_ordered = frame[column].dtype.kind in "iufM"  # numbers and dates; anything else is a category
    values = frame[column] if is_ordered else frame[column].astype(object).where(frame[column].notna(), "missing")
    frame = frame.assign(**{str(column): values})
    categories = {} if is_ordered else {value: index for index, value in enumerate(values.unique())}
    for index, answer in enumerate(name for name in ranges.index if name in answers):
        part = frame[frame["answer"] == answer]
        mean = part["mean"].to_numpy(dtype=float)
        low, high = (part[name].to_numpy(dtype=float) if name in part else mean for name in ("low", "high"))
        color, label = COLORS[index], short(answer)
        if is_ordered:
            axes.fill_between(part[column], low, high, color=color, alpha=0.15, linewidth=0)
            axes.plot(part[column], mean, marker="o", markersize=3, color=color, label=label)
        else:
            offset = (index - (len(answers) - 1) / 2) * 0.6 / len(answers)
            at = np.array([categories[value] for value in part[column]]) + offset
            axes.vlines(at, low, high, color=color, alpha=0.5)
            axes.plot(at, mean, "o", markersize=5, color=color, label=label)
    if not is_ordered:
        label_ticks(axes, "x", categories, rotation=90 if len(categories) > 4 else 0)
    of = f" the {len(answers)} of {len(ranges)} answers that change most" if len(ranges) > len(answers) else ""
    axes.set(xlabel=short(column, 60), ylabel="prediction", title=short(title + of, 70))
    if len(answers) > 1:
        legend(axes, outside=True)
    return figure


@speaking("plots.reliability")
def reliability(frame: pd.DataFrame, *, title: str = "") -> Figure:
    """Draw how often answers at each probability are right, against the diagonal of calibrated answers, and their number.

    Args:
        frame: The result of `interpret.reliability`.
        title: The title of the figure.

    Raises:
        BadTypeError: `frame` is not a frame, or has no confidences.
        BadValueError: There are no rows.

    Example:
        >>> figure = reliability(pd.DataFrame({"confidence": [0.6, 0.9], "accuracy": [0.5, 0.9], "rows": [10, 90]}))
        >>> [axes.get_ylabel() for axes in figure.axes]
        ['observed frequency', 'predictions']
    """
    check_frame(frame, ("confidence", "accuracy", "rows"), "Pass what interpret.reliability gave")
    figure, (top, bottom) = panels(4.2, 2, sharex=True, height_ratios=(4, 1))
    top.plot([0, 1], [0, 1], color=INK, linewidth=0.8, linestyle="--", label="calibrated")
    top.plot(frame["confidence"], frame["accuracy"], "o-", color=COLORS[0], label="model")
    bottom.bar(frame["confidence"], frame["rows"], width=0.03, color=COLORS[0])
    top.set(ylabel="observed frequency", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), title=short(title, 60))
    bottom.set(xlabel="probability", ylabel="predictions")
    legend(top)
    return figure


@speaking("plots.residuals")
def residuals(frame: pd.DataFrame, *, title: str = "") -> Figure:
    """Draw predictions over targets, next to the distribution of residuals, one row per predicted number.

    Args:
        frame: The result of `interpret.residuals`. Of many rows, the scatter plot shows an even selection.
        title: The title of the figure.

    Raises:
        BadTypeError: `frame` is not a frame, or has no residuals.
        BadValueError: There are no rows.

    Example:
        >>> figure = residuals(pd.DataFrame({"target": [1.0, 2.0], "prediction": [1.5, 2.0], "residual": [-0.5, 0.0]}))
        >>> [axes.get_xlabel() for axes in figure.axes]
        ['true', 'residual (true - predicted)']
    """
    check_frame(frame, ("target", "prediction", "residual"), "Pass what interpret.residuals gave")
    names = list(frame["name"].unique())[:_MAX_PANELS] if "name" in frame else [None]
    figure, grid = panels(2.7 * len(names) + 0.3, len(names), 2)
    for index, name in enumerate(names):
        part = frame if name is None else frame[frame["name"] == name]
        part = part[np.isfinite(part[["target", "prediction"]].to_numpy(dtype=float)).all(axis=1)]
        cloud, histogram = grid[2 * index : 2 * index + 2]
        some = part.iloc[:: max(1, math.ceil(len(part) / _MAX_POINTS))]
        cloud.plot(some["target"], some["prediction"], "o", ms=3, alpha=0.5, mew=0, color=COLORS[0], rasterized=True)
        if len(some):
            ends = [some[["target", "prediction"]].to_numpy().min(), some[["target", "prediction"]].to_numpy().max()]
            cloud.plot(ends, ends, color=INK, linewidth=0.8, linestyle="--")
            histogram.hist(part["residual"], bins=min(40, max(5, len(part) // 5)), color=COLORS[0], ec=COLORS[0])
        histogram.axvline(0, color=INK, linewidth=0.8, linestyle="--")
        cloud.set(xlabel="true", ylabel="predicted", title="" if name is None else short(name, 30))
        histogram.set(xlabel="residual (true - predicted)", ylabel="rows")
        for axes in (cloud, histogram):
            axes.locator_params(axis="x", nbins=3)  # few ticks, so that numbers as long as prices fit
    set_figure_title(figure, title)
    return figure


@speaking("plots.threshold_curves")
def threshold_curves(frame: pd.DataFrame, *, title: str = "") -> Figure:
    """Draw precision, recall and F1 over the threshold above which a label is predicted, one panel per label.

    Args:
        frame: The result of `interpret.threshold_curves`. At most six labels are drawn.
        title: The title of the figure.

    Raises:
        BadTypeError: `frame` is not a frame, or has no curves.
        BadValueError: There are no rows.

    Example:
        >>> columns = {"label": "yes", "threshold": [0.2, 0.8], "precision": [0.5, 1], "recall": [1, 0.5], "f1": 0.67}
        >>> [line.get_label() for line in threshold_curves(pd.DataFrame(columns)).axes[0].get_lines()]
        ['precision', 'recall', 'F1']
    """
    check_frame(frame, ("label", "threshold", "precision", "recall", "f1"), "Pass what interpret.threshold_curves gave")
    labels = list(frame["label"].unique())
    shown = labels[:_MAX_PANELS]
    columns = min(2, len(shown))
    rows = math.ceil(len(shown) / columns)
    figure, grid = panels(3.2 if columns == 1 else 2.4 * rows, rows, columns, sharex=True, sharey=True)
    for axes, label in zip(grid, shown, strict=False):
        part = frame[frame["label"] == label]
        for color, name in zip(COLORS, ("precision", "recall", "f1"), strict=False):
            axes.plot(part["threshold"], part[name], color=color, label=name.replace("f1", "F1"))
        axes.set(xlabel="threshold", xlim=(0, 1), ylim=(-0.03, 1.03), title=short(label, 40))
        axes.label_outer()
    for axes in grid[len(shown) :]:
        axes.set_axis_off()
    legend(grid[0])
    of = f" {len(shown)} of {len(labels)} labels" if len(labels) > len(shown) else ""
    set_figure_title(figure, title + of)
    return figure


@speaking("slices")
def slices(frame: pd.DataFrame, k: int = 20, *, title: str = "") -> Figure:
    """Draw the error of each slice with its 95% interval, and a line at the overall error.

    Args:
        frame: The result of `interpret.errors_by` or `interpret.worst_slices`.
        k: The most slices, at least 1.
        title: The title of the figure.

    Raises:
        BadTypeError: `frame` is not a frame, or has no errors.
        BadValueError: There are no rows, or `k` is below 1.

    Example:
        >>> found = pd.DataFrame({"job": ["cook", "pilot"], "rows": [9, 4], "error": [0.5, 0.1], "low": 0.0, "high": 0.8})
        >>> [text.get_text() for text in slices(found).axes[0].get_yticklabels()]
        ['cook (9)', 'pilot (4)']
    """
    check_frame(frame, ("rows", "error", "low", "high"), "Pass what interpret.errors_by or worst_slices gave")
    check_whole("k", k)
    top = frame.head(k)
    of_all = "slice" in top and "column" in top
    names = [f"{column}: {value}" for column, value in zip(top["column"], top["slice"], strict=True)] if of_all else []
    names = names or [str(value) for value in top[frame.columns[0]]]
    half = (_MAX_NAME - 1) // 2  # cut long names in the middle, since slices of one column differ at the end
    names = [name if len(name) <= _MAX_NAME else f"{name[:half]}…{name[-half:]}" for name in names]
    figure, (axes,) = panels(0.9 + _BAR * len(top))
    error, *ends = (top[name].to_numpy(dtype=float) for name in ("error", "low", "high"))
    low, high = (np.where(np.isfinite(each), each, error) for each in ends)  # a single row has no interval
    axes.hlines(range(len(top)), low, high, color=COLORS[0], alpha=0.6, linewidth=2)
    axes.plot(error, range(len(top)), "o", color=COLORS[0], markersize=5)
    if "overall" in frame.attrs:
        axes.axvline(frame.attrs["overall"], color=INK, linewidth=0.8, linestyle="--", label="all rows")
        legend(axes)
    texts = [f"{name} ({rows:,})" for name, rows in zip(names, top["rows"], strict=True)]
    label_ticks(axes, "y", texts, most=_MAX_NAME + 12)
    axes.set_ylim(len(top) - 0.4, -0.6)  # the first is on top
    if (low >= 0).all():
        axes.set_xlim(left=0)
    axes.set(xlabel=short(frame.attrs.get("error", "error"), 70), title=short(title, 60))
    return figure
