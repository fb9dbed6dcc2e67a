"""Read batches of images in threads, each into one block of memory, a few batches ahead of the consumer."""

from __future__ import annotations

import functools
import math
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import NamedTuple, final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tabvision.checks import check_whole
from tabvision.data.images.stores import Drawn, ImageStore, draw_rows
from tabvision.data.images.views import Extras, View

CHUNK_ROWS = 16  # rows per thread task: enough to draw random numbers in bulk, few enough to share out a batch
_CACHED_CHUNK_ROWS = 64  # for cached images, where drawing random numbers takes a fifth of the time
BATCHES_AHEAD = 2
# Warping a cached image holds Python's lock half of the time, so more threads only wait for each other: on two cores, 2 or 4
# threads read 6,000 images of 128 pixels a second, but 8 or 16 threads only 3,100
CACHED_WORKERS = 3
_MOST_WORKERS = 16  # limit of the default: any more would decode faster than one network trains

_cv2_lock = threading.Lock()
_cv2_users, _cv2_threads = [0], [1, 1]


class Read(NamedTuple):
    """The images read for a batch.

    Args:
        images: (B, C, H, W) uint8 in channels-last memory, only the images that could be read.
        rows: (B,) row numbers of the images.
        extras: Arrays with one row per image, with which the device finishes the images.
        errors: The reason, by row number, for each row that could not be read.
    """

    images: Tensor
    rows: NDArray[np.int64]
    extras: Extras
    errors: dict[int, str]

    def extended(self, other: Read) -> Read:
        """Return the batch with the rows of another appended."""
        if not len(other.rows):
            return self
        images = torch.cat([self.images, other.images]).contiguous(memory_format=torch.channels_last)
        extras = {
            name: np.concatenate([self.extras[name], values]) if name in self.extras else values
            for name, values in other.extras.items()
        }
        return Read(images, np.concatenate([self.rows, other.rows]), extras, self.errors)


@final
class BatchReader:
    """Read batches of rows in threads.

    Args:
        store: The images.
        view: The size and augmentation to draw them with.
        num_workers: Number of threads; with 0 the caller's thread reads each batch on demand.
        pin: Whether to pin the memory, for copies to a GPU.
        is_cached: Whether most images are cached, so that one task can read more of them.
    """

    def __init__(
        self, store: ImageStore, view: View, *, num_workers: int, pin: bool = False, is_cached: bool = False
    ) -> None:
        self.store, self.view, self.num_workers, self.pin = store, view, num_workers, pin
        self.chunk_rows = _CACHED_CHUNK_ROWS if is_cached else CHUNK_ROWS
        self.num_ahead = 0  # batches that are started but not yet yielded

    def read_all(self, batches: Iterable[NDArray[np.int64]], epoch: int) -> Iterator[Read]:
        """Yield each batch in turn, and raise any error from the threads."""
        source = iter(batches)
        with single_threaded_cv2(), self._threads() as threads:
            started: deque[_Batch] = deque()
            while True:
                while not started or (threads and len(started) < self._num_busy(started[0])):
                    if (rows := next(source, None)) is None:
                        break
                    started.append(_Batch(self, rows, epoch, threads))
                if not started:
                    return
                batch = started.popleft()
                self.num_ahead = len(started)
                yield batch.finish()

    @contextmanager
    def _threads(self) -> Iterator[ThreadPoolExecutor | None]:
        """Yield a thread pool, or None; leaving early cancels the tasks that have not started."""
        if not self.num_workers:
            yield None
            return
        threads = ThreadPoolExecutor(self.num_workers, thread_name_prefix="tabvision-images")
        try:
            yield threads
        finally:
            threads.shutdown(wait=True, cancel_futures=True)

    def read(self, rows: NDArray[np.int64], epoch: int) -> Read:
        """Read one batch in the caller's thread."""
        return _Batch(self, rows, epoch, None).finish()

    def _num_busy(self, batch: _Batch) -> int:
        """Return the number of batches to start in order to keep the threads busy."""
        return BATCHES_AHEAD + math.ceil(self.num_workers * self.chunk_rows / max(1, len(batch.rows)))


class _Batch:
    """A batch that threads are reading."""

    def __init__(
        self, reader: BatchReader, rows: NDArray[np.int64], epoch: int, threads: ThreadPoolExecutor | None
    ) -> None:
        self.rows = rows
        with torch.inference_mode(mode=False):  # else other threads could not write to the tensor
            shape = (len(rows), *reader.view.drawn_size, reader.store.channels)
            self.memory = torch.empty(shape, dtype=torch.uint8, pin_memory=reader.pin)
        out = self.memory.numpy()
        size = reader.chunk_rows
        self.starts = range(0, len(rows), size)
        jobs = [(rows[start : start + size], out[start : start + size], epoch) for start in self.starts]
        draw = functools.partial(draw_rows, reader.store, reader.view)
        self.chunks: list[Callable[[], Drawn]] = [
            threads.submit(draw, *job).result if threads else functools.partial(draw, *job) for job in jobs
        ]

    def finish(self) -> Read:
        """Wait for all rows, and leave out the unreadable ones."""
        chunks = list(zip(self.starts, [chunk() for chunk in self.chunks], strict=True))
        reasons = {start + position: reason for start, chunk in chunks for position, reason in chunk.reasons.items()}
        errors = {int(self.rows[position]): reason for position, reason in reasons.items()}
        extras: Extras = {}
        for start, chunk in chunks:
            for name, values in chunk.extras.items():
                if name not in extras:
                    extras[name] = np.zeros((len(self.rows), *values.shape[1:]), values.dtype)
                extras[name][start + np.array(chunk.positions)] = values
        readable = np.setdiff1d(np.arange(len(self.rows)), list(reasons))
        memory = self.memory
        if reasons:
            memory = memory[torch.from_numpy(readable)]
            extras = {name: values[readable] for name, values in extras.items()}
        return Read(memory.permute(0, 3, 1, 2), self.rows[readable], extras, errors)


def check_workers(num_workers: object, num_processes: int = 1) -> int:
    """Return the number of threads; for None, this process's share of the cores that it may use.

    Raises:
        BadTypeError: It is not a whole number.
        BadValueError: It is negative.

    Example:
        >>> check_workers(3), check_workers(None) >= 1
        (3, True)
    """
    if num_workers is None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return max(1, min(cores // num_processes, _MOST_WORKERS))
    return check_whole("num_workers", num_workers, 0, remedy="Pass a whole number such as 4, or None for one per core")


@contextmanager
def single_threaded_cv2() -> Iterator[None]:
    """Run OpenCV single-threaded so that it does not compete with our threads, and restore its setting afterwards."""
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


def _stop_cv2() -> None:
    """Stop OpenCV's threads before a fork: the child would wait forever for threads that it does not have."""
    _cv2_lock.acquire()
    _cv2_threads[1] = cv2.getNumThreads()
    cv2.setNumThreads(1)


def _restart_cv2() -> None:
    """Let the parent's OpenCV use threads again; a child stays single-threaded, since siblings use the other cores."""
    cv2.setNumThreads(_cv2_threads[1])
    _cv2_lock.release()


if hasattr(os, "register_at_fork"):  # for ddp_notebook, ddp_fork and any other forked process
    os.register_at_fork(before=_stop_cv2, after_in_parent=_restart_cv2, after_in_child=_cv2_lock.release)
