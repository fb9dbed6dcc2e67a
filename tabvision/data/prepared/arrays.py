"""The files of a prepared table: arrays written block by block, and memory-mapped by every process that reads them."""

from __future__ import annotations

import contextlib
import errno
import mmap
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tabvision.data.tables.write import lock, writing
from tabvision.errors import UnwritableFileError


@final
class ArrayFiles(contextlib.ExitStack):
    """Files in numpy's format, written block by block instead of mapped, so that memory stays flat.

    Args:
        folder: The folder of the files.
        num_rows: The number of rows of each array.
        lengths: The number of rows, by name, of arrays that have another number.
    """

    def __init__(self, folder: Path, num_rows: int, lengths: Mapping[str, int]) -> None:
        super().__init__()
        self._folder, self._num_rows, self._lengths = folder, num_rows, lengths
        self.files: dict[str, IO[bytes]] = {}

    def write(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Append rows to each array; the first call raises if the complete arrays would not fit on the disk."""
        if not self.files:
            shapes = {name: (self._lengths.get(name, self._num_rows), *it.shape[1:]) for name, it in arrays.items()}
            needed = sum(int(np.prod(shape)) * arrays[name].itemsize for name, shape in shapes.items())
            if needed > shutil.disk_usage(self._folder).free:
                raise UnwritableFileError(self._folder.parent, OSError(errno.ENOSPC, ""))
            for name, array in arrays.items():
                self.files[name] = file = self.enter_context((self._folder / f"{name}.npy").open("wb"))
                dtype = np.lib.format.dtype_to_descr(array.dtype)
                facts = {"descr": dtype, "fortran_order": False, "shape": shapes[name]}
                np.lib.format.write_array_header_1_0(file, facts)
        for name, array in arrays.items():
            self.files[name].write(np.ascontiguousarray(array).data.cast("B") if array.size else b"")


def mapped(file: Path, files: dict[str, mmap.mmap] | None = None) -> Tensor:
    """Return a file as a tensor, whose pages all processes share until one writes to them.

    Args:
        file: A file in numpy's format.
        files: A dict to add the mapped file to, by name, for `MappedTensors`.

    Raises:
        OSError, EOFError, ValueError: The file is damaged or does not exist.
    """
    array = np.load(file, mmap_mode="c")
    if files is not None and isinstance(array.base, mmap.mmap):  # an empty array is not mapped
        files[str(file)] = array.base
    return torch.from_numpy(np.asarray(array))


def smallest(num_codes: int) -> np.dtype[Any]:
    """Return the smallest type, of those that torch can index, that holds codes up to `num_codes`."""
    return np.dtype(next((kind for kind in (np.uint8, np.int16) if num_codes <= np.iinfo(kind).max), np.int32))


@contextlib.contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """Run the block in one process of this machine at a time; if a process dies, the next one goes on."""
    with writing(folder):
        file = folder.with_name(f".{folder.name}.lock").open("wb")
    with file:
        lock(file, wait=True)
        yield


@contextlib.contextmanager
def replaced_whole(folder: Path) -> Iterator[Path]:
    """Yield a hidden sibling folder that replaces the folder when the block ends; leftovers of interruptions are removed.

    Raises:
        UnwritableFileError: The disk is full or read-only.
    """
    partial, old = folder.with_name(f".{folder.name}.partial"), folder.with_name(f".{folder.name}.old")
    for each in (partial, old):
        shutil.rmtree(each, ignore_errors=True)
    with writing(folder):
        partial.mkdir()
        try:
            yield partial
            if folder.exists():
                folder.replace(old)
            partial.replace(folder)
        finally:
            for each in (partial, old):
                shutil.rmtree(each, ignore_errors=True)
