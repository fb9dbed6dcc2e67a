"""Writing a table: whole or not at all, never over another file, safe in a spreadsheet."""

import errno
import io
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest
import torch

from tabvision.data.tables import write
from tabvision.data.tables.excel import neutralized
from tabvision.data.tables.read import read_frame
from tabvision.data.tables.write import check_destination, write_frame, writing, written_in_blocks, written_whole
from tabvision.errors import BadValueError, MissingFileError, UnwritableFileError

FRAME = pd.DataFrame({"kind": ["cat", "dog, big"], "share": [0.25, np.nan], "seen": [True, False], "times": [1, 2]})


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".pq", ".feather", ".arrow"])
def test_what_is_written_reads_back_the_same(suffix: str, tmp_path: Path) -> None:
    write_frame(FRAME.set_index(pd.Index([7, 9])), tmp_path / f"a{suffix}")

    pd.testing.assert_frame_equal(read_frame(tmp_path / f"a{suffix}"), FRAME)


def test_plain_text_is_written_without_quotes(tmp_path: Path) -> None:
    frame = pd.DataFrame({"kind": ["cat", None], "day": pd.to_datetime(["2020-01-02"] * 2), "any": [1, "x"]})

    write_frame(frame, tmp_path / "a.csv")

    assert (tmp_path / "a.csv").read_text() == "kind,day,any\ncat,2020-01-02,1\n,2020-01-02,x\n"


def test_a_text_that_a_spreadsheet_would_run_gets_an_apostrophe() -> None:
    texts = [
        "=1+1",
        "+SUM(A1)",
        "-A1",
        "-",
        "@x",
        "\tx",
        "\rx",
        "--1",
        "+1+1",
        "\n=1",
        "\uff1d1+1",
        "=cmd|' /C calc'!A0",
    ]

    assert neutralized(pd.Series(texts)).tolist() == [f"'{text}" for text in texts]


def test_a_formula_after_a_list_separator_gets_an_apostrophe(tmp_path: Path) -> None:
    texts = ["x;=1+1", "x;-A1;+2", "a\n=1", "a\t@x", "=a;=b", "x;\uff1d1", ";=1"]
    safe = ["x;'=1+1", "x;'-A1;+2", "a\n'=1", "a\t'@x", "'=a;'=b", "x;'\uff1d1", ";'=1"]

    assert neutralized(pd.Series(texts[:6])).tolist() == safe[:6]
    write_frame(pd.DataFrame({"name": texts[:1], "row": [1]}), tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_text() == "name,row\nx;'=1+1,1\n"


def test_a_long_number_that_is_none_is_treated_at_once(tmp_path: Path) -> None:
    start, text = time.process_time(), "1" * 20_000 + "x"
    assert neutralized(pd.Series([f"-{text}", "-.5", "-5.", "-5.5e3"])).tolist() == [
        f"'-{text}",
        "-.5",
        "'-5.",
        "-5.5e3",
    ]
    (tmp_path / "a.csv").write_text(f"a,b\n{text},1\n")
    (tmp_path / "b.csv").write_text(f"a b\nx 1\ny{' ' * 20_000}2\n")

    assert read_frame(tmp_path / "a.csv")["a"].tolist() == [text]
    assert read_frame(tmp_path / "b.csv", sep=" ")["b"].tolist() == [1, 2]
    assert time.process_time() - start < 2


def test_other_texts_stay() -> None:
    texts = ["-5", "+5", "-0.5", "+1e-5", "a=b", "", "'x", "x@y", "x;-5", "x;-5;y", "a;b", "a\nb"]

    assert neutralized(pd.Series(texts)).tolist() == texts


def test_categories_and_column_names_are_neutralized_and_numbers_are_not(tmp_path: Path) -> None:
    frame = pd.DataFrame({"=a": pd.Categorical(["=x", None]), "n": [-1, -2]})

    write_frame(frame, tmp_path / "a.csv")

    assert (tmp_path / "a.csv").read_text() == "'=a,n\n'=x,-1\n,-2\n"


def test_formulas_come_back_with_an_apostrophe(tmp_path: Path) -> None:
    frame = pd.DataFrame({"text": ["=1+1", "plain"], "n": [-1.5, 2.0]})

    write_frame(frame, tmp_path / "a.csv")

    back = read_frame(tmp_path / "a.csv")
    assert back["text"].tolist() == ["'=1+1", "plain"]
    assert back["n"].tolist() == [-1.5, 2.0]


def test_answers_with_formulas_for_labels_are_written_safely(tmp_path: Path) -> None:
    frame = pd.DataFrame({"label": pd.Series(["=HYPERLINK(1)", "@x"], dtype=object), "probability_=x": [0.5, 0.25]})

    write_frame(frame, tmp_path / "a.csv")

    assert (tmp_path / "a.csv").read_text() == "label,probability_=x\n'=HYPERLINK(1),0.5\n'@x,0.25\n"


def test_a_file_that_is_there_is_kept_unless_asked(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("mine")

    with pytest.raises(BadValueError, match=r"'.*a\.csv' is a file already\. Choose another name"):
        write_frame(FRAME, path)
    assert path.read_text() == "mine"

    write_frame(FRAME, path, overwrite=True)
    assert len(read_frame(path)) == 2


def test_a_failed_write_leaves_nothing_and_keeps_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    path.write_text("mine")

    with pytest.raises(Exception, match=r"Conversion failed|object"):
        write_frame(pd.DataFrame({"a": [object(), 1]}), path, overwrite=True)

    assert [entry.name for entry in tmp_path.iterdir()] == ["a.parquet"]
    assert path.read_text() == "mine"


def test_what_was_half_done_is_removed_when_the_disk_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(
        UnwritableFileError, match=r"'.*a.csv' could not be written \(No space left on device\). Free"
    ) as told:
        write_frame(FRAME, tmp_path / "a.csv")
    assert told.value.errno == errno.ENOSPC

    assert not list(tmp_path.iterdir())


def test_what_killed_processes_left_is_removed_and_what_a_living_one_writes_is_not(tmp_path: Path) -> None:
    path, left = tmp_path / "a [b].csv", tmp_path / ".a [b].1.partial.csv"
    left.write_text("half")
    with written_whole(path) as partial:
        assert [*tmp_path.iterdir()] == [partial]
        partial.rename(left)  # as if another process wrote it
        write_frame(FRAME, path)
        assert sorted(tmp_path.iterdir()) == [left, path]
        left.rename(partial)

    assert [*tmp_path.iterdir()] == [path]
    assert not path.read_text()


@pytest.mark.parametrize("stopped_at", [1, 2, 9])
def test_ctrl_c_while_an_archive_is_written_is_no_full_disk(stopped_at: int) -> None:
    class File(io.BytesIO):
        writes = 0

        def write(self, data: object) -> int:
            self.writes += 1
            if self.writes == stopped_at:
                raise KeyboardInterrupt
            return super().write(data)  # type: ignore[arg-type]

    with pytest.raises(KeyboardInterrupt), writing(Path("last.ckpt")):
        torch.save({"a": torch.zeros(3)}, File())


def test_an_unknown_suffix_is_refused() -> None:
    with pytest.raises(BadValueError, match=r"the name must end in \.csv or \.parquet or .*, got 'a\.docx'"):
        check_destination("a.docx")


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"there is no folder '.*gone' to write to\. Create it first"):
        check_destination(tmp_path / "gone" / "a.csv")


def test_a_folder_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "a.csv").mkdir()
    with pytest.raises(BadValueError, match="is a folder already"):
        check_destination(tmp_path / "a.csv", overwrite=True)


def test_what_is_read_is_not_written_over_under_whatever_name(tmp_path: Path) -> None:
    table = tmp_path / "mine.csv"
    table.write_text("a\n1\n")
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "1.parquet").touch()
    (tmp_path / "shards" / "2.parquet").touch()
    (tmp_path / "linked.csv").symlink_to(table)
    (tmp_path / "same.csv").hardlink_to(table)

    for out in ("mine.csv", "linked.csv", "same.csv", "shards/../mine.csv", "shards/2.parquet"):
        with pytest.raises(BadValueError, match="would destroy what is read from"):
            check_destination(tmp_path / out, overwrite=True, reads=[FRAME, b"", "a\0b", table, tmp_path / "shards"])

    for out in ("other.csv", "shards/answers.csv"):
        (tmp_path / out).touch()
        check_destination(tmp_path / out, overwrite=True, reads=[table, tmp_path / "shards"])


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".feather"])
def test_a_folder_whose_name_is_not_utf8_is_written_to(suffix: str, tmp_path: Path) -> None:
    folder = tmp_path / "caf\udce9"
    folder.mkdir()

    write_frame(pd.DataFrame({"a": [1, 2]}), folder / f"answers{suffix}")

    assert [path.name for path in folder.iterdir()] == [f"answers{suffix}"]


def test_blocks_are_gathered_in_groups_of_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write, "_GROUP_ROWS", 5)
    frame = pd.DataFrame({"x": range(9), "y": list("abcdefghi")})

    with written_in_blocks(tmp_path / "a.parquet") as append:
        for start in range(0, 9, 2):
            append(frame[start : start + 2])
        assert not (tmp_path / "a.parquet").exists()

    opened = pa.parquet.ParquetFile(tmp_path / "a.parquet")
    assert [opened.metadata.row_group(at).num_rows for at in range(opened.metadata.num_row_groups)] == [6, 3]
    pd.testing.assert_frame_equal(opened.read().to_pandas(), frame)
