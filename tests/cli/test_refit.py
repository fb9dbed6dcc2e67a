"""A run whose validation rows are the latest retrains its network on them as well."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tabvision.cli import main
from tabvision.data import TabularDataModule, TimeSplit
from tabvision.errors import BadValueError
from tabvision.inference import Predictor
from tabvision.inference.checkpoint import read_state

TRAIN = ["train", "sales.csv", "--target", "sold", "--accelerator", "cpu", "--no-report"]
BY_TIME = [*TRAIN, "--split", "time:day", "--out", "run"]
ROWS = 150


@pytest.fixture(autouse=True)
def sales(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made_sales().to_csv("sales.csv", index=False)


def made_sales() -> pd.DataFrame:
    """Sales that grow with time; the last days are in a shop that opened late."""
    random, day = np.random.default_rng(0), np.arange(ROWS)
    shop = np.where(day >= ROWS - 20, "new", random.choice(["north", "south"], ROWS))
    sold = 20 + day / 5 + 10 * (shop == "north") + random.normal(0, 1, ROWS)
    return pd.DataFrame(
        {"day": pd.Timestamp("2024-01-01") + pd.to_timedelta(day, unit="D"), "shop": shop, "sold": sold}
    )


def facts_of(run: str) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(Path(run, "metrics.json").read_text(encoding="utf-8"))
    return facts


def test_the_network_learns_from_the_latest_rows_once_it_was_measured_on_them() -> None:
    words = ["--epochs", "2", "--intervals", "0.8"]
    assert main([*BY_TIME, *words]) == 0
    assert main([*BY_TIME[:-1], "without", "--no-refit", *words]) == 0

    anew, before = (Predictor(f"{run}/best.ckpt") for run in ("run", "without"))
    assert [each.schema.target.num_rows for each in (anew, before)] == [ROWS, ROWS]
    assert [each.schema.categorical[0].vocabulary for each in (anew, before)] == [
        ("new", "north", "south"),
        ("north", "south"),
    ]
    assert anew.calibration == before.calibration
    assert Path("run/predictions.csv").read_text() == Path("without/predictions.csv").read_text()
    assert facts_of("run")["metrics"] == facts_of("without")["metrics"]
    assert facts_of("run")["refit"] == {"num_rows": ROWS, "num_epochs": 2}
    assert "refit" not in facts_of("without")
    assert not Path("run/trained.ckpt").exists()


def test_it_trains_anew_for_as_many_epochs_as_were_best() -> None:
    noise = np.random.default_rng(0).normal(size=ROWS)
    made_sales().assign(sold=noise).to_csv("sales.csv", index=False)  # nothing to learn, so that the fit stops early
    assert main([*BY_TIME, "--batch-size", "4"]) == 0

    (state,) = (each for name, each in read_state("run/last.ckpt")["callbacks"].items() if name.startswith("FitTable"))
    assert facts_of("run")["refit"]["num_epochs"] == state["best_epoch"] + 1


@pytest.mark.slow
def test_a_run_killed_after_it_trained_anew_is_measured_by_the_network_before() -> None:
    assert main([*BY_TIME, "--epochs", "2"]) == 0
    assert main([*BY_TIME[:-1], "without", "--no-refit", "--epochs", "2"]) == 0
    before = facts_of("run")
    shutil.copy("without/best.ckpt", "run/trained.ckpt")
    Path("run/metrics.json").unlink()

    assert main(["train", "--resume", "run"]) == 0

    after = facts_of("run")
    assert {name: after[name] for name in ("metrics", "refit")} == {name: before[name] for name in ("metrics", "refit")}


def test_a_run_that_goes_on_keeps_what_it_was_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*BY_TIME, "--no-refit", "--intervals", "0.8", "--epochs", "2"]) == 0
    calibration = Predictor("run/best.ckpt").calibration
    assert calibration.to_dict()["coverage"] == 0.8
    Path("run/metrics.json").unlink()  # which is written last: as if it had been stopped before

    assert main(["train", "--resume", "run", "--no-report"]) == 0

    assert "refit" not in facts_of("run")
    assert Predictor("run/best.ckpt").calibration == calibration

    Path("run/metrics.json").unlink()
    assert main(["train", "--resume", "run", "--no-report", "--refit"]) == 0  # what is given again counts
    assert "refit" in facts_of("run")

    Path("run/metrics.json").unlink()
    recipe = Path("run/recipe.yaml")
    recipe.write_text(recipe.read_text().replace('"refit": false', '"refit": "no"'))
    assert main(["train", "--resume", "run"]) == 2
    assert '"refit": "no"' in capsys.readouterr().err


def test_a_network_that_learned_from_its_validation_rows_says_so_where_it_goes_on(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = [*TRAIN, "--validation", "0.2", "--epochs", "1"]
    for refit in ("--refit", "--no-refit"):
        run = f"run{refit}"
        assert main([*words, refit, "--out", run]) == 0
        capsys.readouterr()

        assert main([*words, "--from", f"{run}/best.ckpt", "--out", f"on{refit}"]) == 0

        said = "also learned from the validation rows of its run" in capsys.readouterr().out
        assert said is (refit == "--refit")


def test_other_splits_train_anew_if_they_are_asked_to() -> None:
    assert main([*TRAIN, "--validation", "0.2", "--refit", "--epochs", "2", "--out", "run"]) == 0
    assert facts_of("run")["refit"] == {"num_rows": ROWS, "num_epochs": 2}

    assert main([*TRAIN, "--validation", "0.2", "--epochs", "2", "--out", "without"]) == 0
    assert "refit" not in facts_of("without")


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ([*TRAIN, "--refit"], "there are no validation rows"),
        ([*BY_TIME, "--refit", "--verifiable"], "--verifiable is for"),
        ([*BY_TIME, "--refit", "--prepared", "table"], "a prepared table is not read into memory"),
    ],
)
def test_where_it_cannot_is_said(words: list[str], reason: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2

    said = capsys.readouterr().err
    assert reason in said
    assert "Leave --refit out" in said


def test_a_resumed_run_on_other_data_is_not_trained_anew(capsys: pytest.CaptureFixture[str]) -> None:
    ratings = pd.DataFrame({"user": [1, 2, 3, 4] * 6, "item": [*range(6)] * 4, "stars": [1.0, 2.0, 4.0] * 8})
    ratings.drop_duplicates(["user", "item"]).to_csv("stars.csv", index=False)
    words = [
        "--user",
        "user",
        "--item",
        "item",
        "--target",
        "stars",
        "--epochs",
        "1",
        "--accelerator",
        "cpu",
        "--out",
        "run",
    ]
    assert main(["train", "stars.csv", *words, "--no-report"]) == 0
    Path("run/metrics.json").unlink()

    assert main(["train", "--resume", "run", "--refit"]) == 2

    assert "this run is not on a table" in capsys.readouterr().err


def test_rows_that_it_learned_from_do_not_calibrate_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*BY_TIME, "--epochs", "2"]) == 0

    assert main(["calibrate", "--run", "run", "--out", "calibrated.ckpt"]) == 2

    assert "was retrained on the validation rows" in capsys.readouterr().err
    assert not Path("calibrated.ckpt").exists()


def test_rows_for_tests_and_calibration_are_no_training_rows() -> None:
    frame = made_sales()
    data = TabularDataModule(frame, "sold", split=TimeSplit("day", 0.2, 0.1), calibration=0.1, verbose=False)

    whole = data.with_validation_rows()

    learned = {name: set(part.tensors["index"][part.rows].tolist()) for name, part in data.parts.items()}
    rows = whole.parts["train"].tensors["index"].tolist()
    assert [*whole.parts] == ["train"]
    assert set(rows) == learned["train"] | learned["val"]
    assert rows == sorted(rows)
    mean = frame["sold"].iloc[rows].mean()
    assert whole.schema.task.to_dict()["mean"] == pytest.approx((mean,))  # learned from these rows


@pytest.mark.parametrize("settings", [{"prepared": "table"}, {"schema": True}])
def test_a_schema_that_cannot_be_learned_anew_is_said(settings: dict[str, Any]) -> None:
    if "schema" in settings:
        settings = {"schema": TabularDataModule("sales.csv", "sold", verbose=False).schema}
    data = TabularDataModule("sales.csv", "sold", split=TimeSplit("day", 0.2), verbose=False, **settings)

    with pytest.raises(BadValueError, match="a new schema is fitted only to a table in memory"):
        data.with_validation_rows()
