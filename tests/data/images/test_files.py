"""Tables with a column of paths, and labels in file names."""

import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tabvision.data.images.files import ImageTable, check_files, image_table, labels_from_names
from tabvision.errors import BadTypeError, BadValueError, MissingColumnsError, MissingFileError


def test_the_column_of_paths_is_found_and_is_relative_to_the_table(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    pd.DataFrame({"id": [1], "file": ["a.jpg"]}).to_csv(tmp_path / "labels.csv", index=False)

    table = image_table(tmp_path / "labels.csv")

    check_files(table)
    assert (table.path, table.files(np.array([0]))) == ("file", [str(tmp_path / "a.jpg")])


def test_a_list_of_paths_is_a_table(tmp_path: Path) -> None:
    table = image_table([tmp_path / "a.jpg", "b.png"])

    assert table.files(np.array([1, 0])) == ["b.png", str(tmp_path / "a.jpg")]


def test_paths_that_do_not_exist_are_counted_and_the_first_named(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    frame = pd.DataFrame({"image": ["a.jpg", "x.jpg", "sub/y.jpg"]})

    with pytest.raises(MissingFileError, match=f"2 of 3 paths in 'image' do not exist, first '{tmp_path}/x.jpg'"):
        check_files(image_table(frame, root=tmp_path))
    with pytest.raises(MissingFileError, match=r"1 of 2 paths in 'image' does not exist: .*as root="):
        check_files(image_table(frame[:2], root=tmp_path))


def test_paths_with_dots_are_found(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.jpg").touch()

    check_files(image_table(pd.DataFrame({"image": ["sub/../a.jpg", "./a.jpg"]}), root=tmp_path))


def test_a_missing_suffix_is_proposed(tmp_path: Path) -> None:
    (tmp_path / "chip_1.jpg").touch()
    frame = pd.DataFrame({"image_name": ["chip_1"]})

    with pytest.raises(MissingFileError, match=r'pass suffix="\.jpg"'):
        check_files(image_table(frame, path="image_name", root=tmp_path))
    check_files(image_table(frame, path="image_name", root=tmp_path, suffix=".jpg"))


@pytest.mark.parametrize(
    ("frame", "path", "error", "sentence"),
    [
        (
            {"x": ["a", "b"]},
            None,
            BadValueError,
            "no column holds names of image files; columns are x. Name it as path=",
        ),
        ({"x": ["a.jpg"]}, "y", MissingColumnsError, "lacks 1 column: 'y'"),
        ({"x": ["a.jpg", None]}, "x", BadValueError, "the path is missing in 1 row of column 'x'"),
        ({"x": [0.5]}, "x", BadTypeError, "column 'x' must hold paths, got float"),
    ],
)
def test_a_table_without_paths_is_a_sentence(frame: Any, path: Any, error: Any, sentence: str) -> None:
    with pytest.raises(error, match=sentence):
        image_table(pd.DataFrame(frame), path=path)


def test_labels_come_from_the_name_without_its_folder() -> None:
    table = ImageTable(pd.DataFrame({"image": ["x_1/Abyssinian_12.jpg", "x_1/great_dane_3.jpg"]}))

    assert labels_from_names(table, r"^(.+)_\d+").frame["label"].tolist() == ["Abyssinian", "great_dane"]


@pytest.mark.parametrize(
    ("pattern", "sentence"),
    [
        ("(", "is not a regular expression"),
        ("abc", "has no group"),
        (r"^(cat)_", "matches 1 of 2 file names, but not 'dog_1.jpg'. Correct the pattern"),
    ],
)
def test_a_pattern_that_does_not_serve_is_a_sentence(pattern: str, sentence: str) -> None:
    table = ImageTable(pd.DataFrame({"image": ["cat_1.jpg", "dog_1.jpg"]}))

    with pytest.raises(BadValueError, match=sentence):
        labels_from_names(table, pattern)


def test_paths_too_long_or_not_utf_8_are_a_sentence() -> None:
    table = ImageTable(pd.DataFrame({"image": ["x" * 5000 + ".jpg"]}))
    with pytest.raises(MissingFileError, match=r"1 of 1 path in 'image' does not exist: 'xxx"):
        check_files(table)

    with pytest.raises(BadValueError, match=r"the list holds 1 path .* as UTF-8: 'caf\\udce9.jpg'. Rename"):
        image_table(["cat.jpg", "caf\udce9.jpg"])


@pytest.mark.parametrize("kind", ["int64", "Int64"])
def test_names_may_be_numbers_in_a_column_with_or_without_gaps(kind: str) -> None:
    frame = pd.DataFrame({"id": pd.array([7, 8], dtype=kind)})

    table = image_table(frame, path="id", suffix=".jpg")

    assert table.files(np.array([0, 1])) == ["7.jpg", "8.jpg"]


def test_paths_in_a_pipe_are_relative_to_the_working_directory(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "labels.csv")
    threading.Thread(target=lambda: (tmp_path / "labels.csv").write_text("file,x\na.jpg,1\n"), daemon=True).start()

    assert image_table(tmp_path / "labels.csv").root == ""


def test_names_of_files_are_text_whatever_they_look_like(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("id,x\n1.10,1\n1.1,2\n1e5,3\nNA,4\n")

    assert image_table(tmp_path / "labels.csv", path="id").frame["id"].tolist() == ["1.10", "1.1", "1e5", "NA"]
