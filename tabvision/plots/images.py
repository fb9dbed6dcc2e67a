"""Draw images in a grid, each with its label and the network's answer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from tabvision.checks import check_whole
from tabvision.errors import BadValueError, count, speaking
from tabvision.inference import Results
from tabvision.interpret.mistakes import worst_rows
from tabvision.interpret.photos import Photo, overlaid, photos_of
from tabvision.interpret.rows import Model
from tabvision.plots.style import COLORS, INK, font_families, short

_INCHES = 2.2  # side of a square image; other shapes get the same area
_MAX_CHARACTERS = 26  # in a line above an image
_RIGHT, _WRONG = COLORS[2], COLORS[7]


@speaking("image_grid")
def image_grid(images: Sequence[Any], labels: Sequence[object] = (), *, columns: int | None = None) -> Figure:
    """Draw images side by side, such as `image_grid(*zip(*data.show_batch()))`.

    Args:
        images: Arrays (H, W, 3) uint8, or float in [0, 1].
        labels: The title of each image; empty for no titles.
        columns: Images per row; None for a square grid.

    Raises:
        BadValueError: There are no images, or not one label for each.

    Example:
        >>> import numpy as np
        >>> len(image_grid([np.zeros((4, 4, 3), dtype=np.uint8)] * 5, "abcde").axes)
        5
    """
    if not len(images) or (len(labels) and len(labels) != len(images)):
        given = f"{count(len(images), 'image')} and {count(len(labels), 'label')}"
        problem = f"images are needed, and a label for each or none at all, got {given}"
        raise BadValueError(problem, "Pass what data.show_batch() gives: image_grid(*zip(*shown))")
    across = columns or math.ceil(math.sqrt(len(images)))
    down = math.ceil(len(images) / across)
    lines = max((str(label).count("\n") + 1 for label in labels), default=0)
    height, width = np.shape(images[0])[:2]
    aspect = math.sqrt(width / height)
    size = (across * _INCHES * aspect, down * (_INCHES / aspect + 0.16 * lines))
    layout = ConstrainedLayoutEngine(h_pad=0.08)  # keeps the first line off the edge
    figure = Figure(figsize=size, layout=layout, facecolor="none", edgecolor="none")
    for index, image in enumerate(images):
        axes = figure.add_subplot(down, across, index + 1)
        axes.imshow(image)
        axes.set_axis_off()
        if len(labels):
            title = "\n".join(short(line, _MAX_CHARACTERS) for line in str(labels[index]).split("\n"))
            axes.set_title(title, fontsize=9, color=INK, fontfamily=font_families())
    return figure


@speaking("plots.show_results")
def show_results(
    results: Results, k: int = 9, *, model: Model | None = None, columns: int | None = None, seed: int = 0
) -> Figure:
    """Draw randomly chosen images, each with its label, the answer, and whether it is right.

    Args:
        results: The answers to images, from `Predictor.losses`, or from `Results.of_gathered` with files.
        k: The most images, at least 1.
        model: The network, to show where it looked, or None; see `interpret.gradcam`.
        columns: Images per row; None for a square grid.
        seed: Determines the choice.

    Raises:
        BadTypeError: The results have no images.
        BadValueError: There are no rows, `k` is below 1, or the network has no spatial map.
    """
    check_whole("k", k)
    rows = np.sort(np.random.default_rng(seed).permutation(len(results))[:k])
    return _grid(photos_of(results, rows, model), columns, has_loss=False)


@speaking("plots.top_losses")
def top_losses(results: Results, k: int = 9, *, model: Model | None = None, columns: int | None = None) -> Figure:
    """Draw the images with the highest loss, worst first, each with its label, the answer and the loss.

    Args:
        results: The answers to images, from `Predictor.losses`, or from `Results.of_gathered` with files.
        k: The most images, at least 1.
        model: The network, to show where it looked, or None; see `interpret.gradcam`.
        columns: Images per row; None for a square grid.

    Raises:
        BadTypeError: The results have no images; for a table see `interpret.top_losses`.
        BadValueError: There are no rows, `k` is below 1, or the network has no spatial map.
    """
    check_whole("k", k)
    return _grid(photos_of(results, worst_rows(results, k), model), columns, has_loss=True)


def _grid(photos: list[Photo], columns: int | None, *, has_loss: bool) -> Figure:
    if not photos:
        raise BadValueError("the results have no rows, so there is nothing to draw", "Pass labeled images")
    blank = np.zeros((1, 1, 4))
    pictures = [blank if photo.image is None else overlaid(photo) for photo in photos]
    captions = ["\n".join(photo.lines(_MAX_CHARACTERS)[: 3 if has_loss else 2]) for photo in photos]
    figure = image_grid(pictures, captions, columns=columns)
    for axes, photo in zip(figure.axes, photos, strict=True):
        if photo.is_right is not None:
            axes.title.set_color(_RIGHT if photo.is_right else _WRONG)
        if photo.image is None:
            axes.text(0, 0, short(photo.reason, 30), ha="center", va="center", color=INK, fontsize=8, wrap=True)
    return figure
