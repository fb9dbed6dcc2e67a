"""Load whole batches by slicing prepared tensors; plan the batches of every loader and rank.

Every rank computes the same plan and takes its own slices of each step, so ranks need no communication: each row is seen
exactly once per epoch, all ranks take the same number of steps, and no rank trains on a batch of one row. A step is divided
into micro-batches, one or more per rank: micro-batch m goes to rank m modulo the number of ranks.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Mapping
from typing import Any, TypedDict, Unpack, cast, final

import torch
from torch import Tensor, distributed
from typing_extensions import override

from tabvision.batch import Batch
from tabvision.checks import check_whole
from tabvision.data.row_order import BlockOrder, EpochOrder, RowOrder
from tabvision.errors import BadValueError, count, speaking

BATCH_SIZE = "Pass a whole number such as 64"  # what to do about a wrong batch size
_MOST_COMPARED = 1 << 20  # row numbers to compare at a time


def _plan_steps(num_rows: int, batch_size: int, micro_batches: int = 1, *, least: int = 1) -> list[tuple[int, int]]:
    """Return the rows of each step, over all its micro-batches, as (start, stop).

    Args:
        num_rows: Total number of rows.
        batch_size: Rows per micro-batch.
        micro_batches: Number of micro-batches in a step.
        least: Minimum rows per micro-batch. A remainder too short for that joins the step before it.

    Example:
        >>> _plan_steps(9, batch_size=4, least=2)
        [(0, 4), (4, 9)]
    """
    starts = list(range(0, num_rows, batch_size * micro_batches))
    if len(starts) > 1 and num_rows - starts[-1] < least * micro_batches:
        del starts[-1]
    return list(zip(starts, [*starts[1:], num_rows][: len(starts)], strict=True))


def _slice_of(start: int, stop: int, number: int, micro_batches: int) -> tuple[int, int]:
    """Return the rows of one micro-batch of a step. These slices differ by at most one row and together cover the step.

    Example:
        >>> [_slice_of(0, 7, number, 3) for number in range(3)]
        [(0, 2), (2, 4), (4, 7)]
    """
    rows = stop - start
    return start + rows * number // micro_batches, start + rows * (number + 1) // micro_batches


@final
class BatchPlan:
    """The batches of one rank, as row numbers.

    Args:
        sampler: The order of the rows. A Trainer looks for this attribute and sets its epoch.
        batch_size: Rows per micro-batch.
        rank: This rank, from 0.
        world_size: Number of ranks.
        micro_batches: Micro-batches per step, a multiple of the ranks; None for one per rank.
        least: Minimum rows per micro-batch.

    Example:
        >>> plan = BatchPlan(RowOrder(torch.arange(8), shuffle=False, seed=0), 2, world_size=2, micro_batches=4)
        >>> [rows.tolist() for rows in plan]
        [[0, 1], [4, 5]]
    """

    def __init__(
        self,
        sampler: EpochOrder,
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
        if self.sampler.shuffle:
            self._check_ranks()
        self._epoch = self.sampler.epoch
        order = self.sampler.of_epoch(self._epoch)
        self.sampler.epoch += 1  # without a Trainer, each iteration is the next epoch
        self._done = self._steps_to_skip()
        for start, stop in self._slices[self._done :]:
            self._done += 1
            yield order[start:stop]

    def state_dict(self) -> dict[str, int]:
        """Return the epoch and the number of batches done in it, which are the same on every rank."""
        ranks = {"ranks": self._world_size, "micro_batches": self._micro_batches}
        return {"epoch": self._epoch, "done": self._done, **self._size, **ranks}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Resume the next iteration at the saved step if it is of the same epoch; the number of ranks may have changed."""
        self._resume = state

    @speaking("train_dataloader")
    def _check_ranks(self) -> None:
        """Raise if several ranks train but the loader was made for one: each rank would train on all rows."""
        ranks = distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1
        if ranks > 1 == self._world_size:
            problem = f"each of {ranks} ranks would train on all rows, since the loader was made before the Trainer ran"
            raise BadValueError(problem, "Pass the datamodule instead: trainer.fit(model, datamodule=data)")

    def _steps_to_skip(self) -> int:
        state, self._resume = self._resume, None  # resume only once: the iteration after that is complete
        if state is None or state["epoch"] != self._epoch:
            return 0
        # earlier versions did not save these: a step had one micro-batch per rank
        ranks, micro_batches = state.get("ranks", 1), state.get("micro_batches", 1)
        steps = state["done"] * ranks // micro_batches
        if steps >= state["steps"]:
            return 0
        if any(state[name] != size for name, size in self._size.items()):
            was, now = (f"{each['steps']:,} steps of {each['step_rows']:,} rows" for each in (state, self._size))
            problem = f"the fit stopped after step {steps:,} of an epoch with {was} (batch size times ranks), now {now}"
            remedy = "Resume with the same batch size and ranks, or from a checkpoint saved at the end of an epoch"
            raise BadValueError(problem, remedy)
        return state["done"] * ranks * self._micro_batches // (micro_batches * self._world_size)


class Order(TypedDict, total=False):
    """The settings of every loader: the order of a part's rows, how often each is drawn, and which rank loads them.

    Args:
        shuffle: Whether to reshuffle the rows each epoch.
        seed: Determines the order, together with the epoch.
        rank: This rank, from 0.
        world_size: Number of ranks.
        micro_batches: Micro-batches per step, as in `BatchPlan`; None for one per rank.
        chances: (R,) relative frequency at which to draw each row, as in `RowOrder`; None for each once.
    """

    shuffle: bool
    seed: int
    rank: int
    world_size: int
    micro_batches: int | None
    chances: Tensor | None


class BatchLoader:
    """The base of all loaders: the plan of the batches, and how far a pass has got.

    Args:
        rows: (R,) int64 row numbers to load.
        batch_size: Rows per rank (or micro-batch) in one step, at least 1.
        order: The order of the rows; None for a `RowOrder` with the settings.
        noun: What errors call a row.
        settings: See `Order`; by default the rows come in order, on one rank.

    Raises:
        BadTypeError: `batch_size` is not a whole number.
        BadValueError: `batch_size` is below 1, or there are fewer rows to shuffle than ranks.
    """

    def __init__(
        self,
        rows: Tensor,
        batch_size: int,
        order: BlockOrder | None = None,
        *,
        noun: str = "row",
        **settings: Unpack[Order],
    ) -> None:
        ranks, shuffle = settings.get("world_size", 1), settings.get("shuffle", False)
        micro_batches = settings.get("micro_batches") or ranks
        batch_size = check_whole("batch_size", batch_size, remedy=BATCH_SIZE)
        if shuffle and len(rows) < micro_batches:
            problem = f"{micro_batches} ranks cannot share {count(len(rows), f'training {noun}')}"
            raise BadValueError(problem, "Use fewer devices")
        self.batch_sampler = BatchPlan(
            order or RowOrder(rows, shuffle=shuffle, seed=settings.get("seed", 0), chances=settings.get("chances")),
            batch_size,
            rank=settings.get("rank", 0),
            world_size=ranks,
            micro_batches=micro_batches,
            least=2 if shuffle else 1,  # in training, BatchNorm needs two rows
        )

    def __len__(self) -> int:
        return len(self.batch_sampler)

    def state_dict(self) -> dict[str, int]:
        """Return the position in the epoch, which a Trainer saves so that a fit can resume within an epoch."""
        return self.batch_sampler.state_dict()

    def load_state_dict(self, state_dict: Mapping[str, int]) -> None:
        """Resume the next iteration at a saved position."""
        self.batch_sampler.load_state_dict(state_dict)


@final
class MappedTensors(dict[str, Tensor]):
    """Tensors that are mapped from files.

    Args:
        tensors: The tensors by name.
        files: The mapped files, by name.
    """

    def __init__(self, tensors: Mapping[str, Tensor], files: Mapping[str, mmap.mmap]) -> None:
        super().__init__(tensors)
        self._files = files

    def check(self) -> None:
        """Raise if a file has been cut short: reading mapped memory beyond its end would kill the process.

        Raises:
            BadValueError: A file has been cut short.
        """
        for name, file in self._files.items():
            if (size := file.size()) < len(file):
                problem = f"{name!r} was cut short to {size:,} of {count(len(file), 'byte')} while it was read"
                raise BadValueError(problem, "Find out what writes to that folder, remove the file, and start again")

    def like(self, tensors: Mapping[str, Tensor]) -> MappedTensors:
        """Return other tensors, some of which are mapped from the same files."""
        return MappedTensors(tensors, self._files)

    @override
    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle only the tensors: another process gets copies."""
        return dict, (dict(self),)


def check_mapped(tensors: Mapping[str, Tensor]) -> None:
    """Raise if a file of `MappedTensors` has been cut short."""
    if isinstance(tensors, MappedTensors):
        tensors.check()


def with_tensor(tensors: Mapping[str, Tensor], name: str, tensor: Tensor | None) -> dict[str, Tensor]:
    """Return the tensors with one added, or removed if None; mapped tensors stay checked."""
    found = {each: value for each, value in tensors.items() if each != name}
    if tensor is not None:
        found[name] = tensor
    return tensors.like(found) if isinstance(tensors, MappedTensors) else found


@final
class TensorLoader(BatchLoader):
    """Load batches by slicing prepared tensors, with no work per row.

    Args:
        tensors: The tensors to take batches from, by name, with the same first dimension; if `index` is not among them,
            it holds the row numbers. `MappedTensors` are checked before each batch.
        rows: (R,) int64 row numbers to load; None for all in order.
        batch_size: Rows per rank (or micro-batch) in one step, at least 1.
        order: The order of the rows; None for a `RowOrder` with the settings.
        settings: See `Order`; by default the rows come in order, on one rank.

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
        order: BlockOrder | None = None,
        **settings: Unpack[Order],
    ) -> None:
        rows = torch.arange(len(next(iter(tensors.values())))) if rows is None else rows
        super().__init__(rows, batch_size, order, **settings)
        self.tensors = tensors
        check_mapped(tensors)
        starts = range(0, len(rows), _MOST_COMPARED)
        is_run = len(rows) > 0 and int(rows[-1] - rows[0]) == len(rows) - 1 and not settings.get("shuffle")
        self.is_whole = is_run and all(bool((rows[at : at + _MOST_COMPARED].diff() == 1).all()) for at in starts)

    def __iter__(self) -> Iterator[Batch]:
        plan = iter(self.batch_sampler)
        check_mapped(self.tensors)
        while (rows := next(plan, None)) is not None:  # rows may be mapped, too
            yield self.batch_of(rows)
            check_mapped(self.tensors)

    def batch_of(self, rows: Tensor) -> Batch:
        """Return the batch with those row numbers, (B,) int64."""
        batch = {"index": rows, **{name: self._take(tensor, rows) for name, tensor in self.tensors.items()}}
        small = {name: tensor.long() for name, tensor in batch.items() if not tensor.is_floating_point()}
        return cast("Batch", {**batch, **small})  # stored with fewer bits; embeddings need int64

    def _take(self, tensor: Tensor, rows: Tensor) -> Tensor:
        if self.is_whole and len(rows):
            return tensor[int(rows[0]) : int(rows[-1]) + 1]  # contiguous rows: a view, not a copy
        return tensor.index_select(0, rows)
