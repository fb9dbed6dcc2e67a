"""Results: the predictions, targets and losses of labeled rows, from a checkpoint as from a Trainer."""

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from tabvision.callbacks import FitTable
from tabvision.data import TabularDataModule
from tabvision.data.targets import encode_target
from tabvision.errors import BadTypeError, BadValueError, MissingColumnsError
from tabvision.inference import Predictor, Results, gather
from tabvision.interpret import importance
from tabvision.modules import TabularModule, VisionModule
from tests.made import points
from tests.made.images import make, write_folder
from tests.made.pairs import TARGETS
from tests.made.results import results_of
from tests.made.trained import trained
from tests.made.trainers import MakeTrainer


@pytest.mark.parametrize("target", TARGETS)
def test_a_checkpoint_and_a_trainer_measure_the_same_losses(target: str, quick_trainer: MakeTrainer) -> None:
    path, data, module = trained(target)

    of_trainer = Results.of_gathered(
        data.schema, data.frame, gather(quick_trainer().predict(module, data.val_dataloader()))
    )
    of_file = Predictor(path, device="cpu").losses(of_trainer.frame)

    np.testing.assert_allclose(of_file.loss, of_trainer.loss, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(of_file.predictions, of_trainer.predictions, rtol=1e-5, atol=1e-6)
    assert np.array_equal(of_file.target, encode_target(of_trainer.frame, data.schema.target))
    assert len(of_file) == len(data.parts["val"].rows)
    (measured,) = quick_trainer().validate(module, data.val_dataloader(), verbose=False)
    if not data.weight:
        assert of_file.loss.mean() == pytest.approx(measured["val/loss"], rel=1e-4)


def test_a_row_is_shown_with_its_target_its_answer_and_its_loss() -> None:
    path, data, _ = trained("binary")
    rows = data.frame.set_index(pd.Index([f"row {number}" for number in range(len(data.frame))]))

    shown = Predictor(path, device="cpu").losses(rows).to_frame()

    assert shown.index.equals(rows.index)
    (name,) = data.schema.target.columns
    classes = data.schema.classes
    assert list(shown) == [name, "label", *(f"probability_{each}" for each in classes), "loss"]
    probability = shown.apply(lambda row: row[f"probability_{row[name]}"], axis=1)
    np.testing.assert_allclose(shown["loss"], -np.log(probability), rtol=1e-4)


def test_a_notebook_shows_some_rows_in_which_no_name_is_markup() -> None:
    made = results_of("multiclass")
    classes = ("<script>alert(1)</script>", *made.schema.target.classes[1:])
    target = dataclasses.replace(made.schema.target, classes=classes)
    results = dataclasses.replace(made, schema=dataclasses.replace(made.schema, target=target))

    shown = results._repr_html_()

    assert shown.startswith(f"<p>400 rows, mean loss {results.loss.mean():.4g}</p>")
    assert shown.count("<tr") == 6
    assert "<script" not in shown
    assert "&lt;script&gt;" in shown
    assert results.take(np.arange(0))._repr_html_().startswith("<p>0 rows")


def test_out_of_fold_losses_are_those_of_the_members_that_left_the_row_out(quick_trainer: MakeTrainer) -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"x": rng.normal(size=64), "y": rng.normal(size=64)})
    data = TabularDataModule(frame, "y", split=None, batch_size=16, verbose=False)
    module = TabularModule(data.schema, members=4)
    trainer = quick_trainer(max_epochs=2, callbacks=[fit := FitTable()])
    trainer.fit(module, data)

    found = Results.of_gathered(data.schema, data.frame, gather(trainer.predict(module, data.fold_loader())))

    assert len(found) == 64
    assert found.loss.mean() == pytest.approx(fit.best_score, rel=1e-5)
    again = importance(module, found.frame, fold=found.fold, repeats=1)
    assert again.attrs["baseline"] == pytest.approx(fit.best_score, rel=1e-5)


def test_unreadable_images_are_left_out_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = write_folder(tmp_path, {"a": 4, "b": 4})
    module = VisionModule(make(root).schema, body="test_resnet", weights=None, head_widths=[8])
    (root / "a" / "a_001.jpg").write_bytes(b"no image")

    found = Predictor(module, device="cpu").losses(root)

    assert len(found) == 7
    assert found.frame.iloc[:, 0].map(str).str.contains("a_001").sum() == 0
    np.testing.assert_allclose(found.loss, -np.log(found.predictions[np.arange(7), found.target]), rtol=1e-4)
    assert "1 of 8 images cannot be read, first" in caplog.text
    for file in root.glob("*/*.jpg"):
        file.write_bytes(b"no image")
    with pytest.raises(BadValueError, match="8 of 8 images cannot be read"):
        Predictor(module, device="cpu").calibrate(root)


def test_points_are_measured_in_the_frame_of_the_network(tmp_path: Path, quick_trainer: MakeTrainer) -> None:
    data = points.make(points.spotted(tmp_path), split=0.5)
    module = VisionModule(data.schema, body="test_resnet", weights=None, head_widths=[8])
    trainer = quick_trainer()
    of_trainer = Results.of_gathered(data.schema, data.frame, gather(trainer.predict(module, data.val_dataloader())))

    found = Predictor(module, device="cpu").losses(of_trainer.frame)

    np.testing.assert_allclose(found.loss, of_trainer.loss, rtol=1e-3)
    np.testing.assert_allclose(found.predictions, of_trainer.predictions, rtol=1e-3)


def test_predictions_without_targets_are_no_results() -> None:
    path, data, module = trained("binary")
    gathered = {"predictions": torch.ones(1, 2), "index": torch.zeros(1, dtype=torch.long)}

    with pytest.raises(BadTypeError, match="had no target"):
        Results.of_gathered(module.schema, data.frame, gathered)
    with pytest.raises(MissingColumnsError):
        Predictor(path).losses(data.frame.drop(columns=list(data.schema.target.columns)))
