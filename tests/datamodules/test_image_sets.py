"""The plug-ins for public sets of images, on files laid out as theirs are."""

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from datamodules.fashion_mnist import NAMES, FashionMNISTDataModule, read_idx
from datamodules.houses import PHOTOS, HousesDataModule
from datamodules.imagenette import ImagenetteDataModule
from datamodules.pets import PetsDataModule
from datamodules.planet import PlanetDataModule
from tabvision.errors import BadValueError, MissingFileError
from tests.made.images import encoded, pixels, write_folder
from tests.made.plug_ins import idx

QUIET: dict[str, Any] = {"verbose": False, "batch_size": 4, "size": 8}


def test_pets_have_their_breed_in_their_name(tmp_path: Path) -> None:
    write_folder(tmp_path, {"images/Abyssinian": 4, "images/great_dane": 4})
    for file in (tmp_path / "images").rglob("*.jpg"):
        file.rename(tmp_path / "images" / file.name)

    data = PetsDataModule(tmp_path, **QUIET)

    assert data.schema.classes == ("Abyssinian", "great_dane")
    assert next(iter(data.train_dataloader()))["image"].shape == (4, 3, 8, 8)


def test_houses_have_four_photos_beside_their_columns(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(encoded(pixels()))
    columns = {"bedrooms": [2, 3] * 5, "bathrooms": [1, 2] * 5, "area": range(10), "zipcode": [94501, 94502] * 5}
    frame = pd.DataFrame({**dict.fromkeys(PHOTOS, "a.jpg"), **columns, "price": np.arange(10) * 1e5})
    frame.to_csv(tmp_path / "houses.csv", index=False)

    data = HousesDataModule(tmp_path / "houses.csv", **QUIET)

    assert next(iter(data.train_dataloader()))["image"].shape == (4, 4, 3, 8, 8)
    assert "zipcode" in {column.name for column in data.schema.categorical}
    assert HousesDataModule(tmp_path / "houses.csv", **QUIET, schema=data.schema).schema == data.schema


def test_planet_has_several_labels_a_chip(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    for row in range(10):
        (tmp_path / "train" / f"train_{row}.jpg").write_bytes(encoded(pixels(seed=row)))
    tags = ["clear primary", "haze road", "clear road primary", "haze", "clear"] * 2
    frame = pd.DataFrame({"image_name": [f"train_{row}" for row in range(10)], "tags": tags})
    frame.to_csv(tmp_path / "train_v2.csv", index=False)

    data = PlanetDataModule(tmp_path, **QUIET)

    assert data.schema.classes == ("clear", "haze", "primary", "road")
    assert next(iter(data.loader("val")))["target"].shape == (2, 4)


def test_planet_without_its_files_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"holds none of labels.csv, train_v2.csv, train_classes.csv"):
        PlanetDataModule(tmp_path)


def test_imagenette_is_divided_as_its_makers_did(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "a", {"train/n01440764": 3, "train/n03888257": 3, "val/n01440764": 2})

    data = ImagenetteDataModule(root, **QUIET)

    assert data.schema.classes == ("parachute", "tench")
    assert {name: len(part.rows) for name, part in data.parts.items()} == {"train": 6, "val": 2}
    with pytest.raises(BadValueError, match="folders that Imagenette does not have: cats, dogs"):
        ImagenetteDataModule(write_folder(tmp_path / "b", {"train/cats": 1, "train/dogs": 1}))
    with pytest.raises(BadValueError, match="holds no folders train and val"):
        ImagenetteDataModule(root / "train")


def write_idx(path: Path, values: np.ndarray, *, packed: bool) -> None:
    if packed:
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(idx(values)))
    else:
        path.write_bytes(idx(values))


@pytest.fixture(params=[True, False])
def fashion(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    draw = np.random.default_rng(0)
    for prefix, num in (("train", 30), ("t10k", 12)):
        write_idx(tmp_path / f"{prefix}-images-idx3-ubyte", draw.integers(0, 256, (num, 28, 28)), packed=request.param)
        write_idx(tmp_path / f"{prefix}-labels-idx1-ubyte", np.arange(num) % 10, packed=request.param)
    return tmp_path


def test_fashion_mnist_is_written_once_and_read(fashion: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"num_train": 20, "num_test": 10, "augment": "none", **QUIET, "size": 28}
    data = FashionMNISTDataModule(fashion, tmp_path / "images", **settings)
    again = FashionMNISTDataModule(fashion, tmp_path / "images", **settings)

    assert {name: len(part.rows) for name, part in data.parts.items()} == {"train": 20, "val": 10}
    assert set(data.schema.classes) == set(NAMES)
    images = read_idx(fashion / "t10k-images-idx3-ubyte")
    batch = next(iter(again.loader("val")))
    assert np.array_equal(batch["image"][3, 1].numpy(), images[3])
    assert not list((tmp_path / "images").glob(".*"))


def test_fashion_mnist_without_its_files_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"no file .* Install Debian's package dataset-fashion-mnist"):
        FashionMNISTDataModule(tmp_path, tmp_path / "images")
    write_idx(tmp_path / "train-images-idx3-ubyte", np.zeros((2, 28, 28)), packed=False)
    write_idx(tmp_path / "train-labels-idx1-ubyte", np.full(2, 99), packed=False)
    with pytest.raises(BadValueError, match="holds other data than Fashion-MNIST"):
        FashionMNISTDataModule(tmp_path, tmp_path / "images")
    (tmp_path / "train-images-idx3-ubyte").write_bytes(b"\x00\x00\x08\x03 and no more")
    with pytest.raises(BadValueError, match="is not an idx file of bytes, or is incomplete"):
        FashionMNISTDataModule(tmp_path, tmp_path / "images")
