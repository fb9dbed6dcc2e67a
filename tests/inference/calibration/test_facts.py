"""The corrections as plain data, and how they are applied."""

import json
from typing import Any

import numpy as np
import pytest
import torch

from tabvision.errors import BadValueError
from tabvision.inference.answers import answer_frame
from tabvision.inference.calibration.facts import Calibration
from tabvision.schema import Schema, Target
from tabvision.tasks import Binary, Multiclass, Multilabel, Regression

NUMBER = Regression(mean=(1.0,), spread=(2.0,))


@pytest.mark.parametrize(
    ("calibration", "task"),
    [
        (Calibration(), Binary()),
        (Calibration(temperatures=(2.0,), thresholds=(0.3,)), Binary()),
        (Calibration(temperatures=(1.0, 2.0, 3.0), thresholds=(0.1, 0.2, 0.3)), Multilabel(3)),
        (Calibration(coverage=0.9, half_widths=(5.0,)), NUMBER),
    ],
)
def test_it_goes_to_and_from_json(calibration: Calibration, task: Any) -> None:
    assert Calibration.from_dict(json.loads(json.dumps(calibration.to_dict())), task) == calibration


def test_nothing_corrects_nothing() -> None:
    logits = torch.ones(2, 3)

    assert Calibration().scale(logits) is logits
    assert not Calibration()
    assert Calibration(temperatures=(1.0,))


@pytest.mark.parametrize("temperatures", [(2.0,), (1.0, 2.0, 4.0)])
def test_tensors_and_arrays_are_scaled_alike(temperatures: tuple[float, ...]) -> None:
    logits = np.arange(6, dtype=np.float32).reshape(2, 3)
    calibration = Calibration(temperatures=temperatures)

    found = calibration.scale(torch.from_numpy(logits))

    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), calibration.scale(logits))
    np.testing.assert_allclose(found.numpy(), logits / np.array(temperatures))


def test_thresholds_answer_in_place_of_the_tasks_one_a_label_and_exactly() -> None:
    schema = Schema(target=Target(columns=("paid",), task=Binary(), classes=("no", "yes")))
    predictions = np.array([[0.8, 0.2], [0.6, 0.4]], dtype=np.float32)
    answers = answer_frame(schema, predictions, calibration=Calibration(thresholds=(0.3,)))
    assert answers["label"].tolist() == ["no", "yes"]
    assert answer_frame(schema, predictions)["label"].tolist() == ["no", "no"]

    schema = Schema(target=Target(columns=("t",), task=Multilabel(2), classes=("a", "b"), separator="|"))
    calibration = Calibration(thresholds=(0.1, 0.9))
    answers = answer_frame(schema, np.array([[0.2, 0.8], [0.05, 0.95]]), calibration=calibration)
    assert answers["label"].tolist() == ["a", "b"]

    low = np.float32(0.3)
    high = np.nextafter(low, np.float32(1))
    limit = (float(low) + float(high)) / 2
    found = Calibration(thresholds=(limit,)).decode(Binary(), np.array([[1 - low, low], [1 - high, high]]))
    assert found.tolist() == [0, 1]


def test_numbers_get_the_ends_of_their_intervals() -> None:
    one = Schema(target=Target(columns=("pay",), task=NUMBER))
    answers = answer_frame(one, np.array([[10.0]]), calibration=Calibration(coverage=0.9, half_widths=(3.0,)))
    assert answers.to_dict("records") == [{"prediction": 10.0, "interval_low": 7.0, "interval_high": 13.0}]

    two = Schema(target=Target(columns=("a", "b"), task=Regression(mean=(0.0, 0.0), spread=(1.0, 1.0))))
    calibration = Calibration(coverage=0.9, half_widths=(1.0, 2.0))
    assert answer_frame(two, np.zeros((1, 2)), calibration=calibration).columns.tolist() == [
        "prediction_a", "prediction_b", "interval_low_a", "interval_high_a", "interval_low_b", "interval_high_b",
    ]  # fmt: skip
    assert answer_frame(two, np.zeros((1, 2)), calibration=calibration, proba=False).shape == (1, 2)


@pytest.mark.parametrize(
    ("facts", "task", "message"),
    [
        ({"temperatures": [2.0, 3.0]}, Multiclass(3), "temperatures must be 0 or 1 or 3 numbers, got 2"),
        ({"temperatures": [2.0]}, NUMBER, "temperatures must be 0 numbers, got 1"),
        ({"temperatures": [0.0]}, Binary(), "temperatures must be finite and above 0"),
        ({"thresholds": [0.5]}, Multiclass(3), "thresholds must be 0 numbers, got 1"),
        ({"thresholds": [1.0]}, Binary(), r"thresholds must lie in \(0, 1\)"),
        ({"half_widths": [1.0], "coverage": 0.9}, Binary(), "half_widths must be 0 numbers"),
        ({"half_widths": [1.0]}, NUMBER, "coverage and half_widths belong together"),
        ({"half_widths": [1.0], "coverage": 2.0}, NUMBER, r"coverage must lie in \(0, 1\), got 2.0"),
        ({"half_widths": [float("inf")], "coverage": 0.9}, NUMBER, "half_widths must be finite"),
        ({"heat": 1}, Binary(), r"has no facts \['heat'\]. Known facts: "),
        (3, Binary(), "the facts of a Calibration are invalid"),
    ],
)
def test_facts_that_do_not_fit_are_refused(facts: Any, task: Any, message: str) -> None:
    with pytest.raises(BadValueError, match=f"Calibration: .*{message}"):
        Calibration.from_dict(facts, task)
