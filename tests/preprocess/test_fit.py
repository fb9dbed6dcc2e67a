"""Fitting a whole table: the facts against the steps and against pandas."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from tabvision.errors import BadTypeError, BadValueError, MissingColumnsError
from tabvision.preprocess import Features, Kinds, fit_features, infer_kinds
from tabvision.preprocess.encode import sources_of
from tabvision.preprocess.fit import RunningFeatures
from tabvision.preprocess.frame import Columns
from tabvision.schema import Categorical, Continuous, Date, Schema, Target
from tabvision.tasks import Regression
from tests.made.reference_steps import Categorify, Chain, Dates, FillMissing, Standardize, chain_of
from tests.made.tables import mixed_table


def fit(frame: pd.DataFrame, **choices: Any) -> Features:
    return fit_features(frame, infer_kinds(frame, target=["pay"], **choices))


def test_a_tables_columns_come_in_order_with_their_sources() -> None:
    features = fit(mixed_table())

    numbers = [(column.name, column.source) for column in features.continuous]
    assert numbers[:3] == [("size", "size"), ("visits", "visits"), ("sold_year", "sold")]
    categories = [(column.name, column.source) for column in features.categorical]
    assert categories[:4] == [(name, name) for name in ("rooms", "color", "garden", "grade")]
    assert categories[-2:] == [("sold_missing", "sold"), ("size_missing", "size")]


def test_the_facts_are_those_that_the_steps_learn_one_after_the_other() -> None:
    frame = mixed_table()
    features = fit(frame)
    names = [column.name for column in features.continuous]
    steps = [
        Dates(["sold"]),
        FillMissing(names, indicators=["size", "visits"]),
        Categorify([column.name for column in features.categorical]),
        Standardize(names),
    ]

    learnt, rebuilt = Chain(steps).fit(frame).facts(), chain_of(features).facts()

    assert learnt[:3] == rebuilt[:3]
    for fact in ("means_", "stds_"):
        one, other = learnt[3][fact], rebuilt[3][fact]
        assert_allclose([one[name] for name in names], [other[name] for name in names], rtol=1e-9)


def test_a_schema_gives_the_same_steps_after_a_trip_through_json() -> None:
    frame = mixed_table()
    features = fit(frame)
    target = Target(columns=("pay",), task=Regression())
    schema = Schema(
        target=target, continuous=features.continuous, categorical=features.categorical, dates=features.dates
    )

    again = Schema.from_dict(schema.to_dict())

    assert chain_of(again).facts() == chain_of(features).facts()


def test_derived_columns_that_share_a_name_with_raw_ones_lose_nothing() -> None:
    frame = mixed_table().assign(
        size_missing=["a", "b"] * 100, sold_month=["c", "d"] * 100, sold_missing=["e", "f"] * 100
    )

    features = fit(frame)
    names = [column.name for column in features.categorical]

    assert len(set(names)) == len(names)
    assert {"size_missing", "size_missing_2", "sold_month", "sold_month_2", "sold_missing", "sold_missing_2"} < set(
        names
    )
    result = chain_of(features).transform(frame)
    assert result["size_missing"].nunique() == 2
    assert (result["size_missing_2"] == frame["size"].isna() + 1).all()


def test_a_derived_column_never_covers_the_target() -> None:
    frame = mixed_table().rename(columns={"pay": "size_missing"})

    features = fit_features(frame, infer_kinds(frame, target=["size_missing"]))

    assert "size_missing_2" in [column.name for column in features.categorical]


def test_left_out_columns_are_kept_with_their_reasons() -> None:
    frame = mixed_table().assign(id=range(200), same=1)

    assert [column.name for column in fit(frame, ignore=["color"]).left_out] == ["color", "id", "same"]


def test_a_forced_constant_becomes_zeros_and_a_forced_empty_column_does_no_harm() -> None:
    frame = mixed_table().assign(same=3.5, none=np.nan, never=None, nowhen=pd.NaT)

    features = fit(frame, continuous=["same", "none"], categorical=["never"], dates=["nowhen"])

    facts = {column.name: column for column in features.continuous}
    assert (facts["same"].mean, facts["same"].std) == (3.5, 1.0)
    assert (facts["none"].fill, facts["none"].had_missing) == (0.0, True)
    assert {column.name: column for column in features.categorical}["never"].vocabulary == ()


def test_dates_may_be_as_far_apart_as_the_calendar_is_long() -> None:
    days = ["0001-01-01", "2024-02-29", "9999-12-31"]

    fitted = fit_features(frame := pd.DataFrame({"until": days * 9}), infer_kinds(frame, target=(), dates=["until"]))

    assert {column.part for column in fitted.continuous} >= {"year", "elapsed"}


def test_the_training_rows_are_left_as_they_are() -> None:
    frame = mixed_table()
    before = frame.copy(deep=True)

    fit(frame)

    pd.testing.assert_frame_equal(frame, before)


def test_only_training_rows_are_looked_at() -> None:
    frame = mixed_table()
    kinds = infer_kinds(frame, target=["pay"])

    assert fit_features(frame.iloc[:50], kinds) == fit_features(frame.iloc[:50].copy(), kinds)
    assert fit_features(frame.iloc[:50], kinds) != fit_features(frame, kinds)


@pytest.mark.parametrize(
    ("frame", "error", "message"),
    [
        (pd.DataFrame({"x": [], "pay": []}), BadValueError, "fitting needs at least one row"),
        (pd.DataFrame({"X": [1.0]}), MissingColumnsError, r"lacks 1 column: 'x' \(did you mean 'X'\?\)"),
        (
            pd.DataFrame({"x": [1.0, np.inf]}),
            BadValueError,
            r"'x' must hold finite numbers, got 1 value, first inf \(row 1\)",
        ),
        (pd.DataFrame([[1, 2]], columns=["x", "x"]), BadValueError, "column names must be unique"),
        (pd.DataFrame({"x": pd.to_datetime(["2020-01-01"])}), BadTypeError, "'x' must hold numbers, got dates"),
        ([1], BadTypeError, "must be a pandas DataFrame, got list"),
    ],
)
def test_training_rows_that_cannot_be_fitted_are_refused(frame: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=rf"^fit_features: .*{message}"):
        fit_features(frame, Kinds(continuous=("x",)))


def test_each_derived_column_says_which_part_it_is() -> None:
    features = fit(mixed_table().assign(sold_month=["c", "d"] * 100))

    columns: list[Any] = [*features.continuous, *features.categorical]
    parts = {column.name: column.part for column in columns}

    assert parts["sold_year"] == "year"
    assert parts["sold_month_2"] == "month"
    assert parts["sold_missing"] == parts["size_missing"] == "missing"
    assert parts["sold_month"] is parts["size"] is None


@pytest.mark.parametrize(
    ("continuous", "categorical", "message"),
    [
        ({"source": "sold"}, {"source": "job"}, "'x' is computed from the date 'sold', so its part cannot be None"),
        ({"source": "age", "part": "year"}, {"source": "job"}, "the number 'age', so its part cannot be 'year'"),
        ({"source": "age"}, {"source": "age"}, "'y' is computed from the number 'age', so its part cannot be None"),
        ({"source": "age"}, {"source": "age", "part": "year"}, "the number 'age', so its part cannot be 'year'"),
        (
            {"source": "age"},
            {"source": "job", "part": "missing"},
            "the category 'job', so its part cannot be 'missing'",
        ),
        ({"source": "age"}, {"source": "sold", "part": "elapsed"}, "the date 'sold', so its part cannot be 'elapsed'"),
    ],
)
def test_a_column_that_is_no_part_of_its_source_is_refused(continuous: Any, categorical: Any, message: str) -> None:
    features = Features(
        dates=(Date(name="sold", parts=("year",)),),
        continuous=(Continuous(name="x", mean=0.0, std=1.0, fill=0.0, **continuous),),
        categorical=(Categorical(name="y", vocabulary=("a",), **categorical),),
        left_out=(),
    )

    with pytest.raises(BadValueError, match=message):
        sources_of(features)


def test_every_source_comes_once() -> None:
    names = [source.name for source in sources_of(fit(mixed_table()))]

    assert names == ["size", "visits", "rooms", "color", "garden", "grade", "sold"]


@pytest.mark.parametrize("dtype", ["str", "category", "int64", "float64"])
def test_the_fraction_of_new_rows_with_unseen_values_is_that_of_values_that_one_row_has(dtype: str) -> None:
    draw = np.random.default_rng(0)
    drawn = draw.zipf(1.5, 8_000).clip(max=10**9)
    train, new = drawn[:4_000], drawn[4_000:]
    frame = pd.DataFrame({"name": pd.Series(train).astype("int64").astype(dtype)})

    whole = fit_features(frame, Kinds(categorical=("name",))).categorical[0]
    blocks = RunningFeatures(Kinds(categorical=("name",)))
    for block in np.array_split(np.arange(len(frame)), 7):
        blocks.add(Columns(frame.iloc[block].reset_index(drop=True)))

    assert whole == blocks.features(Columns(frame)).categorical[0]
    assert 0.05 < whole.unseen < 0.95
    assert abs(whole.unseen - (~np.isin(new, train)).mean()) < 0.03


def test_few_values_and_blank_ones_are_no_sign_of_unseen_ones() -> None:
    frame = pd.DataFrame({"kind": ["a"] * 200 + ["b"], "name": ["a", " ", ""] * 67})

    found = fit_features(frame, Kinds(categorical=("kind", "name"))).categorical

    assert [column.unseen for column in found] == [0.0, 0.0]


def test_an_order_of_dates_that_the_user_gave_holds_over_several_blocks() -> None:
    days = pd.to_datetime(["2024-03-01", "2024-01-01", "2024-02-01"])
    frame = pd.DataFrame({"day": pd.Categorical(days, categories=days, ordered=True)})

    blocks = RunningFeatures(Kinds(categorical=("day",)))
    for rows in ([2, 1], [0]):
        blocks.add(Columns(frame.iloc[rows].reset_index(drop=True)))
    (found,) = blocks.features(Columns(frame)).categorical

    assert found == fit_features(frame, Kinds(categorical=("day",))).categorical[0]
    assert (found.ordered, [label[:7] for label in map(str, found.vocabulary)]) == (
        True,
        ["2024-03", "2024-01", "2024-02"],
    )
