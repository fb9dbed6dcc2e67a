"""Batches of pictures, drawn by a few threads into one block of memory each, some batches ahead of who asks for them."""

from __future__ import annotations

import math
import os
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import NamedTuple, final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tabvision.checks import check_whole
from tabvision.data.images.decode import Pixels
from tabvision.data.images.stores import PictureStore, draw_rows
from tabvision.data.images.views import Extras, View

CHUNK_ROWS = 16  # what a thread takes at once: enough to draw numbers for several rows, few enough to share a batch
BATCHES_AHEAD = 2
MOST_WORKERS = 16  # of the default: more decode faster than one network learns

_cv2_lock = threading.Lock()
_cv2_users, _cv2_threads = [0], [1]


class Read(NamedTuple):
    """One batch, read.

    Args:
        images: (B, 3, H, W) uint8 in channels-last memory: the pictures that could be read.
        rows: (B,) their row numbers.
        extras: What else they need on their device.
        errors: Why each other row has no picture.
    """

    images: Tensor
    rows: NDArray[np.int64]
    extras: Extras
    errors: dict[int, str]


@final
class BatchReader:
    """Reads batches of rows in threads.

    Args:
        store: The pictures.
        view: How they are drawn.
        num_workers: Threads; with 0 the caller's own does the work when it asks.
        pin: Whether the memory is pinned, for a copy to a GPU.
    """

    def __init__(self, store: PictureStore, view: View, *, num_workers: int, pin: bool = False) -> None:
        self.store, self.view, self.num_workers, self.pin = store, view, num_workers, pin
        self.num_ahead = 0  # batches begun and not given yet

    def read_all(self, batches: Iterable[NDArray[np.int64]], epoch: int) -> Iterator[Read]:
        """Each batch in turn; what goes wrong in a thread is raised here."""
        source = iter(batches)
        with single_threaded_cv2(), _threads(self.num_workers) as threads:
            begun: deque[_Batch] = deque()
            while True:
                self._begin(source, begun, epoch, threads)
                if not begun:
                    return
                batch = begun.popleft()
                self.num_ahead = len(begun)
                yield batch.finish()

    def read(self, rows: NDArray[np.int64], epoch: int) -> Read:
        """One batch, by this thread alone."""
        return _Batch(self, rows, epoch, None).finish()

    def _begin(
        self,
        source: Iterator[NDArray[np.int64]],
        begun: deque[_Batch],
        epoch: int,
        threads: ThreadPoolExecutor | None,
    ) -> None:
        """Begins as many batches as keep the threads busy."""
        while not begun or (threads and len(begun) < self._wanted(begun[0])):
            rows = next(source, None)
            if rows is None:
                return
            begun.append(_Batch(self, rows, epoch, threads))

    def _wanted(self, batch: _Batch) -> int:
        return BATCHES_AHEAD + math.ceil(self.num_workers * CHUNK_ROWS / max(1, len(batch.rows)))

    def draw_chunk(self, rows: NDArray[np.int64], out: Pixels, epoch: int) -> _Chunk:
        """Opens and draws some rows, at their places in `out`."""
        reasons, places, drawn = draw_rows(self.store, self.view, rows, out, epoch)
        return _Chunk(reasons, {name: _spread(values, places, len(rows)) for name, values in drawn.items()})


class _Chunk(NamedTuple):
    """What became of some rows: why by place, for those without a picture; extras for every place."""

    reasons: dict[int, str]
    extras: Extras


class _Batch:
    """One batch under way."""

    def __init__(
        self, reader: BatchReader, rows: NDArray[np.int64], epoch: int, threads: ThreadPoolExecutor | None
    ) -> None:
        self.rows = rows
        self.memory = _memory(len(rows), reader.view.drawn_size, pin=reader.pin)
        out = self.memory.numpy()
        self.starts = range(0, len(rows), CHUNK_ROWS)
        jobs = [(rows[start : start + CHUNK_ROWS], out[start : start + CHUNK_ROWS], epoch) for start in self.starts]
        draw = reader.draw_chunk
        self.chunks = [threads.submit(draw, *job) if threads else _done(draw(*job)) for job in jobs]

    def finish(self) -> Read:
        """Waits for all rows, and leaves out those without a picture."""
        chunks = [chunk.result() for chunk in self.chunks]
        reasons = {
            start + place: reason
            for start, chunk in zip(self.starts, chunks, strict=True)
            for place, reason in chunk.reasons.items()
        }
        errors = {int(self.rows[place]): reason for place, reason in reasons.items()}
        names = next((list(chunk.extras) for chunk in chunks if chunk.extras), [])
        kept = np.setdiff1d(np.arange(len(self.rows)), list(reasons))
        extras = {name: _joined(chunks, name, self.starts, len(self.rows)) for name in names}
        memory = self.memory
        if reasons:
            memory = memory[torch.from_numpy(kept)]
            extras = {name: values[kept] for name, values in extras.items()}
        return Read(memory.permute(0, 3, 1, 2), self.rows[kept], extras, errors)


def check_workers(num_workers: object, sharers: int = 1) -> int:
    """A number of threads; None means one for each core that this process may use, shared with others on the machine.

    Raises:
        BadTypeError: It is no whole number.
        BadValueError: It is negative.

    Example:
        >>> check_workers(3), check_workers(None) >= 1
        (3, True)
    """
    remedy = "Pass a whole number such as 4, or None for one a core"
    if num_workers is None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return max(1, min(cores // sharers, MOST_WORKERS))
    return check_whole("num_workers", num_workers, 0, remedy=remedy)


@contextmanager
def single_threaded_cv2() -> Iterator[None]:
    """Keeps OpenCV's own threads from competing with ours, and gives them back afterwards."""
    with _cv2_lock:
        if not _cv2_users[0]:
            _cv2_threads[0] = cv2.getNumThreads()
            cv2.setNumThreads(1)
        _cv2_users[0] += 1
    try:
        yield
    finally:
        with _cv2_lock:
            _cv2_users[0] -= 1
            if not _cv2_users[0]:
                cv2.setNumThreads(_cv2_threads[0])


@contextmanager
def _threads(num_workers: int) -> Iterator[ThreadPoolExecutor | None]:
    """The threads, or none; whoever leaves early waits for the work under way alone."""
    if not num_workers:
        yield None
        return
    threads = ThreadPoolExecutor(num_workers, thread_name_prefix="tabvision-pictures")
    try:
        yield threads
    finally:
        threads.shutdown(wait=True, cancel_futures=True)


def _done(chunk: _Chunk) -> Future[_Chunk]:
    future: Future[_Chunk] = Future()
    future.set_result(chunk)
    return future


def _memory(num: int, size: tuple[int, int], *, pin: bool) -> Tensor:
    with torch.inference_mode(mode=False):  # a tensor made in it could not be written to by other threads
        return torch.empty((num, *size, 3), dtype=torch.uint8, pin_memory=pin)


def _spread(values: NDArray[np.generic], places: Sequence[int], num: int) -> NDArray[np.generic]:
    """The values of some places, with zeros for the others."""
    whole = np.zeros((num, *values.shape[1:]), values.dtype)
    whole[list(places)] = values
    return whole


def _joined(chunks: Sequence[_Chunk], name: str, starts: range, num: int) -> NDArray[np.generic]:
    """One extra of all chunks; a chunk without pictures has none."""
    first = next(chunk.extras[name] for chunk in chunks if chunk.extras)
    whole = np.zeros((num, *first.shape[1:]), first.dtype)
    for start, chunk in zip(starts, chunks, strict=True):
        if chunk.extras:
            whole[start : start + len(chunk.extras[name])] = chunk.extras[name]
    return whole
