"""The error of each slice of a column beside a formula, and planted faults that are found."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tabvision.errors import BadValueError, MissingColumnsError
from tabvision.inference import Results
from tabvision.interpret import errors_by, worst_slices
from tabvision.schema import Categorical, Date
from tabvision.tasks import Multilabel
from tests.interpret.test_mistakes import N, binary, made, numbers
from tests.made.results import results_of


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


@pytest.mark.parametrize(
    ("form", "written"),
    [
        ("d/m/Y", lambda days: days.strftime("%d/%m/%Y %H:%M")),
        ("ms", lambda days: (days - pd.Timestamp(0)) // pd.Timedelta("1ms")),
    ],
)
def test_dates_that_are_written_otherwise_are_cut_as_dates(form: Any, written: Any) -> None:
    days, hours = pd.date_range("2024-01-01", periods=N), pd.date_range("2024-01-01 22:00", periods=N, freq="min")
    results = numbers(day=written(days), hour=written(hours))
    dates = tuple(Date(name=name, parts=("day",), format=form) for name in ("day", "hour"))
    results = dataclasses.replace(results, schema=dataclasses.replace(results.schema, dates=dates))

    assert "2024-01-01 to 2024-04-09" in errors_by(results, "day", num_slices=4)["day"].tolist()
    found = errors_by(results, "hour", num_slices=4)["hour"].tolist()
    assert {"2024-01-01 22:00 to 2024-01-01 23:39", "2024-01-02 03:00 to 2024-01-02 04:39"} <= {*found}


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


@pytest.mark.slow
def test_of_very_many_slices_those_that_are_bad_by_chance_are_not_named() -> None:
    results = results_of("wide", 1_200)

    assert set(worst_slices(results)["column"]) == {"job"}
    assert worst_slices(results_of("wide")).empty  # of so few rows even the planted slice might be chance


def test_a_column_without_slices_is_refused() -> None:
    with pytest.raises(MissingColumnsError):
        errors_by(binary(), "Y")
    with pytest.raises(BadValueError):
        errors_by(binary(z=1), "z", num_slices=1)
    with pytest.raises(BadValueError):
        errors_by(binary(), pd.Series([1, 2]))
