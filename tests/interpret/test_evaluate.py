"""Metrics with intervals: the task's own, and as wide as chance is."""

import dataclasses

import numpy as np
import pytest
from sklearn.metrics import f1_score, roc_auc_score

from tabvision.errors import BadValueError
from tabvision.interpret import evaluate
from tests.made.results import KINDS, results_of


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_target_has_metrics_within_their_intervals(kind: str) -> None:
    results = results_of(kind, 200)

    found = evaluate(results, repeats=50).set_index("metric")

    assert set(found.index) == {*results.schema.task.metrics(), "loss"}
    assert ((found["low"] <= found["model"]) & (found["model"] <= found["high"])).all()
    assert (found["low"] < found["high"]).all()
    assert found["naive"].drop("loss").notna().all()


def test_the_metrics_are_those_of_scikit_learn() -> None:
    results = results_of("binary")

    found = evaluate(results, repeats=20).set_index("metric")["model"]

    assert found["auroc"] == pytest.approx(roc_auc_score(results.target, results.predictions[:, 1]))
    assert found["f1"] == pytest.approx(f1_score(results.target, results.predictions[:, 1] > 0.5))
    assert found["loss"] == pytest.approx(results.loss.mean())


def test_the_same_seed_gives_the_same_intervals_and_more_coverage_wider_ones() -> None:
    results = results_of("regression")

    first, again, wider = (evaluate(results, repeats=100, coverage=coverage) for coverage in (0.95, 0.95, 0.999))

    assert first.equals(again)
    assert (first["high"] - first["low"] < wider["high"] - wider["low"]).all()


@pytest.mark.parametrize("rows", [1_000, 40_000])
def test_the_interval_of_a_fraction_is_as_wide_as_its_formula_says(rows: int) -> None:
    frame = evaluate(results_of("binary", rows))

    found = frame.set_index("metric").loc["accuracy"]
    expected = 2 * 1.96 * np.sqrt(found["model"] * (1 - found["model"]) / rows)
    assert found["high"] - found["low"] == pytest.approx(expected, rel=0.15)
    assert found["low"] < found["model"] < found["high"]
    assert frame.attrs["note"] == "95% intervals, from 500 bootstrap resamples of the rows"


def coverage_of(kind: str, metric: str, tries: int) -> float:
    """How many of 100 intervals of small samples hold the metric of a great many rows."""
    everyone = results_of(kind, 40_000)
    truth = evaluate(everyone, repeats=20).set_index("metric").loc[metric, "model"]
    draw = np.random.default_rng(1)
    held = 0
    for _ in range(tries):
        found = evaluate(everyone.take(draw.integers(40_000, size=200)), repeats=100).set_index("metric").loc[metric]
        held += found["low"] <= truth <= found["high"]
    return 100 * held / tries


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "metric"), [("multiclass", "accuracy"), ("regression", "mae")])
def test_about_95_of_100_intervals_hold_the_metric_of_all_rows(kind: str, metric: str) -> None:
    assert coverage_of(kind, metric, 50) >= 84


def test_one_row_is_measured_and_none_is_refused() -> None:
    results = results_of("binary", 20)

    assert np.isnan(evaluate(results.take(np.array([3])), repeats=20).set_index("metric").loc["auroc", "model"])
    with pytest.raises(BadValueError, match="evaluate: the results have no rows"):
        evaluate(results.take(np.array([], dtype=int)))
    with pytest.raises(BadValueError, match=r"coverage must lie in \(0, 1\), got 95"):
        evaluate(results, coverage=95)
    with pytest.raises(BadValueError, match="repeats"):
        evaluate(dataclasses.replace(results), repeats=0)


def test_draws_without_a_class_are_left_out() -> None:
    target = np.zeros(40, dtype=np.int64)
    target[0] = 1

    found = evaluate(dataclasses.replace(results_of("binary", 40), target=target), repeats=50).set_index("metric")

    assert 0 <= found["low"]["auroc"] < found["high"]["auroc"] <= 1
