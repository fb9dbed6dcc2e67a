"""`tabvision train --from`: a trained network goes on with rows that bring new categories, columns and classes."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tabvision.cli import main
from tabvision.inference import Predictor

WORDS = ["--target", "kind", "--epochs", "2", "--no-report", "--quiet", "--accelerator", "cpu"]


def rows(letters: str, labels: str, *, seed: int) -> pd.DataFrame:
    draw = np.random.default_rng(seed)
    frame = pd.DataFrame({"size": draw.normal(size=120).round(3), "letter": draw.choice(list(letters), 120)})
    return frame.assign(kind=draw.choice(list(labels), 120))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the old rows, and a file of new ones."""
    folder = tmp_path_factory.mktemp("runs")
    rows("abc", "xy", seed=1).to_csv(folder / "old.csv", index=False)
    rows("bcd", "xyz", seed=2).assign(weight=1.5 + np.arange(120)).to_csv(folder / "new.csv", index=False)
    main(["train", str(folder / "old.csv"), "--out", str(folder / "old"), *WORDS])
    return folder


def test_the_network_goes_on_and_knows_both(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = folder / "grown"
    main(["train", str(folder / "new.csv"), "--from", str(folder / "old" / "best.ckpt"), "--out", str(out), *WORDS])

    schema = Predictor(out / "best.ckpt").schema
    assert schema.classes == ("x", "y", "z")
    assert schema.categorical[0].vocabulary == ("a", "b", "c", "d")
    assert {"weight"} < {column.name for column in schema.continuous}
    assert not (out / "recipe.yaml").exists()
    main(
        ["calibrate", "--run", str(out), "--out", str(folder / "calibrated.ckpt")]
    )  # refused: these rows teach nothing
    told = capsys.readouterr().out
    assert "the same command repeats it" in told
    assert "On the validation rows of the run" in told
    assert set(pd.read_csv(out / "predictions.csv")["label"]) <= {"x", "y", "z"}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--task", "regression"], "'kind'"),
        (["--preset", "best"], "--preset best trains new networks"),
        (["--from", "nowhere.ckpt"], "no checkpoint at"),
        (["--continuous", "letter"], "'letter'"),
    ],
)
def test_what_does_not_go_on_is_refused_in_a_sentence(
    folder: Path, words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    start = ["--from", str(folder / "old" / "best.ckpt"), "--out", str(folder / "refused")]
    options = WORDS if "best" not in words else [word for word in WORDS if word not in ("--epochs", "2")]
    assert main(["train", str(folder / "new.csv"), *start, *options, *words]) == 2

    assert sentence in capsys.readouterr().err
    assert not (folder / "refused").exists()


def test_a_run_whose_metrics_are_damaged_is_refused(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(folder / "old" / "best.ckpt", tmp_path)
    (tmp_path / "metrics.json").write_text("{")

    assert main(["train", str(folder / "new.csv"), "--from", str(tmp_path / "best.ckpt"), *WORDS]) == 2

    assert f"'{tmp_path / 'metrics.json'}' is damaged" in capsys.readouterr().err
