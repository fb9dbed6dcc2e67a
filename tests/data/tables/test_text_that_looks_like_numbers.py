"""A file whose rows happen to look like numbers is read as the training rows were: codes such as 007 stay text."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tabvision.data import CollabDataModule, ImageDataModule, SourceSplit, TabularDataModule
from tabvision.data.tables.delimited import read_csv
from tabvision.inference.inputs import InputReader
from tabvision.schema import Schema

CODES = ["1", "2", "A", "007"]


@pytest.fixture
def training() -> pd.DataFrame:
    """Codes of which some are numbers, a target of such codes, and a number."""
    rows = np.arange(40)
    return pd.DataFrame({
        "code": [CODES[row % 4] for row in rows],
        "size": rows / 7,
        "kind": ["B" if row % 3 else "1" for row in rows],
    })  # fmt: skip


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Rows with numbers alone, in a file."""
    path = tmp_path / "rows.csv"
    path.write_text("code,size,kind\n1,0.5,1\n2,,1\n007,1.5,1\n,2.5,1\n")
    return path


def data_of(source: Any, **settings: Any) -> TabularDataModule:
    return TabularDataModule(source, "kind", verbose=False, **settings)


def codes_of(schema: Schema, values: list[str | None]) -> list[int]:
    (column,) = (each for each in schema.categorical if each.name == "code")
    return [0 if value is None else column.vocabulary.index(value) + 1 for value in values]


EXPECTED = ["1", "2", "007", None]


def test_a_reader_of_raw_rows_takes_them_as_text(training: pd.DataFrame, file: Path) -> None:
    schema = data_of(training).schema

    found = InputReader(schema)(file)

    assert schema.text_columns == {"code", "kind"}
    place = [column.name for column in schema.categorical].index("code")
    assert found.arrays["categorical"][:, place].tolist() == codes_of(schema, EXPECTED)
    assert not found.unseen


@pytest.mark.parametrize("part", ["test", "predict"])
def test_sources_of_their_own_are_read_so(training: pd.DataFrame, file: Path, part: Any) -> None:
    data = data_of(training, **{part: file})

    place = [column.name for column in data.schema.categorical].index("code")
    codes = data.parts[part].tensors["categorical"][:, place].tolist()
    assert codes == codes_of(data.schema, EXPECTED)


def test_a_split_by_sources_and_a_schema_that_is_given_read_so(training: pd.DataFrame, file: Path) -> None:
    split = data_of(training, split=SourceSplit(file))
    again = data_of(file, schema=split.schema, split=0.5)

    assert split.frame["code"].tail(4).tolist()[:3] == EXPECTED[:3]
    assert again.frame["code"].tolist()[:3] == EXPECTED[:3]
    assert again.frame["size"].tolist()[0] == 0.5


def test_users_of_other_ratings_keep_their_zeros(tmp_path: Path) -> None:
    users = [f"00{number}" if number % 2 else f"u{number}" for number in range(8)]
    rows = [(user, item, float(place % 5)) for place, user in enumerate(users) for item in "abcd"]
    frame = pd.DataFrame(rows, columns=["user", "film", "stars"])
    (tmp_path / "test.csv").write_text("user,film,stars\n001,a,3.5\n003,b,4\n")

    settings: dict[str, Any] = {"user": "user", "item": "film", "rating": "stars", "verbose": False}
    data = CollabDataModule(frame, test=tmp_path / "test.csv", **settings)

    assert (data.parts["test"].tensors["categorical"][:, 0] > 0).all()


def test_columns_that_are_not_named_keep_their_looks_and_decimal_commas(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("code;size;other\n1,5;2,5;3\n007;1,25;4\n")

    frame = read_csv(tmp_path / "a.csv", encoding=None, known={"code": (), "absent": ()})

    assert frame["code"].tolist() == ["1,5", "007"]
    assert frame["size"].tolist() == [2.5, 1.25]
    assert frame["other"].tolist() == [3, 4]


def test_tables_of_images_keep_zeros_of_names_and_of_labels(tmp_path: Path) -> None:
    write_images(tmp_path, [f"{number:03d}.png" for number in range(8)])
    labels = ["1", "B"] * 4
    train = "".join(f"{number:03d},{label}\n" for number, label in enumerate(labels))
    (tmp_path / "train.csv").write_text(f"id,label\n{train}")
    (tmp_path / "test.csv").write_text("id,label\n000,1\n002,1\n")

    data = ImageDataModule(
        tmp_path / "train.csv",
        "label",
        path="id",
        suffix=".png",
        size=8,
        split=0.25,
        test=tmp_path / "test.csv",
        verbose=False,
    )

    assert data.schema.text_columns == {"id", "label"}
    assert data.parts["test"].tensors["target"].tolist() == [0, 0]
    assert data.tables["train"].frame["id"].tolist()[0] == "000"


def write_images(folder: Path, names: list[str]) -> None:
    for name in names:
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(folder / name)


def test_points_between_thousands_are_read_so_in_files_rows_and_frames(tmp_path: Path) -> None:
    counts = [500 * (row + 1) for row in range(40)]
    lines = [f"{count:,};{row / 8:.3f};{'B' if row % 3 else '1'}".replace(",", ".") for row, count in enumerate(counts)]
    (tmp_path / "a.csv").write_text("\n".join(["count;padded;kind", *lines]))
    (tmp_path / "b.csv").write_text("count;padded\n1.234;1.250\n")
    schema = data_of(tmp_path / "a.csv", split=None).schema
    read = InputReader(schema)

    found = [
        read(rows).arrays["continuous"].tolist()
        for rows in (
            tmp_path / "b.csv",
            [{"count": 1234, "padded": 1.25}],
            [{"count": "1.234", "padded": "1.250"}],
            pd.DataFrame({"count": [1234], "padded": [1.25]}),
        )
    ]

    assert [(it.name, it.text) for it in schema.continuous] == [("count", "1.234,5"), ("padded", "strict")]
    assert schema.continuous[0].mean == np.mean(counts)
    assert all(each == found[0] for each in found)
    stripped = "\n".join(f"{number};{'B' if number % 2 else '1'}" for number in (1.25, 2, 3.125, 4, 5.5, 7))
    (tmp_path / "c.csv").write_text(f"size;kind\n{stripped}")
    assert read_csv(tmp_path / "c.csv")["size"].tolist() == [1.25, 2, 3.125, 4, 5.5, 7]
