"""A raw frame: checked where it enters, and each of its columns read at most once, whoever asks for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias, TypeVar, final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tabvision.errors import BadTypeError, BadValueError, MissingColumnsError, count, listed
from tabvision.preprocess.columns import Column, Levels, Numbers, Text, Timestamps, read_column
from tabvision.preprocess.convert import rows_named, to_numbers, to_timestamps

Found = TypeVar("Found")

PASS_TRAINING_COLUMNS = "Pass a frame with the training columns"
_ROWWISE = (np.dtype, pd.StringDtype, pd.CategoricalDtype, pd.DatetimeTZDtype)


@final
class Columns:
    """The columns of a frame, each read when it is first asked for, and kept.

    `infer_kinds`, `fit_features` and `to_arrays` take it in place of a frame; handed from one to the next,
    it saves reading every column anew.

    Args:
        frame: The raw rows, which must not change any more.
        whole: A frame's columns of which these are some rows, and their row numbers; see `take`.

    Raises:
        BadTypeError: Not a pandas DataFrame.

    Example:
        >>> columns = Columns(pd.DataFrame({"x": [1.0, 2.0]}))
        >>> columns.read("x") is columns.read("x"), len(columns.take(np.array([1])))
        (True, 1)
    """

    def __init__(self, frame: pd.DataFrame, whole: tuple[Columns, NDArray[np.int64]] | None = None) -> None:
        if not isinstance(frame, pd.DataFrame):
            remedy = "Convert it first, such as pd.DataFrame(data) or data.to_pandas()"
            raise BadTypeError(f"the table must be a pandas DataFrame, got {type(frame).__name__}", remedy)
        self.frame = frame
        self._whole = whole
        self._kept: dict[tuple[str, str], Any] = {}

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.frame) if self._whole is None else len(self._whole[1])

    def take(self, rows: NDArray[np.int64]) -> Columns:
        """Return the columns of some rows; what is read row by row is not read again."""
        return Columns(self.frame, (self, rows))

    def read(self, name: str) -> Column:
        """Return a column as it is."""
        return self._once("read", name, lambda: read_column(self._raw(name), name))

    def numbers(self, name: str) -> Numbers:
        """Return a column as numbers; text is parsed."""
        return self._once("numbers", name, lambda: to_numbers(self.read(name), name))

    def timestamps(self, name: str) -> Timestamps:
        """Return a column as timestamps; text is read as ISO dates."""
        return self._once("timestamps", name, lambda: to_timestamps(self.read(name), name))

    def check_names(self) -> None:
        """Raise if a column's name is not text, or comes twice.

        Raises:
            BadTypeError: A name is not text.
            BadValueError: Two columns have one name.
        """
        names = list(self.frame.columns)
        _check_text(names)
        _check_unique(names, names)

    def check_has(self, wanted: Sequence[str], remedy: str = PASS_TRAINING_COLUMNS) -> None:
        """Raise if a wanted column is not there or comes twice; other columns are not looked at.

        Raises:
            BadTypeError: Columns are missing, and names are not text.
            BadValueError: A wanted column comes twice.
            MissingColumnsError: Wanted columns are not there.
        """
        names = list(self.frame.columns)
        present = set(names)
        if missing := [name for name in wanted if name not in present]:
            _check_text(names)
            raise MissingColumnsError(missing, names, remedy)
        _check_unique(names, wanted)

    def check_any_row(self) -> None:
        """Raise if there are no rows to fit.

        Raises:
            BadValueError: There are none.
        """
        if not len(self):
            problem = f"fitting needs at least one row, got 0 rows of {count(self.frame.shape[1], 'column')}"
            raise BadValueError(problem, "Check the file, or the filter that left nothing")

    def row_labels(self, rows: Sequence[int]) -> list[object]:
        """Return the labels of some rows in the frame's index."""
        numbers = np.asarray(rows, dtype=np.int64)
        labels: list[object] = self.frame.index[numbers if self._whole is None else self._whole[1][numbers]].tolist()
        return labels

    def _raw(self, name: str) -> pd.Series:
        return self.frame[name] if self._whole is None else self.frame[name].iloc[self._whole[1]]

    def _once(self, method: str, name: str, make: Callable[[], Found]) -> Found:
        if (method, name) not in self._kept:
            dtype = self.frame[name].dtype
            if self._whole is None or not isinstance(dtype, _ROWWISE) or pd.api.types.is_object_dtype(dtype):
                with rows_named(self.row_labels):
                    self._kept[method, name] = make()  # which type the values have depends on all rows
            else:
                whole, rows = self._whole
                self._kept[method, name] = _take(getattr(whole, method)(name), rows)
        found: Found = self._kept[method, name]
        return found


Frame: TypeAlias = pd.DataFrame | Columns


def columns_of(frame: Frame) -> Columns:
    """Return the columns of a frame; those that are given, as they are."""
    return frame if isinstance(frame, Columns) else Columns(frame)


def _take(column: Column, rows: NDArray[np.int64]) -> Column:
    if isinstance(column, Text):
        return Text(column.values.take(rows))
    if isinstance(column, Numbers):
        return Numbers(column.values.take(rows), column.kind)
    if isinstance(column, Timestamps):
        return Timestamps(column.values.take(rows), column.zone)
    return Levels(column.codes.take(rows), column.values, column.ordered)


def _check_text(names: Sequence[object]) -> None:
    if odd := [name for name in names if not isinstance(name, str)]:
        shown = listed([f"{name!r} ({type(name).__name__})" for name in odd])
        raise BadTypeError(f"column names must be text, got {shown}", "Rename them: frame.rename(columns=str)")


def _check_unique(names: Sequence[object], wanted: Iterable[object]) -> None:
    if len(set(names)) == len(names):
        return
    times, wanted = Counter(names), set(wanted)
    twice = [f"{name!r} ({number} times)" for name, number in times.items() if number > 1 and name in wanted]
    if twice:
        remedy = "Rename them, or keep the first of each: frame.loc[:, ~frame.columns.duplicated()]"
        raise BadValueError(f"column names must be unique, got {listed(twice)}", remedy)


def free_name(wanted: str, taken: Iterable[str]) -> str:
    """Return a name for a derived column: the wanted one, or with `_2`, `_3`, … where a column has it already.

    Example:
        >>> free_name("age_missing", ["age", "age_missing"])
        'age_missing_2'
    """
    taken = set(taken)
    names = [wanted] if wanted not in taken else (f"{wanted}_{number}" for number in range(2, len(taken) + 3))
    return next(name for name in names if name not in taken)
