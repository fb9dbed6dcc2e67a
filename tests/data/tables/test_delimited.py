"""Delimited text: read as pandas' C engine reads it, and refused by line where a row does not fit."""

import codecs
import csv
import gzip
import io
import itertools
import signal
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tabvision.data.tables.delimited import _parse, _with_decimal_commas, read_csv
from tabvision.data.tables.layout import Layout
from tabvision.data.tables.text_file import TextFile
from tabvision.errors import BadValueError


def read(tmp_path: Path, content: bytes | str, name: str = "a.csv", encoding: str | None = None) -> pd.DataFrame:
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_csv(tmp_path / name, encoding=encoding)


def test_cells_are_what_pandas_makes_of_them(tmp_path: Path, subtests: pytest.Subtests) -> None:
    cases = [
        ["1", "2"], [" 1", "2 "], ["1.0", ""], ["1", "x"], ["True", ""], ["True", "FALSE"], ["2020-01-01", "2021-01-01"],
        ["12:30", "1"], ["99999999999999999999", "1"], ["18446744073709551615", "1"], ["0x1F", "2"],
        ["NA", '""'], ["nan", "NAN"], ['"a\nb"', "c"], ['"a,b"', 'c"d'], ['"say ""hi"""', "x"], ["inf", "-Infinity"],
    ]  # fmt: skip
    for cells in cases:
        with subtests.test(cells=cells):
            text = "h,k\n" + "".join(f"{cell},0\n" for cell in cells)

            frame = read(tmp_path, text)

            pd.testing.assert_frame_equal(frame, pd.read_csv(tmp_path / "a.csv", low_memory=False))


@pytest.mark.parametrize("number", [7, 2**53 + 1, -(2**53) - 1, 2**63 - 1, 2**63 + 1, 2**64 + 1])
def test_integers_keep_their_digits_beside_an_empty_cell(number: int, tmp_path: Path) -> None:
    values = read(tmp_path, f"h,k\n{number},0\n,0\n5,0\n")["h"]

    assert [*map(str, values[[0, 2]])] == [str(number), "5"]
    assert values.isna().tolist() == [False, True, False]


def test_only_integers_beside_an_empty_cell_are_integers(tmp_path: Path) -> None:
    frame = read(tmp_path, "a,b,c,d,e\n1,1.0,,True,x\n,,,,\n2,2.0,,False,y\n")

    assert [*map(str, frame.dtypes)] == ["Int64", "float64", "float64", "object", "str"]
    assert frame["d"].tolist()[::2] == [True, False]


def test_mixed_types_far_apart_give_text_and_no_warning(tmp_path: Path) -> None:
    frame = read(tmp_path, "h,k\n" + "1,2\n" * 300_000 + "x,2\n")

    assert frame["h"].iloc[[0, -1]].tolist() == ["1", "x"]


def test_the_delimiter_is_found_in_the_header(tmp_path: Path, subtests: pytest.Subtests) -> None:
    for delimiter, name in itertools.product([",", ";", "\t", "|"], ["a.csv", "a.txt", "a.tsv"]):
        with subtests.test(delimiter=delimiter, name=name):
            text = f'"height{delimiter} cm"{delimiter}age\n1{delimiter}2\n'

            assert list(read(tmp_path, text, name)) == [f"height{delimiter} cm", "age"]


def test_an_unusual_delimiter_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    read(tmp_path, "a;b\n1;2\n")

    assert caplog.messages == ["a.csv is read with ';' between fields."]


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_every_line_ending_is_read(ending: str, tmp_path: Path) -> None:
    assert read(tmp_path, ending.join(["a,b", "1,2", "", "3,", ""])).shape == (2, 2)


def test_a_very_long_text_is_a_cell_like_others(tmp_path: Path) -> None:
    limit = csv.field_size_limit()

    frame = read(tmp_path, "a,b\n" + "x" * 3_000_000 + ",1\n2,\n")

    assert frame["a"].str.len().tolist() == [3_000_000, 1]
    assert csv.field_size_limit() == limit


def test_a_short_row_is_found_beside_a_very_long_text(tmp_path: Path) -> None:
    with pytest.raises(BadValueError, match=r"line 3 of '.*' has 1 field, the header has 2"):
        read(tmp_path, "a,b\n" + "x" * 3_000_000 + ",1\n2\n")


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path: Path) -> None:
    assert list(read(tmp_path, codecs.BOM_UTF8 + b"a,b\n1,2\n")) == ["a", "b"]


@pytest.mark.parametrize(
    ("encoding", "content"), [("latin-1", b"\xe9,b\n1,\n"), ("utf-16", "é,b\n1,\n".encode("utf-16"))]
)
def test_another_encoding_may_be_named(encoding: str, content: bytes, tmp_path: Path) -> None:
    assert list(read(tmp_path, content, encoding=encoding)) == ["é", "b"]


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz", ".zip"])
def test_compressed_text_is_read(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.csv{suffix}"
    pd.DataFrame({"a": [1, 2], "b": [3.0, np.nan]}).to_csv(path, index=False)

    assert read_csv(path, encoding=None).shape == (2, 2)


def test_fields_that_are_empty_at_the_end_of_a_row_are_missing_values(tmp_path: Path) -> None:
    assert read(tmp_path, "a,b\n1,\n,\n")["b"].isna().all()


def test_columns_without_a_name_are_called_as_pandas_does(tmp_path: Path) -> None:
    assert list(read(tmp_path, "a,,\n1,2,3\n")) == ["a", "Unnamed: 1", "Unnamed: 2"]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", r"is empty \(0 bytes\)"),
        (b"\n \n", r"is empty \(3 bytes\)"),
        (codecs.BOM_UTF8, r"is empty \(3 bytes\)"),
        (b"a,b\n", r"has a header \(a, b\) but no rows"),
        (b"a,b\n1,2\n\n3\n4,5\n", r"line 4 of '.*' has 1 field, the header has 2\. Repair that line"),
        (b"a,b\n1,2\n3,4,5\n", r"line 3 of '.*' has 3 fields, the header has 2"),
        (b"a,b\n1,2,3\n", r"line 2 of '.*' has 3 fields, the header has 2"),
        (b'a,b\n1,2\n1,"2\n', r"EOF inside string.*quote that is opened and never closed"),
        (b"a,b,a\n1,2,3\n", r"the header of '.*' has more than one column 'a'\. Rename"),
        (b"a,b\n1,2\n\xe9,3\n", r"is not UTF-8: byte 0xe9 at position 8 \(line 3\)\. Pass encoding=\"latin-1\""),
        (b"a,\xe9\n1,2\n", r"is not UTF-8: byte 0xe9 at position 2 \(line 1\)"),
        (b"PAR1\x00\x00", r"is not text: byte 4 is zero\. Give the file the suffix of its real format"),
        ("a,b\n1,2\n".encode("utf-16"), r"is UTF-16 text\. Pass encoding=\"utf-16\""),
        ("a,b\n1,2\n".encode("utf-32"), r"is UTF-32 text\. Pass encoding=\"utf-32\""),
    ],
)  # fmt: skip
def test_text_that_does_not_make_a_table_is_refused(content: bytes, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(BadValueError, match=sentence):
        read(tmp_path, content)


def test_a_wrong_byte_far_into_the_file_is_found(tmp_path: Path) -> None:
    with pytest.raises(BadValueError, match=r"byte 0xff at position 800,004 \(line 200,002\)"):
        read(tmp_path, b"a,b\n" + b"1,2\n" * 200_000 + b"\xff,2\n")


def test_an_unknown_encoding_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadValueError, match="no text encoding named 'utf-9'"):
        read(tmp_path, "a\n1\n", encoding="utf-9")


def test_text_not_of_the_encoding_named_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadValueError, match="is not ASCII: byte 0xc3"):
        read(tmp_path, "a\né\n", encoding="ascii")


def test_a_damaged_archive_is_refused(tmp_path: Path) -> None:
    packed = gzip.compress(b"a,b\n" + b"1,2\n" * 1000)
    with pytest.raises(BadValueError, match=r"cannot be read: .*It may be damaged"):
        read(tmp_path, packed[: len(packed) // 2], "a.csv.gz")
    with pytest.raises(BadValueError, match="cannot be read: File is not a zip file"):
        read(tmp_path, b"PK no zip", "a.csv.zip")


def test_an_archive_of_two_files_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.csv.zip", "w") as archive:
        archive.writestr("a.csv", "a\n1\n")
        archive.writestr("b.csv", "a\n1\n")
    with pytest.raises(BadValueError, match=r"holds 2 files, expected one\. Unpack it"):
        read_csv(tmp_path / "a.csv.zip", encoding=None)


def test_decimal_commas_are_read_where_semicolons_part_fields_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    frame = read(tmp_path, "size;weight;name;count\n1,5;-20,125;1,5 m;1\n2;;x;2\n")

    assert frame["size"].tolist() == [1.5, 2.0]
    np.testing.assert_array_equal(frame["weight"], [-20.125, np.nan])
    assert frame["name"].tolist() == ["1,5 m", "x"]
    assert caplog.messages[1] == "Read with a decimal comma: 'size', 'weight'."


@pytest.mark.parametrize(
    "values",
    [["1,234", "20,125"], ["1,5", "x"], ["3,7,12", "1,5"], ["1.234,5", "1,5"], ["1,5", "2", ""]],
    ids=["thousands or decimals", "text", "lists", "points as well", "an empty text"],
)
def test_a_comma_that_may_mean_something_else_stays_text(values: list[str]) -> None:
    frame = pd.DataFrame({"x": pd.Series(values, dtype="str")})

    assert _with_decimal_commas(frame, {}) is frame


def test_one_column_settles_what_a_comma_before_three_digits_means() -> None:
    frame = pd.DataFrame({"x": ["1,234"], "y": ["0,5"]}, dtype="str")

    assert _with_decimal_commas(frame, {}).to_numpy().tolist() == [[1.234, 0.5]]


def test_a_comma_within_quotes_of_a_comma_separated_file_stays_text(tmp_path: Path) -> None:
    assert read(tmp_path, 'a,b\n"1,5",2\n')["a"].tolist() == ["1,5"]


def test_spaces_around_names_are_left_out_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    frame = read(tmp_path, "job,age ,\ncook,41,1\n")

    assert list(frame) == ["job", "age", "Unnamed: 2"]
    assert caplog.messages == ["Spaces removed around 1 column name: 'age '."]


def test_spaces_after_a_delimiter_belong_to_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    text = 'job, age, note\ncook, 41, "a, b"\n nurse,, NA\npilot, 7," kept"\n'

    frame = read(tmp_path, text)

    assert frame.convert_dtypes().astype(object).where(frame.notna(), None).to_numpy().tolist() == [
        ["cook", 41, "a, b"],
        ["nurse", None, None],
        ["pilot", 7, " kept"],
    ]
    told = "Spaces after ',' and at the start of a line in a.csv are ignored, except within quotes."
    assert caplog.messages[0] == told
    caplog.clear()
    assert read(tmp_path, "city,age\n Rome,3\nRome,4\n")["city"].tolist() == ["Rome", "Rome"]
    assert caplog.messages == [told]


def test_spaces_that_a_trained_column_may_hold_are_kept(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("age,job\n1, nurse\n")

    assert read_csv(tmp_path / "a.csv", {"job": (" nurse",)})["job"].tolist() == [" nurse"]


def test_names_that_spaces_alone_tell_apart_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadValueError, match="has more than one column 'a'"):
        read(tmp_path, "a, a\n1,2\n")


def test_ctrl_c_while_a_file_is_read_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupted(io.BytesIO):
        def read1(self, size: int | None = -1, /) -> bytes:
            signal.raise_signal(signal.SIGINT)
            return super().read1(size)

    file = TextFile(tmp_path / "a.csv", None, b"a,b\n1,2\n")
    monkeypatch.setattr(file, "open", lambda: Interrupted(b"a,b\n1,2\n"))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    try:
        with pytest.raises(KeyboardInterrupt):
            _parse(file, Layout(["a", "b"], ",", ","), {})
    finally:
        signal.signal(signal.SIGINT, before)
