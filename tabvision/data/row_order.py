"""The order of rows in each epoch: all rows shuffled, or shuffled block by block if they are read from disk."""

from __future__ import annotations

import bisect
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, final

import torch
from torch import Tensor
from typing_extensions import override

from tabvision.counter_random import seed_of


class EpochOrder(ABC):
    """The order of rows in each epoch, a function only of seed and epoch.

    Attributes:
        rows: (R,) row numbers.
        shuffle: Whether each epoch has its own order.
        epoch: The epoch of the next iteration.
    """

    rows: Tensor
    shuffle: bool = True
    epoch: int = 0

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the next iteration; a Trainer calls this before each epoch."""
        self.epoch = epoch

    @abstractmethod
    def of_epoch(self, epoch: int) -> Any:  # noqa: ANN401 - a tensor, or anything that slices like one
        """Return the row numbers in the order of that epoch, (R,) int64."""


@final
class RowOrder(EpochOrder):
    """The order of rows held in memory, a function only of seed and epoch.

    Args:
        rows: (R,) int64 row numbers.
        shuffle: Whether to reshuffle the rows each epoch.
        seed: Determines the order, together with the epoch.
        chances: (R,) relative frequency at which to draw each row, at least 0; None for each once. An epoch has R draws
            with replacement: each row occurs as often as expected, rounded up or down at random.

    Example:
        >>> order = RowOrder(torch.arange(5), shuffle=True, seed=0)
        >>> sorted(order.of_epoch(3).tolist()), bool((order.of_epoch(3) == order.of_epoch(3)).all())
        ([0, 1, 2, 3, 4], True)
        >>> sorted(RowOrder(torch.arange(3), shuffle=True, seed=0, chances=torch.tensor([2.0, 0, 1])).of_epoch(0).tolist())
        [0, 0, 2]
    """

    def __init__(self, rows: Tensor, *, shuffle: bool, seed: int, chances: Tensor | None = None) -> None:
        self.rows, self.shuffle, self.seed, self.chances = rows, shuffle, seed, chances

    @override
    def of_epoch(self, epoch: int) -> Tensor:
        if not self.shuffle:
            return self.rows
        generator = torch.Generator().manual_seed(seed_of(self.seed, epoch))
        order = torch.randperm(len(self.rows), generator=generator)
        return self.rows[order if self.chances is None else _drawn(order, self.chances[order], generator, len(order))]


@final
class BlockOrder(EpochOrder):
    """The order of rows that are read from disk: blocks in random order, with the rows of several blocks mixed.

    An epoch goes from window to window, reading the blocks of each and shuffling their rows. Neighboring blocks go to
    different windows at random, so that each window holds rows evenly from all over the table, whatever it is sorted by,
    while the disk reads a few long stretches. Like `RowOrder`, it is a function only of seed and epoch, and it needs no
    more memory than one window.

    Args:
        rows: (R,) integer row numbers, ascending.
        seed: Determines the order, together with the epoch.
        block: Rows in a block.
        window: The most blocks to mix; windows differ by at most one block.
        chances: A function from row numbers to the relative frequencies at which to draw them; None for each once. An
            epoch has R draws, as in `RowOrder`.

    Example:
        >>> order = BlockOrder(torch.arange(10), seed=0, block=2, window=3).of_epoch(0)
        >>> sorted(torch.cat([order[0:4], order[4:10]]).tolist()) == list(range(10))
        True
    """

    def __init__(
        self,
        rows: Tensor,
        *,
        seed: int,
        block: int = 1_024,
        window: int = 512,
        chances: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.rows, self.seed, self.block, self.chances = rows, seed, block, chances
        starts = torch.arange(0, len(rows), block)
        self._num_windows = max(1, -(-len(starts) // window))
        self._sizes = (len(rows) - starts).clamp(max=block).double()
        if chances is not None:  # a block gets as many draws as its rows together
            each = [chances(rows[start : start + block].long()).double().sum() for start in starts.tolist()]
            self._sizes = torch.stack(each) * (len(rows) / float(torch.stack(each).sum()))

    @override
    def of_epoch(self, epoch: int) -> BlockOrder.Epoch:
        """Return the order of that epoch, which computes slices as they are read."""
        key = seed_of(self.seed, epoch)
        generator = torch.Generator().manual_seed(key)
        windows = self._windows(generator)
        sizes = [float(self._sizes[blocks].sum()) for blocks in windows]
        ends = torch.tensor([0.0, *sizes], dtype=torch.float64).cumsum(0)
        start = 0.5 if self.chances is None else float(torch.rand(1, generator=generator, dtype=torch.float64))
        bounds = (ends[:-1] - start).ceil().long().clamp(min=0)
        return BlockOrder.Epoch(self, key, windows, [*bounds.tolist(), len(self.rows)])

    def _windows(self, generator: torch.Generator) -> list[Tensor]:
        """Return the blocks of each window: as many neighbors as there are windows go to different ones at random."""
        num_blocks, number = len(self._sizes), self._num_windows
        drawn = torch.rand(-(-num_blocks // number), number, generator=generator, dtype=torch.float64)
        window_of = drawn.argsort(dim=1).flatten()[:num_blocks]
        return list(torch.split(window_of.argsort(stable=True), window_of.bincount(minlength=number).tolist()))

    class Epoch:
        """The order of one epoch; `order[start:stop]` returns row numbers.

        Args:
            order: The `BlockOrder` that this belongs to.
            key: The seed of this epoch.
            windows: The blocks of each window, in this epoch's order.
            bounds: The number of draws before each window, and the total.
        """

        def __init__(self, order: BlockOrder, key: int, windows: list[Tensor], bounds: list[int]) -> None:
            self._order, self._key, self._windows, self._bounds = order, key, windows, bounds
            self._at, self._mixed = -1, torch.empty(0, dtype=torch.int64)

        def __getitem__(self, part: slice) -> Tensor:
            """Return the row numbers of a slice, int64."""
            found, start = [], part.start
            while start < part.stop:
                at = bisect.bisect_right(self._bounds, start) - 1
                first, end = self._bounds[at], min(part.stop, self._bounds[at + 1])
                found.append(self._window(at)[start - first : end - first])
                start = end
            return torch.cat(found) if len(found) != 1 else found[0]

        def _window(self, at: int) -> Tensor:
            if at != self._at:
                order, generator = self._order, torch.Generator().manual_seed((self._key + at + 1) % 2**63)
                starts = (self._windows[at] * order.block).tolist()
                rows = torch.cat([order.rows[start : start + order.block] for start in starts])
                rows, number = rows.long(), self._bounds[at + 1] - self._bounds[at]
                mixed = torch.randperm(len(rows), generator=generator)
                if order.chances is None:
                    self._mixed = rows[mixed]
                else:
                    self._mixed = _drawn(rows[mixed], order.chances(rows)[mixed], generator, number)
                self._at = at
            return self._mixed


def _drawn(order: Tensor, chances: Tensor, generator: torch.Generator, number: int) -> Tensor:
    """Return `number` draws with replacement from a random order, shuffled.

    Source: systematic resampling: equal steps from a random start through the cumulative chances.
    """
    ends = chances.double().cumsum(0)
    start = torch.rand(1, generator=generator, dtype=torch.float64)
    steps = (torch.arange(number, dtype=torch.float64) + start) * (ends[-1] / max(1, number))
    found = torch.searchsorted(ends, steps.clamp(max=ends[-1] * (1 - 1e-15)), right=True)
    return order[found][torch.randperm(number, generator=generator)]
