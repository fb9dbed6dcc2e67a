"""Pictures made for tests: smooth as photographs are, with a little noise."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray


def photo(height: int, width: int, *, seed: int = 0, noise: float = 3.0, grain: int = 16) -> NDArray[np.uint8]:
    """A picture of colored clouds as large as the grain in pixels, (height, width, 3)."""
    draw = np.random.default_rng(seed)
    coarse = draw.uniform(0, 255, (height // grain + 3, width // grain + 3, 3)).astype(np.float32)
    clouds = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    noisy = np.asarray(clouds) + draw.normal(0, noise, (height, width, 3))
    return np.clip(noisy, 0, 255).astype(np.uint8)


def checkerboard(side: int) -> NDArray[np.uint8]:
    """Black and white by turns from pixel to pixel, (side, side, 3)."""
    white = np.indices((side, side)).sum(axis=0) % 2 * 255
    return np.repeat(white[..., None], 3, axis=2).astype(np.uint8)
