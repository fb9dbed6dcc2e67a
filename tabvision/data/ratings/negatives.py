"""Negative sampling: draw items that a user has not taken, as a function only of seed, epoch and row."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast, final

import numpy as np
import torch
from numpy.typing import NDArray

from tabvision.batch import Batch
from tabvision.counter_random import random_bits
from tabvision.data.loaders import BatchLoader, TensorLoader

_FIXED = 2**32 - 1  # used as the epoch if negatives never change


@final
class NegativeSampler:
    """Draw items that a user has not taken, uniformly and without rejection sampling.

    For a user who has taken every item, any item may be drawn.

    Args:
        users: (P,) user codes of the known pairs.
        items: (P,) item codes of the known pairs; pairs with code 0, an unknown item, are ignored.
        num_users: Highest user code; the lowest is 0.
        num_items: Highest item code; the lowest is 1.
        seed: Determines the draws, together with epoch and row.

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
        keys = users[known].astype(np.int64)  # from here on in place: a copy of 100 million pairs takes 800 MB
        keys *= num_items
        keys += items[known]
        keys -= 1
        keys.sort()
        is_first = np.ones(len(keys), dtype=bool)  # np.unique hashes: ten times as slow on millions of pairs
        np.not_equal(keys[1:], keys[:-1], out=is_first[1:])
        keys = keys if is_first.all() else keys[is_first]
        self._starts = np.searchsorted(keys, np.arange(num_users + 2) * num_items)
        keys %= num_items
        keys -= np.arange(len(keys))
        keys += np.repeat(self._starts[:-1], np.diff(self._starts))
        # The number of untaken items before each taken one: its item number minus its rank, nondecreasing for a user
        self._untaken_before = keys.astype(np.int32)

    def num_full(self) -> int:
        """Return the number of users who have taken every item."""
        return int((np.diff(self._starts) == self.num_items).sum())

    def of(self, users: NDArray[np.integer], rows: NDArray[np.integer], *, times: int, epoch: int) -> NDArray[np.int64]:
        """Return the negatives of each row in an epoch."""
        users = users.astype(np.int64)[:, None]
        taken = self._starts[users + 1] - self._starts[users]
        is_full = taken == self.num_items
        choices = np.where(is_full, self.num_items, self.num_items - taken).astype(np.uint64)
        key = np.random.SeedSequence((self.seed, epoch)).generate_state(1, np.uint64).astype(np.uint64)
        counter = rows.astype(np.uint64)[:, None] * np.uint64(times) + np.arange(times, dtype=np.uint64) + np.uint64(1)
        number = (random_bits(key, counter.astype(np.uint64, copy=False)) % choices).astype(np.int64)
        return number + np.where(is_full, 0, self._num_taken_before(users, number)) + 1

    def _num_taken_before(self, users: NDArray[np.int64], number: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return how many taken items come before each user's untaken item `number`, by one vectorized binary search."""
        first = self._starts[users]
        low, high = first, self._starts[users + 1]
        for _ in range(int((high - low).max(initial=0)).bit_length()):
            middle = (low + high) // 2
            is_before = (low < high) & (self._untaken_before.take(middle, mode="clip") <= number)
            low, high = np.where(is_before, middle + 1, low), np.where(is_before, high, middle)
        return low - first


@final
class NegativeLoader(BatchLoader):
    """Append negative pairs to each batch of taken pairs.

    Args:
        loader: Batches with `categorical` (B, 2), user first, and `index`.
        sampler: Draws the items.
        times: Negatives per pair, at least 1.
        fixed: Whether the negatives never change, as in evaluation; otherwise they are drawn again each epoch.

    Shape:
        - categorical: (B * (1 + times), 2) int64
        - target: (B * (1 + times),) int64, 1 for a taken pair
        - index: (B * (1 + times),) int64; a negative has the row of its taken pair
    """

    def __init__(self, loader: TensorLoader, sampler: NegativeSampler, times: int, *, fixed: bool = False) -> None:
        self.loader, self.batch_sampler = loader, loader.batch_sampler
        self.negatives = sampler  # not named `sampler`, which Lightning would take for the row sampler
        self.times, self.fixed = times, fixed

    def __iter__(self) -> Iterator[Batch]:
        for batch in self.loader:
            pairs, epoch = batch["categorical"], self._epoch()
            items = self.negatives.of(pairs[:, 0].numpy(), batch["index"].numpy(), times=self.times, epoch=epoch)
            negatives = torch.stack([pairs[:, 0].repeat_interleave(self.times), torch.from_numpy(items).flatten()], 1)
            found = {
                "categorical": torch.cat([pairs, negatives]),
                "target": torch.arange(len(pairs) + len(negatives)).lt(len(pairs)).long(),
                "index": torch.cat([batch["index"], batch["index"].repeat_interleave(self.times)]),
            }
            yield cast("Batch", found)

    def _epoch(self) -> int:
        """Return the epoch that determines the draws, together with seed and row."""
        if self.fixed:
            return _FIXED
        # without shuffling, the Trainer is overfitting batches, which must be the same in every epoch
        return self.state_dict()["epoch"] if self.batch_sampler.sampler.shuffle else 0
