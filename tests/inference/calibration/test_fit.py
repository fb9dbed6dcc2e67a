"""A calibrated checkpoint: written whole, applied to answers, dropped by further training."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray

from tabvision.data.targets import encode_target
from tabvision.errors import BadValueError, MissingColumnsError, MissingFileError, UnknownNameError
from tabvision.inference import Predictor
from tabvision.inference.batches import predict_all
from tabvision.inference.calibration.fit import activated, fit_calibration
from tabvision.inference.calibration.temperature import fit_temperatures
from tabvision.inference.calibration.thresholds import best_threshold
from tabvision.inference.checkpoint import open_checkpoint, read_checkpoint
from tests.made.pairs import make_frame
from tests.made.trained import trained

FRAME = make_frame(300, seed=9)


def logits_of(path: Path, frame: pd.DataFrame) -> NDArray[np.floating[Any]]:
    """What the module says of rows before it is calibrated."""
    predictor = Predictor(path)
    return predict_all(lambda arrays: predictor.logits(arrays).cpu().numpy(), predictor.read(frame), num_answers=1)


@pytest.mark.parametrize("target", ["binary", "multiclass", "multilabel_columns"])
def test_the_temperature_is_that_of_the_modules_own_logits(target: str, tmp_path: Path) -> None:
    path, _, module = trained(target)

    fitted = Predictor(path).calibrate(FRAME, out=tmp_path / "new.ckpt")

    logits = logits_of(path, FRAME)
    truth = encode_target(FRAME, module.schema.target)
    assert fitted.calibration.temperatures == fit_temperatures(logits, truth)
    assert fitted.num_rows == 300
    assert fitted.after["cross_entropy"] < fitted.before["cross_entropy"]
    opened = open_checkpoint(tmp_path / "new.ckpt")
    assert opened.calibration == fitted.calibration
    predictions = activated(module.task, logits, opened.calibration)
    np.testing.assert_allclose(
        predictions,
        module.task.activate(torch.from_numpy(logits / fitted.calibration.temperatures[0])).numpy(),
        rtol=1e-5,
    )


def test_thresholds_are_chosen_on_calibrated_probabilities(tmp_path: Path) -> None:
    path, _, module = trained("multilabel_columns")

    fitted = Predictor(path).calibrate(FRAME, out=tmp_path / "new.ckpt", metric="f2", per_label=True)

    assert len(fitted.calibration.temperatures) == len(fitted.calibration.thresholds) == 3
    chances = activated(module.task, logits_of(path, FRAME), fitted.calibration)
    for place, name in enumerate("abc"):
        assert fitted.calibration.thresholds[place] == best_threshold(chances[:, place], FRAME[name], "f2")[0]
    assert fitted.after["f2"] >= fitted.before["f2"]


@pytest.mark.parametrize("target", ["regression", "regression_several"])
def test_numbers_get_intervals_of_the_stated_coverage(target: str, tmp_path: Path) -> None:
    path, _, module = trained(target)

    fitted = Predictor(path).calibrate(FRAME, out=tmp_path / "new.ckpt", coverage=0.8)

    assert len(fitted.calibration.half_widths) == module.task.num_outputs
    assert fitted.after["coverage"] == pytest.approx(0.8, abs=0.01)
    fresh = make_frame(2_000, seed=77)
    answers = activated(module.task, logits_of(path, fresh), fitted.calibration)
    inside = np.abs(answers - encode_target(fresh, module.schema.target)) <= fitted.calibration.half_widths
    assert inside.mean(axis=0) == pytest.approx(0.8, abs=0.06)


def test_all_else_in_the_checkpoint_stays(tmp_path: Path) -> None:
    path, _, _ = trained("binary")

    Predictor(path.read_bytes()).calibrate(FRAME, out=tmp_path / "new.ckpt")

    old, new = read_checkpoint(path), read_checkpoint(tmp_path / "new.ckpt")
    assert old.keys() == new.keys()
    assert all(torch.equal(tensor, new["state_dict"][name]) for name, tensor in old["state_dict"].items())
    assert new["tabvision"].items() >= old["tabvision"].items()


def test_training_on_drops_the_calibration(tmp_path: Path, quick_trainer: Any) -> None:
    path, data, _ = trained("binary")
    Predictor(path).calibrate(FRAME, out=tmp_path / "new.ckpt")
    trainer = quick_trainer(max_epochs=3)

    trainer.fit(
        open_checkpoint(tmp_path / "new.ckpt").module.train(), data, ckpt_path=tmp_path / "new.ckpt", weights_only=True
    )
    trainer.save_checkpoint(tmp_path / "more.ckpt")

    assert not open_checkpoint(tmp_path / "more.ckpt").calibration


def test_a_file_of_rows_is_read(tmp_path: Path) -> None:
    FRAME.to_parquet(tmp_path / "rows.parquet")

    fitted = Predictor(trained("binary")[0]).calibrate(tmp_path / "rows.parquet", out=tmp_path / "new.ckpt")

    assert fitted.calibration == Predictor(trained("binary")[0]).calibrate(FRAME).calibration


# Refused in a sentence.


@pytest.mark.parametrize(
    ("target", "settings", "error", "message"),
    [
        ("binary", {"metric": "f3"}, UnknownNameError, "no metric named 'f3'"),
        (
            "multiclass",
            {"metric": "f1"},
            BadValueError,
            "thresholds are for two classes and for labels, and the target is m",
        ),
        ("regression", {"metric": "f1"}, BadValueError, "thresholds are for two classes"),
        ("binary", {"per_label": True}, BadValueError, "a temperature for each label is for labels"),
        ("regression", {"coverage": 1.0}, BadValueError, "coverage must lie in"),
        ("regression", {"coverage": 0.999}, BadValueError, "need at least 999 rows, got 300. Pass more rows"),
    ],
)
def test_a_wish_that_cannot_be_met_is_refused(
    target: str, settings: dict[str, Any], error: type[Exception], message: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=f"calibrate: .*{message}"):
        Predictor(trained(target)[0]).calibrate(FRAME, out=tmp_path / "new.ckpt", **settings)

    assert not list(tmp_path.iterdir())


def test_rows_without_the_target_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingColumnsError, match="calibrate: the frame lacks 1 column: 'paid'"):
        Predictor(trained("binary")[0]).calibrate(FRAME.drop(columns="paid"), out=tmp_path / "new.ckpt")


def test_no_rows_calibrate_nothing() -> None:
    task = trained("binary")[2].task
    with pytest.raises(BadValueError, match="calibrating needs rows, got none"):
        fit_calibration(task, np.empty((0, 1), np.float32), np.empty(0, np.int64))


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("new.pt", BadValueError, r"must end in \.ckpt, got 'new\.pt'"),
        ("gone/new.ckpt", MissingFileError, "there is no folder"),
        ("there.ckpt", BadValueError, "is a file already"),
        ("folder.ckpt", BadValueError, "is a folder already"),
    ],
)
def test_a_wrong_destination_is_refused(name: str, error: type[Exception], message: str, tmp_path: Path) -> None:
    (tmp_path / "there.ckpt").write_text("mine")
    (tmp_path / "folder.ckpt").mkdir()

    with pytest.raises(error, match=f"calibrate: .*{message}"):
        Predictor(trained("binary")[0]).calibrate(FRAME, out=tmp_path / name)


def test_the_given_frame_stays_as_it_was(tmp_path: Path) -> None:
    before = FRAME.copy()

    Predictor(trained("binary")[0]).calibrate(FRAME, out=tmp_path / "new.ckpt")

    pd.testing.assert_frame_equal(FRAME, before)
