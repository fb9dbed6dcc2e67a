"""Split rows into training, validation and test: one small class for each way.

A split takes the frame and returns row numbers. It depends on the data and the seed alone, never on the process.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol, TypeAlias, Unpack, cast, final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from typing_extensions import override

from tabvision.counter_random import uniforms
from tabvision.data.tables.cells import Known
from tabvision.data.tables.text_file import TextFormat
from tabvision.errors import BadTypeError, BadValueError, MissingColumnsError, count, listed, speaking

Rows = NDArray[np.int64]
PartName = Literal["train", "val", "test", "calibration", "predict"]
TRAIN, VALIDATION, TEST = 0, 1, 2


PartOf: TypeAlias = Callable[[pd.DataFrame, Rows], NDArray[np.int8]]
"""The part of each row of a block, given the rows and their numbers."""


class Blocks(Protocol):
    """A table that is read block by block, since it does not fit in memory."""

    def column(self, name: str) -> Iterator[pd.Series]:
        """Yield the values of a column."""

    def num_rows(self) -> int:
        """Return the number of rows."""


@dataclass(frozen=True, eq=False)
class SplitRows:
    """The row numbers of each part, in ascending order; every row is in exactly one part."""

    train: Rows
    validation: Rows
    test: Rows
    calibration: Rows = field(default_factory=lambda: np.empty(0, dtype=np.int64))

    def numbers(self) -> dict[PartName, Rows]:
        """Return the row numbers of the parts that have any, by the name of the part in a datamodule."""
        found: dict[PartName, Rows] = {
            "train": self.train,
            "val": self.validation,
            "test": self.test,
            "calibration": self.calibration,
        }
        return {name: rows for name, rows in found.items() if len(rows)}


class Split(ABC):
    """A way to split rows into parts."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that only the split uses, and that are not features."""
        return ()

    def gather(
        self,
        frame: pd.DataFrame,
        known: Known | None = None,  # noqa: ARG002
        **form: Unpack[TextFormat],  # noqa: ARG002
    ) -> pd.DataFrame:
        """Return the frame with every row to split: the frame itself, unless the split adds rows of its own."""
        return frame

    def among(self, rows: Rows, num_rows: int) -> Split:  # noqa: ARG002
        """Return the split for a subset of the gathered frame: itself, unless it names rows by number.

        Args:
            rows: The row numbers of the subset, in ascending order.
            num_rows: The number of rows in the gathered frame.
        """
        return self

    def by_block(self, blocks: Blocks, target: Sequence[str], *, seed: int) -> PartOf:  # noqa: ARG002
        """Return how the rows of a table are split that is read block by block; each row by its number, or by its values.

        The fractions are met as expected of a draw of each row by itself.

        Args:
            blocks: The table.
            target: The columns to predict.
            seed: The random seed.

        Raises:
            BadTypeError: The split needs all rows at once.
        """
        remedy = "Pass a fraction, GroupSplit, TimeSplit, ColumnSplit, IndexSplit or SourceSplit"
        raise BadTypeError(f"{type(self).__name__} does not split a prepared table, which is read in blocks", remedy)

    @abstractmethod
    def __call__(self, frame: pd.DataFrame, target_codes: NDArray[Any] | None, *, seed: int) -> SplitRows:
        """Return the rows of each part.

        Args:
            frame: The gathered frame.
            target_codes: (N,) int class codes, or None if the target has no classes.
            seed: The random seed; the same seed gives the same parts.

        Raises:
            BadValueError: A part would be empty, or the frame lacks what the split needs.
        """


ShortSplit: TypeAlias = float | Split | tuple[float | None, float] | None


@final
@dataclass(frozen=True)
class _NoSplit(Split):
    """Every row trains, none validates."""

    @override
    def by_block(self, blocks: Blocks, target: Sequence[str], *, seed: int) -> PartOf:
        return lambda frame, _rows: np.zeros(len(frame), dtype=np.int8)

    @override
    def __call__(self, frame: pd.DataFrame, target_codes: NDArray[Any] | None, *, seed: int) -> SplitRows:
        nothing = np.empty(0, dtype=np.int64)
        return SplitRows(np.arange(len(frame), dtype=np.int64), nothing, nothing)


@final
@dataclass(frozen=True)
class RandomSplit(Split):
    """Split rows at random.

    Args:
        share: The fraction of the rows that validate, in (0, 1); with test rows it may be 0.
        test_share: The fraction of the rows that test, in [0, 1); it does not change the validation rows.

    Example:
        >>> parts = RandomSplit(0.2)(pd.DataFrame({"x": range(10)}), None, seed=0)
        >>> len(parts.train), len(parts.validation), len(parts.test)
        (8, 2, 0)
    """

    share: float = 0.2
    test_share: float = 0.0

    @speaking()
    def __post_init__(self) -> None:
        """Check the fractions."""
        check_fractions(self.share, self.test_share, test_alone=True)

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
class StratifiedSplit(Split):
    """Split rows at random, each class in the same proportion to within a row; every class has a row in training.

    Args:
        share: The fraction of the rows that validate, in (0, 1); with test rows it may be 0.
        test_share: The fraction of the rows that test, in [0, 1); it does not change the validation rows.

    Example:
        >>> codes = np.array([0] * 8 + [1] * 4)
        >>> parts = StratifiedSplit(0.25)(pd.DataFrame(index=range(12)), codes, seed=0)
        >>> np.bincount(codes[parts.validation]).tolist()
        [2, 1]
    """

    share: float = 0.2
    test_share: float = 0.0

    @speaking()
    def __post_init__(self) -> None:
        """Check the fractions."""
        check_fractions(self.share, self.test_share, test_alone=True)

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
        codes = _class_codes(target_codes, len(frame))
        generator = np.random.default_rng(seed)
        order = generator.permutation(len(codes))
        order = order[np.argsort(codes[order], kind="stable")]  # class by class, at random within each
        sizes = np.bincount(codes)
        validation = _apportion(sizes, self.share, sizes - 1, generator)
        test = _apportion(sizes, self.test_share, sizes - 1 - validation, generator)
        rank = np.arange(len(codes)) - np.repeat(np.cumsum(sizes) - sizes, sizes)  # of a row within its class
        in_validation = rank < np.repeat(validation, sizes)
        in_test = ~in_validation & (rank < np.repeat(validation + test, sizes))
        part = np.zeros(len(codes), dtype=np.int8)
        part[order[in_validation]], part[order[in_test]] = VALIDATION, TEST
        return parts_from(part, self.share, self.test_share)


def first_of_each() -> Callable[[pd.Series], NDArray[np.bool_]]:
    """Return a function that marks, block after block, the rows with a value that no row before them has.

    Example:
        >>> is_first = first_of_each()
        >>> is_first(pd.Series(["a", "a"])).tolist(), is_first(pd.Series(["a", "b"])).tolist()
        ([True, False], [False, True])
    """
    seen: set[Any] = set()

    def is_first(values: pd.Series) -> NDArray[np.bool_]:
        found = np.array(~values.duplicated())
        rows = np.flatnonzero(found)
        distinct = [*values.iloc[rows]]
        found[rows] = [value not in seen for value in distinct]
        seen.update(distinct)
        return found

    return is_first


def drawn_parts(draws: NDArray[np.float64], share: float, test_share: float) -> NDArray[np.int8]:
    """Return the part of each row by a number in [0, 1) that is drawn for it.

    Example:
        >>> drawn_parts(np.array([0.1, 0.25, 0.9]), 0.2, 0.1).tolist() == [VALIDATION, TEST, TRAIN]
        True
    """
    parts = np.select([draws < share, draws < share + test_share], [VALIDATION, TEST], TRAIN)
    return parts.astype(np.int8)


@speaking("split")
def as_split(value: ShortSplit, *, stratify: bool) -> Split:
    """Return the split that a short form stands for.

    Args:
        value: A fraction in (0, 1) of random validation rows, such a fraction or None and that of test rows, a split, or None
            for no validation rows.
        stratify: Whether a fraction is taken from each class.

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
    if isinstance(value, bool) or not isinstance(value, int | float):
        problem = f"split must be a fraction in (0, 1), a split object or None, got {value!r}"
        raise BadTypeError(problem, "Pass 0.2, or SourceSplit(validation=...) for rows from another source")
    return StratifiedSplit(value) if stratify else RandomSplit(value)


def kept_apart(
    parts: SplitRows,
    share: float | None,
    divide: Split,
    frame: pd.DataFrame,
    target_codes: NDArray[Any] | None,
    *,
    seed: int,
) -> SplitRows:
    """Return the parts with a share of the training rows kept apart for calibration, drawn as validation rows are.

    Args:
        parts: The parts of the rows.
        share: Fraction of the training rows in (0, 1), or None to keep none apart.
        divide: The split that made the parts: groups stay together, and of a `TimeSplit` the latest training rows are kept.
        frame: The rows.
        target_codes: (N,) int class codes, or None if the target has no classes.
        seed: The random seed.

    Example:
        >>> parts = SplitRows(np.arange(8), np.array([8, 9]), np.array([]))
        >>> found = kept_apart(parts, 0.25, RandomSplit(), pd.DataFrame({"x": range(10)}), None, seed=0)
        >>> len(found.train), len(found.calibration)
        (6, 2)
    """
    if share is None:
        return parts
    with speaking("calibration"):
        check_fractions(share, 0.0)
        if not 0 < round(share * len(parts.train)) < len(parts.train):
            problem = (
                f"{share:g} of {count(len(parts.train), 'training row')} leaves none to keep apart, or none to train on"
            )
            raise BadValueError(problem, "Pass more rows, or another fraction (calibration=, --calibration)")
        has_shares = hasattr(divide, "test_share")
        way = (
            replace(cast("Any", divide), share=share, test_share=0.0)
            if has_shares
            else as_split(share, stratify=target_codes is not None)
        )
        codes = None if target_codes is None else target_codes[parts.train]
        found = way(frame.iloc[parts.train], codes, seed=seed)
    return replace(parts, train=parts.train[found.train], calibration=parts.train[found.validation])


def parts_from(
    part: NDArray[Any], share: float | None = None, test_share: float = 0.0, *, remedy: str = ""
) -> SplitRows:
    """Return the row numbers of each part, given the part of each row.

    Raises:
        BadValueError: No row would train or validate, or none would test although `test_share` is above 0.
    """
    parts = SplitRows(*(np.flatnonzero(part == number).astype(np.int64) for number in (TRAIN, VALIDATION, TEST)))
    wanted = {"training": parts.train, "validation": parts.validation} | ({"test": parts.test} if test_share else {})
    wanted = {name: rows for name, rows in wanted.items() if name != "validation" or share != 0}
    for name, rows in wanted.items():
        if not len(rows):
            fractions = (
                "" if share is None else f" (share {share:g}" + (f", test {test_share:g})" if test_share else ")")
            )
            problem = f"the {name} part of {count(len(part), 'row')} would be empty{fractions}"
            raise BadValueError(problem, remedy or "Pass more rows, or another fraction (split=, --validation)")
    return parts


def check_fractions(share: object, test_share: object, *, test_alone: bool = False) -> None:
    """Raise if a fraction is not a number or out of range, or if both leave no rows for training.

    Args:
        share: The fraction that validates.
        test_share: The fraction that tests.
        test_alone: Whether no row need validate if some test.
    """
    for name, value in (("share", share), ("test_share", test_share)):
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise BadTypeError(f"{name} must be a number, got {value!r}", "Pass a fraction of the rows such as 0.2")
        if not (0 < value < 1 or (value == 0 and (name == "test_share" or (test_alone and test_share)))):
            bounds = "(0, 1)" if name == "share" else "[0, 1)"
            raise BadValueError(
                f"{name} must lie in {bounds}, got {value!r}", "Pass a fraction of the rows such as 0.2"
            )
    if share + test_share >= 1:  # type: ignore[operator]  # both numbers, checked above
        problem = f"share {share:g} and test_share {test_share:g} leave no rows for training"
        raise BadValueError(problem, "Let them add up to less than 1")


def split_column(frame: pd.DataFrame, column: str) -> pd.Series:
    """Return the column that a split uses; raise if the frame lacks it or it has missing values."""
    if column not in frame.columns:
        raise MissingColumnsError([column], frame.columns, f"The split needs it; columns are {listed(frame.columns)}")
    values = frame[column]
    if missing := int(values.isna().sum()):
        number = f"{count(missing, 'value')} of it {'is' if missing == 1 else 'are'} missing"
        problem = f"column {column!r} decides the split, but {number}"
        raise BadValueError(problem, f"Fill them, or leave the rows out: frame.dropna(subset=[{column!r}])")
    return values


def factorized(frame: pd.DataFrame, column: str) -> tuple[NDArray[np.intp], list[Any]]:
    """Return for each row the index of its value among the distinct values of a split's column, and these values."""
    values = split_column(frame, column)
    try:
        codes, distinct = pd.factorize(values)
    except TypeError as error:
        problem = f"column {column!r} holds values that cannot be compared ({error})"
        raise BadTypeError(problem, "Turn them into text or numbers") from error
    return codes, distinct.tolist()


def _class_codes(target_codes: NDArray[Any] | None, num_rows: int) -> NDArray[Any]:
    remedy = "Use RandomSplit"
    if target_codes is None or target_codes.ndim != 1 or not np.issubdtype(target_codes.dtype, np.integer):
        raise BadTypeError("needs a target of classes, one per row", remedy)
    if len(target_codes) != num_rows or (num_rows and target_codes.min() < 0):
        raise BadValueError("needs a class for every row", remedy)
    # 16 bits sort by radix: ten times as fast on millions of rows
    return target_codes.astype(np.int16) if num_rows and target_codes.max() < 2**15 else target_codes


def _apportion(
    sizes: NDArray[np.int64], fraction: float, limits: NDArray[np.int64], generator: np.random.Generator
) -> NDArray[np.int64]:
    """Return the number of rows to take from each class: its fraction, rounded down or up to give that fraction of all rows.

    The classes with the largest remainders are rounded up, ties at random; no class gives more than its limit.
    """
    quota = sizes * fraction
    taken = np.floor(quota).astype(np.int64)
    wanted = round(fraction * int(sizes.sum())) - int(taken.sum())
    shuffled = generator.permutation(len(sizes))
    by_remainder = shuffled[np.argsort((taken - quota)[shuffled], kind="stable")]
    can_give = by_remainder[(taken < limits)[by_remainder] & (quota > taken)[by_remainder]]
    taken[can_give[: max(0, wanted)]] += 1
    return np.asarray(np.minimum(taken, np.maximum(limits, 0)))
