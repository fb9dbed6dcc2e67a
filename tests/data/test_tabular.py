"""TabularDataModule: tables of every sort become batches, and bad ones a sentence before anything is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from sklearn import metrics
from sklearn.dummy import DummyClassifier, DummyRegressor

from tabvision.data import IndexSplit, SourceSplit, TabularDataModule
from tabvision.errors import BadTypeError, BadValueError, MissingColumnsError, MissingFileError, UnknownNameError
from tabvision.modules import TabularModule
from tabvision.tasks import Binary, Regression
from tests.contracts.cases import PREDICTED, make_frame, tabular_data

CAFE = "caf\xe9"


def table(rows: int = 40, **columns: Any) -> pd.DataFrame:
    draw = np.random.default_rng(0)
    frame = pd.DataFrame({"x": draw.normal(size=rows), "job": draw.choice(["a", "b", "c"], rows)})
    frame["paid"] = np.where(np.arange(rows) % 2 == 0, "no", "yes")
    return frame.assign(**columns)


def quiet(source: Any, target: Any = "paid", **settings: Any) -> TabularDataModule:
    return TabularDataModule(source, target, **({"batch_size": 8, "verbose": False} | settings))


# What becomes of a table.


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


def test_rows_without_a_target_need_no_weight() -> None:
    frame = table(weight=1.0)
    frame.loc[3, ["paid", "weight"]] = None

    assert quiet(frame, weight="weight", missing_target="drop").weight == "weight"


def test_rows_without_a_target_are_left_out_when_asked(capsys: pytest.CaptureFixture[str]) -> None:
    frame = table()
    frame.loc[[2, 5], "paid"] = None

    data = quiet(frame, missing_target="drop", verbose=True)

    rows = torch.cat([part.rows for part in data.parts.values()])
    assert sorted(rows.tolist()) == [row for row in range(40) if row not in (2, 5)]
    assert "2 rows without a target left out." in capsys.readouterr().out


def test_a_split_by_row_numbers_means_those_of_the_source_also_when_rows_are_left_out() -> None:
    frame = table()
    frame.loc[[2, 5], "paid"] = None

    data = quiet(frame, split=IndexSplit([4, 5, 6, 7]), missing_target="drop")

    assert data.parts["val"].rows.tolist() == [4, 6, 7]


def test_validation_rows_may_come_from_a_source_of_their_own() -> None:
    frame, other = table(40), table(12)

    data = quiet(frame, split=SourceSplit(other))

    assert data.parts["train"].rows.tolist() == list(range(40))
    assert data.parts["val"].rows.tolist() == list(range(40, 52))
    assert data.schema == quiet(frame, split=None).schema


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
    assert printed.count("target 'paid': binary (2 values: no, yes). Override with task='multiclass'.") == 1
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


# Bad tables, each a sentence.


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
        ("rows.txt.exe", b"x", "no suffix that names a table format"),
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


@pytest.mark.parametrize(
    ("target", "error", "message"),
    [
        ("payed", MissingColumnsError, r"lacks 1 column: 'payed' \(did you mean 'paid'\?\)"),
        (["paid", "gone"], MissingColumnsError, "lacks 1 column: 'gone'"),
        ([], BadValueError, "no target column is named"),
        (["x", "x"], BadValueError, "a target column is named twice"),
        (None, BadTypeError, "target must be a column name or a list of them, got None"),
        (3, BadTypeError, "target must be a column name or a list of them, got 3"),
    ],
)
def test_a_target_that_is_not_there_is_refused(target: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"TabularDataModule: .*{message}"):
        quiet(table(), target)


def test_a_target_with_gaps_is_counted_and_says_what_to_do() -> None:
    frame = table()
    frame.loc[[1, 2, 3], "paid"] = None

    with pytest.raises(
        BadValueError, match=r"TabularDataModule: the target 'paid' is missing in 3 of 40 rows.*\"drop\""
    ):
        quiet(frame)


@pytest.mark.parametrize("values", ["yes", 1.0, None])
def test_a_target_of_one_value_is_refused(values: Any) -> None:
    with pytest.raises(BadValueError, match=r"TabularDataModule: .*'paid'.*(one value|is missing in)"):
        quiet(table(paid=values))


@pytest.mark.parametrize("row", [0, 3, 11])
def test_infinities_are_refused_with_their_row_in_the_source(row: int) -> None:
    frame = table()
    frame.loc[row, "x"] = np.inf

    with pytest.raises(BadValueError, match=rf"TabularDataModule: column 'x' must hold finite numbers.* \(row {row}\)"):
        quiet(frame)


def test_column_names_that_stand_twice_are_refused() -> None:
    frame = table()
    frame.columns = pd.Index(["x", "x", "paid"])

    with pytest.raises(BadValueError, match="TabularDataModule: 1 column name stands more than once: 'x'"):
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


def test_fewer_rows_than_a_batch_make_one() -> None:
    data = quiet(table(10), batch_size=1024)

    assert [len(batch["index"]) for batch in data.train_dataloader()] == [8]


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"split": 1.5}, BadValueError, r"share must lie in \(0, 1\), got 1.5"),
        ({"split": 0}, BadValueError, r"share must lie in \(0, 1\), got 0"),
        ({"split": "random"}, BadTypeError, "split must be a share"),
        ({"task": "classification"}, UnknownNameError, "no task named 'classification'"),
        (
            {"missing_target": "ignore"},
            UnknownNameError,
            "TabularDataModule: no missing_target named 'ignore'. Choices",
        ),
        ({"weight": "wieght"}, MissingColumnsError, "TabularDataModule: .*lacks 1 column: 'wieght'"),
        ({"weight": "job"}, BadValueError, "weights in 'job' must be numbers from 0, but 40 rows have none such"),
        ({"continuous": ["y"]}, MissingColumnsError, "lacks 1 column: 'y'"),
        ({"test": table().drop(columns="paid")}, MissingColumnsError, "TabularDataModule: .*lacks 1 column: 'paid'"),
        ({"test": table().drop(columns="x")}, MissingColumnsError, "TabularDataModule: .*lacks 1 column: 'x'"),
        ({"predict": table().drop(columns="x")}, MissingColumnsError, "TabularDataModule: .*lacks 1 column: 'x'"),
        ({"test": table(paid="perhaps")}, BadValueError, "holds 1 class that no training row has: 'perhaps'"),
        ({"task": "regression"}, BadTypeError, "Regression needs numbers"),
    ],
)
def test_a_wrong_setting_is_a_sentence(settings: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        quiet(table(), **settings)


@pytest.mark.parametrize("weight", [-1.0, np.nan, np.inf])
def test_a_weight_that_is_no_weight_is_refused_and_its_row_named(weight: float) -> None:
    frame = table(weight=1.0)
    frame.loc[7, "weight"] = weight

    with pytest.raises(BadValueError, match="but 1 row has none such, first row 7"):
        quiet(frame, weight="weight")


def test_weights_that_are_all_nought_are_refused() -> None:
    with pytest.raises(BadValueError, match="TabularDataModule: the weights of all 32 train rows are 0"):
        quiet(table(weight=0.0), weight="weight")


def test_a_schema_of_another_target_is_refused() -> None:
    schema = quiet(table()).schema

    with pytest.raises(
        BadValueError, match=r"TabularDataModule: the schema predicts 'paid', not 'x'. Pass target='paid'"
    ):
        quiet(table(), "x", schema=schema)


def test_rows_of_the_trainer_and_of_the_source_are_the_same(quick_trainer: Any) -> None:
    data = quiet(table())
    seen: list[int] = []

    class Rows(pl.Callback):
        def on_train_batch_start(self, *args: Any) -> None:
            seen.extend(args[2]["index"].tolist())

    quick_trainer(callbacks=[Rows()]).fit(TabularModule(data.schema, widths=[4]), data)

    assert sorted(seen) == data.parts["train"].rows.tolist()
