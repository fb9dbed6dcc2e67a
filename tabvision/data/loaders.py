"""Load whole batches by slicing prepared tensors; plan the batches of every loader and rank.

Every rank computes the same plan and takes its own slices of each step, so ranks need no communication: each row is seen
exactly once per epoch, all ranks make the same number of steps, and no rank trains on a batch of one row. A step is divided
into micro-batches, as many as ranks or a multiple: number m is a batch of rank m modulo the ranks.
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

    @speaking("train_dataloader")
    def _check_ranks(self) -> None:
        """Raise if several ranks train, and the loader was made for one: each would train on all rows."""
        ranks = distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1
        if ranks > 1 == self._world_size:
            problem = f"each of {ranks} ranks would train on all rows, since the loader was made before the Trainer ran"
            raise BadValueError(problem, "Pass the datamodule in its place: trainer.fit(model, datamodule=data)")

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


class Order(TypedDict, total=False):
    """The order of a split's rows, how often each is drawn, and who loads them: settings of every loader.

    Args:
        shuffle: Whether to shuffle the rows anew in each epoch.
        seed: Determines the order, together with the epoch.
        rank: This rank, from 0.
        world_size: Number of ranks.
        micro_batches: Micro-batches of a step, as for `BatchPlan`; None for one a rank.
        chances: (R,) how often to draw each row, as for `RowOrder`; None for each once.
    """

    shuffle: bool
    seed: int
    rank: int
    world_size: int
    micro_batches: int | None
    chances: Tensor | None


class BatchLoader:
    """What all loaders share: the plan of their batches, and where a pass has got to.

    Args:
        rows: (R,) int64 row numbers to load.
        batch_size: Rows per rank (or micro-batch) in one step, at least 1.
        order: The order of the rows; None for a `RowOrder` of the settings.
        noun: What a row is called in an error.
        settings: As in `Order`; by default the rows in order, for one rank.

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
        batch_size = check_batch_size(batch_size)
        if shuffle and len(rows) < micro_batches:
            problem = f"{micro_batches} ranks cannot share {count(len(rows), f'training {noun}')}"
            raise BadValueError(problem, "Use fewer devices")
        self.batch_sampler = BatchPlan(
            order or RowOrder(rows, shuffle=shuffle, seed=settings.get("seed", 0), chances=settings.get("chances")),
            batch_size,
            rank=settings.get("rank", 0),
            world_size=ranks,
            micro_batches=micro_batches,
            least=2 if shuffle else 1,  # in training BatchNorm needs two rows
        )

    def __len__(self) -> int:
        return len(self.batch_sampler)

    def state_dict(self) -> dict[str, int]:
        """Return the position in the epoch; a Trainer saves it, so that a fit can resume within an epoch."""
        return self.batch_sampler.state_dict()

    def load_state_dict(self, state_dict: Mapping[str, int]) -> None:
        """Let the next iteration resume at a saved position."""
        self.batch_sampler.load_state_dict(state_dict)


@final
class MappedTensors(dict[str, Tensor]):
    """Tensors that are mapped from files.

    Args:
        tensors: The tensors by name.
        files: The files that are mapped for them, by name.
    """

    def __init__(self, tensors: Mapping[str, Tensor], files: Mapping[str, mmap.mmap]) -> None:
        super().__init__(tensors)
        self._files = files

    def check(self) -> None:
        """Raise if a file has been cut short: reading what is mapped beyond its end would end the process.

        Raises:
            BadValueError: It has been.
        """
        for name, file in self._files.items():
            if (size := file.size()) < len(file):
                problem = f"{name!r} was cut short to {size:,} of {count(len(file), 'byte')} while it was read"
                raise BadValueError(problem, "Look for what writes into that folder, remove the file, and start again")

    def like(self, tensors: Mapping[str, Tensor]) -> MappedTensors:
        """Return other tensors, some of them from the same files."""
        return MappedTensors(tensors, self._files)

    @override
    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the tensors alone, which are copied to another process."""
        return dict, (dict(self),)


def check_mapped(tensors: Mapping[str, Tensor]) -> None:
    """Raise if a file of `MappedTensors` has been cut short."""
    if isinstance(tensors, MappedTensors):
        tensors.check()


def with_tensor(tensors: Mapping[str, Tensor], name: str, tensor: Tensor | None) -> dict[str, Tensor]:
    """Return tensors with one more, or with None without it; mapped ones go on being checked."""
    found = {each: value for each, value in tensors.items() if each != name}
    found |= {} if tensor is None else {name: tensor}
    return tensors.like(found) if isinstance(tensors, MappedTensors) else found


@final
class TensorLoader(BatchLoader):
    """Load batches by slicing prepared tensors, with no work per row.

    Args:
        tensors: The tensors of a batch by name, all with the same first dimension; without an `index` among them, batches
            hold the row numbers as `index`. `MappedTensors` are checked before each batch.
        rows: (R,) int64 row numbers to load; None for all in order.
        batch_size: Rows per rank (or micro-batch) in one step, at least 1.
        order: The order of the rows; None for a `RowOrder` of the settings.
        settings: As in `Order`; by default the rows in order, for one rank.

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
        while (rows := next(plan, None)) is not None:  # which may be mapped as well
            yield self.batch_of(rows)
            check_mapped(self.tensors)

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
