"""Fits of random tables that are hard on a network: no answer and no epoch's score explodes, without bounds on answers."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from typing_extensions import override

from tabvision.callbacks import FitTable
from tabvision.data import TabularDataModule
from tabvision.inference import Predictor
from tabvision.modules import TabularModule
from tabvision.tasks import Regression
from tests.made.sweeps import slow_but
from tests.made.trainers import quiet_trainer


def column(draw: np.random.Generator, rows: int) -> Any:
    """Numbers, flags or categories, of which few rows are far from the others, or unlike them."""
    kind = draw.integers(8)
    rare = draw.random(rows) < 2 / rows
    if kind == 0:
        return draw.normal(size=rows)
    if kind == 1:  # a flag of few rows
        return rare.astype(float)
    if kind == 2:  # rows at a dozen standard deviations
        return draw.normal(size=rows) + 12 * rare
    if kind == 3:  # nearly always 0
        return np.where(draw.random(rows) < 0.02, draw.lognormal(3, 2, rows), 0.0)
    if kind == 4:
        return draw.lognormal(0, 3, rows)
    if kind == 5:  # constant but for the last digits
        return 1.0 + 1e-7 * draw.normal(size=rows)
    if kind == 6:
        return pd.Series(draw.choice(list("abcd"), rows)).mask(draw.random(rows) < 0.1)
    return draw.integers(0, rows // 4, rows).astype(str)


def hard_table(seed: int) -> pd.DataFrame:
    """A table of such columns, whose target depends on some of them; sometimes skewed, sometimes with outliers."""
    draw = np.random.default_rng(seed)
    rows = int(draw.integers(80, 300))
    frame = pd.DataFrame({f"x{number}": column(draw, rows) for number in range(draw.integers(2, 12))})
    frame["near"] = draw.normal(size=rows)
    target = frame["near"] + draw.normal(size=rows)
    for name in frame.columns[:2]:
        codes = frame[name].astype("float64") if frame[name].dtype.kind == "f" else frame[name].factorize()[0]
        target += np.sign(draw.normal()) * pd.Series(codes).rank(pct=True)
    return frame.assign(y=[target, np.exp(target), np.maximum(target - 1, 0), target**3][draw.integers(4)])


def far_rows(frame: pd.DataFrame, seed: int) -> pd.DataFrame:
    """The rows with their columns shuffled apart, and numbers out of all range in some of them."""
    draw = np.random.default_rng(seed)
    rows = pd.DataFrame({name: draw.permutation(frame[name].to_numpy()) for name in frame.columns})
    for name in rows.columns[[dtype.kind == "f" for dtype in rows.dtypes]]:
        rows.loc[draw.random(len(rows)) < 0.1, name] = draw.choice([-1e30, -1e6, 50.0, 1e30])
    return rows


class Scores(pl.Callback):
    """Keep the held-out loss of each epoch, in variances of the target."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    @override
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        found = trainer.callback_metrics.get("oof/loss", trainer.callback_metrics.get("val/loss"))
        assert found is not None
        self.losses.append(float(found))


@pytest.mark.parametrize("seed", slow_but((3,), [3, 7, 24, 28, 60]))
def test_without_bounds_no_answer_is_far_from_the_training_rows(seed: int) -> None:
    frame = hard_table(seed)
    torch.manual_seed(seed)
    settings: dict[str, Any] = {"split": None if seed % 2 else 0.25, "batch_size": 32, "seed": seed, "verbose": False}
    data = TabularDataModule(frame, "y", task=Regression(margin=None), **settings)
    module, scores = TabularModule(data.schema), Scores()
    quiet_trainer(max_epochs=15, num_sanity_val_steps=0, callbacks=[FitTable(), scores]).fit(module, data)

    answers = Predictor(module).predict(pd.concat([frame, far_rows(frame, seed)]).drop(columns="y"))["prediction"]

    low, high = float(frame["y"].min()), float(frame["y"].max())
    assert answers.between(2 * low - high, 2 * high - low).all(), (answers.min(), answers.max(), low, high)
    held_out = data.parts["val" if "val" in data.parts else "train"]
    target = held_out.tensors["target"][held_out.rows].double()
    task: Any = module.task
    (mean,), (std,) = task.mean, task.spread
    naive = max(1.0, float((((target - mean) / std) ** 2).mean()))  # the held-out rows may lack what makes it hard
    assert max(scores.losses) <= 4 * naive, scores.losses  # twice naive's root mean squared error
