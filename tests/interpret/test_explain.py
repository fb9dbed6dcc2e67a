"""Explain: contributions add up to the answer, and are exact where a formula says what they are."""

import itertools
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tabvision.data import TabularDataModule
from tabvision.errors import BadTypeError, BadValueError, UnknownNameError
from tabvision.inference import Predictor
from tabvision.interpret import explain
from tabvision.modules import CollabModule, TabularModule, VisionModule
from tests.made.formulas import correlated, formula_predictor
from tests.made.pairs import TARGETS, Pair, make_frame
from tests.made.ratings import made_ratings, ratings_data
from tests.made.tables import mixed_table
from tests.made.trained import trained


@pytest.mark.parametrize("unit", ["answer", "logits"])
@pytest.mark.parametrize("target", TARGETS)
def test_contributions_add_up_to_the_answer_minus_the_mean_answer_to_the_background(target: str, unit: Any) -> None:
    pair = Pair(TabularModule, target)
    predictor = Predictor(pair.module(pair.data(make_frame()).schema), device="cpu")
    row, background = make_frame(1, seed=9), make_frame(20, seed=2)

    found = explain(predictor, row, background, samples=40, unit=unit)

    assert found.columns.tolist() == ["column", "value", "answer", "contribution"]
    totals = found.groupby("answer")["contribution"].sum()
    for name, total in totals.items():
        scale = max(1.0, abs(found.attrs["answer"][name]))
        assert abs(total - found.attrs["answer"][name] + found.attrs["baseline"][name]) < 1e-5 * scale
        if unit == "answer":
            assert found.attrs["answer"][name] == pytest.approx(predictor.predict(row)[name].item(), rel=1e-4, abs=1e-5)
            mean = predictor.predict(background)[name].mean()
            assert found.attrs["baseline"][name] == pytest.approx(mean, rel=1e-4, abs=1e-5)


def test_contributions_to_an_additive_function_are_the_differences_of_its_parts() -> None:
    frame = correlated()
    predictor = formula_predictor(
        frame, lambda numbers, codes: (3 * numbers[:, 0] + numbers[:, 1] ** 2 + 2 * (codes[:, 0] == 1)).unsqueeze(1)
    )
    row, background = {"a": 12.0, "b": 9.0, "c": 5.0, "job": "cook"}, frame.head(25)

    found = explain(predictor, row, background, unit="logits", samples=50).set_index("column")["contribution"]

    a, b, _ = predictor.schema.continuous
    squares = ((background["b"] - b.mean) / b.std) ** 2
    assert found["a"] == pytest.approx(3 * (12 - background["a"].mean()) / a.std, abs=1e-4)
    assert found["b"] == pytest.approx(((9 - b.mean) / b.std) ** 2 - squares.mean(), abs=1e-4)
    assert found["c"] == 0
    assert found["job"] == pytest.approx(2 - 2 * (background["job"] == "cook").mean(), abs=1e-5)


def test_contributions_are_the_shapley_values_of_all_orders() -> None:
    predictor, frame = Predictor(trained("regression")[0], device="cpu"), make_frame(3, seed=2)
    columns, row = ["x", "z", "job", "size"], make_frame(1, seed=9)

    found = explain(predictor, row, frame, samples=6000).set_index("column")["contribution"]

    def mean_answer(taken: tuple[str, ...]) -> float:
        mixed = frame.assign(**{name: row[name].iloc[0] for name in taken})
        return float(predictor.predict(mixed)["prediction"].mean())

    for name in columns:
        others, expected = [other for other in columns if other != name], 0.0
        for size in range(4):
            weight = math.factorial(size) * math.factorial(3 - size) / math.factorial(4)
            for taken in itertools.combinations(others, size):
                expected += weight * (mean_answer((*taken, name)) - mean_answer(taken))
        assert found[name] == pytest.approx(expected, abs=5)  # of answers around 10,000 that vary by 1,000


def test_all_parts_of_a_date_and_the_indicators_of_missing_values_count_as_their_column() -> None:
    frame = mixed_table()
    predictor = Predictor(TabularModule(TabularDataModule(frame, "pay", verbose=False).schema), device="cpu")

    found = explain(predictor, frame.iloc[2], frame)

    assert set(found["column"]) == {"size", "visits", "rooms", "color", "garden", "grade", "sold"}
    assert found["contribution"].abs().is_monotonic_decreasing
    assert found.set_index("column")["value"]["rooms"] == frame["rooms"][2]


def test_the_same_seed_gives_the_same_contributions() -> None:
    one, two, other = (explain(trained("binary")[2], make_frame(1), make_frame(90), seed=seed) for seed in (1, 1, 2))

    pd.testing.assert_frame_equal(one, two)
    assert not one.equals(other)


def test_a_row_may_be_a_dict_a_series_or_a_frame() -> None:
    module, frame = trained("multiclass")[2], make_frame(30)
    row = frame[["x", "z", "job", "size"]].iloc[0]

    found = [explain(module, given, frame, samples=4) for given in (row, row.to_dict(), frame.head(1))]

    pd.testing.assert_frame_equal(found[0], found[1])
    np.testing.assert_allclose(found[0]["contribution"], found[2]["contribution"], atol=1e-6)


def test_one_background_row_is_enough() -> None:
    found = explain(trained("binary")[2], make_frame(1, seed=4), make_frame(1), samples=2)

    assert len(found) == 8


def test_a_pair_of_user_and_item_is_explained() -> None:
    found = explain(CollabModule(ratings_data().schema, factors=2), {"who": 101, "film": 3}, made_ratings())

    assert set(found["column"]) == {"who", "film"}


@pytest.mark.parametrize(
    ("row", "settings", "error", "message"),
    [
        (make_frame(2), {}, BadValueError, "row must be one row, got 2"),
        (make_frame(1), {"samples": 1}, BadValueError, "samples must be at least 2"),
        (make_frame(1), {"unit": "odds"}, UnknownNameError, "no unit named 'odds'"),
    ],
)
def test_what_cannot_be_is_refused(row: Any, settings: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"explain: .*{message}"):
        explain(trained("binary")[2], row, make_frame(30), **settings)


def test_models_of_images_and_backgrounds_without_rows_are_refused() -> None:
    pair = Pair(VisionModule, "binary")
    with pytest.raises(BadTypeError, match="explain: the model must read columns"):
        explain(pair.module(pair.data().schema), make_frame(1), make_frame())
    with pytest.raises(BadValueError, match="explain: there are no rows"):
        explain(trained("binary")[2], make_frame(1), make_frame().head(0))
