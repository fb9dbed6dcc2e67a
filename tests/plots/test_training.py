"""Figures show the numbers that they are given."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tabvision.callbacks import FineTune, OneCycle, Unfreeze
from tabvision.callbacks.schedule import RunLength
from tabvision.errors import BadTypeError, BadValueError, MissingFileError
from tabvision.plots import history, lr_curve, optimizer_race, schedule
from tabvision.scratch import optimizer_race as race
from tabvision.tuning import LRFinding


def test_a_schedule_draws_the_rate_of_every_group_at_every_step() -> None:
    callback = FineTune(freeze_epochs=1)

    figure = schedule(callback, num_epochs=3, batches_per_epoch=10, groups=("early", "late", "head"))

    lines = figure.axes[0].get_lines()
    length = RunLength(30, (10, 20, 30))
    expected = [callback.peaks(3)[2] * callback.setting(step, length, 2, 3).factor for step in range(30)]
    assert [line.get_label() for line in lines] == ["early", "late", "head"]
    assert list(lines[2].get_ydata()) == pytest.approx(expected)  # type: ignore[arg-type]


def test_frozen_epochs_are_shaded_and_named() -> None:
    figure = schedule(
        OneCycle(1e-2), num_epochs=3, batches_per_epoch=10, groups=("body", "head"), unfreeze=Unfreeze({0: 1, 2: "all"})
    )

    axes = figure.axes[0]
    assert len(axes.patches) == 2
    assert [text.get_text() for text in axes.texts] == ["body\nfrozen"] * 2


def test_a_schedule_of_nothing_is_refused() -> None:
    with pytest.raises(BadValueError, match="at least one epoch, batch and group are needed"):
        schedule(OneCycle(), num_epochs=0, batches_per_epoch=10)


def test_a_sweep_draws_its_curve_and_marks_the_suggestions_on_it() -> None:
    lrs, losses = (1e-4, 1e-3, 1e-2, 1e-1), (1.0, 0.8, 0.5, 4.0)

    axes = lr_curve(LRFinding(lrs, losses, lowest=1e-2, valley=1e-3, steep=1e-2, minimum=1e-3, slide=1e-2)).axes[0]

    curve, lowest, valley, *_ = axes.get_lines()
    assert list(curve.get_ydata()) == list(losses)  # type: ignore[arg-type]
    assert (lowest.get_xdata()[0], lowest.get_ydata()[0]) == (1e-2, 0.5)  # type: ignore[index]
    assert (valley.get_xdata()[0], valley.get_ydata()[0]) == (1e-3, 0.8)  # type: ignore[index]
    assert axes.get_ylim()[1] < 4.0  # the divergence at the end does not hide the rest


def metrics(num_epochs: int = 5) -> pd.DataFrame:
    """Rows as Lightning's logger writes them: of a step, of validation and of training, with gaps."""
    epochs = np.arange(num_epochs)
    rates = pd.DataFrame({"step": epochs * 10, "lr-AdamW/body": 1e-4, "lr-AdamW/head": 1e-3})
    validation = pd.DataFrame({"epoch": epochs, "step": epochs * 10 + 9, "val/loss": 2 / (epochs + 1), "val/f1": 0.5})
    training = pd.DataFrame({"epoch": epochs, "step": epochs * 10 + 9, "train/loss": 1 / (epochs + 1)})
    return pd.concat([rates, validation, training])


def test_a_file_of_metrics_is_drawn(tmp_path: Path) -> None:
    metrics().to_csv(tmp_path / "metrics.csv", index=False)

    loss, f1, rates, *_ = history(tmp_path / "metrics.csv").axes

    assert [line.get_label() for line in loss.get_lines()] == ["train", "val"]
    assert list(loss.get_lines()[1].get_ydata()) == pytest.approx([2, 1, 2 / 3, 0.5, 0.4])  # type: ignore[arg-type]
    assert list(loss.get_lines()[1].get_xdata()) == [1, 2, 3, 4, 5]  # type: ignore[arg-type]
    assert (loss.get_ylabel(), f1.get_ylabel(), rates.get_ylabel()) == ("loss", "f1", "learning rate")
    assert list(rates.get_lines()[0].get_xdata()) == [0, 10, 20, 30, 40]  # type: ignore[arg-type]


def test_runs_are_compared_in_a_color_each() -> None:
    lines = history({"old": metrics(), "new": metrics(3)}).axes[0].get_lines()

    assert [line.get_label() for line in lines] == ["old train", "old val", "new train", "new val"]
    assert lines[0].get_color() == lines[1].get_color() != lines[2].get_color()


@pytest.mark.parametrize("num_epochs", [1, 2, 300])
def test_one_epoch_or_many_can_be_drawn(num_epochs: int) -> None:
    history({"<b>العربية": metrics(num_epochs)}, title="a title").savefig(io.BytesIO(), format="svg")


def test_out_of_fold_and_underscored_metrics_are_read() -> None:
    frame = pd.DataFrame({"epoch": [0, 1], "oof/loss": [0.5, 0.4], "train_loss": [0.3, 0.2], "note": ["a", "b"]})

    (loss,) = history(frame).axes

    assert sorted(str(line.get_label()) for line in loss.get_lines()) == ["oof", "train"]


def test_what_holds_no_metrics_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.csv").touch()
    wrong: Any = 5

    with pytest.raises(MissingFileError, match="there is no file"):
        history(tmp_path / "none.csv")
    with pytest.raises(BadValueError, match="is not a table of metrics"):
        history(tmp_path / "empty.csv")
    with pytest.raises(BadValueError, match="no metric has a value in any epoch"):
        history(pd.DataFrame({"epoch": [0]}))
    with pytest.raises(BadTypeError, match="a path or a frame is needed, got int"):
        history(wrong)


def test_each_optimizer_is_a_line_that_ends_where_it_arrived() -> None:
    frame = race(max_epochs=300)

    _, bottom = optimizer_race(frame).axes

    lines = [line for line in bottom.lines if len(line.get_xdata()) > 2]  # type: ignore[arg-type]
    for line, (name, rows) in zip(lines, frame.groupby("optimizer", sort=False), strict=True):
        assert line.get_label() == f"{name}, {rows['epoch'].max()} epochs"
        np.testing.assert_array_equal(line.get_ydata(), rows["intercept"])


@pytest.mark.parametrize(("wrong", "error"), [(["slope"], BadTypeError), ([], BadValueError)])
def test_what_is_no_race_is_refused(wrong: list[str], error: type[Exception]) -> None:
    frame = race(max_epochs=1)

    with pytest.raises(error, match=r"scratch\.optimizer_race"):
        optimizer_race(frame.drop(columns=wrong) if wrong else frame.iloc[:0])
