"""Images in a grid, each with its label."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

from tabvision.errors import BadValueError, speaking

_INCHES = 2.2  # an image's side


@speaking("image_grid")
def image_grid(images: Sequence[Any], labels: Sequence[object] = (), *, columns: int | None = None) -> Figure:
    """Draw images side by side, such as `image_grid(*zip(*data.show_batch()))`.

    Args:
        images: Arrays (H, W, 3) uint8, or float in [0, 1].
        labels: What stands above each; none for no titles.
        columns: Images in a row; None for a square.

    Raises:
        BadValueError: No image, or not one label for each.

    Example:
        >>> import numpy as np
        >>> len(image_grid([np.zeros((4, 4, 3), dtype=np.uint8)] * 5, "abcde").axes)
        5
    """
    if not len(images) or (len(labels) and len(labels) != len(images)):
        problem = f"there must be an image, and a label for each or none, got {len(images)} and {len(labels)}"
        raise BadValueError(problem, "Pass what data.show_batch() gives: image_grid(*zip(*shown))")
    across = columns or math.ceil(math.sqrt(len(images)))
    down = math.ceil(len(images) / across)
    figure = Figure(figsize=(across * _INCHES, down * _INCHES), layout="constrained")
    for index, image in enumerate(images):
        axes = figure.add_subplot(down, across, index + 1)
        axes.imshow(image)
        axes.set_axis_off()
        if len(labels):
            axes.set_title(str(labels[index]), fontsize="small")
    return figure
