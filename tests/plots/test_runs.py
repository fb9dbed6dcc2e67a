"""The course of a run is drawn from its file of metrics, and several runs beside each other."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tabvision.errors import BadTypeError, BadValueError, MissingFileError
from tabvision.plots import history


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
    with pytest.raises(BadValueError, match="is no table of metrics"):
        history(tmp_path / "empty.csv")
    with pytest.raises(BadValueError, match="there is no metric of any epoch"):
        history(pd.DataFrame({"epoch": [0]}))
    with pytest.raises(BadTypeError, match="a path or a frame is needed, got int"):
        history(wrong)
