"""The interval of a metric is that of its standard error, where there is a formula."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tabvision.interpret.evaluation import errors_of
from tabvision.report.intervals import half_widths
from tests.made.results import KINDS, results_of


@pytest.mark.parametrize(("kind", "name"), [("binary", "accuracy"), ("multilabel", "accuracy"), ("regression", "mae")])
@pytest.mark.parametrize("rows", [400, 12_000])
def test_of_a_mean_over_rows_it_is_the_standard_error(kind: str, name: str, rows: int) -> None:
    results = results_of(kind, rows)

    found = half_widths(results)[name]

    errors = errors_of(results)
    assert found == pytest.approx(
        1.96 * errors.std() / np.sqrt(rows), rel=0.25
    )  # 100 resamples: 7 % is their own error


@pytest.mark.parametrize("kind", KINDS)
def test_every_metric_of_a_target_has_one(kind: str) -> None:
    results = results_of(kind, 60)

    found = half_widths(results)

    assert set(found) == set(map(str, results.schema.task.metrics()))
    assert all(0 < width < np.inf for width in found.values())
    assert found == half_widths(results)


def test_resamples_without_a_class_are_left_out() -> None:
    made = results_of("binary", 40)
    target = np.zeros(40, dtype=np.int64)
    target[0] = 1

    assert 0 < half_widths(dataclasses.replace(made, target=target))["auroc"] < 1


def test_few_rows_have_none() -> None:
    assert half_widths(results_of("binary", 9)) == {}
