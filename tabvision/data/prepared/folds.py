"""The folds of a prepared table: the fold of each training row, and the rows inside and outside each, as files to map."""

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

_BLOCK = 1 << 18  # rows at a time
_STREAM = 3  # of the random numbers of a row; others draw its part and whether it is shown

_FoldOf = Callable[[NDArray[Any]], NDArray[np.int64]]  # the folds of some training rows, block after block


@final
@dataclass(frozen=True)
class Folds:
    """The folds of the training rows.

    Args:
        fold: (N,) the fold of each row of the table that trains.
        inside: The rows of each fold.
        outside: The other training rows.
    """

    fold: Tensor
    inside: tuple[Tensor, ...]
    outside: tuple[Tensor, ...]


def folds_in(
    folder: Path, rows: Tensor, num_rows: int, num_folds: int, seed: int, *, codes: Tensor | None, groups: Tensor | None
) -> Folds:
    """Return the folds that a folder holds; else write them there, whole or not at all.

    They have the same number of rows, to within one, and each class is spread evenly over them: of as many rows one after the
    other, class by class, each is in another fold, in random order. Groups stay whole: large ones first, into the smallest
    fold.

    Args:
        folder: A folder of these folds alone, in that of the prepared table.
        rows: The positions of the training rows, in ascending order.
        num_rows: The number of all rows.
        num_folds: The number of folds.
        seed: Determines the folds.
        codes: (num_rows,) the class of each row; None to spread the rows themselves.
        groups: (num_rows,) a number for the group of each row, to be in one fold; None without groups.
    """
    with one_at_a_time(folder):
        try:
            return _opened(folder, num_folds)
        except (OSError, EOFError, ValueError):
            pass  # none, or damaged
        fold_of = _spread(rows, codes, num_folds, seed) if groups is None else _by_group(rows, groups, num_folds)
        with replaced_whole(folder) as partial:
            _write(partial, rows, num_rows, num_folds, fold_of)
        return _opened(folder, num_folds)


def _spread(rows: Tensor, codes: Tensor | None, num_folds: int, seed: int) -> _FoldOf:
    """Return how rows are spread over the folds: row k, counted class by class, is a random one of those of its lot."""

    def codes_of(some: NDArray[Any]) -> NDArray[np.int64]:
        return np.zeros(len(some), dtype=np.int64) if codes is None else codes.numpy()[some].astype(np.int64)

    counts = np.zeros(1, dtype=np.int64)
    for some in _blocks(rows):
        found = np.bincount(codes_of(some), minlength=len(counts))
        counts = found + np.pad(counts, (0, len(found) - len(counts)))
    seen = np.cumsum(counts) - counts  # the rows of smaller classes, and those of this one before

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
    """Return how groups are divided among the folds, by their numbers of rows."""
    # the groups and sizes of all rows so far, then those of blocks
    counted: list[tuple[NDArray[Any], NDArray[Any]]] = []
    for some in _blocks(rows):
        counted.append(np.unique(groups.numpy()[some], return_counts=True))
        if sum(len(names) for names, _ in counted[1:]) > len(counted[0][0]):  # later than that, not with every block
            counted = [_joined(counted)]
    names, sizes = _joined(counted)
    fold_of = folds_of_groups(sizes, num_folds)
    return lambda some: fold_of[np.searchsorted(names, groups.numpy()[some])]


def _joined(counted: list[tuple[NDArray[Any], NDArray[Any]]]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Return the groups of several blocks, in ascending order, and the number of rows of each."""
    names, inverse = np.unique(np.concatenate([names for names, _ in counted]), return_inverse=True)
    return names, np.bincount(inverse, np.concatenate([sizes for _, sizes in counted])).astype(np.int64)


def _write(folder: Path, rows: Tensor, num_rows: int, num_folds: int, fold_of: _FoldOf) -> None:
    """Write the fold of each row, then the rows inside and outside each fold, whose number is known by then."""
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
