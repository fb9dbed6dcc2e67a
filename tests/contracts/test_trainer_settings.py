"""Modules under the settings that a user's own Trainer may have: all of them where one may differ, else one."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import GradientAccumulationScheduler, ModelCheckpoint
from torch import Tensor
from typing_extensions import override

from tabvision.callbacks import FitTable, OneCycle
from tabvision.inference import gather
from tabvision.modules import SupervisedModule, TabularModule
from tests.made.pairs import EACH, ONE, Pair, every_module, every_target, make_frame, tabular_data
from tests.made.processes_tables import RowsSeen
from tests.made.trainers import MakeTrainer


def trained(trainer: pl.Trainer, pair: Pair = ONE, **settings: Any) -> tuple[SupervisedModule, Any]:
    data = pair.data()
    module = pair.module(data.schema, **settings)
    trainer.fit(module, data)
    return module, data


def assert_same_weights(one: SupervisedModule, other: SupervisedModule) -> None:
    ours, theirs = one.state_dict(), other.state_dict()
    different = [name for name in ours if not torch.equal(ours[name], theirs[name])]
    assert not different


PRECISIONS = ["64-true", "bf16-mixed", "bf16-true", "64-true"]  # of each module one, of one all


@pytest.mark.parametrize(
    ("pair", "precision"), [*zip(EACH, PRECISIONS, strict=True), (ONE, "bf16-mixed"), (ONE, "64-true")], ids=str
)
def test_every_precision_trains_validates_and_predicts(pair: Pair, precision: Any, quick_trainer: MakeTrainer) -> None:
    trainer = quick_trainer(precision=precision)

    module, data = trained(trainer, pair)

    (validated,) = trainer.validate(module, data, verbose=False)
    assert np.isfinite(list(validated.values())).all()
    assert gather(trainer.predict(module, data))["predictions"].dtype == torch.float32


@pytest.mark.parametrize("precision", ["bf16-true", "64-true"])
def test_rows_are_scored_out_of_fold_in_every_precision(precision: Any, quick_trainer: MakeTrainer) -> None:
    data = tabular_data("binary", make_frame(60))
    trainer = quick_trainer(precision=precision, callbacks=[FitTable()])

    trainer.fit(TabularModule(data.schema), data)

    assert trainer.callback_metrics["oof/loss"].isfinite()


@pytest.mark.parametrize(
    ("optimizer", "precision"),
    [("adamw", "bf16-mixed"), ("adamw", "32-true"), ("adam", "32-true"), ("sgd", "bf16-mixed"), ("rmsprop", "32-true")],
)
def test_gradients_can_be_clipped_in_every_precision(
    optimizer: str, precision: Any, quick_trainer: MakeTrainer
) -> None:
    trainer = quick_trainer(precision=precision, gradient_clip_val=0.5)

    module, _ = trained(trainer, optimizer=optimizer)

    assert all(parameter.isfinite().all() for parameter in module.parameters())


@every_module
def test_double_precision_is_double_throughout(pair: Pair, quick_trainer: MakeTrainer) -> None:
    data = pair.data()
    module = pair.module(data.schema).double()
    batch: Any = next(iter(data.train_dataloader()))
    batch = {name: tensor.double() if tensor.is_floating_point() else tensor for name, tensor in batch.items()}
    module.trainer = quick_trainer(precision="64-true")

    loss = module._mean_loss(batch, module.member_logits(batch), "train")

    assert loss.dtype == torch.float64


def test_two_batches_accumulated_are_one_step(quick_trainer: MakeTrainer) -> None:
    trainer = quick_trainer(accumulate_grad_batches=2, max_epochs=2)

    _, data = trained(trainer)

    assert len(data.train_dataloader()) == 3
    assert trainer.global_step == 2 * 2  # the third batch of an epoch makes a step of its own


def test_one_cycle_reaches_its_end_under_an_accumulation_schedule(quick_trainer: MakeTrainer) -> None:
    schedule = GradientAccumulationScheduler({0: 1, 1: 2, 3: 3})
    cycle = OneCycle(convention="torch", div=10, div_final=100)
    trainer = quick_trainer(callbacks=[cycle, schedule], max_epochs=4)

    trained(trainer)

    group = trainer.optimizers[0].param_groups[0]
    assert trainer.global_step == 3 + 2 + 2 + 1
    assert group["lr"] == pytest.approx(group["initial_lr"] / 1000)


@pytest.mark.parametrize(
    ("settings", "steps"),
    [
        ({"limit_train_batches": 2}, 2),
        ({"limit_train_batches": 0.34}, 1),
        ({"max_steps": 5, "max_epochs": -1}, 5),
        ({"max_steps": 2}, 2),
        ({"overfit_batches": 1, "max_epochs": 4}, 4),
        ({"fast_dev_run": True}, 1),
        ({"fast_dev_run": 2}, 2),
        ({"barebones": True, "enable_checkpointing": None, "enable_model_summary": None}, 3),
        ({"limit_val_batches": 0}, 3),
        ({"num_sanity_val_steps": -1}, 3),
        ({"check_val_every_n_epoch": 2, "max_epochs": 3}, 9),
        ({"val_check_interval": 2}, 3),
        ({"reload_dataloaders_every_n_epochs": 1, "max_epochs": 2}, 6),
        ({"deterministic": True}, 3),
        ({"detect_anomaly": True}, 3),
        ({"log_every_n_steps": 0}, 3),
    ],
    ids=str,
)
def test_every_limit_of_a_trainer_is_kept(settings: dict[str, Any], steps: int, quick_trainer: MakeTrainer) -> None:
    cycle = OneCycle(div=10, div_final=100)
    trainer = quick_trainer(callbacks=[cycle], **settings)

    module, _ = trained(trainer)

    assert trainer.global_step == steps
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(module.hparams["lr"] / 100)


def test_overfitting_visits_the_same_rows_in_every_epoch(quick_trainer: MakeTrainer) -> None:
    seen = RowsSeen()

    trained(quick_trainer(overfit_batches=2, max_epochs=3, callbacks=[seen]))

    assert len(seen.epochs) == 3
    assert seen.epochs[0] == seen.epochs[1] == seen.epochs[2]


def test_each_epoch_sees_every_training_row_once_in_an_order_of_its_own(quick_trainer: MakeTrainer) -> None:
    seen = RowsSeen()

    _, data = trained(quick_trainer(max_epochs=2, callbacks=[seen]))

    first, second = ([row for batch in epoch for row in batch] for epoch in seen.epochs)
    assert sorted(first) == sorted(second) == data.parts["train"].rows.tolist()
    assert first != second


@every_module
def test_without_validation_rows_training_logs_its_loss_alone(pair: Pair, quick_trainer: MakeTrainer) -> None:
    data = pair.data(split=None)
    trainer = quick_trainer()

    trainer.fit(pair.module(data.schema), data)

    assert "train/loss" in trainer.callback_metrics
    assert not [name for name in trainer.callback_metrics if name.startswith("val/")]
    assert data.baseline() == {}


def test_validating_without_validation_rows_is_refused(quick_trainer: MakeTrainer) -> None:
    data = ONE.data(split=None)

    with pytest.raises(ValueError, match="there is no val split, only train"):
        quick_trainer().validate(ONE.module(data.schema), data)


@every_target
def test_one_validation_row_is_validated(pair: Pair, quick_trainer: MakeTrainer) -> None:
    data = pair.data(split=1 / 48)
    trainer = quick_trainer()

    trainer.fit(pair.module(data.schema), data)

    assert len(data.parts["val"].rows) == 1
    assert np.isfinite(float(trainer.callback_metrics["val/loss"]))


@every_module
def test_validation_gives_the_same_before_and_after_an_idle_fit(pair: Pair, quick_trainer: MakeTrainer) -> None:
    data = pair.data()
    module = pair.module(data.schema)
    trainer = quick_trainer()

    (fresh,) = trainer.validate(module, data, verbose=False)
    trainer.fit(module, data)
    during = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("val/")}
    (after,) = trainer.validate(module, data, verbose=False)

    assert during == after
    assert fresh["val/loss"] != after["val/loss"]


def test_a_second_fit_with_a_new_trainer_goes_on_from_the_weights(quick_trainer: MakeTrainer) -> None:
    data = ONE.data()
    module = ONE.module(data.schema)
    quick_trainer(callbacks=[OneCycle()]).fit(module, data)
    before = [parameter.detach().clone() for parameter in module.parameters()]
    cycle = OneCycle(div_final=100)
    trainer = quick_trainer(max_epochs=2, callbacks=[cycle])

    trainer.fit(module, data)

    assert trainer.global_step == 6
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(module.hparams["lr"] / 100)
    assert not any(torch.equal(old, new) for old, new in zip(before, module.parameters(), strict=True))


def test_a_second_fit_with_the_same_trainer_goes_on_for_the_added_epochs(quick_trainer: MakeTrainer) -> None:
    cycle = OneCycle(div=10, div_final=100)
    trainer = quick_trainer(max_epochs=2, callbacks=[cycle])
    module, data = trained(trainer)
    rates: list[float] = []

    class Rates(pl.Callback):
        @override
        def on_train_batch_start(self, trainer: pl.Trainer, *args: Any) -> None:
            rates.append(trainer.optimizers[0].param_groups[0]["lr"] / module.hparams["lr"])

    trainer.callbacks.append(Rates())  # type: ignore[attr-defined]  # a plain list, set by Lightning's connector
    trainer.fit_loop.max_epochs = 5
    trainer.fit(module, data)

    assert trainer.global_step == 15
    assert rates == pytest.approx([cycle.at(step, 9).factor for step in range(9)])


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")  # where the first run left off
@pytest.mark.parametrize(
    ("pair", "optimizer"), [*((pair, "adamw") for pair in EACH), (ONE, "sgd"), (ONE, "rmsprop")], ids=str
)
def test_resumed_at_an_epochs_end_equals_uninterrupted_to_the_bit(
    pair: Pair, optimizer: str, quick_trainer: MakeTrainer, tmp_path: Path
) -> None:
    def run(**settings: Any) -> tuple[pl.Trainer, SupervisedModule]:
        data = pair.data()
        module = pair.module(data.schema, optimizer=optimizer)
        callbacks = [OneCycle(), ModelCheckpoint(tmp_path / "all", filename="{epoch}", save_top_k=-1)]
        trainer = quick_trainer(max_epochs=2, callbacks=callbacks, enable_checkpointing=True)
        trainer.fit(module, data, **settings)
        return trainer, module

    whole, expected = run()

    resumed, module = run(ckpt_path=tmp_path / "all" / "epoch=0.ckpt", weights_only=True)

    assert resumed.global_step == whole.global_step == 6
    assert_same_weights(module, expected)
    assert resumed.optimizers[0].param_groups[0]["lr"] == whole.optimizers[0].param_groups[0]["lr"]
    for ours, theirs in zip(resumed.optimizers[0].state.values(), whole.optimizers[0].state.values(), strict=True):
        assert all(torch.equal(ours[name], theirs[name]) for name in ours if isinstance(ours[name], Tensor))


def test_resuming_for_more_epochs_rescales_the_cycle_and_reaches_its_end(
    quick_trainer: MakeTrainer, tmp_path: Path
) -> None:
    first = quick_trainer(max_epochs=2, callbacks=[OneCycle()])
    trained(first)
    first.save_checkpoint(tmp_path / "two.ckpt")
    data = ONE.data()
    module = ONE.module(data.schema)
    trainer = quick_trainer(max_epochs=5, callbacks=[OneCycle(div_final=100)])

    trainer.fit(module, data, ckpt_path=tmp_path / "two.ckpt", weights_only=True)

    assert trainer.global_step == 15
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(module.hparams["lr"] / 100)


@every_module
def test_data_of_another_schema_are_refused_and_new_data_under_the_modules_are_taken(
    pair: Pair, quick_trainer: MakeTrainer
) -> None:
    module = pair.module(pair.data().schema)
    other = pair.data(make_frame(60, seed=3).replace({"job": {"cook": "baker"}, "paid": {"no": "never"}}))
    with pytest.raises(ValueError, match=r"prepared for another schema; what differs: .*Pass schema=module.schema"):
        quick_trainer().fit(module, other)

    other = pair.data(make_frame(60, seed=3), schema=module.schema, task=None, ignore=None)
    (validated,) = quick_trainer().validate(module, other, verbose=False)
    assert np.isfinite(validated["val/loss"])


@every_module
def test_nothing_warns_in_an_ordinary_run(pair: Pair, quick_trainer: MakeTrainer) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings(
            "ignore", "The '.*' does not have many workers|.isinstance.treespec, LeafSpec"
        )  # Lightning's
        trainer = quick_trainer(callbacks=[OneCycle()])
        module, data = trained(trainer, pair)
        trainer.validate(module, data, verbose=False)
        trainer.predict(module, data)
