"""What every datamodule of prepared tensors promises: batches by contract, the same for the same seed, rows by number."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor

from tabvision import data as data_package
from tabvision.data import TabularDataModule, base
from tabvision.data.base import Part, TensorDataModule
from tabvision.data.loaders import TensorLoader
from tabvision.errors import BadTypeError, BadValueError
from tests.contracts.cases import TARGETS, make_frame, tabular_data

MakeTrainer = Callable[..., pl.Trainer]
MAKERS: dict[type[TensorDataModule], Callable[..., Any]] = {TabularDataModule: tabular_data}
DTYPES = {
    "continuous": torch.float32,
    "categorical": torch.int64,
    "image": torch.float32,
    "index": torch.int64,
    "weight": torch.float32,
}
every_datamodule = pytest.mark.parametrize("make", MAKERS.values(), ids=[kind.__name__ for kind in MAKERS])
every_target = pytest.mark.parametrize("target", TARGETS)


def all_batches(loader: Any) -> list[dict[str, Tensor]]:
    return [dict(batch) for batch in loader]


def assert_same_batches(ours: list[dict[str, Tensor]], theirs: list[dict[str, Tensor]]) -> None:
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_no_datamodule_is_left_out_of_the_sweep() -> None:
    found = {
        kind
        for kind in (getattr(data_package, name) for name in data_package.__all__)
        if inspect.isclass(kind) and issubclass(kind, TensorDataModule)
    }

    assert found == set(MAKERS), "tell this file how to make the new datamodule"


@every_datamodule
@every_target
@pytest.mark.parametrize("part", ["train", "val", "test", "predict"])
def test_a_batch_holds_what_the_contract_says(make: Any, target: str, part: Any) -> None:
    frame = make_frame(60).assign(weight=1.5)
    ignored = [name for name in make(target).schema.left_out if name.name != "weight"]
    data = make(
        target,
        frame,
        weight="weight",
        test=make_frame(21, seed=1).assign(weight=1.0),
        predict=make_frame(9, seed=2),
        ignore=[column.name for column in ignored],
    )
    schema = data.schema

    batch = next(iter(data.loader(part)))

    rows = len(batch["index"])
    wanted = {"continuous", "categorical", "index"} | ({"target", "weight"} if part != "predict" else set())
    assert batch.keys() == wanted
    assert batch["continuous"].shape == (rows, len(schema.continuous))
    assert batch["categorical"].shape == (rows, len(schema.categorical))
    for name, tensor in batch.items():
        assert name == "target" or tensor.dtype == DTYPES[name]
        assert len(tensor) == rows
    if part != "predict":
        shape, dtype = {
            "binary": ((rows,), torch.int64),
            "multiclass": ((rows,), torch.int64),
            "multilabel": ((rows, len(schema.classes)), torch.float32),
            "regression": ((rows, len(schema.target.columns)), torch.float32),
        }[schema.task.name]
        assert (tuple(batch["target"].shape), batch["target"].dtype) == (shape, dtype)


@every_datamodule
@every_target
def test_the_schema_is_there_before_any_trainer(make: Any, target: str) -> None:
    data = make(target)

    assert data.trainer is None
    assert type(data.schema).from_dict(data.schema.to_dict()) == data.schema
    assert data.schema.task.num_outputs >= 1


@every_datamodule
@every_target
def test_the_same_seed_gives_the_same_batches_and_another_seed_others(make: Any, target: str) -> None:
    one, twin, other = make(target), make(target), make(target, seed=1)

    for part in ("train", "val"):
        assert_same_batches(all_batches(one.loader(part)), all_batches(twin.loader(part)))
    assert not torch.equal(one.parts["val"].rows, other.parts["val"].rows)
    orders = [next(iter(data.train_dataloader()))["index"] for data in (one, other)]
    assert not torch.equal(*orders)


@every_datamodule
def test_every_row_is_in_one_part(make: Any) -> None:
    data = make("binary")

    rows = torch.cat([part.rows for part in data.parts.values()])

    assert rows.sort().values.tolist() == list(range(48))


@every_datamodule
@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("part", ["train", "val", "test", "predict"])
def test_index_names_the_row_of_the_source(make: Any, missing: bool, part: Any) -> None:
    frames = {
        "source": make_frame(50),
        "test": make_frame(30, seed=1),
        "predict": make_frame(20, seed=2).drop(columns="pay"),
    }
    if missing:
        for name in ("source", "test"):
            frames[name].loc[[0, 7, 8, 20], "pay"] = None
    data = make(
        "regression",
        frames["source"],
        test=frames["test"],
        predict=frames["predict"],
        missing_target="drop" if missing else "error",
        continuous=["x", "z"],
    )
    source = frames.get(part, frames["source"])

    batches = all_batches(data.loader(part))

    (column,) = [column for column in data.schema.continuous if column.name == "x"]
    place = data.schema.continuous.index(column)
    for batch in batches:
        rows = source.iloc[batch["index"].numpy()]
        expected = (rows["x"].to_numpy() - column.mean) / column.spread
        torch.testing.assert_close(batch["continuous"][:, place], torch.tensor(expected).float())
        if part != "predict":
            assert batch["target"][:, 0].tolist() == pytest.approx(rows["pay"].tolist(), rel=1e-6)
    seen = torch.cat([batch["index"] for batch in batches])
    assert not missing or part == "predict" or not set(seen.tolist()) & {0, 7, 8, 20}


@every_datamodule
def test_only_training_rows_decide_the_facts(make: Any) -> None:
    data = make("binary")
    frame = make_frame()
    rows = data.parts["val"].rows.numpy()
    frame.loc[rows, "x"] = 1e6
    frame.loc[rows, "z"] = None
    frame.loc[rows, "job"] = "astronaut"

    other = make("binary", frame)

    assert torch.equal(other.parts["val"].rows, data.parts["val"].rows)
    assert other.schema == data.schema


@every_datamodule
def test_a_training_row_does_decide_the_facts(make: Any) -> None:
    data = make("binary")
    frame = make_frame()
    frame.loc[int(data.parts["train"].rows[0]), "x"] = 1e6

    assert make("binary", frame).schema != data.schema


@every_datamodule
def test_a_schema_can_be_used_again(make: Any) -> None:
    data = make("regression")
    frame = make_frame(30, seed=8)
    frame.loc[0, "job"] = "astronaut"

    other = make("regression", frame, schema=data.schema, split=None)

    assert other.schema is data.schema
    (column,) = [column for column in data.schema.continuous if column.name == "x"]
    batch = other.loader("train").batch_of(torch.arange(30))
    torch.testing.assert_close(
        batch["continuous"][:, 0], torch.tensor((frame["x"] - column.mean) / column.spread).float()
    )
    assert batch["categorical"][0, 0] == 0


@every_datamodule
def test_evaluation_takes_the_rows_in_the_order_of_the_source_whatever_the_training_batch(
    make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "CPU_EVAL_BATCH_SIZE", 16)
    data = make("binary", make_frame(200), batch_size=4)

    batches = all_batches(data.val_dataloader())

    assert [len(batch["index"]) for batch in batches] == [16, 16, 8]
    rows = torch.cat([batch["index"] for batch in batches])
    assert rows.tolist() == sorted(rows.tolist())


@every_datamodule
def test_prediction_takes_the_best_part_there_is(make: Any) -> None:
    frame = make_frame(20, seed=1)

    sizes = [
        sum(len(batch["index"]) for batch in make("binary", **parts).predict_dataloader())
        for parts in ({}, {"test": frame}, {"test": frame, "predict": frame[:7]})
    ]

    assert sizes == [10, 20, 7]


@every_datamodule
@pytest.mark.parametrize(
    ("part", "remedy"),
    [
        ("val", "Pass split= a share such as 0.2"),
        ("test", "Pass test= a table or file"),
        ("predict", "Pass predict= a"),
    ],
)
def test_a_part_that_is_not_there_is_refused(make: Any, part: Any, remedy: str) -> None:
    data = make("binary", split=None)

    with pytest.raises(BadValueError, match=f"{type(data).__name__}: there is no {part} part, only train. {remedy}"):
        data.loader(part)


@every_datamodule
def test_without_validation_rows_there_is_nothing_to_validate(make: Any) -> None:
    assert make("binary", split=None).val_dataloader() == []


@every_datamodule
@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"batch_size": 0}, BadValueError, "batch_size must be at least 1, got 0"),
        ({"batch_size": "many"}, BadTypeError, "batch_size must be a whole number, got 'many'"),
        ({"seed": -1}, BadValueError, "seed must be at least 0, got -1"),
        ({"seed": 0.5}, BadTypeError, "seed must be a whole number, got 0.5"),
        ({"seed": None}, BadTypeError, "seed must be a whole number, got None"),
    ],
)
def test_a_wrong_setting_is_a_sentence(
    make: Any, settings: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=f"DataModule: {message}"):
        make("binary", **settings)


class Bare(TensorDataModule):
    """The base on its own, with whatever parts it is given."""

    def __init__(self, rows: int) -> None:
        super().__init__(batch_size=4, seed=0)
        self.parts = {"train": Part({"target": torch.arange(rows)}, torch.arange(rows))}


def test_a_trainer_of_one_process_gets_every_row(quick_trainer: MakeTrainer) -> None:
    data = Bare(10)
    data.trainer = quick_trainer()

    assert sum(len(batch["index"]) for batch in data.train_dataloader()) == 10


def test_batches_move_to_a_device_as_a_whole() -> None:
    data = Bare(10)
    batch = next(iter(data.train_dataloader()))

    assert data.transfer_batch_to_device(batch, torch.device("cpu"), 0) is batch
    moved = data.transfer_batch_to_device(batch, torch.device("meta"), 0)
    assert {tensor.device.type for tensor in moved.values()} == {"meta"}  # type: ignore[attr-defined]


def test_overfitting_turns_the_shuffling_off(quick_trainer: MakeTrainer) -> None:
    data = Bare(10)
    data.trainer = quick_trainer(overfit_batches=1)

    rows = [batch["index"].tolist() for batch in data.train_dataloader()]

    assert rows == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert isinstance(data.train_dataloader(), TensorLoader)


def test_a_frame_is_left_as_it_was() -> None:
    frame = make_frame()
    before = frame.copy()

    tabular_data("regression", frame, missing_target="drop")

    pd.testing.assert_frame_equal(frame, before)
