"""What all figures share: colors legible on light and dark pages, fonts for all characters, and checks of frames."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

import pandas as pd
from matplotlib import rc_context, rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, fontManager, get_font

from tabvision.errors import BadTypeError, BadValueError, cut

INK = "#7b7b7b"  # for text and axes: a contrast of 4.2 with white and 4.4 with the black of dark pages
# One color per series, each with a contrast of at least 3 with both white and the black of dark pages
COLORS = ("#3b7dd8", "#d9660b", "#2b9660", "#c94f9b", "#8a6fd8", "#9a7d1f", "#178fa3", "#d3494e")
_WIDTH = 6.4  # inches; on a page 700 pixels wide, this text looks a little larger than the page's own
NO_GLYPH = "\N{WHITE SQUARE}"
# Common system fonts with characters that matplotlib's font lacks: Chinese, Japanese, Korean, then almost all others
_WIDE_FONTS = (
    "Noto Sans CJK JP",
    "Noto Sans CJK SC",
    "Source Han Sans",
    "WenQuanYi Zen Hei",
    "Hiragino Sans",
    "PingFang SC",
    "Apple SD Gothic Neo",
    "Yu Gothic",
    "Microsoft YaHei",
    "Malgun Gothic",
    "Arial Unicode MS",
)


def panels(height: float, rows: int = 1, columns: int = 1, **settings: Any) -> tuple[Figure, list[Axes]]:  # noqa: ANN401 - for `Figure.subplots`
    """Return a figure without background, `height` inches high, and its axes, drawn in `INK`."""
    figure = Figure(figsize=(_WIDTH, height), layout="constrained", facecolor="none", edgecolor="none")
    grid = list(figure.subplots(rows, columns, squeeze=False, **settings).flat)
    for axes in grid:
        axes.set_facecolor("none")
        axes.tick_params(which="both", colors=INK, labelsize=9)
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[:].set_color(INK)
        for text in (axes.title, axes.xaxis.label, axes.yaxis.label):
            text.set(color=INK, fontsize=10, fontfamily=font_families())
    return figure, grid


def set_figure_title(figure: Figure, title: str) -> None:
    """Write a title above several panels, if there is one."""
    if title:
        figure.suptitle(short(title, 70), color=INK, fontsize=10, fontfamily=font_families())


def check_frame(frame: object, needed: Sequence[str], remedy: str) -> None:
    """Raise unless there is something to draw.

    Raises:
        BadTypeError: It is not a frame, or lacks a column.
        BadValueError: It has no rows.
    """
    if not isinstance(frame, pd.DataFrame):
        raise BadTypeError(f"a frame is needed, got {type(frame).__name__}", remedy)
    if missing := [name for name in needed if name not in frame.columns]:
        raise BadTypeError(f"the frame lacks {', '.join(map(repr, missing))}", remedy)
    if frame.empty:
        raise BadValueError("the frame has no rows, so there is nothing to draw", remedy)


def svg_of(figure: Figure, salt: str = "") -> str:
    """Return a figure as SVG with its text as text; figures on one page need different salts, which determine the ids."""
    buffer = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": f"tabvision{salt}"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def legend(axes: Axes, *, outside: bool = False) -> None:
    """Add a legend in `INK`, without a frame, if any series has a label; `outside` the axes it covers nothing."""
    if axes.get_legend_handles_labels()[0]:
        font = FontProperties(family=font_families(), size=9)
        drawn = axes.legend(frameon=False, labelcolor=INK, prop=font)
        if outside:
            drawn.set(loc="upper left", bbox_to_anchor=(1, 1))


def label_ticks(
    axes: Axes, which: str, texts: Iterable[object], *, max_labels: int = 40, most: int = 28, rotation: float = 0
) -> None:
    """Label the positions 0, 1, 2 ... of an axis, or every n-th one if there are too many.

    Args:
        axes: The axes.
        which: "x" or "y".
        texts: A label for each position.
        max_labels: The most labels to write.
        most: The most characters of a label; longer ones are cut.
        rotation: Rotation of the labels, in degrees.
    """
    labels = [short(text, most) for text in texts]
    step = max(1, math.ceil(len(labels) / max_labels))
    set_ticks = axes.set_xticks if which == "x" else axes.set_yticks
    set_ticks(range(0, len(labels), step), labels[::step], fontfamily=font_families(), rotation=rotation)


def short(text: object, most: int = 28) -> str:
    """Return a text on one line, cut to at most `most` characters, all of them drawable.

    Example:
        >>> short("a column with a very long name indeed"), short(3.0)
        ('a column with a very long n…', '3')
    """
    line = f"{text:g}" if isinstance(text, float) else " ".join(str(text).split())
    return drawable(cut(line, most))


def font_families() -> list[str]:
    """Return the font families for labels: the user's setting, then installed fonts with more characters."""
    installed = {font.name for font in fontManager.ttflist}
    return [*rcParams["font.family"], *(name for name in _WIDE_FONTS if name in installed)]


def drawable(text: str) -> str:
    r"""Return the text on one line, with a square for each character that is in no font, and dollar signs escaped.

    Example:
        >>> drawable("Tom &\nJerry, 5 $")
        'Tom & Jerry, 5 \\$'
    """
    known = [_characters(findfont(FontProperties(family=[family]))) for family in font_families()]
    line = " ".join(text.split())
    drawn = (each if any(ord(each) in characters for characters in known) else NO_GLYPH for each in line)
    return "".join(drawn).replace("$", r"\$")


@lru_cache(maxsize=32)
def _characters(path: str) -> frozenset[int]:
    return frozenset(get_font(path).get_charmap())
