"""What tables and the bases of all datamodules promise: batches by contract, rows by number, parts with weights."""

import pickle
import warnings
from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor

from tabvision.data import base
from tabvision.data.base import DataPart, TensorDataModule
from tabvision.modules import TabularModule
from tests.made.pairs import EACH, TARGETS, Pair, make_frame, tabular_data
from tests.made.trainers import MakeTrainer

DTYPES = {
    "continuous": torch.float32,
    "categorical": torch.int64,
    "image": torch.float32,
    "index": torch.int64,
    "weight": torch.float32,
}
every_target = pytest.mark.parametrize("target", TARGETS)


def all_batches(loader: Any) -> list[dict[str, Tensor]]:
    return [dict(batch) for batch in loader]


@every_target
@pytest.mark.parametrize("part", ["train", "val", "test", "predict"])
def test_a_batch_holds_what_the_contract_says(target: str, part: Any) -> None:
    frame = make_frame(60).assign(weight=1.5)
    ignored = [name for name in tabular_data(target).schema.left_out if name.name != "weight"]
    data = tabular_data(
        target,
        frame,
        weight="weight",
        test=make_frame(21, seed=1).assign(weight=1.0),
        predict=make_frame(9, seed=2),
        ignore=[column.name for column in ignored],
    )
    schema = data.schema

    batch = all_batches(data.loader(part))[0]

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


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("part", ["train", "val", "test", "predict"])
def test_index_names_the_row_of_the_source(missing: bool, part: Any) -> None:
    frames = {
        "source": make_frame(50),
        "test": make_frame(30, seed=1),
        "predict": make_frame(20, seed=2).drop(columns="pay"),
    }
    if missing:
        for name in ("source", "test"):
            frames[name].loc[[0, 7, 8, 20], "pay"] = None
    data = tabular_data(
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
        expected = (rows["x"].to_numpy() - column.mean) / column.std
        torch.testing.assert_close(batch["continuous"][:, place], torch.tensor(expected).float())
        if part != "predict":
            assert batch["target"][:, 0].tolist() == pytest.approx(rows["pay"].tolist(), rel=1e-6)
    seen = torch.cat([batch["index"] for batch in batches])
    assert not missing or part == "predict" or not set(seen.tolist()) & {0, 7, 8, 20}


def test_only_training_rows_decide_the_facts() -> None:
    data = tabular_data("binary")
    frame = make_frame()
    rows = data.parts["val"].rows.numpy()
    frame.loc[rows, "x"] = 1e6
    frame.loc[rows, "z"] = None
    frame.loc[rows, "job"] = "astronaut"

    other = tabular_data("binary", frame)

    assert torch.equal(other.parts["val"].rows, data.parts["val"].rows)
    assert other.schema == data.schema


def test_a_training_row_does_decide_the_facts() -> None:
    data = tabular_data("binary")
    frame = make_frame()
    frame.loc[int(data.parts["train"].rows[0]), "x"] = 1e6

    assert tabular_data("binary", frame).schema != data.schema


def test_a_schema_can_be_used_again() -> None:
    data = tabular_data("regression")
    frame = make_frame(30, seed=8)
    frame.loc[0, "job"] = "astronaut"

    other = tabular_data("regression", frame, schema=data.schema, split=None)

    assert other.schema is data.schema
    (column,) = [column for column in data.schema.continuous if column.name == "x"]
    batch = other.loader("train").batch_of(torch.arange(30))
    torch.testing.assert_close(batch["continuous"][:, 0], torch.tensor((frame["x"] - column.mean) / column.std).float())
    assert batch["categorical"][0, 0] == 0


def test_evaluation_takes_the_rows_in_the_order_of_the_source_whatever_the_training_batch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(base, "CPU_EVAL_BATCH_SIZE", 16)
    data = tabular_data("binary", make_frame(200), batch_size=4)

    batches = all_batches(data.val_dataloader())

    assert [len(batch["index"]) for batch in batches] == [16, 16, 8]
    rows = torch.cat([batch["index"] for batch in batches])
    assert rows.tolist() == sorted(rows.tolist())


class Bare(TensorDataModule):
    """The base on its own, with whatever parts it is given."""

    def __init__(self, rows: int) -> None:
        super().__init__(batch_size=4, seed=0)
        self.parts = {"train": DataPart({"target": torch.arange(rows)}, torch.arange(rows))}


def test_a_trainer_of_one_process_gets_every_row(quick_trainer: MakeTrainer) -> None:
    data = Bare(10)
    data.trainer = quick_trainer()

    assert sum(len(batch["index"]) for batch in data.train_dataloader()) == 10


def test_without_a_validation_part_lightning_asks_nothing_and_warnings_are_filtered_as_before(
    quick_trainer: MakeTrainer,
) -> None:
    data = tabular_data("regression", split=None)
    before = list(warnings.filters)

    trainer = quick_trainer()
    trainer.fit(TabularModule(data.schema, widths=[8]), data)

    assert trainer.num_val_batches == []
    assert [each for each in warnings.filters if each not in before and "across ranks" in str(each)] == []


def test_batches_move_to_a_device_as_a_whole() -> None:
    data = Bare(10)
    batch = next(iter(data.train_dataloader()))

    assert data.transfer_batch_to_device(batch, torch.device("cpu"), 0) is batch
    moved = data.transfer_batch_to_device(batch, torch.device("meta"), 0)
    assert {tensor.device.type for tensor in moved.values()} == {"meta"}  # type: ignore[attr-defined]


def test_a_frame_is_left_as_it_was() -> None:
    frame = make_frame()
    before = frame.copy()

    tabular_data("regression", frame, missing_target="drop")

    pd.testing.assert_frame_equal(frame, before)


@every_target
def test_a_datamodule_prints_what_it_holds(target: str) -> None:
    data = tabular_data(target)

    assert str(data) == f"{data.schema}\n" + str(data).splitlines()[-1]
    assert str(data).splitlines()[-1].startswith("rows: train ")


@pytest.mark.parametrize("pair", EACH, ids=str)
def test_datamodules_and_loaders_can_be_pickled_after_a_fit(pair: Pair, quick_trainer: MakeTrainer) -> None:
    data: Any = pair.data()
    trainer = quick_trainer(limit_train_batches=1, limit_val_batches=1)
    trainer.fit(pair.module(data.schema), data)

    loader, copied = pickle.loads(pickle.dumps((data.val_dataloader(), data)))

    assert (data.trainer, copied.trainer) == (trainer, None)
    assert torch.equal(next(iter(loader))["index"], next(iter(copied.val_dataloader()))["index"])
