"""Ranking metrics against their formulas, and against a ranking that is the same for everyone."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from tabvision.errors import BadTypeError, BadValueError
from tabvision.interpret import ranking_metrics
from tabvision.interpret.recommend import item_scores
from tabvision.modules import CollabModule
from tests.made.ratings import made_ratings, ratings_data
from tests.made.trainers import MakeTrainer


def two_tastes() -> pd.DataFrame:
    """Half the users take the first half of the items, the others the rest; each leaves out some."""
    draw = np.random.default_rng(0)
    user, item = np.divmod(np.arange(40 * 20), 20)
    taken = ((user % 2) == (item >= 10)) & (draw.random(len(user)) < 0.7)
    return pd.DataFrame({"who": user[taken], "film": item[taken]})


def fitted(make: MakeTrainer) -> tuple[CollabModule, Any]:
    data = ratings_data(two_tastes(), rating=None)
    module = CollabModule(data.schema, factors=4, lr=0.05)
    make(max_epochs=30).fit(module, data)
    return module, data


def test_tastes_that_differ_are_ranked_better_than_by_popularity(quick_trainer: MakeTrainer) -> None:
    module, data = fitted(quick_trainer)

    found = ranking_metrics(module, data, 5)

    assert found["recall@5"] > 1.3 * found["recall@5_popular"]
    assert found["ndcg@5"] > found["ndcg@5_popular"]


def test_recall_and_ndcg_are_what_their_formulas_give(quick_trainer: MakeTrainer) -> None:
    module, data = fitted(quick_trainer)

    found = ranking_metrics(module, data, 3)

    recalls, gains = [], []
    training, held_out = data.training_pairs().T.numpy(), data.held_out_pairs().T.numpy()
    for user in np.unique(held_out[:, 0]):
        wanted = set(held_out[held_out[:, 0] == user, 1].tolist())
        known = set(training[training[:, 0] == user, 1].tolist())
        order = [item + 1 for item in np.argsort(-item_scores(module, user)) if item + 1 not in known]
        hits = [item in wanted for item in order[:3]]
        recalls.append(sum(hits) / len(wanted))
        ideal = sum(1 / np.log2(place + 2) for place in range(min(3, len(wanted))))
        gains.append(sum(hit / np.log2(place + 2) for place, hit in enumerate(hits)) / ideal)
    assert found["recall@3"] == pytest.approx(np.mean(recalls), rel=1e-6)
    assert found["ndcg@3"] == pytest.approx(np.mean(gains), rel=1e-6)


def test_some_users_may_stand_for_all(quick_trainer: MakeTrainer) -> None:
    module, data = fitted(quick_trainer)

    some = ranking_metrics(module, data, 3, max_users=5)

    assert some == ranking_metrics(module, data, 3, max_users=5)
    assert some != ranking_metrics(module, data, 3, max_users=5, seed=1)


def test_more_places_than_items_find_everything() -> None:
    data = ratings_data()

    assert ranking_metrics(CollabModule(data.schema, factors=2), data, 100)["recall@100"] == 1


def test_what_cannot_be_ranked_is_refused() -> None:
    data = ratings_data(test=made_ratings().assign(who=-1))
    with pytest.raises(BadValueError, match="no test pair has a known user and item"):
        ranking_metrics(CollabModule(data.schema, factors=2), data, part="test")

    data = ratings_data(split=None)
    with pytest.raises(BadValueError, match="there is no val split, only train"):
        ranking_metrics(CollabModule(data.schema), data)
    with pytest.raises(BadTypeError, match="ranking_metrics: a CollabModule is needed, got str"):
        ranking_metrics("best.ckpt", data)  # type: ignore[arg-type]


@pytest.mark.parametrize("settings", [{"k": 0}, {"max_users": 0}])
def test_counts_of_none_are_refused(settings: dict[str, Any]) -> None:
    data = ratings_data()

    with pytest.raises(BadValueError, match="must be at least 1, got 0"):
        ranking_metrics(CollabModule(data.schema, factors=2), data, **settings)
