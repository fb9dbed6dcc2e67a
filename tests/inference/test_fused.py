"""Rows of columns and images, answered from a checkpoint and from an exported file."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tabvision.errors import BadTypeError, MissingColumnsError, MissingFileError
from tabvision.inference import OnnxPredictor, Predictor
from tabvision.inference.exporting import export
from tabvision.modules import FusedModule
from tests.made.pairs import Pair
from tests.made.trainers import quiet_trainer

PAIR = Pair(FusedModule, "regression")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained checkpoint, and the table that it was trained on."""
    folder = tmp_path_factory.mktemp("fused")
    raw = PAIR.raw(folder)
    data = PAIR.raw_data(raw)
    trainer = quiet_trainer(default_root_dir=folder)
    trainer.fit(PAIR.module(data.schema), data)
    trainer.save_checkpoint(folder / "module.ckpt", weights_only=True)
    raw.to_parquet(folder / "rows.parquet")
    return folder


@pytest.fixture
def predictor(folder: Path) -> Predictor:
    """What the checkpoint alone answers with."""
    return Predictor(folder / "module.ckpt", device="cpu")


@pytest.fixture
def raw(folder: Path) -> pd.DataFrame:
    """The rows, with an index of their own."""
    frame = pd.read_parquet(folder / "rows.parquet")
    return frame.set_axis([f"row {row}" for row in range(len(frame))])


def test_frames_files_rows_and_pictures_in_memory_are_answered_alike(
    predictor: Predictor, raw: pd.DataFrame, folder: Path
) -> None:
    whole = predictor.predict(raw)
    rows: list[dict[str, Any]] = raw.to_dict("records")
    pictures = [{**row, "file": Image.open(row["file"]), "back": None} for row in rows[:5]]
    for picture, row in zip(pictures, rows, strict=False):
        picture["back"] = None if pd.isna(row["back"]) else Path(str(row["back"])).read_bytes()

    assert list(whole.index) == list(raw.index)
    assert whole.attrs["absent"] == {"back": 10}
    np.testing.assert_array_equal(predictor.predict(folder / "rows.parquet"), whole)
    np.testing.assert_allclose(predictor.predict(rows[3])["prediction"], whole["prediction"].iloc[3], rtol=1e-5)
    np.testing.assert_allclose(predictor.predict(pictures)["prediction"], whole["prediction"].iloc[:5], rtol=1e-5)


def test_a_broken_image_is_answered_as_a_missing_one(predictor: Predictor, raw: pd.DataFrame, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"broken")
    row = raw.iloc[[1]]

    missing = predictor.predict(row.assign(file=None))

    for path in (str(tmp_path / "broken.png"), str(tmp_path / "nowhere.png"), ""):
        found = predictor.predict(row.assign(file=path))
        assert found.equals(missing)
        assert found.attrs["absent"] == {"file": 1}
    assert "error" not in missing


def test_a_table_whose_images_mostly_do_not_exist_is_refused(predictor: Predictor, raw: pd.DataFrame) -> None:
    few = raw.head(8)
    for found in (few.assign(file=few["file"].str.removesuffix(".png")), few.assign(file="nowhere.png", back=None)):
        with pytest.raises(MissingFileError, match=r"8 of .* do not exist, first .* Write the paths in full"):
            predictor.losses(found)


def test_augmented_views_and_the_members_spread_are_given(predictor: Predictor, raw: pd.DataFrame) -> None:
    answers = predictor.predict(raw, tta=2, uncertainty=True)

    assert answers["uncertainty"].gt(0).any()
    assert answers.attrs["absent"] == {"back": 10}
    assert np.isfinite(answers).all(axis=None)


def test_losses_are_those_of_the_answers(
    predictor: Predictor, raw: pd.DataFrame, caplog: pytest.LogCaptureFixture
) -> None:
    results = predictor.losses(raw)

    assert f"10 of {len(raw)} rows have no image in 'back'" in caplog.text

    assert len(results) == len(raw)
    np.testing.assert_allclose(results.predictions[:, 0], predictor.predict(raw)["prediction"], rtol=1e-5)


@pytest.mark.slow  # `test_exporting.py` quickly exports another module
@pytest.mark.parametrize("suffix", [".onnx", ".pt2"])
def test_an_exported_file_gives_the_same_answers(
    predictor: Predictor, folder: Path, raw: pd.DataFrame, tmp_path: Path, suffix: str
) -> None:
    written = export(folder / "module.ckpt", tmp_path / f"model{suffix}")

    assert written.largest_error < 1e-5
    if suffix == ".onnx":
        answers = OnnxPredictor(written.path).predict(raw)
        np.testing.assert_allclose(answers["prediction"], predictor.predict(raw)["prediction"], rtol=1e-4)
        assert answers.attrs["absent"] == {"back": 10}


def test_images_without_their_columns_are_refused(predictor: Predictor, raw: pd.DataFrame) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "PNG")

    with pytest.raises(BadTypeError, match="the source holds only images"):
        predictor.predict([buffer.getvalue()])
    with pytest.raises(MissingColumnsError, match="back"):
        predictor.predict(raw.drop(columns="back"))
    with pytest.raises(MissingColumnsError, match="job"):
        predictor.predict(raw.drop(columns="job"))
    with pytest.raises(BadTypeError, match="int"):
        predictor.predict(raw.assign(file=3))
