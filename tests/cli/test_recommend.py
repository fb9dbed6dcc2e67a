"""`tabvision recommend` from a checkpoint alone."""

from pathlib import Path

import pandas as pd
import pytest

from tabvision.cli import main, recommend
from tabvision.errors import BadTypeError, BadValueError
from tabvision.modules import CollabModule
from tests.made.commands import run as run_command
from tests.made.ratings import made_ratings, made_titles, ratings_data
from tests.made.trainers import saved

CHECKPOINT = "runs/ratings/best.ckpt"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a trained run."""
    place = tmp_path_factory.mktemp("recommend")
    made_ratings().to_csv(place / "ratings.csv", index=False)
    made_titles().to_csv(place / "films.csv", index=False)
    words = ["train", str(place / "ratings.csv"), "--user", "who", "--item", "film", "--target", "stars"]
    words += ["--titles", str(place / "films.csv"), "--epochs", "2", "--accelerator", "cpu", "--no-report"]
    assert main([*words, "--out", str(place / "runs/ratings")]) == 0
    return place


def run(*words: str) -> None:
    run_command(recommend, *words)


def test_items_that_the_user_has_not_rated_are_printed_and_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)

    run(CHECKPOINT, "--user", "105", "-k", "3", "--out", "next.csv", "--overwrite")

    known = set(made_ratings().query("who == 105")["film"])
    written = pd.read_csv("next.csv")
    assert list(written) == ["film", "title", "prediction"]
    assert len(written) == 3
    assert not known & set(written["film"])
    out = capsys.readouterr().out
    assert all(title in out for title in written["title"])


def test_items_that_were_rated_may_be_included(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(str(folder / CHECKPOINT), "--user", "105", "-k", "20", "--include-seen")

    assert capsys.readouterr().out.count("Film No.") == 20


def test_an_id_of_18_digits_is_read_exactly(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frame = made_ratings().assign(who=lambda table: table["who"] + 900719925474099300)
    saved(CollabModule(ratings_data(frame).schema), tmp_path / "a.ckpt")

    run(str(tmp_path / "a.ckpt"), "--user", "900719925474099405", "--include-seen")
    assert "not in the training rows" not in capsys.readouterr().out

    run(str(tmp_path / "a.ckpt"), "--user", "900719925474099399", "--include-seen")
    assert "user '900719925474099399' is not in the training rows" in capsys.readouterr().out


def test_an_unknown_user_is_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(str(folder / CHECKPOINT), "--user", "5")

    assert "user '5' is not in the training rows" in capsys.readouterr().out


def test_items_like_an_item_are_printed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(str(folder / CHECKPOINT), "--similar-to", "3", "-k", "2")

    assert "similarity" in capsys.readouterr().out


def test_a_file_that_is_there_is_not_replaced_unasked(folder: Path) -> None:
    (folder / "there.csv").write_text("mine")

    with pytest.raises(BadValueError, match="there"):
        run(str(folder / CHECKPOINT), "--user", "105", "--out", str(folder / "there.csv"))


def test_a_checkpoint_of_a_table_is_refused(tmp_path: Path) -> None:
    frame = pd.DataFrame({"x": [0.5, 1.5, 2.5, 3.5] * 10, "paid": ["no", "yes"] * 20})
    frame.to_csv(tmp_path / "people.csv", index=False)
    words = ["train", str(tmp_path / "people.csv"), "--target", "paid", "--epochs", "1", "--no-report"]
    assert main([*words, "--out", str(tmp_path / "run")]) == 0

    with pytest.raises(BadTypeError, match="holds a TabularModule, which was not trained on ratings"):
        run(str(tmp_path / "run/best.ckpt"), "--user", "1")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--similar-to", "3", "--min-pairs", "999"], "No other item has enough ratings to tell what it is like"),
        (["--user", "105", "--min-pairs", "999"], "every item was rated by the user or has too few ratings"),
        (["--user", "105", "--include-seen", "--min-pairs", "999"], "every item has too few ratings"),
    ],
)
def test_why_nothing_is_left_is_said(
    folder: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run(str(folder / CHECKPOINT), *words)

    assert message in capsys.readouterr().out
