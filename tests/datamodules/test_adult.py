"""Adult: a file of the user's own, its gaps and its split."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from datamodules import adult
from datamodules.adult import AdultDataModule, adult_split, read_adult
from datamodules.adult_download import ADULT_COLUMNS
from tabvision.errors import BadValueError, MissingColumnsError, MissingFileError


def rows(number: int = 60) -> pd.DataFrame:
    """Made-up people; every tenth has no known work, and the last third is UCI's test part."""
    draw = np.random.default_rng(0)
    numbers = {"age", "fnlwgt", "education-num", "capital-gain", "capital-loss", "hours-per-week"}
    frame = pd.DataFrame(
        {
            name: draw.integers(0, 9, number) if name in numbers else draw.choice(["a", "b"], number)
            for name in ADULT_COLUMNS
        }
    )
    frame.loc[::10, "workclass"] = "?"
    part = np.where(np.arange(number) < number * 2 // 3, "train", "test")
    return frame.assign(salary=np.where(draw.random(number) < 0.4, ">50K", "<=50K"), split=part)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    rows().to_csv(tmp_path / "adult.csv", index=False)
    return tmp_path / "adult.csv"


def test_columns_missing_values_and_test_rows_are_those_of_uci(path: Path) -> None:
    workclass = next(
        column for column in AdultDataModule(path, verbose=False).schema.categorical if column.name == "workclass"
    )
    assert read_adult(path)["workclass"].isna().sum() == 6
    assert workclass.vocabulary == ("a", "b")

    data = AdultDataModule(path, verbose=False)
    assert data.parts["test"].rows.tolist() == list(range(40, 60))
    assert len(data.parts["val"].rows) == 8
    assert int(data.parts["val"].rows.max()) < 40

    schema = AdultDataModule(path, verbose=False).schema
    assert [column.name for column in schema.continuous] == list(adult.CONTINUOUS)
    assert "split" not in schema.inputs
    assert schema.classes == ("<=50K", ">50K")


def test_the_seed_does_not_change_which_rows_validate(path: Path) -> None:
    data = [AdultDataModule(path, seed=seed, verbose=False) for seed in (0, 1)]

    assert data[0].parts["val"].rows.equal(data[1].parts["val"].rows)


def test_a_file_without_the_columns_is_refused(tmp_path: Path) -> None:
    rows().drop(columns=["split", "age"]).to_csv(tmp_path / "adult.csv", index=False)

    with pytest.raises(MissingColumnsError, match=r"lacks 2 columns: 'age'.*'split'.*download=True"):
        AdultDataModule(tmp_path / "adult.csv", verbose=False)


def test_a_split_column_that_says_something_else_is_refused() -> None:
    with pytest.raises(BadValueError, match=r"must say train or test, got dev"):
        adult_split(rows().assign(split=["dev"] + ["train"] * 59))


def test_a_missing_file_is_said_and_nothing_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adult, "download_adult", pytest.fail)

    with pytest.raises(MissingFileError, match="no file"):
        AdultDataModule(tmp_path / "adult.csv", verbose=False)


def test_download_fetches_only_where_no_file_is(tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched: list[Path] = []

    def download(wanted: Path) -> None:
        fetched.append(wanted)
        rows().to_csv(wanted, index=False)

    monkeypatch.setattr(adult, "download_adult", download)
    AdultDataModule(path, download=True, verbose=False)
    data = AdultDataModule(tmp_path / "new.csv", download=True, verbose=False)

    assert fetched == [tmp_path / "new.csv"]
    assert len(data.frame) == 60
