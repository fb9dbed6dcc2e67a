"""Imagenette: ten easily distinguished classes from ImageNet."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

import numpy as np

from tabvision.augment.settings import Augmentation
from tabvision.data import ImageDataModule, IndexSplit
from tabvision.data.images.folders import class_folders
from tabvision.data.splits.base import VALIDATION
from tabvision.errors import BadValueError, listed, speaking
from tabvision.schema import Schema

# ImageNet's identifiers for the ten classes, and their names
NAMES = {
    "n01440764": "tench",
    "n02102040": "English springer",
    "n02979186": "cassette player",
    "n03000684": "chain saw",
    "n03028079": "church",
    "n03394916": "French horn",
    "n03417042": "garbage truck",
    "n03425413": "gas pump",
    "n03445777": "golf ball",
    "n03888257": "parachute",
}


@final
class ImagenetteDataModule(ImageDataModule):
    """Photos of ten ImageNet classes, 9,469 for training and 3,925 for validation, as published.

    Source: Jeremy Howard 2019, https://github.com/fastai/imagenette

    License: Apache 2.0 for the selection; the copyright of the photos remains with the photographers (ImageNet: for research)

    Limits: meant for training from scratch; networks with ImageNet's weights were trained on most of these photos.

    Args:
        folder: The folder that holds `train` and `val`, each with ten folders named by ImageNet's identifiers.
        size: Side of the network's input in pixels.
        augment: As for ImageDataModule.
        batch_size: Images in one training step.
        seed: Determines order and augmentation.
        cache: As for ImageDataModule.
        schema: Facts to use instead of fitting new ones.
        verbose: Whether to print a summary of the data.

    Raises:
        BadValueError: There are folders other than the ten, or no validation images.
    """

    @speaking()
    def __init__(
        self,
        folder: str | Path,
        *,
        size: int = 128,
        augment: str | Augmentation | Mapping[str, Any] | None = "default",
        batch_size: int = 64,
        seed: int = 0,
        cache: str | Path | None = "auto",
        schema: Schema | None = None,
        verbose: bool = True,
    ) -> None:
        table = class_folders(folder)
        labels = table.frame["label"].astype("str")
        if unknown := sorted(set(labels) - set(NAMES)):
            raise BadValueError(f"folders that Imagenette does not have: {listed(unknown)}", "Pass its own folder")
        if table.part is None:
            raise BadValueError(f"{str(folder)!r} holds no folders train and val", "Pass the folder above them")
        super().__init__(
            table.frame.assign(label=labels.map(NAMES)),
            "label",
            path="image",
            size=size,
            augment=augment,
            batch_size=batch_size,
            split=IndexSplit(np.flatnonzero(table.part == VALIDATION).tolist()),
            seed=seed,
            cache=cache,
            schema=schema,
            verbose=verbose,
        )
