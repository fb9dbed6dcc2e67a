"""A number that names something is learned by its values, from the table to each kind of answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from tabvision.callbacks import FitTable
from tabvision.cli import main
from tabvision.inference import OnnxPredictor, Predictor, export
from tabvision.modules import TabularModule
from tabvision.tasks import Regression
from tests.made.tables import quiet
from tests.made.trainers import quiet_trainer

DRAW = np.random.default_rng(0)
SKILL = DRAW.normal(size=60)
SUBJECT = DRAW.integers(0, 40, 480)
FRAME = pd.DataFrame(
    {"subject": SUBJECT, "size": DRAW.normal(size=480), "y": SKILL[SUBJECT] + 0.3 * DRAW.normal(size=480)}
)
NEW = pd.DataFrame({"subject": [3, 50, None], "size": [0.5, 0.5, 0.5]})


def test_a_name_is_learned_answered_exported_and_grown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = quiet(FRAME.drop(index=range(80)), "y", split=None, batch_size=64)
    module = TabularModule(data.schema)
    trainer = quiet_trainer(max_epochs=30, callbacks=[FitTable()])
    trainer.fit(module, data)
    trainer.save_checkpoint(tmp_path / "net.ckpt", weights_only=True)
    predictor = Predictor(module)

    answers = predictor.predict(NEW)
    held_out = predictor.predict(FRAME.head(80))

    assert [column.part for column in data.schema.categorical if column.source == "subject"] == ["value"]
    assert (held_out["prediction"] - FRAME["y"].head(80)).std() < 0.7 * FRAME["y"].std()
    assert answers.attrs["unseen"] == {"subject": 1}
    NEW.to_csv(tmp_path / "new.csv", index=False)
    assert (
        main(["predict", *(str(tmp_path / name) for name in ("net.ckpt", "new.csv")), "--out", f"{tmp_path}/a.csv"])
        == 0
    )
    assert "1 of 3 rows with a 'subject' not seen in training, predicted as unknown" in capsys.readouterr().out
    alone = predictor.predict([{"subject": 3, "size": 0.5}])["prediction"].iloc[0]
    assert alone == pytest.approx(answers["prediction"].iloc[0], abs=1e-6)
    export(module, tmp_path / "y.onnx")
    onnx = OnnxPredictor(tmp_path / "y.onnx")
    np.testing.assert_allclose(onnx.predict(NEW)["prediction"], answers["prediction"], atol=1e-5)

    more = FRAME.assign(subject=SUBJECT + 20, y=SKILL[SUBJECT + 20])
    grown = module.grow(quiet(more, "y", split=None).schema)
    vocabulary = grown.schema.categorical[0].vocabulary
    assert torch.equal(torch.tensor(vocabulary), torch.arange(60))
    np.testing.assert_allclose(Predictor(grown).predict(NEW)["prediction"], answers["prediction"], atol=1e-6)


def test_it_stays_a_number_where_the_user_says_so_and_where_errors_are_relative() -> None:
    costs = FRAME.assign(y=np.exp(FRAME["y"]))
    settings: list[dict[str, Any]] = [{}, {"continuous": ["subject"]}, {"task": Regression(error="tweedie")}]

    schemas = [quiet(costs, "y", split=None, **each).schema for each in settings]

    assert [len(schema.categorical) for schema in schemas] == [1, 0, 0]
