"""The side-by-side script: scores, and libraries that are not there."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.peers import run_peer, score, summary, to_markdown

SPEC = {
    "target": "late",
    "categorical": ["job"],
    "continuous": ["x"],
    "metric": "auroc",
    "epochs": 1,
    "batch_size": 16,
    "dropout": 0.0,
    "threads": 1,
    "seed": 0,
}


@pytest.mark.slow
def test_our_own_run_answers_in_the_order_of_the_file(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    x = draw.normal(size=400)
    frame = pd.DataFrame({"x": x, "job": draw.choice(["a", "b"], 400), "late": np.where(x > 0, "yes", "no")})
    frame["part"] = np.where(draw.random(400) < 0.7, "train", "validation")
    frame.to_csv(tmp_path / "rows.csv", index=False)
    truth = (frame.loc[frame["part"] == "validation", "late"] == "yes").to_numpy()

    run = run_peer("tabvision", sys.executable, SPEC | {"csv": str(tmp_path / "rows.csv")}, truth, tmp_path)

    assert run["quality"] > 0.9
    assert run["rows_per_second"] > 0


@pytest.mark.skipif(importlib.util.find_spec("skorch") is not None, reason="skorch is installed here")
def test_a_library_that_is_not_installed_is_missing_and_named(tmp_path: Path) -> None:
    run = run_peer("skorch", sys.executable, SPEC | {"csv": "none"}, np.zeros(1), tmp_path)

    assert run == {"missing": "skorch"}


def test_an_environment_that_is_not_there_is_missing_and_a_run_that_fails_says_why(tmp_path: Path) -> None:
    run = run_peer("fastai", str(tmp_path / "bin" / "python"), SPEC | {"csv": "none"}, np.zeros(1), tmp_path)
    assert "no Python there" in run["missing"]

    run = run_peer("of_nobody", sys.executable, SPEC | {"csv": "none"}, np.zeros(1), tmp_path)
    assert "run_of_nobody.py" in run["failed"]


def test_another_number_of_predictions_than_rows_is_refused() -> None:
    with pytest.raises(ValueError, match="2 validation rows, but 1 predictions"):
        score("rmse", np.zeros(2), np.zeros(1))


def test_the_table_names_what_is_missing() -> None:
    worked = {"rows_per_second": 200.0, "quality": 0.8, "versions": {"tabvision": "1"}}
    slower = {"rows_per_second": 100.0, "quality": 0.7, "versions": {"fastai": "2"}}
    peers = {"tabvision": summary([worked]), "fastai": summary([slower]), "skorch": summary([{"missing": "skorch"}])}
    facts = {"metric": "auroc", "epochs": 3, "batch_size": 4096, "peers": peers}
    where = {"cpu": "Abacus", "cores": 1, "threads": 1, "system": "Linux"}
    result = {"machine": where, "versions": {"python": "3"}, "commit": None, "sets": {"flights": facts}}

    text = to_markdown(json.loads(json.dumps(result)))

    assert "| fastai 2 | 100 | 2.00 | 0.7000 | 0.0000 |" in text
    assert "| skorch | not installed: skorch |  |  |  |" in text
