"""Images with spots, and tables that say where they are."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from tabvision.data import ImageDataModule

COLUMNS = ["red_x", "red_y", "green_x", "green_y"]
SIZES = [(60, 100), (100, 60), (80, 80), (120, 70)]  # (height, width)


def blob(image: NDArray[np.uint8], x: float, y: float, channel: int) -> None:
    """A soft spot, whose center of mass tells its place."""
    down, across = np.mgrid[: image.shape[0], : image.shape[1]]
    spot = 255 * np.exp(-((across - x) ** 2 + (down - y) ** 2) / (2 * 4.0**2))
    image[..., channel] = np.maximum(image[..., channel], spot.astype(np.uint8))


def spotted(folder: Path, num: int = 12, kind: str = "png") -> pd.DataFrame:
    """Images of several shapes with a red and a green spot each, and a table that says where they are."""
    draw = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for row in range(num):
        height, width = SIZES[row % len(SIZES)]
        points = (draw.uniform(0.25, 0.75, (2, 2)) * [width, height]).round(1)
        image = np.zeros((height, width, 3), np.uint8)
        for channel, (x, y) in enumerate(points):
            blob(image, x, y, channel)
        Image.fromarray(image).save(folder / f"{row}.{kind}")
        rows.append([str(folder / f"{row}.{kind}"), *points.ravel()])
    return pd.DataFrame(rows, columns=["file", *COLUMNS])


def make(frame: pd.DataFrame, target: Any = None, **settings: Any) -> ImageDataModule:
    quiet: dict[str, Any] = {"task": "points", "size": 64, "batch_size": 4, "num_workers": 1, "verbose": False}
    return ImageDataModule(frame, COLUMNS if target is None else target, **(quiet | settings))
