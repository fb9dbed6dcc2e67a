"""Where a model is wrong: every figure beside scikit-learn's or a formula, and planted faults that are found."""

import dataclasses
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics

from tabvision.errors import BadValueError, MissingColumnsError
from tabvision.inference import Results
from tabvision.interpret import (
    confusion,
    errors_by,
    likely_mislabeled,
    most_confused,
    reliability,
    residuals,
    threshold_curves,
    top_losses,
    worst_slices,
)
from tabvision.schema import Categorical, Schema, Target
from tabvision.tasks import Binary, Multiclass, Multilabel, Regression, Task
from tests.made.results import results_of

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


@pytest.mark.parametrize("results", [binary(), numbers(), made(Multilabel(2), ("u", "v"))], ids=str)
def test_errors_by_a_column_are_those_of_each_value(results: Results) -> None:
    results.frame["city"] = np.resize(["Bonn", "Kiel", None, "Ulm"], N)

    found = errors_by(results, "city").set_index("city")

    errors = np.abs(results.decoded.astype(float) - results.target.astype(float)).reshape(N, -1).mean(axis=1)
    for city in ("Bonn", "Kiel", "Ulm", "missing"):
        rows = (results.frame["city"].fillna("missing") == city).to_numpy()
        assert found.loc[city, "rows"] == rows.sum()
        assert found.loc[city, "error"] == pytest.approx(errors[rows].mean())
        assert found.loc[city, "low"] <= found.loc[city, "error"] <= found.loc[city, "high"]
    assert found["error"].is_monotonic_decreasing
    assert errors_by(results, "city").attrs["overall"] == pytest.approx(errors.mean())


def test_numbers_and_dates_are_cut_and_rare_values_pooled() -> None:
    days = pd.date_range("2024-01-01", periods=N)
    results = numbers(x=np.arange(N, dtype=float), day=days, name=[f"n{row}" for row in range(N)])

    assert errors_by(results, "x", num_slices=4)["rows"].tolist() == [100] * 4
    assert "2024-01-01 to 2024-04-09" in errors_by(results, "day", num_slices=4)["day"].tolist()
    assert errors_by(results, "name", num_slices=4)["rows"].max() == N - 4


def test_numbers_that_the_model_takes_as_names_are_sliced_by_value_and_large_ones_are_legible() -> None:
    results = numbers(film=np.resize([10, 20, 30, 40], N), seen=np.arange(N) + 1_000_000_000)
    film = Categorical(name="film", source="film", vocabulary=(10, 20, 30, 40))
    named = dataclasses.replace(results, schema=dataclasses.replace(results.schema, categorical=(film,)))

    assert set(errors_by(named, "film", num_slices=2)["film"]) == {10, 20, "other"}
    assert "10 to 20" in errors_by(results, "film", num_slices=2)["film"].tolist()
    assert "1,000,000,000 to 1,000,000,199" in errors_by(results, "seen", num_slices=2)["seen"].tolist()


def test_values_of_ones_own_are_slices_whatever_the_rows_are_called() -> None:
    results = binary(seen=np.resize([1, 2, 5], N))
    own = results.frame["seen"].rename("times seen")
    again = dataclasses.replace(results, frame=results.frame.set_axis(np.zeros(N)))

    expected = errors_by(results, "seen").rename(columns={"seen": "times seen"})
    pd.testing.assert_frame_equal(errors_by(results, own), expected)
    pd.testing.assert_frame_equal(errors_by(again, own), expected)
    assert "value" in errors_by(results, pd.Series(np.zeros(N)))


def test_a_column_may_be_called_as_a_figure_is() -> None:
    results = binary(**dict.fromkeys(["rows", "error", "std", "low", "high", "slice"], np.resize(["u", "v"], N)))

    assert [list(errors_by(results, name)) for name in ("rows", "std")] == [
        [name, "rows", "error", "low", "high"] for name in ("rows", "std")
    ]
    assert list(worst_slices(results)) == ["column", "slice", "rows", "error", "low", "high"]


@pytest.mark.parametrize("values", [[None] * N, [3] * N, [True, False] * (N // 2), [[1]] * N], ids=str)
def test_any_column_has_slices(values: Any) -> None:
    assert errors_by(binary(z=values), "z")["rows"].sum() == N


def test_a_planted_fault_is_the_worst_slice() -> None:
    results = binary(city=np.resize(["Bonn", "Kiel", "Ulm", "Jena"], N), noise=np.random.default_rng(1).normal(size=N))
    bad = (results.frame["city"] == "Ulm").to_numpy()
    results.predictions[bad] = results.predictions[bad][:, ::-1]

    found = worst_slices(results)

    assert found.loc[0, ["column", "slice"]].tolist() == ["city", "Ulm"]
    assert worst_slices(binary()).empty


def test_where_every_answer_is_right_no_slice_is_worse_than_the_rest() -> None:
    sizes = np.repeat(np.arange(10, 38), np.arange(10, 38))[:N]  # rounding of an interval depends on the rows
    results = binary(size=sizes.astype(str))
    results.predictions[:] = np.eye(2)[results.target]

    assert worst_slices(results).empty
    found = errors_by(results, "size")
    assert (found["low"] == 0).all()
    assert (found["high"] > 0).all()


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
    ("ask", "error"),
    [
        (lambda: confusion(numbers()), BadValueError),
        (lambda: likely_mislabeled(made(Multilabel(2), ("u", "v"))), BadValueError),
        (lambda: reliability(numbers()), BadValueError),
        (lambda: threshold_curves(classes()), BadValueError),
        (lambda: residuals(binary()), BadValueError),
        (lambda: top_losses(binary(), 0), BadValueError),
        (lambda: errors_by(binary(), "Y"), MissingColumnsError),
        (lambda: errors_by(binary(z=1), "z", num_slices=1), BadValueError),
        (lambda: errors_by(binary(), pd.Series([1, 2])), BadValueError),
    ],
    ids=range(9),
)
def test_a_question_that_the_results_cannot_answer_is_refused(ask: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        ask()


def test_of_very_many_slices_those_that_are_bad_by_chance_are_not_named() -> None:
    results = results_of("wide", 2_000)

    assert set(worst_slices(results)["column"]) == {"job"}
    assert worst_slices(results_of("wide")).empty  # of so few rows even the planted slice might be chance
