"""`tabvision evaluate`, and the metrics that `tabvision predict` prints of labeled rows."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tabvision.cli import main
from tests.made.images import write_folder
from tests.made.tables import people

pytestmark = pytest.mark.usefixtures("folder")

CKPT = "runs/people/best.ckpt"


@pytest.mark.usefixtures("run")
def test_the_metrics_of_labeled_rows_are_printed_and_written(capsys: pytest.CaptureFixture[str]) -> None:
    people(60).to_csv("new.csv", index=False)
    capsys.readouterr()
    words = ["evaluate", CKPT, "new.csv", "--device", "cpu"]

    assert main([*words, "--out", "found.json"]) == 0
    assert main([*words, "--out", "found.csv"]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["60", "rows", "of", "new.csv", "model", "low", "high", "naive"]
    assert [line.split()[0] for line in lines[1:5]] == ["accuracy", "auroc", "f1", "loss"]
    assert lines[5] == "low, high: 95% intervals, from 500 bootstrap resamples of the rows"
    written, table = json.loads(Path("found.json").read_text()), pd.read_csv("found.csv").set_index("metric")
    assert set(written["accuracy"]) == {"model", "low", "high", "naive"}
    assert written["loss"]["naive"] is None
    assert table.loc["f1", "model"] == pytest.approx(written["f1"]["model"])
    people(60).assign(job="diver").to_csv("unseen.csv", index=False)
    assert main(["evaluate", CKPT, "unseen.csv", "--device", "cpu"]) == 0
    assert "60 of 60 rows with a 'job' not seen in training, predicted as unknown" in capsys.readouterr().out
    assert main([*words, "--out", "found.json"]) == 2
    assert "is a file already" in capsys.readouterr().err


@pytest.mark.usefixtures("run")
def test_predict_says_how_well_it_answered_labeled_rows(capsys: pytest.CaptureFixture[str]) -> None:
    known = people(60)
    known.loc[:9, "paid"] = None
    known.to_csv("new.csv", index=False)
    known[10:].to_csv("known.csv", index=False)
    known.drop(columns="paid").to_csv("blind.csv", index=False)
    known[10:].assign(paid="third").to_csv("other.csv", index=False)
    assert main(["evaluate", CKPT, "known.csv", "--out", "found.json", "--device", "cpu"]) == 0
    found = json.loads(Path("found.json").read_text())
    capsys.readouterr()

    told = {}
    for name in ("new", "blind", "other"):
        assert main(["predict", CKPT, f"{name}.csv", "--out", f"{name}_answers.csv", "--device", "cpu"]) == 0
        told[name] = capsys.readouterr().out

    assert "On 50 rows with a known target: accuracy" in told["new"]
    auroc = "auroc {model:.4f} ({low:.4f} to {high:.4f}, naive 0.5000)".format_map(found["auroc"])
    assert auroc in told["new"]
    assert "Not used" not in told["new"]
    assert "known target" not in told["blind"]
    assert "Not measured: " in told["other"]
    assert "third" in told["other"]


@pytest.mark.slow
def test_every_kind_of_run_is_evaluated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_folder(tmp_path / "photos", {"a": 12, "b": 12})
    rng = np.random.default_rng(0)
    ratings = pd.DataFrame({"user": rng.integers(20, size=400), "item": rng.integers(30, size=400)}).drop_duplicates()
    ratings.assign(stars=rng.integers(1, 6, len(ratings))).to_csv("stars.csv", index=False)
    labels = people().assign(tall=rng.integers(2, size=120), old=rng.integers(2, size=120))
    labels.to_csv("labels.csv", index=False)
    table = ["--epochs", "1", "--accelerator", "cpu", "--no-report"]
    runs = {
        "photos": ["photos", "--body", "test_resnet", "--weights", "none", "--size", "16", *table],
        "stars.csv": ["stars.csv", "--user", "user", "--item", "item", "--target", "stars", *table],
        "labels.csv": ["labels.csv", "--target", "tall,old", "--task", "multilabel", *table],
        "people.csv": ["people.csv", "--target", "age", "--preset", "best", "--drop-missing-target", *table],
    }
    people().dropna(subset="age").to_csv("known.csv", index=False)

    for data, words in runs.items():
        assert main(["train", *words]) == 0
        capsys.readouterr()
        checkpoint, rows = f"runs/{data.split('.')[0]}/best.ckpt", "known.csv" if data == "people.csv" else data
        assert main(["evaluate", checkpoint, rows, "--device", "cpu"]) == 0
        header = capsys.readouterr().out.splitlines()[0]
        assert f"{'images' if data == 'photos' else 'rows'} of {rows}" in header


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([CKPT, "blind.csv"], "'paid'"),
        ([CKPT, "people.csv", "--out", "a.txt"], ".json"),
        (["runs/people/none.ckpt", "people.csv"], "none.ckpt"),
    ],
)
@pytest.mark.usefixtures("run")
def test_what_cannot_be_evaluated_is_refused_in_a_sentence(
    words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    people().drop(columns="paid").to_csv("blind.csv", index=False)
    capsys.readouterr()

    assert main(["evaluate", *words]) == 2

    error = capsys.readouterr().err
    assert error.startswith("tabvision evaluate: ")
    assert sentence in error
