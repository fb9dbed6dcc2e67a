"""Fitting a whole table: the facts against the steps and against pandas."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from tabvision.errors import BadTypeError, BadValueError, MissingColumnsError
from tabvision.preprocess import (
    Categorify,
    Chain,
    Dates,
    Features,
    FillMissing,
    Kinds,
    Standardize,
    chain_of,
    fit_features,
    infer_kinds,
)
from tabvision.preprocess.encode import part_of, plan_of
from tabvision.schema import Continuous, Schema, Target
from tabvision.tasks import Regression
from tests.made.tables import mixed_table


def fit(frame: pd.DataFrame, **choices: Any) -> Features:
    return fit_features(frame, infer_kinds(frame, target=["pay"], **choices), "Test")


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

    learnt, rebuilt = Chain(steps).fit(frame).to_dict(), chain_of(features).to_dict()

    for one, other in zip(learnt["steps"], rebuilt["steps"], strict=True):
        assert {key: value for key, value in one.items() if key not in ("means_", "spreads_")} == {
            key: value for key, value in other.items() if key not in ("means_", "spreads_")
        }
    for fact in ("means_", "spreads_"):
        one, other = learnt["steps"][3][fact], rebuilt["steps"][3][fact]
        assert_allclose([one[name] for name in names], [other[name] for name in names], rtol=1e-9)


def test_a_schema_gives_the_same_chain_after_a_trip_through_json() -> None:
    frame = mixed_table()
    features = fit(frame)
    target = Target(columns=("pay",), task=Regression())
    schema = Schema(
        target=target, continuous=features.continuous, categorical=features.categorical, dates=features.dates
    )

    again = Schema.from_dict(schema.to_dict())

    assert chain_of(again).to_dict() == chain_of(features).to_dict()


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
    assert (facts["same"].mean, facts["same"].spread) == (3.5, 1.0)
    assert (facts["none"].fill, facts["none"].had_missing) == (0.0, True)
    assert {column.name: column for column in features.categorical}["never"].vocabulary == ()


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
    with pytest.raises(error, match=rf"^Test: .*{message}"):
        fit_features(frame, Kinds(continuous=("x",)), "Test")


def test_a_column_that_names_no_part_of_its_date_is_refused() -> None:
    column = Continuous(name="sold_century", source="sold", mean=0.0, spread=1.0, fill=0.0)

    with pytest.raises(BadValueError, match="'sold_century' is made of the date 'sold', but names none of its parts"):
        part_of(column)


def test_the_plan_names_every_source_once() -> None:
    assert plan_of(fit(mixed_table())).sources == ("size", "visits", "rooms", "color", "garden", "grade", "sold")
