"""Rows in any form become the same arrays."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tabvision.cli import main
from tabvision.errors import BadTypeError
from tabvision.inference import OnnxPredictor, Predictor, export
from tabvision.inference.inputs import InputReader, missing_sentences, unseen_sentences
from tabvision.preprocess import to_arrays
from tests.made.ratings import made_ratings
from tests.made.trained import raw, trained


def test_frames_rows_and_columns_give_the_same_arrays() -> None:
    schema, frame = trained("binary")[2].schema, raw(10)
    read = InputReader(schema, "here")
    continuous, categorical = to_arrays(schema, frame)

    for source in (frame, frame.to_dict("records"), frame.to_dict("list")):
        found = read(source)
        assert found.num_rows == 10
        np.testing.assert_allclose(found.arrays["continuous"], continuous, rtol=1e-6)
        np.testing.assert_array_equal(found.arrays["categorical"], categorical)
        np.testing.assert_array_equal(found.part(2, 4)["categorical"], categorical[2:4])


def test_a_frames_index_is_kept_and_rows_have_none() -> None:
    read, frame = InputReader(trained("binary")[2].schema, "here"), raw(4).set_index(pd.Index([6, 7, 8, 9]))

    assert read(frame).index is frame.index
    assert read(frame.to_dict("records")).index is None


def test_what_is_no_rows_is_refused() -> None:
    with pytest.raises(BadTypeError, match="here: "):
        InputReader(trained("binary")[2].schema, "here")(3)


def test_a_quick_row_and_a_frame_count_the_unseen_alike() -> None:
    schema = trained("binary")[2].schema
    name = next(column.name for column in schema.categorical if column.name == column.source)
    known = next(column.vocabulary[0] for column in schema.categorical if column.name == name)
    frame = raw(4).assign(**{name: pd.Series(["never seen", None, known, known], dtype=object)})
    read = InputReader(schema, "here")

    assert read(frame).unseen == read(frame.to_dict("records")).unseen == {name: 1}
    assert read(frame.tail(2)).unseen == {}


# Rows with a category that training lacks are counted and told, for ratings and for tables alike.


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
