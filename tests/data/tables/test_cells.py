"""Cells of delimited text: words that mean missing and words that are values, and whole numbers that are names."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tabvision.data.tables.cells import MISSING_WORDS, checked_words
from tabvision.data.tables.delimited import read_csv
from tabvision.errors import BadTypeError

PETS = "pet,age,country\n" + "None,3,NA\ndog,NA,Italy\ncat,nan,None\n,5,Peru\n" * 2


def read(tmp_path: Path, text: str, na_values: Sequence[str] | None = None) -> pd.DataFrame:
    (tmp_path / "a.csv").write_text(text)
    return read_csv(tmp_path / "a.csv", na_values=na_values)


def test_none_beside_other_words_is_a_value_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    frame = read(tmp_path, PETS)

    assert frame["pet"].fillna("-").tolist()[:4] == ["None", "dog", "cat", "-"]
    assert "Read as a value, not as missing: 'None' in 'pet' (2 rows), 'None' in 'country' (2 rows)." in caplog.text


def test_words_read_as_missing_are_named_with_their_count(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    frame = read(tmp_path, PETS)

    np.testing.assert_array_equal(frame["age"][:4], [3, np.nan, np.nan, 5])
    assert frame["country"].isna().tolist()[:4] == [True, False, False, False]
    said = (
        "Read as missing: 'NA' in 'age' (2 rows), 'nan' in 'age' (2 rows), 'NA' in 'country' (2 rows). Name the words"
    )
    assert said in caplog.text


def test_none_among_numbers_or_dates_is_missing(tmp_path: Path) -> None:
    frame = read(tmp_path, "a,when\n1,None\nNone,2020-01-01\n")

    assert frame["a"].isna().tolist() == [False, True]
    assert frame["when"].isna().tolist() == [True, False]


def test_only_empty_cells_are_missing_on_request(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for none in ([], [""]):
        frame = read(tmp_path, PETS, none)

        assert frame["country"].tolist()[:4] == ["NA", "Italy", "None", "Peru"]
        assert frame["pet"].isna().tolist()[:4] == [False, False, False, True]
    assert not caplog.messages


def test_the_words_that_the_user_names_are_missing_and_no_others(tmp_path: Path) -> None:
    frame = read(tmp_path, "a,b\n?,NA\n2,x\n-999,?\n", ["?", "-999"])

    np.testing.assert_array_equal(frame["a"], [np.nan, 2, np.nan])
    assert frame["b"].fillna("-").tolist() == ["NA", "x", "-"]


def test_a_word_that_a_known_column_may_hold_is_a_value(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("country,size\nNA,NA\nNA,2\n")

    frame = read_csv(tmp_path / "a.csv", known={"country": ("NA", "IT"), "size": None})

    assert frame["country"].tolist() == ["NA", "NA"]
    np.testing.assert_array_equal(frame["size"], [np.nan, 2])


def test_words_in_a_column_known_to_be_text_alone_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("country,x\nNA,1\nnan,2\n")

    assert read_csv(tmp_path / "a.csv", known={"country": ("NA",)})["country"].fillna("-").tolist() == ["NA", "-"]


def test_zeros_and_decimal_commas_stand_in_one_file(tmp_path: Path) -> None:
    assert read(tmp_path, "id;size\n007;1,5\n8;2\n").to_dict("list") == {"id": ["007", "8"], "size": [1.5, 2.0]}


def test_every_word_of_pandas_is_missing_by_default(tmp_path: Path) -> None:
    words = [word for word in MISSING_WORDS if word != "None"]
    text = "a,b\n" + "".join(f"{word},{row}\n" for row, word in enumerate(words)) + "x,9\n"

    frame = read(tmp_path, text)

    pd.testing.assert_frame_equal(frame, pd.read_csv(tmp_path / "a.csv"))
    assert frame["a"].isna().sum() == len(words)


def test_types_beside_missing_words_are_those_of_pandas(tmp_path: Path, subtests: pytest.Subtests) -> None:
    for cells in (["1", "NA"], ["1.25", "nan"], ["True", "NA"], ["x", "NULL"], ["NA", "N/A"], ["1e400", "NA"]):
        with subtests.test(cells=cells):
            frame = read(tmp_path, "h,k\n" + "".join(f"{cell},0\n" for cell in cells))

            expected = pd.read_csv(tmp_path / "a.csv")
            whole = {"h": "Int64"} if cells[0] == "1" else {}  # integers keep their digits beside missing values
            pd.testing.assert_frame_equal(frame, expected.astype(whole))


def test_words_that_are_no_list_are_refused() -> None:
    with pytest.raises(BadTypeError, match="na_values must be a list of words, got 'NA'"):
        checked_words("NA")


def test_zero_padded_whole_numbers_stay_text_and_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    text = "id,zip,late,size,day\n001, 02139,7,0.5,2020-01-05\n002,10001,,1.5,2020-01-06\n,99999,NA,07.5,2020-01-07\n"
    frame = read(tmp_path, text)

    assert frame["id"].fillna("-").tolist() == ["001", "002", "-"]
    assert frame["zip"].tolist() == ["02139", "10001", "99999"]
    assert frame["size"].tolist() == [0.5, 1.5, 7.5]
    np.testing.assert_array_equal(frame["late"], [7, np.nan, np.nan])
    assert "Integers with leading zeros stay text: 'id', 'zip'." in caplog.text


def test_one_zero_far_into_the_file_is_enough(tmp_path: Path) -> None:
    frame = read(tmp_path, "a,zip\n" + "1,10001\n" * 900_000 + "1,02139\n")

    assert frame["zip"].iloc[[0, -1]].tolist() == ["10001", "02139"]
    assert frame["a"].dtype == np.int64


def test_zeros_are_found_whatever_the_encoding_and_delimiter(tmp_path: Path, subtests: pytest.Subtests) -> None:
    for encoding, sep in (("utf-16", ","), ("utf-32", ";"), ("latin-1", "\t"), ("utf-8", "::")):
        with subtests.test(encoding=encoding, sep=sep):
            (tmp_path / "a.csv").write_text(f"é{sep}b\n1{sep}07\n2{sep}8\n", encoding=encoding)

            frame = read_csv(tmp_path / "a.csv", encoding=encoding, sep=sep)

            assert frame["b"].tolist() == ["07", "8"]


def test_zeros_of_a_column_known_to_be_numbers_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a,b\n007,1\n")

    assert read_csv(tmp_path / "a.csv", known={"a": None})["a"].tolist() == [7]
