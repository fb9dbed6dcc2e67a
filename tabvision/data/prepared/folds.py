"""The folds of a prepared table, as files to map: the fold of each training row, and the rows inside and outside each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from tabvision.counter_random import uniforms
from tabvision.data.prepared.arrays import ArrayFiles, mapped, one_at_a_time, replaced_whole, smallest
from tabvision.data.splits.random import folds_of_groups

_BLOCK = 1 << 18  # rows per step
_STREAM = 3  # of a row's random numbers; others decide its part and whether the sample has it

_FoldOf = Callable[[NDArray[Any]], NDArray[np.int64]]  # returns the folds of the next block of training rows


@final
@dataclass(frozen=True)
class Folds:
    """The folds of the training rows.

    Args:
        fold: (N,) fold of each row of the table, meaningful only for training rows.
        inside: The rows in each fold.
        outside: The training rows outside each fold.
    """

    fold: Tensor
    inside: tuple[Tensor, ...]
    outside: tuple[Tensor, ...]


def folds_in(
    folder: Path, rows: Tensor, num_rows: int, num_folds: int, seed: int, *, codes: Tensor | None, groups: Tensor | None
) -> Folds:
    """Return the folds in a folder; if there are none, write them there, all or nothing.

    Folds differ by at most one row, and each class is spread evenly over them: rows are taken class by class, and every
    `num_folds` consecutive ones go to different folds in random order. Groups stay whole instead: each, the largest first,
    goes to the smallest fold.

    Args:
        folder: A folder for just these folds, inside that of the prepared table.
        rows: The positions of the training rows, in ascending order.
        num_rows: The total number of rows.
        num_folds: The number of folds.
        seed: Determines the folds.
        codes: (num_rows,) class of each row; None not to stratify.
        groups: (num_rows,) group number of each row, to keep groups in one fold; None without groups.
    """
    with one_at_a_time(folder):
        try:
            return _opened(folder, num_folds)
        except (OSError, EOFError, ValueError):
            pass  # there are none, or they are damaged
        fold_of = _spread(rows, codes, num_folds, seed) if groups is None else _by_group(rows, groups, num_folds)
        with replaced_whole(folder) as partial:
            _write(partial, rows, num_rows, num_folds, fold_of)
        return _opened(folder, num_folds)


def _spread(rows: Tensor, codes: Tensor | None, num_folds: int, seed: int) -> _FoldOf:
    """Return the stratified assignment: a random permutation of the folds for every `num_folds` rows, class by class."""

    def codes_of(some: NDArray[Any]) -> NDArray[np.int64]:
        return np.zeros(len(some), dtype=np.int64) if codes is None else codes.numpy()[some].astype(np.int64)

    counts = np.zeros(1, dtype=np.int64)
    for some in _blocks(rows):
        found = np.bincount(codes_of(some), minlength=len(counts))
        counts = found + np.pad(counts, (0, len(found) - len(counts)))
    seen = np.cumsum(counts) - counts  # the rows of lower classes, and those of this class so far

    def fold_of(some: NDArray[Any]) -> NDArray[np.int64]:
        classes = codes_of(some)
        order, sizes = np.argsort(classes, kind="stable"), np.bincount(classes, minlength=len(seen))
        number = np.empty(len(some), dtype=np.int64)
        number[order] = np.arange(len(some)) + np.repeat(seen - (np.cumsum(sizes) - sizes), sizes)
        seen[:] += sizes
        lot, within = np.divmod(number, num_folds)
        return np.argsort(uniforms(seed, _STREAM, lot, num_folds), axis=1)[np.arange(len(some)), within]

    return fold_of


def _by_group(rows: Tensor, groups: Tensor, num_folds: int) -> _FoldOf:
    """Return the assignment of whole groups to folds, balanced by their numbers of rows."""
    # first the groups and sizes merged so far, then those of each block since
    counted: list[tuple[NDArray[Any], NDArray[Any]]] = []
    for some in _blocks(rows):
        counted.append(np.unique(groups.numpy()[some], return_counts=True))
        if sum(len(names) for names, _ in counted[1:]) > len(counted[0][0]):  # merge rarely, not at every block
            counted = [_joined(counted)]
    names, sizes = _joined(counted)
    fold_of = folds_of_groups(sizes, num_folds)
    return lambda some: fold_of[np.searchsorted(names, groups.numpy()[some])]


def _joined(counted: list[tuple[NDArray[Any], NDArray[Any]]]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Merge the groups of several blocks: return them in ascending order, with the number of rows in each."""
    names, inverse = np.unique(np.concatenate([names for names, _ in counted]), return_inverse=True)
    return names, np.bincount(inverse, np.concatenate([sizes for _, sizes in counted])).astype(np.int64)


def _write(folder: Path, rows: Tensor, num_rows: int, num_folds: int, fold_of: _FoldOf) -> None:
    """Write the fold of each row, then the rows inside and outside each fold, once their numbers are known."""
    sizes, end = np.zeros(num_folds, dtype=np.int64), 0
    with ArrayFiles(folder, num_rows, {}) as arrays:
        for some in _blocks(rows):
            first, end = end, int(some[-1]) + 1
            folds, of_rows = np.zeros(end - first, dtype=smallest(num_folds)), fold_of(some)
            folds[some - first] = of_rows
            sizes += np.bincount(of_rows, minlength=num_folds)
            arrays.write({"fold": folds})
        arrays.write({"fold": np.zeros(num_rows - end, dtype=smallest(num_folds))})
    fold = mapped(folder / "fold.npy").numpy()
    lengths = {f"inside_{each}": int(size) for each, size in enumerate(sizes)}
    lengths |= {f"outside_{each}": len(rows) - int(size) for each, size in enumerate(sizes)}
    with ArrayFiles(folder, num_rows, lengths) as arrays:
        for some in _blocks(rows):
            is_inside = {each: fold[some] == each for each in range(num_folds)}
            found = {f"inside_{each}": some[mask] for each, mask in is_inside.items()}
            arrays.write(found | {f"outside_{each}": some[~mask] for each, mask in is_inside.items()})


def _blocks(rows: Tensor) -> Iterator[NDArray[Any]]:
    return (rows[start : start + _BLOCK].numpy() for start in range(0, len(rows), _BLOCK))


def _opened(folder: Path, num_folds: int) -> Folds:
    inside, outside = (
        tuple(mapped(folder / f"{name}_{each}.npy") for each in range(num_folds)) for name in ("inside", "outside")
    )
    return Folds(mapped(folder / "fold.npy"), inside, outside)
