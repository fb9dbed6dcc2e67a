"""The datamodule of images refuses wrong settings, targets and files in a sentence."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tabvision.errors import (
    BadTypeError,
    BadValueError,
    MissingColumnsError,
    MissingFileError,
    TabvisionError,
    UnknownNameError,
)
from tabvision.schema import Schema
from tests.made.images import frame_of, make, write_folder


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "photos", {"ants": 12, "bees": 8})


def test_rows_without_a_target_are_refused_or_left_out(photos: Path) -> None:
    frame = frame_of(photos)
    frame.loc[3, "kind"] = None

    with pytest.raises(BadValueError, match="the target 'kind' is missing in 1 of 20 rows"):
        make(frame, "kind", path="file", root=photos)
    data = make(frame, "kind", path="file", root=photos, missing_target="drop")
    assert 3 not in torch.cat([part.tensors["index"][part.rows] for part in data.parts.values()])


@pytest.mark.parametrize(
    ("settings", "error", "sentence"),
    [
        ({"size": 0}, BadValueError, "size must be positive, got 0"),
        ({"size": (8, -1)}, BadValueError, "size must be positive"),
        ({"size": 8.5}, BadTypeError, "size must be a whole number or two of them, got 8.5"),
        ({"resize": "crpo"}, UnknownNameError, "no resize named 'crpo'. Choices: crop"),
        ({"augment": "defualt"}, UnknownNameError, "no preset named 'defualt'. Choices: default"),
        ({"normalize": "imagnet"}, UnknownNameError, "no normalize named 'imagnet'. Choices: imagenet"),
        ({"normalize": ([0.5], [0.5])}, BadTypeError, "normalize needs 3 means and 3 stds"),
        ({"normalize": 3}, BadTypeError, "normalize must be means and stds, got 3"),
        ({"normalize": ([0.5] * 3, [0.0] * 3)}, BadValueError, "stds must be positive"),
        ({"num_workers": -1}, BadValueError, "num_workers must be at least 0, got -1"),
        ({"batch_size": 0}, BadValueError, "batch_size must be at least 1"),
        ({"seed": -1}, BadValueError, "seed must be at least 0"),
        ({"bad_share": 2}, BadValueError, r"bad_share must lie in \[0, 1\], got 2"),
        ({"missing_target": "dorp"}, UnknownNameError, "no missing_target named 'dorp'"),
        ({"target": 3}, BadTypeError, "target must be a column name or a list of them, got 3"),
        ({"weight": "w"}, MissingColumnsError, "lacks 1 column: 'w'"),
        ({"task": "binry"}, UnknownNameError, "'binry'"),
    ],
)
def test_a_wrong_setting_is_a_sentence(photos: Path, settings: dict[str, Any], error: Any, sentence: str) -> None:
    with pytest.raises(error, match=sentence) as caught:
        make(photos, **settings)

    assert isinstance(caught.value, TabvisionError)


def test_a_label_that_training_lacks_is_a_sentence(tmp_path: Path) -> None:
    root = write_folder(tmp_path, {"train/a": 3, "train/b": 3, "valid/a": 1, "valid/c": 2})

    with pytest.raises(BadValueError, match=r"the target 'label' holds 1 class not seen in training: 'c' \(2 rows\)"):
        make(root)


def test_paths_that_do_not_exist_are_a_sentence(photos: Path) -> None:
    frame = frame_of(photos)
    frame.loc[[2, 5], "file"] = "gone.jpg"

    with pytest.raises(MissingFileError, match=f"2 of 20 paths in 'file' do not exist, first '{photos}/gone.jpg'"):
        make(frame, "kind", path="file", root=photos)


def test_a_class_without_a_photo_that_can_be_read_is_a_sentence(photos: Path) -> None:
    *most, last = sorted((photos / "bees").iterdir())
    for file in most:
        file.write_bytes(b"")
    data = make(photos, split=None, bad_share=1)
    loader = data.loader("train")
    assert len(list(loader)) == len(loader)
    last.write_bytes(b"")

    with pytest.raises(BadValueError, match=r"no training image of the class 'bees' can be read: '.*' \(0 bytes\), "):
        list(make(photos, split=None, bad_share=1).loader("train"))


def test_a_table_needs_a_target_and_a_part_must_be_there(photos: Path) -> None:
    with pytest.raises(BadValueError, match="a table needs the name of its target"):
        make(frame_of(photos), path="file", root=photos)
    with pytest.raises(
        BadValueError, match=r"there is no test split, only train, val. Pass a folder or table as test="
    ):
        make(photos).loader("test")


def test_a_schema_of_another_target_or_without_a_image_is_a_sentence(photos: Path) -> None:
    data = make(photos)

    with pytest.raises(BadValueError, match="the schema predicts 'label', not 'kind'"):
        make(frame_of(photos), "kind", path="file", root=photos, schema=data.schema)
    with pytest.raises(BadValueError, match="the schema has no image"):
        make(photos, schema=Schema(target=data.schema.target))


@pytest.mark.parametrize("column", [["0"] * 20, [-1.0] * 20])
def test_weights_that_cannot_be_are_a_sentence(photos: Path, column: list[Any]) -> None:
    with pytest.raises(
        BadValueError,
        match=r"the weights of all 16 train rows are 0|must hold numbers of at least 0, got -1.0 in row 0 and 19 others",
    ):
        make(frame_of(photos).assign(weight=column), "kind", path="file", root=photos, weight="weight")


def test_test_images_of_the_split_and_of_a_source_are_refused_together(photos: Path) -> None:
    with pytest.raises(BadValueError, match="the split already holds out test rows, and test= names others"):
        make(photos, split=(0.2, 0.2), test=photos)
