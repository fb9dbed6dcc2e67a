"""A raw frame, with checked column names and each column read at most once, whatever its pandas storage.

Every storage (numpy, nullable, pyarrow, categories, sparse, plain objects) becomes one of the forms in `columns.py`,
without a copy if the storage allows it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias, TypeVar, final

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from tabvision.errors import BadTypeError, BadValueError, MissingColumnsError, asking, count, listed
from tabvision.preprocess.columns import (
    Column,
    Levels,
    NumberKind,
    Numbers,
    Text,
    Timestamps,
    dictionary_of,
    lack_digits,
    rows_named,
)
from tabvision.preprocess.parse import (
    NO_DATE,
    as_float,
    common_family,
    exact_number,
    microseconds,
    seconds,
    unreadable_column,
)
from tabvision.schema import DateFormat, NumberFormat

Found = TypeVar("Found")

PASS_TRAINING_COLUMNS = "Pass a frame with the training columns"
_ROWWISE = (np.dtype, pd.StringDtype, pd.CategoricalDtype, pd.DatetimeTZDtype)
_EARLIEST, _LATEST = np.datetime64("0001-01-01"), np.datetime64("9999-12-31")


@final
class Columns:
    """The columns of a frame, each read on first use and cached.

    `infer_kinds`, `fit_features` and `to_arrays` accept it instead of a frame; passing it from one to the next
    avoids reading every column again.

    Args:
        frame: The raw rows, which must not change afterwards.
        whole: The `Columns` of the whole frame and the row numbers to take from it; passed by `take`.

    Raises:
        BadTypeError: The frame is not a pandas DataFrame.

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
        self._cache: dict[tuple[str, ...], Any] = {}

    @classmethod
    def of(cls, frame: Frame) -> Columns:
        """Return the columns of a frame; `Columns` are returned as they are."""
        return frame if isinstance(frame, Columns) else cls(frame)

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.frame) if self._whole is None else len(self._whole[1])

    def take(self, rows: NDArray[np.int64]) -> Columns:
        """Return the columns for some rows; storages that are read row by row are not read again."""
        return Columns(self.frame, (self, rows))

    def read(self, name: str) -> Column:
        """Return a column as stored."""
        return self._once("read", name, lambda: _read_column(self._values_of(name), name))

    def read_all(self, name: str) -> Column:
        """Return a column as stored, for all rows of the original frame, even after `take`."""
        return self.read(name) if self._whole is None else self._whole[0].read(name)

    def numbers(self, name: str, form: NumberFormat = "strict") -> Numbers:
        """Return a column as numbers; text is parsed."""
        return self._once("numbers", name, lambda: self.read(name).to_numbers(name, form), form)

    def timestamps(self, name: str, form: DateFormat = "iso") -> Timestamps:
        """Return a column as timestamps; text is parsed."""
        return self._once("timestamps", name, lambda: self.read(name).to_timestamps(name, form), form)

    def check_names(self) -> None:
        """Raise if a column's name is not text or occurs twice.

        Raises:
            BadTypeError: A name is not text.
            BadValueError: Two columns have the same name.
        """
        self._check_text()
        self._check_unique(self.frame.columns)

    def check_has(self, wanted: Sequence[str], remedy: str = PASS_TRAINING_COLUMNS) -> None:
        """Raise if a wanted column is missing or occurs twice; other columns are ignored.

        Raises:
            BadTypeError: Columns are missing, and names are not text.
            BadValueError: A wanted column occurs twice.
            MissingColumnsError: Wanted columns are missing.
        """
        names = list(self.frame.columns)
        present = set(names)
        if missing := [name for name in wanted if name not in present]:
            self._check_text()
            raise MissingColumnsError(missing, names, remedy)
        self._check_unique(wanted)

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

    def _check_text(self) -> None:
        if odd := [name for name in self.frame.columns if not isinstance(name, str)]:
            shown = listed([f"{name!r} ({type(name).__name__})" for name in odd])
            remedy = "Rename them: frame.rename(columns=str)"
            if isinstance(self.frame.columns, pd.MultiIndex):  # of which it would rename each level
                remedy = 'Join them: frame.columns = ["_".join(map(str, name)) for name in frame.columns]'
            raise BadTypeError(f"column names must be text, got {shown}", remedy)

    def _check_unique(self, wanted: Iterable[object]) -> None:
        times, wanted = Counter(self.frame.columns), set(wanted)
        twice = [f"{name!r} ({number} times)" for name, number in times.items() if number > 1 and name in wanted]
        if twice:
            remedy = "Rename them, or keep the first of each: frame.loc[:, ~frame.columns.duplicated()]"
            raise BadValueError(f"column names must be unique, got {listed(twice)}", remedy)

    def raw(self, names: Sequence[str]) -> pd.DataFrame:
        """Return some columns of these rows, unchanged."""
        return self.frame[[*names]] if self._whole is None else self.frame[[*names]].iloc[self._whole[1]]

    def _values_of(self, name: str) -> pd.Series:
        values = self.frame[name]
        return values if self._whole is None else values.iloc[self._whole[1]]

    def _once(self, method: str, name: str, make: Callable[[], Found], *form: str) -> Found:
        key = (method, name, *form)
        if key not in self._cache:
            dtype = self.frame[name].dtype
            if self._whole is None or not isinstance(dtype, _ROWWISE) or pd.api.types.is_object_dtype(dtype):
                with rows_named(self.row_labels):
                    self._cache[key] = make()  # the type of the values depends on all rows
            else:
                whole, rows = self._whole
                self._cache[key] = getattr(whole, method)(name, *form).take(rows)
        found: Found = self._cache[key]
        return found


Frame: TypeAlias = pd.DataFrame | Columns


def _read_column(column: pd.Series, name: str) -> Column:
    """Return a pandas column as text, numbers, timestamps or levels.

    Raises:
        BadTypeError: The column has mixed types, or values that a network cannot read (lists, complex numbers, bytes).
        BadValueError: Dates are outside the years 1 to 9999.

    Example:
        >>> _read_column(pd.Series([1, None], dtype="Int64"), "x")
        Numbers(values=array([ 1., nan]), kind='integer', exact=None)
    """
    dtype = column.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        values = _read_column(pd.Series(dtype.categories), name)
        assert isinstance(values, Text | Numbers | Timestamps), "categories are not themselves categories"
        return Levels(column.cat.codes.to_numpy(), values, bool(dtype.ordered))
    if isinstance(dtype, pd.SparseDtype):
        return _read_column(column.sparse.to_dense(), name)
    if isinstance(dtype, pd.IntervalDtype):
        return _read_objects(column.to_numpy(dtype=object), name)
    if isinstance(dtype, pd.PeriodDtype):
        return _read_column(column.dt.to_timestamp(), name)
    if isinstance(dtype, pd.DatetimeTZDtype):
        timestamps = _read_column(column.dt.tz_convert("UTC").dt.tz_localize(None), name).to_timestamps(name)
        return Timestamps(timestamps.values, str(dtype.tz))
    if not isinstance(dtype, np.dtype):
        return _read_arrow(column.array.__arrow_array__(), name)
    return _read_numpy(column.to_numpy(), name)


def _read_numpy(values: NDArray[Any], name: str) -> Column:
    """Return a numpy array in one of the four forms."""
    kind = values.dtype.kind
    if kind == "O":
        return _read_objects(values, name)
    if kind in "biuf":
        return Numbers(values, "boolean" if kind == "b" else "float" if kind == "f" else "integer")
    if kind == "M":
        return Timestamps(_to_microseconds(values, name))
    if kind == "m":
        ticks = values.astype("timedelta64[us]").view(np.int64)
        return Numbers(np.where(ticks == NO_DATE, np.nan, ticks / 1e6), "duration")
    raise unreadable_column(name, f"{values.dtype} numbers" if kind == "c" else f"dtype {values.dtype}")


def _read_arrow(values: pa.ChunkedArray, name: str) -> Column:
    """Return an Arrow array in one of the four forms."""
    values = pa.chunked_array([values]) if isinstance(values, pa.Array) else values
    kind, types = values.type, pa.types
    if types.is_dictionary(kind):
        return _read_arrow(values.cast(kind.value_type), name)
    if types.is_string(kind) or types.is_large_string(kind):
        return Text(values)
    if types.is_string_view(kind):
        return Text(values.cast(pa.large_string()))
    if types.is_null(kind):
        return Numbers(np.full(len(values), np.nan), "float")
    if types.is_timestamp(kind):
        return Timestamps(_read_numpy(values.to_numpy(), name).to_timestamps(name).values, kind.tz or "")
    if types.is_date(kind) or types.is_duration(kind) or types.is_time(kind):
        return _read_numpy(values.to_numpy(), name)
    if types.is_boolean(kind) or types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind):
        return _read_arrow_numbers(values, name)
    raise unreadable_column(name, f"pyarrow {kind}")


def _read_arrow_numbers(values: pa.ChunkedArray, name: str) -> Column:
    """Return Arrow's bools or numbers, along with the exact ones if floats have lost digits."""
    kind, types = values.type, pa.types
    is_decimal = types.is_decimal(kind)
    as_floats = values.null_count or is_decimal
    numbers = (values.cast(pa.float64(), safe=False) if as_floats else values).to_numpy()
    lack = as_floats and not types.is_floating(kind) and lack_digits(numbers)
    if lack and is_decimal:
        return _read_objects(np.array(values.to_pylist(), dtype=object), name)
    was: NumberKind = "boolean" if types.is_boolean(kind) else "integer" if types.is_integer(kind) else "float"
    if not lack:
        return Numbers(numbers, was)
    codes, distinct = dictionary_of(values)
    return Numbers(numbers, was, (codes, distinct.to_pylist()))


def _read_objects(values: NDArray[Any], name: str) -> Column:
    """Return Python objects of one family in the matching form."""
    try:
        missing = pd.isna(values)
    except ArithmeticError as error:
        raise unreadable_column(name, "a signaling NaN") from error
    present = values[~missing] if missing.any() else values
    family = common_family(present, name)
    if family == "text":
        if pd.Interval in set(map(type, values)):
            values = np.array([*map(str, values)], dtype=object)
        try:
            return Text(pa.array(values, pa.large_string(), mask=missing))
        except UnicodeEncodeError as error:
            problem = f"column {name!r} holds text that is not valid Unicode: {error.object!r}"
            raise BadValueError(problem, "Read the file again with its own encoding") from error
    if family == "date":
        timestamps = np.fromiter(map(microseconds, present), np.int64, len(present))
        return Timestamps(_with_missing(timestamps, missing, NO_DATE))
    if family == "boolean":
        return Numbers(_with_missing(present.astype(bool), missing, np.nan), "boolean")
    if family == "duration":
        numbers = np.fromiter(map(seconds, present), np.float64, len(present))
        return Numbers(_with_missing(numbers, missing, np.nan), "duration")
    return _numbers_of_objects(present, missing)


def _numbers_of_objects(present: NDArray[Any], missing: NDArray[np.bool_]) -> Column:
    """Return Python numbers, as text if they are integers beyond 64 bits."""
    kinds = set(map(type, present))
    if kinds in ({np.float32}, {np.float16}):
        return Numbers(_with_missing(present.astype(kinds.pop()), missing, np.nan), "float")
    whole = len(kinds) > 0 and all(issubclass(kind, int | np.integer) for kind in kinds)
    if whole and max(abs(max(present)), abs(min(present))) >= 2**63:  # as floats, many of them would become equal
        texts = map(str, present)
        return Text(pa.array([None if is_missing else next(texts) for is_missing in missing], pa.large_string()))
    if whole and not missing.any():
        return Numbers(present.astype(np.int64), "integer")
    numbers = _with_missing(np.fromiter(map(as_float, present), np.float64, len(present)), missing, np.nan)
    if not lack_digits(numbers):
        return Numbers(numbers, "integer" if whole else "float")
    codes, distinct = pd.factorize(np.array([*map(exact_number, present)], dtype=object))
    kind: NumberKind = "integer" if all(type(value) is int for value in distinct) else "float"
    return Numbers(numbers, kind, (_with_missing(codes, missing, -1), distinct.tolist()))


def _with_missing(present: NDArray[Any], missing: NDArray[np.bool_], filler: float) -> NDArray[Any]:
    """Return the present values in their rows, with `filler` in the missing ones."""
    if len(present) == len(missing):
        return present
    full = np.full(len(missing), filler, dtype=present.dtype if present.dtype.kind in "if" else np.float64)
    full[~missing] = present
    return full


def _to_microseconds(dates: NDArray[np.datetime64], name: str) -> NDArray[np.int64]:
    """Return dates as microseconds since 1970; raise for dates outside the years 1 to 9999."""
    known = dates[~np.isnat(dates)]
    if len(known):
        first, last = (date.astype("datetime64[D]") for date in (known.min(), known.max()))
        if first < _EARLIEST or last > _LATEST:
            problem = f"column {name!r} holds dates outside the years 1 to 9999"
            raise BadValueError(problem, f"Correct them, or leave the column out: {asking('ignore', name)}")
    return dates.astype("datetime64[us]", copy=False).view(np.int64)
