"""Cross-validation: who answers which row, and that the bag of its networks is a module like any other."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import pytorch_lightning as pl
import torch

from tabvision.callbacks import AverageAndStop, FitTable, OneCycle
from tabvision.data import GroupSplit, TabularDataModule, TimeSplit
from tabvision.errors import BadTypeError
from tabvision.inference import OnnxPredictor, Predictor, export
from tabvision.interpret import embedding_frame, importance
from tabvision.modules import SupervisedModule, TabularModule
from tabvision.tuning import CrossValidation, cross_validate
from tests.callbacks.test_fit_table import made_data
from tests.made.modules import different
from tests.made.pairs import make_frame, tabular_data
from tests.made.servers import running
from tests.made.trained import raw
from tests.made.trainers import quiet_trainer, saved

SMALL: dict[str, Any] = {"members": 2, "member_widths": [8]}
FOLDS = 3


def one_cycle() -> pl.Trainer:
    """A new Trainer of two epochs."""
    return quiet_trainer(max_epochs=2, callbacks=[OneCycle(), AverageAndStop(patience=None)])


def validated(data: TabularDataModule, **settings: Any) -> CrossValidation:
    return cross_validate(TabularModule(data.schema, **(SMALL | settings)), data, trainer=one_cycle, num_folds=FOLDS)


def loss_out_of_fold(found: CrossValidation) -> float:
    """What `importance` compares with: the loss of the answers by who left the row out."""
    results = found.results
    value: float = importance(found.module, results.frame, fold=results.fold, repeats=1).attrs["baseline"]
    return value


@pytest.mark.parametrize(
    ("target", "settings"), [("regression", SMALL), ("multiclass", SMALL), ("binary", {"widths": [8]})], ids=str
)
def test_the_bag_has_the_networks_of_separate_fits_and_answers_with_the_mean_of_their_members(
    target: str, settings: dict[str, Any]
) -> None:
    data = tabular_data(target, split=None)

    bag = cross_validate(
        TabularModule(data.schema, **settings), data, trainer=one_cycle, num_folds=FOLDS, seed=5
    ).module.eval()

    batch = next(iter(data.train_dataloader()))
    members = []
    data.use_folds(FOLDS, 5)
    for fold in range(FOLDS):
        torch.manual_seed(5 + fold)
        alone = TabularModule(data.schema, **settings)
        one_cycle().fit(alone, data.without_fold(fold))
        members.append(alone.eval().member_logits(batch))
    assert torch.equal(bag.member_logits(batch), torch.cat(members, dim=1))
    assert torch.equal(bag(batch), bag.task.combine(torch.cat(members, dim=1)))


@pytest.mark.parametrize("target", ["regression_several", "multiclass"])
def test_a_row_is_answered_by_the_network_that_did_not_see_it(target: str) -> None:
    data = tabular_data(target, split=None)

    found = validated(data)

    parts = [data.without_fold(fold) for fold in range(FOLDS)]
    for number, part in enumerate(parts):
        alone = TabularModule(data.schema, **SMALL)
        alone.net.load_state_dict(found.module.net.get_submodule(str(number)).state_dict())
        rows = part.parts["val"].tensors["index"][part.parts["val"].rows].numpy()
        assert not np.isin(rows, part.parts["train"].tensors["index"][part.parts["train"].rows].numpy()).any()
        answers = Predictor(alone).predict(data.frame.iloc[rows]).reset_index(drop=True)
        there = found.predictions.set_index("row").loc[rows, answers.columns].reset_index(drop=True)
        pd.testing.assert_frame_equal(there, answers, check_dtype=False, rtol=1e-5)
    assert sorted(found.predictions["row"]) == [*range(len(data.frame))]
    columns = list(data.schema.target.columns)
    truth = data.frame[columns].iloc[found.predictions["row"]].reset_index(drop=True)
    pd.testing.assert_frame_equal(found.predictions[columns], truth)
    assert loss_out_of_fold(found) == pytest.approx(found.results.loss.mean(), rel=1e-5)


@pytest.mark.slow
def test_a_column_that_names_the_row_is_of_no_use_out_of_fold() -> None:
    draw = np.random.default_rng(0)
    frame = pd.DataFrame({"id": [f"r{n}" for n in range(300)], "x": draw.normal(size=300), "y": draw.normal(size=300)})
    data = TabularDataModule(frame, "y", categorical=["id"], split=None, batch_size=32, verbose=False)

    found = cross_validate(
        TabularModule(data.schema), data, trainer=lambda: quiet_trainer(max_epochs=20, callbacks=[FitTable()])
    )

    assert found.metrics["r2"] < 0.05
    assert found.module.hparams["bag"] == 5


@pytest.mark.parametrize("weight", [None, "weight"])
def test_its_metrics_are_what_a_trainer_measures_on_the_folds(weight: str | None) -> None:
    frame = make_frame().assign(weight=lambda table: 0.5 + table.index % 3)
    data = tabular_data("binary", frame, split=None, weight=weight)

    found = validated(data)

    (measured,) = quiet_trainer().validate(found.module, data.fold_loader(), verbose=False)
    assert found.metrics == pytest.approx({k.removeprefix("val/"): v for k, v in measured.items()}, rel=1e-6)


def test_nothing_else_is_changed() -> None:
    data = made_data()
    module = TabularModule(data.schema, **SMALL)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    state = torch.get_rng_state()

    first = cross_validate(module, data, trainer=one_cycle, num_folds=FOLDS)
    again = cross_validate(module, data, trainer=one_cycle, num_folds=FOLDS)

    assert torch.equal(torch.get_rng_state(), state)
    assert not different(before, module.state_dict())
    assert "fold" not in next(iter(data.train_dataloader()))
    assert not different(first.module.state_dict(), again.module.state_dict())
    pd.testing.assert_frame_equal(first.predictions, again.predictions)


def test_groups_stay_whole_and_rows_that_validate_take_no_part() -> None:
    frame = make_frame().assign(who=lambda table: [f"p{row // 4}" for row in table.index])
    data = tabular_data("regression", frame, split=GroupSplit("who", 0.2))
    seen: list[tuple[set[str], set[str]]] = []

    class Groups(pl.Callback):
        def on_train_start(self, trainer: pl.Trainer, _module: pl.LightningModule) -> None:
            parts: Any = trainer.datamodule.parts  # type: ignore[attr-defined]
            rows = [parts[name].tensors["index"][parts[name].rows].numpy() for name in ("train", "val")]
            seen.append((set(frame["who"].iloc[rows[0]]), set(frame["who"].iloc[rows[1]])))

    found = cross_validate(
        TabularModule(data.schema, **SMALL), data, trainer=lambda: quiet_trainer(callbacks=[Groups()]), num_folds=FOLDS
    )

    assert len(seen) == FOLDS
    assert not any(trained & answered for trained, answered in seen)
    rows = data.parts["train"].tensors["index"][data.parts["train"].rows]
    assert sorted(found.predictions["row"]) == sorted(rows.tolist())


def test_one_trainer_for_all_networks_is_refused() -> None:
    data, trainer = made_data(), one_cycle()

    with pytest.raises(
        BadTypeError, match="cross_validate: trainer must return a new Trainer at each call, got the same"
    ):
        cross_validate(TabularModule(data.schema, **SMALL), data, trainer=lambda: trainer)


def an_optimizer(groups: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(groups, lr=0.01)


def test_each_network_has_the_modules_settings_and_optimizer() -> None:
    data = made_data()
    seen: list[tuple[SupervisedModule, type]] = []

    class Note(pl.Callback):
        def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
            seen.append((pl_module, type(trainer.optimizers[0])))

    module = TabularModule(data.schema, **SMALL, dropout=0.3, optimizer=an_optimizer)
    cross_validate(module, data, trainer=lambda: quiet_trainer(callbacks=[Note()]), num_folds=2)

    for fitted, optimizer in seen:
        assert dict(fitted.hparams) == dict(module.hparams)
        assert optimizer is torch.optim.SGD


# The bag as a module.


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of a bag."""
    folder = tmp_path_factory.mktemp("bag")
    return saved(validated(tabular_data("regression", split=None)).module, folder / "bag.ckpt")


def test_a_checkpoint_answers_as_the_bag(bag: Path) -> None:
    module = TabularModule.load_from_checkpoint(bag, weights_only=True)
    assert (module.hparams["bag"], module.fold_members) == (FOLDS, 1)

    expected = Predictor(module).predict(raw())

    pd.testing.assert_frame_equal(Predictor(bag).predict(raw()), expected)
    assert Predictor(bag).predict(raw().iloc[:1]).shape[0] == 1


@pytest.mark.slow
def test_an_exported_file_answers_as_the_bag(bag: Path, tmp_path: Path) -> None:
    onnx = export(bag, tmp_path / "bag.onnx").path

    expected = Predictor(bag).predict(raw())
    pd.testing.assert_frame_equal(OnnxPredictor(onnx).predict(raw()), expected, rtol=1e-4, atol=1e-5)


def test_a_bag_is_served_and_calibrated(bag: Path, tmp_path: Path) -> None:
    with running(predictor := Predictor(bag)) as client:
        row = json.loads(raw(1).to_json(orient="records"))[0]
        answer = client.post("/predict", json=row).json()
    assert answer["prediction"] == pytest.approx(predictor.predict(row)["prediction"][0], rel=1e-5)

    Predictor(bag).calibrate(make_frame(60, seed=3), out=tmp_path / "calibrated.ckpt")

    assert {"interval_low", "interval_high"} <= {*Predictor(tmp_path / "calibrated.ckpt").predict(raw())}


@pytest.mark.parametrize("settings", [SMALL, {"widths": [8], "numbers": "piecewise"}], ids=str)
def test_a_bag_is_trained_like_any_module(settings: dict[str, Any]) -> None:
    data = tabular_data("binary")
    bag = TabularModule(data.schema, bag=2, **settings)
    before = {name: value.clone() for name, value in bag.net.named_parameters()}
    trainer = quiet_trainer(max_epochs=2, callbacks=[fit := FitTable()])

    trainer.fit(bag, data)

    assert not fit.has_folds
    assert [group.name for group in bag.layer_groups()] == ["embeddings", "layers", "head"]
    trained = {name[0] for name, value in bag.net.named_parameters() if not torch.equal(value, before[name])}
    assert trained == {"0", "1"}


def test_the_embeddings_of_a_bag_are_those_of_its_networks() -> None:
    schema = tabular_data("binary").schema
    alone, bag = TabularModule(schema, widths=[8]), TabularModule(schema, widths=[8], bag=2)

    assert embedding_frame(bag, "job").shape[1] - 1 == 2 * (embedding_frame(alone, "job").shape[1] - 1)


@pytest.mark.parametrize("target", ["binary", "regression"])
def test_where_members_leave_out_rows_each_network_trains_on_all_and_the_members_that_did_answer(target: str) -> None:
    data = tabular_data(target, split=None)
    fitted: list[Any] = []

    class Keep(pl.Callback):
        def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            fitted.append((pl_module, trainer.datamodule))  # type: ignore[attr-defined]

    def trainer() -> pl.Trainer:
        return quiet_trainer(max_epochs=2, callbacks=[FitTable(), Keep()])

    found = cross_validate(TabularModule(data.schema, **SMALL), data, trainer=trainer, num_folds=FOLDS)

    logits, folds = [], set()
    for module, part in fitted:
        assert len(part.parts["train"].rows) == len(data.frame)
        (batch,) = part.fold_loader()
        members = module.eval().member_logits(batch)
        logits.append(members[torch.arange(len(members)), batch["fold"]])
        folds.add(tuple(batch["fold"].tolist()))
    assert len(folds) == FOLDS
    answers = data.schema.task.activate(data.schema.task.combine(torch.stack(logits, dim=1)))
    column = "prediction" if target == "regression" else "probability_yes"
    assert found.predictions[column].to_numpy() == pytest.approx(answers[:, -1].detach().numpy(), rel=1e-5)
    assert found.predictions["row"].tolist() == [*range(len(data.frame))]
    assert loss_out_of_fold(found) == pytest.approx(found.results.loss.mean(), rel=1e-5)


def time_data() -> TabularDataModule:
    """Rows in order of time."""
    frame = pd.DataFrame(
        {"x": np.arange(60.0) % 7, "day": pd.date_range("2024-01-01", periods=60), "y": np.arange(60.0)}
    )
    return TabularDataModule(frame, "y", split=TimeSplit("day", 0.2), verbose=False)


def few_groups() -> TabularDataModule:
    """Two groups that train."""
    frame = made_data().frame.assign(who=lambda table: np.arange(len(table)) % 3)
    return TabularDataModule(frame, "y", split=GroupSplit("who", 0.3), verbose=False)
