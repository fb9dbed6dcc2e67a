"""Splits given by a column, by row numbers, or by separate sources."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Unpack, final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from typing_extensions import override

from tabvision.checks import check_present
from tabvision.counter_random import uniforms
from tabvision.data.splits.base import (
    TEST,
    TRAIN,
    VALIDATION,
    Blocks,
    PartOf,
    Rows,
    Split,
    SplitRows,
    drawn_parts,
    factorized,
    parts_from,
)
from tabvision.data.splits.random import as_split
from tabvision.data.tables.cells import Known
from tabvision.data.tables.read import Source, read_frame
from tabvision.data.tables.text_file import TextFormat
from tabvision.errors import BadTypeError, BadValueError, count, listed, speaking

PART_COLUMN = "__part__"  # the column in which SourceSplit records the source of each row


@final
@dataclass(frozen=True)
class ColumnSplit(Split):
    """Split by a column that names the part of each row, ignoring case.

    Args:
        column: The name of the column, which is not a feature.
        train: Values for training rows.
        validation: Values for validation rows.
        test: Values for test rows.

    Example:
        >>> frame = pd.DataFrame({"part": ["train", "Valid", "train"]})
        >>> ColumnSplit("part")(frame, None, seed=0).validation.tolist()
        [1]
    """

    column: str
    train: tuple[str, ...] = ("train", "training", "false", "0")
    validation: tuple[str, ...] = ("valid", "validation", "val", "dev", "true", "1")
    test: tuple[str, ...] = ("test", "testing")

    def __post_init__(self) -> None:
        """Turn a single value into a tuple."""
        for name in ("train", "validation", "test"):
            values = getattr(self, name)
            values = (values,) if isinstance(values, str) else values
            object.__setattr__(self, name, tuple(map(_as_word, values)))

    @property
    @override
    def columns(self) -> tuple[str, ...]:
        return (self.column,)

    @override
    def by_block(self, blocks: Blocks, target: Sequence[str], *, seed: int) -> PartOf:
        return lambda frame, _rows: self._parts(frame)

    @override
    @speaking()
    def __call__(self, frame: pd.DataFrame, target_codes: NDArray[Any] | None, *, seed: int) -> SplitRows:
        return parts_from(self._parts(frame), remedy=f"Check the values of column {self.column!r}")

    def _parts(self, frame: pd.DataFrame) -> NDArray[np.int8]:
        codes, values = factorized(frame, self.column)
        words = {**dict.fromkeys(self.test, TEST), **dict.fromkeys(self.train, TRAIN)}
        words |= dict.fromkeys(self.validation, VALIDATION)
        if unknown := [repr(value) for value in values if _as_word(value) not in words]:
            problem = f"column {self.column!r} holds values that name no part: {listed(unknown)}"
            known = f"train={list(self.train)}, validation={list(self.validation)}, test={list(self.test)}"
            raise BadValueError(problem, f"Correct them, or pass the values of each part; now {known}")
        return np.array([words[_as_word(value)] for value in values], dtype=np.int8)[codes]


@final
@dataclass(frozen=True, eq=False)
class IndexSplit(Split):
    """Split by row numbers, or by a mask.

    Args:
        validation: Row numbers from 0, or one bool per row. A frame's labels, as in `IndexSplit(held_out.index)`, only where
            they are its row numbers.
        test: The same for the test part.

    Example:
        >>> IndexSplit([2, 0])(pd.DataFrame({"x": [5, 6, 7]}), None, seed=0).validation.tolist()
        [0, 2]
    """

    validation: Sequence[int]
    test: Sequence[int] = ()

    @override
    @speaking()
    def gather(self, frame: pd.DataFrame, known: Known | None = None, **form: Unpack[TextFormat]) -> pd.DataFrame:
        for name in ("validation", "test"):
            given: Any = getattr(self, name)
            is_mask = isinstance(given, pd.Series) and pd.api.types.is_bool_dtype(given)
            if is_mask and not given.index.equals(frame.index):
                problem = f"the index of the mask for {name} differs from the frame's"
                remedy = "Take the mask from the frame, or pass its values in the order of the frame: mask.to_numpy()"
                raise BadValueError(problem, remedy)
            if isinstance(given, pd.Index) and not np.array_equal(frame.index, np.arange(len(frame))):
                problem = f"{name} is an index of labels, and the frame's labels are not its row numbers"
                raise BadValueError(problem, "Pass row numbers: frame.index.get_indexer(labels)")
        return super().gather(frame, known, **form)

    @override
    @speaking()
    def among(self, rows: Rows, num_rows: int) -> IndexSplit:
        if len(rows) == num_rows:
            return self
        named = [self._numbers_of(name, num_rows) for name in ("validation", "test")]
        return IndexSplit(*(np.flatnonzero(np.isin(rows, each)).tolist() for each in named))

    @override
    def by_block(self, blocks: Blocks, target: Sequence[str], *, seed: int) -> PartOf:
        validation, test = map(np.sort, self._numbers(blocks.num_rows()))

        def part_of(frame: pd.DataFrame, rows: Rows) -> NDArray[np.int8]:
            part = np.zeros(len(frame), dtype=np.int8)
            for number, some in ((VALIDATION, validation), (TEST, test)):
                part[np.isin(rows, some[slice(*np.searchsorted(some, [rows[0], rows[-1] + 1]))])] = number
            return part

        return part_of

    @override
    @speaking()
    def __call__(self, frame: pd.DataFrame, target_codes: NDArray[Any] | None, *, seed: int) -> SplitRows:
        part = np.zeros(len(frame), dtype=np.int8)
        validation, test = self._numbers(len(frame))
        part[validation], part[test] = VALIDATION, TEST
        return parts_from(part, remedy="Name some rows, and leave some for training")

    def _numbers(self, num_rows: int) -> tuple[Rows, Rows]:
        validation, test = (self._numbers_of(name, num_rows) for name in ("validation", "test"))
        if len(both := np.intersect1d(validation, test)):
            problem = f"validation and test share {count(len(both), 'row')}: {listed(both.tolist())}"
            raise BadValueError(problem, "Name each row once")
        return validation, test

    def _numbers_of(self, name: str, num_rows: int) -> Rows:
        """Return the row numbers that an argument names."""
        numbers = np.asarray(getattr(self, name))
        if numbers.dtype == bool:
            if numbers.shape != (num_rows,):
                problem = f"the mask for {name} has {count(len(numbers), 'value')}, the frame {count(num_rows, 'row')}"
                raise BadValueError(problem, "Pass one bool for each row")
            return np.flatnonzero(numbers)
        if not numbers.size:
            return np.empty(0, dtype=np.int64)
        if numbers.ndim != 1 or not np.issubdtype(numbers.dtype, np.integer):
            problem = f"{name} must be row numbers or a mask, got {numbers.ndim} dimensions of {numbers.dtype}"
            raise BadTypeError(problem, "Pass whole numbers from 0, or one bool for each row")
        outside = numbers[(numbers < 0) | (numbers >= num_rows)]
        if len(outside):
            problem = f"{name} names rows that do not exist: {listed(outside.tolist())}"
            raise BadValueError(problem, f"Row numbers go from 0 to {num_rows - 1}")
        if len(np.unique(numbers)) < len(numbers):
            raise BadValueError(f"{name} names a row more than once", "Name each row once")
        return numbers.astype(np.int64)


@final
@dataclass(frozen=True, eq=False)
class SourceSplit(Split):
    """Take validation and test rows from separate sources, and train on the datamodule's source.

    Args:
        validation: A frame or the path of a table file.
        test: The same for the test part; or a random fraction in (0, 1) of the datamodule's source; or a split that draws
            only test rows from it, such as `TimeSplit("date", 0, 0.1)`; or None.

    Example:
        >>> split = SourceSplit(pd.DataFrame({"x": [7]}))
        >>> rows = split.gather(pd.DataFrame({"x": [5, 6]}))
        >>> split(rows, None, seed=0).validation.tolist()
        [2]
    """

    validation: Source
    test: float | Split | Source | None = None

    @property
    @override
    def columns(self) -> tuple[str, ...]:
        return (PART_COLUMN, *(self.test.columns if isinstance(self.test, Split) else ()))

    @override
    def gather(self, frame: pd.DataFrame, known: Known | None = None, **form: Unpack[TextFormat]) -> pd.DataFrame:
        """Return the training, validation and test rows, in this order; columns that training lacks are ignored."""
        texts = [name for name in frame if isinstance(frame[name].dtype, pd.StringDtype)]
        texts_of = {name: frame[name].dropna().unique().tolist() for name in texts}
        known = {**dict.fromkeys(frame), **texts_of, **(known or {})}
        return self.joined(frame, [read_frame(source, **form, known=known) for source in self.sources])

    @property
    def sources(self) -> tuple[Any, ...]:
        """The sources of the validation and test rows."""
        has_source = self.test is not None and not isinstance(self.test, float | Split)
        return (self.validation, self.test) if has_source else (self.validation,)

    def joined(self, frame: pd.DataFrame, others: Sequence[pd.DataFrame]) -> pd.DataFrame:
        """Return the training rows and those of the other sources, already read, in this order."""
        frames = [frame.reset_index(drop=True)]
        for rows in others:
            remedy = "Give the validation and test sources the columns of the training source"
            check_present(frame.columns, rows.columns, remedy)
            frames.append(rows[list(frame.columns)])
        part = np.repeat(np.arange(len(frames), dtype=np.int8), list(map(len, frames)))
        return pd.concat(frames, ignore_index=True).assign(**{PART_COLUMN: part})

    @override
    def by_block(self, blocks: Blocks, target: Sequence[str], *, seed: int) -> PartOf:
        if isinstance(self.test, Split):
            problem = f"for a prepared table, test of a SourceSplit must be a fraction or a source, got {self.test!r}"
            raise BadValueError(problem, "Pass one of these")
        test = self.test if isinstance(self.test, float) else 0.0

        def part_of(frame: pd.DataFrame, rows: Rows) -> NDArray[np.int8]:
            source = frame[PART_COLUMN].to_numpy(np.int8)
            return np.where(source == TRAIN, drawn_parts(uniforms(seed, 0, rows, 1)[:, 0], 0.0, test), source)

        return part_of

    @override
    @speaking()
    def __call__(self, frame: pd.DataFrame, target_codes: NDArray[Any] | None, *, seed: int) -> SplitRows:
        if PART_COLUMN not in frame.columns:
            remedy = "Pass what SourceSplit.gather(frame) returns"
            raise BadValueError("the frame lacks the rows of the other sources", remedy)
        part = frame[PART_COLUMN].to_numpy()
        if isinstance(self.test, float | Split):
            rows = np.flatnonzero(part == TRAIN)
            codes = None if target_codes is None else target_codes[rows]
            way = self.test if isinstance(self.test, Split) else (None, self.test)
            found = as_split(way, stratify=codes is not None)(frame.iloc[rows], codes, seed=seed)
            if len(found.validation):
                problem = f"test must draw no validation rows, got {self.test!r}"
                raise BadValueError(problem, "Pass a fraction, or a split such as TimeSplit('date', 0, 0.1)")
            part = part.copy()
            part[rows[found.test]] = TEST
        return parts_from(part, remedy="Pass sources with rows")


def _as_word(value: object) -> str:
    """Return a value as lowercase text, so that 1, 1.0 and "1" are equal, and so are True and "true"."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip().lower()
