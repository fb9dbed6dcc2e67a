"""The layout of delimited text: what parts the fields, and whether the first line is a header or data."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tabvision.data.tables.delimited import read_csv
from tabvision.data.tables.layout import _find_separator, _is_data
from tabvision.errors import BadValueError


def read(tmp_path: Path, text: str, name: str = "a.csv", **form: Any) -> pd.DataFrame:
    (tmp_path / name).write_text(text)
    return read_csv(tmp_path / name, **form)


def test_equal_numbers_of_two_delimiters_mean_the_usual_one() -> None:
    assert _find_separator(["a,b;c"]) == ","
    assert _find_separator(["a,b\tc"], preferred="\t") == "\t"


def test_what_movielens_writes_is_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    names = ["user", "film", "stars", "when"]
    stars = read(tmp_path, "1::1193::5::978300760\n1::661::3::978302109\n", "ratings.dat", names=names)
    films = read(tmp_path, "1::Toy Story, The|2 (1995)::Comedy|Drama\n2::Heat::Drama\n", "movies.dat", names=[])
    old = read(tmp_path, "196\t242\t3\t881250949\n186\t302\t3\t891717742\n", "u.data")

    assert stars.to_dict("list")["film"] == [1193, 661]
    assert films["column_2"].tolist() == ["Toy Story, The|2 (1995)", "Heat"]
    assert list(old) == ["column_1", "column_2", "column_3", "column_4"]
    assert "u.data has no header: its columns are called 'column_1', 'column_2', 'column_3', 'column_4'" in caplog.text


def test_what_numpy_writes_is_read(tmp_path: Path) -> None:
    numbers = np.random.default_rng(0).normal(size=(5, 3))
    for header in ("", "x y z"):
        np.savetxt(tmp_path / "a.txt", numbers, header=header, comments="")

        frame = read_csv(tmp_path / "a.txt")

        np.testing.assert_allclose(frame, numbers)
        assert list(frame) == (header.split() or ["column_1", "column_2", "column_3"])


def test_fields_aligned_by_spaces_are_read(tmp_path: Path) -> None:
    frame = read(tmp_path, '  a   b\n  1  "x  y"\n 10  z\n', sep=" ")

    assert frame.to_dict("list") == {"a": [1, 10], "b": ["x  y", "z"]}


def test_a_separator_of_the_users_own_is_read(tmp_path: Path, subtests: pytest.Subtests) -> None:
    for sep, between in (("||", "||"), (r"\t", "\t"), ("tab", "\t"), (":", ":"), ("§", "§")):
        with subtests.test(sep=sep):
            assert read(tmp_path, f"a{between}b\n1{between}x\n", sep=sep).to_dict("list") == {"a": [1], "b": ["x"]}


@pytest.mark.parametrize(
    ("lines", "is_first_data"),
    [
        (["196,242,3", "186,302,3"], True),
        (["5.1,3.5,setosa", "4.9,3,setosa", "7,3.2,virginica"], True),
        (["39,State-gov,2020-01-05,<=50K", "50,Private,2020-01-06,<=50K"], True),
        (["1,1,0", "0,1,1"], True),
        (["p,x,s", "e,x,s", "p,b,y"], True),
        (["0,1,2", "5,3,1"], False),  # numbers of columns, as pandas writes them
        (["2010,2015,2020", "5,3,1"], False),  # years
        (["0.1,0.2,0.3", "5,3,1"], False),  # quantiles
        (["400.2,401,402.5,404,407.1", "5,3,1,2,3"], False),  # wavelengths
        (["1.5,0.2,0.3", "5,3,1"], True),
        (["7,9", "3,5"], True),
        (["2020-01-01,5.2", "2020-01-02,5.3"], True),
        (["country,2019,2020", "France,67,68", "Italy,60,59"], False),
        (["name,2020-01-01", "a,5", "b,6"], False),
        (["a,b", "1,2", "a,b", "3,4"], False),  # joined files
        (["name,other", "x,other", "y,z"], False),
        (["name,city", "Ann,Rome", "Bob,Oslo"], False),
        (["7", "8", "9"], False),
        ([",1,2", "a,3,4"], False),
        (["a,b", "1"], False),
    ],
)
def test_a_first_line_is_data_only_beyond_doubt(lines: list[str], is_first_data: bool) -> None:
    assert _is_data([line.split(",") for line in lines]) == is_first_data


def test_names_are_given_to_a_file_without_a_header(tmp_path: Path) -> None:
    assert read(tmp_path, "Ann,Rome\nBob,Oslo\n", names=["who", "where"]).to_dict("list") == {
        "who": ["Ann", "Bob"],
        "where": ["Rome", "Oslo"],
    }


def test_names_that_stand_in_the_file_as_well_are_its_header(tmp_path: Path) -> None:
    assert read(tmp_path, "a,b\n1,2\n", names=["a", "b"]).to_dict("list") == {"a": [1], "b": [2]}


def test_one_row_without_a_header_is_a_table(tmp_path: Path) -> None:
    assert read(tmp_path, "Ann,5\n", names=["who", "stars"]).to_dict("list") == {"who": ["Ann"], "stars": [5]}


def test_the_header_of_joined_files_is_left_out_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    frame = read(tmp_path, 'age,job\n1,"x\ny"\nage,job\n2,y\nage ,job\n3,job\n')

    assert frame["age"].tolist() == [1, 2, 3]
    assert frame["job"].tolist() == ["x\ny", "y", "job"]
    assert "The header of a.csv is repeated, as in files that were joined; left out: line 4, 6." in caplog.text


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "sep=;\na;b\n1;2\n",
            r"line 1 of '.*' must be the header, got 'sep=;', a hint for spreadsheets\. Remove that line",
        ),
        ("# by me\na,b\n1,2\n", r"line 1 of '.*' is a comment, such as '# by me'\. Remove that line, or"),
        ("# by me\n# again\na,b\n1,2\n", r"lines 1 to 2 of '.*' are comments.*\. Remove those lines"),
        ("# x y\n1.5 2\n3 4\n", r"line 1 of '.*' is a comment.* or only the '#' if the names of the columns follow it"),
        (
            "by me\n\na,b\n1,2\n",
            r"line 1 of '.*' has 1 field, and from line 3 on all have 2\..*remove the lines above it",
        ),
        ("a,b\n1,2,3\n4,5,6\n", r"line 2 of '.*' has 3 fields, the header has 2"),
        ("a;b\n1;2;3\n", r"line 2 of '.*' has 3 fields, the header has 2 \(fields are separated by ';'; sep= or --sep"),
    ],
)
def test_the_line_to_repair_is_named(text: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(BadValueError, match=sentence):
        read(tmp_path, text)


def test_a_header_that_begins_with_a_hash_is_a_header(tmp_path: Path) -> None:
    assert list(read(tmp_path, "#id,b\n1,2\n")) == ["#id", "b"]


@pytest.mark.parametrize(
    ("form", "sentence"),
    [
        ({"names": ["a"]}, "names gives 1 column, and '.*' has 2. Name each column once, in order"),
        ({"names": ["a", "a"]}, "has more than one column 'a'"),
        ({"sep": ""}, "sep must be the text between fields, got ''"),
        ({"sep": '"'}, "sep must be the text between fields"),
    ],
)
def test_a_layout_that_does_not_fit_is_refused(form: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    with pytest.raises(BadValueError, match=sentence):
        read(tmp_path, "a,b\n1,2\n", **form)
