"""Items that a user has not taken, drawn as the other side of those taken: a function of seed, epoch and row alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray

from tabvision.batch import Batch
from tabvision.counter_random import random_bits
from tabvision.data.loaders import BatchPlan, TensorLoader

_FIXED = 2**32 - 1  # in place of an epoch, for negatives that never change


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
        """Return the negatives of each row, in that epoch."""
        users = users.astype(np.int64)[:, None]
        taken = self._starts[users + 1] - self._starts[users]
        is_full = taken == self.num_items
        choices = np.where(is_full, self.num_items, self.num_items - taken).astype(np.uint64)
        number = (_random_bits(self.seed, epoch, rows, times) % choices).astype(np.int64)
        before = np.searchsorted(self._gaps, users * self.num_items + number, side="right") - self._starts[users]
        return number + np.where(is_full, 0, before) + 1


@final
class NegativeLoader:
    """The batches of a loader of taken pairs, each followed by pairs that were not taken.

    Args:
        loader: Batches with `categorical` (B, 2), user first, and `index`.
        sampler: Draws the items.
        times: Negatives for each pair, at least 1.
        fixed: Whether they never change, as in evaluation; else they are new in every epoch.

    Shape:
        - categorical: (B * (1 + times), 2) int64
        - target: (B * (1 + times),) int64, 1 for a pair taken
        - index: (B * (1 + times),) int64, for a negative the row that it stands against
    """

    def __init__(self, loader: TensorLoader, sampler: NegativeSampler, times: int, *, fixed: bool = False) -> None:
        self.loader = loader
        self.negatives = sampler  # not `sampler`, which Lightning takes for the order of the rows
        self.times, self.fixed = times, fixed

    @property
    def batch_sampler(self) -> BatchPlan:
        """Where a Trainer looks for what to tell the epoch."""
        return self.loader.batch_sampler

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Batch]:
        for batch in self.loader:
            pairs, epoch = batch["categorical"], self._epoch()
            items = self.negatives.of(pairs[:, 0].numpy(), batch["index"].numpy(), times=self.times, epoch=epoch)
            negatives = torch.stack([pairs[:, 0].repeat_interleave(self.times), torch.from_numpy(items).flatten()], 1)
            yield {
                "categorical": torch.cat([pairs, negatives]),
                "target": torch.arange(len(pairs) + len(negatives)).lt(len(pairs)).long(),
                "index": torch.cat([batch["index"], batch["index"].repeat_interleave(self.times)]),
            }

    def _epoch(self) -> int:
        """Return what decides the draws beside seed and row."""
        if self.fixed:
            return _FIXED
        # rows that stay in order are overfitted, which wants the same batches in every epoch
        return self.loader.state_dict()["epoch"] if self.batch_sampler.sampler.shuffle else 0

    def state_dict(self) -> dict[str, int]:
        """Where the pass is; a Trainer saves it."""
        return self.loader.state_dict()

    def load_state_dict(self, state_dict: Mapping[str, int]) -> None:
        """Let the next pass go on where that one was."""
        self.loader.load_state_dict(state_dict)


def _random_bits(seed: int, epoch: int, rows: NDArray[np.integer], times: int) -> NDArray[np.uint64]:
    """Return (R, times) numbers of 64 bits."""
    key = np.random.SeedSequence((seed, epoch)).generate_state(1, np.uint64).astype(np.uint64)
    counter = rows.astype(np.uint64)[:, None] * np.uint64(times) + np.arange(times, dtype=np.uint64) + np.uint64(1)
    return random_bits(key, counter.astype(np.uint64, copy=False))
