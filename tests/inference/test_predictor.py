"""Predictor: a checkpoint alone answers as the Trainer does, whatever form the rows come in."""

import copy
import dataclasses
import itertools
import pickle
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
import torch
from pandas.testing import assert_frame_equal
from torchmetrics import MetricCollection
from typing_extensions import override

from tabvision.errors import BadTypeError, BadValueError, MissingColumnsError, MissingFileError, TabvisionError
from tabvision.inference import OnnxPredictor, Predictor, export, gather
from tabvision.modules import TabularModule
from tabvision.tasks import Task
from tests.made.pairs import PREDICTED, make_frame, tabular_data
from tests.made.trained import trained
from tests.made.trainers import MakeTrainer

INPUTS = ["x", "z", "job", "size"]


def predictor(target: str = "binary") -> Predictor:
    return Predictor(trained(target)[0], device="cpu")


def raw(rows: int = 40) -> pd.DataFrame:
    """Rows never seen, with gaps and a category that training lacks."""
    frame = make_frame(rows, seed=5)[INPUTS]
    frame.loc[3, "job"] = "astronaut"
    return frame


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = frame.to_dict("records")
    return found


# What it answers.


def test_its_module_is_the_lightning_module_with_the_same_settings_and_weights() -> None:
    _, data, module = trained("binary")
    opened = predictor()

    assert type(opened.module) is TabularModule
    assert opened.module is opened.module
    assert dict(opened.module.hparams) == dict(module.hparams)
    assert all(torch.equal(value, module.state_dict()[name]) for name, value in opened.module.state_dict().items())
    batch = next(iter(data.loader("val")))
    assert torch.equal(opened.module(batch), opened.net(batch))


@pytest.mark.parametrize("target", PREDICTED)
def test_answers_are_those_of_the_trainer(target: str, quick_trainer: MakeTrainer) -> None:
    _, data, module = trained(target)
    expected = gather(quick_trainer().predict(module, data))

    answers = predictor(target).predict(data.frame.iloc[expected["index"]])

    numbers = answers.select_dtypes("number").to_numpy()[:, -expected["predictions"].shape[1] :]
    np.testing.assert_allclose(numbers, expected["predictions"].numpy(), rtol=1e-5, atol=1e-6)


def test_classes_are_answered_by_label_with_a_probability_each() -> None:
    answers = predictor("multiclass").predict(raw())
    assert answers.columns.tolist() == ["label", "probability_high", "probability_low", "probability_mid"]
    probabilities = answers.drop(columns="label")
    assert probabilities.sum(axis=1).to_numpy() == pytest.approx(np.ones(40), abs=1e-6)
    assert answers["label"].tolist() == probabilities.idxmax(axis=1).str.removeprefix("probability_").tolist()

    answers = predictor("binary").predict(raw())
    assert answers.columns.tolist() == ["label", "probability_no", "probability_yes"]
    assert answers["label"].tolist() == np.where(answers["probability_yes"] > 0.5, "yes", "no").tolist()


@pytest.mark.parametrize("target", ["multilabel_text", "multilabel_columns"])
def test_labels_are_joined(target: str) -> None:
    answers = predictor(target).predict(raw())

    assert answers.columns.tolist() == ["label", "probability_a", "probability_b", "probability_c"]
    for row in answers.itertuples():
        chosen = [name for name in "abc" if getattr(row, f"probability_{name}") > 0.5]
        assert row.label == " ".join(chosen)


def test_numbers_are_answered_in_the_users_units_within_their_range_by_the_name_of_their_target() -> None:
    answers = predictor("regression").predict(raw())
    assert answers.columns.tolist() == ["prediction"]
    assert answers["prediction"].between(0, 2e4).all()
    assert predictor("regression_several").predict(raw()).columns.tolist() == ["prediction_pay", "prediction_cost"]
    assert predictor("regression_range").predict(raw())["prediction"].between(0.5, 5.5).all()


# In whatever form the rows come.


def test_the_order_and_index_of_a_frame_are_kept() -> None:
    frame = raw()
    shuffled = frame.sample(frac=1, random_state=0)
    shuffled.index = pd.Index([f"row {number}" for number in shuffled.index])

    answers = predictor().predict(shuffled)

    expected = predictor().predict(frame)
    assert answers.index.tolist() == shuffled.index.tolist()
    for name, row in answers.iterrows():
        assert row["probability_yes"] == pytest.approx(expected["probability_yes"][int(str(name).split()[1])])


def test_rows_as_dicts_are_answered_as_a_frame_is(subtests: pytest.Subtests) -> None:
    for rows, target in itertools.product([1, 2, 16, 17, 40], ["binary", "regression_several"]):
        with subtests.test(rows=rows, target=target):
            frame = raw().iloc[:rows]

            assert_frame_equal(predictor(target).predict(records(frame)), predictor(target).predict(frame), rtol=1e-4)


def test_rows_may_be_dicts_with_more_columns_in_any_order() -> None:
    frame = raw()
    answers = predictor().predict(records(frame)[3])
    assert_frame_equal(answers, predictor().predict(frame.iloc[[3]].reset_index(drop=True)), rtol=1e-4)

    frame = raw()
    assert_frame_equal(predictor().predict(frame.to_dict("list")), predictor().predict(frame))

    frame = raw()
    wider = frame[INPUTS[::-1]].assign(paid="who knows", other=[[1]] * len(frame))
    assert_frame_equal(predictor().predict(wider), predictor().predict(frame))


@pytest.mark.parametrize("source", [raw().iloc[:0], []], ids=["frame", "list"])
@pytest.mark.parametrize("target", ["binary", "multilabel_text", "regression_several"])
def test_no_rows_have_no_answers_in_the_same_columns(source: Any, target: str) -> None:
    answers = predictor(target).predict(source)

    assert len(answers) == 0
    assert answers.columns.tolist() == predictor(target).predict(raw()).columns.tolist()


def test_nothing_is_changed_by_predicting() -> None:
    asked, frame = predictor(), raw()
    before, state = frame.copy(), {name: tensor.clone() for name, tensor in asked.module.state_dict().items()}
    generator = torch.get_rng_state()

    first, second = asked.predict(frame), asked.predict(frame)

    assert_frame_equal(first, second)
    assert_frame_equal(frame, before)
    assert all(torch.equal(state[name], tensor) for name, tensor in asked.module.state_dict().items())
    assert torch.equal(torch.get_rng_state(), generator)
    assert not asked.module.training


def test_loading_and_asking_warns_of_nothing() -> None:
    path = trained("binary")[0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Predictor(path, device="auto").predict(raw())


# From a module in memory, and in worker processes.


def test_a_module_in_memory_answers_as_its_checkpoint_and_goes_on_as_it_was() -> None:
    module = trained("regression")[2]
    module.train()

    asked = Predictor(module, device="cpu")
    was_training = module.training
    module.eval()

    assert was_training
    assert_frame_equal(asked.predict(raw()), predictor("regression").predict(raw()))
    assert asked.module is not module


def test_a_module_in_memory_of_16_bits_is_asked_with_16_bits() -> None:
    module = copy.deepcopy(trained("regression")[2]).bfloat16()

    found = Predictor(module, device="cpu").predict(raw())

    np.testing.assert_allclose(found, predictor("regression").predict(raw()), rtol=0.1, atol=0.1)


def test_a_module_in_memory_is_calibrated_without_a_file(tmp_path: Path) -> None:
    asked, frame = Predictor(trained("regression")[2], device="cpu"), make_frame(40, seed=5)

    with pytest.raises(BadValueError, match="a module in memory has no checkpoint to write a calibrated copy of"):
        asked.calibrate(frame, out=tmp_path / "new.ckpt")
    asked.calibrate(frame)

    assert "interval_low" in asked.predict(raw())


def test_it_pickles_to_worker_processes() -> None:
    for source in (trained("binary")[0], trained("binary")[2]):
        asked = Predictor(source, device="cpu")

        copied = pickle.loads(pickle.dumps(asked))

        assert_frame_equal(copied.predict(raw()), asked.predict(raw()))
        assert_frame_equal(copied.predict(records(raw())[0]), asked.predict(records(raw())[0]))


# A task of the user's own.


@dataclass(frozen=True)
class Distance(Task):
    """A number by its distance."""

    name: ClassVar[str] = "distance"

    @property
    @override
    def num_outputs(self) -> int:
        return 1

    @override
    def loss(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return (logits - target).abs().mean(dim=1)

    @override
    def metrics(self) -> MetricCollection:
        return MetricCollection({})


def test_a_task_of_the_users_own_is_asked_for_by_each_predictor(tmp_path: Path) -> None:
    schema = trained("regression")[1].schema
    schema = dataclasses.replace(schema, target=dataclasses.replace(schema.target, task=Distance()))
    module = TabularModule(schema, widths=[4]).eval()
    saved: dict[str, Any] = {"hyper_parameters": dict(module.hparams), "state_dict": module.state_dict()}
    module.on_save_checkpoint(saved)
    torch.save(saved, tmp_path / "own.ckpt")
    expected = Predictor(module, device="cpu").predict(raw())

    pytest.importorskip("onnx")
    export(tmp_path / "own.ckpt", tmp_path / "own.onnx", task=Distance)
    by_checkpoint = Predictor(tmp_path / "own.ckpt", device="cpu", task=Distance)
    by_file = OnnxPredictor(tmp_path / "own.onnx", task=Distance)

    for asked in (by_checkpoint, by_file, pickle.loads(pickle.dumps(by_file))):
        assert_frame_equal(asked.predict(raw()), expected, rtol=1e-4)
    opening: list[Callable[[], object]] = [
        lambda: Predictor(tmp_path / "own.ckpt"),
        lambda: OnnxPredictor(tmp_path / "own.onnx"),
    ]
    for opened in opening:
        with pytest.raises(BadValueError, match=r"the task 'distance' is a custom one.*Predictor\(path, task=MyTask\)"):
            opened()


# Refused in a sentence.


@pytest.mark.parametrize("as_rows", [True, False])
def test_rows_that_do_not_fit_are_refused(as_rows: bool) -> None:
    frame = raw().rename(columns={"job": "Job"})
    with pytest.raises(
        MissingColumnsError, match=r"Predictor: the frame lacks 1 column: 'job' \(did you mean 'Job'\?\)."
    ):
        predictor().predict(records(frame)[:2] if as_rows else frame)

    frame = raw().astype({"x": object})
    frame.loc[1, "x"] = "much"
    with pytest.raises(TabvisionError, match=r"Predictor: .*'x' must hold .*'much'"):
        predictor().predict(records(frame)[:4] if as_rows else frame.assign(x=frame["x"].astype(str)))

    frame = raw()
    frame.loc[1, "x"] = np.inf
    with pytest.raises(BadValueError, match=r"Predictor: .*'x' must hold finite numbers"):
        predictor().predict(records(frame)[:4] if as_rows else frame)


@pytest.mark.parametrize(
    ("source", "error"),
    [
        (3, BadTypeError),
        (None, BadTypeError),
        (["rows.csv"], MissingFileError),
        (np.zeros((2, 4)), BadTypeError),
        ("nowhere.csv", MissingFileError),
    ],
)
def test_what_is_no_table_is_refused(source: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="Predictor: "):
        predictor().predict(source)


@pytest.mark.parametrize(("batch_size", "error"), [(0, BadValueError), (-1, BadValueError), (2.5, BadTypeError)])
def test_a_wrong_batch_size_is_refused(batch_size: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="Predictor: batch_size must be"):
        predictor().predict(raw(), batch_size=batch_size)


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "", 3.5])
def test_a_device_that_is_not_there_is_refused(device: Any) -> None:
    with pytest.raises(BadValueError, match=r"Predictor: device .* cannot be used here.*Pass \"auto\""):
        Predictor(trained("binary")[0], device=device)


@pytest.mark.parametrize("target", ["binary", "multiclass", "multilabel_text", "regression", "regression_several"])
def test_the_uncertainty_is_how_far_the_members_differ(target: str) -> None:
    data = tabular_data(target)
    module = TabularModule(data.schema, members=3, own_inputs=False).eval()
    predictor = Predictor(module)

    answers = predictor.predict(raw(), uncertainty=True)

    task, batch = module.task, predictor.batch(next(predictor.read(raw()).batches()))
    with torch.no_grad():
        members = module.member_logits(batch)
    each = np.stack([task.activate(members[:, number]).numpy() for number in range(3)])
    deviations = each.std(axis=0)
    plain = predictor.predict(raw())
    pd.testing.assert_frame_equal(answers[plain.columns], plain)
    if target == "multiclass":
        codes = task.decode(task.activate(module(batch).detach()).numpy())
        deviations = deviations[np.arange(len(codes)), codes][:, None]
    if target.startswith("regression"):
        assert (deviations > 0).all()
    else:
        deviations = deviations.max(axis=1, keepdims=True)
    names = ["uncertainty_pay", "uncertainty_cost"] if target == "regression_several" else ["uncertainty"]
    assert [name for name in answers if name not in plain] == names
    np.testing.assert_allclose(answers[names].to_numpy(), deviations, rtol=1e-4, atol=1e-7)


def test_a_network_with_a_single_member_has_no_uncertainty() -> None:
    with pytest.raises(BadValueError, match=r"this one has a single member\. Train a TabularModule with its default"):
        Predictor(trained("binary")[0]).predict(raw(), uncertainty=True)
