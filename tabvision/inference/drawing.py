"""Pictures in whatever form they come to the uint8 array that an exported network reads. No torch."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from tabvision.data.images.decode import PictureSource, UnreadableImageError, open_picture
from tabvision.data.images.views import EvaluationView
from tabvision.schema import Image

MAX_THREADS = 16


def draw_pictures(sources: Sequence[PictureSource], image: Image) -> tuple[NDArray[np.uint8], dict[int, str]]:
    """The pictures at the network's size, and by place why one could not be read; its pixels stay black.

    Args:
        sources: Paths, bytes, PIL images or arrays.
        image: The size and resize of the trained module.

    Shape:
        - returns: (N, 3, H, W) uint8

    Example:
        >>> pixels, errors = draw_pictures([np.full((4, 6, 3), 7, np.uint8), b"none"], Image(size=(2, 2)))
        >>> pixels.shape, int(pixels[0].max()), list(errors)
        ((2, 3, 2, 2), 7, [1])
    """
    view, errors = EvaluationView(image.size, image.resize), {}
    out = np.zeros((len(sources), *image.size, 3), np.uint8)

    def draw(place: int) -> None:
        try:
            picture = open_picture(sources[place])
            drawings, _ = view.prepare([picture.size], np.array([place]), 0)
            drawings[0](picture, out[place])
        except UnreadableImageError as error:
            out[place] = 0
            errors[place] = error.reason

    threads = min(MAX_THREADS, os.cpu_count() or 1, len(sources))
    if threads < 2:
        for place in range(len(sources)):
            draw(place)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(draw, range(len(sources))))
    return np.ascontiguousarray(out.transpose(0, 3, 1, 2)), errors
