"""Split rows into training, validation and test: the base classes and what all splits share.

A split takes the frame and returns row numbers. It depends only on the data and the seed, never on the process.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias, Unpack

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tabvision.checks import check_fraction, check_present
from tabvision.data.tables.cells import Known
from tabvision.data.tables.text_file import TextFormat
from tabvision.errors import BadTypeError, BadValueError, count, listed, speaking
from tabvision.plain import check_digits

Rows = NDArray[np.int64]
PartName = Literal["train", "val", "test", "calibration", "predict"]
TRAIN, VALIDATION, TEST = 0, 1, 2
FRACTION = "Pass a fraction of the rows such as 0.2"  # what to do about a wrong fraction


PartOf: TypeAlias = Callable[[pd.DataFrame, Rows], NDArray[np.int8]]
"""A function from a block of rows and their numbers to the part of each row."""


class Blocks(Protocol):
    """A table that does not fit in memory and is read block by block."""

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
        """Return the row numbers of the parts that are not empty, by the part's name in a datamodule."""
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
        """Columns that are used only by the split, not as features."""
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
        """Return the split for a subset of the gathered frame: itself, unless it refers to row numbers.

        Args:
            rows: The row numbers of the subset, in ascending order.
            num_rows: The number of rows in the gathered frame.
        """
        return self

    def by_block(self, blocks: Blocks, target: Sequence[str], *, seed: int) -> PartOf:  # noqa: ARG002
        """Return a function that splits the rows of a table read block by block, each by its number or its values.

        Each row is drawn independently, so the fractions are met only on average.

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
            BadValueError: A part would be empty, or the frame lacks something that the split needs.
        """


def first_of_each() -> Callable[[pd.Series], NDArray[np.bool_]]:
    """Return a function that marks, block after block, the rows where a value occurs for the first time.

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
    """Return the part of each row, given a random number in [0, 1) for each.

    Example:
        >>> drawn_parts(np.array([0.1, 0.25, 0.9]), 0.2, 0.1).tolist() == [VALIDATION, TEST, TRAIN]
        True
    """
    parts = np.select([draws < share, draws < share + test_share], [VALIDATION, TEST], TRAIN)
    return parts.astype(np.int8)


class FractionSplit(Split):
    """A split into fractions of the rows, its `share` and `test_share`."""

    share: float
    test_share: float

    @speaking()
    def __post_init__(self) -> None:
        """Raise if a fraction is out of range, or if none remains for training; `share` may be 0 with a test part."""
        check_fraction("test_share", self.test_share, remedy=FRACTION)
        check_fraction("share", self.share, "[)" if self.test_share else "()", remedy=FRACTION)
        if self.share + self.test_share >= 1:
            problem = f"share {self.share:g} and test_share {self.test_share:g} leave no rows for training"
            raise BadValueError(problem, "Let them add up to less than 1")


def parts_from(
    part: NDArray[Any], share: float | None = None, test_share: float = 0.0, *, remedy: str = ""
) -> SplitRows:
    """Return the row numbers of each part, given the part of each row.

    Raises:
        BadValueError: Training or validation would have no rows, or testing none although `test_share` is above 0.
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


def split_column(frame: pd.DataFrame, column: str) -> pd.Series:
    """Return the column that a split uses; raise if the frame lacks it or it has missing values."""
    check_present([column], frame.columns, f"The split needs it; columns are {listed(frame.columns)}")
    values = frame[column]
    if missing := int(values.isna().sum()):
        problem = f"column {column!r} decides the split, but has {count(missing, 'missing value')}"
        raise BadValueError(problem, f"Fill them in, or leave the rows out: frame.dropna(subset=[{column!r}])")
    return values


def group_column(frame: pd.DataFrame, column: str) -> pd.Series:
    """Return the column of groups; raise like `split_column`, or if it holds floats that have lost digits."""
    values = split_column(frame, column)
    if pd.api.types.is_float_dtype(values):
        check_digits(values.to_numpy(), column)
    return values


def factorized(frame: pd.DataFrame, column: str) -> tuple[NDArray[np.intp], list[Any]]:
    """Return each row's index among the distinct values of a split's column, and these values."""
    values = group_column(frame, column)
    try:
        codes, distinct = pd.factorize(values)
    except (TypeError, NotImplementedError) as error:  # for pyarrow's lists
        problem = f"column {column!r} holds values that cannot be compared ({error})"
        raise BadTypeError(problem, "Turn them into text or numbers") from error
    return codes, distinct.tolist()
