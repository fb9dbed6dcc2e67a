"""Importance and contributions of columns and of images beside each other."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from tabvision.errors import UnknownNameError
from tabvision.inference import Predictor
from tabvision.interpret import effects, explain, importance
from tabvision.modules import FusedModule
from tests.made.pairs import Pair

PAIR = Pair(FusedModule, "regression")


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """Rows with two images each, some of which lack the second."""
    return PAIR.raw(tmp_path_factory.mktemp("raw"))


@pytest.fixture(scope="module")
def predictor(raw: pd.DataFrame) -> Predictor:
    """A network whose answer hangs on the first image and on x, and not on the second image."""
    module: Any = PAIR.module(PAIR.raw_data(raw).schema)
    weight = module.images.weight
    with torch.no_grad():
        weight.normal_(0, 3)
        weight[:, :, weight.shape[2] // 2 :] = 0
        module.net.layers[-1].linear.weight[:, -2:] = 0  # of which images are missing
    return Predictor(module, device="cpu")


def test_importance_is_that_of_shuffled_rows(predictor: Predictor, raw: pd.DataFrame) -> None:
    order = np.random.default_rng(0).permutation(len(raw))

    found = importance(predictor, raw, permutations=[order]).set_index("column")["importance"]

    base = predictor.losses(raw).loss.mean()
    for name in ("x", "job", "file"):
        shuffled = predictor.losses(raw.assign(**{name: raw[name].to_numpy()[order]})).loss.mean()
        assert found[name] == pytest.approx(shuffled - base, abs=1e-6)
    assert found["back"] == pytest.approx(0, abs=1e-7)
    assert set(found.index) == {"x", "z", "job", "size", "file", "back"}


def test_contributions_of_columns_and_images_add_up(predictor: Predictor, raw: pd.DataFrame) -> None:
    found = explain(predictor, raw.iloc[7], raw, samples=96)

    answer, baseline = found.attrs["answer"]["prediction"], found.attrs["baseline"]["prediction"]
    scale = np.abs(raw["pay"]).mean()
    assert answer == pytest.approx(predictor.predict(raw.iloc[[7]])["prediction"].item(), rel=1e-5)
    assert found["contribution"].sum() == pytest.approx(answer - baseline, abs=1e-5 * scale)
    contributions = found.set_index("column")["contribution"]
    assert abs(contributions["back"]) < 1e-5 * scale
    assert abs(contributions["file"]) > abs(contributions["back"])


def test_an_effect_is_that_of_a_column_of_values(predictor: Predictor, raw: pd.DataFrame) -> None:
    found = effects(predictor, raw, "x", grid=3)

    expected = [predictor.predict(raw.assign(x=value))["prediction"].mean() for value in found["x"]]
    np.testing.assert_allclose(found["mean"], expected, rtol=1e-5)
    with pytest.raises(UnknownNameError, match="file"):
        effects(predictor, raw, "file")


def test_paths_of_files_are_read_like_frames(predictor: Predictor, raw: pd.DataFrame, tmp_path: Path) -> None:
    raw.to_parquet(tmp_path / "rows.parquet")

    pd.testing.assert_frame_equal(importance(predictor, tmp_path / "rows.parquet"), importance(predictor, raw))
