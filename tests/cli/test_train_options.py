"""Options of `tabvision train` for every kind of data: what is held out, how long, with which weights, and what is shown."""

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from pytorch_lightning.loggers import TensorBoardLogger

from tabvision.cli import main
from tests.made.images import write_folder
from tests.made.tables import TRAIN, nothing_to_learn, people

RUN = Path("runs/people")
RATINGS = ["train", "stars.csv", "--user", "user", "--item", "item", "--target", "stars", "--timestamp", "when"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a table in it, that has a group, a date and a column of parts."""
    monkeypatch.chdir(tmp_path)
    frame, number = people(), np.arange(120)
    frame = frame.assign(
        firm=number % 13,
        day=pd.Timestamp("2020-01-01") + pd.to_timedelta(number, unit="D"),
        part=np.select([number % 5 == 0, number % 5 == 1], ["valid", "test"], "train"),
    )
    frame.to_csv("people.csv", index=False)
    return tmp_path


def parts_of(told: str) -> dict[str, int]:
    """The rows of each part, as a run prints them."""
    line = next(line for line in told.splitlines() if line.startswith("rows: "))
    return {name: int(number) for name, number in re.findall(r"(\w+) (\d+)", line.removeprefix("rows: "))}


@pytest.mark.parametrize(
    ("words", "parts", "split"),
    [
        (["--test", "0.1"], {"train": 84, "val": 24, "test": 12}, [0.2, 0.1]),
        (["--test", "0.1", "--validation", "0.3"], {"train": 72, "val": 36, "test": 12}, [0.3, 0.1]),
        (["--split", "random"], {"train": 96, "val": 24}, "RandomSplit"),
        (["--split", "stratified", "--test", "0.1"], {"train": 84, "val": 24, "test": 12}, "StratifiedSplit"),
        (["--split", "group:firm"], {"train": 92, "val": 28}, "GroupSplit"),
        (["--split", "time:day", "--validation", "0.25"], {"train": 90, "val": 30}, "TimeSplit"),
        (["--split", "column:part"], {"train": 72, "val": 24, "test": 24}, "ColumnSplit"),
    ],
)
def test_the_rows_of_a_table_are_held_out_as_asked(
    words: list[str], parts: dict[str, int], split: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*TRAIN, *words]) == 0

    told = capsys.readouterr().out
    assert parts_of(told) == parts
    recipe = yaml.safe_load((RUN / "recipe.yaml").read_text())["data"]["init_args"]["split"]
    assert (recipe["class_path"] == f"tabvision.data.{split}") if isinstance(split, str) else (recipe == split)
    measured = json.loads((RUN / "metrics.json").read_text())["metrics"]
    assert list(measured) == (["validation", "test"] if "test" in parts else ["validation"])
    assert (f"test, {parts.get('test')} rows" in told) == ("test" in parts)


@pytest.mark.parametrize(
    "words",
    [
        ["--split", "group:firm", "--test", "0.2", "--sampler", "balanced"],
        ["--task", "binary", "--class-weights", "1,5", "--test", "0.2", "--max-time", "1h"],
    ],
)
def test_the_recipe_repeats_the_run(words: list[str]) -> None:
    assert main([*TRAIN, *words]) == 0
    assert main(["fit", "--config", str(RUN / "recipe.yaml"), "--trainer.logger.init_args.save_dir", "again"]) == 0

    (again,) = Path("again").rglob("metrics.csv")
    first, second = pd.read_csv(RUN / "metrics.csv"), pd.read_csv(again)
    pd.testing.assert_frame_equal(first, second, check_like=True)


def test_a_test_file_is_measured_as_evaluate_does(capsys: pytest.CaptureFixture[str]) -> None:
    people(50).assign(firm=1, day="2020-05-01", part="test").to_csv("test.csv", index=False)

    assert main([*TRAIN[:-1], "--test", "test.csv"]) == 0
    assert main(["evaluate", str(RUN / "best.ckpt"), "test.csv", "--device", "cpu", "--out", "found.json"]) == 0

    assert "test, 50 rows" in capsys.readouterr().out
    measured = json.loads((RUN / "metrics.json").read_text())["metrics"]["test"]
    found = json.loads(Path("found.json").read_text())
    assert {name: each["model"] for name, each in measured.items()} == pytest.approx(
        {name: each["model"] for name, each in found.items()}, abs=1e-6
    )
    assert "on test rows" in (RUN / "report.html").read_text(encoding="utf-8")


def test_that_an_epoch_takes_minutes_is_said_before_it_where_classes_are_very_many(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main([*TRAIN, "--overwrite"]) == 0
    assert "billion logits" not in capsys.readouterr().out

    monkeypatch.setattr("tabvision.cli.tables._MANY_LOGITS", 100)
    assert main([*TRAIN, "--overwrite"]) == 0
    told = capsys.readouterr().out
    assert "An epoch computes 0 billion logits (1 per row and member)" in told
    assert told.index("billion logits") < told.index("epoch   1")


def test_a_small_table_needs_no_validation_rows_beside_its_test_rows(capsys: pytest.CaptureFixture[str]) -> None:
    words = [*TRAIN[:4], *TRAIN[6:], "--batch-size", "4", "--test", "0.25"]
    nothing_to_learn(120).to_csv("people.csv", index=False)

    assert main(words) == 0
    assert parts_of(capsys.readouterr().out) == {"train": 90, "test": 30}
    assert main([*words, "--preset", "best", "--epochs", "1", "--overwrite"]) == 0
    assert list(json.loads((RUN / "metrics.json").read_text())["metrics"]) == ["out-of-fold", "test"]


def test_photos_and_ratings_are_held_out_as_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_folder(tmp_path / "photos", {"a": 15, "b": 15})
    photos = ["train", "photos", "--body", "test_resnet", "--weights", "none", "--size", "16"]
    rng = np.random.default_rng(0)
    pairs = pd.DataFrame({"user": rng.integers(20, size=400), "item": rng.integers(30, size=400)}).drop_duplicates()
    pairs.assign(stars=rng.integers(1, 6, len(pairs)), when=np.arange(len(pairs))).to_csv("stars.csv", index=False)
    rest = ["--epochs", "1", "--accelerator", "cpu", "--no-report"]

    assert main([*photos, "--test", "0.2", *rest]) == 0
    assert "test: 6 images (a 3, b 3)" in capsys.readouterr().out
    assert main([*RATINGS, "--split", "time", "--validation", "0.1", "--test", "0.1", *rest]) == 0
    told = capsys.readouterr().out
    parts = parts_of(told)
    assert parts["val"] == pytest.approx(0.1 * len(pairs), abs=1)
    assert parts["test"] == pytest.approx(0.1 * len(pairs), abs=1)
    assert "of timestamps is not used" not in told
    assert "mae" in json.loads(Path("runs/stars/metrics.json").read_text())["metrics"]["test"]
    assert main([*RATINGS, "--split", "group:item", *rest, "--overwrite"]) == 0


def test_without_ratings_the_metrics_are_of_pairs_and_negatives_as_during_the_fit() -> None:
    rng = np.random.default_rng(0)
    pairs = pd.DataFrame({"user": rng.integers(20, size=400), "item": rng.integers(30, size=400)}).drop_duplicates()
    pairs.to_csv("plays.csv", index=False)

    words = [
        "--user",
        "user",
        "--item",
        "item",
        "--test",
        "0.2",
        "--epochs",
        "1",
        "--accelerator",
        "cpu",
        "--no-report",
    ]
    assert main(["train", "plays.csv", *words]) == 0

    measured = json.loads(Path("runs/plays/metrics.json").read_text())["metrics"]
    during = pd.read_csv("runs/plays/metrics.csv")["val/accuracy"].max()
    assert measured["validation"]["accuracy"]["model"] == pytest.approx(during)
    assert measured["test"]["accuracy"]["model"] > 0.5  # four of five are negatives


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--split", "column:part", "--validation", "none"], "there is no --validation none"),
        (["--validation", "other.csv", "--split", "random"], "--validation other.csv says which rows are held out"),
        (["--validation", "people.csv"], "--validation people.csv is part of DATA"),
        (["--test", "./people.csv"], "--test ./people.csv is part of DATA"),
        (["--calibration", "0.001"], "leaves none to calibrate on"),
        (["--validation", "none", "--split", "time:day"], "so --split time:day has nothing to do"),
        (["--task", "binary,odd=1"], "no setting of --task binary named 'odd'"),
        (["--task", "binary,threshold=2"], "threshold"),
        (["--split", "group"], "--split group needs a column. Pass --split group:COL"),
        (["--split", "column:part", "--test", "0.1"], "there is no --test 0.1"),
        (["--split", "time:paid"], "column 'paid' must hold dates"),
        (["--split", "group:nowhere"], "'nowhere'"),
        (["--class-weights", "balanced"], "--class-weights is for classes or labels, and --task is not given"),
        (["--class-weights", "1,2,3", "--task", "binary"], "class_weights must have 2 numbers, got 3"),
        (["--sampler", "nowhere"], "the frame lacks 1 column: 'nowhere'"),
        (["--preset", "best", "--split", "random"], "got --split random as well"),
        (["--preset", "fast"], "--preset fast sets the number of epochs, got --epochs 1 as well"),
        (["--test", "none.csv"], "none.csv"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(
    words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*TRAIN, *words]) == 2

    assert sentence in capsys.readouterr().err
    assert not RUN.exists()


@pytest.mark.parametrize(
    "words",
    [["--split", "odd"], ["--split", "time:"], ["--split", "random:day"], ["--test", "1.5"], ["--max-time", "soon"],
     ["--max-time", "0s"], ["--class-weights", "a,b"]],
)  # fmt: skip
def test_what_an_option_cannot_mean_is_refused_when_it_is_read(words: list[str]) -> None:
    with pytest.raises(SystemExit):
        main([*TRAIN, *words])


def test_a_logger_that_is_not_installed_is_refused_in_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    missing = [name for name in ("mlflow", "wandb") if importlib.util.find_spec(name) is None]
    if not missing:
        pytest.skip("both are installed")
    assert main([*TRAIN, "--logger", missing[0]]) == 2

    assert f"--logger {missing[0]} needs a package that is not installed" in capsys.readouterr().err


def test_a_logger_that_cannot_begin_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(_: object) -> None:
        raise ConnectionError("No key. Log in.")

    monkeypatch.setattr(TensorBoardLogger, "experiment", property(refuse))

    assert main([*TRAIN, "--logger", "tensorboard"]) == 2
    assert "tabvision train: --logger tensorboard cannot start (No key. Log in). Do what" in capsys.readouterr().err
    assert not [*RUN.iterdir()]


def test_class_weights_move_the_answers(capsys: pytest.CaptureFixture[str]) -> None:
    likely = {}
    for weights in ("1,9", "9,1"):
        words = ["--task", "binary", "--class-weights", weights, "--epochs", "4", "--overwrite", "--quiet"]
        assert main([*TRAIN, *words]) == 0
        likely[weights] = pd.read_csv(RUN / "predictions.csv")["probability_well"].mean()

    assert likely["1,9"] > likely["9,1"] + 0.1
    assert capsys.readouterr().out


def test_a_run_stops_in_time_and_is_whole(caplog: pytest.LogCaptureFixture) -> None:
    words = ["train", "people.csv", "--target", "paid", "--accelerator", "cpu", "--no-report", "--max-time", "1s"]
    pd.concat([people(20_000)]).to_csv("people.csv", index=False)

    assert main([*words, "--batch-size", "32"]) == 0  # not even one epoch
    assert (RUN / "best.ckpt").exists()
    assert main([*words, "--batch-size", "32", "--epochs", "20", "--overwrite"]) == 0  # a cycle that ends with the time
    assert torch.load(RUN / "last.ckpt", weights_only=True)["global_step"] < 20 * 16_000 / 32
    assert "the fit ended after" not in caplog.text


def test_a_log_file_has_a_line_for_each_epoch_and_a_quiet_run_the_end_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TRAIN, "--epochs", "3"]) == 0
    told = capsys.readouterr()
    assert main([*TRAIN, "--overwrite", "--quiet"]) == 0
    quiet = capsys.readouterr().out.splitlines()

    lines = [line for line in told.out.splitlines() if line.startswith("epoch ")]
    assert [line.split()[1] for line in lines] == ["1", "2", "3"]
    assert all(name in lines[0] for name in ("train/loss 0.", "val/loss 0.", "val/accuracy "))
    assert not re.search(r"[\r\x1b]", told.out + told.err)
    assert quiet[0].split() == ["validation", "model", "naive"]
    assert not any(line.startswith("epoch ") for line in quiet)


def test_validation_rows_come_from_a_file_of_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    frame = pd.read_csv("people.csv")
    frame[:30].to_csv("valid.csv", index=False)

    assert main([*TRAIN, "--validation", "valid.csv"]) == 0

    assert parts_of(capsys.readouterr().out) == {"train": 120, "val": 30}
    assert len(pd.read_csv(RUN / "predictions.csv")) == 30


def test_every_row_may_train(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TRAIN, "--validation", "none"]) == 0
    told = capsys.readouterr().out
    recipe = yaml.safe_load((RUN / "recipe.yaml").read_text())

    assert parts_of(told) == {"train": 120}
    assert "There were no validation rows" in told
    assert json.loads((RUN / "metrics.json").read_text())["metrics"] == {}
    assert not (RUN / "predictions.csv").exists()
    assert recipe["trainer"]["callbacks"][2]["init_args"]["monitor"] == "epoch"
    assert main(["fit", "--config", str(RUN / "recipe.yaml"), "--trainer.logger.init_args.save_dir", "again"]) == 0
    assert main(["compare", str(RUN)]) == 0
    assert main([*TRAIN[:-3], "--validation", "none", "--intervals", "0.9", "--overwrite"]) == 2


def test_a_small_table_that_holds_nothing_out_stops_by_out_of_fold_rows(capsys: pytest.CaptureFixture[str]) -> None:
    words = [*TRAIN[:4], *TRAIN[6:], "--batch-size", "4"]
    nothing_to_learn().assign(firm=np.arange(80) % 13).to_csv("people.csv", index=False)

    assert main([*words, "--validation", "none", "--split", "group:firm", "--test", "0.2"]) == 0

    assert set(parts_of(capsys.readouterr().out)) == {"train", "test"}
    assert list(json.loads((RUN / "metrics.json").read_text())["metrics"]) == ["out-of-fold", "test"]


def test_photos_are_validated_on_those_of_another_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_folder(tmp_path / "photos", {"a": 10, "b": 10})
    write_folder(tmp_path / "others" / "more", {"a": 3, "b": 3})
    words = ["--body", "test_resnet", "--weights", "none", "--size", "16", "--epochs", "1", "--accelerator", "cpu"]

    assert main(["train", "photos", *words, "--no-report", "--validation", "others/more"]) == 0
    assert "val: 6 images (a 3, b 3)" in capsys.readouterr().out
    assert main(["train", "photos", *words, "--no-report", "--validation", "none", "--overwrite"]) == 0
    assert "train: 20 images" in capsys.readouterr().out
    assert main(["train", "photos", *words, "--validation", "none", "--probe", "--out", "new"]) == 2

    assert "none are held out" in capsys.readouterr().err


def test_a_task_has_its_settings() -> None:
    words = [*TRAIN[:2], "--target", "age", *TRAIN[4:], "--drop-missing-target"]

    assert main([*words, "--task", "regression,error=huber,y_range=0:100"]) == 0

    recipe = yaml.safe_load((RUN / "recipe.yaml").read_text())["data"]["init_args"]["task"]
    assert recipe == {"class_path": "tabvision.tasks.Regression", "init_args": {"error": "huber", "y_range": [0, 100]}}
    assert main(["fit", "--config", str(RUN / "recipe.yaml"), "--trainer.logger.init_args.save_dir", "again"]) == 0


def test_the_column_is_told_before_the_run_that_is_in_the_way(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(TRAIN) == 0

    assert main(["train", "people.csv", "--target", "pai"]) == 2
    assert "did you mean 'paid'" in capsys.readouterr().err
    assert main(TRAIN) == 2
    assert "holds a run already" in capsys.readouterr().err


def test_tensorboard_gets_every_epoch_and_nothing_lands_in_a_nameless_folder(
    capsys: pytest.CaptureFixture[str],
) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")

    assert main([*TRAIN, "--epochs", "2", "--logger", "tensorboard"]) == 0
    assert "tensorboard --logdir runs/people" in capsys.readouterr().out
    assert main(["fit", "--config", str(RUN / "recipe.yaml")]) == 0

    events = accumulator.EventAccumulator(str(RUN / "tensorboard"))
    events.Reload()
    assert len(events.Scalars("val/loss")) == 2
    assert not [*Path().rglob("lightning_logs")]
    folders = {path.name for path in Path("runs/people").iterdir() if path.is_dir()}
    assert folders == {"tensorboard", "version_0", "version_1"}  # metrics.csv and events of the second fit


def test_the_found_rate_is_said_and_written_and_every_column_shown(capsys: pytest.CaptureFixture[str]) -> None:
    wide = pd.read_csv("people.csv").assign(**{f"x{number}": np.arange(120) * 0.5 for number in range(50)})
    wide.to_csv("people.csv", index=False)

    assert main([*TRAIN[:-1], "--lr", "auto", "--columns"]) == 0

    told = capsys.readouterr().out
    rate = json.loads((RUN / "metrics.json").read_text())["lr"]
    assert f"FindLR: the last layer group trains at {rate:.2e}" in told
    assert re.search(r"and \d+ more columns", told)
    assert re.search(r"^x49 +continuous +mean", told, re.MULTILINE)
    page = (RUN / "report.html").read_text(encoding="utf-8")
    assert all(text in page for text in ("How every column is used", "x49"))
    assert "!!python" not in (RUN / "hparams.yaml").read_text()


def test_a_table_and_a_folder_are_not_one_source(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "photos").mkdir()

    assert main(["train", "people.csv", "photos", "--target", "paid"]) == 2

    assert (
        "DATA must be one folder, the files of one table, or photos, got 'people.csv', 'photos'"
        in capsys.readouterr().err
    )


def test_a_mistyped_option_names_the_closest(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([*TRAIN, "--tets", "0.1"])

    sentence = "tabvision train: unknown --tets 0.1 (did you mean --test?). See tabvision train --help.\n"
    assert capsys.readouterr().err == sentence
