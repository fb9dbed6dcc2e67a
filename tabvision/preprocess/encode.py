"""Encode a raw frame as the two arrays that a network reads, the hot path of training and prediction.

Every raw column is read and checked first. Then blocks of rows are written, all columns of a block while it is in the CPU
cache, by as many threads as there are cores (numpy and pyarrow release the GIL).
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from tabvision.errors import BadValueError, accepting_who, speaking
from tabvision.preprocess.categories import Writer, code_writer, table_writer
from tabvision.preprocess.columns import Numbers, rows_named
from tabvision.preprocess.datetimes import DateParts
from tabvision.preprocess.frame import Columns, Frame
from tabvision.preprocess.statistics import BLOCK, number_writer
from tabvision.schema import Categorical, Continuous, Date, DatePart

MIN_THREADED = 200_000  # with fewer rows, starting threads costs more than it saves
MAX_THREADS = 8
_NAME_A_PART = (
    "Pass part='month' or another part for a date, part='missing' for the category that marks missing values, part='value' "
    "for the values of a number, and no part for a raw column"
)

Writers: TypeAlias = list[tuple[str, int, Writer]]  # the array, the column's index in it, its writer
Arrays: TypeAlias = tuple[NDArray[np.float32], NDArray[np.int32]]
In = TypeVar("In")
Out = TypeVar("Out")


@accepting_who
@speaking("to_arrays")
def to_arrays(prepared: Prepared, frame: Frame) -> Arrays:
    """Return the continuous and the categorical columns of a raw frame, in the schema's order.

    Args:
        prepared: A schema, or the result of `fit_features`.
        frame: A raw frame with the training columns, or its `Columns`; other columns are ignored.

    Shape:
        - returns: (N, C) float32, standardized, with no missing values; (N, K) int32 codes, 0 for missing or unseen

    Raises:
        MissingColumnsError: Training columns are missing.
        BadTypeError: A column holds another type of value than in training.
        BadValueError: A column has infinities, or text that cannot be read as a number or date.

    Example:
        >>> import pandas as pd
        >>> from tabvision.preprocess import fit_features, infer_kinds
        >>> frame = pd.DataFrame({"size": [1.0, 3.0], "color": ["red", "red"], "price": [1, 2]})
        >>> features = fit_features(frame, infer_kinds(frame, target=["price"], categorical=["color"]))
        >>> [array.tolist() for array in to_arrays(features, pd.DataFrame({"size": [None], "color": ["blue"]}))]
        [[[0.0]], [[0]]]
    """
    sources = sources_of(prepared)
    columns = Columns.of(frame)
    columns.check_has([source.name for source in sources])
    num_rows = len(columns)
    writers = [writer for group in in_threads(lambda it: _writers(it, columns), sources, columns) for writer in group]
    arrays: dict[str, Any] = {
        "continuous": np.empty((num_rows, len(prepared.continuous)), np.float32),
        "categorical": np.empty((num_rows, len(prepared.categorical)), np.int32),
    }

    def write(start: int) -> None:
        rows = slice(start, min(start + BLOCK, num_rows))
        for which, index, writer in writers:
            writer(rows, arrays[which][rows, index])

    in_threads(write, range(0, num_rows, BLOCK), columns)
    return arrays["continuous"], arrays["categorical"]


def in_threads(work: Callable[[In], Out], items: Iterable[In], columns: Columns) -> list[Out]:
    """Return the result for each item, in order, using threads if the columns have many rows."""

    def named(item: In) -> Out:
        with rows_named(columns.row_labels):
            return work(item)

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = min(MAX_THREADS, cores)
    if len(columns) < MIN_THREADED or threads == 1:
        return [named(item) for item in items]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(named, items))


def _writers(source: Source, columns: Columns) -> Writers:
    """Read and check a raw column, and return the writers of the columns computed from it."""
    name = source.name
    if source.kind == "date":
        return _date_writers(source, DateParts(columns.timestamps(name, source.form)))
    if source.kind == "category":
        column = columns.read(name)
        return [("categorical", index, code_writer(column, it.vocabulary, name)) for index, it in source.categorical]
    column = columns.numbers(name, source.form)
    writers: Writers = [
        ("continuous", index, number_writer(column.values, number)) for index, number in source.continuous
    ]
    for index, category in source.categorical:
        is_missing = category.part == "missing"
        writer = (
            _indicator_writer(np.isnan(column.values)) if is_missing else code_writer(column, category.vocabulary, name)
        )
        writers.append(("categorical", index, writer))
    return writers


def _date_writers(date: Source, parts: DateParts) -> Writers:
    """Return the writers of a date's parts."""
    writers: Writers = []
    for index, number in date.continuous:
        if number.part == "elapsed":
            writer = number_writer(parts.elapsed, number)
        else:
            values, rows = parts[cast("DatePart", number.part)]
            filled: NDArray[Any] = np.concatenate([[number.fill], values])  # index 0 is a missing date
            writer = table_writer(rows, (filled - number.mean) / number.std, first=0)
        writers.append(("continuous", index, writer))
    for index, category in date.categorical:
        if category.part == "missing":
            writer = _indicator_writer(parts.missing)
        else:
            values, rows = parts[cast("DatePart", category.part)]
            codes = np.zeros(len(values) + 1, dtype=np.int32)
            code_writer(Numbers(values, "integer"), category.vocabulary, date.name)(slice(0, len(values)), codes[1:])
            writer = table_writer(rows, codes, first=0)
        writers.append(("categorical", index, writer))
    return writers


def _indicator_writer(missing: NDArray[np.bool_]) -> Writer:
    """Return a writer of codes for an indicator of missing values, whose vocabulary is (False, True)."""
    return lambda rows, out: np.copyto(out, missing[rows] + np.int32(1))


class Prepared(Protocol):
    """What encoding needs to know, which both `Schema` and `Features` provide."""

    @property
    def continuous(self) -> tuple[Continuous, ...]:
        """Numbers, in the order of the first array."""

    @property
    def categorical(self) -> tuple[Categorical, ...]:
        """Categories, in the order of the second array."""

    @property
    def dates(self) -> tuple[Date, ...]:
        """Date columns, which are split into parts."""


SourceKind: TypeAlias = Literal["number", "category", "date"]


@dataclass(frozen=True)
class Source:
    """A raw column, the format of its text, and the prepared columns computed from it, each with its index in its array.

    Raises:
        BadValueError: A prepared column claims to be a part that the raw column does not have.
    """

    name: str
    kind: SourceKind
    continuous: tuple[tuple[int, Continuous], ...]
    categorical: tuple[tuple[int, Categorical], ...]
    form: Any = ""  # the format of a number or a date

    def __post_init__(self) -> None:
        """Check that the raw column has every part that the prepared columns claim."""
        columns: list[Continuous | Categorical] = [
            *(it for _, it in self.continuous),
            *(it for _, it in self.categorical),
        ]
        for column in columns:
            is_number = isinstance(column, Continuous)
            fits = {
                "number": column.part is None if is_number else column.part in {"missing", "value"},
                "category": column.part is None,
                "date": column.part not in ({None} if is_number else {None, "elapsed", "value"}),
            }
            if not fits[self.kind]:
                source = f"the {self.kind} {self.name!r}"
                problem = f"{column.name!r} is computed from {source}, so its part cannot be {column.part!r}"
                raise BadValueError(problem, _NAME_A_PART)


def sources_of(prepared: Prepared) -> tuple[Source, ...]:
    """Return the raw columns: numbers, then categories, then dates.

    Raises:
        BadValueError: A column claims to be a part that its source does not have.

    Example:
        >>> from tabvision.schema import Schema, Target
        >>> from tabvision.tasks import Regression
        >>> age = Continuous(name="age", source="age", mean=40.0, std=10.0, fill=38.0)
        >>> [it.name for it in sources_of(Schema(target=Target(columns=("pay",), task=Regression()), continuous=(age,)))]
        ['age']
    """
    continuous: defaultdict[str, list[tuple[int, Continuous]]] = defaultdict(list)
    categorical: defaultdict[str, list[tuple[int, Categorical]]] = defaultdict(list)
    for index, number in enumerate(prepared.continuous):
        continuous[number.source].append((index, number))
    for index, category in enumerate(prepared.categorical):
        categorical[category.source].append((index, category))
    dates = {date.name: date.format for date in prepared.dates}
    forms = {it.source: it.text for it in prepared.continuous} | dates
    kinds: dict[SourceKind, list[str]] = {
        "number": [name for name in continuous if name not in dates],
        "category": [name for name in categorical if name not in dates and name not in continuous],
        "date": list(dates),
    }
    return tuple(
        Source(name, kind, tuple(continuous[name]), tuple(categorical[name]), forms.get(name))
        for kind, names in kinds.items()
        for name in names
    )
