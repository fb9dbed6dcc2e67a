"""Rows with a category that training lacks are counted and told, for ratings and for tables alike."""

from pathlib import Path

import pandas as pd
import pytest

from tabvision.cli import main
from tabvision.inference import OnnxPredictor, Predictor, export
from tabvision.inference.inputs import missing_sentences, unseen_sentences
from tests.made.ratings import made_ratings

PAIRS = pd.DataFrame({"who": [100, -1, -2, None], "film": [1, 2, 77, 3]})


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained on ratings by command."""
    place = tmp_path_factory.mktemp("unseen")
    made_ratings().to_csv(place / "ratings.csv", index=False)
    words = ["train", str(place / "ratings.csv"), "--user", "who", "--item", "film", "--target", "stars"]
    assert main([*words, "--epochs", "1", "--accelerator", "cpu", "--out", str(place / "run")]) == 0
    return place / "run/best.ckpt"


def test_a_predictor_tells_how_many_users_and_items_training_lacks(checkpoint: Path) -> None:
    answers = Predictor(checkpoint).predict(PAIRS)

    assert answers.attrs["unseen"] == {"who": 2, "film": 1}
    assert unseen_sentences(answers)[1] == "1 of 4 rows with a 'film' that training lacks, answered as unknown"


def test_rows_that_are_all_known_leave_nothing_to_tell(checkpoint: Path) -> None:
    answers = Predictor(checkpoint).predict(made_ratings())

    assert answers.attrs["unseen"] == {}
    assert unseen_sentences(answers) == []


def test_an_exported_model_tells_the_same(checkpoint: Path, tmp_path: Path) -> None:
    export(checkpoint, tmp_path / "model.onnx")

    assert OnnxPredictor(tmp_path / "model.onnx").predict(PAIRS).attrs["unseen"] == {"who": 2, "film": 1}


def test_the_command_says_it(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    PAIRS.to_csv(tmp_path / "pairs.csv", index=False)

    assert main(["predict", str(checkpoint), str(tmp_path / "pairs.csv"), "--out", str(tmp_path / "out.csv")]) == 0

    out = capsys.readouterr().out
    assert "2 of 4 rows with a 'who' that training lacks, answered as unknown" in out
    assert "1 of 4 rows without a 'who', answered as unknown" in out


def test_gaps_in_a_table_are_nothing_to_tell() -> None:
    assert missing_sentences(object(), PAIRS) == []


def test_answers_of_another_kind_have_nothing_to_tell() -> None:
    assert unseen_sentences(pd.DataFrame({"label": ["cat"]})) == []
