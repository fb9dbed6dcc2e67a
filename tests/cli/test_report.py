"""`tabvision report`, and the report.html of a run."""

import html
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tabvision.cli import main
from tests.made.images import write_folder
from tests.made.tables import TRAIN, people

pytestmark = pytest.mark.usefixtures("folder")

REPORTED = [word for word in TRAIN if word != "--no-report"]


def text_of(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub("<[^>]+>", " ", Path(page).read_text(encoding="utf-8")))


def test_a_run_ends_with_a_report_unless_told_not_to(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(REPORTED) == 0
    assert "runs/people/report.html" in capsys.readouterr().out
    said = text_of("runs/people/report.html")
    assert "Predicts the right class of paid for" in said
    for heading in (
        "How accurate it is",
        "What it relies on",
        "Where it is wrong",
        "How training went",
        "How it was made",
    ):
        assert heading in said
    assert all(name in said for name in people() if name != "paid")

    assert main([*TRAIN, "--out", "other"]) == 0
    assert not Path("other/report.html").exists()
    assert Path("other/best.ckpt").exists()


def test_the_report_of_a_run_split_by_time_says_how_it_was_measured_and_made() -> None:
    frame = people(200).assign(hired=pd.date_range("2020-01-01", periods=200))
    frame.to_csv("people.csv", index=False)

    assert main([*REPORTED, "--split", "time:hired", "--no-refit"]) == 0

    said = html.unescape(text_of("runs/people/report.html"))
    assert "rows held out for validation (the latest by 'hired'), which also chose the epoch." in said
    assert "The rows were split by 'hired', so its values differ." in said
    assert "'hired' in" not in said  # is not called odd
    assert "It was made from 200 training and validation rows" in said
    assert "tabvision fit --config recipe.yaml" in said
    (known,) = re.findall("# rows: (.{16})", Path("runs/people/recipe.yaml").read_text(encoding="utf-8"))
    assert f"hash of the rows {known}" in said
    assert re.search(r"data people\.csv .* highest learning rate 0\.\d+ time [\d.]+ seconds", said)


@pytest.mark.slow
def test_a_report_says_what_share_a_linear_model_has(capsys: pytest.CaptureFixture[str]) -> None:
    draw = np.random.default_rng(0)
    frame = pd.DataFrame(draw.normal(size=(80, 6)), columns=list("abcdef"))
    frame.assign(y=frame.sum(axis=1) + draw.normal(size=80)).to_csv("sums.csv", index=False)

    assert main(["train", "sums.csv", "--target", "y", "--batch-size", "80", "--accelerator", "cpu"]) == 0

    share = re.search(r"a linear model makes up (\d+%)", capsys.readouterr().out)
    assert share is not None
    said = text_of("runs/sums/report.html")
    assert f"a linear model makes up {share[1]} of every prediction, but has no part" in said
    assert "did not learn from it; these predictions also chose the epoch" in said
    assert "It has seen y from" in said


@pytest.mark.usefixtures("run")
def test_a_report_of_other_rows_measures_those(capsys: pytest.CaptureFixture[str]) -> None:
    people(60).to_csv("new.csv", index=False)
    words = ["report", "runs/people/best.ckpt", "new.csv", "--device", "cpu", "--out", "page.html"]
    capsys.readouterr()

    assert main(words) == 0

    assert capsys.readouterr().out == "60 rows of new.csv: page.html\n"
    assert "Measured on 60 rows of new.csv." in text_of("page.html")
    assert main(words) == 2
    assert "is a file already" in capsys.readouterr().err
    assert main([*words[:3], "new.csv", *words[3:], "--overwrite"]) == 0
    assert "rows of new.csv and 1 more: page.html" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["runs/people/best.ckpt", "no_target.csv", "--out", "a.html"], "'paid'"),
        (["runs/people/best.ckpt", "people.csv", "--out", "a.txt"], ".html"),
        (["runs/people/none.ckpt", "people.csv", "--out", "a.html"], "none.ckpt"),
        (["runs/people/best.ckpt", "people.csv", "--out", "absent/a.html"], "absent"),
    ],
)
@pytest.mark.usefixtures("run")
def test_a_report_that_cannot_be_is_refused_in_a_sentence(
    words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    people().drop(columns="paid").to_csv("no_target.csv", index=False)
    capsys.readouterr()

    assert main(["report", *words]) == 2

    error = capsys.readouterr().err
    assert sentence in error
    assert error.startswith("tabvision report: ")
    assert not Path("a.html").exists()


def test_a_run_is_whole_without_its_report(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("no ink")

    monkeypatch.setattr("tabvision.cli.report.write_report", fails)

    assert main(REPORTED) == 0

    assert "No report was written: RuntimeError: no ink" in capsys.readouterr().out
    assert Path("runs/people/best.ckpt").exists()


@pytest.mark.slow
def test_every_kind_of_run_has_its_report(tmp_path: Path) -> None:
    write_folder(tmp_path / "photos", {"a": 12, "b": 12})
    photos = ["train", "photos", "--body", "test_resnet", "--weights", "none", "--size", "16", "--epochs", "1"]
    rng = np.random.default_rng(0)
    ratings = pd.DataFrame({"user": rng.integers(20, size=400), "item": rng.integers(30, size=400)}).drop_duplicates()
    ratings.assign(stars=rng.integers(1, 6, len(ratings))).to_csv("stars.csv", index=False)
    ratings.to_csv("plays.csv", index=False)
    stars = ["train", "stars.csv", "--user", "user", "--item", "item", "--target", "stars", "--epochs", "1"]
    plays = ["train", "plays.csv", "--user", "user", "--item", "item", "--epochs", "1"]

    for words in (photos, stars, plays):
        assert main([*words, "--accelerator", "cpu"]) == 0

    photos_said = text_of("runs/photos/report.html")
    assert re.search(r"Predicts the right class of \w+ for \d+ of 100 images", photos_said)
    assert "a_0" in photos_said
    assert "photos/a" not in photos_said  # no path of a file, only its name
    stars_said = text_of("runs/stars/report.html")
    assert "Predicts stars within" in stars_said
    assert all(f"Errors by how often {name} was seen in training" in stars_said for name in ("user", "item"))
    assert main(["report", "runs/stars/best.ckpt", "stars.csv", "--device", "cpu", "--out", "stars.html"]) == 0
    said = html.unescape(text_of("stars.html"))
    assert all(
        f"Errors by how many other pairs of the checkpoint have the same {name}" in said for name in ("user", "item")
    )
    num_pictures = Path("runs/photos/report.html").read_text(encoding="utf-8").count("<img")
    assert num_pictures == 2 * len(
        pd.read_csv("runs/photos/predictions.csv")
    )  # beside each is where the network looked
    assert not Path("runs/plays/report.html").exists()  # pairs have no target to be wrong about
    words = ["report", "runs/photos/best.ckpt", "photos", "--device", "cpu", "--out", "photos.html"]
    assert main(words) == 0
    assert Path("photos.html").read_text(encoding="utf-8").count("<img") == 2 * 24


def test_the_report_of_a_run_says_what_is_odd_in_its_data_and_no_name_of_it_is_markup() -> None:
    frame = people(400).assign(pension=lambda frame: frame["paid"].map({"well": "<b>w", "badly": "<b>b"}))
    frame = frame.rename(columns={"job": "<script>alert(1)</script>", "age": "{{ 7*7 }}"})
    pd.concat([frame, frame[:200]]).to_csv("people.csv", index=False)

    assert main([*REPORTED, "--validation", "0.5"]) == 0

    said = html.unescape(text_of("runs/people/report.html"))
    assert "What is odd in the data 'pension' determines the target in every training row." in said
    assert re.search(r"\d+ of 300 rows are also training rows, identical in every column that the model reads", said)
    assert "No column differs between these rows and the training rows by more than chance explains." in said
    page = Path("runs/people/report.html").read_text(encoding="utf-8")
    assert "<b>" not in page
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "{{ 7*7 }}" in page


def test_the_report_of_a_run_on_photos_says_which_are_in_both_parts_and_how_their_looks_differ(tmp_path: Path) -> None:
    write_folder(tmp_path / "photos", {"train/a": 30, "train/b": 30, "valid/a": 12, "valid/b": 12})
    (tmp_path / "photos/valid/a/a_copy.jpg").write_bytes((tmp_path / "photos/train/a/a_000.jpg").read_bytes())
    (tmp_path / "photos/train/b/wrong.jpg").write_bytes((tmp_path / "photos/train/a/a_001.jpg").read_bytes())
    for file in (tmp_path / "photos/valid/b").iterdir():
        Image.fromarray(np.array(Image.open(file)) // 4).save(file)
    photos = ["train", "photos", "--body", "test_resnet", "--weights", "none", "--size", "16", "--epochs", "1"]

    assert main([*photos, "--accelerator", "cpu"]) == 0

    said = html.unescape(text_of("runs/photos/report.html"))
    assert "pairs of a training and a validation photo are nearly identical (61 training photos and" in said
    assert "a/a_copy.jpg" in said
    assert "1 pair of identical photos with different labels: a/a_001.jpg and b/wrong.jpg." in said
    assert "Columns that differ between these images and the training images" in said
    assert "brightness" in said


@pytest.mark.usefixtures("run")
def test_a_report_says_how_many_rows_are_unlike_those_of_training() -> None:
    frame = people(60).assign(job=["cook"] * 57 + ["pope"] * 3)
    frame.loc[:4, "age"] = 900
    frame.to_csv("new.csv", index=False)

    assert main(["report", "runs/people/best.ckpt", "new.csv", "--device", "cpu", "--out", "page.html"]) == 0

    said = html.unescape(text_of("page.html"))
    assert "Some of 60 rows have a value not seen in training: 'job' in 3." in said
    assert (
        "Some of 60 rows have a value far outside the training range, where predictions are guesses: 'age' in 5."
        in said
    )
