"""What every module promises, for every kind of target."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from pandas.testing import assert_frame_equal
from pytorch_lightning.callbacks import (
    EarlyStopping,
    GradientAccumulationScheduler,
    LearningRateMonitor,
    ModelCheckpoint,
    ModelSummary,
    Timer,
)
from pytorch_lightning.loggers import CSVLogger
from torch import Tensor
from torch.utils.data import DataLoader

from tabvision.batch import Batch
from tabvision.callbacks import OneCycle
from tabvision.inference import Predictor, gather
from tabvision.modules import SupervisedModule
from tests.made.pairs import (
    DATA,
    EACH,
    EVERY,
    MODULES,
    TABLES,
    Pair,
    every_module,
    every_module_and_target,
    every_module_or_target,
    every_table,
    make_frame,
)
from tests.made.sweeps import slow_but
from tests.made.trainers import MakeTrainer

QUICK = [pair for pair in EVERY if pair.kind in TABLES or pair in EACH or pair.target == "multiclass_weighted"]
PLAIN = (type(None), bool, int, float, str, Tensor, torch.dtype)


def first_batch(data: Any, rows: int | None = None) -> Batch:
    batch = next(iter(data.train_dataloader()))
    return {name: tensor[:rows] for name, tensor in batch.items()}  # type: ignore[return-value]


def weights_of(module: SupervisedModule) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def assert_plain(value: object, where: str = "checkpoint") -> None:
    """Everything down to the leaves is of a type that any Python reads safely; subclasses of those types are not."""
    if isinstance(value, dict):
        for key, item in value.items():
            assert type(key) in PLAIN, f"{where}: key {key!r}"
            assert_plain(item, f"{where}[{key!r}]")
    elif type(value) in (list, tuple, set):
        for item in value:  # type: ignore[attr-defined]  # one of the three
            assert_plain(item, where)
    else:
        assert type(value) in PLAIN, f"{where} holds {type(value)}"


def test_no_module_is_left_out_of_the_sweep() -> None:
    assert MODULES
    assert set(DATA) == set(MODULES), "tell tests/made/pairs.py how the new module gets data"


@every_module_and_target
def test_backward_reaches_every_parameter_and_one_layer_group_holds_it(pair: Pair) -> None:
    data = pair.data()
    module = pair.module(data.schema)
    batch = first_batch(data)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.01)
    for _ in range(
        3
    ):  # a residual branch and a head may begin with zeros, and what is before is reached once they moved
        optimizer.step()
        optimizer.zero_grad()
        logits = module(batch)
        torch.autograd.backward(module.task.loss(logits, batch["target"]).mean())
    assert logits.shape == (16, module.task.num_outputs)
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert (parameter.grad != 0).any(), name

    groups = module.layer_groups()
    held = [id(parameter) for group in groups for parameter in group]
    assert sorted(held) == sorted(id(parameter) for parameter in module.parameters())
    assert len({group.name for group in groups}) == len(groups)
    shape = list(groups[-1])[-1].shape  # of a weight or a bias, which has a row for each member if packed
    assert module.task.num_outputs in (shape[0], shape[-1])


@every_module_or_target
def test_training_learns(pair: Pair, quick_trainer: MakeTrainer) -> None:
    data = pair.data()
    module = pair.module(data.schema)  # at the rate of `tests/made/pairs.py`
    epochs = 8 if pair.kind in TABLES else 15
    trainer = quick_trainer(max_epochs=epochs, check_val_every_n_epoch=epochs, num_sanity_val_steps=0)
    (before,) = trainer.validate(module, data.train_dataloader(), verbose=False)

    trainer.fit(module, data)

    (after,) = trainer.validate(module, data.train_dataloader(), verbose=False)
    assert after["val/loss"] < 0.9 * before["val/loss"]


@every_module_or_target
def test_a_batch_of_one_row_trains_and_is_validated_tested_and_predicted(
    pair: Pair, quick_trainer: MakeTrainer
) -> None:
    data = pair.data()
    module = pair.module(data.schema)
    row = first_batch(data, rows=1)
    loader: Any = DataLoader([row], batch_size=None)  # type: ignore[arg-type]  # a list is a data set
    trainer = quick_trainer()

    trainer.fit(module, loader, loader)
    (validated,) = trainer.validate(module, loader, verbose=False)
    (tested,) = trainer.test(module, loader, verbose=False)
    outputs: Any = trainer.predict(module, loader)
    (predicted,) = outputs

    assert all(parameter.isfinite().all() for parameter in module.parameters())
    assert np.isfinite([validated["val/loss"], tested["test/loss"]]).all()
    assert predicted["predictions"].shape == module.task.activate(torch.zeros(1, module.task.num_outputs)).shape
    assert torch.equal(predicted["index"], row["index"])


@every_module
def test_a_batch_without_rows_is_predicted(pair: Pair) -> None:
    data = pair.data()
    module = pair.module(data.schema).eval()

    answer = module.predict_step(first_batch(data, rows=0), 0)

    assert len(answer["predictions"]) == len(answer["index"]) == 0


@every_module
def test_a_module_built_without_memory_answers_once_its_weights_are_there(
    pair: Pair, quick_trainer: MakeTrainer
) -> None:
    data = pair.data()
    module, batch = pair.module(data.schema).eval(), first_batch(data)

    with torch.device("meta"):
        empty = pair.module(data.schema).eval()
    assert {tensor.device.type for tensor in empty.state_dict().values()} == {"meta"}
    empty.load_state_dict(module.state_dict(), assign=True)

    assert torch.equal(empty(batch), module(batch))
    assert quick_trainer().validate(empty, data, verbose=False) == quick_trainer().validate(module, data, verbose=False)


@every_module
def test_a_module_pickles_and_its_hyperparameters_build_it_again(pair: Pair, quick_trainer: MakeTrainer) -> None:
    data = pair.data()
    module = pair.module(data.schema)
    fresh = pickle.loads(pickle.dumps(module))
    quick_trainer().fit(module, data)
    trained = pickle.loads(pickle.dumps(module))
    batch = first_batch(data)
    assert fresh.schema == module.schema
    torch.testing.assert_close(trained.eval()(batch), module.eval()(batch), rtol=0, atol=0)

    settings = dict(module.hparams)
    assert_plain(settings, "hparams")
    again = pair.kind(**settings)
    assert again.schema == module.schema
    assert dict(again.hparams) == settings
    assert [parameter.shape for parameter in again.parameters()] == [each.shape for each in module.parameters()]


@pytest.mark.parametrize("pair", slow_but(QUICK, EVERY), ids=str)
def test_training_moves_every_parameter_and_a_checkpoint_alone_answers_as_the_trained_module_does(
    pair: Pair, quick_trainer: MakeTrainer, tmp_path: Path
) -> None:
    data = pair.raw_data(pair.raw(tmp_path))
    module = pair.module(data.schema)
    before = {name: parameter.detach().clone() for name, parameter in module.named_parameters()}
    trainer = quick_trainer(max_epochs=2)
    trainer.fit(module, data)
    path = tmp_path / "module.ckpt"
    trainer.save_checkpoint(path)

    unchanged = [name for name, parameter in module.named_parameters() if torch.equal(parameter, before[name])]
    assert not unchanged
    logged = {name: float(value) for name, value in trainer.callback_metrics.items()}
    assert {"train/loss", "val/loss", *(f"val/{name}" for name in module.task.metrics())} <= logged.keys()
    assert np.isfinite([*logged.values()]).all(), logged
    checkpoint = torch.load(path, weights_only=True)
    loaded = pair.kind.load_from_checkpoint(path, weights_only=True)
    predictor = Predictor(path, device="cpu")
    answers = predictor.predict(data.frame)
    if pair.kind in TABLES:
        assert_frame_equal(predictor.predict(data.frame[data.frame.columns[::-1]]), answers)
    assert_plain(checkpoint)
    assert loaded.schema == module.schema
    for name, tensor in module.state_dict().items():
        assert torch.equal(tensor, loaded.state_dict()[name]), name
    predicted = gather(trainer.predict(module, data.loader("val")))
    rows = predicted["index"].numpy()
    numbers = answers.select_dtypes("number").iloc[rows].to_numpy()[:, -predicted["predictions"].shape[1] :]
    np.testing.assert_allclose(numbers, predicted["predictions"].numpy(), rtol=1e-5, atol=1e-6)


@every_module
def test_a_checkpoint_holds_plain_data_whatever_callbacks_ran(
    pair: Pair, quick_trainer: MakeTrainer, tmp_path: Path
) -> None:
    data = pair.data()
    module = pair.module(data.schema)
    checkpoints = ModelCheckpoint(tmp_path / "checkpoints", monitor="val/loss", save_last=True)
    callbacks = [
        checkpoints,
        EarlyStopping("val/loss"),
        GradientAccumulationScheduler({0: 2}),
        LearningRateMonitor(),
        ModelSummary(),
        OneCycle(),
        Timer(),
    ]
    trainer = quick_trainer(
        callbacks=callbacks, enable_checkpointing=True, logger=CSVLogger(tmp_path), log_every_n_steps=1
    )

    trainer.fit(module, data)

    assert_plain(torch.load(checkpoints.last_model_path, weights_only=True))
    assert_plain(torch.load(checkpoints.best_model_path, weights_only=True))


@every_table
def test_unseen_categories_and_missing_values_are_answered(
    pair: Pair, quick_trainer: MakeTrainer, tmp_path: Path
) -> None:
    data = pair.data()
    module = pair.module(data.schema)
    trainer = quick_trainer()
    trainer.fit(module, data)
    trainer.save_checkpoint(tmp_path / "module.ckpt")
    raw = make_frame(20, seed=1)[["x", "z", "job", "size"]]
    raw.loc[::2, "job"] = "astronaut"
    raw.loc[::3, "size"] = None
    raw.loc[::4, ["x", "z"]] = np.nan  # x had no gap in training

    answers = Predictor(tmp_path / "module.ckpt", device="cpu").predict(raw)

    assert len(answers) == len(raw)
    assert answers.notna().all().all()


@every_module_or_target
def test_rows_that_only_predict_need_no_target(pair: Pair, quick_trainer: MakeTrainer) -> None:
    raw = make_frame(10, seed=1)[["x", "z", "job", "size"]]
    data = pair.data(predict=raw)
    module = pair.module(data.schema)

    answers = gather(quick_trainer().predict(module, data))

    assert answers["index"].tolist() == list(range(10))


@every_module
def test_test_rows_have_metrics_of_their_own(pair: Pair, quick_trainer: MakeTrainer) -> None:
    data = pair.data(test=make_frame(23, seed=2))
    module = pair.module(data.schema)
    trainer = quick_trainer()

    (tested,) = trainer.test(module, data, verbose=False)
    (validated,) = trainer.validate(module, data.loader("test"), verbose=False)

    assert {name.removeprefix("test/") for name in tested} == {name.removeprefix("val/") for name in validated}
    for name, value in tested.items():
        assert value == pytest.approx(validated[name.replace("test/", "val/")])


@every_module
def test_two_builds_from_one_seed_train_to_the_same_bits(pair: Pair, quick_trainer: MakeTrainer) -> None:
    states = []
    for _ in range(2):
        data = pair.data()
        module = pair.module(data.schema)
        quick_trainer(callbacks=[OneCycle()]).fit(module, data)
        states.append(weights_of(module))

    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_the_plainness_check_sees_what_is_not_plain() -> None:
    for value in (np.float64(1.0), Path(), slice(1), pd.Series([1]), {1: {"a": [object()]}}):
        with pytest.raises(AssertionError):
            assert_plain(value)
