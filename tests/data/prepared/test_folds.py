"""Folds of a prepared table: who is in which, and that networks train and answer by them as on a table in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint

from tabvision.callbacks import AverageAndStop, ExactResume, FitTable, OneCycle
from tabvision.data import GroupSplit, TabularDataModule, TimeSplit
from tabvision.data.prepared import folds, table
from tabvision.data.tables import blocks
from tabvision.errors import BadValueError
from tabvision.inference import Predictor
from tabvision.modules import TabularModule
from tabvision.tuning import CrossValidation, cross_validate
from tests.made.tables import quiet
from tests.made.trainers import quiet_trainer

ROWS = 400
SMALL: dict[str, Any] = {"members": 2, "member_widths": [8]}


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "BLOCK_ROWS", 130)
    monkeypatch.setattr(folds, "_BLOCK", 70)


def source_of(folder: Path, rows: int = ROWS, *, low: int = 0) -> Path:
    """A file of sorted classes, groups of four rows, and two targets; the classes of a small one have one row each."""
    number = np.arange(low, low + rows)
    draw = np.random.default_rng(0)
    frame = pd.DataFrame({"x": draw.normal(size=rows), "who": number // 4, "kind": number // 130})
    frame["kind"] = "k" + frame["kind"].astype(str)
    frame["y"] = frame["x"] + draw.normal(size=rows)
    frame.to_parquet(folder / "a.parquet")
    return folder / "a.parquet"


def one_epoch() -> pl.Trainer:
    return quiet_trainer(callbacks=[OneCycle(), AverageAndStop(patience=None)])


def validated(data: TabularDataModule, **settings: Any) -> CrossValidation:
    return cross_validate(TabularModule(data.schema, **SMALL), data, trainer=one_epoch, num_folds=3, **settings)


def index_of(part: Any) -> set[int]:
    rows = part.rows.long()
    return set((part.tensors["index"][rows] if "index" in part.tensors else rows).tolist())


@pytest.mark.parametrize(("target", "split"), [("kind", None), ("kind", 0.2), ("y", None)])
def test_each_training_row_is_in_one_fold_and_classes_are_spread_evenly(
    target: str, split: Any, tmp_path: Path
) -> None:
    data = quiet(source_of(tmp_path), target, split=split, prepared=tmp_path / "p")
    train = index_of(data.parts["train"])
    classes = pd.read_parquet(tmp_path / "a.parquet")["kind"]

    data.use_folds(5)
    parts = [data.without_fold(fold) for fold in range(5)]

    inside = [index_of(part.parts["val"]) for part in parts]
    assert sum(map(len, inside)) == len(train)
    assert set.union(*inside) == train
    assert max(map(len, inside)) - min(map(len, inside)) <= 1
    for part, rows in zip(parts, inside, strict=True):
        assert index_of(part.parts["train"]) == train - rows
        numbers = classes[sorted(rows)].value_counts()
        assert target == "y" or all(abs(numbers - classes[sorted(train)].value_counts() / 5) < 2)
    batch = {name: torch.cat([each[name] for each in data.fold_loader()]) for name in ("index", "fold")}
    assert set(batch["index"].tolist()) == train
    assert all(row in inside[fold] for row, fold in zip(*(batch[name].tolist() for name in batch), strict=True))
    assert "fold" in next(iter(data.train_dataloader()))
    assert "fold" not in next(iter(parts[0].train_dataloader()))


def test_folds_depend_on_the_seed_alone_and_later_calls_find_them(tmp_path: Path) -> None:
    data = quiet(source_of(tmp_path), "y", split=None, prepared=tmp_path / "p")

    def fold(seed: int | None = None) -> list[int]:
        data.use_folds(4, seed)
        return [int(each) for batch in data.fold_loader() for each in batch["fold"]]

    first, other = fold(), fold(1)
    file = tmp_path / "p" / "folds-4-0" / "fold.npy"
    written = file.stat().st_mtime_ns
    assert (fold(0) == first, other != first) == (True, True)
    assert file.stat().st_mtime_ns == written
    file.write_bytes(file.read_bytes()[:100])
    assert fold() == first
    assert np.corrcoef(first, other)[0, 1] == pytest.approx(0, abs=0.2)
    assert np.corrcoef(first[:-1], first[1:])[0, 1] == pytest.approx(-1 / 3, abs=0.25)  # no row after row in turns


def test_groups_are_in_one_fold_each(tmp_path: Path) -> None:
    data = quiet(source_of(tmp_path), "y", split=GroupSplit("who", 0.2), prepared=tmp_path / "p")

    data.use_folds(3)
    groups = [{row // 4 for row in index_of(data.without_fold(fold).parts["val"])} for fold in range(3)]

    assert max(map(len, groups)) - min(map(len, groups)) <= 1
    assert not groups[0] & groups[1] | groups[0] & groups[2] | groups[1] & groups[2]
    assert not set.union(*groups) & {row // 4 for row in index_of(data.parts["val"])}


def test_few_groups_of_any_size_leave_no_fold_empty(tmp_path: Path) -> None:
    groups = torch.from_numpy(np.random.default_rng(0).permutation(np.repeat(np.arange(5) - 2, [4, 10, 200, 6, 180])))
    rows = torch.arange(0, 400)

    found = folds.folds_in(tmp_path / "folds", rows, 400, 4, 0, codes=None, groups=groups)

    assert sorted(map(len, found.inside)) == [10, 10, 180, 200]
    assert all(len(set(found.fold[groups == group].tolist())) == 1 for group in range(-2, 3))


def test_a_fold_may_have_one_row_but_not_none(tmp_path: Path) -> None:
    data = quiet(source_of(tmp_path, 5), "y", split=None, prepared=tmp_path / "p")
    data.use_folds(5)

    assert [len(data.without_fold(fold).parts["val"].rows) for fold in range(5)] == [1] * 5
    found = cross_validate(TabularModule(data.schema, **SMALL), data, trainer=one_epoch, num_folds=5)
    assert sorted(found.predictions["row"]) == [*range(5)]
    with pytest.raises(BadValueError, match=r"num_folds=6 leaves 1 fold without a row.* Pass at most 5"):
        cross_validate(TabularModule(data.schema, **SMALL), data, trainer=one_epoch, num_folds=6)


def test_rows_that_are_split_by_time_have_no_folds(tmp_path: Path) -> None:
    data = quiet(source_of(tmp_path), "y", split=TimeSplit("who"), prepared=tmp_path / "p")

    assert not data.may_fold


@pytest.mark.parametrize("target", ["kind", "y"])
def test_each_row_is_answered_by_the_network_that_did_not_see_it_into_a_file(
    target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table, "_SHOWN", 100)
    data, file = quiet(source_of(tmp_path), target, prepared=tmp_path / "p"), tmp_path / "out.parquet"
    frame = pd.read_parquet(tmp_path / "a.parquet")

    found = validated(data, out=file)

    answers = pd.read_parquet(file).astype({"row": np.int64}).set_index("row")
    assert sorted(answers.index) == sorted(index_of(data.parts["train"]))
    truth = frame.loc[answers.index, target]
    assert target == "y" or answers[target].tolist() == truth.tolist()
    assert target == "kind" or answers[target].to_numpy() == pytest.approx(truth.to_numpy())
    for fold in range(3):
        alone = TabularModule(data.schema, **SMALL)
        alone.net.load_state_dict(found.module.net.get_submodule(str(fold)).state_dict())
        held_out = sorted(index_of(data.without_fold(fold).parts["val"]))
        there = Predictor(alone).predict(frame.iloc[held_out]).set_axis(held_out)
        pd.testing.assert_frame_equal(answers.loc[held_out, there.columns], there, rtol=1e-4, check_names=False)
    (measured,) = quiet_trainer().validate(found.module, data.fold_loader(), verbose=False)
    assert found.metrics == pytest.approx({name.removeprefix("val/"): it for name, it in measured.items()}, rel=1e-6)
    rows = data.frame.index[found.predictions["row"]].astype(np.int64)
    shown = found.predictions.set_index(rows).drop(columns="row")
    assert 50 < len(shown) < 150
    there = answers.loc[shown.index, shown.columns]
    pd.testing.assert_frame_equal(shown, there, rtol=1e-4, check_names=False, check_dtype=False)
    assert found.results.fold is not None


@pytest.mark.filterwarnings("ignore:The dirpath has changed")  # on purpose
def test_members_leave_out_folds_of_a_small_prepared_table_and_a_fit_is_resumed(tmp_path: Path) -> None:
    source = source_of(tmp_path)

    def fit(name: str, **resume: Any) -> tuple[FitTable, dict[str, torch.Tensor]]:
        torch.manual_seed(0)
        data = quiet(source, "y", split=None, batch_size=100, prepared=tmp_path / "p")
        saving = ModelCheckpoint(tmp_path / name, filename="{step}", every_n_train_steps=6, save_top_k=-1)
        callbacks = [fitting := FitTable(), saving, ExactResume()]
        trainer = quiet_trainer(max_epochs=3, callbacks=callbacks, enable_checkpointing=True)
        trainer.fit(module := TabularModule(data.schema, **SMALL), data, **resume)
        return fitting, module.state_dict()

    fitting, whole = fit("whole")
    _, resumed = fit("resumed", ckpt_path=tmp_path / "whole" / "step=6.ckpt", weights_only=True)

    assert fitting.has_folds
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())


def test_a_bag_whose_members_leave_out_rows_answers_with_those(tmp_path: Path) -> None:
    data, file = quiet(source_of(tmp_path), "y", split=None, prepared=tmp_path / "p"), tmp_path / "out.parquet"

    def trainer() -> pl.Trainer:
        return quiet_trainer(max_epochs=2, callbacks=[FitTable()])

    found = cross_validate(TabularModule(data.schema, **SMALL), data, trainer=trainer, num_folds=3, out=file)

    assert found.results.fold is not None
    assert found.results.fold.shape == (ROWS, 3)
    answers = pd.read_parquet(file)
    assert answers["prediction"].to_numpy() == pytest.approx(found.predictions["prediction"].to_numpy(), rel=1e-5)
    assert found.metrics["loss"] == pytest.approx(float(found.results.loss.mean()), rel=1e-5)
