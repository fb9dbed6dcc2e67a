"""Ants and bees: 245 training photos, the transfer-learning example in PyTorch's tutorials."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

from tabvision.augment.settings import Augmentation
from tabvision.data import ImageDataModule
from tabvision.schema import Schema


@final
class HymenopteraDataModule(ImageDataModule):
    """Photos of ants and bees, 245 for training and 153 for validation.

    Source: PyTorch's tutorial "Transfer Learning for Computer Vision", hymenoptera_data.zip

    License: none stated; photos from ImageNet, whose owners retain the copyright

    Limits: the standard error of the accuracy on 153 photos is 2.6 points, so compare means over seeds. ImageNet's weights
    were trained on these photos or similar ones.

    Args:
        folder: The folder that holds train/ants, train/bees, val/ants and val/bees.
        size: Side of the network's input in pixels.
        augment: As for ImageDataModule.
        batch_size: Images in one training step.
        seed: Determines order and augmentation.
        cache: As for ImageDataModule.
        schema: Facts to use instead of fitting new ones.
        verbose: Whether to print a summary of the data.

    Raises:
        MissingFileError: The folder does not exist.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        size: int = 128,
        augment: str | Augmentation | Mapping[str, Any] | None = "default",
        batch_size: int = 16,
        seed: int = 0,
        cache: str | Path | None = "auto",
        schema: Schema | None = None,
        verbose: bool = True,
    ) -> None:
        super().__init__(
            folder,
            size=size,
            augment=augment,
            batch_size=batch_size,
            seed=seed,
            cache=cache,
            schema=schema,
            verbose=verbose,
        )
