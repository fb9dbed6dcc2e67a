"""A folder of photos of ants and bees as a datamodule of small pictures, and as a table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tabvision.data import ImageDataModule


def make(source: Any, target: Any = None, **settings: Any) -> ImageDataModule:
    """The datamodule of a folder or table, in small pictures and batches."""
    quiet: dict[str, Any] = {"size": 8, "batch_size": 4, "num_workers": 1, "verbose": False}
    return ImageDataModule(source, target, **(quiet | settings))


def frame_of(photos: Path) -> pd.DataFrame:
    """The files below a folder with targets of several kinds, a split and weights."""
    files = sorted(photos.rglob("*.jpg"))
    names = [str(file.relative_to(photos)) for file in files]
    return pd.DataFrame(
        {
            "file": names,
            "kind": [file.parent.name for file in files],
            "tags": [f"{file.parent.name} {'odd' if row % 2 else 'even'}" for row, file in enumerate(files)],
            "x": np.linspace(0, 1, len(files)),
            "y": np.linspace(5, 9, len(files)) ** 2,
            "part": ["valid" if row % 4 == 0 else "train" for row in range(len(files))],
            "weight": [float(row % 3) for row in range(len(files))],
        }
    )
