"""One run: its table of measures, its predictions, and what is kept where a run cannot start."""

from pathlib import Path

import pandas as pd
import pytest
import torch

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
