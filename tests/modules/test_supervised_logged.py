"""What the four steps log is what was computed by hand, rows' weights included."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EarlyStopping
from pytorch_lightning.loggers import CSVLogger
from sklearn import metrics
from torch import Tensor
from torch.nn import functional
from typing_extensions import override

from tabvision.data import TabularDataModule, base
from tabvision.data.loaders import TensorLoader
from tests.made.pairs import make_frame, tabular_data
from tests.made.tables import small
from tests.made.trainers import MakeTrainer


def validated(
    data: TabularDataModule, make_trainer: MakeTrainer
) -> tuple[Mapping[str, float], tuple[Tensor, Tensor, Tensor]]:
    """What validating a small module logs; its logits, predictions and targets of the same rows, computed at once."""
    module = small(data)
    (logged,) = make_trainer().validate(module, data, verbose=False)
    tensors, rows = data.parts["val"]
    batch = {name: tensor[rows] for name, tensor in tensors.items()}
    batch["categorical"] = batch["categorical"].long()
    module.eval()
    with torch.no_grad():
        logits = module(batch)
    return logged, (logits, module.task.activate(logits), batch["target"])


@pytest.fixture
def _several_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Validation rows come in several batches, the last a smaller one."""
    monkeypatch.setattr(base, "CPU_EVAL_BATCH_SIZE", 7)


@pytest.mark.usefixtures("_several_batches")
def test_binary_validation_metrics_are_scikit_learns(quick_trainer: MakeTrainer) -> None:
    logged, (logits, predictions, target) = validated(tabular_data("binary", make_frame(90)), quick_trainer)

    answered = predictions[:, 1] > 0.5
    assert logged == pytest.approx(
        {
            "val/loss": functional.binary_cross_entropy_with_logits(logits[:, 0], target.float()).item(),
            "val/accuracy": metrics.accuracy_score(target, answered),
            "val/auroc": metrics.roc_auc_score(target, predictions[:, 1]),
            "val/f1": metrics.f1_score(target, answered),
        }
    )


@pytest.mark.usefixtures("_several_batches")
def test_multiclass_validation_metrics_are_scikit_learns(quick_trainer: MakeTrainer) -> None:
    logged, (logits, predictions, target) = validated(tabular_data("multiclass", make_frame(90)), quick_trainer)

    answered = predictions.argmax(1)
    assert logged == pytest.approx(
        {
            "val/loss": functional.cross_entropy(logits, target).item(),
            "val/accuracy": metrics.accuracy_score(target, answered),
            "val/f1": metrics.f1_score(target, answered, average="macro"),
        }
    )


@pytest.mark.usefixtures("_several_batches")
def test_multilabel_validation_metrics_are_scikit_learns(quick_trainer: MakeTrainer) -> None:
    logged, (logits, predictions, target) = validated(tabular_data("multilabel_text", make_frame(90)), quick_trainer)

    answered = predictions > 0.5
    assert logged == pytest.approx(
        {
            "val/loss": functional.binary_cross_entropy_with_logits(logits, target).item(),
            "val/accuracy": (answered == (target > 0)).float().mean().item(),
            "val/f1": metrics.f1_score(target, answered, average="macro"),
        }
    )


@pytest.mark.usefixtures("_several_batches")
def test_regression_validation_metrics_are_scikit_learns_in_the_users_units(quick_trainer: MakeTrainer) -> None:
    frame = make_frame(90)
    data = tabular_data("regression", frame)
    logged, (logits, predictions, target) = validated(data, quick_trainer)

    training = frame["pay"].to_numpy()[data.parts["train"].rows]
    standardized = (target - training.mean()) / training.std()
    assert logged == pytest.approx(
        {
            "val/loss": functional.mse_loss(logits, standardized).item(),
            "val/mae": metrics.mean_absolute_error(target, predictions),
            "val/rmse": metrics.root_mean_squared_error(target, predictions),
            "val/r2": metrics.r2_score(target, predictions),
        },
        rel=1e-4,
    )


class Losses(pl.Callback):
    """The loss and the number of rows of each training batch."""

    def __init__(self) -> None:
        self.steps: list[tuple[float, int]] = []

    @override
    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.steps.append((float(outputs["loss"]), len(batch["index"])))


def test_the_training_loss_weighs_rows_alike_in_a_smaller_last_batch(quick_trainer: MakeTrainer) -> None:
    data = tabular_data("binary", make_frame(48), batch_size=16)  # 38 rows train: 16, 16, 6
    losses = Losses()
    trainer = quick_trainer(max_epochs=2, callbacks=[losses])

    trainer.fit(small(data), data)

    means, rows = np.array(losses.steps[3:]).T  # of the second epoch: the first is forgotten
    assert rows.tolist() == [16, 16, 6]
    assert float(trainer.callback_metrics["train/loss"]) == pytest.approx((means * rows).sum() / rows.sum())


def test_each_metric_is_logged_once_an_epoch(quick_trainer: MakeTrainer, tmp_path: Path) -> None:
    data = tabular_data("binary")
    logger = CSVLogger(tmp_path)

    quick_trainer(max_epochs=3, logger=logger, log_every_n_steps=1).fit(small(data), data)

    written = pd.read_csv(Path(logger.log_dir) / "metrics.csv")
    assert len(written) == 6  # three of validation, three of training
    for name in ("train/loss", "val/loss", "val/accuracy", "val/auroc", "val/f1"):
        assert written["epoch"][written[name].notna()].tolist() == [0, 1, 2]
    assert "train/loss_step" not in written.columns


@pytest.mark.parametrize("monitor", ["train/loss", "val/loss"])
def test_what_is_logged_can_be_monitored(monitor: str, quick_trainer: MakeTrainer) -> None:
    data = tabular_data("binary")

    trainer = quick_trainer(max_epochs=3, callbacks=[EarlyStopping(monitor, stopping_threshold=100.0)])
    trainer.fit(small(data), data)

    assert trainer.current_epoch == 1


def test_the_sanity_check_leaves_no_trace_in_the_metrics(quick_trainer: MakeTrainer) -> None:
    data = tabular_data("binary")
    seen = []
    for num_sanity_val_steps in (0, 2):
        torch.manual_seed(0)
        trainer = quick_trainer(num_sanity_val_steps=num_sanity_val_steps)
        trainer.fit(small(data), data)
        seen.append({name: float(value) for name, value in trainer.callback_metrics.items()})

    assert seen[0] == seen[1]


# Weights of rows.


def weighted_frame() -> Any:
    frame = make_frame(60)
    frame["weight"] = np.arange(60) % 5 / 2.0
    return frame


@pytest.mark.usefixtures("_several_batches")
def test_the_loss_is_the_weighted_mean_of_the_rows(quick_trainer: MakeTrainer) -> None:
    frame = weighted_frame()
    data = tabular_data("binary", frame, weight="weight")

    logged, (logits, _, target) = validated(data, quick_trainer)

    losses = functional.binary_cross_entropy_with_logits(logits[:, 0], target.float(), reduction="none")
    weights = frame["weight"].to_numpy()[data.parts["val"].rows]
    assert logged["val/loss"] == pytest.approx(np.average(losses.numpy(), weights=weights))


def test_a_row_that_weighs_nothing_teaches_nothing() -> None:
    frame = weighted_frame()
    data = tabular_data("binary", frame, weight="weight")
    module = small(data, batch_norm=False, continuous_norm=False)
    batch = next(iter(data.train_dataloader()))
    changed = dict(batch)
    changed["target"] = torch.where(batch["weight"] == 0, 1 - batch["target"], batch["target"])

    losses = [module._mean_loss(each, module(each).unsqueeze(1), "train").item() for each in (batch, changed)]  # type: ignore[arg-type]

    assert (batch["weight"] == 0).any()
    assert losses[0] == losses[1]


def test_a_batch_of_rows_that_all_weigh_nothing_changes_nothing(quick_trainer: MakeTrainer) -> None:
    frame = make_frame(40).assign(weight=1.0)
    frame.loc[frame.index[:30], "weight"] = 0.0  # so that some batches of two weigh nothing
    data = tabular_data("regression", frame, weight="weight", batch_size=2)
    module = small(data)
    trainer = quick_trainer()

    trainer.fit(module, data)

    assert all(parameter.isfinite().all() for parameter in module.parameters())
    assert math.isfinite(trainer.callback_metrics["train/loss"])


@pytest.mark.parametrize("name", ["validate", "test"])
@pytest.mark.parametrize("target", ["binary", "regression_several"])
def test_several_loaders_are_logged_each_as_it_would_be_alone(
    name: str, target: str, quick_trainer: MakeTrainer
) -> None:
    data = tabular_data(target, make_frame(90))
    module, loaders = small(data), _three_loaders(data)
    evaluate = getattr(quick_trainer(), name)

    alone = [evaluate(module, loader, verbose=False)[0] for loader in loaders]
    together = evaluate(module, loaders, verbose=False)

    assert together[0] == pytest.approx(
        {
            f"{key}/dataloader_idx_{number}": value
            for number, logged in enumerate(alone)
            for key, value in logged.items()
        }
    )
    assert alone[0] != alone[1]


def test_a_fit_with_several_loaders_stops_by_the_metric_of_one(quick_trainer: MakeTrainer) -> None:
    data = tabular_data("binary", make_frame(90))
    train, *rest = _three_loaders(data)
    stopping = EarlyStopping("val/loss/dataloader_idx_1", patience=1, min_delta=10.0)
    trainer = quick_trainer(max_epochs=9, callbacks=[stopping])

    trainer.fit(small(data), train, rest)

    assert trainer.current_epoch == 2
    assert {f"val/accuracy/dataloader_idx_{number}" for number in (0, 1)} <= trainer.callback_metrics.keys()
    assert "val/loss" not in trainer.callback_metrics


def test_several_loaders_are_predicted_one_after_the_other(quick_trainer: MakeTrainer) -> None:
    data = tabular_data("binary", make_frame(90))
    module, loaders = small(data), _three_loaders(data)

    together: Any = quick_trainer().predict(module, loaders)

    for loader, outputs in zip(loaders, together, strict=True):
        alone: Any = quick_trainer().predict(module, loader)
        for ours, theirs in zip(outputs, alone, strict=True):
            assert torch.equal(ours["predictions"], theirs["predictions"])


def _three_loaders(data: TabularDataModule) -> list[TensorLoader]:
    """Rows of a datamodule in three parts."""
    data.setup("fit")
    tensors, _ = data.parts["train"]
    parts = (torch.arange(0, 20), torch.arange(20, 50), torch.arange(50, 71))
    return [TensorLoader(tensors, rows, batch_size=8) for rows in parts]
