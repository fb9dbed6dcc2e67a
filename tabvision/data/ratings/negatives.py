"""Items that a user has not taken, drawn as the other side of those taken: a function of seed, epoch and row alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, final

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from tabvision.batch import Batch
from tabvision.counter_random import random_bits
from tabvision.data.base import Part, PartName
from tabvision.data.loaders import BatchPlan, TensorLoader
from tabvision.data.ratings.target import IMPLICIT_TARGET
from tabvision.schema import Label

FIXED = 2**32 - 1  # in place of an epoch, for negatives that never change


@final
class NegativeSampler:
    """Draws items that a user has not taken, each with the same chance, without trial and error.

    Of a user who has taken every item any may be drawn.

    Args:
        users: (P,) codes of the users of the known pairs.
        items: (P,) codes of their items; 0, an unknown item, counts as none.
        num_users: Codes of users go from 0 to that.
        num_items: Codes of items go from 1 to that.
        seed: Decides the draws, together with epoch and row.

    Shape:
        - of: (R,) user codes, (R,) row numbers -> (R, times) item codes

    Example:
        >>> sampler = NegativeSampler(np.array([1, 1]), np.array([1, 3]), num_users=1, num_items=3, seed=0)
        >>> sampler.of(np.array([1]), np.array([0]), times=3, epoch=0).tolist()
        [[2, 2, 2]]
    """

    def __init__(
        self, users: NDArray[np.integer], items: NDArray[np.integer], *, num_users: int, num_items: int, seed: int
    ) -> None:
        self.num_items = num_items
        self.seed = seed
        known = items > 0
        keys = np.sort(users[known].astype(np.int64) * num_items + items[known] - 1)
        keys = keys[np.diff(keys, prepend=-1) > 0]  # np.unique hashes, which takes ten times as long on millions
        owners = keys // num_items
        self._starts = np.searchsorted(owners, np.arange(num_users + 2))
        place = np.arange(len(keys)) - self._starts[owners]
        # a taken item's number less the taken ones before it: how many untaken ones stand before it. Rising for each user
        self._gaps = keys - place

    def num_full(self) -> int:
        """Users who have taken every item."""
        return int((np.diff(self._starts) == self.num_items).sum())

    def of(self, users: NDArray[np.integer], rows: NDArray[np.integer], *, times: int, epoch: int) -> NDArray[np.int64]:
        """The negatives of each row, in that epoch."""
        users = users.astype(np.int64)[:, None]
        taken = self._starts[users + 1] - self._starts[users]
        is_full = taken == self.num_items
        choices = np.where(is_full, self.num_items, self.num_items - taken).astype(np.uint64)
        number = (_random_bits(self.seed, epoch, rows, times) % choices).astype(np.int64)
        before = np.searchsorted(self._gaps, users * self.num_items + number, side="right") - self._starts[users]
        return number + np.where(is_full, 0, before) + 1


@final
class NegativeLoader:
    """The batches of a loader of taken pairs, each followed by pairs that were not taken, new ones every epoch.

    Args:
        loader: Batches with `categorical` (B, 2), user first, and `index`.
        sampler: Draws the items.
        times: Negatives for each pair, at least 1.

    Shape:
        - categorical: (B * (1 + times), 2) int64
        - target: (B * (1 + times),) int64, 1 for a pair taken
        - index: (B * (1 + times),) int64, for a negative the row that it stands against
    """

    def __init__(self, loader: TensorLoader, sampler: NegativeSampler, times: int) -> None:
        self.loader = loader
        self.negatives = sampler  # not `sampler`, which Lightning takes for the order of the rows
        self.times = times

    @property
    def batch_sampler(self) -> BatchPlan:
        """Where a Trainer looks for what to tell the epoch."""
        return self.loader.batch_sampler

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Batch]:
        for batch in self.loader:
            # rows that stay in order are overfitted, which wants the same batches in every epoch
            epoch = self.loader.state_dict()["epoch"] if self.batch_sampler.sampler.shuffle else 0
            pairs = batch["categorical"]
            items = self.negatives.of(pairs[:, 0].numpy(), batch["index"].numpy(), times=self.times, epoch=epoch)
            negatives = torch.stack([pairs[:, 0].repeat_interleave(self.times), torch.from_numpy(items).flatten()], 1)
            yield {
                "categorical": torch.cat([pairs, negatives]),
                "target": torch.arange(len(pairs) + len(negatives)).lt(len(pairs)).long(),
                "index": torch.cat([batch["index"], batch["index"].repeat_interleave(self.times)]),
            }

    def state_dict(self) -> dict[str, int]:
        """Where the pass is; a Trainer saves it."""
        return self.loader.state_dict()

    def load_state_dict(self, state_dict: Mapping[str, int]) -> None:
        """Lets the next pass go on where that one was."""
        self.loader.load_state_dict(state_dict)


def with_negatives(
    codes: Tensor, rows: Mapping[PartName, Tensor], sampler: NegativeSampler, times: int
) -> tuple[Tensor, dict[PartName, Part]]:
    """Parts whose rows are each followed by pairs not taken, which never change.

    Args:
        codes: (N, 2) codes of user and item.
        rows: The row numbers of each part.
        sampler: Draws the items.
        times: Negatives for each row.

    Returns:
        The drawn items' codes, part by part, and the parts; drawn pairs are numbered on from N.

    Example:
        >>> sampler = NegativeSampler(np.array([1]), np.array([1]), num_users=1, num_items=2, seed=0)
        >>> items, parts = with_negatives(torch.tensor([[1, 1]]), {"val": torch.tensor([0])}, sampler, times=1)
        >>> parts["val"].rows.tolist(), parts["val"].tensors["target"].tolist()
        ([0, 1], [1, 0])
    """
    visited = torch.cat([*rows.values(), torch.empty(0, dtype=torch.int64)])
    users = codes[visited, 0]
    items = torch.from_numpy(sampler.of(users.numpy(), visited.numpy(), times=times, epoch=FIXED)).flatten()
    drawn = torch.stack([users.repeat_interleave(times), items.to(codes.dtype)], dim=1)
    target = torch.cat([torch.ones(len(codes), dtype=torch.int64), torch.zeros(len(drawn), dtype=torch.int64)])
    tensors = {"categorical": torch.cat([codes, drawn]), "target": target}
    numbers = torch.split(torch.arange(len(codes), len(target)), [len(part) * times for part in rows.values()])
    return items, {
        name: Part(tensors, torch.cat([part, number]))
        for (name, part), number in zip(rows.items(), numbers, strict=True)
    }


def with_drawn_rows(
    frame: pd.DataFrame, pair: tuple[str, str], rows: Tensor, items: Tensor, vocabulary: Sequence[Label]
) -> pd.DataFrame:
    """The frame with a column that says yes, then the drawn pairs as the user would write them, with no.

    Args:
        frame: The source.
        pair: The columns of user and item.
        rows: (D,) row number that each drawn pair stands against.
        items: (D,) code of the drawn item.
        vocabulary: The items by code, from 1.

    Example:
        >>> frame = pd.DataFrame({"who": ["a"], "film": [7]})
        >>> with_drawn_rows(frame, ("who", "film"), torch.tensor([0]), torch.tensor([2]), (7, 8)).values.tolist()
        [['a', 7, 'yes'], ['a', 8, 'no']]
    """
    (answer,), (no, yes) = IMPLICIT_TARGET.columns, IMPLICIT_TARGET.classes
    names = pd.Series(list(vocabulary)).iloc[items.numpy() - 1].array
    drawn = pd.DataFrame({pair[0]: frame[pair[0]].iloc[rows.numpy()].array, pair[1]: names, answer: no})
    return pd.concat([frame.assign(**{answer: yes}), drawn], ignore_index=True)


def _random_bits(seed: int, epoch: int, rows: NDArray[np.integer], times: int) -> NDArray[np.uint64]:
    """Return (R, times) numbers of 64 bits."""
    key = np.random.SeedSequence((seed, epoch)).generate_state(1, np.uint64).astype(np.uint64)
    counter: Any = rows.astype(np.uint64)[:, None] * np.uint64(times) + np.arange(1, times + 1, dtype=np.uint64)
    return random_bits(key, counter)
