"""Load whole batches by slicing prepared tensors, in an order that is a function of seed and epoch.

Every rank computes the same plan and takes its own slices of each step, so ranks need no communication: each row is seen
exactly once per epoch, all ranks make the same number of steps, and no rank trains on a batch of one row. A step is divided
into micro-batches, as many as ranks or a multiple: number m is a batch of rank m modulo the ranks.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast, final

import torch
from torch import Tensor

from tabvision.batch import Batch
from tabvision.checks import check_whole
from tabvision.counter_random import seed_of
from tabvision.errors import BadValueError, count, speaking

_MOST_COMPARED = 1 << 20  # rows at a time


def _plan_steps(num_rows: int, batch_size: int, micro_batches: int = 1, *, least: int = 1) -> list[tuple[int, int]]:
    """Return the rows of each step, over all micro-batches, as (start, stop).

    Args:
        num_rows: Total number of rows.
        batch_size: Rows of a micro-batch.
        micro_batches: Number of micro-batches in a step.
        least: Minimum rows of a micro-batch. A remainder too short for that joins the step before it.

    Example:
        >>> _plan_steps(9, batch_size=4, least=2)
        [(0, 4), (4, 9)]
    """
    starts = list(range(0, num_rows, batch_size * micro_batches))
    if len(starts) > 1 and num_rows - starts[-1] < least * micro_batches:
        del starts[-1]
    return list(zip(starts, [*starts[1:], num_rows][: len(starts)], strict=True))


def _slice_of(start: int, stop: int, number: int, micro_batches: int) -> tuple[int, int]:
    """Return the rows of a micro-batch of one step: slices differ by at most one row and together cover the step.

    Example:
        >>> [_slice_of(0, 7, number, 3) for number in range(3)]
        [(0, 2), (2, 4), (4, 7)]
    """
    rows = stop - start
    return start + rows * number // micro_batches, start + rows * (number + 1) // micro_batches


@final
class RowOrder:
    """The order of rows in an epoch: a function of seed and epoch only.

    Args:
        rows: (R,) int64 row numbers.
        shuffle: Whether to shuffle the rows anew in each epoch.
        seed: Determines the order, together with the epoch.
        chances: (R,) how often to draw each row, in proportion, at least 0; None for each once. An epoch has R draws with
            replacement: a row comes as often as expected, rounded up or down at random.

    Example:
        >>> order = RowOrder(torch.arange(5), shuffle=True, seed=0)
        >>> sorted(order.of_epoch(3).tolist()), bool((order.of_epoch(3) == order.of_epoch(3)).all())
        ([0, 1, 2, 3, 4], True)
        >>> sorted(RowOrder(torch.arange(3), shuffle=True, seed=0, chances=torch.tensor([2.0, 0, 1])).of_epoch(0).tolist())
        [0, 0, 2]
    """

    def __init__(self, rows: Tensor, *, shuffle: bool, seed: int, chances: Tensor | None = None) -> None:
        self.rows = rows
        self.shuffle = shuffle
        self.seed = seed
        self.chances = chances
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the next iteration; a Trainer calls this before each epoch."""
        self.epoch = epoch

    def of_epoch(self, epoch: int) -> Tensor:
        """Return the row numbers in the order of that epoch, (R,) int64."""
        if not self.shuffle:
            return self.rows
        generator = torch.Generator().manual_seed(seed_of(self.seed, epoch))
        order = torch.randperm(len(self.rows), generator=generator)
        return self.rows[order if self.chances is None else _drawn(order, self.chances[order], generator, len(order))]


@final
class BlockOrder:
    """The order of rows that are read from a disk: blocks of rows at random, and the rows of some blocks mixed.

    An epoch takes the blocks in random order; each window of them is read and its rows are shuffled.
    So a row meets rows from all over the table, and the disk reads a few long stretches. Like `RowOrder` it is a function of
    seed and epoch only, and needs no more memory than a window.

    Args:
        rows: (R,) integer row numbers, ascending.
        seed: Determines the order, together with the epoch.
        block: Rows in a block.
        window: The most blocks whose rows are mixed; windows are of equal size, so that the last is not of a few blocks.
        chances: A function from row numbers to how often each is drawn, in proportion; None for each once an epoch. An epoch
            has R draws, as `RowOrder` has.

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
        self.epoch = 0
        starts = torch.arange(0, len(rows), block)
        num_windows = -(-len(starts) // window)
        self._firsts = torch.arange(num_windows + 1) * len(starts) // max(1, num_windows)  # blocks before each window
        self._sizes = (len(rows) - starts).clamp(max=block).double()
        if chances is not None:  # a block is drawn from as often as its rows
            each = [chances(rows[start : start + block].long()).double().sum() for start in starts.tolist()]
            self._sizes = torch.stack(each) * (len(rows) / float(torch.stack(each).sum()))

    shuffle = True

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the next iteration; a Trainer calls this before each epoch."""
        self.epoch = epoch

    def of_epoch(self, epoch: int) -> Any:  # noqa: ANN401 - an `Epoch`, which is sliced as a tensor is
        """Return the order of that epoch, of which slices are computed as they are read."""
        key = seed_of(self.seed, epoch)
        generator = torch.Generator().manual_seed(key)
        blocks = torch.randperm(len(self._sizes), generator=generator)
        ends = self._sizes[blocks].cumsum(0)
        start = 0.5 if self.chances is None else float(torch.rand(1, generator=generator, dtype=torch.float64))
        bounds = torch.cat([torch.zeros(1, dtype=ends.dtype), ends])[self._firsts[:-1]] - start
        bounds = bounds.ceil().long().clamp(min=0)
        windows = [blocks[first:last] for first, last in itertools.pairwise(self._firsts.tolist())]
        return BlockOrder.Epoch(self, key, windows, [*bounds.tolist(), len(self.rows)])

    class Epoch:
        """The order of one epoch; `order[start:stop]` returns row numbers.

        Args:
            order: The order of every epoch.
            key: The seed of this one.
            windows: The blocks of each window, in the order of this epoch.
            bounds: The number of draws before each window, and in all.
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
    """Return so many draws from a random order with replacement, shuffled.

    Source: systematic resampling: equal steps from a random start through the cumulated chances.
    """
    ends = chances.double().cumsum(0)
    start = torch.rand(1, generator=generator, dtype=torch.float64)
    steps = (torch.arange(number, dtype=torch.float64) + start) * (ends[-1] / max(1, number))
    found = torch.searchsorted(ends, steps.clamp(max=ends[-1] * (1 - 1e-15)), right=True)
    return order[found][torch.randperm(number, generator=generator)]


@final
class BatchPlan:
    """The batches of one rank, as row numbers.

    Args:
        sampler: The order of the rows. A Trainer looks for this attribute and sets its epoch.
        batch_size: Rows per micro-batch.
        rank: This rank, from 0.
        world_size: Number of ranks.
        micro_batches: Micro-batches of a step, a multiple of the ranks; None for one a rank.
        least: Minimum rows per micro-batch.

    Example:
        >>> plan = BatchPlan(RowOrder(torch.arange(8), shuffle=False, seed=0), 2, world_size=2, micro_batches=4)
        >>> [rows.tolist() for rows in plan]
        [[0, 1], [4, 5]]
    """

    def __init__(
        self,
        sampler: RowOrder | BlockOrder,
        batch_size: int,
        *,
        rank: int = 0,
        world_size: int = 1,
        micro_batches: int | None = None,
        least: int = 1,
    ) -> None:
        self.sampler = sampler
        self.batch_size = batch_size
        self._world_size, self._micro_batches = world_size, micro_batches or world_size
        steps = _plan_steps(len(sampler.rows), batch_size, self._micro_batches, least=least)
        own = range(rank, self._micro_batches, world_size)
        self._slices = [_slice_of(*step, number, self._micro_batches) for step in steps for number in own]
        self._size = {"steps": len(steps), "step_rows": batch_size * self._micro_batches}
        self._epoch, self._done = 0, 0  # of the current iteration
        self._resume: Mapping[str, int] | None = None

    def __len__(self) -> int:
        return len(self._slices)

    def __iter__(self) -> Iterator[Tensor]:
        self._epoch = self.sampler.epoch
        order = self.sampler.of_epoch(self._epoch)
        self.sampler.epoch += 1  # without a Trainer, the next iteration is the next epoch
        self._done = self._steps_to_skip()
        for start, stop in self._slices[self._done :]:
            self._done += 1
            yield order[start:stop]

    def state_dict(self) -> dict[str, int]:
        """Return the epoch and the batches done within it; the same on every rank."""
        ranks = {"ranks": self._world_size, "micro_batches": self._micro_batches}
        return {"epoch": self._epoch, "done": self._done, **self._size, **ranks}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Let the next iteration resume at the saved step, if it is of the same epoch; other ranks may have saved it."""
        self._resume = state

    def _steps_to_skip(self) -> int:
        state, self._resume = self._resume, None  # once: the iteration after is complete again
        if state is None or state["epoch"] != self._epoch:
            return 0
        # an earlier version, which does not say, had a micro-batch for each rank
        ranks, micro_batches = state.get("ranks", 1), state.get("micro_batches", 1)
        steps = state["done"] * ranks // micro_batches
        if steps >= state["steps"]:
            return 0
        if any(state[name] != size for name, size in self._size.items()):
            was, now = (f"{each['step_rows']:,} rows in {each['steps']:,} steps" for each in (state, self._size))
            problem = f"the epoch was left after step {steps:,} with {was} (batch size times ranks), now {now}"
            remedy = "Resume with the same batch size and ranks, or from a checkpoint saved at the end of an epoch"
            raise BadValueError(problem, remedy)
        return state["done"] * ranks * self._micro_batches // (micro_batches * self._world_size)


@final
class TensorLoader:
    """Load batches by slicing prepared tensors, with no work per row.

    Args:
        tensors: The tensors of a batch by name, all with the same first dimension; without an `index` among them, batches
            hold the row numbers as `index`.
        rows: (R,) int64 row numbers to load; None for all in order.
        batch_size: Rows per rank (or micro-batch) in one step, at least 1.
        shuffle: Whether to shuffle the rows anew in each epoch.
        seed: Determines the order, together with the epoch.
        rank: This rank, from 0.
        world_size: Number of ranks.
        micro_batches: Micro-batches of a step, as for `BatchPlan`; None for one a rank.
        chances: (R,) how often to draw each row, as for `RowOrder`; None for each once.
        order: The order of the rows; None for a `RowOrder` of the arguments above.

    Raises:
        BadTypeError: `batch_size` is not a whole number.
        BadValueError: `batch_size` is below 1, or there are fewer rows to shuffle than ranks.

    Example:
        >>> loader = TensorLoader({"target": torch.arange(5)}, batch_size=2)
        >>> [batch["index"].tolist() for batch in loader]
        [[0, 1], [2, 3], [4]]
    """

    @speaking()
    def __init__(
        self,
        tensors: Mapping[str, Tensor],
        rows: Tensor | None = None,
        *,
        batch_size: int,
        shuffle: bool = False,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        micro_batches: int | None = None,
        chances: Tensor | None = None,
        order: BlockOrder | None = None,
    ) -> None:
        batch_size = check_batch_size(batch_size)
        rows = torch.arange(len(next(iter(tensors.values())))) if rows is None else rows
        if shuffle and len(rows) < (shares := micro_batches or world_size):
            problem = f"{shares} ranks cannot share {count(len(rows), 'training row')}"
            raise BadValueError(problem, "Use fewer devices")
        self.tensors = tensors
        is_run = len(rows) > 0 and int(rows[-1] - rows[0]) == len(rows) - 1
        self.is_whole = (
            not shuffle
            and is_run
            and all(
                bool((rows[start : start + _MOST_COMPARED].diff() == 1).all())
                for start in range(0, len(rows), _MOST_COMPARED)
            )
        )
        least = 2 if shuffle else 1  # in training BatchNorm needs two rows
        order_of = order or RowOrder(rows, shuffle=shuffle, seed=seed, chances=chances)
        self.batch_sampler = BatchPlan(
            order_of, batch_size, rank=rank, world_size=world_size, micro_batches=micro_batches, least=least
        )

    def __len__(self) -> int:
        return len(self.batch_sampler)

    def __iter__(self) -> Iterator[Batch]:
        for rows in self.batch_sampler:
            yield self.batch_of(rows)

    def state_dict(self) -> dict[str, int]:
        """Return the position in the epoch; a Trainer saves it, so that a fit can resume within an epoch."""
        return self.batch_sampler.state_dict()

    def load_state_dict(self, state_dict: Mapping[str, int]) -> None:
        """Let the next iteration resume at a saved position."""
        self.batch_sampler.load_state_dict(state_dict)

    def batch_of(self, rows: Tensor) -> Batch:
        """Return the batch with those row numbers, (B,) int64."""
        batch = {"index": rows, **{name: self._take(tensor, rows) for name, tensor in self.tensors.items()}}
        small = {name: tensor.long() for name, tensor in batch.items() if not tensor.is_floating_point()}
        return cast("Batch", {**batch, **small})  # of fewer bits in memory; embeddings need int64

    def _take(self, tensor: Tensor, rows: Tensor) -> Tensor:
        if self.is_whole and len(rows):
            return tensor[int(rows[0]) : int(rows[-1]) + 1]  # contiguous: a view, no copy
        return tensor.index_select(0, rows)


def check_batch_size(batch_size: object) -> int:
    """Return `batch_size`; raise unless it is a whole number above 0.

    Example:
        >>> check_batch_size(64)
        64
    """
    return check_whole("batch_size", batch_size, remedy="Pass a whole number such as 64")
