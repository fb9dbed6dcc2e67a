"""The facts of a number against numpy and scikit-learn."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from tabvision.errors import BadValueError
from tabvision.preprocess import statistics as facts
from tabvision.preprocess.statistics import NUM_BINS, number_writer, statistics_of, statistics_of_counts
from tabvision.schema import Continuous


@pytest.mark.parametrize("dtype", ["int64", "uint8", "int16", "float32", "float64", "bool"])
@pytest.mark.parametrize("num_rows", [1, 2, 7, 1_000, 1_001])
def test_facts_are_numpys(dtype: str, num_rows: int) -> None:
    values = np.random.default_rng(num_rows).gamma(2, 20, num_rows).astype(dtype)

    found = statistics_of(values, "x")

    numbers = values.astype(np.float64)
    assert_allclose(found.fill, np.median(numbers), rtol=1e-12)
    assert_allclose(found.mean, numbers.mean(), rtol=1e-12)
    assert_allclose(found.std, numbers.std() or 1.0, rtol=1e-9)


@pytest.mark.parametrize("values", [np.arange(10_000) ** 2 % 977, np.random.default_rng(0).normal(size=10_000)])
def test_edges_cut_the_rows_into_equal_shares(values: np.ndarray[Any, np.dtype[Any]]) -> None:
    found = statistics_of(values, "x")

    shares = np.histogram(((values - found.mean) / found.std).astype(np.float32), np.array(found.edges))[0] / len(
        values
    )

    assert len(found.edges) == NUM_BINS + 1
    assert_allclose(shares, 1 / NUM_BINS, atol=2e-3)


def test_a_value_of_many_rows_is_an_edge_and_leaves_the_bins_to_the_other_rows() -> None:
    rng = np.random.default_rng(0)
    values = np.concatenate([np.zeros(18_000), rng.gamma(2, 20, 2_000)])

    found = statistics_of(rng.permutation(values), "x")

    edges = np.array(found.edges) * found.std + found.mean
    assert np.abs(edges).min() < 1e-5
    assert len(edges) == NUM_BINS + 1  # quantiles of all rows would leave 5


def test_a_small_table_has_fewer_bins_with_at_least_32_rows() -> None:
    values = np.random.default_rng(0).normal(size=320)

    found = statistics_of(values, "x")

    rows, _ = np.histogram((values - found.mean) / found.std, np.array(found.edges))
    assert len(rows) == 10
    assert rows.min() >= 31  # a quantile falls on a row


def test_edges_rise_without_repeats() -> None:
    edges = statistics_of(np.array([0.0] * 90 + [1e-9] * 5 + [5.0] * 5), "x").edges

    assert (np.diff(np.array(edges, dtype=np.float32)) > 0).all()


def test_facts_count_the_filled_gaps() -> None:
    values = np.array([1.0, np.nan, 2.0, 9.0, np.nan])

    found = statistics_of(values, "x")

    filled = np.where(np.isnan(values), 2.0, values)
    assert (found.fill, found.num_missing) == (2.0, 2)
    assert_allclose([found.mean, found.std], [filled.mean(), filled.std()])


def test_a_column_without_values_has_harmless_facts() -> None:
    found = statistics_of(np.array([np.nan, np.nan]), "x")

    assert (found.fill, found.mean, found.std, found.num_missing) == (0.0, 0.0, 1.0, 2)


def test_facts_leave_the_values_as_they_are() -> None:
    values = np.random.default_rng(0).normal(size=1_000)
    before = values.copy()

    statistics_of(values, "x")

    assert (values == before).all()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-50, 50), min_size=1, max_size=60), st.integers(0, 5))
def test_counting_and_going_through_the_rows_agree(numbers: list[int], gaps: int) -> None:
    values, counts = np.unique(numbers, return_counts=True)
    rows = np.array([*map(float, numbers), *[np.nan] * gaps])

    counted, gone_through = statistics_of_counts(values, counts, gaps), statistics_of(rows, "x")

    assert counted.fill == gone_through.fill
    assert_allclose([counted.mean, counted.std], [gone_through.mean, gone_through.std], rtol=1e-9, atol=1e-12)
    assert_allclose(np.quantile(counted.edges, [0, 1]), np.quantile(gone_through.edges, [0, 1]), atol=1e-5)


def test_integers_far_apart_are_not_counted_one_by_one() -> None:
    values = np.array([-(2**60), 0, 2**60])

    assert_allclose(statistics_of(values, "x").std, values.astype(float).std())


def test_numbers_too_large_to_square_or_for_float32_are_refused() -> None:
    with pytest.raises(BadValueError, match=r"'x' holds numbers too large to standardize, up to 1e\+200. Rescale it"):
        statistics_of(np.array([1e200, -1e200]), "x")

    write = number_writer(np.array([1.0, 1e60]), Continuous(name="x", source="x", mean=0.0, std=1.0, fill=0.0))
    with pytest.raises(
        BadValueError, match=r"'x' holds 1e\+60, which is too far from the training values to standardize. Correct"
    ):
        write(slice(0, 2), np.empty(2, np.float32))


def test_large_numbers_survive_when_their_spread_is_as_large() -> None:
    number, out = Continuous(name="x", source="x", mean=2e60, std=1e60, fill=0.0), np.empty(2, np.float32)

    number_writer(np.array([1e60, 3e60]), number)(slice(0, 2), out)

    assert out.tolist() == [-1.0, 1.0]


def test_the_edges_of_many_rows_come_from_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).normal(size=5_000)
    whole = statistics_of(values, "x")
    monkeypatch.setattr(facts, "MAX_SAMPLE", 1_000)

    sampled = statistics_of(values, "x")

    assert (sampled.mean, sampled.fill) == (whole.mean, whole.fill)
    assert_allclose(sampled.edges[5:-5], whole.edges[5:-5], atol=0.2)
