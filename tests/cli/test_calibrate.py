"""`tabvision calibrate`, as a user types it."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from tabvision.cli import calibrate, main
from tabvision.errors import UnknownNameError
from tabvision.inference.checkpoint import open_checkpoint
from tests.made.commands import run
from tests.made.images import write_folder
from tests.made.pairs import make_frame
from tests.made.tables import TRAIN, people
from tests.made.trained import trained


@pytest.mark.parametrize(
    ("target", "options", "told"),
    [
        ("binary", ["--metric", "f1"], ["temperatures: ", "thresholds: ", "expected_calibration_error: "]),
        ("regression", ["--coverage", "0.8"], ["coverage: 0.8", "half_widths: ", "coverage: 0.8"]),
    ],
)
def test_a_calibrated_checkpoint_is_written_and_told_of(
    target: str, options: list[str], told: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_frame(300, seed=9).to_csv(tmp_path / "rows.csv", index=False)

    run(calibrate, trained(target)[0], tmp_path / "rows.csv", "--out", tmp_path / "new.ckpt", *options)

    assert open_checkpoint(tmp_path / "new.ckpt").calibration
    out = capsys.readouterr().out
    assert "Calibrated on 300 rows" in out
    for words in told:
        assert words in out
    run(calibrate, tmp_path / "new.ckpt", tmp_path / "rows.csv", "--out", tmp_path / "again.ckpt", *options)
    first, second = (re.findall(r"[\d.]+ (?=before|after)", each) for each in (out, capsys.readouterr().out))
    assert second[0] == first[-1 if target == "regression" else 1], "the earlier corrections count as before"


def test_pairs_without_ratings_are_no_rows_to_calibrate_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draw = np.random.default_rng(0)
    pairs = pd.DataFrame({"user": draw.integers(20, size=200), "item": draw.integers(30, size=200)}).drop_duplicates()
    pairs.to_csv(tmp_path / "pairs.csv", index=False)
    words = ["--user", "user", "--item", "item", "--epochs", "1", "--no-report", "--test", "0.2", "--quiet"]
    assert main(["train", str(tmp_path / "pairs.csv"), *words, "--out", str(tmp_path / "run")]) == 0

    assert main(["calibrate", "--run", str(tmp_path / "run"), "--out", str(tmp_path / "new.ckpt")]) == 2

    assert "have no ratings, so each of them is a yes" in capsys.readouterr().err


def test_an_unknown_metric_is_refused(tmp_path: Path) -> None:
    make_frame(30).to_csv(tmp_path / "rows.csv", index=False)
    with pytest.raises(UnknownNameError, match="no metric named 'auc'"):
        run(calibrate, trained("binary")[0], tmp_path / "rows.csv", "--out", tmp_path / "n.ckpt", "--metric", "auc")


@pytest.mark.parametrize(
    "split", [0.25, {"class_path": "RandomSplit", "init_args": {"share": 0.25, "test_share": 0.5}}]
)
def test_a_run_is_calibrated_on_the_rows_that_it_held_out(
    split: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    frame = people()
    frame.assign(paid=frame["paid"].sample(frac=1, random_state=0).to_numpy()).to_csv("people.csv", index=False)
    assert main([*TRAIN, "--validation", "0.25"]) == 0
    recipe = Path("runs/people/recipe.yaml")
    if isinstance(split, dict):
        settings = yaml.safe_load(recipe.read_text())
        settings["data"]["init_args"]["split"] = {**split, "class_path": "tabvision.data.RandomSplit"}
        recipe.write_text(yaml.safe_dump(settings))

    assert main(["calibrate", "--run", "runs/people", "--out", "calibrated.ckpt"]) == 0

    part, rows = ("test", 60) if isinstance(split, dict) else ("validation", 30)
    out = capsys.readouterr().out
    assert f"On the {part} rows of the run" in out
    assert f"Calibrated on {rows} rows: calibrated.ckpt" in out


def test_a_run_of_a_prepared_table_measures_a_test_file_and_is_calibrated_on_rows_of_its_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    people().to_csv("people.csv", index=False)
    people(50).to_csv("test.csv", index=False)

    assert main([*TRAIN, "--prepared", "table", "--calibration", "0.5", "--test", "test.csv"]) == 0
    trained_out = capsys.readouterr().out
    assert main(["calibrate", "--run", "runs/people", "--out", "calibrated.ckpt"]) == 0

    assert "test, 50 rows" in trained_out
    out = capsys.readouterr().out
    assert "On the calibration rows of the run" in out
    assert "Calibrated on" in out


def test_photos_of_a_run_are_calibrated_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names = [path.name for path in sorted(write_folder(tmp_path / "photos", {"a": 30}).glob("a/*"))]
    pd.DataFrame({"file": names, "price": range(30)}).to_csv("prices.csv", index=False)
    words = [
        "train",
        "prices.csv",
        "--image",
        "file",
        "--root",
        "photos/a",
        "--target",
        "price",
        "--body",
        "test_resnet",
    ]
    settings = ["--weights", "none", "--size", "32", "--epochs", "1", "--accelerator", "cpu", "--no-report"]
    pd.DataFrame({"row": range(5), "label": "drop"}).to_csv("drop.csv", index=False)
    assert main([*words, *settings, "--corrections", "drop.csv"]) == 0

    assert main(["calibrate", "--run", "runs/prices", "--out", "calibrated.ckpt", "--coverage", "0.5"]) == 0

    assert "Calibrated on 5 rows: calibrated.ckpt" in capsys.readouterr().out
    pd.read_csv("runs/prices/predictions.csv")[["file", "price"]].to_csv("photos/a/held.csv", index=False)
    words = ["calibrate", "runs/prices/best.ckpt", "photos/a/held.csv", "--out", "same.ckpt", "--coverage", "0.5"]
    assert main(words) == 0
    assert open_checkpoint("calibrated.ckpt").calibration == open_checkpoint("same.ckpt").calibration


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--run", "nowhere"], "'nowhere' holds no run"),
        (["best.ckpt"], "a checkpoint and rows, or a run, are needed, got best.ckpt"),
        (["best.ckpt", "rows.csv", "--run", "x"], "got best.ckpt rows.csv --run x"),
    ],
)
def test_a_run_that_is_none_or_something_beside_it_is_a_sentence(
    words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["calibrate", *words, "--out", "new.ckpt"]) == 2
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["table", "photos", "both"])
def test_rows_are_kept_apart_from_the_fit_and_the_run_is_calibrated_on_them(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names = [str(path) for path in sorted(write_folder(Path("photos"), {"a": 15, "b": 15}).glob("*/*"))]
    frame = pd.DataFrame({"file": names, "price": np.arange(30) / 2, "kind": ["a", "b"] * 15})
    frame.to_csv("rows.csv", index=False)
    small = ["--body", "test_resnet", "--weights", "none", "--size", "32", "--accelerator", "cpu"]
    words = {
        "table": ["--ignore", "file", "--validation", "0.2"],
        "photos": ["--image", "file", "--image-only", *small],
        "both": ["--image", "file", *small],
    }[kind]
    shared = ["--target", "price", "--epochs", "1", "--no-report", "--calibration", "0.25"]
    assert main(["train", "rows.csv", *words, *shared]) == 0
    assert main(["calibrate", "--run", "runs/rows", "--out", "calibrated.ckpt", "--coverage", "0.5"]) == 0

    out = capsys.readouterr().out
    assert "On the calibration rows of the run\nCalibrated on 6 rows: calibrated.ckpt" in out
    recipe = yaml.safe_load(Path("runs/rows/recipe.yaml").read_text())
    assert recipe["data"]["init_args"]["calibration"] == 0.25
