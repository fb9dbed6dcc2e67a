"""Reading a source: what comes back, and a sentence for everything that cannot be read."""

import bz2
import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pytest

from tabvision.data.tables.blocks import TableBlocks
from tabvision.data.tables.files import table_files
from tabvision.data.tables.read import read_frame
from tabvision.errors import BadTypeError, BadValueError, MissingFileError

FRAME = pd.DataFrame({"age": [31, 42], "pay": [1.5, np.nan], "job": ["nurse", None]})
WRITERS: dict[str, Callable[[pd.DataFrame, Path], Any]] = {
    ".csv": lambda frame, path: frame.to_csv(path, index=False),
    ".csv.gz": lambda frame, path: frame.to_csv(path, index=False),
    ".tsv": lambda frame, path: frame.to_csv(path, index=False, sep="\t"),
    ".txt": lambda frame, path: frame.to_csv(path, index=False, sep="|"),
    ".parquet": lambda frame, path: frame.to_parquet(path),
    ".pq": lambda frame, path: frame.to_parquet(path),
    ".feather": lambda frame, path: frame.to_feather(path),
    ".arrow": lambda frame, path: frame.to_feather(path),
    ".json": lambda frame, path: frame.to_json(path, orient="records"),
    ".jsonl": lambda frame, path: frame.to_json(path, orient="records", lines=True),
}


@pytest.mark.parametrize("suffix", WRITERS)
def test_every_format_gives_the_frame_that_was_written(suffix: str, tmp_path: Path) -> None:
    WRITERS[suffix](FRAME, tmp_path / f"a{suffix}")

    pd.testing.assert_frame_equal(read_frame(tmp_path / f"a{suffix}"), FRAME)


@pytest.mark.parametrize("suffix", WRITERS)
def test_integers_keep_their_digits_beside_missing_values_in_every_format(suffix: str, tmp_path: Path) -> None:
    table = pa.table({"id": [2**53 + 1, None, 2**53], "few": pa.array([1, None, 2], pa.int8()), "x": [1.5, None, 2.0]})
    frame = table.to_pandas(types_mapper={pa.int64(): pd.Int64Dtype(), pa.int8(): pd.Int8Dtype()}.get)
    path = tmp_path / f"a{suffix}"
    write: dict[str, Callable[[], Any]] = {  # as other programs do, without pandas' own notes on its types
        ".parquet": lambda: pa.parquet.write_table(table, path),
        ".pq": lambda: pa.parquet.write_table(table, path),
        ".feather": lambda: pa.feather.write_feather(table, path),
        ".arrow": lambda: pa.feather.write_feather(table, path),
    }
    write.get(suffix, lambda: WRITERS[suffix](frame, path))()

    found = read_frame(path)

    assert found["id"].tolist() == [2**53 + 1, pd.NA, 2**53]
    assert pd.api.types.is_integer_dtype(found["few"])
    assert found["x"].dtype == float


@pytest.mark.parametrize(
    "source",
    [
        {"id": [2**53 + 1, None], "x": [1.0, None]},
        [{"id": 2**53 + 1, "x": 1.0}, {}],
        {"id": {"r": 2**53 + 1, "s": None}, "x": {"r": 1.0, "s": None}},
    ],
)
def test_integers_keep_their_digits_beside_missing_values_in_plain_python(source: Any) -> None:
    frame = read_frame(source)

    assert frame["id"].tolist() == [2**53 + 1, pd.NA]
    assert frame["x"].dtype == float


def test_a_frame_comes_back_as_it_is() -> None:
    assert read_frame(FRAME) is FRAME


def test_columns_and_rows_as_plain_python_make_the_same_frame() -> None:
    rows = [{"age": 31, "job": "nurse"}, {"age": 42, "job": "cook"}]

    by_column = read_frame({"age": [31, 42], "job": ["nurse", "cook"]})

    pd.testing.assert_frame_equal(read_frame(rows), by_column)
    assert isinstance(by_column["job"].dtype, pd.StringDtype)


def test_a_tilde_means_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    FRAME.to_csv(tmp_path / "a.csv", index=False)

    assert len(read_frame("~/a.csv")) == 2


@pytest.mark.parametrize("suffix", [".parquet", ".feather"])
def test_an_index_with_a_name_is_a_column_of_the_file(
    suffix: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / f"a{suffix}"
    write = {".parquet": pyarrow.parquet.write_table, ".feather": pyarrow.feather.write_feather}[suffix]
    write(pa.Table.from_pandas(FRAME.set_index("job")), path)

    frame = read_frame(path)

    pd.testing.assert_frame_equal(frame[list(FRAME)], FRAME)
    assert caplog.messages == ["The file's index is read as a column: 'job'."]


@pytest.mark.parametrize("first", [0, 1])
def test_a_saved_index_is_left_out_and_said(first: int, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    FRAME.set_index(np.array([first, first + 1])).to_csv(tmp_path / "a.csv")

    assert list(read_frame(tmp_path / "a.csv")) == ["age", "pay", "job"]
    assert "a saved index, left out" in caplog.messages[0]


def test_a_first_column_without_a_name_that_counts_no_rows_is_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a.csv").write_text(",b\n7,1\n9,2\n")

    assert read_frame(tmp_path / "a.csv")["Unnamed: 0"].tolist() == [7, 9]
    assert "called 'Unnamed: 0'" in caplog.messages[0]


def test_numbers_as_text_in_json_stay_text(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('[{"code": "007"}]')

    assert read_frame(tmp_path / "a.json")["code"].tolist() == ["007"]


@pytest.mark.parametrize("suffix", [".json", ".jsonl", ".ndjson", ".json.gz", ".jsonl.bz2"])
def test_json_is_read_compressed_in_any_encoding_and_with_any_line_ends(suffix: str, tmp_path: Path) -> None:
    packers: dict[str, Callable[[bytes], bytes]] = {".gz": gzip.compress, ".bz2": bz2.compress}
    packed = packers.get(Path(suffix).suffix, bytes)
    rows = ['{"a": "é\u2028x"}', '{"a": "y"}']
    for encoding, ending in (("utf-8-sig", "\n"), ("utf-16", "\r\n"), ("latin-1", "\r")):
        text = ending.join(rows) if not suffix.startswith(".json") or "jsonl" in suffix else f"[{', '.join(rows)}]"
        text = text.replace("\u2028", " ") if encoding == "latin-1" else text
        (tmp_path / f"a{suffix}").write_bytes(packed(text.encode(encoding)))

        frame = read_frame(tmp_path / f"a{suffix}", encoding=encoding.removesuffix("-sig"))

        assert frame["a"].str[0].tolist() == ["é", "y"]


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.jsonl", b'{"a": 1}\n\n{"a": \n', r"line 3 of '.*' is not JSON: Expecting value\. Repair that line"),
        ("a.jsonl", b'{"a": 1}\n[1]\n', r"line 2 of '.*' must hold an object, got list"),
        ("a.json", b'[{"a": 1},\n{"a" 2}]', r"line 2 of '.*' is not JSON: Expecting ':' delimiter"),
        ("a.json", b"[1, 2]", "must hold a list of objects, one a row, got list"),
        ("a.json", b"[" * 100_000, "is not JSON"),
        ("a.json", b'[{"a": 1},\n{"a": 2, "a": 3}]', "^'.*' is not JSON: the name 'a' occurs twice in an object"),
        ("a.json", b" \n", r"is empty \(2 bytes\)"),
        ("a.jsonl", b'{"a": "\xe9"}', r"is not UTF-8: byte 0xe9 at position 7 \(line 1\)\. Pass encoding=\"latin-1\""),
        ("a.json", '[{"a": 1}]'.encode("utf-16"), r"is UTF-16 text\. Pass encoding=\"utf-16\""),
        ("a.json.gz", b"no gzip", r"cannot be read: .*It may be damaged"),
    ],
)
def test_json_that_makes_no_table_is_refused(name: str, content: bytes, sentence: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)

    with pytest.raises(BadValueError, match=sentence):
        read_frame(tmp_path / name)


def test_a_folder_of_shards_is_one_table_in_order_of_their_names(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "_SUCCESS").touch()
    for name in ("_metadata.parquet", "._part-0.snappy.parquet", ".part-2.parquet.partial.parquet"):
        (tmp_path / name).write_bytes(b"\0")
    FRAME[["pay", "job", "age"]].to_parquet(tmp_path / "part-1.parquet")
    FRAME.to_parquet(tmp_path / "part-0.snappy.parquet")

    frame = read_frame(tmp_path)

    pd.testing.assert_frame_equal(frame, pd.concat([FRAME, FRAME], ignore_index=True))
    assert caplog.messages == ["2 files read as one table: 'part-0.snappy.parquet' to 'part-1.parquet'."]


def test_codes_that_look_like_numbers_in_some_shards_are_text_in_all(tmp_path: Path) -> None:
    (tmp_path / "0.csv").write_text("code,zip,n\n1,10001,\n")
    (tmp_path / "1.csv").write_text("code,zip,n\nA,02139,5\n")

    frame = read_frame(tmp_path)

    assert frame["code"].tolist() == ["1", "A"]
    assert frame["zip"].tolist() == ["10001", "02139"]
    np.testing.assert_array_equal(frame["n"], [np.nan, 5])


def test_shards_that_differ_are_refused(tmp_path: Path) -> None:
    FRAME.to_parquet(tmp_path / "0.parquet")
    FRAME.drop(columns="pay").to_parquet(tmp_path / "1.parquet")
    with pytest.raises(
        BadValueError, match=r"1\.parquet' has other columns than '0\.parquet': 'pay' in only one of them"
    ):
        read_frame(tmp_path)

    FRAME.astype({"age": "str"}).to_parquet(tmp_path / "1.parquet")
    with pytest.raises(BadValueError, match=r"columns are text in some files and numbers in others: 'age'"):
        read_frame(tmp_path)


def test_images_or_folders_beside_tables_make_no_table(tmp_path: Path) -> None:
    FRAME.to_csv(tmp_path / "labels.csv", index=False)
    assert table_files(tmp_path) == [tmp_path / "labels.csv"]

    (tmp_path / "cat").mkdir()
    assert table_files(tmp_path) == []
    with pytest.raises(BadValueError, match="is a folder, not a table file"):
        read_frame(tmp_path)


def test_a_frame_of_another_library_is_read_with_whole_numbers_whole() -> None:
    class Other:  # as polars.DataFrame
        def __arrow_c_stream__(self, requested_schema: object = None) -> object:
            table = pa.table({"id": [2**60 + 1, None], "job": ["nurse", None], "age": [31, 42]})
            return table.__arrow_c_stream__(requested_schema)

    source: Any = Other()
    frame = read_frame(source)

    assert frame["id"].tolist() == [2**60 + 1, pd.NA]
    assert frame["job"].isna().tolist() == [False, True]
    assert frame["age"].tolist() == [31, 42]


def test_a_parquet_file_in_memory_and_in_blocks_is_the_same_frame(tmp_path: Path) -> None:
    months = pd.DataFrame(
        {"month": pd.period_range("2024-01", periods=3, freq="M")}, index=pd.Index([3, 1, 2], name="id")
    )
    table = pa.Table.from_pandas(months)
    table = table.append_column("facts", pa.array(['{"a": 1}', None, "[]"], pa.json_(pa.string())))
    pa.parquet.write_table(table, tmp_path / "a.parquet")

    frame = read_frame(tmp_path / "a.parquet")

    ((_, block),) = TableBlocks(tmp_path / "a.parquet", {}).read()
    pd.testing.assert_frame_equal(frame, block, check_index_type=False)
    assert frame["id"].tolist() == [3, 1, 2]
    assert frame["month"].dtype == "period[M]"
    assert frame["facts"].tolist()[::2] == ['{"a": 1}', "[]"]


@pytest.mark.parametrize("suffix", [".parquet", ".feather"])
def test_columns_of_arrow_types_come_as_those_of_pandas(suffix: str, tmp_path: Path) -> None:
    kinds = {"list": pa.list_(pa.int64()), "job": pa.dictionary(pa.int32(), pa.string()), "num": pa.int64()}
    values = {"list": [[1, 2], None], "job": ["cook", "nurse"], "num": [1, None]}
    frame = pd.DataFrame({name: pd.Series(values[name], dtype=pd.ArrowDtype(kind)) for name, kind in kinds.items()})
    write = frame.to_parquet if suffix == ".parquet" else frame.to_feather
    write(tmp_path / f"a{suffix}")

    found = read_frame(tmp_path / f"a{suffix}")

    assert [*map(str, found.dtypes)] == ["object", "category", "Int64"]
    assert found["job"].tolist() == ["cook", "nurse"]


def test_a_frame_that_hands_nothing_over_is_to_be_converted() -> None:
    source: Any = type("LazyFrame", (), {"to_pandas": None})()

    with pytest.raises(BadTypeError, match=r"got LazyFrame\. Pass source\.to_pandas\(\)"):
        read_frame(source)
    with pytest.raises(BadTypeError, match="got Int64Array"):
        read_frame(cast("Any", pa.array([1])))


def test_a_missing_file_names_the_closest_one(tmp_path: Path) -> None:
    FRAME.to_csv(tmp_path / "adult.csv", index=False)

    with pytest.raises(MissingFileError, match=r"no file '.*adlt\.csv'\. Did you mean '.*adult\.csv'\?$"):
        read_frame(tmp_path / "adlt.csv")
    (tmp_path / "latest.csv").symlink_to("gone.csv")
    with pytest.raises(MissingFileError, match=r"latest\.csv' is a link to 'gone\.csv', which does not exist"):
        read_frame(tmp_path / "latest.csv")


def test_a_missing_file_like_no_other_says_to_check_the_path(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"no file '.*zzz\.csv'\. Check the path\.$"):
        read_frame(tmp_path / "zzz.csv")


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"there is no folder '.*gone'"):
        read_frame(tmp_path / "gone" / "a.csv")


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("folder.csv", None, r"is a folder, not a table file\. Pass the path of a file in it"),
        (
            "a.docx",
            b"PK",
            r"'a\.docx' does not have the suffix of a table format\. Save it as \.csv, \.tsv, .*\.parquet",
        ),
        ("a", b"x", r"'a' does not have the suffix"),
        ("a.zip", b"PK", r"Name it after what it contains, such as 'a\.csv\.zip'\."),
        ("a.parquet", b"", r"is empty \(0 bytes\)"),
        ("a.parquet", b"PAR1 but not really PAR1", r"cannot be read as \.parquet: .*damaged or in another format"),
        ("a.feather", b"no feather at all", r"cannot be read as \.feather"),
        ("a.json", b"{no json", r"line 1 of '.*' is not JSON"),
    ],
)
def test_what_is_no_table_file_is_refused(name: str, content: bytes | None, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.mkdir() if content is None else path.write_bytes(content)

    with pytest.raises(BadValueError, match=sentence):
        read_frame(path)


def test_an_address_is_to_be_downloaded_first() -> None:
    with pytest.raises(BadValueError, match=r"'https://a\.org/b\.csv' is a URL.*Download it first"):
        read_frame("https://a.org/b.csv")


@pytest.mark.parametrize("source", [7, None, np.zeros((2, 2)), [1, 2]])
def test_another_kind_of_source_is_refused(source: Any) -> None:
    with pytest.raises(BadTypeError, match="the source must be a DataFrame, a dict of columns, a list of dicts or a"):
        read_frame(source)


PEOPLE = pd.DataFrame({"job": ["cook", "nurse"], "age": [1, 2]})


@pytest.mark.parametrize("source", [PEOPLE.iloc[0], PEOPLE["age"]], ids=["row", "column"])
def test_a_row_or_a_column_of_a_frame_is_to_be_a_frame(source: pd.Series) -> None:
    with pytest.raises(BadTypeError, match=r"must be a table, got a Series.*frame\.iloc\[\[0\]\]"):
        read_frame(source)


def test_columns_of_different_lengths_are_refused() -> None:
    with pytest.raises(BadValueError, match="do not form a table: All arrays must be of the same length"):
        read_frame({"a": [1], "b": [1, 2]})


def test_duplicate_columns_are_named() -> None:
    with pytest.raises(BadValueError, match=r"column names must be unique, got 'a' \(2 times\)"):
        read_frame(pd.DataFrame([[1, 2, 3]], columns=["a", "b", "a"]))


def test_column_names_that_are_no_text_are_refused() -> None:
    with pytest.raises(BadTypeError, match=r"column names must be text, got 0 \(int\)\. Rename them"):
        read_frame(pd.DataFrame([[1]]))


def test_column_names_of_several_levels_are_to_be_joined() -> None:
    frame = pd.DataFrame({"job": ["a", "b"], "pay": [1, 2]}).groupby("job").agg({"pay": ["mean", "max"]})

    sentence = r'frame\.columns = \["_"\.join\(map\(str, name\)\) for name in frame\.columns\]'
    with pytest.raises(BadTypeError, match=rf"must be text, got \('pay', 'mean'\) \(tuple\).*{sentence}"):
        read_frame(frame)
    frame.columns = pd.Index(["_".join(map(str, name)) for name in frame.columns])

    assert read_frame(frame).columns.tolist() == ["pay_mean", "pay_max"]


@pytest.mark.parametrize("source", [pd.DataFrame({"a": []}), {"a": []}])
def test_a_source_without_rows_is_refused(source: Any) -> None:
    with pytest.raises(BadValueError, match="the source has columns but no rows"):
        read_frame(source)


def test_a_parquet_file_without_rows_is_refused(tmp_path: Path) -> None:
    FRAME[:0].to_parquet(tmp_path / "a.parquet")

    with pytest.raises(BadValueError, match=r"a\.parquet' has columns but no rows"):
        read_frame(tmp_path / "a.parquet")


def test_a_source_without_columns_is_refused() -> None:
    with pytest.raises(BadValueError, match="the source has no columns"):
        read_frame([])


def test_a_column_may_be_called_self(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("self,b\n1,x\n,y\n")

    assert read_frame(tmp_path / "a.csv")["self"].tolist() == [1, pd.NA]


def test_an_index_of_a_columns_name_is_refused(tmp_path: Path) -> None:
    pd.DataFrame({"a": [1]}, index=pd.Index([2], name="a")).to_parquet(tmp_path / "a.parquet")

    with pytest.raises(BadValueError, match="both the index and a column are called 'a'"):
        read_frame(tmp_path / "a.parquet")
