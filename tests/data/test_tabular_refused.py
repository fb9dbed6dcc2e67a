"""TabularDataModule: bad tables and settings are a sentence before anything is trained."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tabvision.errors import BadTypeError, BadValueError, MissingFileError
from tests.made.tables import quiet, table

CAFE = "caf\xe9"


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"TabularDataModule: no file .*rows.csv"):
        quiet(tmp_path / "rows.csv")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("rows.csv", b"", "is empty"),
        ("rows.csv", b"x,paid\n", "but no rows"),
        ("rows.parquet", b"no parquet", "cannot be read as .parquet"),
        ("rows.txt.exe", b"x", "does not have the suffix of a table format"),
        ("rows.csv", f"x,paid\n1,{CAFE}\n2,b\n".encode("latin-1"), "UTF-8"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(BadValueError, match=f"TabularDataModule: .*{message}"):
        quiet(written(tmp_path / name, content))


def test_another_encoding_can_be_named(tmp_path: Path) -> None:
    rows = "".join(f"{number}.5,{('bar', CAFE)[number % 2]}\n" for number in range(20))
    path = written(tmp_path / "rows.csv", f"x,paid\n{rows}".encode("latin-1"))

    assert quiet(path, encoding="latin-1").schema.classes == ("bar", CAFE)


def test_a_target_with_gaps_is_counted_and_says_what_to_do() -> None:
    frame = table()
    frame.loc[[1, 2, 3], "paid"] = None

    with pytest.raises(
        BadValueError, match=r"TabularDataModule: the target 'paid' is missing in 3 of 40 rows.*\"drop\""
    ):
        quiet(frame)


@pytest.mark.parametrize("row", [0, 3, 11])
def test_infinities_are_refused_with_their_row_in_the_source(row: int) -> None:
    frame = table()
    frame.loc[row, "x"] = np.inf

    with pytest.raises(BadValueError, match=rf"TabularDataModule: column 'x' must hold finite numbers.* \(row {row}\)"):
        quiet(frame)


def test_values_are_refused_with_their_row_in_the_users_own_index() -> None:
    frame = table().sample(frac=1.0, random_state=0).set_index(pd.Index([f"r{row}" for row in range(40)]))
    frame.iloc[7, frame.columns.get_loc("x")] = np.inf

    with pytest.raises(
        BadValueError, match=r"column 'x' must hold finite numbers, got 1 value, first inf \(row 'r7'\)"
    ):
        quiet(frame)
    with pytest.raises(BadValueError, match=r"'x' must hold numbers, got text .* first 'n/a' \(row 'r7'\)"):
        quiet(frame.assign(x=frame["x"].astype("str").replace("inf", "n/a")), continuous=["x"])


def test_column_names_that_stand_twice_are_refused() -> None:
    frame = table()
    frame.columns = pd.Index(["x", "x", "paid"])

    with pytest.raises(BadValueError, match=r"TabularDataModule: column names must be unique, got 'x' \(2 times\)"):
        quiet(frame)


def test_a_column_of_mixed_kinds_is_refused() -> None:
    frame = table(odd=pd.Series([1, "a"] * 20, dtype=object))

    with pytest.raises(BadTypeError, match="TabularDataModule: column 'odd' must hold one kind of value"):
        quiet(frame)


def test_a_column_without_a_value_is_left_out() -> None:
    left_out = quiet(table(nothing=np.nan)).schema.left_out

    assert [column.name for column in left_out] == ["nothing"]


def test_a_table_without_features_is_refused() -> None:
    with pytest.raises(BadValueError, match="TabularDataModule: at least one feature"):
        quiet(table()[["paid"]])


def test_a_target_among_the_features_is_refused() -> None:
    with pytest.raises(BadValueError, match="'paid' is the target, and cannot be a feature as well"):
        quiet(table(), categorical=["paid", "job"])


@pytest.mark.parametrize("weight", [-1.0, np.nan, np.inf])
def test_a_weight_that_is_no_weight_is_refused_and_its_row_named(weight: float) -> None:
    frame = table(weight=1.0)
    frame.loc[7, "weight"] = weight

    with pytest.raises(BadValueError, match=f"got {weight} in row 7"):
        quiet(frame, weight="weight")


def test_weights_that_are_all_nought_are_refused() -> None:
    with pytest.raises(BadValueError, match="TabularDataModule: the weights of all 32 train rows are 0"):
        quiet(table(weight=0.0), weight="weight")


def test_a_schema_of_another_target_is_refused() -> None:
    schema = quiet(table()).schema

    with pytest.raises(BadValueError, match="TabularDataModule: the schema predicts 'paid', not 'x'"):
        quiet(table(), "x", schema=schema)
