"""Settings that look right at first sight are told apart from those that are, before any file is opened."""

from pathlib import Path
from typing import Any

import pytest

from tabvision.augment import Augmentation, augmentation_named
from tabvision.data import ImageDataModule
from tabvision.errors import BadTypeError, BadValueError, MissingFileError
from tests.made.images import write_folder


@pytest.fixture
def table(tmp_path: Path) -> Path:
    root = write_folder(tmp_path / "photos", {"ants": 4, "bees": 4}, kind="JPG")
    names = [file.relative_to(root).with_suffix("") for file in sorted(root.rglob("*.JPG"))]
    lines = [f"{name}.JPG,{name},{name.parent} {name.parent},{row}" for row, name in enumerate(names)]
    (root / "table.csv").write_text("\n".join(["file,name,tags,x", *lines]), encoding="utf-8")
    return root / "table.csv"


def make(source: Any, target: Any = "x", **settings: Any) -> ImageDataModule:
    quiet: dict[str, Any] = {"size": 8, "verbose": False, "path": "file"}
    return ImageDataModule(source, target, **(quiet | settings))


@pytest.mark.parametrize("separator", ["", 3])
def test_a_separator_that_parts_nothing_is_a_sentence(table: Path, separator: Any) -> None:
    with pytest.raises(BadValueError, match=f"a separator needs one multilabel column, got {separator!r}"):
        make(table, "tags", separator=separator)


def test_one_image_is_no_source(table: Path) -> None:
    image = next(table.parent.rglob("*.JPG"))

    with pytest.raises(BadValueError, match=r"JPG' is one image. Pass the folder that holds the images"):
        make(image)


def test_a_root_that_is_no_folder_is_a_sentence(table: Path) -> None:
    with pytest.raises(BadTypeError, match="root must be a folder, got 3"):
        make(table, root=3)


def test_the_suffix_that_paths_lack_is_named_as_it_is_written(table: Path) -> None:
    with pytest.raises(MissingFileError, match=r"There is one with suffix '.JPG': pass suffix=\".JPG\""):
        make(table, path="name")


def test_a_device_that_varies_perhaps_is_a_sentence(table: Path) -> None:
    with pytest.raises(BadTypeError, match="device_augment must be True, False or \"auto\", got 'yes'"):
        make(table, device_augment="yes")


def test_points_have_no_separator_and_come_in_pairs(table: Path) -> None:
    with pytest.raises(BadValueError, match="a separator is for labels, and points have none"):
        make(table, ["x", "tags"], task="points", separator=" ")
    with pytest.raises(BadValueError, match="points need two columns each, x then y, got 1: x"):
        make(table, ["x"], task="points")


def test_a_strength_that_is_no_number_names_itself() -> None:
    with pytest.raises(BadTypeError, match="rotate must be a number, got 'a'"):
        augmentation_named({"rotate": "a"})
    assert augmentation_named({"ratio": [0.5, 2]}) == Augmentation(ratio=(0.5, 2.0))
