"""The summary says in plain sentences what the numbers say, and holds plain data."""

import dataclasses
import json
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tabvision.errors import BadValueError
from tabvision.interpret import drift
from tabvision.report import summarize
from tests.made.results import KINDS, others, results_of


@pytest.mark.parametrize("kind", KINDS)
def test_a_summary_is_plain_data(kind: str) -> None:
    summary = summarize(results_of(kind), **others(kind))

    assert json.loads(json.dumps(summary, allow_nan=False)) == summary


def test_numbers_are_answered_within_their_mean_error() -> None:
    made = results_of("regression")
    results = dataclasses.replace(made, target=np.array([[100.0], [200.0]] * 200), predictions=np.full((400, 1), 160.0))
    wrong = dataclasses.replace(results, predictions=np.full((400, 1), 300.0))

    better = dataclasses.replace(results, predictions=results.target + 13.72)

    assert (
        summarize(better)["answer"]
        == "Predicts SalePrice within 13.7 on average; a constant prediction of the mean is off by 50."
    )
    assert summarize(wrong)["answer"].endswith("The model is no better than that.")
    of_training_mean = summarize(better, baseline={"val/mae": 13.5})["answer"]
    assert of_training_mean.endswith(
        "a constant prediction of the mean is off by 13.5. The model is no better than that."
    )


def test_classes_are_named_right_in_so_many_of_100_rows() -> None:
    made = results_of("multiclass", rows=100)
    target = np.array([0] * 50 + [1] * 30 + [2] * 20)
    answers = np.where(np.arange(100) < 97, target, 0)
    results = dataclasses.replace(made, target=target, predictions=np.eye(3)[answers])

    expected = "Predicts the right class of kind for 97 of 100 rows; always predicting 'setosa' is right for 50 of 100."
    assert summarize(results)["answer"] == expected


@pytest.mark.parametrize(
    ("kind", "start"),
    [("multilabel", "Gets "), ("several", "Predicts pay within "), ("points", "Predicts the 2 points within ")],
)
def test_other_targets_have_a_sentence_of_their_own(kind: str, start: str) -> None:
    assert summarize(results_of(kind))["answer"].startswith(start)


def test_a_metric_has_its_interval_beside_it_if_it_is_one_of_the_tasks() -> None:
    results = results_of("regression")
    made = [
        summarize(results, metrics=metrics) for metrics in ({"val/mae": 13_700.0, "val/loss": 0.1}, {"val/loss": 0.1})
    ]

    known, unknown = ([part["table"] for part in summary["sections"][0]["parts"]] for summary in made)
    assert known[0]["columns"] == ["metric", "model", "±", "naive"]
    assert known[0]["rows"] == [["loss", 0.1, None, None], ["mae", 13_700.0, 1600.0, None]]
    assert unknown[0]["columns"] == ["metric", "model", "naive"]
    points = summarize(results_of("points"), metrics={"val/distance": 0.01}, baseline={"val/distance": 0.02})
    (name, distance, _, naive), _ = points["sections"][0]["parts"][0]["table"]["rows"]
    assert (name, distance > 1, naive > 1) == ("distance", True, True)  # in pixels, as the interval


def test_the_slice_that_is_answered_worst_is_named() -> None:
    (section,) = [each for each in summarize(results_of("binary"))["sections"] if each["title"] == "Where it is wrong"]
    (part,) = [each for each in section["parts"] if each["figure"] == "slices"]

    assert part["table"]["rows"][0][:2] == ["job", "pilot"]


def table_in(summary: dict[str, Any], caption: str) -> dict[str, Any]:
    (part,) = [part for it in summary["sections"] for part in it["parts"] if part["caption"].startswith(caption)]
    found: dict[str, Any] = part["table"]
    return found


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("regression", ["row", "SalePrice", "prediction", "loss", "age", "job", "input_prediction", "input_row"]),
        ("binary", ["row", "kind", "predicted", "probability_no", "probability_yes", "loss", "age", "job"]),
    ],
)
def test_columns_of_the_users_that_are_named_as_an_answer_hide_none(kind: str, expected: list[str]) -> None:
    made = results_of(kind)
    frame = made.frame.assign(**dict.fromkeys(("prediction", "row", "label", "predicted"), -1.0))

    worst = table_in(summarize(dataclasses.replace(made, frame=frame)), "The rows with the highest loss")

    assert worst["columns"][: len(expected)] == expected
    if kind == "regression":
        row, target, answer = worst["rows"][0][:3]
        assert (target, answer) == (made.target[int(row), 0], pytest.approx(made.predictions[int(row), 0]))


def test_epochs_count_from_1_and_the_best_of_them_is_named() -> None:
    history = pd.DataFrame({"epoch": [0, 1, 2], "oof/loss": [0.5, 0.3, 0.4], "train/loss": [0.5, 0.3, 0.2]})

    summary = summarize(results_of("binary"), history=history)

    (section,) = [each for each in summary["sections"] if each["title"] == "How training went"]
    assert section["texts"] == ["The loss on held-out rows was lowest in epoch 2 of 3."]
    assert [row[0] for row in table_in(summary, "Loss and metrics")["rows"]] == [1, 2, 3]


def test_probabilities_of_labels_are_counted_as_such() -> None:
    table = table_in(summarize(results_of("multilabel")), "How often a prediction with each probability is right")

    assert table["columns"] == ["probability", "observed frequency", "predictions"]
    assert sum(row[2] for row in table["rows"]) == 3 * 400


def test_metrics_are_told_in_words() -> None:
    told = summarize(results_of("regression"), metrics={"val/mae": 1.0, "val/own": 2.0})["sections"][0]["texts"]

    assert told[1] == "mae: how far the predictions are off on average."


def test_only_columns_that_drifted_are_listed() -> None:
    one = pd.DataFrame({"age": np.arange(400.0), "job": ["cook", "nurse"] * 200})
    frames = [drift(one, one.assign(age=one["age"] + more)) for more in (0, 90)]
    summaries = [summarize(results_of("binary"), drift=frame, oddities=["Ducks."]) for frame in frames]
    odd = [next(it for it in each["sections"] if "odd" in it["title"]) for each in summaries]

    alike = "No column differs between these rows and the training rows by more than chance explains."
    assert odd[0]["texts"] == ["Ducks.", alike]
    (part,) = odd[1]["parts"]
    assert [row[:3] for row in part["table"]["rows"]] == [["age", "Kolmogorov-Smirnov", pytest.approx(0.225)]]


def test_what_is_not_known_has_no_section() -> None:
    titles = [section["title"] for section in summarize(results_of("regression"))["sections"]]

    assert not {"What it relies on", "How training went", "How it was made"} & set(titles)


@pytest.mark.parametrize("kind", KINDS)
def test_one_row_is_enough(kind: str) -> None:
    assert summarize(results_of(kind).take(np.array([1])))["answer"]


def test_no_row_is_refused() -> None:
    with pytest.raises(BadValueError, match="summarize: the results have no rows"):
        summarize(results_of("binary").take(np.array([], dtype=int)))


def test_long_names_and_control_characters_are_cut() -> None:
    made = results_of("regression")
    name = "n" * 3_000
    schema = dataclasses.replace(made.schema, target=dataclasses.replace(made.schema.target, columns=(name,)))
    results = dataclasses.replace(made, schema=schema, frame=made.frame.rename(columns={"SalePrice": name}))

    summary = summarize(results, oddities=[f"{name!r} is odd.", "\x1b[31mred"])

    (odd,) = [each["texts"] for each in summary["sections"] if "odd" in each["title"]]
    assert max(map(len, [summary["title"], summary["answer"], odd[0]])) < 300
    assert odd[1] == r"\x1b[31mred"
