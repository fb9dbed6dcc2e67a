"""One run: its table of measures, its predictions, and what is kept where a run cannot start."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from tabvision.cli import main
from tabvision.cli.run import _metrics_table, _write_validation, free_folder
from tabvision.data import TabularDataModule
from tests.made.tables import TRAIN, people


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a table in it."""
    monkeypatch.chdir(tmp_path)
    people().to_csv("people.csv", index=False)
    return tmp_path


@pytest.mark.parametrize(
    ("data", "name"),
    [("people.csv", "people"), ("~/a.b.csv.gz", "a"), (".hidden.csv", "hidden"), (".", "here"), ("..csv", "csv")],
)
def test_a_run_has_a_folder_of_its_own_whatever_the_data_is_called(
    data: str, name: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "here").mkdir()
    monkeypatch.chdir(folder / "here")

    assert free_folder(None, data, overwrite=False) == Path("runs") / name


def test_large_and_small_measures_stand_in_columns_of_their_own() -> None:
    table = _metrics_table(
        {"val/mae": 119.1782, "val/rmse": 2.5e-31, "val/mse": 3e9, "val/r2": -0.1},
        {"val/mae": 119.4708, "val/rmse": 2e-31, "val/mse": 3e9, "val/r2": 0.0},
    )

    assert table.splitlines() == [
        "validation     model     naive",
        "mae         119.1782  119.4708",
        "mse            3e+09     3e+09",
        "r2           -0.1000    0.0000",
        "rmse         2.5e-31     2e-31",
    ]


def test_what_cannot_be_measured_is_left_empty() -> None:
    assert _metrics_table({"val/auroc": float("nan")}, {"val/auroc": 0.5}).splitlines()[1].split() == [
        "auroc",
        "0.5000",
    ]


@pytest.mark.parametrize(
    "words", [["--accelerator", "warp"], ["--devices", "0"], ["--devices", "x"], ["--precision", "7"]]
)
def test_a_run_that_cannot_start_is_a_sentence_and_leaves_the_older_one(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    run = Path("runs/people")
    run.mkdir(parents=True)
    for name in ("best.ckpt", "recipe.yaml"):
        (run / name).write_text("older")

    assert main([*TRAIN, "--overwrite", *words]) == 2

    assert capsys.readouterr().err.startswith("tabvision train: ")
    assert [(run / name).read_text() for name in ("best.ckpt", "recipe.yaml")] == ["older", "older"]


@pytest.mark.parametrize("name", ["label", "row"])
def test_a_column_whose_name_is_an_answers_is_told_apart_from_it(name: str, folder: Path) -> None:
    frame = people().rename(columns={"paid": name})
    data = TabularDataModule(frame, name, verbose=False)
    rows = torch.tensor([4, 2])

    _write_validation(data, {"index": rows, "predictions": torch.tensor([[0.9, 0.1], [0.2, 0.8]])}, folder)

    table = pd.read_csv(folder / "predictions.csv")
    assert list(table)[:3] == ["row", f"true_{name}", "label"]
    assert table["row"].tolist() == [4, 2]
    assert table[f"true_{name}"].tolist() == frame[name].iloc[[4, 2]].tolist()
    assert table["label"].tolist() == ["badly", "well"]


def test_a_table_with_decimal_commas_is_trained_on_and_answered_as_its_twin_with_points() -> None:
    frame = people().assign(age=lambda table: table["age"] + 0.5)
    frame.to_csv("points.csv", index=False)
    frame.to_csv("commas.csv", index=False, sep=";", decimal=",")

    for name in ("points", "commas"):
        assert main(["train", f"{name}.csv", *TRAIN[2:]]) == 0
        assert main(["predict", f"runs/{name}/best.ckpt", f"{name}.csv", "--out", f"{name}_answers.csv"]) == 0

    points, commas = (Path(f"{name}_answers.csv").read_text() for name in ("points", "commas"))
    assert points == commas


def interrupted(*words: str, until: str) -> tuple[int, str, str]:
    """The exit status and the output of a command that Ctrl-C ends when a file is there."""
    command = [sys.executable, "-W", "ignore", "-m", "tabvision", *words]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, env=ENVIRONMENT, stdout=pipe, stderr=pipe, encoding="utf-8")
    while process.poll() is None and not list(Path().glob(until)):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    told, errors = process.communicate(timeout=120)
    return process.returncode, told, errors.splitlines()[-1]


ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}


def test_ctrl_c_names_the_best_network_so_far_and_leaves_whole_files(subtests: pytest.Subtests) -> None:
    words = [*TRAIN, "--epochs", "100000"]

    with subtests.test("train"):
        status, _, error = interrupted(*words, until="runs/people/best.ckpt")

        assert (status, error) == (130, "tabvision: stopped; the best network so far is runs/people/best.ckpt")
        metrics = pd.read_csv("runs/people/metrics.csv")
        assert metrics["epoch"].is_unique

    with subtests.test("fit"):
        status, _, error = interrupted(
            "fit", "--config", "runs/people/recipe.yaml", until="runs/**/checkpoints/best.ckpt"
        )

        best = "runs/lightning_logs/version_0/checkpoints/best.ckpt"
        assert (status, error) == (130, f"tabvision: stopped; the best network so far is {best}")


def test_letters_that_the_output_cannot_encode_do_not_end_a_run() -> None:
    people().rename(columns={"job": "職業"}).to_csv("people.csv", index=False)
    command = [sys.executable, "-W", "ignore", "-m", "tabvision", *TRAIN]

    done = subprocess.run(
        command, env={**ENVIRONMENT, "PYTHONIOENCODING": "cp1252", "PYTHONUTF8": "0"}, capture_output=True, check=False
    )

    assert done.returncode == 0, done.stderr[-2000:]
    assert b"\\u8077\\u696d" in done.stdout
    assert Path("runs/people/best.ckpt").exists()


def test_a_fit_says_where_its_checkpoint_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(TRAIN) == 0
    capsys.readouterr()

    assert main(["fit", "--config", "runs/people/recipe.yaml", "--trainer.enable_progress_bar=false"]) == 0

    assert capsys.readouterr().out.splitlines()[-1] == "runs/lightning_logs/version_0/checkpoints/best.ckpt was saved"


def test_a_recipe_without_validation_rows_is_refused_if_they_choose_its_checkpoint(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(TRAIN) == 0
    recipe = yaml.safe_load(Path("runs/people/recipe.yaml").read_text(encoding="utf-8"))
    recipe["data"]["init_args"]["split"] = None
    recipe["trainer"]["enable_progress_bar"] = False
    Path("whole.yaml").write_text(yaml.safe_dump(recipe))

    assert main(["fit", "--config", "whole.yaml"]) == 2
    assert "monitors 'val/loss', and the data has no validation rows" in capsys.readouterr().err

    recipe["trainer"]["callbacks"][-1]["init_args"]["monitor"] = "train/loss"
    Path("whole.yaml").write_text(yaml.safe_dump(recipe))
    assert main(["fit", "--config", "whole.yaml"]) == 0
    assert capsys.readouterr().out.endswith("best.ckpt was saved\n")


@pytest.mark.slow
def test_two_processes_write_the_answers_of_all_rows() -> None:
    command = [sys.executable, "-m", "tabvision", "train", "people.csv", "--target", "paid", "--devices", "2"]

    done = subprocess.run(
        [*command, "--accelerator", "cpu"], env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=300
    )

    assert done.returncode == 0, done.stderr[-2000:]
    assert "out-of-fold   model   naive" in done.stdout
    assert sorted(pd.read_csv("runs/people/predictions.csv")["row"]) == [*range(len(people()))]


def test_a_target_that_is_zero_in_nearly_every_row_is_fitted_without_leaps_and_what_is_worse_than_naive_is_said(
    capsys: pytest.CaptureFixture[str],
) -> None:
    draw = np.random.default_rng(0)
    x = draw.normal(size=(1_500, 3))
    happens = draw.random(1_500) < 1 / (1 + np.exp(5 - 1.2 * x[:, 0]))
    frame = pd.DataFrame(x, columns=["a", "b", "c"])
    frame["cost"] = np.where(happens, np.exp(8 + x[:, 1] + 1.5 * draw.normal(size=1_500)).round(2), 0.0)
    frame.to_csv("costs.csv", index=False)

    assert main(["train", "costs.csv", "--target", "cost", "--accelerator", "cpu"]) == 0

    out = capsys.readouterr().out
    rows = [line.split() for line in out.splitlines()]
    measured = {row[0]: [float(each) for each in row[1:]] for row in rows if row and row[0] in ("mae", "r2", "rmse")}
    worse = sorted(
        name for name, (model, naive) in measured.items() if (model < naive if name == "r2" else model > naive)
    )
    assert measured.keys() == {"mae", "r2", "rmse"}
    assert f"Worse than the naive prediction, which uses no column: {', '.join(worse)}." in out or not worse
    losses = pd.read_csv("runs/costs/metrics.csv")["oof/loss"].dropna().to_numpy()
    assert len(losses) > 10
    assert (losses[2:] < 10 * losses[1:-1]).all()
