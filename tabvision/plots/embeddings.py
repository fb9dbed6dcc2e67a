"""Draw embeddings: a map along two axes, and the highest and lowest biases."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

from tabvision.checks import check_whole
from tabvision.errors import speaking
from tabvision.plots.style import check_frame, drawable, font_families, short

_MAX_LABEL = 34  # the most characters of a label
_NUM_ENDS = 4  # rows to name at each end of an axis
_DOT = 3  # pixels around the center of a dot that no label may cover
_BESIDE = 4  # the fewest pixels between two labels on one line
_OFFSET = 3  # points between a dot and its label
# Label positions: beside, above, below, diagonal; (right, up, horizontal, vertical alignment)
_POSITIONS = (
    (1, 0, "left", "center"),
    (-1, 0, "right", "center"),
    (0, 1, "center", "bottom"),
    (0, -1, "center", "top"),
    (1, 1, "left", "bottom"),
    (-1, 1, "right", "bottom"),
    (1, -1, "left", "top"),
    (-1, -1, "right", "top"),
)


@speaking("embedding_map")
def embedding_map(
    frame: pd.DataFrame, *, axes: tuple[int, int] = (1, 2), max_labels: int = 60, title: str = ""
) -> Figure:
    """Draw rows along two principal axes, and label as many as fit without overlap.

    The rows at both ends of each axis are labeled first, since they show what the axis means. A character that is in no
    installed font is drawn as a square.

    Args:
        frame: The result of `interpret.pca`, with the most important rows first: they are labeled next.
        axes: The two axes to draw, counted from 1.
        max_labels: The most labels to write; 0 for none.
        title: The title of the figure.

    Raises:
        BadTypeError: `frame` is not a frame, or lacks an axis.
        BadValueError: There are no rows, or `max_labels` is below 0.

    Example:
        >>> frame = pd.DataFrame({"film": ["Heat", "Fargo"], "axis_1": [0.0, 1.0], "axis_2": [1.0, 0.0]})
        >>> sorted(text.get_text() for text in embedding_map(frame).axes[0].texts)
        ['Fargo', 'Heat']
    """
    names = [f"axis_{number}" for number in axes]
    check_frame(frame, names, "Pass what tabvision.interpret.pca gave, with enough axes")
    check_whole("max_labels", max_labels, 0)
    figure = Figure(figsize=(11, 8), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    plane = figure.subplots()
    points = frame[names].to_numpy(dtype=float)
    plane.scatter(points[:, 0], points[:, 1], s=9, alpha=0.3, linewidths=0)
    fractions = frame.attrs.get("shares", [])
    for name, axis in zip("xy", axes, strict=True):
        explained = f" ({fractions[axis - 1]:.0%} of the variance)" if axis <= len(fractions) else ""
        plane.set(**{f"{name}label": f"principal axis {axis}{explained}"})
    plane.set_title(drawable(title), fontfamily=font_families())
    plane.margins(0.08)
    canvas.draw()  # type: ignore[no-untyped-call]  # settle the layout before measuring labels
    figure.set_layout_engine("none")
    orders = points.argsort(axis=0, kind="stable")
    ends = np.stack([orders[:_NUM_ENDS], orders[::-1][:_NUM_ENDS]], axis=2)  # (ranks, axes, lowest and highest)
    rows = list(dict.fromkeys([*ends.flatten().tolist(), *range(len(points))]))[:max_labels]
    named = [rows[index] for index in _write_labels(plane, points[rows], _short_labels(frame.iloc[rows]))]
    plane.scatter(points[named, 0], points[named, 1], s=14, color="tab:blue", linewidths=0)
    return figure


def _write_labels(plane: Axes, points: NDArray[np.floating], labels: Iterable[str]) -> list[int]:
    """Write each label at the first position around its point, if any, where it covers nothing and stays in the axes.

    Args:
        plane: Axes whose limits are final.
        points: (N, 2) in data coordinates, the most important first.
        labels: A label for each point.

    Returns:
        The positions of the points that were labeled.
    """
    taken, named, inside = list[Bbox](), list[int](), plane.get_window_extent()
    for number, (point, label) in enumerate(zip(points, labels, strict=True)):
        dot = Bbox(plane.transData.transform(point) + np.array([[-_DOT], [_DOT]]))
        if any(dot.overlaps(other) for other in taken):
            continue
        for right, up, horizontal, vertical in _POSITIONS:
            style = {"ha": horizontal, "va": vertical, "fontsize": 8, "fontfamily": font_families()}
            offset = (_OFFSET * right, _OFFSET * up)
            text = plane.annotate(label, (point[0], point[1]), offset, textcoords="offset points", **style)  # type: ignore[arg-type]
            box = text.get_window_extent().padded(_BESIDE, 0)
            is_within = inside.x0 <= box.x0 and box.x1 <= inside.x1 and inside.y0 <= box.y0 and box.y1 <= inside.y1
            if is_within and not any(box.overlaps(other) for other in taken):
                taken += [box, dot]
                named.append(number)
                break
            text.remove()
    return named


@speaking("bias_bars")
def bias_bars(frame: pd.DataFrame, k: int = 10, *, title: str = "") -> Figure:
    """Draw the highest and the lowest biases as bars.

    Args:
        frame: The result of `interpret.item_bias` or `user_bias`, in any order.
        k: The number of bars at each end, at least 1; fewer if there are fewer rows.
        title: The title of the figure.

    Raises:
        BadTypeError: `frame` is not a frame, or has no biases.
        BadValueError: There are no rows, or `k` is below 1.

    Example:
        >>> figure = bias_bars(pd.DataFrame({"film": ["Heat", "Fargo"], "bias": [0.5, -0.5]}))
        >>> [label.get_text() for label in figure.axes[0].get_yticklabels()]
        ['Fargo', 'Heat']
    """
    check_frame(frame, ["bias"], "Pass what interpret.item_bias gave")
    check_whole("k", k)
    ordered = frame.sort_values("bias", kind="stable")
    ends = ordered if len(ordered) <= 2 * k else pd.concat([ordered.head(k), ordered.tail(k)])
    figure = Figure(figsize=(8, 0.28 * len(ends) + 1.2), layout="constrained")
    plane = figure.subplots()
    positions = np.arange(len(ends))
    if len(ends) < len(ordered):
        positions[k:] += 1  # leave a gap between the two ends
    plane.barh(positions, ends["bias"], color=np.where(ends["bias"] < 0, "tab:red", "tab:blue").tolist())
    plane.set_yticks(positions, _short_labels(ends), fontsize=8, fontfamily=font_families())
    plane.margins(y=0.01)
    plane.axvline(0, color="gray", linewidth=0.8)
    plane.set_xlabel("bias")
    plane.set_title(drawable(title), fontfamily=font_families())
    return figure


def _short_labels(frame: pd.DataFrame) -> list[str]:
    """Return the titles, or the first column if there are none, shortened."""
    labels = frame["title" if "title" in frame.columns else frame.columns[0]]
    return [short(str(label), _MAX_LABEL) for label in labels]
