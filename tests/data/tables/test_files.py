"""Several files as one table: named one by one, by a glob or by their folder."""

from pathlib import Path

import pandas as pd
import pytest

from tabvision.data import TabularDataModule
from tabvision.data.tables.files import folder_of, name_of
from tabvision.data.tables.read import read_frame
from tabvision.errors import BadValueError, MissingFileError
from tests.made.tables import quiet, table


@pytest.fixture(autouse=True)
def shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pd.DataFrame:
    """A table in three files of a folder, two of text and one of columns."""
    monkeypatch.chdir(tmp_path)
    frame = table(60)
    Path("data").mkdir()
    frame[:20].to_csv("data/a.csv", index=False)
    frame[20:40].to_csv("data/b.csv", index=False)
    frame[40:].to_parquet("data/c.parquet", index=False)
    return frame


@pytest.mark.parametrize(
    "source",
    ["data", "data/*", ["data/a.csv", "data/b.csv", "data/c.parquet"], ["data/[ab].csv", Path("data/c.parquet")]],
)
def test_files_are_read_as_one_table(source: list[str | Path] | str, shards: pd.DataFrame) -> None:
    found = read_frame(source)

    pd.testing.assert_frame_equal(found, shards, check_exact=False)
    assert len(quiet(source, split=None).parts["train"].rows) == 60


def test_the_file_with_other_columns_is_named() -> None:
    table(5).rename(columns={"job": "work"}).to_csv("data/d.csv", index=False)

    with pytest.raises(
        BadValueError, match=r"'data/d.csv' has other columns than 'a.csv': 'job', 'work' in only one of them"
    ):
        read_frame("data/*.csv")


def test_a_word_that_is_a_value_in_one_file_is_one_in_all(tmp_path: Path) -> None:
    for name, pets in {"a": ["cat", "None"], "b": ["None", None]}.items():
        pd.DataFrame({"pet": pets, "x": [1, 2]}).to_csv(tmp_path / f"{name}.csv", index=False)

    for source in ([tmp_path / "b.csv", tmp_path / "a.csv"], str(tmp_path / "*.csv")):
        assert sorted(read_frame(source)["pet"].dropna()) == ["None", "None", "cat"]
    assert read_frame(source, na_values=["None"])["pet"].dropna().tolist() == ["cat"]


def test_what_fits_no_file_is_refused_in_a_sentence() -> None:
    with pytest.raises(MissingFileError, match="no file matches 'data/x"):
        TabularDataModule("data/x*.csv", "paid")
    with pytest.raises(MissingFileError, match=r"no file 'data/d.csv'"):
        read_frame(["data/a.csv", "data/d.csv"])


def test_a_file_whose_name_is_a_pattern_is_that_file(shards: pd.DataFrame) -> None:
    shards.to_csv("data/[a].csv", index=False)

    assert len(read_frame("data/[a].csv")) == 60


def test_several_files_have_the_name_and_the_folder_of_theirs() -> None:
    assert {name_of(source) for source in ("data", "data/*.csv", ["data/a.csv", "data/b.csv"])} == {"data"}
    assert folder_of("data/*.csv") == folder_of(["data/a.csv"]) == Path("data")
