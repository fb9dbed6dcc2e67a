"""`tabvision train` and `predict` on a table that would not fit in memory, with the commands of any table."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tabvision.cli import main
from tabvision.cli.parser import build_parser
from tabvision.cli.tables import table_job
from tabvision.data.memory import memory_limit
from tabvision.data.prepared import table
from tabvision.data.tables import blocks
from tests.made.tables import people


def test_a_table_that_would_not_fit_is_prepared_trained_and_answered_by_the_same_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(blocks, "BLOCK_ROWS", 100)
    people(500).to_parquet("people.parquet")
    words = ["people.parquet", "--target", "paid", "--epochs", "1", "--accelerator", "cpu"]
    monkeypatch.setattr(table, "memory_limit", lambda: 1_000)

    assert main(["train", *words]) == 0
    first = capsys.readouterr().out
    assert main(["predict", "runs/people/best.ckpt", "people.parquet", "--out", "blocks.parquet", "--keep", "age"]) == 0
    said = capsys.readouterr()
    assert main(["predict", "runs/people/best.ckpt", "people.parquet", "--out", "blocks.csv"]) == 2
    refused = capsys.readouterr().err
    monkeypatch.setattr(table, "memory_limit", memory_limit)
    assert main(["predict", "runs/people/best.ckpt", "people.parquet", "--out", "whole.parquet", "--keep", "age"]) == 0

    assert "would not fit in memory" in first
    assert "Preparing 'people.parquet'" in first
    assert len([*(tmp_path / "cache" / "tabvision").glob("prepared-*/prepared.json")]) == 1
    assert "500 rows predicted block by block" in said.out
    assert "Pass --out with a name that ends in .parquet" in refused
    answers, whole = pd.read_parquet("blocks.parquet"), pd.read_parquet("whole.parquet")
    pd.testing.assert_frame_equal(answers, whole, rtol=1e-5)
    held_out = pd.read_csv("runs/people/predictions.csv")
    source = people(500).iloc[held_out["row"]]
    assert np.array_equal(held_out["paid"].to_numpy(), source["paid"].to_numpy())
    assert Path("runs/people/report.html").exists()


@pytest.mark.parametrize(("words", "is_prepared"), [([], False), (["--devices", "2"], True)])
def test_every_process_that_will_train_needs_memory_for_the_table(
    words: list[str], is_prepared: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    people(500).to_parquet(source := tmp_path / "people.parquet")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(
        table, "memory_limit", lambda: 8 * blocks.table_bytes([source])
    )  # one takes five times its size

    train = build_parser().parse_args(["train", str(source), "--target", "paid", "--accelerator", "cpu", *words])
    job = table_job(train)

    assert ("prepared" in job.recipe["data"]["init_args"]) == is_prepared


def test_preset_best_trains_on_a_prepared_table_and_answers_every_row_out_of_fold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(table, "_SHOWN", 100)
    people(300).to_parquet("people.parquet")
    words = ["people.parquet", "--target", "paid", "--prepared", "folder", "--preset", "best", "--epochs", "1"]

    assert main(["train", *words, "--accelerator", "cpu", "--no-report"]) == 0
    said = capsys.readouterr().out

    answers, shown = pd.read_parquet("runs/people/out_of_fold.parquet"), pd.read_csv("runs/people/predictions.csv")
    assert sorted(answers["row"]) == [*range(300)]
    assert answers["paid"].tolist() == people(300)["paid"].iloc[answers["row"]].tolist()
    assert len(shown) < 200
    pd.testing.assert_frame_equal(
        answers.set_index("row").loc[shown["row"]].reset_index(), shown, rtol=1e-4, check_dtype=False
    )
    assert "out_of_fold.parquet  the same for every row, by members that did not learn from it" in said
    assert "predictions.csv      targets and predictions for a sample of the rows, by members" in said
