"""Planet: classify satellite images of the Amazon, with several labels per image that come from a table."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

from tabvision.augment.settings import Augmentation
from tabvision.data import ImageDataModule, Split
from tabvision.errors import MissingFileError, speaking
from tabvision.schema import Schema

TABLES = ("labels.csv", "train_v2.csv", "train_classes.csv")  # fastai's sample, and Kaggle's two names
FOLDERS = ("train", "train-jpg")
# Images from above have no upright orientation, so use all eight, no perspective, and little lighting and zoom.
# Source: fast.ai 2019, lesson 3: flip_vert=True, max_lighting=0.1, max_zoom=1.05, max_warp=0
FROM_ABOVE = Augmentation(flip_vertical=0.5, transpose=0.5, warp=0, zoom=1.05, brightness=0.1, contrast=0.1)


@final
class PlanetDataModule(ImageDataModule):
    """Weather, land cover and land use on satellite chips of 256 x 256 pixels, 17 labels.

    A CSV file with the columns `image_name` and `tags` (labels separated by spaces), and a folder of images.

    Source: Planet 2017, https://www.kaggle.com/c/planet-understanding-the-amazon-from-space

    License: CC BY-NC-SA 4.0 for the images, by the rules of that competition

    Limits: one forest; crowd-sourced labels, several of which occur on at most a hundred chips. The chips are CMYK JPEG
    files made from channels other than a camera's.

    Args:
        folder: The folder that holds `labels.csv` (or `train_v2.csv`) and a folder `train` (or `train-jpg`).
        size: Side of the network's input in pixels.
        augment: As for ImageDataModule; the default suits images from above.
        batch_size: Images in one training step.
        split: As for ImageDataModule.
        seed: Determines split, order and augmentation.
        cache: As for ImageDataModule.
        schema: Facts to use instead of fitting new ones.
        verbose: Whether to print a summary of the data.

    Raises:
        MissingFileError: The table or the folder does not exist.
    """

    @speaking()
    def __init__(
        self,
        folder: str | Path,
        *,
        size: int = 128,
        augment: str | Augmentation | Mapping[str, Any] | None = FROM_ABOVE,
        batch_size: int = 64,
        split: float | Split | None = 0.2,
        seed: int = 0,
        cache: str | Path | None = "auto",
        schema: Schema | None = None,
        verbose: bool = True,
    ) -> None:
        super().__init__(
            _first(folder, TABLES),
            "tags",
            path="image_name",
            root=_first(folder, FOLDERS),
            suffix=".jpg",
            separator=" ",
            size=size,
            augment=augment,
            batch_size=batch_size,
            split=split,
            seed=seed,
            cache=cache,
            schema=schema,
            verbose=verbose,
        )


def _first(folder: str | Path, names: tuple[str, ...]) -> Path:
    """Return the first of the named files that exists in the folder."""
    paths = [Path(folder).expanduser() / name for name in names]
    found = next((path for path in paths if path.exists()), None)
    if found is None:
        problem = f"{str(folder)!r} holds none of {', '.join(names)}"
        raise MissingFileError(problem, "Pass the folder of the competition's files, or of the sample")
    return found
