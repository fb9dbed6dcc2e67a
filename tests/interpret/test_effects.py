"""Effects: partial dependence is the mean of answers to replaced columns, and local effects are those of a formula."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.inspection import partial_dependence
from torch import Tensor

from tabvision.data import TabularDataModule
from tabvision.errors import BadTypeError, BadValueError, UnknownNameError
from tabvision.inference import Predictor
from tabvision.interpret import effects
from tabvision.modules import CollabModule, TabularModule
from tests.made.formulas import correlated, formula_predictor
from tests.made.pairs import TARGETS, Pair, make_frame
from tests.made.ratings import made_ratings, ratings_data
from tests.made.tables import mixed_table
from tests.made.trained import trained


def mixed() -> Predictor:
    data = TabularDataModule(mixed_table(), "pay", verbose=False)
    return Predictor(TabularModule(data.schema, members=2, member_widths=[8]), device="cpu")


@pytest.mark.parametrize("name", ["size", "rooms", "color", "garden", "grade", "sold"])
def test_partial_dependence_is_the_mean_of_answers_to_rows_with_the_column_replaced(name: str) -> None:
    predictor, frame = mixed(), mixed_table(50, seed=1)

    found = effects(predictor, frame, name, grid=6)

    assert found.columns.tolist() == [name, "answer", "mean", "low", "high"]
    assert 2 <= len(found) <= 6
    for _, row in found.iterrows():
        answers = predictor.predict(frame.assign(**{name: row[name]}))[row["answer"]]
        assert row["mean"] == pytest.approx(answers.mean(), abs=1e-5)
        assert row["low"] == pytest.approx(answers.quantile(0.1), abs=1e-5)
        assert row["high"] == pytest.approx(answers.quantile(0.9), abs=1e-5)


def test_the_grid_holds_quantiles_of_a_number_and_the_most_frequent_categories() -> None:
    frame = correlated()
    predictor = formula_predictor(frame, lambda numbers, _: numbers[:, :1])

    numbers, jobs = (effects(predictor, frame, name, grid=5) for name in ("a", "job"))

    assert numbers["a"].tolist() == np.quantile(frame["a"], [0, 0.25, 0.5, 0.75, 1], method="nearest").tolist()
    assert jobs["job"].tolist() == frame["job"].value_counts().index.tolist()
    assert effects(predictor, frame, "job", grid=2)["job"].tolist() == ["cook", "nurse"]


def test_it_is_scikit_learns_partial_dependence() -> None:
    predictor, frame = Predictor(trained("regression")[0], device="cpu"), make_frame(60, seed=3)

    class Model(RegressorMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
        def __sklearn_is_fitted__(self) -> bool:
            return True

        def fit(self, *args: Any) -> None: ...

        def predict(self, rows: pd.DataFrame) -> np.ndarray:
            return np.asarray(predictor.predict(rows)["prediction"])

    found = effects(predictor, frame, "x", grid=7)

    rows = frame[["x", "z", "job", "size"]]
    expected = partial_dependence(Model(), rows, ["x"], custom_values={"x": found["x"].to_numpy()}, kind="average")
    np.testing.assert_allclose(found["mean"], expected["average"][0], rtol=1e-5)


def test_two_columns_have_a_grid_of_both() -> None:
    predictor, frame = mixed(), mixed_table(30, seed=1)

    found = effects(predictor, frame, ["rooms", "color"], grid=3)

    assert found.columns.tolist() == ["rooms", "color", "answer", "mean", "low", "high"]
    assert len(found) == 9
    row = found.iloc[5]
    answers = predictor.predict(frame.assign(rooms=row["rooms"], color=row["color"]))["prediction"]
    assert row["mean"] == pytest.approx(answers.mean(), abs=1e-5)


@pytest.mark.parametrize("target", TARGETS)
def test_every_kind_of_target_has_a_row_for_each_answer_and_value(target: str) -> None:
    pair = Pair(TabularModule, target)
    module, frame = pair.module(pair.data(make_frame()).schema), make_frame(30, seed=2)

    for kind in ("pdp", "ale"):
        found = effects(module, frame, "x", grid=4, kind=kind)

        answers = [name for name in Predictor(module).predict(frame) if name != "label"]
        assert found["answer"].drop_duplicates().tolist() == answers
        assert len(found) == 4 * len(answers)
        assert np.isfinite(found["mean"]).all()


def additive(numbers: Tensor, codes: Tensor) -> Tensor:
    return (numbers[:, 0] ** 2 + 2 * numbers[:, 1] + (codes[:, 0] == 1)).unsqueeze(1)


def test_local_effects_of_an_additive_function_are_its_parts_also_if_columns_go_together() -> None:
    frame = correlated()
    predictor = formula_predictor(frame, additive)
    a = predictor.schema.continuous[0]

    found = effects(predictor, frame, "a", kind="ale", grid=40)

    assert found.columns.tolist() == ["a", "answer", "mean"]
    expected = ((found["a"] - a.mean) / a.std) ** 2
    (spread,) = np.diff(predictor.module.task.activate(torch.tensor([[0.0], [1.0]])).numpy()[:, 0])  # of one logit
    np.testing.assert_allclose(np.diff(found["mean"]), spread * np.diff(expected), atol=1e-4)


def test_local_effects_do_not_ask_about_rows_that_do_not_exist() -> None:
    frame = correlated()
    apart = formula_predictor(frame, lambda x, _: x[:, :1] + 9 * ((x[:, :1] - x[:, 1:2]).abs() > 2))
    plain = formula_predictor(frame, lambda x, _: x[:, :1])

    local, partial = (effects(apart, frame, "a", kind=kind, grid=40)["mean"] for kind in ("ale", "pdp"))

    expected = effects(plain, frame, "a", kind="ale", grid=40)["mean"]
    np.testing.assert_allclose(local, expected, atol=1e-4)
    assert np.ptp(partial) > 1.5 * np.ptp(expected)


def test_local_effects_are_the_sums_of_mean_changes_within_intervals() -> None:
    predictor, frame = mixed(), mixed_table(80, seed=1)

    for name in ("size", "sold"):
        found = effects(predictor, frame, name, kind="ale", grid=5)

        rows, ends = frame.dropna(subset=[name]), found[name]
        interval = np.clip(np.searchsorted(ends, rows[name]) - 1, 0, None)
        high, low = (
            predictor.predict(rows.assign(**{name: ends.to_numpy()[interval + end]}))["prediction"] for end in (1, 0)
        )
        changes = (high - low).groupby(interval).mean()
        np.testing.assert_allclose(np.diff(found["mean"]), changes, atol=1e-5)
        centers = (found["mean"].to_numpy()[1:] + found["mean"].to_numpy()[:-1]) / 2
        assert np.average(centers, weights=np.bincount(interval)) == pytest.approx(0, abs=1e-6)


def test_text_that_writes_numbers_and_dates_is_moved_as_such() -> None:
    draw = np.random.default_rng(0)
    price, day = (
        draw.integers(1, 9000, 100),
        pd.Timestamp("2020-01-01") + pd.to_timedelta(draw.integers(0, 900, 100), "D"),
    )
    frame = pd.DataFrame(
        {"price": [f"${value:,}" for value in price], "day": day.strftime("%d/%m/%Y"), "y": draw.normal(size=100)}
    )
    predictor = Predictor(TabularModule(TabularDataModule(frame, "y", verbose=False).schema), device="cpu")

    prices, days = (effects(predictor, frame, name, grid=4) for name in ("price", "day"))

    assert prices["price"].tolist() == np.quantile(price, [0, 1 / 3, 2 / 3, 1], method="nearest").tolist()
    assert days["day"].iloc[[0, -1]].tolist() == [day.min(), day.max()]
    answers = predictor.predict(frame.assign(day=days["day"].iloc[1].strftime("%d/%m/%Y")))["prediction"]
    assert days["mean"].iloc[1] == pytest.approx(answers.mean(), abs=1e-5)


def test_items_have_effects() -> None:
    module = CollabModule(ratings_data().schema, factors=2)

    found = effects(module, made_ratings(), "film", grid=5)

    assert found["film"].tolist() == made_ratings()["film"].value_counts().sort_index().nlargest(5).index.tolist()


def test_a_column_with_the_name_of_a_fact_is_told_apart() -> None:
    frame = correlated().rename(columns={"a": "mean"})

    found = effects(formula_predictor(frame, additive), frame, "mean", grid=3)

    assert found.columns.tolist() == ["mean_value", "answer", "mean", "low", "high"]


@pytest.mark.parametrize(
    ("column", "settings", "error", "message"),
    [
        ("jobb", {}, UnknownNameError, "no column named 'jobb'. Choices: job"),
        (["x", "z", "job"], {}, BadValueError, "column must be one column or two"),
        (["x", "x"], {}, BadValueError, "column must be one column or two"),
        ("x", {"kind": "ice"}, UnknownNameError, "no kind named 'ice'"),
        ("x", {"grid": 1}, BadValueError, "grid must be at least 2"),
        ("job", {"kind": "ale"}, BadTypeError, "'job' holds categories"),
        (["x", "z"], {"kind": "ale"}, BadValueError, "take one column"),
    ],
)
def test_what_cannot_be_is_refused(column: Any, settings: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"effects: .*{message}"):
        effects(trained("binary")[2], make_frame(30), column, **settings)


def test_columns_without_values_are_refused() -> None:
    frame = make_frame(30)
    with pytest.raises(BadValueError, match="column 'z' has no values in these rows"):
        effects(trained("binary")[2], frame.assign(z=np.nan), "z")
    with pytest.raises(BadValueError, match="column 'z' has one value in these rows"):
        effects(trained("binary")[2], frame.assign(z=3.0), "z", kind="ale")
    assert len(effects(trained("regression")[2], frame.assign(z=3.0), "z")) == 1
