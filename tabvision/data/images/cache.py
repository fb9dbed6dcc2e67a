"""Presized pixels, kept so that the second epoch decodes nothing: in memory, or in files that processes share."""

from __future__ import annotations

import hashlib
import os
import threading
import weakref
import zlib
from abc import ABC, abstractmethod
from io import FileIO
from pathlib import Path
from typing import final

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from tabvision.data.images.decode import Pixels
from tabvision.data.images.views import Presize
from tabvision.errors import BadTypeError, BadValueError, speaking

AUTO_BYTES = 2 * 2**30  # what "auto" takes at most, or a quarter of the machine's memory
PAGE = 4096
VERSION = 1  # of the files; another number, another folder
# What is known of a row in the files: stamp of its source (0: nothing here), checksum of its pixels, their size
ENTRY = np.dtype([("stamp", "<u8"), ("checksum", "<u4"), ("height", "<u4"), ("width", "<u4"), ("unused", "<u4")])


class PictureCache(ABC):
    """Pixels by row number."""

    @abstractmethod
    def stamp(self, file: str) -> int:
        """A number that changes when the file does; never 0."""

    @abstractmethod
    def get(self, row: int, stamp: int) -> Pixels | None:
        """The row's pixels, if they are here and of that stamp."""

    @abstractmethod
    def put(self, row: int, stamp: int, pixels: Pixels) -> None:
        """Keeps the row's pixels, where there is room."""


@final
class _MemoryCache(PictureCache):
    """Pixels in this process's memory, until a budget is spent.

    Args:
        most_bytes: The budget.
    """

    def __init__(self, most_bytes: int) -> None:
        self.bytes_left = most_bytes
        self._pixels: dict[int, Pixels] = {}
        self._lock = threading.Lock()

    @override
    def stamp(self, file: str) -> int:
        return 1  # a process keeps what it has seen

    @override
    def get(self, row: int, stamp: int) -> Pixels | None:
        return self._pixels.get(row)

    @override
    def put(self, row: int, stamp: int, pixels: Pixels) -> None:
        with self._lock:
            if row not in self._pixels and pixels.nbytes <= self.bytes_left:
                self._pixels[row] = pixels
                self.bytes_left -= pixels.nbytes


@final
class _FolderCache(PictureCache):
    """Pixels in two files that ranks, workers and later runs share.

    Each row has a place of its own, so writers never meet except with the same pixels. A row counts as soon as its entry
    names its source's stamp, and a process checks the sum of its pixels the first time it reads them: what an
    interrupted writer left half-done is decoded anew. The files are sparse: what no row has filled takes no disk.

    Args:
        folder: Where the files go; it may hold those of several settings.
        key: Names the settings that the pixels depend on.
        num_rows: Rows in all.
        slot_bytes: The room of one row; larger pictures are not kept.

    Raises:
        BadValueError: The folder cannot be written.
    """

    @speaking("ImageDataModule")
    def __init__(self, folder: str | Path, key: str, num_rows: int, slot_bytes: int) -> None:
        self.slot_bytes = -(-slot_bytes // PAGE) * PAGE
        self.folder = Path(folder).expanduser() / f"v{VERSION}-{key}-{num_rows}-{self.slot_bytes}"
        self.problem = ""
        self._lock = threading.Lock()
        self._checked: dict[int, int] = {}  # the stamp of rows whose sum this process has seen to be right
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._pixels = _opened(self.folder / "pixels.bin", num_rows * self.slot_bytes)
            self._entries = _opened(self.folder / "entries.bin", num_rows * ENTRY.itemsize)
            self._read_pixels = np.memmap(self.folder / "pixels.bin", np.uint8, "r", shape=(num_rows, self.slot_bytes))
            self._read_entries = np.memmap(self.folder / "entries.bin", ENTRY, "r", shape=(num_rows,))
        except OSError as error:
            problem = f"the cache {str(folder)!r} cannot be written: {error.strerror or error}"
            raise BadValueError(problem, "Pass another folder, or cache=None") from error
        for file in (self._pixels, self._entries):
            weakref.finalize(self, file.close)

    @override
    def stamp(self, file: str) -> int:
        facts = os.stat(file)  # noqa: PTH116 - for every picture
        text = f"{file}|{facts.st_size}|{facts.st_mtime_ns}"
        return int.from_bytes(hashlib.blake2b(text.encode(errors="surrogateescape"), digest_size=8).digest()) or 1

    @override
    def get(self, row: int, stamp: int) -> Pixels | None:
        entry = self._read_entries[row]
        if entry["stamp"] != stamp:
            return None
        height, width = int(entry["height"]), int(entry["width"])
        if not 0 < 3 * height * width <= self.slot_bytes:
            return None
        pixels: Pixels = self._read_pixels[row, : 3 * height * width]
        if self._checked.get(row) != stamp:
            if zlib.crc32(pixels.data) != entry["checksum"]:
                return None
            self._checked[row] = stamp
        return pixels.reshape(height, width, 3)

    @override
    def put(self, row: int, stamp: int, pixels: Pixels) -> None:
        if pixels.nbytes > self.slot_bytes or self.problem:
            return
        entry = np.array([(stamp, zlib.crc32(pixels.data), *pixels.shape[:2], 0)], ENTRY)
        with self._lock:
            try:
                _write_at(self._pixels, row * self.slot_bytes, pixels)
                _write_at(self._entries, row * ENTRY.itemsize, entry)  # last: it says that the pixels are there
            except OSError as error:
                self.problem = f"{str(self.folder)!r} takes no more: {error.strerror or error}"


@speaking("ImageDataModule")
def make_cache(
    wish: str | Path | None, presize: Presize, num_rows: int, *, num_slots: int, part: str, sharers: int = 1
) -> PictureCache | None:
    """The cache that a user's wish means.

    Args:
        wish: "auto" for memory if all rows fit into `AUTO_BYTES` and a quarter of the machine's, "memory" to take a
            quarter of it in any case, a folder, or None.
        presize: What is kept.
        num_rows: How many pictures.
        num_slots: How many row numbers.
        part: Whose; a folder keeps the parts apart.
        sharers: Processes on this machine that keep pictures of their own.

    Raises:
        BadTypeError: None of these.
        BadValueError: The folder cannot be written.
    """
    if wish is None:
        return None
    if not isinstance(wish, str | Path) or not str(wish):
        problem = f'cache must be "auto", "memory", a folder or None, got {wish!r}'
        raise BadTypeError(problem, "Pass one of these")
    if wish not in ("auto", "memory"):
        return _FolderCache(wish, f"{part}-{presize.key}", num_slots, presize.most_bytes)
    quarter = _total_memory() // 4 // sharers
    if wish == "memory":
        return _MemoryCache(quarter)
    expected = num_rows * presize.most_bytes * 3 // 4  # photos of 4:3 need two thirds of the most
    return _MemoryCache(AUTO_BYTES) if expected <= min(AUTO_BYTES, quarter) else None


def _total_memory() -> int:
    """Return the bytes of memory that the machine has or this process is allowed; 8 GB where the system does not say."""
    known = hasattr(os, "sysconf")  # not on Windows
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if known else 4 * AUTO_BYTES]
    for name in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):  # of a container
        file = Path(name)
        text = file.read_text(encoding="ascii").strip() if file.is_file() else ""
        limits += [int(text)] if text.isdigit() else []
    return min(limits)


def _opened(path: Path, num_bytes: int) -> FileIO:
    """Open a file of at least that size for reading and writing, whoever makes it first."""
    path.touch()
    file = FileIO(path, "r+")
    if path.stat().st_size < num_bytes:
        file.truncate(num_bytes)
    return file


def _write_at(file: FileIO, place: int, values: NDArray[np.generic]) -> None:
    """Write all bytes of an array; for one thread at a time.

    Raises:
        OSError: The disk is full.
    """
    data = np.ascontiguousarray(values).data.cast("B")
    file.seek(place)
    while data:
        data = data[file.write(data) :]
