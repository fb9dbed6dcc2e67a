"""TabularDataModule: tables of every sort become batches."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet
import pytest
import pytorch_lightning as pl
import torch
from sklearn import metrics
from sklearn.dummy import DummyClassifier, DummyRegressor

from tabvision.data import ColumnSplit, IndexSplit, SourceSplit, TabularDataModule, TimeSplit
from tabvision.errors import BadValueError, TabvisionError
from tabvision.modules import TabularModule
from tabvision.schema import Schema
from tabvision.tasks import Binary, Regression
from tests.made.pairs import PREDICTED, make_frame, tabular_data
from tests.made.tables import quiet, table


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("rows.csv", lambda frame, path: frame.to_csv(path, index=False)),
        ("rows.parquet", lambda frame, path: frame.to_parquet(path)),
        ("rows.feather", lambda frame, path: frame.to_feather(path)),
    ],
)
def test_a_file_gives_the_batches_of_its_frame(name: str, write: Any, tmp_path: Path) -> None:
    frame = table()
    write(frame, tmp_path / name)

    data = quiet(tmp_path / name)

    assert data.schema == quiet(frame).schema
    for ours, theirs in zip(data.train_dataloader(), quiet(frame).train_dataloader(), strict=True):
        torch.testing.assert_close(dict(ours), dict(theirs))


@pytest.mark.parametrize("name", ["rows.csv", "rows.parquet", "rows.feather", "rows.json", "rows.jsonl"])
@pytest.mark.parametrize(("num_classes", "task"), [(2, "binary"), (3, "multiclass")])
def test_integers_with_a_gap_are_what_they_are_without_in_every_format(
    name: str, num_classes: int, task: str, tmp_path: Path
) -> None:
    rows = np.arange(180)
    full = {"few": rows % 7, "many": rows * 3 % 50, "id": 900719925474099300 + rows % 60, "y": rows % num_classes}
    arrow = pa.table({column: [None, *values[1:-1].tolist(), None] for column, values in full.items()})
    write: dict[str, Callable[[Path], Any]] = {  # as other programs do, without pandas' own notes on its types
        "rows.csv": lambda path: pa.csv.write_csv(arrow, path),
        "rows.parquet": lambda path: pa.parquet.write_table(arrow, path),
        "rows.feather": lambda path: pa.feather.write_feather(arrow, path),
        "rows.json": lambda path: path.write_text(json.dumps(arrow.to_pylist())),
        "rows.jsonl": lambda path: path.write_text("\n".join(map(json.dumps, arrow.to_pylist()))),
    }
    write[name](tmp_path / name)

    schema = quiet(tmp_path / name, target="y", missing_target="drop", split=None).schema
    expected = quiet(pd.DataFrame(full), target="y", split=None).schema

    assert (schema.task.name, schema.classes) == (task, tuple(range(num_classes)))
    assert schema.categorical == expected.categorical
    assert [column.name for column in schema.continuous] == [column.name for column in expected.continuous]


def test_dates_become_parts() -> None:
    frame = table(sold=pd.date_range("2020-01-01", periods=40, freq="9D"))

    data = quiet(frame, dates=["sold"])

    assert [date.name for date in data.schema.dates] == ["sold"]
    assert "sold_month" in [column.name for column in data.schema.categorical]
    assert "sold_elapsed" in [column.name for column in data.schema.continuous]
    assert data.show_batch().columns.tolist()[0] == "paid"
    assert "sold" in data.show_batch().columns


def test_columns_can_be_forced_and_left_out() -> None:
    frame = table(grade=np.arange(40) % 5, code=np.arange(40) % 3)

    data = quiet(frame, continuous=["grade"], categorical=["code"], ignore=["job"])

    assert [column.name for column in data.schema.continuous] == ["x", "grade"]
    assert [column.name for column in data.schema.categorical] == ["code"]
    assert "job" in [column.name for column in data.schema.left_out]


@pytest.mark.parametrize(
    ("columns", "shapes"), [(["x"], ((8, 1), (8, 0))), (["job"], ((8, 0), (8, 1)))], ids=["numbers", "categories"]
)
def test_a_table_of_numbers_or_categories_alone_trains(columns: list[str], shapes: Any, quick_trainer: Any) -> None:
    data = quiet(table()[[*columns, "paid"]])
    batch = next(iter(data.train_dataloader()))

    quick_trainer().fit(TabularModule(data.schema, widths=[4]), data)

    assert (batch["continuous"].shape, batch["categorical"].shape) == shapes


def test_a_constant_column_and_an_identifier_are_left_out_with_the_reason() -> None:
    frame = table(same=1, id=[f"row {number}" for number in range(40)])

    left_out = {column.name: column.reason for column in quiet(frame).schema.left_out}

    assert left_out.keys() == {"same", "id"}
    assert all(left_out.values())


def test_weights_come_with_the_batch_and_are_no_feature() -> None:
    frame = table(weight=np.arange(40) / 10)

    data = quiet(frame, weight="weight")

    assert "weight" not in data.schema.inputs
    for batch in data.train_dataloader():
        assert batch["weight"].tolist() == pytest.approx(frame["weight"].to_numpy()[batch["index"]].tolist())


def test_the_column_of_weights_may_be_ignored_as_well() -> None:
    assert quiet(table(weight=1.0), weight="weight", ignore=["weight"]).schema.inputs == ("x", "job")


def test_columns_that_serve_weights_and_split_are_left_out_with_what_they_do() -> None:
    frame = table(weight=1.0).assign(part=["train"] * 30 + ["valid"] * 10, note="same")

    data = quiet(frame, weight="weight", split=ColumnSplit("part"))

    reasons = {column.name: column.reason for column in data.schema.left_out}
    assert reasons == {"weight": "weighs the rows", "part": "decides the split", "note": "constant"}


def test_rows_without_a_target_need_no_weight() -> None:
    frame = table(weight=1.0)
    frame.loc[3, ["paid", "weight"]] = None

    assert quiet(frame, weight="weight", missing_target="drop").weight == "weight"


def test_rows_without_a_target_are_left_out_when_asked(capsys: pytest.CaptureFixture[str]) -> None:
    frame = table()
    frame.loc[[2, 5], "paid"] = None

    data = quiet(frame, missing_target="drop", verbose=True)

    rows = torch.cat([part.tensors["index"][part.rows] for part in data.parts.values()])
    assert sorted(rows.tolist()) == [row for row in range(40) if row not in (2, 5)]
    assert "2 rows without a target left out." in capsys.readouterr().out


def test_a_split_by_row_numbers_means_those_of_the_source_also_when_rows_are_left_out() -> None:
    frame = table()
    frame.loc[[2, 5], "paid"] = None

    data = quiet(frame, split=IndexSplit([4, 5, 6, 7]), missing_target="drop")

    loader: Any = data.val_dataloader()
    assert next(iter(loader))["index"].tolist() == [4, 6, 7]


def test_validation_rows_may_come_from_a_source_of_their_own() -> None:
    frame, other = table(40), table(12)

    data = quiet(frame, split=SourceSplit(other))

    assert data.parts["train"].rows.tolist() == list(range(40))
    assert data.parts["val"].rows.tolist() == list(range(40, 52))
    assert data.schema == quiet(frame, split=None).schema


def test_a_very_skewed_target_from_zero_up_is_fitted_by_relative_errors_unless_a_task_is_stated(
    capsys: pytest.CaptureFixture[str],
) -> None:
    costs = np.exp(np.random.default_rng(0).normal(size=200) * 3)
    errors = [
        TabularDataModule(table(200, cost=values), "cost", task=task).schema.task.to_dict()["error"]
        for values, task in ((costs, None), (costs, "regression"), (-costs, None), (costs**0.1, None))
    ]

    assert errors == ["tweedie", "mse", "mse", "mse"]
    told = capsys.readouterr().out
    assert told.count("target 'cost' is skewed") == 1
    assert told.count("regression, 1 number, errors relative to the prediction\n") == 1  # the schema


def test_a_row_range_regression_keeps_its_range() -> None:
    frame = table(stars=np.linspace(1, 5, 40))

    assert quiet(frame, "stars", task=Regression(y_range=(0, 6))).schema.task.to_dict()["y_range"] == [0.0, 6.0]


@pytest.mark.parametrize("task", ["binary", Binary(), None])
def test_a_task_may_be_named_given_or_inferred(task: Any) -> None:
    assert quiet(table(), task=task).schema.task == Binary()


# What is printed and shown.


def test_the_summary_is_printed_once(capsys: pytest.CaptureFixture[str]) -> None:
    data = quiet(table(), verbose=True)

    printed = capsys.readouterr().out
    assert printed.count(data.summary()) == 1
    assert printed.count("target 'paid': binary (2 values: no, yes). Override with task='multiclass' (--task).") == 1
    assert "rows: train 32, val 8" in printed
    data.train_dataloader(), data.val_dataloader(), data.show_batch(), data.baseline()
    assert capsys.readouterr().out == ""


def test_nothing_is_printed_when_not_asked(capsys: pytest.CaptureFixture[str]) -> None:
    frame = table(id=[f"row {number}" for number in range(40)], same=1)
    frame.loc[0, "paid"] = None

    quiet(frame, missing_target="drop", test=table(), predict=table()).baseline()

    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_show_batch_shows_raw_training_rows_target_first() -> None:
    frame = table()
    data = quiet(frame)

    shown = data.show_batch(3)

    assert shown.columns.tolist() == ["paid", "x", "job"]
    assert len(shown) == 3
    assert set(shown.index) <= set(data.parts["train"].rows.tolist())
    pd.testing.assert_frame_equal(shown, frame.loc[shown.index, shown.columns])


# The baseline.


@pytest.mark.parametrize("target", ["binary", "multiclass"])
def test_the_baseline_of_classes_is_the_dummy_classifiers(target: str) -> None:
    frame = make_frame(90)
    frame.loc[60:, ["paid", "kind"]] = ["yes", "high"]  # one class in the majority
    data = tabular_data(target, frame)
    column = data.schema.target.columns[0]
    train, val = (frame[column].to_numpy()[data.parts[part].rows] for part in ("train", "val"))

    dummy = DummyClassifier(strategy="most_frequent").fit(np.zeros((len(train), 1)), train)

    assert data.baseline()["val/accuracy"] == pytest.approx(dummy.score(np.zeros((len(val), 1)), val))
    if target == "binary":
        assert data.baseline()["val/auroc"] == 0.5


def test_the_baseline_of_numbers_is_the_dummy_regressors() -> None:
    frame = make_frame(90)
    data = tabular_data("regression_several", frame)
    train, val = (frame[["pay", "cost"]].to_numpy()[data.parts[part].rows] for part in ("train", "val"))

    answers = DummyRegressor().fit(np.zeros((len(train), 1)), train).predict(np.zeros((len(val), 1)))

    assert data.baseline() == pytest.approx(
        {
            "val/mae": metrics.mean_absolute_error(val, answers),
            "val/rmse": metrics.root_mean_squared_error(val, answers),
            "val/r2": metrics.r2_score(val, answers),
        },
        rel=1e-4,
    )


@pytest.mark.parametrize("target", PREDICTED)
def test_the_baseline_has_the_metrics_of_validation(target: str, quick_trainer: Any) -> None:
    data = tabular_data(target)

    (validated,) = quick_trainer().validate(TabularModule(data.schema, widths=[4]), data, verbose=False)

    assert data.baseline().keys() == validated.keys() - {"val/loss"}


def test_fewer_rows_than_a_batch_make_one() -> None:
    data = quiet(table(10), batch_size=1024)

    assert [len(batch["index"]) for batch in data.train_dataloader()] == [8]


def test_rows_of_the_trainer_and_of_the_source_are_the_same(quick_trainer: Any) -> None:
    data = quiet(table())
    seen: list[int] = []

    class Rows(pl.Callback):
        def on_train_batch_start(self, *args: Any) -> None:
            seen.extend(args[2]["index"].tolist())

    quick_trainer(callbacks=[Rows()]).fit(TabularModule(data.schema, widths=[4]), data)

    assert sorted(seen) == data.parts["train"].rows.tolist()


PETS = "pet,age,country\n" + "".join(
    f"{('None', 'dog')[row % 2]},{('NA', row / 7)[row % 3 > 0]},{('NA', 'IT', 'FR')[row % 3]}\n" for row in range(60)
)


def test_a_class_called_none_is_a_class(tmp_path: Path) -> None:
    (tmp_path / "pets.csv").write_text(PETS)

    data = quiet(tmp_path / "pets.csv", "pet")

    assert data.schema.classes == ("None", "dog")
    assert sum(len(part.rows) for part in data.parts.values()) == 60


def test_words_that_are_missing_stand_in_the_schema_and_further_files_are_read_so(tmp_path: Path) -> None:
    (tmp_path / "pets.csv").write_text(PETS)
    (tmp_path / "new.csv").write_text("pet,age,country\nNone,?,NA\n?,1.5,?\n")
    read = {"na_values": ["?"], "ignore": ["age"]}

    data = quiet(tmp_path / "pets.csv", "pet", test=tmp_path / "new.csv", missing_target="drop", **read)

    schema = Schema.from_dict(data.schema.to_dict())
    assert schema.na_values == ("?",)
    (country,) = schema.categorical
    assert country.vocabulary == ("FR", "IT", "NA")
    assert data.parts["test"].tensors["categorical"].tolist() == [[3]]
    again = quiet(tmp_path / "new.csv", "pet", schema=schema, split=None, missing_target="drop")
    assert again.parts["train"].tensors["target"].tolist() == [0]


def test_words_that_are_missing_may_be_none_at_all(tmp_path: Path) -> None:
    (tmp_path / "pets.csv").write_text(PETS)

    data = quiet(tmp_path / "pets.csv", "country", na_values=[], continuous=[], ignore=["age"])

    assert data.schema.classes == ("FR", "IT", "NA")
    assert "na_values" in data.schema.to_dict()


def test_an_empty_cell_of_joined_labels_means_no_label(tmp_path: Path) -> None:
    rows = "".join(f"{tags},{row}.5\n" for row, tags in enumerate(["a b", "", "b", "a"] * 8))
    (tmp_path / "tags.csv").write_text(f"tags,x\n{rows}")
    (tmp_path / "test.csv").write_text("tags,x\n,1\n1,2\nb,3\n")

    data = quiet(tmp_path / "tags.csv", "tags", separator=" ", split=None)
    again = quiet(tmp_path / "tags.csv", "tags", schema=data.schema, split=None)

    for each in (data, again):
        assert each.parts["train"].tensors["target"][:4].tolist() == [[1, 1], [0, 0], [0, 1], [1, 0]]
    (tmp_path / "test.csv").write_text("tags,x\n,1\n")
    tested = quiet(tmp_path / "tags.csv", "tags", separator=" ", split=None, test=tmp_path / "test.csv")
    assert tested.parts["test"].tensors["target"].tolist() == [[0, 0]]


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".feather", ".json", ".jsonl"])
def test_null_in_joined_labels_of_a_file_means_no_label_whatever_its_format(suffix: str, tmp_path: Path) -> None:
    frame = pd.DataFrame({"tags": ["a b", None, "b", "a"] * 8, "x": np.arange(32) / 3})
    path = written(frame, tmp_path / f"tags{suffix}")

    data = quiet(path, "tags", separator=" ", split=None, test=path)
    again = quiet(path, "tags", schema=data.schema, split=None, test=path)

    for each in (data, again):
        for part in ("train", "test"):
            assert each.parts[part].tensors["target"][:4].tolist() == [[1, 1], [0, 0], [0, 1], [1, 0]]
    with pytest.raises(ValueError, match=r"the target 'tags' is missing in 8 of 32 rows.*fillna"):
        quiet(frame, "tags", separator=" ")


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_null_in_joined_labels_of_a_separate_file_alone_means_no_label(suffix: str, tmp_path: Path) -> None:
    frame = pd.DataFrame({"tags": ["a b", "b", "a"] * 8, "x": np.arange(24) / 3})
    held_out = written(pd.DataFrame({"tags": ["b", None], "x": [1.0, 2.0]}), tmp_path / f"held_out{suffix}")

    data = quiet(frame, "tags", separator=" ", split=SourceSplit(validation=held_out))

    assert data.targets_of("val").tolist() == [[0, 1], [0, 0]]


def written(frame: pd.DataFrame, path: Path) -> Path:
    """A file of the frame, in the format of its suffix."""
    match path.suffix:
        case ".csv":
            frame.to_csv(path, index=False)
        case ".parquet":
            frame.astype({"tags": "category"}).to_parquet(path)
        case ".feather":
            frame.to_feather(path)
        case _:
            frame.to_json(path, orient="records", lines=path.suffix == ".jsonl")
    return path


def test_a_file_without_a_header_is_read_with_the_names_that_are_given(tmp_path: Path) -> None:
    table(30).to_csv(tmp_path / "rows.dat", sep=" ", header=False, index=False)

    data = quiet(tmp_path / "rows.dat", sep=" ", names=["x", "job", "paid"])

    assert set(data.schema.inputs) == {"x", "job"}


def test_validation_rows_of_a_split_are_read_as_the_training_rows_are(tmp_path: Path) -> None:
    (tmp_path / "valid.csv").write_text("x,code,job\n007,?,a\n2,1.5,b\n")
    frame = pd.DataFrame({"x": [1, 2] * 8, "code": [0.5, 1.5] * 8, "job": ["a", "b"] * 8})
    frame.to_csv(tmp_path / "train.csv", index=False)

    data = quiet(tmp_path / "train.csv", "job", split=SourceSplit(tmp_path / "valid.csv"), na_values=["?"])

    assert data.frame["x"].tolist()[-2:] == [7, 2]
    assert data.frame["code"].isna().tolist()[-2:] == [True, False]


def test_a_frame_of_another_library_is_a_source() -> None:
    data = quiet(pa.table(table()), test=pa.table(table()))

    assert data.schema == quiet(table()).schema
    assert len(data.parts["test"].rows) == 40


def drawn(data: TabularDataModule) -> pd.DataFrame:
    """The rows of one epoch."""
    return data.frame.iloc[torch.cat([batch["index"] for batch in data.train_dataloader()]).numpy()]


def test_a_balanced_order_draws_each_class_equally_often_and_validates_on_the_rows_as_they_are() -> None:
    frame = table(200, paid=np.where(np.arange(200) % 10 == 0, "yes", "no"))
    data = quiet(frame, split=0.2, sampler="balanced")

    counts = drawn(data)["paid"].value_counts().to_dict()

    assert counts == {"yes": pytest.approx(80, abs=1), "no": pytest.approx(80, abs=1)}
    assert len(data.parts["val"].rows) == 40
    assert vars(data.loader("val").batch_sampler.sampler)["chances"] is None


def test_a_column_says_how_often_a_row_is_drawn_and_is_no_feature() -> None:
    data = quiet(table(100, often=np.arange(100) % 4), split=None, sampler="often")

    counts = drawn(data)["often"].value_counts()

    assert counts.sort_index().tolist() == pytest.approx([100 / 6, 200 / 6, 300 / 6], abs=1)
    assert 0 not in counts.index
    assert "often" not in data.schema.inputs


@pytest.mark.parametrize(
    ("sampler", "target", "said"),
    [
        ("balanced", "x", "sampler='balanced' needs one class per row, and the target is regression"),
        ("none", "paid", "sampler='none' is 0 in each of the 40 training rows"),
        ("below", "paid", "column 'below' must hold numbers of at least 0"),
        ("absent", "paid", "the frame lacks 1 column: 'absent'"),
        ("paid", "paid", "column 'paid' says how often a row is drawn, and cannot be the target as well"),
    ],
)
def test_a_sampler_that_cannot_draw_is_refused(sampler: str, target: str, said: str) -> None:
    with pytest.raises(TabvisionError, match=said):
        quiet(table(none=0, below=-1), target, split=None, sampler=sampler)


def test_test_rows_of_a_split_and_of_a_file_contradict_each_other() -> None:
    with pytest.raises(BadValueError, match=r"the split already holds out test rows, and test= names others"):
        quiet(table(40), split=(0.2, 0.1), test=table(12))


def test_the_years_of_a_split_by_time_are_numbers_unless_they_are_named(subtests: pytest.Subtests) -> None:
    frame = pd.DataFrame({"year": [2020, 2021, 2022, 2023] * 10, "x": range(40), "y": [float(n) for n in range(40)]})
    cases: dict[str, tuple[dict[str, Any], str]] = {
        "by time": ({"split": TimeSplit("year", 0.25)}, "continuous"),
        "at random": ({"split": 0.25}, "categorical"),
        "named": ({"split": TimeSplit("year", 0.25), "categorical": ["year"]}, "categorical"),
    }
    for name, (settings, kind) in cases.items():
        with subtests.test(name):
            data = TabularDataModule(frame, "y", verbose=False, **settings)
            assert next(use[1] for use in data.schema.column_uses() if use[0] == "year") == kind
