"""Negatives: never a taken item, each untaken one with the same chance, a function of seed, epoch and row alone."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray

from tabvision.data.loaders import TensorLoader
from tabvision.data.ratings.negatives import NegativeLoader, NegativeSampler
from tests.made.ratings import ratings_data


def sampler_of(pairs: list[tuple[int, int]], num_users: int, num_items: int, seed: int = 0) -> NegativeSampler:
    users, items = np.array(pairs, dtype=np.int32).reshape(-1, 2).T
    return NegativeSampler(users, items, num_users=num_users, num_items=num_items, seed=seed)


def random_pairs(num_users: int, num_items: int, share: float) -> list[tuple[int, int]]:
    taken = np.random.default_rng(0).random((num_users, num_items)) < share
    return [(int(user) + 1, int(item) + 1) for user, item in np.argwhere(taken)]


@pytest.mark.parametrize("share", [0.0, 0.1, 0.9])
def test_no_taken_item_is_drawn(share: float) -> None:
    pairs = random_pairs(20, 30, share)
    users = np.repeat(np.arange(1, 21), 10)

    drawn = sampler_of(pairs, 20, 30).of(users, np.arange(200), times=7, epoch=3)

    taken = set(pairs)
    full = {user for user in range(1, 21) if sum(owner == user for owner, _ in pairs) == 30}
    assert drawn.min() >= 1
    assert drawn.max() <= 30
    for user, items in zip(users.tolist(), drawn.tolist(), strict=True):
        assert user in full or not {(user, item) for item in items} & taken


def test_every_item_not_taken_has_the_same_chance() -> None:
    sampler = sampler_of([(1, 2), (1, 5)], 1, 6)

    drawn = sampler.of(np.ones(40_000, dtype=np.int64), np.arange(40_000), times=1, epoch=0)

    shares = np.bincount(drawn.ravel(), minlength=7) / 40_000
    assert shares[[2, 5]].sum() == 0
    np.testing.assert_allclose(shares[[1, 3, 4, 6]], 0.25, atol=0.01)


def test_users_who_took_everything_or_are_unknown_have_negatives() -> None:
    drawn = sampler_of([(1, 1), (1, 2)], 2, 2).of(np.array([1] * 50), np.arange(50), times=2, epoch=0)
    assert set(drawn.ravel().tolist()) == {1, 2}

    drawn = sampler_of([(0, 1), (1, 0)], 1, 2).of(np.array([0, 1]), np.arange(2), times=20, epoch=0)
    assert set(drawn[0].tolist()) == {2}
    assert set(drawn[1].tolist()) == {1, 2}


def test_users_who_took_everything_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    ratings_data(pd.DataFrame({"who": [1, 1, 2], "film": [7, 8, 7]}), rating=None, split=None, verbose=True)

    assert "Note: 1 user took every item" in capsys.readouterr().out


def test_a_row_has_the_same_negatives_in_whatever_batch_it_stands() -> None:
    sampler = sampler_of(random_pairs(5, 50, 0.2), 5, 50)
    users: NDArray[Any] = np.array([1, 2, 3, 4, 5])

    whole = sampler.of(users, np.arange(5), times=4, epoch=2)
    parts = [sampler.of(users[[row]], np.array([row]), times=4, epoch=2) for row in range(5)]

    assert np.array_equal(whole, np.concatenate(parts))


def test_epochs_and_seeds_draw_differently() -> None:
    def draw(seed: int, epoch: int) -> list[Any]:
        sampler = sampler_of([(1, 1)], 1, 1000, seed)
        return list(sampler.of(np.ones(20, dtype=np.int64), np.arange(20), times=2, epoch=epoch).ravel().tolist())

    assert draw(0, 0) == draw(0, 0)
    assert len({tuple(draw(seed, epoch)) for seed in (0, 1) for epoch in (0, 1)}) == 4


def test_a_loader_goes_on_within_an_epoch_with_the_same_negatives() -> None:
    def loader() -> NegativeLoader:
        pairs = torch.tensor([(1 + row % 3, 1 + row) for row in range(12)])
        rows = TensorLoader({"categorical": pairs}, batch_size=4, shuffle=True)
        return NegativeLoader(rows, sampler_of([(1, 1)], 3, 12), times=2)

    first = loader()
    batches = iter(first)
    next(batches)
    state = first.state_dict()
    rest = [batch["categorical"].tolist() for batch in batches]
    second = loader()
    second.load_state_dict(state)

    assert [batch["categorical"].tolist() for batch in second] == rest
    assert len(second) == 3


def test_a_pair_that_comes_twice_is_one_pair() -> None:
    twice = NegativeSampler(np.array([1, 1, 1]), np.array([1, 1, 3]), num_users=1, num_items=4, seed=0)

    assert set(twice.of(np.ones(50, int), np.arange(50), times=4, epoch=0).flatten().tolist()) == {2, 4}
