"""Embeddings read back: the user's labels, the module's numbers, axes as scikit-learn has them."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.decomposition import PCA

from tabvision.data import TabularDataModule
from tabvision.errors import BadTypeError, BadValueError, UnknownNameError
from tabvision.interpret import embedding_frame, item_bias, item_factors, pca, user_bias, user_factors
from tabvision.modules import CollabModule, TabularModule
from tests.made.ratings import made_ratings, made_titles, ratings_data
from tests.made.trainers import MakeTrainer


@pytest.fixture
def module(quick_trainer: MakeTrainer) -> CollabModule:
    data = ratings_data(titles=made_titles())
    module = CollabModule(data.schema, factors=3, lr=0.05)
    quick_trainer(max_epochs=20).fit(module, data)
    return module


def test_the_best_and_the_worst_item_are_at_the_ends(module: CollabModule) -> None:
    bias = item_bias(module)

    assert bias["bias"].is_monotonic_decreasing
    assert bias["film"].head(5).mean() < 7
    assert bias["film"].tail(5).mean() > 14


def test_biases_and_factors_are_the_modules_in_the_order_of_the_vocabulary(module: CollabModule) -> None:
    bias = item_bias(module).set_index("film")
    net: Any = module.net
    place = module.item.vocabulary.index(5) + 1
    assert bias.loc[5, "bias"] == pytest.approx(net.items.weight[place, -1].item())
    assert bias.loc[5, "title"] == "Film No. 5"
    assert bias.loc[5, "num_pairs"] == (made_ratings()["film"] == 5).sum()

    factors = item_factors(module)
    assert factors["film"].tolist() == list(module.item.vocabulary)
    expected = net.items.weight[1:, :-1].detach().numpy()
    np.testing.assert_array_equal(factors.filter(like="factor_"), expected)


def test_users_have_biases_and_factors_without_titles(module: CollabModule) -> None:
    assert list(user_bias(module)) == ["who", "num_pairs", "bias"]
    assert list(user_factors(module)) == ["who", "num_pairs", "factor_1", "factor_2", "factor_3"]


def test_a_neural_module_has_factors_and_no_biases() -> None:
    module = CollabModule(ratings_data().schema, kind="neural", factors=4)

    assert item_factors(module).shape == (20, 2 + 4)
    with pytest.raises(BadValueError, match="only a module of kind 'dot' has a bias"):
        item_bias(module)


def test_axes_are_those_of_scikit_learn_up_to_their_sign() -> None:
    values = np.random.default_rng(0).normal(size=(40, 5)) * [5, 3, 1, 1, 1]
    frame = pd.DataFrame(values, columns=[f"factor_{number}" for number in range(1, 6)]).assign(film=range(40))

    axes = pca(frame, 3)

    reference = PCA(3).fit(values)
    found = axes[["axis_1", "axis_2", "axis_3"]].to_numpy()
    np.testing.assert_allclose(np.abs(found), np.abs(reference.transform(values)), atol=1e-9)
    np.testing.assert_allclose(axes.attrs["shares"], reference.explained_variance_ratio_, atol=1e-9)
    assert axes["film"].tolist() == list(range(40))


def test_the_sign_of_an_axis_does_not_hang_on_the_order_of_the_rows() -> None:
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(9, 3)), columns=["factor_1", "factor_2", "factor_3"])

    turned = pca(frame.iloc[::-1], 2)

    np.testing.assert_allclose(pca(frame, 2).to_numpy(), turned.to_numpy()[::-1], atol=1e-12)


def test_rows_that_are_all_alike_have_no_axes() -> None:
    assert pca(pd.DataFrame({"factor_1": [1.0, 1.0]}), 1).attrs["shares"] == [0]


def test_any_category_of_a_table_is_read_in_the_same_way() -> None:
    frame = pd.DataFrame({"job": ["cook", "nurse", "pilot"] * 8, "x": np.arange(24.0), "paid": ["no", "yes"] * 12})
    module = TabularModule(TabularDataModule(frame, "paid", verbose=False).schema)

    found = embedding_frame(module, "job")

    assert found["job"].tolist() == ["cook", "nurse", "pilot"]
    net: Any = module.net
    expected = net.embeddings.categories.table(0)[1:].detach()
    assert torch.equal(torch.tensor(found.filter(like="factor_").to_numpy()), expected)
    assert list(pca(found, 2)) == ["job", "axis_1", "axis_2"]


def test_what_has_no_embeddings_or_axes_is_refused() -> None:
    with pytest.raises(UnknownNameError, match=r"no category named 'fim'\. Choices: film"):
        embedding_frame(CollabModule(ratings_data().schema, factors=2), "fim")

    with pytest.raises(BadTypeError, match="a module with embeddings is needed, got str"):
        embedding_frame("best.ckpt", "who")  # type: ignore[arg-type]

    with pytest.raises(BadTypeError, match="a frame of factors is needed, got ndarray"):
        pca(np.zeros((3, 3)))


def test_axes_of_something_else_are_refused(module: CollabModule) -> None:
    with pytest.raises(BadTypeError, match="the frame has no factors, only who, film, stars, when"):
        pca(made_ratings())
    with pytest.raises(BadValueError, match="k must be a whole number from 1 to 3, got 4"):
        pca(item_factors(module), 4)


@pytest.mark.parametrize("read", [item_bias, user_bias, item_factors, user_factors])
def test_what_is_no_module_of_ratings_is_refused(read: Callable[[Any], pd.DataFrame]) -> None:
    with pytest.raises(BadTypeError, match=f"{read.__name__}: a CollabModule is needed, got str"):
        read("best.ckpt")
