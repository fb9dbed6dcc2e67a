"""A task of the user's own, written with nothing but what the library offers: it goes wherever tabvision's own tasks go."""

import pickle
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self, final

import numpy as np
import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics import MeanMetric, MetricCollection
from typing_extensions import override

from tabvision.callbacks import ExactResume
from tabvision.data import CollabDataModule, IndexSplit, TabularDataModule
from tabvision.errors import BadTypeError, BadValueError
from tabvision.inference import OnnxPredictor, Predictor, export
from tabvision.inference.checkpoint import open_checkpoint
from tabvision.modules import CollabModule, TabularModule
from tabvision.schema import Schema, Target
from tabvision.tasks import Task, own_task
from tests.made.servers import running

LEVELS = (0.1, 0.5, 0.9)


@final
class Coverage(MeanMetric):
    """How often the truth lies between the lowest and the highest quantile."""

    @override
    def update(self, predictions: Tensor, target: Tensor) -> None:  # type: ignore[override]  # of rows, as a task says
        inside = (predictions[:, 0] <= target[:, 0]) & (target[:, 0] <= predictions[:, -1])
        super().update(inside.float())


@final
@dataclass(frozen=True)
class Quantile(Task):
    """Several quantiles of one number, by the pinball loss."""

    name: ClassVar[str] = "quantile"
    levels: tuple[float, ...] = LEVELS
    center: float = 0.0
    scale: float = 1.0

    @property
    @override
    def num_outputs(self) -> int:
        return len(self.levels)

    @override
    def fit(self, target: NDArray[Any], num_classes: int) -> Self:
        return replace(self, center=float(target.mean()), scale=float(target.std()))

    @override
    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        below = (target - self.center) / self.scale - logits
        levels = logits.new_tensor(self.levels)
        return torch.maximum(levels * below, (levels - 1) * below).mean(dim=1)

    @override
    def activate(self, logits: Tensor) -> Tensor:
        return logits * self.scale + self.center

    @override
    def decode(self, predictions: NDArray[Any]) -> NDArray[Any]:
        return np.sort(predictions, axis=1)  # quantiles may not cross

    @override
    def names(self, target: Target) -> tuple[str, ...]:
        return tuple(f"{level:g}" for level in self.levels)

    @override
    def constant(self, target: NDArray[Any]) -> NDArray[Any]:
        return np.array([np.quantile(target[:, 0], self.levels)])

    @override
    def metrics(self) -> MetricCollection:
        return MetricCollection({"coverage": Coverage()})


COLUMNS = ["prediction_0.1", "prediction_0.5", "prediction_0.9"]


def frame(rows: int = 200) -> pd.DataFrame:
    draw = np.random.default_rng(0)
    x = draw.normal(size=rows)
    return pd.DataFrame({"x": x, "job": draw.choice(list("abc"), rows), "pay": 100 + 10 * x + draw.normal(size=rows)})


class Saver(pl.Callback):
    """Saves a checkpoint in the middle of an epoch."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @override
    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any, **kwargs: Any) -> None:
        if trainer.global_step == 7:
            trainer.save_checkpoint(self.path)


class Fit:
    """Three epochs of a small table, whole or resumed from a checkpoint."""

    def __init__(self, folder: Path, ckpt_path: Path | None = None) -> None:
        pl.seed_everything(0 if ckpt_path is None else 9, verbose=False)
        self.path, self.middle = folder / "last.ckpt", folder / "middle.ckpt"
        self.data = TabularDataModule(frame(), "pay", task=Quantile(), batch_size=32, verbose=False)
        self.module = TabularModule(self.data.schema, widths=[16], dropout=0.2)
        self.trainer = pl.Trainer(
            accelerator="cpu", callbacks=[ExactResume(), Saver(self.middle)], default_root_dir=folder, devices=1,
            enable_checkpointing=False, enable_model_summary=False, enable_progress_bar=False, logger=False, max_epochs=3,
        )  # fmt: skip
        self.trainer.fit(self.module, self.data, ckpt_path=ckpt_path, weights_only=True)
        self.trainer.save_checkpoint(self.path)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Fit:
    return Fit(tmp_path_factory.mktemp("fitted"))


def test_it_trains_with_its_own_loss_metric_and_naive_answer(fitted: Fit) -> None:
    measured = fitted.trainer.callback_metrics

    assert 0 <= measured["val/coverage"] <= 1
    assert fitted.data.baseline()["val/coverage"] == pytest.approx(0.65)  # of 40 rows: by chance fewer than 0.8
    assert isinstance(fitted.data.schema.task, Quantile)
    assert 95 < fitted.data.schema.task.center < 105


def test_resumed_within_an_epoch_it_ends_with_the_same_weights(fitted: Fit, tmp_path: Path) -> None:
    resumed = Fit(tmp_path, fitted.middle)

    for name, weights in fitted.module.state_dict().items():
        assert torch.equal(weights, resumed.module.state_dict()[name]), name


def test_a_checkpoint_alone_answers_in_quantiles(fitted: Fit) -> None:
    answers = Predictor(fitted.path, task=Quantile, device="cpu").predict(frame(20))

    assert list(answers) == COLUMNS
    assert (answers.diff(axis=1).iloc[:, 1:] >= 0).all(axis=None)
    assert (answers["prediction_0.5"] - frame(20)["pay"]).abs().mean() < 20


def test_a_module_in_memory_answers_without_being_asked_for_its_task(fitted: Fit) -> None:
    by_path = Predictor(fitted.path, task=Quantile(), device="cpu").predict(frame(5))

    pd.testing.assert_frame_equal(Predictor(fitted.module, device="cpu").predict(frame(5)), by_path)


def test_a_checkpoint_loads_as_lightning_loads_it(fitted: Fit) -> None:
    module = TabularModule.load_from_checkpoint(fitted.path, task=Quantile, weights_only=True)

    assert module.task == fitted.module.task
    with own_task(Quantile):
        assert open_checkpoint(fitted.path).module.task == fitted.module.task


def test_opening_asks_for_the_task_in_a_sentence(fitted: Fit) -> None:
    sentence = (
        r"the task 'quantile' is a custom one, whose code no file holds\. Pass its class again: task=\.\.\., as in"
    )

    with pytest.raises(BadValueError, match=f"^Predictor: {sentence}"):
        Predictor(fitted.path)
    with pytest.raises(BadValueError, match=f"^TabularModule: {sentence}"):
        TabularModule.load_from_checkpoint(fitted.path, weights_only=True)


def test_another_task_and_one_that_is_not_needed_are_refused(fitted: Fit, tmp_path: Path) -> None:
    module = TabularModule(TabularDataModule(frame(), "pay", verbose=False).schema, widths=[4])
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, default_root_dir=tmp_path)
    trainer.strategy.connect(module)
    trainer.save_checkpoint(tmp_path / "plain.ckpt")

    with pytest.raises(BadValueError, match=r"^Predictor: the file's task is 'quantile', got 'other'"):
        Predictor(fitted.path, task=type("Other", (Task,), {"name": "other"}))
    with pytest.raises(
        BadValueError, match=r"^Predictor: the file's task is built in, so task= has no effect. Leave task out"
    ):
        Predictor(tmp_path / "plain.ckpt", task=Quantile)
    with pytest.raises(BadTypeError, match=r"^Predictor: task must be a custom Task, got <class 'int'>"):
        Predictor(fitted.path, task=int)


def test_it_says_why_it_is_not_calibrated(fitted: Fit) -> None:
    with pytest.raises(BadValueError, match="this kind of target has nothing that is calibrated, neither"):
        Predictor(fitted.path, task=Quantile, device="cpu").calibrate(frame())


@pytest.mark.slow  # `test_predictor.py` asks a file of another task
def test_its_exported_file_answers_as_the_checkpoint_does(fitted: Fit, tmp_path: Path) -> None:
    expected = Predictor(fitted.path, task=Quantile, device="cpu").predict(frame(20))

    export(fitted.path, tmp_path / "model.onnx", task=Quantile)
    exported = OnnxPredictor(tmp_path / "model.onnx", task=Quantile)

    pd.testing.assert_frame_equal(exported.predict(frame(20)), expected, rtol=1e-4)
    pd.testing.assert_frame_equal(pickle.loads(pickle.dumps(exported)).predict(frame(20)), expected, rtol=1e-4)
    with pytest.raises(BadValueError, match=r"^OnnxPredictor: the task 'quantile' is a custom one"):
        OnnxPredictor(tmp_path / "model.onnx")


def test_it_is_served(fitted: Fit) -> None:
    predictor = Predictor(fitted.path, task=Quantile, device="cpu")

    with running(predictor) as client:
        answer = client.post("/predict", json={"x": 0.5, "job": "a"}).json()
        health = client.get("/health").json()

    assert health["task"] == "quantile"
    assert list(answer) == COLUMNS


def test_it_needs_a_dataclass_whose_facts_are_saved() -> None:
    class Bare(Task):
        name = "bare"
        num_outputs, loss, metrics = 1, Quantile.loss, Quantile.metrics

    with pytest.raises(BadTypeError, match="the task 'bare' must be a dataclass"):
        Bare().to_dict()
    schema = Schema(target=Target(columns=("y",), task=Quantile()))
    with own_task(Quantile):
        assert Schema.from_dict(schema.to_dict()) == schema
    assert schema.to_dict()["target"]["task"] == {
        "name": "quantile", "own": True, "levels": list(LEVELS), "center": 0.0, "scale": 1.0,
    }  # fmt: skip


def test_ratings_are_predicted_by_a_task_that_ranks_items() -> None:
    ratings = pd.DataFrame({"who": [1, 1, 2, 2, 3, 3], "film": list("abbcca"), "stars": [1, 4, 5, 3, 2, 4]})
    settings: dict[str, Any] = {"user": "who", "item": "film", "rating": "stars", "verbose": False}

    with pytest.raises(BadTypeError, match="ratings must be numbers, or yes and no, got quantile in column 'stars'"):
        CollabDataModule(ratings, task=Quantile(), split=IndexSplit([0]), **settings)
    data = CollabDataModule(ratings, task=Median(), split=IndexSplit([0]), **settings)

    assert CollabModule(data.schema, factors=2).task == data.schema.task
    with pytest.raises(BadValueError, match="y_range is for numbers, and 'stars' is median"):
        CollabDataModule(ratings, task=Median(), y_range=(0, 6), split=IndexSplit([0]), **settings)


@final
@dataclass(frozen=True)
class Median(Task):
    """The middle of what a user would give, by the absolute error."""

    name: ClassVar[str] = "median"
    ranks_items: ClassVar[bool] = True

    @property
    @override
    def num_outputs(self) -> int:
        return 1

    @override
    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        return (logits - target).abs()[:, 0]

    @override
    def metrics(self) -> MetricCollection:
        return MetricCollection({"coverage": Coverage()})
