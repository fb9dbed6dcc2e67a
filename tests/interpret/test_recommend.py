"""Recommendations: what the module thinks best, without what the user knows."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import pytorch_lightning as pl

from tabvision.data import CollabDataModule
from tabvision.errors import BadTypeError, BadValueError, UnknownNameError
from tabvision.inference import Predictor
from tabvision.interpret import item_factors, recommend, similar_items
from tabvision.modules import CollabModule
from tests.made.ratings import made_ratings, made_titles, ratings_data
from tests.made.trainers import MakeTrainer, saved


def trained(trainer: pl.Trainer, **settings: Any) -> CollabModule:
    data = ratings_data(titles=made_titles(), **settings)
    module = CollabModule(data.schema, factors=3, lr=0.05)
    trainer.fit(module, data)
    return module


@pytest.fixture
def module(quick_trainer: MakeTrainer) -> CollabModule:
    return trained(quick_trainer(max_epochs=10))


def test_nothing_is_recommended_that_the_user_has_rated_whose_id_may_be_text(module: CollabModule) -> None:
    known = set(made_ratings().query("who == 105")["film"])
    found = recommend(module, 105, 100)
    assert set(found["film"]) == set(module.item.vocabulary) - known
    pd.testing.assert_frame_equal(recommend(module, "105"), recommend(module, 105))


def test_predictions_are_those_of_a_predictor_and_the_best_come_first(module: CollabModule, tmp_path: Path) -> None:
    saved(module, tmp_path / "module.ckpt")

    found = recommend(module, 105, 5, exclude_seen=False)

    pairs = pd.DataFrame({"who": 105, "film": range(1, 21)})
    answers = Predictor(tmp_path / "module.ckpt", device="cpu").predict(pairs)["prediction"]
    expected = pairs.assign(prediction=answers).nlargest(5, "prediction")
    assert found["film"].tolist() == expected["film"].tolist()
    np.testing.assert_allclose(found["prediction"], expected["prediction"], rtol=1e-6)
    assert found["title"].tolist() == [f"Film No. {film}" for film in found["film"]]


def test_ids_that_no_float_holds_are_found_as_numbers_and_as_text(tmp_path: Path) -> None:
    large = made_ratings().assign(who=lambda table: table["who"] + 2**60, film=lambda table: table["film"] + 2**53)
    gaps = large.astype({"who": "Int64"})
    gaps.loc[0, "who"] = pd.NA
    gaps.to_csv(tmp_path / "a.csv", index=False)
    data = CollabDataModule(tmp_path / "a.csv", user="who", item="film", rating="stars", missing="drop", verbose=False)
    module = CollabModule(data.schema)

    assert set(module.item.vocabulary) == set(large["film"])
    for item in (2**53 + 1, 2**53 + 2):
        alike = similar_items(module, item, 3, min_pairs=0)
        assert item not in set(alike["film"])
        pd.testing.assert_frame_equal(similar_items(module, str(item), 3, min_pairs=0), alike)
    users: list[Any] = [2**60 + 105, np.uint64(2**60 + 105), str(2**60 + 105)]
    for user in users:
        assert len(recommend(module, user, 3, exclude_seen=False)) == 3  # without a warning, which would be an error
    with pytest.raises(BadTypeError, match=r"user must be an id as in column 'who', got 1\.15292150460684\d+e\+18"):
        recommend(module, float(2**60 + 105))


def test_an_unknown_user_gets_what_is_good_for_all_and_is_told(module: CollabModule) -> None:
    with pytest.warns(UserWarning, match="user -1 is not in the training rows"):
        found = recommend(module, -1, 5)

    assert found["film"].mean() < 10
    assert len(found) == 5


def test_without_ratings_items_have_a_probability(quick_trainer: MakeTrainer) -> None:
    found = recommend(trained(quick_trainer(), rating=None), 105, 3)

    assert list(found) == ["film", "title", "probability"]
    assert found["probability"].between(0, 1).all()


def test_what_was_seen_must_be_known_to_be_left_out() -> None:
    module = CollabModule(ratings_data().schema, factors=2)

    with pytest.raises(BadValueError, match="does not know what users have seen"):
        recommend(module, 105)
    assert len(recommend(module, 105, 3, exclude_seen=False)) == 3


def test_the_module_is_left_in_its_mode(module: CollabModule) -> None:
    module.train()

    recommend(module, 105)

    assert module.training


def test_similar_items_have_the_highest_cosine(module: CollabModule) -> None:
    found = similar_items(module, 3, 4, min_pairs=0)

    factors = item_factors(module).set_index("film").filter(like="factor_")
    lengths = np.linalg.norm(factors, axis=1)
    cosine = (factors @ factors.loc[3] / lengths / lengths[factors.index.get_loc(3)]).drop(3).nlargest(4)
    assert found["film"].tolist() == cosine.index.tolist()
    np.testing.assert_allclose(found["similarity"], cosine, rtol=1e-4)


def test_items_of_few_pairs_are_like_none_and_may_be_left_out(module: CollabModule) -> None:
    counts = made_ratings()["film"].value_counts()
    found = similar_items(module, 3, 100, min_pairs=18)
    assert set(found["film"]) == set(counts[counts >= 18].index) - {3}

    counts = item_factors(module).set_index("film")["num_pairs"]
    named = recommend(module, 105, 100, exclude_seen=False, min_pairs=int(counts.median()))["film"]
    assert set(named) == set(counts[counts >= counts.median()].index)


def test_an_unknown_item_is_refused(module: CollabModule) -> None:
    with pytest.raises(UnknownNameError, match="no film named 99"):
        similar_items(module, 99)


@pytest.mark.parametrize(("k", "error"), [(0, BadValueError), (2.5, BadTypeError)])
def test_a_number_of_items_that_is_none_is_refused(module: CollabModule, k: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="recommend: k must be"):
        recommend(module, 105, k)


@pytest.mark.parametrize("user", ["bob", None, float("nan"), [100], {}])
def test_what_is_no_id_is_refused(module: CollabModule, user: Any) -> None:
    with pytest.raises(BadTypeError, match=r"user must be an id as in column 'who', got .* Pass one such as 100"):
        recommend(module, user)
    with pytest.raises(BadTypeError, match="item must be an id as in column 'film'"):
        similar_items(module, user)


@pytest.mark.parametrize("ask", [recommend, similar_items])
def test_a_path_is_no_module(ask: Callable[..., pd.DataFrame]) -> None:
    with pytest.raises(BadTypeError, match=r"a CollabModule is needed, got str\. .*load_from_checkpoint"):
        ask("best.ckpt", 1)
