"""Random splits by row, class or group, and the folds of the training rows."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from typing_extensions import override

from tabvision.checks import is_number
from tabvision.counter_random import uniforms
from tabvision.data.splits.base import (
    TEST,
    TRAIN,
    VALIDATION,
    Blocks,
    FractionSplit,
    PartOf,
    Rows,
    Split,
    SplitRows,
    drawn_parts,
    factorized,
    first_of_each,
    group_column,
    parts_from,
)
from tabvision.errors import BadTypeError, BadValueError, count, speaking
from tabvision.plain import LARGEST_EXACT

ShortSplit: TypeAlias = float | Split | tuple[float | None, float] | None


@final
@dataclass(frozen=True)
class _NoSplit(Split):
    """Use every row for training and none for validation."""

    @override
    def by_block(self, blocks: Blocks, target: Sequence[str], *, seed: int) -> PartOf:
        return lambda frame, _rows: np.zeros(len(frame), dtype=np.int8)

    @override
    def __call__(self, frame: pd.DataFrame, target_codes: NDArray[Any] | None, *, seed: int) -> SplitRows:
        nothing = np.empty(0, dtype=np.int64)
        return SplitRows(np.arange(len(frame), dtype=np.int64), nothing, nothing)


@final
@dataclass(frozen=True)
class RandomSplit(FractionSplit):
    """Split rows at random.

    Args:
        share: The fraction of rows for validation, in (0, 1); with test rows it may be 0.
        test_share: The fraction of rows for testing, in [0, 1); it does not change the validation rows.

    Example:
        >>> parts = RandomSplit(0.2)(pd.DataFrame({"x": range(10)}), None, seed=0)
        >>> len(parts.train), len(parts.validation), len(parts.test)
        (8, 2, 0)
    """

    share: float = 0.2
    test_share: float = 0.0

    @override
    def by_block(self, blocks: Blocks, target: Sequence[str], *, seed: int) -> PartOf:
        return lambda _frame, rows: drawn_parts(uniforms(seed, 0, rows, 1)[:, 0], self.share, self.test_share)

    @override
    @speaking()
    def __call__(self, frame: pd.DataFrame, target_codes: NDArray[Any] | None, *, seed: int) -> SplitRows:
        order = np.random.default_rng(seed).permutation(len(frame))
        first, second = round(self.share * len(frame)), round(self.test_share * len(frame))
        part = np.zeros(len(frame), dtype=np.int8)
        part[order[:first]], part[order[first : first + second]] = VALIDATION, TEST
        return parts_from(part, self.share, self.test_share)


@final
@dataclass(frozen=True)
class StratifiedSplit(FractionSplit):
    """Split rows at random, each class in the same proportion to within one row, with every class in training.

    Args:
        share: The fraction of rows for validation, in (0, 1); with test rows it may be 0.
        test_share: The fraction of rows for testing, in [0, 1); it does not change the validation rows.

    Example:
        >>> codes = np.array([0] * 8 + [1] * 4)
        >>> parts = StratifiedSplit(0.25)(pd.DataFrame(index=range(12)), codes, seed=0)
        >>> np.bincount(codes[parts.validation]).tolist()
        [2, 1]
    """

    share: float = 0.2
    test_share: float = 0.0

    @override
    def by_block(self, blocks: Blocks, target: Sequence[str], *, seed: int) -> PartOf:
        random, is_first = RandomSplit(self.share, self.test_share).by_block(blocks, target, seed=seed), first_of_each()

        def part_of(frame: pd.DataFrame, rows: Rows) -> NDArray[np.int8]:
            found = random(frame, rows)
            found[is_first(frame[target[0]])] = TRAIN  # every class has a row in training
            return found

        return part_of

    @override
    @speaking()
    def __call__(self, frame: pd.DataFrame, target_codes: NDArray[Any] | None, *, seed: int) -> SplitRows:
        remedy = "Use RandomSplit"
        if target_codes is None or target_codes.ndim != 1 or not np.issubdtype(target_codes.dtype, np.integer):
            raise BadTypeError("a stratified split needs one class per row", remedy)
        if len(target_codes) != len(frame) or (len(frame) and target_codes.min() < 0):
            raise BadValueError("a stratified split needs a class for every row", remedy)
        # numpy sorts 16-bit integers by radix, ten times as fast on millions of rows
        codes = target_codes.astype(np.int16) if len(frame) and target_codes.max() < 2**15 else target_codes
        generator = np.random.default_rng(seed)
        order = generator.permutation(len(codes))
        order = order[np.argsort(codes[order], kind="stable")]  # sorted by class, random within each
        sizes = np.bincount(codes)
        validation = _apportion(sizes, self.share, sizes - 1, generator)
        test = _apportion(sizes, self.test_share, sizes - 1 - validation, generator)
        rank = np.arange(len(codes)) - np.repeat(np.cumsum(sizes) - sizes, sizes)  # a row's position within its class
        in_validation = rank < np.repeat(validation, sizes)
        in_test = ~in_validation & (rank < np.repeat(validation + test, sizes))
        part = np.zeros(len(codes), dtype=np.int8)
        part[order[in_validation]], part[order[in_test]] = VALIDATION, TEST
        return parts_from(part, self.share, self.test_share)


@final
@dataclass(frozen=True)
class GroupSplit(FractionSplit):
    """Split whole groups at random, so that no value of the column is in two parts.

    Args:
        column: The column with the group of each row, such as a patient; it is not a feature.
        share: The fraction of rows for validation, in (0, 1), met as closely as the drawn groups allow; with test rows it
            may be 0.
        test_share: The fraction of rows for testing, in [0, 1).

    Example:
        >>> frame = pd.DataFrame({"patient": ["a", "a", "b", "b", "c"]})
        >>> parts = GroupSplit("patient", 0.4)(frame, None, seed=0)
        >>> set(frame.patient[parts.train]) & set(frame.patient[parts.validation])
        set()
    """

    column: str
    share: float = 0.2
    test_share: float = 0.0

    @property
    @override
    def columns(self) -> tuple[str, ...]:
        return (self.column,)

    @override
    def by_block(self, blocks: Blocks, target: Sequence[str], *, seed: int) -> PartOf:
        return lambda frame, _rows: drawn_parts(
            uniforms(seed, 0, self.hashes(frame), 1)[:, 0], self.share, self.test_share
        )

    def hashes(self, frame: pd.DataFrame) -> NDArray[np.int64]:
        """Return a hash of each row's group, the same in every block and process."""
        values = _comparable(group_column(frame, self.column))
        found: NDArray[np.int64] = pd.util.hash_pandas_object(values, index=False).to_numpy(np.uint64).view(np.int64)
        return found

    @override
    @speaking()
    def __call__(self, frame: pd.DataFrame, target_codes: NDArray[Any] | None, *, seed: int) -> SplitRows:
        codes, groups = factorized(frame, self.column)
        needed = 1 + (self.share > 0) + (self.test_share > 0)
        if len(groups) < needed:
            problem = f"column {self.column!r} has {count(len(groups), 'group')}, {needed} parts need at least {needed}"
            raise BadValueError(problem, "Use another column, or RandomSplit")
        order = np.random.default_rng(seed).permutation(len(groups))
        sizes = np.bincount(codes)
        part = np.full(len(groups), TRAIN, dtype=np.int8)
        spare = 1 if self.test_share else 0
        if self.share:
            part[_draw_groups(order[: len(order) - 1 - spare], sizes, self.share * len(frame))] = VALIDATION
        if self.test_share:
            rest = order[part[order] == TRAIN]
            part[_draw_groups(rest[:-1], sizes, self.test_share * len(frame))] = TEST
        return parts_from(part[codes], self.share, self.test_share)


def as_split(value: ShortSplit, *, stratify: bool) -> Split:
    """Return the split that a short form stands for.

    Args:
        value: The fraction of random validation rows in (0, 1), a pair of that (or None) and the fraction of test rows, a
            split, or None for no validation rows.
        stratify: Whether to take the fraction from each class.

    Raises:
        BadTypeError: The value has another type.

    Example:
        >>> as_split(0.2, stratify=True)
        StratifiedSplit(share=0.2, test_share=0.0)
    """
    if value is None:
        return _NoSplit()
    if isinstance(value, Split):
        return value
    if isinstance(value, tuple | list) and len(value) == 2:
        return (StratifiedSplit if stratify else RandomSplit)(0 if value[0] is None else value[0], value[1])
    if not is_number(value):
        problem = f"split must be a fraction in (0, 1), a split object or None, got {value!r}"
        raise BadTypeError(problem, "Pass 0.2, or SourceSplit(validation=...) for rows from another source")
    return StratifiedSplit(value) if stratify else RandomSplit(value)


def assign_folds(
    num_rows: int, num_folds: int, *, seed: int, codes: NDArray[Any] | None = None, groups: NDArray[Any] | None = None
) -> NDArray[np.int64]:
    """Return the fold of each row, (num_rows,) int64 from 0; sizes differ by at most one row, unless groups stay together.

    Args:
        num_rows: Number of rows.
        num_folds: Number of folds; with fewer rows or groups some folds are empty.
        seed: Determines the folds.
        codes: The class of each row, so that each fold gets an equal part of every class.
        groups: The group of each row, so that all rows of a group are in the same fold.

    Example:
        >>> np.bincount(assign_folds(10, 4, seed=0)).tolist()
        [3, 3, 2, 2]
        >>> assign_folds(5, 2, seed=0, groups=np.array(["a", "a", "b", "a", "b"])).tolist()
        [0, 0, 1, 0, 1]
    """
    order = np.random.default_rng((seed, num_folds)).permutation(num_rows)
    if groups is not None:
        _, numbers, sizes = np.unique(groups, return_inverse=True, return_counts=True)
        return folds_of_groups(sizes, num_folds)[numbers.reshape(-1)]
    if codes is not None:
        order = order[np.argsort(codes[order], kind="stable")]
    folds = np.empty(num_rows, dtype=np.int64)
    folds[order] = np.arange(num_rows) % num_folds
    return folds


def folds_of_groups(sizes: NDArray[np.int64], num_folds: int) -> NDArray[np.int64]:
    """Assign each group to a fold, given the groups' numbers of rows: large ones first, each to the smallest fold.

    Example:
        >>> folds_of_groups(np.array([2, 5, 2]), 2).tolist()
        [1, 0, 1]
    """
    folds = [(0, fold) for fold in range(num_folds)]  # a heap of each fold's size
    fold_of = np.empty(len(sizes), dtype=np.int64)
    for group in np.argsort(-sizes, kind="stable").tolist():
        filled, fold = folds[0]
        heapq.heapreplace(folds, (filled + int(sizes[group]), fold))
        fold_of[group] = fold
    return fold_of


def _apportion(
    sizes: NDArray[np.int64], fraction: float, limits: NDArray[np.int64], generator: np.random.Generator
) -> NDArray[np.int64]:
    """Return the number of rows to take from each class, rounded so that the total is the fraction of all rows.

    The classes with the largest remainders are rounded up, with random ties; no class gives more than its limit.
    """
    quota = sizes * fraction
    taken = np.floor(quota).astype(np.int64)
    wanted = round(fraction * int(sizes.sum())) - int(taken.sum())
    shuffled = generator.permutation(len(sizes))
    by_remainder = shuffled[np.argsort((taken - quota)[shuffled], kind="stable")]
    can_give = by_remainder[(taken < limits)[by_remainder] & (quota > taken)[by_remainder]]
    taken[can_give[: max(0, wanted)]] += 1
    return np.asarray(np.minimum(taken, np.maximum(limits, 0)))


def _comparable(values: pd.Series) -> pd.Series:
    """Return values whose hashes are equal whenever they are, since the files of one table may differ in dtype.

    Example:
        >>> _comparable(pd.Series([2.0, 0.5])).iloc[0].item(), _comparable(pd.Series([2], dtype="int8")).iloc[0].item()
        (2, 2)
    """
    if values.dtype.kind in "mM":
        return values.dt.as_unit("us")
    if not pd.api.types.is_numeric_dtype(values):
        return values
    numbers = values.to_numpy()
    if numbers.dtype.kind != "f":
        return pd.Series(numbers.astype(np.int64, copy=False))
    floats = numbers.astype(np.float64, copy=False)
    is_whole = (floats % 1 == 0) & (np.abs(floats) < LARGEST_EXACT)
    return pd.Series(np.where(is_whole, np.where(is_whole, floats, 0).astype(np.int64), floats.view(np.int64)))


def _draw_groups(candidates: NDArray[Any], sizes: NDArray[Any], wanted: float) -> list[int]:
    """Take groups in the given order, skipping any that would miss `wanted` rows by more; return at least one."""
    drawn, missing = [], wanted
    for group in candidates.tolist():
        if missing <= 0:
            break
        if sizes[group] < 2 * missing:
            drawn.append(group)
            missing -= int(sizes[group])
    return drawn or [int(candidates[np.argmin(sizes[candidates])])]
