"""Cache presized pixels, in memory or in files that processes share, so that the second epoch decodes nothing."""

from __future__ import annotations

import hashlib
import os
import sys
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

from tabvision import __version__
from tabvision.data.images.decode import Pixels
from tabvision.data.images.views import Presize
from tabvision.data.memory import memory_limit
from tabvision.errors import BadTypeError, BadValueError

_AUTO_BYTES = 2 * 2**30  # limit of "auto", or a quarter of the machine's memory if that is less
_PAGE = 4096
_SAMPLED = 4096  # bytes from the middle of a file, hashed to notice that it changed
# One row of entries.bin: the stamp of its source (0 for an empty slot), its pixels' checksum and size
_ENTRY = np.dtype([("stamp", "<u8"), ("checksum", "<u4"), ("height", "<u4"), ("width", "<u4"), ("unused", "<u4")])


class ImageCache(ABC):
    """A cache of pixels by row number."""

    @abstractmethod
    def stamp(self, row: int, file: str) -> int:
        """Return a number that changes when the row's file does; never 0."""

    @abstractmethod
    def get(self, row: int, stamp: int) -> Pixels | None:
        """Return the row's pixels if they are cached with that stamp, else None."""

    @abstractmethod
    def put(self, row: int, stamp: int, pixels: Pixels) -> None:
        """Store the row's pixels if there is room."""

    @abstractmethod
    def num_cached(self) -> int:
        """Return the number of cached rows, whether or not their files have changed since."""


@final
class _MemoryCache(ImageCache):
    """Pixels in this process's memory, up to a limit.

    No lock guards the limit, since a process forked while a thread holds the lock would wait for it forever. The price: two
    threads that write at once may count one image too few.
    """

    def __init__(self, most_bytes: int) -> None:
        self.bytes_left = most_bytes
        self._pixels: dict[int, Pixels] = {}

    @override
    def stamp(self, row: int, file: str) -> int:
        return 1  # files are not expected to change while a process runs

    @override
    def get(self, row: int, stamp: int) -> Pixels | None:
        return self._pixels.get(row)

    @override
    def put(self, row: int, stamp: int, pixels: Pixels) -> None:
        if row not in self._pixels and pixels.nbytes <= self.bytes_left:
            self._pixels[row] = pixels
            self.bytes_left -= pixels.nbytes

    @override
    def num_cached(self) -> int:
        return len(self._pixels)


@final
class _FolderCache(ImageCache):
    """Pixels in two files that ranks, workers and later runs share.

    Each row has its own slot, so two writers of one slot write the same pixels. A row is valid once its entry holds its
    source's stamp, and each process verifies the checksum of the pixels when it first reads them, so that whatever an
    interrupted writer left incomplete is decoded again. The files are sparse: empty slots take no disk space.

    Args:
        folder: Folder for the files; several settings may share it.
        key: Name of the settings that the pixels depend on.
        num_rows: Number of rows.
        slot_bytes: Size of one row's slot; larger images are not cached.
        channels: Number of channels of the images.

    Raises:
        BadValueError: The folder cannot be written.
    """

    def __init__(self, folder: str | Path, key: str, num_rows: int, slot_bytes: int, channels: int = 3) -> None:
        self.channels = channels
        self.slot_bytes = -(-slot_bytes // _PAGE) * _PAGE
        self.folder = Path(folder).expanduser() / f"v{__version__}-{key}-{num_rows}-{self.slot_bytes}"
        self.problem = ""
        self._checked: dict[int, int] = {}  # stamps of rows whose checksum this process has verified
        self._plain = np.zeros(num_rows, np.uint64)  # hashes of each file's size and time, as this process last saw it
        self._stamps = np.zeros(num_rows, np.uint64)  # each file's stamp at that time
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._pixels = _open_sized(self.folder / "pixels.bin", num_rows * self.slot_bytes)
            self._entries = _open_sized(self.folder / "entries.bin", num_rows * _ENTRY.itemsize, filled=True)
            self._read_pixels = np.memmap(self.folder / "pixels.bin", np.uint8, "r", shape=(num_rows, self.slot_bytes))
            self._read_entries = np.memmap(self.folder / "entries.bin", _ENTRY, "r", shape=(num_rows,))
        except OSError as error:
            problem = f"the cache {str(folder)!r} cannot be written: {error.strerror or error}"
            raise BadValueError(problem, "Pass another folder, or cache=None") from error
        for file in (self._pixels, self._entries):
            weakref.finalize(self, file.close)

    @override
    def stamp(self, row: int, file: str) -> int:
        plain = _hash(stamp_of(file))
        if self._plain[row] != plain:  # open the file once per process, and again if its size or time changes
            self._stamps[row] = _hash(stamp_of(file, with_sample=True))
            self._plain[row] = plain  # last: it tells other threads that the stamp is valid
        return int(self._stamps[row])

    @override
    def get(self, row: int, stamp: int) -> Pixels | None:
        if self._is_cut():
            return None
        entry = self._read_entries[row]
        if entry["stamp"] != stamp:
            return None
        height, width = int(entry["height"]), int(entry["width"])
        num_bytes = self.channels * height * width
        if not 0 < num_bytes <= self.slot_bytes:
            return None
        pixels: Pixels = self._read_pixels[row, :num_bytes]
        if self._checked.get(row) != stamp:
            if zlib.crc32(pixels.data) != entry["checksum"]:
                return None
            self._checked[row] = stamp
        return pixels.reshape(height, width, self.channels)

    def _is_cut(self) -> bool:
        """Return whether a file was cut short: reading mapped memory beyond its end would kill the process."""
        files = ((self._pixels, self._read_pixels), (self._entries, self._read_entries))
        return any(os.fstat(file.fileno()).st_size < mapped.nbytes for file, mapped in files)

    @override
    def put(self, row: int, stamp: int, pixels: Pixels) -> None:
        if pixels.nbytes > self.slot_bytes or self.problem:
            return
        entry = np.array([(stamp, zlib.crc32(pixels.data), *pixels.shape[:2], 0)], _ENTRY)
        try:
            _write_at(self._pixels, row * self.slot_bytes, pixels)
            _write_at(self._entries, row * _ENTRY.itemsize, entry)  # last: it marks the pixels as valid
        except OSError as error:
            self.problem = f"{str(self.folder)!r} takes no more: {error.strerror or error}"

    @override
    def num_cached(self) -> int:
        return 0 if self._is_cut() else int(np.count_nonzero(self._read_entries["stamp"]))


def make_cache(
    setting: str | Path | None, presize: Presize, num_rows: int, *, num_slots: int, part: str, num_processes: int = 1
) -> ImageCache | None:
    """Return the cache for a user's setting, or None for no cache.

    Args:
        setting: "auto" for memory if all rows fit into `_AUTO_BYTES` and into a quarter of the machine's memory, "memory" to
            use up to that quarter in any case, a folder, or None.
        presize: The size of cached images.
        num_rows: Number of images.
        num_slots: Number of row numbers, each of which gets a slot in a folder.
        part: Name of the part; a folder stores each part separately.
        num_processes: Number of processes on this machine, each with its own memory cache.

    Raises:
        BadTypeError: The setting is none of these.
        BadValueError: The folder cannot be written.
    """
    if setting is None:
        return None
    if not isinstance(setting, str | Path) or not str(setting):
        raise BadTypeError(f'cache must be "auto", "memory", a folder or None, got {setting!r}', "Pass one of these")
    if setting not in ("auto", "memory"):
        return _FolderCache(setting, f"{part}-{presize.key}", num_slots, presize.most_bytes, presize.channels)
    quarter = memory_limit(unknown=4 * _AUTO_BYTES) // 4 // num_processes
    if setting == "memory":
        return _MemoryCache(quarter)
    expected = num_rows * presize.most_bytes * 3 // 4  # 4:3 photos need two thirds of `most_bytes`
    return _MemoryCache(_AUTO_BYTES) if expected <= min(_AUTO_BYTES, quarter) else None


def stamp_of(file: str, *, with_sample: bool = False) -> bytes:
    """Return bytes that change when a file does: its path, size, modification time and optionally a sample of its middle.

    Raises:
        OSError: The file cannot be read.
    """
    facts, sample = os.stat(file), b""  # noqa: PTH116 - faster, for every image
    if with_sample:
        with open(file, "rb", buffering=0) as opened:  # noqa: PTH123 - faster, too
            opened.seek(max(0, facts.st_size - _SAMPLED) // 2)
            sample = opened.read(_SAMPLED)
    return f"{file}|{facts.st_size}|{facts.st_mtime_ns}|".encode(errors="surrogateescape") + sample


def _hash(text: bytes) -> int:
    """Return an eight-byte hash; never 0."""
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest()) or 1


def _open_sized(path: Path, num_bytes: int, *, filled: bool = False) -> FileIO:
    """Open a file of at least that size for reading and writing, creating it if no other process has.

    A sparse file takes no space until it is written to. A file whose holes may be read must be `filled`: on a full in-memory
    disk (tmpfs), reading a hole would kill the process.
    """
    path.touch()
    file = FileIO(path, "r+")
    if (size := path.stat().st_size) < num_bytes and filled:
        _write_at(file, size, np.zeros(num_bytes - size, np.uint8))
    elif size < num_bytes:
        file.truncate(num_bytes)
    return file


def _write_at(file: FileIO, offset: int, values: NDArray[np.generic]) -> None:
    """Write all bytes of an array at an offset, even while other threads or forked processes write to the same open file.

    Raises:
        OSError: The disk is full.
    """
    data = np.ascontiguousarray(values).data.cast("B")
    while data:
        number = _pwrite(file.fileno(), data, offset)
        data, offset = data[number:], offset + number


if sys.platform != "win32":
    _pwrite = os.pwrite  # does not move the file position, which forked processes share
else:
    _lock = threading.Lock()

    def _pwrite(file: int, data: memoryview, offset: int) -> int:
        with _lock:
            os.lseek(file, offset, os.SEEK_SET)
            return os.write(file, data)
