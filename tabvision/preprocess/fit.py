"""Fit the facts that the schema records about each column to the training rows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tabvision.errors import accepting_who, speaking
from tabvision.preprocess.categories import distinct_numbers, values_seen_once, vocabulary_of
from tabvision.preprocess.column_types import Kinds
from tabvision.preprocess.columns import Column, Numbers
from tabvision.preprocess.datetimes import CONTINUOUS_PARTS, DateParts
from tabvision.preprocess.encode import in_threads
from tabvision.preprocess.frame import Columns, Frame
from tabvision.preprocess.parse import is_tz_aware
from tabvision.preprocess.running import RowSample, RunningDate, RunningNumber
from tabvision.preprocess.statistics import Statistics
from tabvision.schema import Categorical, Continuous, Date, DatePart, Label, LeftOut

_FEW_VALUES = 0.01  # distinct values per row; with fewer, at most this fraction of new rows has an unseen value


@dataclass(frozen=True)
class Features:
    """The part of a schema that describes the columns that a network reads.

    Args:
        dates: Date columns, which are split into parts.
        continuous: Numbers, in the order of the first array.
        categorical: Categories, in the order of the second array: the user's own, the values of nominal numbers,
            parts of dates, indicators of missing values.
        left_out: Columns not used, and why.
    """

    dates: tuple[Date, ...]
    continuous: tuple[Continuous, ...]
    categorical: tuple[Categorical, ...]
    left_out: tuple[LeftOut, ...]


@accepting_who
@speaking("fit_features")
def fit_features(frame: Frame, kinds: Kinds) -> Features:
    """Return the statistics, vocabularies and date parts of the training rows.

    Args:
        frame: The training rows, or their `Columns`; do not pass other rows, since their values would leak.
        kinds: The kind of each column.

    Raises:
        BadValueError: There are no rows, infinities, or text that cannot be read as the expected number or date.
        BadTypeError: A column has mixed types, or values that a network cannot read.

    Example:
        >>> import pandas as pd
        >>> from tabvision.preprocess import infer_kinds
        >>> frame = pd.DataFrame({"age": [20.0, None, 40.0], "pay": [1, 2, 3]})
        >>> [column.name for column in fit_features(frame, infer_kinds(frame, target=["pay"])).categorical]
        ['age_missing']
    """
    columns = Columns.of(frame)
    columns.check_names()
    columns.check_has([*kinds.continuous, *kinds.categorical, *kinds.dates])
    columns.check_any_row()
    facts = RunningFeatures(kinds)
    facts.add(columns)
    return facts.features(columns)


class RunningFeatures:
    """The statistics, vocabularies and date parts of training rows that come in one block or several.

    Counts, means, standard deviations and vocabularies are exact. The median and the bins of floats come from a sample if
    there are more rows than it can hold.

    Args:
        kinds: The kind of each column.
        max_sample: The most rows to keep; None to keep all.
    """

    def __init__(self, kinds: Kinds, max_sample: int | None = None) -> None:
        self.kinds = kinds
        merges = max_sample is not None
        self.sample = RowSample(max_sample)
        self.num_rows = 0
        self._numbers = {name: RunningNumber(merges=merges) for name in kinds.continuous}
        self._dates = {name: RunningDate(merges=merges) for name in kinds.dates}
        self._vocabularies: dict[str, tuple[tuple[Label, ...], bool]] = {}
        self._seen_once: dict[str, set[Label]] = {}  # values seen in exactly one row, for categories with many values
        self._values: dict[str, NDArray[Any]] = {}  # the values of nominal numbers

    def add(
        self, columns: Columns, numbers: NDArray[np.int64] | None = None
    ) -> tuple[NDArray[np.bool_] | None, NDArray[np.bool_]]:
        """Add a block of training rows, and return which rows are in the sample; see `RowSample.add`.

        Args:
            columns: The rows.
            numbers: Their row numbers, which decide whether they are in the sample; None for 0, 1, 2 and so on.

        Raises:
            BadValueError: There are infinities, or text that cannot be read as the expected number or date.
            BadTypeError: A column has mixed types, or values that a network cannot read.
        """
        kept = self.sample.add(np.arange(len(columns)) if numbers is None else numbers)
        self.num_rows += len(columns)
        kinds = self.kinds

        def add_date(name: str) -> None:
            dates = columns.raw([name])[name]
            tz_aware = is_tz_aware(dates) & dates.notna().to_numpy()
            self._dates[name].add(DateParts(kinds.timestamps(columns, name)), tz_aware, name, *kept)

        def add_number(name: str) -> None:
            self._numbers[name].add(kinds.numbers(columns, name), name, *kept)

        def add_category(name: str) -> None:
            self._add_labels(columns.read(name), name, len(columns))

        def add_values(name: str) -> None:
            values = distinct_numbers(kinds.numbers(columns, name).values)
            self._values[name] = np.union1d(self._values[name], values) if name in self._values else values

        in_threads(add_number, kinds.continuous, columns)
        in_threads(add_category, kinds.categorical, columns)
        in_threads(add_values, kinds.nominal, columns)
        in_threads(add_date, kinds.dates, columns)
        return kept

    def _add_labels(self, column: Column, name: str, num_rows: int) -> None:
        """Add the values of a block of rows to a category's vocabulary, and track which values were seen exactly once."""
        vocabulary, ordered = vocabulary_of(column, name)
        known: tuple[Label, ...] = self._vocabularies[name][0] if name in self._vocabularies else ()
        if len(vocabulary) > _FEW_VALUES * num_rows:
            kept = self._seen_once.get(name, set()).difference(vocabulary)
            self._seen_once[name] = kept | values_seen_once(column).difference(known)
        if known and known != vocabulary:
            labels: list[Any] = list(dict.fromkeys([*known, *vocabulary]))
            if ordered:
                _, values = column.to_labels().distinct()
                order = {value: position for position, value in enumerate(values)}
                labels.sort(key=lambda label: order.get(label, len(order)))
            else:
                labels.sort()
            vocabulary = tuple(labels)
        self._vocabularies[name] = vocabulary, ordered

    def features(self, columns: Columns) -> Features:
        """Return the fitted facts for the schema.

        Args:
            columns: Any rows of the table, for the names of its columns.
        """
        numbers = in_threads(self._number, self.kinds.continuous, columns)
        categories = list(map(self._category, self.kinds.categorical))
        taken = set(columns.frame.columns)
        dates, parts = list[Date](), list[Continuous | Categorical]()
        for name, running in self._dates.items():
            form: Any = self.kinds.formats.get(name, "iso")
            dates.append(Date(name=name, parts=running.varying(), format=form, tz_aware=running.tz_aware))
            parts += self._parts_of_date(name, taken)
        nominal = []
        for name in self.kinds.nominal:
            values = self._values[name]
            is_whole = bool((values % 1 == 0).all())  # with many rows, only the first decided that it is nominal
            labels = tuple(Numbers(values, "integer" if is_whole else "float").to_list())
            free = _free_name(f"{name}_value", taken)
            nominal.append(Categorical(name=free, source=name, vocabulary=labels, part="value"))
        indicators = [_indicator(column.name, taken) for column in numbers if column.had_missing]
        return Features(
            dates=tuple(dates),
            continuous=(*numbers, *(column for column in parts if isinstance(column, Continuous))),
            categorical=(
                *categories,
                *nominal,
                *(column for column in parts if isinstance(column, Categorical)),
                *indicators,
            ),
            left_out=self.kinds.left_out,
        )

    def _parts_of_date(self, name: str, taken: set[str]) -> list[Continuous | Categorical]:
        running, parts = self._dates[name], list[Continuous | Categorical]()
        for part in running.varying():
            free = _free_name(f"{name}_{part}", taken)
            if part in CONTINUOUS_PARTS:
                parts.append(_continuous(free, name, running.facts(part, name), part))
                continue
            values = running.values()[part]
            labels, _ = vocabulary_of(Numbers(values, "boolean" if values.dtype.kind == "b" else "integer"), name)
            parts.append(Categorical(name=free, source=name, vocabulary=labels, part=part))
        return [*parts, _indicator(name, taken)] if running.num_missing else parts

    def _category(self, name: str) -> Categorical:
        """Return a category, with the expected fraction of new rows whose value is not in these rows, if it is not small.

        Source: Good 1953, "The Population Frequencies of Species and the Estimation of Population Parameters".
        """
        vocabulary, ordered = self._vocabularies[name]
        fraction = len(self._seen_once.get(name, ())) / max(1, self.num_rows)
        unseen = round(fraction, 4) if fraction > _FEW_VALUES else 0.0
        return Categorical(name=name, source=name, vocabulary=vocabulary, ordered=ordered, unseen=unseen)

    def _number(self, name: str) -> Continuous:
        form: Any = self.kinds.formats.get(name, "strict")
        return replace(_continuous(name, name, self._numbers[name].facts(name)), text=form)


def _continuous(name: str, source: str, statistics: Statistics, part: DatePart | None = None) -> Continuous:
    return Continuous(
        name=name,
        source=source,
        mean=statistics.mean,
        std=statistics.std,
        fill=statistics.fill,
        had_missing=statistics.num_missing > 0,
        bins=statistics.edges,
        part=part,
    )


def _indicator(source: str, taken: set[str]) -> Categorical:
    """Return the category that indicates missing values."""
    name = _free_name(f"{source}_missing", taken)
    return Categorical(name=name, source=source, vocabulary=(False, True), part="missing")


def _free_name(wanted: str, taken: set[str]) -> str:
    """Return a name for a derived column, with `_2`, `_3`, … appended if the wanted one is taken, and add it to `taken`.

    Example:
        >>> _free_name("age_missing", {"age", "age_missing"})
        'age_missing_2'
    """
    names = [wanted] if wanted not in taken else (f"{wanted}_{number}" for number in range(2, len(taken) + 3))
    name = next(name for name in names if name not in taken)
    taken.add(name)
    return name
