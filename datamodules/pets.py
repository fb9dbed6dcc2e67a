"""Pets: classify 37 breeds of cats and dogs, with the labels in the file names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

from tabvision.augment.settings import Augmentation
from tabvision.data import ImageDataModule, Split
from tabvision.schema import Schema

PATTERN = r"^(.+)_\d+\.\w+$"  # great_pyrenees_173.jpg


@final
class PetsDataModule(ImageDataModule):
    """Photos of pets, whose file names give the breed and a number, such as `great_pyrenees_173.jpg`.

    Oxford-IIIT Pets: 7,349 photos of 12 breeds of cats and 25 of dogs, about 200 each. Any folder with such file names works.

    Source: Omkar Parkhi and others 2012, https://www.robots.ox.ac.uk/~vgg/data/pets/

    License: CC BY-SA 4.0; the copyright of the photos remains with the photographers

    Limits: photos from the web, many by the pets' owners; any other breed gets one of the 37 names.

    Args:
        folder: The folder with the images, or one that has them in a folder `images`.
        size: Side of the network's input in pixels.
        augment: As for ImageDataModule.
        batch_size: Images in one training step.
        split: As for ImageDataModule.
        seed: Determines split, order and augmentation.
        cache: As for ImageDataModule.
        schema: Facts to use instead of fitting new ones.
        verbose: Whether to print a summary of the data.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        size: int = 224,
        augment: str | Augmentation | Mapping[str, Any] | None = "default",
        batch_size: int = 64,
        split: float | Split | None = 0.2,
        seed: int = 0,
        cache: str | Path | None = "auto",
        schema: Schema | None = None,
        verbose: bool = True,
    ) -> None:
        inner = Path(folder).expanduser() / "images"
        super().__init__(
            inner if inner.is_dir() else folder,
            "breed",
            label_pattern=PATTERN,
            size=size,
            augment=augment,
            batch_size=batch_size,
            split=split,
            seed=seed,
            cache=cache,
            schema=schema,
            verbose=verbose,
        )
