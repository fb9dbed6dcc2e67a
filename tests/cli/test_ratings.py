"""Ratings by command: train, predict, recommend, and what is said of a wrong word."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from tabvision.cli import build_parser, main
from tabvision.cli.demo import _bias_table, _show_films
from tests.made.ratings import made_ratings, made_titles

TRAIN = [
    "train",
    "ratings.csv",
    "--user",
    "who",
    "--item",
    "film",
    "--epochs",
    "2",
    "--accelerator",
    "cpu",
    "--no-report",
]
RUN = Path("runs/ratings")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with ratings in it."""
    monkeypatch.chdir(tmp_path)
    made_ratings().to_csv("ratings.csv", index=False)
    made_titles().to_csv("films.csv", index=False)
    return tmp_path


def test_ratings_are_trained_and_pairs_are_predicted() -> None:
    assert main([*TRAIN, "--target", "stars", "--titles", "films.csv"]) == 0

    pd.DataFrame({"who": [100, 101, -1], "film": [1, 2, 3]}).to_csv("pairs.csv", index=False)
    assert main(["predict", str(RUN / "best.ckpt"), "pairs.csv", "--out", "answers.csv"]) == 0

    written = pd.read_csv(RUN / "predictions.csv")
    table = pd.read_csv("answers.csv")
    assert table[["who", "film"]].equals(pd.read_csv("pairs.csv")[["who", "film"]])
    answers = table["prediction"]
    assert list(written) == ["row", "who", "film", "stars", "prediction"]
    assert answers.between(0.75, 5.25).all()


def test_the_recipe_repeats_the_run_to_the_same_numbers() -> None:
    main([*TRAIN, "--target", "stars", "--factors", "4", "--lr", "1e-2"])
    recipe = yaml.safe_load((RUN / "recipe.yaml").read_text())
    recipe["trainer"]["logger"]["init_args"] |= {"name": "again", "version": ""}
    Path("again.yaml").write_text(yaml.safe_dump(recipe))

    assert main(["fit", "--config", "again.yaml", "--trainer.enable_progress_bar=false"]) == 0

    first, again = (pd.read_csv(f"runs/{name}/metrics.csv").groupby("epoch").max() for name in ("ratings", "again"))
    assert recipe["model"]["init_args"] == {"factors": 4, "lr": "1e-2"}
    pd.testing.assert_frame_equal(first, again[first.columns], check_exact=True)


def test_takings_without_a_rating_are_trained_too() -> None:
    assert main([*TRAIN, "--epochs", "1"]) == 0

    written = pd.read_csv(RUN / "predictions.csv")
    recipe = yaml.safe_load((RUN / "recipe.yaml").read_text())
    assert set(written["interaction"]) == {"yes"}  # rows of the source, without those drawn beside them
    assert {"probability_no", "probability_yes"} <= set(written)
    assert recipe["model"]["init_args"] == {"lr": 0.01}


def test_the_best_and_the_worst_are_printed_and_drawn(capsys: pytest.CaptureFixture[str]) -> None:
    main([*TRAIN, "--target", "stars", "--titles", "films.csv"])
    capsys.readouterr()

    _show_films(RUN)

    out = capsys.readouterr().out
    assert out.count(" ratings  Film No. ") == 16
    assert (RUN / "factors.png").stat().st_size > 10_000
    assert (RUN / "biases.png").stat().st_size > 10_000


def test_images_need_no_titles() -> None:
    main([*TRAIN, "--target", "stars"])

    _show_films(RUN)

    assert (RUN / "factors.png").exists()


def test_a_line_without_a_title_names_the_id() -> None:
    frame = pd.DataFrame({"film": [7], "num_pairs": [np.int64(1_000)], "bias": [-0.5]})

    assert _bias_table(frame) == "  -0.500  1,000 ratings  7"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--user", "who"], "ratings need --item, the column of items"),
        (["--item", "film"], "ratings need --user, the column of users"),
        (
            ["--user", "who", "--item", "film", "--target", "stars,when"],
            "ratings have one --target, got 2: stars, when",
        ),
        (["--user", "who", "--item", "who"], "user and item are the same column"),
        (["--user", "who", "--item", "film", "--split", "last"], "--split last needs to know when each row was rated"),
        (
            ["--user", "who", "--item", "film", "--split", "last", "--timestamp", "when", "--validation", "0.3"],
            "--split last says which rows are held out, so there is no --validation 0.3",
        ),
        (
            ["--user", "who", "--item", "film", "--target", "stars", "--negatives", "2"],
            "--negatives is for rows without ratings",
        ),
    ],
)
def test_wrong_words_are_answered_in_a_sentence(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "ratings.csv", *words]) == 2

    assert message in capsys.readouterr().err


def test_options_reach_the_recipe_and_the_recipe_is_fitted_again() -> None:
    words = ["--target", "stars", "--timestamp", "when", "--split", "last", "--duplicates", "last", "--kind", "neural"]
    words += ["--titles", "names.csv", "--title", "name", "--y-range", "0", "6"]
    made_titles().rename(columns={"title": "name"}).to_csv("names.csv", index=False)

    assert main([*TRAIN, *words]) == 0

    recipe = yaml.safe_load((RUN / "recipe.yaml").read_text())
    settings = {"timestamp": "when", "split": "last", "duplicates": "last", "title": "name", "y_range": [0.0, 6.0]}
    assert settings.items() <= recipe["data"]["init_args"].items()
    assert recipe["model"]["init_args"] == {"kind": "neural"}
    assert len(pd.read_csv(RUN / "predictions.csv")) == made_ratings()["who"].nunique()
    recipe["trainer"]["logger"]["init_args"] |= {"name": "again", "version": ""}
    Path("again.yaml").write_text(yaml.safe_dump(recipe))
    assert main(["fit", "--config", "again.yaml", "--trainer.enable_progress_bar=false"]) == 0


def test_negatives_are_drawn_as_asked_and_what_a_row_means_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TRAIN, "--epochs", "1", "--negatives", "2"]) == 0

    said = capsys.readouterr().out
    assert "No rating: each row means that 'who' took 'film'; 2 negatives" in said
    assert [line.split()[0] for line in said.splitlines() if re.match("[a-z]+@10 ", line)] == ["ndcg@10", "recall@10"]
    assert pd.read_csv(RUN / "predictions.csv")["interaction"].eq("yes").all()


def test_the_command_line_has_what_the_job_reads() -> None:
    parsed = build_parser().parse_args(["train", "ratings.csv"])

    assert {"user", "item", "target", "titles", "factors", "lr", "epochs", "batch_size"} <= vars(parsed).keys()
