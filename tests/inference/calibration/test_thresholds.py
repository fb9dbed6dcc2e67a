"""Thresholds against brute force with scikit-learn's metrics."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score, fbeta_score, recall_score

from tabvision.errors import BadValueError, UnknownNameError
from tabvision.inference.calibration.thresholds import METRICS, best_threshold

REFERENCES: dict[str, Callable[[Any, Any], float]] = {
    "f1": lambda truth, said: f1_score(truth, said, zero_division=0),
    "f2": lambda truth, said: fbeta_score(truth, said, beta=2, zero_division=0),
    "accuracy": accuracy_score,
    "balanced_accuracy": balanced_accuracy_score,
    "youden": lambda truth, said: recall_score(truth, said) + recall_score(truth, said, pos_label=0) - 1,
}


def test_every_metric_has_a_reference() -> None:
    assert REFERENCES.keys() == METRICS.keys()


@pytest.mark.parametrize("metric", METRICS)
def test_no_threshold_is_better(metric: str, subtests: pytest.Subtests) -> None:
    for digits in [1, 2, 7]:
        with subtests.test(digits=digits):
            draw = np.random.default_rng(digits)
            chances = draw.random(50).round(digits).astype(np.float32)
            truth = draw.random(50) < chances.clip(0.1, 0.9) ** 2

            limit, score = best_threshold(chances, truth, metric)

            said = chances.astype(np.float64) > limit
            best = max(REFERENCES[metric](truth, chances > edge) for edge in np.append(np.unique(chances), -1.0))
            assert score == pytest.approx(REFERENCES[metric](truth, said), abs=1e-9)
            assert score == pytest.approx(best, abs=1e-9)
            assert 0 < limit < 1


@settings(deadline=None, max_examples=60, derandomize=True, database=None)
@given(
    st.lists(st.tuples(st.floats(0, 1, width=32), st.booleans()), min_size=2, max_size=30),
    st.sampled_from(sorted(METRICS)),
)
def test_any_probabilities_have_a_threshold_that_scores_as_it_says(rows: list[tuple[float, bool]], metric: str) -> None:
    chances, truth = np.array([row[0] for row in rows], dtype=np.float32), np.array([row[1] for row in rows])
    if truth.all() or not truth.any():
        with pytest.raises(BadValueError, match="a threshold needs rows of both classes"):
            best_threshold(chances, truth, metric)
        return

    limit, score = best_threshold(chances, truth, metric)

    assert score == pytest.approx(REFERENCES[metric](truth, chances.astype(np.float64) > limit), abs=1e-9)


def test_of_equally_good_thresholds_the_middle_one_is_taken() -> None:
    limit, score = best_threshold(np.array([0.1, 0.3, 0.6, 0.9]), np.array([0, 1, 0, 1]), "accuracy")

    assert score == 0.75
    assert limit == pytest.approx(0.2) or abs(limit - 0.5) <= 0.3


def test_an_unknown_metric_is_refused() -> None:
    with pytest.raises(UnknownNameError, match=r"calibrate: no metric named 'f_1'. Choices: f1"):
        best_threshold(np.array([0.1, 0.9]), np.array([0, 1]), "f_1")
