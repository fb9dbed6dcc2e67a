"""How a file is read, by command: options for training ride into the recipe, and prediction reads the same way."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from tabvision.cli import main
from tests.made.commands import Forked
from tests.made.images import write_folder
from tests.made.ratings import made_ratings
from tests.made.tables import people

pytestmark = pytest.mark.usefixtures("folder")

SHORT = ["--epochs", "1", "--accelerator", "cpu", "--no-report"]
NET = ["--body", "test_resnet", "--weights", "none", "--size", "32", *SHORT]


def test_words_that_are_missing_are_the_users_in_training_and_in_prediction(capsys: pytest.CaptureFixture[str]) -> None:
    frame = people(200).assign(country=["NA", "IT"] * 100)
    frame["age"] = frame["age"].astype("str").where(np.arange(200) % 5 > 0, "?")
    frame.to_csv("people.csv", index=False)

    assert main(["train", "people.csv", "--target", "country", "--na", "?", *SHORT]) == 0
    assert "Read as missing: '?' in 'age' (40 rows)." in capsys.readouterr().out
    assert main(["predict", "runs/people/best.ckpt", "people.csv", "--out", "answers.csv"]) == 0

    assert yaml.safe_load(Path("runs/people/recipe.yaml").read_text())["data"]["init_args"]["na_values"] == ["?"]
    assert list(pd.read_csv("answers.csv")) == ["label", "probability_IT", "probability_NA"]


def test_a_word_as_a_class_is_kept_on_request(capsys: pytest.CaptureFixture[str]) -> None:
    people(60).assign(country=["NA", "IT", "FR"] * 20).to_csv("people.csv", index=False)

    assert main(["train", "people.csv", "--target", "country", *SHORT]) == 2
    printed = capsys.readouterr()
    assert "Read as missing: 'NA' in 'country' (20 rows)." in printed.out
    assert "--na" in printed.out
    assert main(["train", "people.csv", "--target", "country", "--na", "", *SHORT]) == 0
    assert "multiclass (3 values: FR, IT, NA)" in capsys.readouterr().out
    assert main(["fit", "--config", "runs/people/recipe.yaml", "--trainer.enable_progress_bar=false"]) == 0


def test_ratings_as_movielens_writes_them_are_trained_and_predicted(capsys: pytest.CaptureFixture[str]) -> None:
    rows = made_ratings().astype({"stars": int}).astype("str")
    Path("ratings.dat").write_text("\n".join(rows.agg("::".join, axis=1)) + "\n")
    names = ["--names", "who,film,stars,when"]

    words = ["train", "ratings.dat", "--user", "who", "--item", "film", "--target", "stars", "--no-header", *names]
    assert main([*words, *SHORT]) == 0
    assert main(["predict", "runs/ratings/best.ckpt", "ratings.dat", *names, "--sep", "::", "--out", "a.csv"]) == 0

    assert len(pd.read_csv("a.csv")) == len(rows)
    assert "ratings.dat is read with '::' between fields." in capsys.readouterr().out


def test_what_numpy_writes_is_trained_without_a_word_and_calibrated() -> None:
    draw = np.random.default_rng(0)
    numbers = draw.normal(size=(80, 2))
    np.savetxt("a.txt", np.column_stack([numbers, numbers[:, 0] + 3 * draw.normal(size=80) > 0]))

    assert main(["train", "a.txt", "--target", "column_3", *SHORT]) == 0
    words = ["calibrate", "runs/a/best.ckpt", "a.txt", "--no-header", "--out", "calibrated.ckpt"]
    assert main(words) == 0


def test_a_folder_of_shards_is_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    Path("shards").mkdir()
    people(60).to_parquet("shards/0.parquet")
    people(40).to_parquet("shards/1.parquet")

    assert main(["train", "shards", "--target", "paid", *SHORT]) == 0
    assert main(["predict", "runs/shards/best.ckpt", "shards", "--out", "answers.csv"]) == 0

    assert "2 files read as one table: '0.parquet' to '1.parquet'." in capsys.readouterr().out
    assert len(pd.read_csv("answers.csv")) == 100


def test_standard_input_is_a_table() -> None:
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as file:
        people(60).to_csv(file, index=False)

    with os.fdopen(reader) as file:
        status, _, errors = Forked(main, ["train", "/dev/stdin", "--target", "paid", *SHORT], stdin=file).ended()

    assert status == 0, errors
    assert Path("runs/data/best.ckpt").exists()


def test_names_of_photos_may_lack_their_suffix_and_labels_may_be_codes() -> None:
    write_folder(Path("photos"), {".": 16})
    files = sorted(Path("photos").glob("*.jpg"))
    for number, file in enumerate(files):
        file.rename(f"photos/{number:03}.jpg")
    frame = pd.DataFrame({"id": [f"{number:03}" for number in range(16)], "label": ["001", "007"] * 8, "site": "x"})
    frame.to_csv("labels.csv", index=False)

    words = ["train", "labels.csv", "--image", "id", "--root", "photos", "--suffix", ".jpg", "--target", "label", *NET]
    assert main(words) == 0

    assert pd.read_csv("runs/labels/predictions.csv", dtype=str)["label"].isin(["001", "007"]).all()


def test_classes_two_folders_deep_are_trained_on_request(capsys: pytest.CaptureFixture[str]) -> None:
    write_folder(Path("photos"), {"pets/cat": 6, "pets/dog": 6, "farm/cow": 6})

    assert main(["train", "photos", "--label-depth", "2", *NET]) == 0

    assert "multiclass (3 values: cat, cow, dog)" in capsys.readouterr().out


def test_a_table_of_photos_names_the_columns_that_are_not_used(capsys: pytest.CaptureFixture[str]) -> None:
    write_folder(Path("photos"), {"cat": 8, "dog": 8})
    files = sorted(map(str, Path("photos").rglob("*.jpg")))
    frame = pd.DataFrame({"file": files, "pet": [Path(file).parent.name for file in files], "age": range(16)})
    frame.to_csv("photos.csv", index=False)

    assert main(["train", "photos.csv", "--image", "file", "--target", "pet", *NET]) == 0
    assert "age   left out     a network of images reads no columns" in capsys.readouterr().out
    assert main(["predict", "runs/photos/best.ckpt", "photos.csv", "--out", "answers.csv"]) == 0
    told = capsys.readouterr().out
    assert "Not used: age" in told
    assert "On 16 rows with a known target: accuracy" in told


def test_photos_that_are_not_read_are_named_before_training_fails_on_them(capsys: pytest.CaptureFixture[str]) -> None:
    write_folder(Path("photos"), {"cat": 2, "dog": 2})
    Path("photos/dog/x.heic").touch()
    assert main(["check-images", "photos"]) == 0
    assert "1 file of other kinds left out: 1 .heic. Convert photos to JPEG or PNG" in capsys.readouterr().out

    Path("photos/cow").mkdir()
    Path("photos/dog/x.heic").rename("photos/cow/x.heic")
    assert main(["train", "photos", *NET]) == 2
    assert "the class folder 'photos/cow' holds no image that can be read: 1 .heic." in capsys.readouterr().err


def test_a_working_folder_that_is_gone_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()

    assert main(["train", "../people.csv", "--target", "paid"]) == 2
    assert "the working folder has been removed. Change to one that exists." in capsys.readouterr().err


def test_one_photo_is_no_table(capsys: pytest.CaptureFixture[str]) -> None:
    write_folder(Path("photos"), {"cat": 2})

    assert main(["train", "photos/cat/cat_000.jpg"]) == 2

    assert "'photos/cat/cat_000.jpg' is one image" in capsys.readouterr().err
