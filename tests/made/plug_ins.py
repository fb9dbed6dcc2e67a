"""The plug-ins of `datamodules/`, over small files laid out as theirs are; those of tables in packages read these whole."""

import copy
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from datamodules.adult import AdultDataModule
from datamodules.adult_download import ADULT_COLUMNS
from datamodules.diamonds import DiamondsDataModule
from datamodules.fashion_mnist import FashionMNISTDataModule
from datamodules.flights import FlightsDataModule
from datamodules.houses import PHOTOS, HousesDataModule
from datamodules.hymenoptera import HymenopteraDataModule
from datamodules.imagenette import ImagenetteDataModule
from datamodules.movielens import MovieLensDataModule
from datamodules.pets import PetsDataModule
from datamodules.planet import PlanetDataModule
from tabvision.data.base import PartsDataModule
from tests.made.images import encoded, pixels, write_folder

ROWS = 30
QUIET: dict[str, Any] = {"verbose": False, "batch_size": 4}
PHOTO: dict[str, Any] = {**QUIET, "size": 16}


def adult(folder: Path) -> AdultDataModule:
    """Made-up people, of whom every tenth has no known work."""
    draw = np.random.default_rng(0)
    numbers = {"age", "fnlwgt", "education-num", "capital-gain", "capital-loss", "hours-per-week"}
    columns = {
        name: draw.integers(0, 9, ROWS) if name in numbers else draw.choice(["a", "b"], ROWS) for name in ADULT_COLUMNS
    }
    frame = pd.DataFrame(columns).assign(salary=["<=50K", ">50K"] * (ROWS // 2), split=["train", "train", "test"] * 10)
    frame.loc[::10, "workclass"] = "?"
    frame.to_csv(folder / "adult.csv", index=False)
    return AdultDataModule(folder / "adult.csv", **QUIET)


def pets(folder: Path) -> PetsDataModule:
    """Photos with the breed in their names."""
    write_folder(folder, {"images/Abyssinian": 16, "images/great_dane": 16})
    for file in (folder / "images").rglob("*.jpg"):
        file.rename(folder / "images" / file.name)
    return PetsDataModule(folder, **PHOTO)


def houses(folder: Path) -> HousesDataModule:
    """Houses with four photos, which are the same."""
    (folder / "a.jpg").write_bytes(encoded(pixels()))
    draw = np.random.default_rng(0)
    columns = {name: draw.integers(1, 9, ROWS) for name in ("bedrooms", "bathrooms", "area", "price")}
    frame = pd.DataFrame({**dict.fromkeys(PHOTOS, "a.jpg"), **columns, "zipcode": [94501, 94502] * (ROWS // 2)})
    frame.to_csv(folder / "houses.csv", index=False)
    return HousesDataModule(folder / "houses.csv", **PHOTO)


def planet(folder: Path) -> PlanetDataModule:
    """Chips with several labels."""
    (folder / "train").mkdir()
    for row in range(ROWS):
        (folder / "train" / f"train_{row}.jpg").write_bytes(encoded(pixels(seed=row)))
    tags = ["clear primary", "haze road", "clear road primary", "haze", "clear"] * (ROWS // 5)
    frame = pd.DataFrame({"image_name": [f"train_{row}" for row in range(ROWS)], "tags": tags})
    frame.to_csv(folder / "train_v2.csv", index=False)
    return PlanetDataModule(folder, **PHOTO)


def fashion_mnist(folder: Path) -> FashionMNISTDataModule:
    """Pictures of noise in idx files."""
    draw = np.random.default_rng(0)
    for prefix, num in (("train", 30), ("t10k", 12)):
        (folder / f"{prefix}-images-idx3-ubyte").write_bytes(idx(draw.integers(0, 256, (num, 28, 28))))
        (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(idx(np.arange(num) % 10))
    settings: dict[str, Any] = {"num_train": 24, "num_test": 10, **QUIET, "size": 28}
    return FashionMNISTDataModule(folder, folder / "images", **settings)


def idx(values: np.ndarray) -> bytes:
    """The bytes of an idx file."""
    head = bytes([0, 0, 8, values.ndim]) + b"".join(side.to_bytes(4, "big") for side in values.shape)
    return head + values.astype(np.uint8).tobytes()


def hymenoptera(folder: Path) -> HymenopteraDataModule:
    """Photos of ants and bees."""
    return HymenopteraDataModule(
        write_folder(folder / "a", {"train/ants": 12, "train/bees": 12, "val/ants": 4, "val/bees": 4}), **PHOTO
    )


def imagenette(folder: Path) -> ImagenetteDataModule:
    """Photos of two of its classes."""
    names = {"train/n01440764": 12, "train/n03888257": 12, "val/n01440764": 4, "val/n03888257": 4}
    return ImagenetteDataModule(write_folder(folder / "a", names), **PHOTO)


@functools.cache
def read_once(kind: Callable[..., PartsDataModule[Any]]) -> PartsDataModule[Any]:
    """One that reads a table of a package, which takes longer than to copy what it read."""
    return kind(**QUIET)


PLUG_INS: dict[str, Callable[[Path], PartsDataModule[Any]]] = {
    "adult": adult,
    "diamonds": lambda _: copy.deepcopy(read_once(DiamondsDataModule)),
    "fashion_mnist": fashion_mnist,
    "flights": lambda _: copy.deepcopy(read_once(FlightsDataModule)),
    "houses": houses,
    "hymenoptera": hymenoptera,
    "imagenette": imagenette,
    "movielens": lambda _: copy.deepcopy(read_once(MovieLensDataModule)),
    "pets": pets,
    "planet": planet,
}
