"""Where a model is wrong: every figure beside scikit-learn's or a formula, and planted faults that are found."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics

from tabvision.errors import BadValueError
from tabvision.inference import Results
from tabvision.interpret import (
    confusion,
    likely_mislabeled,
    most_confused,
    reliability,
    residuals,
    threshold_curves,
    top_losses,
)
from tabvision.schema import Schema, Target
from tabvision.tasks import Binary, Multiclass, Multilabel, Regression, Task

N = 400


def made(task: Task, classes: tuple[Any, ...] = (), **columns: Any) -> Results:
    """Random answers of which many are right."""
    target: Any
    rng = np.random.default_rng(0)
    if task.is_classes and task.name != "multilabel":
        target = rng.integers(len(classes), size=N)
        logits = rng.normal(size=(N, len(classes)))
        logits[np.arange(N), target] += 1
        predictions = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        truth: dict[str, Any] = {"y": np.array(classes, dtype=object)[target]}
        loss = -np.log(predictions[np.arange(N), target])
    elif task.is_classes:
        target = rng.integers(2, size=(N, len(classes))).astype(np.float32)
        predictions = np.clip(target * 0.4 + rng.uniform(0, 0.6, size=target.shape), 0, 1)
        truth = {str(name): target[:, index] for index, name in enumerate(classes)}
        loss = np.abs(predictions - target).mean(axis=1)
    else:
        target = rng.normal(size=(N, 1))
        predictions = target + rng.normal(size=(N, 1)) / 2
        truth = {"y": target[:, 0]}
        loss = np.square(predictions - target)[:, 0]
    schema = Schema(target=Target(columns=tuple(truth), task=task, classes=classes))
    return Results(schema, pd.DataFrame({**truth, **columns}), predictions, target, loss)


def binary(**columns: Any) -> Results:
    return made(Binary(), ("no", "yes"), **columns)


def classes(**columns: Any) -> Results:
    return made(Multiclass(3), ("a", "b", "c"), **columns)


def numbers(**columns: Any) -> Results:
    return made(Regression(mean=(0.0,), spread=(1.0,)), **columns)


@pytest.mark.parametrize("results", [binary(), classes()], ids=["binary", "multiclass"])
def test_a_confusion_is_scikit_learns(results: Results) -> None:
    expected = metrics.confusion_matrix(results.target, results.decoded)

    found = confusion(results)

    assert found.to_numpy().tolist() == expected.tolist()
    assert list(found.index) == list(found.columns) == list(results.schema.classes)
    assert confusion(results, normalize=True).sum(axis=1).tolist() == pytest.approx([1.0] * len(found))
    pairs = most_confused(results, 2)
    (first, *_) = pairs.to_dict("records")
    off = expected * ~np.eye(len(expected), dtype=bool)
    assert first["count"] == off.max() == found.loc[first["true"], first["predicted"]]
    assert pairs["count"].is_monotonic_decreasing


def test_the_top_losses_are_the_rows_of_the_user_with_their_own_index() -> None:
    results = numbers(note=[f"row {row}" for row in range(N)])
    results.frame.index = pd.Index([f"id {row}" for row in range(N)])

    found = top_losses(results, 3)

    worst = np.argsort(-results.loss)[:3]
    assert found.index.tolist() == [f"id {row}" for row in worst]
    assert found["note"].tolist() == [f"row {row}" for row in worst]
    assert found["loss"].tolist() == results.loss[worst].tolist()
    assert list(found) == ["y", "prediction", "loss", "note"]


def test_reliability_is_the_error_of_calibration_by_formula() -> None:
    results = classes()

    found = reliability(results, 5)

    confidence, right = results.predictions.max(axis=1), results.decoded == results.target
    expected = sum(
        rows.mean() * abs(confidence[rows].mean() - right[rows].mean())
        for rows in ((confidence > low) & (confidence <= low + 0.2) for low in np.arange(5) / 5)
        if rows.any()
    )
    assert found.attrs["expected_calibration_error"] == pytest.approx(expected)
    assert found["rows"].sum() == N


@pytest.mark.parametrize("results", [binary(), made(Multilabel(2), ("u", "v"))], ids=["binary", "multilabel"])
def test_threshold_curves_are_scikit_learns(results: Results) -> None:
    curves = threshold_curves(results)

    for index, name in enumerate(curves["label"].unique()):
        truth = results.target == 1 if results.is_one_class else results.target[:, index] == 1
        score = results.predictions[:, 1 if results.is_one_class else index]
        of_label = curves[curves["label"] == name]
        for row in of_label.iloc[[9, 49, 79]].itertuples():
            yes: Any = score > row.threshold
            assert row.precision == pytest.approx(metrics.precision_score(truth, yes, zero_division=1.0))
            assert row.recall == pytest.approx(metrics.recall_score(truth, yes))
            assert row.f1 == pytest.approx(metrics.f1_score(truth, yes))


def test_residuals_are_target_minus_prediction() -> None:
    results = numbers()

    found = residuals(results)

    assert found["residual"].tolist() == (results.target - results.predictions)[:, 0].tolist()
    assert found["name"].unique().tolist() == ["y"]


def test_planted_wrong_labels_are_found() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(3, size=N)
    scores = np.full((N, 3), 0.05)
    scores[np.arange(N), truth] = 0.9
    given = truth.copy()
    planted = rng.permutation(N)[:10]
    given[planted] = (truth[planted] + 1) % 3
    schema = Schema(target=Target(columns=("y",), task=Multiclass(3), classes=("a", "b", "c")))
    frame = pd.DataFrame({"y": np.array(list("abc"))[given], "row": np.arange(N), "margin": 0})

    found = likely_mislabeled(Results(schema, frame, scores, given, np.zeros(N)))

    assert set(found.index) == set(planted)
    assert found.reset_index().columns.tolist() == ["row", "y", "label", "margin", "input_row", "input_margin"]
    assert found["label"].tolist() == np.array(list("abc"))[truth[found.index]].tolist()


@pytest.mark.parametrize(
    "ask",
    [
        lambda: confusion(numbers()),
        lambda: likely_mislabeled(made(Multilabel(2), ("u", "v"))),
        lambda: reliability(numbers()),
        lambda: threshold_curves(classes()),
        lambda: residuals(binary()),
        lambda: top_losses(binary(), 0),
    ],
    ids=range(6),
)
def test_a_question_that_the_results_cannot_answer_is_refused(ask: Any) -> None:
    with pytest.raises(BadValueError):
        ask()
