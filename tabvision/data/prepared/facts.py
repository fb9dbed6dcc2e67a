"""Fit the target block by block, and check that columns are of the inferred kinds."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any, TypeAlias, final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.types import is_numeric_dtype, is_string_dtype

from tabvision.data.splits.base import Rows
from tabvision.data.table_settings import TableSettings
from tabvision.data.tables.blocks import ReadAgain
from tabvision.data.targets import encode_target, fit_target
from tabvision.errors import TabvisionError
from tabvision.preprocess import Columns
from tabvision.preprocess.column_types import MAX_INTEGER_CATEGORIES, Kinds, are_date_numbers
from tabvision.preprocess.parse import is_blank, parse_date, parse_number
from tabvision.preprocess.statistics import Moments
from tabvision.schema import Target
from tabvision.tasks import Task
from tabvision.tasks.classes import MAX_INTEGER_CLASSES
from tabvision.tasks.target import TargetFacts

MAY_VARY = ("constant", "no value in any row")  # reasons to leave out a column that later rows may refute
_Kept: TypeAlias = tuple[NDArray[np.bool_] | None, NDArray[np.bool_]]  # what `RowSample.add` returns


def joined(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Concatenate frames; categorical columns stay so, even if other frames have other levels or text.

    Example:
        >>> frames = [pd.DataFrame({"a": pd.Categorical([each])}) for each in "xy"]
        >>> joined([*frames, pd.DataFrame({"a": ["z"]})])["a"].cat.categories.tolist()
        ['x', 'y', 'z']
    """
    found = pd.concat(frames) if len(frames) > 1 else frames[0]
    for name in found:
        if isinstance(frames[0][name].dtype, pd.CategoricalDtype) and found[name].dtype != frames[0][name].dtype:
            each = [frame[name].astype("category") for frame in frames if len(frame)]  # text in other files
            found[name] = pd.api.types.union_categoricals(each, ignore_order=True)
    return found


@final
class RunningTarget:
    """The target over the training rows: counts of classes, or else the sampled rows, and the moments of numbers."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._counts: pd.Series | None = None
        self._rows: list[pd.DataFrame] = []
        self._moments = Moments()

    def add(self, rows: pd.DataFrame, kept: _Kept) -> None:
        """Add the targets of the training rows in a block; `kept` says which rows the sample keeps."""
        task, separator = self._target.task, self._target.separator
        if task.is_classes and rows.shape[1] == 1:
            values = rows.iloc[:, 0]
            if separator is not None:
                values = values.astype("str").str.split(separator, regex=False).explode().str.strip()
            counts = values.value_counts()
            self._counts = counts if self._counts is None else self._counts.add(counts, fill_value=0)
            return
        stays, is_kept = kept
        self._rows = [*([joined(self._rows)[stays]] if stays is not None and self._rows else self._rows), rows[is_kept]]
        if not task.is_classes:
            self._moments.add(encode_target(rows, self._target).astype(np.float64))

    def fitted(self, dtypes: pd.Series, num_rows: int, *, is_stated: bool) -> Target:
        """Return the target fitted to all training rows."""
        target, counts = self._target, self._counts
        (name, *_), separator = target.columns, target.separator
        if counts is not None:
            counts = counts[counts > 0]
            dtype = None if isinstance(dtypes[name], pd.CategoricalDtype) else dtypes[name]
            frame = pd.DataFrame(
                {name: counts.index if separator is None else [separator.join(counts.index)]}, dtype=dtype
            )
        elif len(frame := joined(self._rows)) == num_rows:
            return fit_target(frame, target.columns, target.task, separator, is_stated=is_stated)
        rows_of = np.empty(0, dtype=np.int64)
        if counts is not None and separator is None:
            of_classes = replace(target, classes=target.task.find_classes(frame, target))
            rows_of = np.bincount(encode_target(frame, of_classes), counts.to_numpy(float)).astype(np.int64)
        found = self._moments
        std = np.sqrt(found.squares / max(1, found.number))
        facts = TargetFacts(rows_of, found.mean, std, found.low, found.high)
        fitted = fit_target(frame, target.columns, target.task.refit(facts), separator, is_stated=is_stated)
        frequencies = (rows_of / max(1, rows_of.sum())).astype(np.float32) if fitted.frequencies else rows_of[:0]
        if not fitted.task.is_classes:
            fitted = replace(fitted, low=tuple(found.low.tolist()), high=tuple(found.high.tolist()))
        return replace(fitted, task=fitted.task.refit(facts), frequencies=tuple(frequencies.tolist()))


@final
class KindsCheck:
    """Look in every block for rows that refute the inferred kinds of columns.

    Args:
        settings: How the table is read.
        kinds: The kinds of the columns.
        task: The task.
        head: The training rows that these were inferred from.
        digits: Text columns that so far hold only numbers but are not read as numbers; other text in them would change that.
    """

    def __init__(
        self, settings: TableSettings, kinds: Kinds, task: Task, head: pd.DataFrame, digits: Collection[str]
    ) -> None:
        named = {name.rpartition("=")[0] or name for names in settings.named.values() for name in names or ()}
        formats: dict[str, Any] = {name: kinds.formats.get(name, "iso") for name in kinds.dates if name not in named}
        self._dates = {name: form for name, form in formats.items() if is_string_dtype(head[name])}
        self._date_numbers = {name: form for name, form in formats.items() if is_numeric_dtype(head[name])}
        self._digits = [name for name in digits if name not in named]
        most = {  # the most distinct values that a column may have
            name: MAX_INTEGER_CATEGORIES
            for name in kinds.categorical
            if is_numeric_dtype(head[name]) and name not in named
        }
        if settings.task is None and task.is_classes and len(settings.target) == 1 and settings.separator is None:
            (name,) = settings.target  # two classes may turn into several, and many whole numbers into a regression
            if head[name].nunique() <= 2:
                most[name] = 2
            elif is_numeric_dtype(head[name]):
                most[name] = MAX_INTEGER_CLASSES
        self._few: dict[str, tuple[set[Any], int]] = {}  # the values seen so far, and the most that there may be
        for name, number in most.items():
            seen = {*_values(head[name]), None}  # one more than the values, since any row may lack one
            if len(seen) <= number + 1:
                self._few[name] = seen, number + 1
        for column in kinds.left_out:
            if column.reason in MAY_VARY and column.name not in named:
                seen = {*_values(head[column.name])}
                self._few[column.name] = seen, len(seen)
        self._new: list[tuple[pd.DataFrame, bool]] = []  # rows with new values, which are training rows

    def look_at(self, columns: Columns, training: Rows) -> None:
        """Raise `ReadAgain` if training rows have too many values or fractions, or rows are not dates or numbers."""
        self._check_formats(columns)
        frame = columns.frame
        for name, (known, most) in self._few.items():
            distinct = _values(pd.Series(frame[name].array[training], copy=False))
            new = [at for at, value in enumerate(distinct) if value not in known][: most + 1]
            if new:
                self._new.append((frame.iloc[training].drop_duplicates(name).iloc[new], True))
                known.update(distinct[at] for at in new)
                if len(known) > most or any(isinstance(distinct[at], float) and distinct[at] % 1 for at in new):
                    raise ReadAgain(self._new)

    def _check_formats(self, columns: Columns) -> None:
        """Raise `ReadAgain` if rows of a block are not dates, or are text where so far all were numbers."""
        frame = columns.frame
        for name, form in self._date_numbers.items():
            numbers = columns.numbers(name).values.astype(np.float64)
            if (is_other := ~(are_date_numbers(numbers, form) | np.isnan(numbers))).any():
                raise ReadAgain([(frame[is_other].head(1), False)])
        for name in self._digits:
            if others := [it for it in _values(frame[name]) if it is not None and not _may_be_number(it)]:
                raise ReadAgain([(frame[(frame[name] == others[0]).to_numpy(bool)].head(1), False)])
        for name, form in self._dates.items():
            try:
                columns.timestamps(name, form)
            except TabvisionError:
                unread = [str(it).strip() != "" and parse_date(it, form) is None for it in frame[name].fillna("")]
                if any(unread):
                    raise ReadAgain([(frame[unread].head(1), False)]) from None
                raise


def text_of_numbers(frame: pd.DataFrame) -> list[str]:
    """Return the text columns in which every value reads as a number.

    Example:
        >>> text_of_numbers(pd.DataFrame({"zip": ["10115", None, " "], "size": ["7", "?", "8"], "age": [1, 2, 3]}))
        ['zip']
    """
    texts = [name for name in frame if isinstance(frame[name].dtype, pd.StringDtype)]
    return [name for name in texts if all(it is None or _may_be_number(it) for it in _values(frame[name]))]


def _may_be_number(text: str) -> bool:
    return is_blank(text) or parse_number(text, "lenient") is not None


def _values(column: pd.Series) -> list[Any]:
    """Return the distinct values of a column in order of first appearance, with None for missing.

    Example:
        >>> _values(pd.Series([3.0, float("nan"), 3.0]))
        [3.0, None]
    """
    distinct = column.unique()
    return [None if is_missing else it for it, is_missing in zip(distinct.tolist(), pd.isna(distinct), strict=True)]
