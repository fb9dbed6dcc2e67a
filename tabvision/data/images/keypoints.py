"""Where a target that lies in an image is, as the network sees the image."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tabvision.augment.geometry import Matrices, to_output
from tabvision.data.images.stores import PictureStore
from tabvision.data.images.views import View


def views_of(store: PictureStore, view: View, rows: NDArray[np.int64], epoch: int) -> Matrices:
    """From the network's frame, -1 to 1, to pixels of each source, as the view shows it.

    Shape:
        - returns: (B, 3, 3) float64

    Raises:
        UnreadableImageError: A picture cannot be opened.
    """
    if not len(rows):
        return np.empty((0, 3, 3))
    held = store.places(rows)
    shown = view.matrices([size for size, _ in held], rows, epoch)
    whole: Matrices = np.stack([place for _, place in held]) @ shown @ to_output(view.size)
    return whole / whole[:, 2:, 2:]
