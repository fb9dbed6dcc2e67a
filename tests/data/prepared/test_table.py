"""Tables larger than memory: prepared in a stream, they train as tables in memory do, to the bit."""

from __future__ import annotations

import json
import os
import pickle
import resource
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest
import torch
from pytorch_lightning.callbacks import ModelCheckpoint

from tabvision.callbacks import ExactResume
from tabvision.data import (
    ColumnSplit,
    GroupSplit,
    IndexSplit,
    SourceSplit,
    StratifiedSplit,
    TabularDataModule,
    TimeSplit,
)
from tabvision.data.prepared import scan
from tabvision.data.prepared.table import default_folder
from tabvision.data.tables import blocks
from tabvision.errors import BadTypeError, BadValueError, UnwritableFileError
from tabvision.modules import TabularModule
from tests.made.commands import Forked
from tests.made.sweeps import slow_but
from tests.made.tables import mixed_table, quiet
from tests.made.trainers import quiet_trainer

ROWS = 1_000


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks that are small enough for a small table to have several."""
    monkeypatch.setattr(blocks, "BLOCK_ROWS", 130)
    monkeypatch.setattr(blocks, "_TEXT_BYTES", 20_000)
    monkeypatch.setattr(blocks, "_HEAD_BLOCKS", 2)


def surprising_table() -> pd.DataFrame:
    """Columns of every kind; some show only in few rows far from the head what they are."""
    rows = np.arange(ROWS)
    frame = mixed_table(ROWS)
    pay = frame.pop("pay")
    frame["paid"] = np.where(pay > 0, "yes", "no")
    frame["team"] = (pay.rank().to_numpy() // 40).astype(int) * 7 % 26  # a number that names something
    frame["part"] = np.where(rows % 5 == 0, "valid", "train")
    frame["grade"] = frame["grade"].astype("str")
    frame["sold"] = frame["sold"].dt.strftime("%Y-%m-%d %H:%M:%S")
    frame["price"] = [f"{number:.2f}" for number in np.random.default_rng(1).normal(size=ROWS)]
    frame["day"] = np.where(rows == 775, "never", np.where(rows % 2 == 0, "2024-02-01", "2024-01-01"))
    frame["level"] = rows // 40  # more than 20 whole numbers, of which the first blocks show few
    frame["same"] = np.where(rows == 801, 7, 3)
    frame["code"] = [f"{'A' if row > 600 else ''}{row % 7}" for row in rows]  # in a text file numbers, at first
    frame["hole"] = np.where(np.isin(rows, [611, 912]), rows / 7, np.nan)
    frame["key"] = [f"id-{row}" for row in rows]
    return frame


def plain_table() -> pd.DataFrame:
    """Few columns of the same, where they are not the point."""
    return surprising_table()[["visits", "size", "color", "price", "paid"]]


def written(frame: pd.DataFrame, folder: Path, kind: str) -> Path:
    """The table as one file of small parts, as several files, or as folders of Hive."""
    if kind == "parquet":
        frame.to_parquet(folder / "table.parquet", row_group_size=300)
        return folder / "table.parquet"
    if kind == "csv":
        frame.to_csv(folder / "table.csv", index=False)
        return folder / "table.csv"
    for number, start in enumerate(range(0, len(frame), 250)):
        part = frame.iloc[start : start + 250]
        inner = folder / "parts" / (f"half={number // 2}/of=a%20b" if kind == "hive" else "")
        inner.mkdir(parents=True, exist_ok=True)
        part.to_parquet(inner / f"{number}.parquet") if kind == "hive" else part.to_csv(
            inner / f"{number}.csv", index=False
        )
    return folder / "parts"


@pytest.mark.parametrize(
    ("kind", "target"),
    slow_but(
        [("parquet", "paid"), ("csv", "size")],
        [("parquet", "paid"), ("csv", "size"), ("many csv", "paid"), ("hive", "size")],
    ),
)
def test_facts_and_rows_are_those_of_the_table_in_memory(kind: str, target: str, tmp_path: Path) -> None:
    frame = surprising_table().dropna(subset=[target])
    source = written(frame, tmp_path, kind)
    settings: dict[str, Any] = {"split": ColumnSplit("part")}

    memory = quiet(source, target, **settings)
    prepared = quiet(source, target, **settings, prepared=tmp_path / "prepared")

    assert prepared.schema == memory.schema
    assert target == "size" or "team_value" in [column.name for column in memory.schema.categorical]
    for part, (tensors, rows) in memory.parts.items():
        assert prepared.parts[part].rows.tolist() == rows.tolist()
        for name in ("continuous", "categorical", "target"):
            torch.testing.assert_close(
                prepared.parts[part].tensors[name].to(tensors[name].dtype), tensors[name], rtol=0, atol=0
            )
    assert prepared.baseline() == memory.baseline()
    for ours, theirs in zip(prepared.val_dataloader(), memory.val_dataloader(), strict=True):
        torch.testing.assert_close(dict(ours), dict(theirs))


@pytest.mark.parametrize(
    "split",
    [TimeSplit("visits", 0.2, 0.1), TimeSplit(None), IndexSplit([3, 700]), None],
    ids=lambda it: type(it).__name__,
)
def test_a_split_that_draws_nothing_is_that_of_the_table_in_memory(split: Any, tmp_path: Path) -> None:
    source = written(plain_table(), tmp_path, "parquet")

    memory, prepared = quiet(source, split=split), quiet(source, split=split, prepared=tmp_path / "prepared")

    assert prepared.schema == memory.schema
    assert {name: part.rows.tolist() for name, part in prepared.parts.items()} == {
        name: part.rows.tolist() for name, part in memory.parts.items()
    }


def test_rows_are_drawn_for_parts_in_proportion_and_groups_stay_together(tmp_path: Path) -> None:
    frame = pd.DataFrame({"x": np.arange(6_000) % 97, "who": np.arange(6_000) // 3, "y": np.arange(6_000) % 4 == 0})
    frame = frame.astype({"y": "boolean"})
    frame.loc[[5, 10], "y"] = None
    frame.to_parquet(tmp_path / "a.parquet")
    settings: dict[str, Any] = {"missing_target": "drop", "calibration": 0.1}

    drawn = quiet(tmp_path / "a.parquet", "y", split=StratifiedSplit(0.2, 0.1), prepared=tmp_path / "one", **settings)
    grouped = quiet(
        tmp_path / "a.parquet", "y", split=GroupSplit("who"), prepared=tmp_path / "two", missing_target="drop"
    )

    sizes = {name: len(part.rows) / 5_998 for name, part in drawn.parts.items()}
    assert sizes == pytest.approx({"train": 0.63, "val": 0.2, "test": 0.1, "calibration": 0.07}, abs=0.02)
    assert float(drawn.parts["val"].tensors["target"][drawn.parts["val"].rows].float().mean()) == pytest.approx(
        0.25, abs=0.03
    )
    index = grouped.parts["train"].tensors["index"]
    people = {name: set((index[part.rows] // 3).tolist()) for name, part in grouped.parts.items()}
    assert not people["train"] & people["val"]
    assert 5 not in index.tolist()
    assert drawn.frame.loc[next(iter(drawn.frame.index)), "x"] == drawn.frame.index[0] % 97


def test_kinds_and_classes_are_those_of_the_training_rows(tmp_path: Path) -> None:
    frame = pd.DataFrame({"x": np.arange(ROWS) % 97 / 3, "same": 3, "y": [f"c{row % 2}" for row in range(ROWS)]})
    frame.loc[990, "same"] = 5
    rare = list(range(100, 200, 10))
    frame.loc[rare, "y"] = [f"rare{row}" for row in rare]
    source = written(frame, tmp_path, "parquet")

    numbered = quiet(source, "y", split=IndexSplit([990]), prepared=tmp_path / "one")
    apart = quiet(source, "y", calibration=0.5, prepared=tmp_path / "two")

    assert [it.name for it in numbered.schema.left_out] == ["same"]  # varies in the validation row alone
    assert len(apart.schema.classes) == 12


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_a_table_that_is_sorted_by_its_target_has_the_classes_of_all_rows(kind: str, tmp_path: Path) -> None:
    frame = plain_table().sort_values("paid", ignore_index=True)
    frame.loc[:20, "paid"] = None
    source = tmp_path / f"sorted.{kind}"
    frame.to_parquet(source) if kind == "parquet" else frame.to_csv(source, index=False)

    data = quiet(source, missing_target="drop", prepared=tmp_path / "prepared")

    assert data.schema.classes == ("no", "yes")
    assert [it.name for it in data.schema.continuous] == ["visits", "size", "price"]


def test_more_rows_than_the_sample_holds_have_exact_moments_and_edges_within_a_rank_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "BLOCK_ROWS", 8_192)
    monkeypatch.setattr(scan, "MAX_SAMPLE", 10_000)
    rows = 60_000
    draw = np.random.default_rng(0)
    number = np.sort(draw.lognormal(size=rows))  # sorted: a sample by position would not do
    frame = pd.DataFrame({"x": number, "whole": draw.integers(0, 500, rows), "late": draw.choice(["no", "yes"], rows)})
    frame["y"] = frame["x"] * 2 + draw.normal(size=rows)
    frame.loc[::50, "x"] = np.nan
    frame.to_parquet(tmp_path / "a.parquet")

    memory = quiet(tmp_path / "a.parquet", "y", split=None).schema
    prepared = quiet(tmp_path / "a.parquet", "y", split=None, prepared=tmp_path / "prepared").schema

    assert prepared.categorical == memory.categorical
    assert prepared.continuous[1] == memory.continuous[1]  # whole numbers are counted
    ours, theirs = prepared.continuous[0], memory.continuous[0]
    ranks = np.searchsorted(np.sort(frame["x"].dropna()), [ours.fill, theirs.fill]) / rows
    error = np.sqrt(np.log(2e6) / (2 * 5_000))  # the sample has 5,000 to 10,000 rows; more than that once in a million
    assert abs(np.subtract(*ranks)) < error
    assert (ours.mean, ours.std) == pytest.approx((theirs.mean, theirs.std), rel=2e-2)  # filled with the median
    filled = frame["x"].fillna(ours.fill)
    assert (ours.mean, ours.std) == pytest.approx((filled.mean(), filled.std(ddof=0)), rel=1e-9)
    for edge, other in zip(ours.bins[::8], theirs.bins[::8], strict=False):
        found = np.searchsorted(np.sort(filled), [edge * ours.std + ours.mean, other * theirs.std + theirs.mean]) / rows
        assert abs(np.subtract(*found)) < 0.1
    task: Any = prepared.task
    assert (task.mean[0], task.spread[0]) == pytest.approx((frame["y"].mean(), frame["y"].std(ddof=0)), rel=1e-6)


def test_a_second_run_uses_the_arrays_again_until_a_file_or_a_setting_changes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, folder = written(plain_table(), tmp_path, "parquet"), tmp_path / "prepared"

    def said(**settings: Any) -> str:
        TabularDataModule(source, "paid", prepared=folder, **settings)
        return capsys.readouterr().out

    assert "Preparing 'table.parquet'" in said()
    assert "1,000 rows prepared before" in said()
    assert "seed has changed" in said(seed=1)
    plain_table().iloc[1:].to_parquet(source)
    assert f"'{source}' has changed since" in said(seed=1)
    assert json.loads((folder / "prepared.json").read_text())["num_rows"] == ROWS - 1
    assert not [path for path in tmp_path.iterdir() if "partial" in path.name or "old" in path.name]


def test_what_a_killed_process_or_a_full_disk_leaves_is_never_half_a_table(tmp_path: Path) -> None:
    source, folder = written(plain_table(), tmp_path, "parquet"), tmp_path / "prepared"
    (tmp_path / ".prepared.partial").mkdir()
    (tmp_path / ".prepared.partial" / "continuous.npy").write_text("half")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, limits[1]))
    try:
        with pytest.raises(UnwritableFileError, match=r"'.*prepared' could not be written"):
            quiet(source, prepared=folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not folder.exists()

    assert quiet(source, prepared=folder).schema.target.num_rows == ROWS


@pytest.mark.parametrize(
    ("file", "size"), [("continuous.npy", 900), ("rows_val.npy", 0), ("sample.feather", 50), ("sample/target.npy", 90)]
)
def test_a_damaged_table_is_prepared_anew_and_said(
    file: str, size: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = pd.DataFrame({"x": np.arange(300) / 7, "paid": np.arange(300) % 2})
    folder = tmp_path / "prepared"
    quiet(source := written(frame, tmp_path, "parquet"), prepared=folder)
    whole = (folder / file).read_bytes()
    (folder / file).write_bytes(whole[:size])

    TabularDataModule(source, "paid", prepared=folder)

    assert "prepared' is damaged (" in capsys.readouterr().out
    assert (folder / file).read_bytes() == whole


@pytest.mark.parametrize("name", ["continuous", "rows_train"])
def test_an_array_that_is_cut_while_it_is_mapped_is_a_sentence_and_ends_no_process(tmp_path: Path, name: str) -> None:
    table = quiet(written(plain_table(), tmp_path, "parquet"), "paid", prepared=tmp_path / "made")
    num_rows = len(table.parts["train"].rows)

    def read() -> int:
        batches = iter(table.train_dataloader())
        next(batches)
        os.truncate(tmp_path / "made" / f"{name}.npy", 0)
        with pytest.raises(BadValueError, match=rf"{name}.npy' was cut short to 0 of [\d,]+ bytes while it was read"):
            [*batches, *table.train_dataloader()]
        return 0

    assert Forked(read).ended()[0] == 0
    again = quiet(tmp_path / "table.parquet", "paid", prepared=tmp_path / "made")
    assert sum(len(batch["index"]) for batch in again.train_dataloader()) == num_rows
    assert type(pickle.loads(pickle.dumps(again.parts["train"].tensors))) is dict


def test_a_changed_bit_in_the_sample_never_ends_the_process(tmp_path: Path) -> None:
    frame = pd.DataFrame({"x": np.arange(120) / 7, "job": ["a", "bc", "d"] * 40, "paid": np.arange(120) % 2})
    quiet(source := written(frame, tmp_path, "parquet"), prepared=(folder := tmp_path / "prepared"))
    whole = (folder / "sample.feather").read_bytes()
    draw = np.random.default_rng(0)

    def opened() -> None:
        for place in draw.integers(0, len(whole), 40).tolist():
            changed = bytearray(whole)
            changed[place] ^= 1 << int(draw.integers(8))
            (folder / "sample.feather").write_bytes(changed)
            quiet(source, prepared=folder)

    status, _, told = Forked(opened).ended(120)

    assert (status, told) == (0, "")


def test_a_file_that_changes_while_it_is_prepared_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, run = written(plain_table(), tmp_path, "parquet"), scan.Scan.run

    def run_late(table: scan.Scan) -> Any:
        schema = run(table)
        source.touch()
        return schema

    monkeypatch.setattr(scan.Scan, "run", run_late)
    with pytest.raises(BadValueError, match=r"'table.parquet' changed while it was prepared"):
        quiet(source, prepared=tmp_path / "prepared")
    assert not (tmp_path / "prepared").exists()


def test_groups_and_times_are_the_same_in_files_of_other_types(tmp_path: Path) -> None:
    rows = np.arange(600)
    frame = pd.DataFrame({"group": rows % 40 - 20, "when": pd.date_range("2024", periods=600, freq="h"), "x": rows / 7})
    frame = frame.assign(day=frame["when"].dt.normalize(), paid=rows % 2)
    other = {"group": "float64", "when": "datetime64[ms]", "day": "datetime64[ns]"}
    for number, types in enumerate([{"group": "int32"}, {"group": "Int64"}, other]):
        part = frame.iloc[number * 200 : number * 200 + 200].astype(types)
        pa.parquet.write_table(pa.Table.from_pandas(part), tmp_path / f"{number}.parquet", coerce_timestamps=None)
    source = str(tmp_path / "*.parquet")

    later = quiet(source, prepared=tmp_path / "t", split=TimeSplit("when", 0.25))
    assert later.parts["val"].rows.tolist() == [*range(450, 600)]
    for column in ("group", "day"):
        data = quiet(source, prepared=tmp_path / column, split=GroupSplit(column, 0.3))
        groups = [set(frame[column].iloc[data.parts[part].rows.numpy()]) for part in ("train", "val")]
        assert all(groups)
        assert not groups[0] & groups[1]


def test_a_word_that_is_a_value_in_some_blocks_is_one_in_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "_TEXT_BYTES", 2_000)
    pets = ["cat", "dog", "None"] * 200 + ["None"] * 400  # in the last blocks nothing else
    source = written(pd.DataFrame({"pet": pets, "x": range(1_000), "paid": [0, 1] * 500}), tmp_path, "csv")

    data = quiet(source, prepared=tmp_path / "p", split=TimeSplit(None, 0.2), categorical=["pet"])

    assert [it.vocabulary for it in data.schema.categorical if it.name == "pet"] == [("None", "cat", "dog")]
    codes = data.parts["val"].tensors["categorical"][data.parts["val"].rows.long()]
    assert (codes == 1).all()


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize("odd", [False, True])
def test_a_late_row_says_that_numbers_are_no_dates_and_text_of_digits_numbers(
    kind: str, odd: bool, tmp_path: Path
) -> None:
    rows = np.arange(ROWS)
    frame = pd.DataFrame({"day": pd.date_range("2020-01-01", periods=ROWS).strftime("%Y%m%d").astype(int)})
    frame["created_at"], frame["zip"] = 1_600_000_000 + 90_000 * rows, [f"{10_000 + 7 * row % 301}" for row in rows]
    frame["age"], frame["key"] = (20 + rows % 70).astype(str), [f"{10**6 + row}" for row in rows]
    frame["paid"] = np.where(rows % 3 > 0, "yes", "no")
    if odd:
        frame.loc[ROWS - 2, ["day", "created_at", "age", "key"]] = (20_190_199, 7, "?", "?")
    source = written(frame, tmp_path, kind)

    prepared = quiet(source, prepared=tmp_path / "prepared", split=None).schema

    in_memory = quiet(source, split=None).schema
    assert prepared.dates == in_memory.dates
    assert [it.name for it in prepared.dates] == ([] if odd else ["day", "created_at"])
    assert {it.name for it in prepared.continuous} == {it.name for it in in_memory.continuous}
    assert prepared.categorical == in_memory.categorical
    assert prepared.left_out == in_memory.left_out
    assert ("age" in {it.name for it in prepared.continuous}) == (odd or kind == "csv")


def test_the_cache_needs_a_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = written(pd.DataFrame({"x": [1]}), tmp_path, "parquet")
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_folder(source).parent == tmp_path / ".cache" / "tabvision"

    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # as where HOME is unset and the user is unknown
    with pytest.raises(BadValueError, match=r"there is no home folder .*--prepared"):
        default_folder(source)


def test_a_file_that_is_cut_while_it_is_read_is_a_sentence(tmp_path: Path) -> None:
    file = tmp_path / "a.feather"
    pd.DataFrame({"x": np.random.default_rng(0).random(100_000)}).to_feather(file, chunksize=10_000)
    rows = blocks.TableBlocks(file, {}).read()
    next(rows)
    os.truncate(file, file.stat().st_size // 2)

    with pytest.raises(BadValueError, match=r"a\.feather: it cannot be read as \.feather"):
        list(rows)


def test_draws_follow_classes_or_a_column(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {"x": np.arange(4_000) % 50, "y": np.arange(4_000) % 10 == 0, "often": np.arange(4_000) // 2_000}
    )
    frame.to_parquet(tmp_path / "a.parquet")

    balanced = quiet(tmp_path / "a.parquet", "y", split=None, sampler="balanced", prepared=tmp_path / "one")
    by_column = quiet(tmp_path / "a.parquet", "y", split=None, sampler="often", prepared=tmp_path / "two")

    assert torch.cat([batch["target"] for batch in balanced.train_dataloader()]).float().mean() == pytest.approx(
        0.5, abs=1e-3
    )
    drawn = torch.cat([batch["index"] for batch in by_column.train_dataloader()])
    assert len(drawn) == 4_000
    assert int(drawn.min()) >= 2_000


def test_test_and_predict_sources_and_files_of_validation_rows_are_prepared_beside(tmp_path: Path) -> None:
    frame = plain_table()
    source = written(frame, tmp_path, "parquet")
    frame.iloc[:90].to_parquet(tmp_path / "others.parquet")
    frame.iloc[:80].drop(columns="paid").to_parquet(tmp_path / "new.parquet")

    data = quiet(
        source,
        split=SourceSplit(tmp_path / "others.parquet"),
        test=tmp_path / "others.parquet",
        predict=tmp_path / "new.parquet",
        prepared=tmp_path / "prepared",
    )

    assert {name: len(part.rows) for name, part in data.parts.items()} == {
        "train": ROWS,
        "val": 90,
        "test": 90,
        "predict": 80,
    }
    assert "target" not in next(iter(data.predict_dataloader()))
    tested, validated = (next(iter(data.loader(part)))["continuous"] for part in ("test", "val"))
    torch.testing.assert_close(tested, validated)
    assert torch.equal(data.targets_of("test"), data.targets_of("val"))
    tensors, rows = data.sampled().part("test")
    assert sorted(tensors["index"][rows].tolist()) == [*range(90)]  # in its own source


@pytest.mark.filterwarnings("ignore:The dirpath has changed")  # on purpose
def test_a_fit_that_is_resumed_inside_an_epoch_ends_as_the_undisturbed_one(tmp_path: Path) -> None:
    source = written(plain_table(), tmp_path, "parquet")

    def fit(name: str, **resume: Any) -> dict[str, torch.Tensor]:
        torch.manual_seed(0)
        data = quiet(source, batch_size=100, prepared=tmp_path / "prepared")
        module = TabularModule(data.schema, dropout=0.1)
        saving = ModelCheckpoint(tmp_path / name, filename="{step}", every_n_train_steps=5, save_top_k=-1)
        trainer = quiet_trainer(max_epochs=2, callbacks=[saving, ExactResume()], enable_checkpointing=True)
        trainer.fit(module, data, **resume)
        return module.state_dict()

    whole = fit("whole")
    resumed = fit("resumed", ckpt_path=tmp_path / "whole" / "step=5.ckpt", weights_only=True)

    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())


def test_what_cannot_be_prepared_is_a_sentence(tmp_path: Path) -> None:
    source = written(plain_table(), tmp_path, "parquet")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("dear diary")
    wrong = plain_table()
    wrong.loc[901, "price"] = "not 1.5"
    wrong.to_parquet(tmp_path / "wrong.parquet")

    with pytest.raises(BadValueError, match=r"'.*mine' holds something other than a prepared table"):
        quiet(source, prepared=tmp_path / "mine")
    (tmp_path / "damaged.parquet").write_text("PAR1")
    with pytest.raises(BadValueError, match=r"damaged.parquet: it cannot be read as .parquet"):
        quiet(tmp_path / "damaged.parquet", prepared="auto")
    with pytest.raises(BadValueError, match="validation and test share 1 row: 2"):
        quiet(source, split=IndexSplit([1, 2], [2]), prepared=tmp_path / "prepared")
    with pytest.raises(BadTypeError, match="a prepared table is read from files, got DataFrame"):
        quiet(plain_table(), prepared=tmp_path / "prepared")
    with pytest.raises(BadValueError, match="cannot be corrected"):
        quiet(source, prepared=tmp_path / "prepared", corrections=source)
    with pytest.raises(BadValueError, match=r"wrong.parquet: .*'not 1.5' \(row 901\)"):
        quiet(tmp_path / "wrong.parquet", prepared=tmp_path / "prepared", continuous=["price"])
