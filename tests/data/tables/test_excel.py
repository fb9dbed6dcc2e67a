"""Excel files, in and out."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tabvision.data.tables.read import read_frame
from tabvision.data.tables.write import write_frame
from tabvision.errors import BadTypeError, BadValueError
from tabvision.logs import notes_at
from tabvision.plain import check_digits
from tabvision.schema import Percents
from tests.made.tables import mixed_table

openpyxl = pytest.importorskip("openpyxl")


def test_a_table_comes_back_as_it_was_written(tmp_path: Path) -> None:
    frame = mixed_table(50).assign(grade=lambda it: it["grade"].astype("str"))

    write_frame(frame, tmp_path / "a.xlsx")

    pd.testing.assert_frame_equal(read_frame(tmp_path / "a.xlsx"), frame, check_dtype=False)


def test_words_mean_a_missing_value_as_in_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = {"size": [1.5, "NA", 3], "job": ["cook", "NA", "?"], "code": ["A1", 7, "B"]}
    pd.DataFrame({**rows, "rate": [0.5, "#DIV/0!", "#N/A"]}).to_excel(tmp_path / "a.xlsx", index=False)

    with notes_at(verbose=True):
        found = read_frame(tmp_path / "a.xlsx")

    assert found["size"].tolist()[::2] == [1.5, 3.0]
    assert np.isnan(found["size"][1])
    assert found["job"].isna().tolist() == [False, True, False]
    assert found["code"].tolist() == ["A1", "7", "B"]
    assert found["rate"].isna().tolist() == [False, True, True]
    said = capsys.readouterr().out
    assert "'NA' in 'job' (1 row)" in said
    assert "2 cells of a.xlsx with an error such as #DIV/0! are read as missing" in said
    assert read_frame(tmp_path / "a.xlsx", na_values=["?"])["job"].isna().tolist() == [False, False, True]
    assert read_frame(tmp_path / "a.xlsx", known={"job": ["NA", "cook"]})["job"].isna().tolist() == [
        False,
        False,
        False,
    ]


def test_a_sheet_without_a_header_is_read_by_names(tmp_path: Path) -> None:
    pd.DataFrame([[1, "x"], [2, "y"]]).to_excel(tmp_path / "a.xlsx", index=False, header=False)

    assert read_frame(tmp_path / "a.xlsx", names=["n", "s"])["n"].tolist() == [1, 2]
    assert [*read_frame(tmp_path / "a.xlsx", names=[])] == ["column_1", "column_2"]
    with pytest.raises(BadValueError, match=r"names gives 1 column, and .* has 2"):
        read_frame(tmp_path / "a.xlsx", names=["n"])


def test_of_several_sheets_the_first_is_read_and_that_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pd.ExcelWriter(tmp_path / "a.xlsx") as book:
        pd.DataFrame({"x": [1]}).to_excel(book, sheet_name="People", index=False)
        pd.DataFrame({"y": [2]}).to_excel(book, sheet_name="Notes", index=False)

    with notes_at(verbose=True):
        assert [*read_frame(tmp_path / "a.xlsx")] == ["x"]

    assert "a.xlsx has 2 sheets: the first, 'People', is read." in capsys.readouterr().out


def test_a_text_is_no_formula_and_a_zone_no_error(tmp_path: Path) -> None:
    when = pd.to_datetime(["2024-01-01T10:00+02:00"])
    write_frame(pd.DataFrame({"=a": ["=1+1"], "when": when, "bell": ["a\x07b"]}), tmp_path / "a.xlsx")

    sheet = openpyxl.load_workbook(tmp_path / "a.xlsx").active
    assert [cell.value for cell in sheet[1]] == ["'=a", "when", "bell"]
    assert [cell.value for cell in sheet[2]] == ["'=1+1", "2024-01-01 10:00:00+02:00", "ab"]


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 cut off"])
def test_a_damaged_file_is_a_sentence(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.xlsx").write_bytes(content)

    with pytest.raises(BadValueError, match=r"a.xlsx' cannot be read as .xlsx"):
        read_frame(tmp_path / "a.xlsx")


def test_an_empty_sheet_and_an_older_format_are_sentences(tmp_path: Path) -> None:
    pd.DataFrame({"x": []}).to_excel(tmp_path / "a.xlsx", index=False)
    (tmp_path / "a.xls").write_bytes(b"old")

    with pytest.raises(BadValueError, match="has no rows"):
        read_frame(tmp_path / "a.xlsx")
    with pytest.raises(BadValueError, match=r"Save it as .xlsx or .csv"):
        read_frame(tmp_path / "a.xls")


def test_cells_of_text_that_write_numbers_keep_their_zeros_and_digits(tmp_path: Path) -> None:
    ids = ["900719925474099301", None, "900719925474099303"]
    pd.DataFrame({"zip": ["007", "12", "3"], "id": ids, "size": ["1.5", "2", None]}).to_excel(
        tmp_path / "a.xlsx", index=False
    )

    found = read_frame(tmp_path / "a.xlsx")

    assert found["zip"].tolist() == ["007", "12", "3"]
    assert found["id"].tolist() == [900719925474099301, pd.NA, 900719925474099303]
    assert found["size"].tolist()[:2] == [1.5, 2.0]


def test_whole_numbers_that_a_sheet_would_round_are_written_as_text(tmp_path: Path) -> None:
    ids = pd.array([2**60 + 1, None, -(2**60) - 1], dtype="Int64")

    write_frame(pd.DataFrame({"id": ids, "x": [1, 2, 3]}), tmp_path / "a.xlsx")

    frame = read_frame(tmp_path / "a.xlsx")
    assert frame["id"].tolist() == [*ids]
    assert frame["x"].tolist() == [1, 2, 3]


def test_whole_numbers_that_a_sheet_rounded_are_no_ids(tmp_path: Path) -> None:
    ids = [900719925474099300 + number for number in range(3)]
    pd.DataFrame({"id": ids, "text": map(str, ids)}).to_excel(tmp_path / "a.xlsx", index=False)

    frame = read_frame(tmp_path / "a.xlsx")

    assert frame["text"].tolist() == ids
    with pytest.raises(BadTypeError, match="column 'id' holds whole numbers that became floats and lost their last"):
        check_digits(frame["id"].to_numpy(), "id")


def _sheet(path: Path, *cells: tuple[object, str]) -> Path:
    """A sheet with a column called share, of values in a format each."""
    book = openpyxl.Workbook()
    book.active.append(["share"])
    for row, (value, shown) in enumerate(cells, 2):
        book.active.cell(row, 1, value).number_format = shown
    book.save(path)
    return path


def test_a_column_that_was_text_with_percent_signs_reads_what_a_sheet_shows(tmp_path: Path) -> None:
    file = _sheet(tmp_path / "a.xlsx", (0.07, "0%"), (-0.125, '0.0" of "%'), ("8%", "@"), (None, "0%"), (1, "0.00%"))
    known = {"share": Percents()}

    assert read_frame(file, known=known)["share"].tolist()[:3] == ["7.0", "-12.5", "8%"]
    assert read_frame(file)["share"].tolist()[0] == "0.07"
    plain = _sheet(tmp_path / "b.xlsx", (7, "0"), (12.5, '0.0"%"'))
    assert read_frame(plain, known=known)["share"].tolist() == [7, 12.5]
    mixed = _sheet(tmp_path / "c.xlsx", (0.07, "0%"), (7, "0"), (8, "0"))
    with pytest.raises(
        BadValueError, match=r"column 'share' must hold percents, but only 1 of 3 numbers are formatted as such"
    ):
        read_frame(mixed, known=known)


def test_merged_cells_whose_rows_lack_the_value_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    book = openpyxl.Workbook()
    for row in (["region", "units"], ["N", 1], [None, 2], ["S", 3]):
        book.active.append(row)
    book.active.merge_cells("A2:A3")
    book.active.merge_cells("C1:D1")
    book.save(tmp_path / "a.xlsx")

    with caplog.at_level("INFO", "tabvision"):
        assert read_frame(tmp_path / "a.xlsx")["region"].isna().tolist() == [False, True, False]

    assert "1 merged cell of a.xlsx spanning several rows: only the first row of each has its value" in caplog.text
