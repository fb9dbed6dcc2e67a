"""Preprocessing one step at a time, frame in and frame out: the reference that the library's arrays are compared with."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Self, final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from typing_extensions import override

from tabvision.preprocess import Prepared
from tabvision.preprocess.categories import code_writer, vocabulary_of
from tabvision.preprocess.datetimes import PARTS, DateParts
from tabvision.preprocess.fit import _free_name
from tabvision.preprocess.frame import Columns
from tabvision.preprocess.statistics import number_writer, statistics_of
from tabvision.schema import Categorical, Continuous, Label


class Step(ABC):
    """One step, fitted on training rows; the frame that it is given stays as it is.

    Args:
        columns: The columns it works on; the others pass through.
    """

    def __init__(self, columns: Sequence[str]) -> None:
        self.columns = tuple(columns)

    @abstractmethod
    def fit(self, frame: pd.DataFrame) -> Self:
        """Learn the facts of the training rows."""

    @abstractmethod
    def transform(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return a new frame."""


@final
class Dates(Step):
    """A date becomes those of its parts that vary in training, `{name}_{part}`, and `{name}_missing` where some were."""

    names_: dict[str, dict[str, str]]  # of each date, of each of its parts (and "missing"): the new column

    @override
    def fit(self, frame: pd.DataFrame) -> Self:
        taken, self.names_ = set(frame.columns), {}
        for date in self.columns:
            parts = _parts(frame, date)
            wanted: list[str] = [it for it in PARTS if it == "elapsed" or len(np.unique(parts[it][0])) > 1]
            wanted += ["missing"] if parts.missing.any() else []
            self.names_[date] = {part: _free_name(f"{date}_{part}", taken) for part in wanted}
            taken |= set(self.names_[date].values())
        return self

    @override
    def transform(self, frame: pd.DataFrame) -> pd.DataFrame:
        new: dict[str, Any] = {}
        for date, names in self.names_.items():
            parts = _parts(frame, date)
            for part, name in names.items():
                new[name] = parts.missing if part == "missing" else _rows(parts, part)
        return frame.drop(columns=list(self.columns)).assign(**new)


@final
class FillMissing(Step):
    """A missing number becomes the training median; `{name}_missing` marks it where training rows lacked some.

    Args:
        columns: Numbers, or text that reads as numbers.
        indicators: Those of the columns that may get a `…_missing` column; None for all.
    """

    def __init__(self, columns: Sequence[str], indicators: Sequence[str] | None = None) -> None:
        super().__init__(columns)
        self.indicators = self.columns if indicators is None else tuple(indicators)
        self.fills_: dict[str, float] = {}
        self.indicators_: dict[str, str] = {}  # of each column that training rows lacked: the new column that marks it

    @override
    def fit(self, frame: pd.DataFrame) -> Self:
        taken = set(frame.columns)
        for name in self.columns:
            facts = statistics_of(_numbers(frame, name), name)
            self.fills_[name] = facts.fill
            if facts.num_missing and name in self.indicators:
                self.indicators_[name] = _free_name(f"{name}_missing", taken)
                taken.add(self.indicators_[name])
        return self

    @override
    def transform(self, frame: pd.DataFrame) -> pd.DataFrame:
        new: dict[str, Any] = {}
        for name, fill in self.fills_.items():
            values = _numbers(frame, name)
            assert not np.isinf(values).any()
            missing = np.isnan(values)
            new[name] = np.where(missing, fill, values) if missing.any() else values
            if name in self.indicators_:
                new[self.indicators_[name]] = missing
        return frame.assign(**new)


@final
class Categorify(Step):
    """A value becomes its code: 0 for missing or unseen, i + 1 for the value at index i of the vocabulary."""

    vocabularies_: dict[str, tuple[Label, ...]]
    ordered_: dict[str, bool]

    @override
    def fit(self, frame: pd.DataFrame) -> Self:
        found = {name: vocabulary_of(Columns(frame).read(name), name) for name in self.columns}
        self.vocabularies_ = {name: vocabulary for name, (vocabulary, _) in found.items()}
        self.ordered_ = {name: ordered for name, (_, ordered) in found.items()}
        return self

    @override
    def transform(self, frame: pd.DataFrame) -> pd.DataFrame:
        new: dict[str, Any] = {}
        for name, vocabulary in self.vocabularies_.items():
            new[name] = np.empty(len(frame), dtype=np.int32)
            code_writer(Columns(frame).read(name), vocabulary, name)(slice(0, len(frame)), new[name])
        return frame.assign(**new)


@final
class Standardize(Step):
    """A number becomes `(number - mean) / std` as float32; a constant column becomes zeros, a missing number stays NaN."""

    means_: dict[str, float]
    stds_: dict[str, float]

    @override
    def fit(self, frame: pd.DataFrame) -> Self:
        numbers = {name: _numbers(frame, name) for name in self.columns}
        facts = {name: statistics_of(values[~np.isnan(values)], name) for name, values in numbers.items()}
        self.means_ = {name: fact.mean for name, fact in facts.items()}
        self.stds_ = {name: fact.std for name, fact in facts.items()}
        return self

    @override
    def transform(self, frame: pd.DataFrame) -> pd.DataFrame:
        new: dict[str, Any] = {}
        for name, mean in self.means_.items():
            new[name] = np.empty(len(frame), dtype=np.float32)
            number = Continuous(name=name, source=name, mean=mean, std=self.stds_[name], fill=np.nan)
            number_writer(_numbers(frame, name), number)(slice(0, len(frame)), new[name])
        return frame.assign(**new)


@final
class Chain(Step):
    """Several steps, each fitted on what the one before gives."""

    def __init__(self, steps: Sequence[Step]) -> None:
        super().__init__(())
        self.steps = tuple(steps)

    @override
    def fit(self, frame: pd.DataFrame) -> Self:
        for step in self.steps:
            frame = step.fit(frame).transform(frame)
        return self

    @override
    def transform(self, frame: pd.DataFrame) -> pd.DataFrame:
        for step in self.steps:
            frame = step.transform(frame)
        return frame

    def facts(self) -> list[dict[str, Any]]:
        """Return what each step has learnt."""
        return [{name: fact for name, fact in vars(step).items() if name.endswith("_")} for step in self.steps]


def chain_of(prepared: Prepared) -> Chain:
    """Return the fitted steps, rebuilt from a schema's facts; their frame holds what `to_arrays` gives, by column."""
    dates = Dates([date.name for date in prepared.dates])
    derived: list[Continuous | Categorical] = [*prepared.continuous, *prepared.categorical]
    found: dict[tuple[str, str | None], str] = {(column.source, column.part): column.name for column in derived}
    dates.names_ = {
        date.name: {part: found[date.name, part] for part in (*date.parts, "missing") if (date.name, part) in found}
        for date in prepared.dates
    }
    fill = FillMissing([column.name for column in prepared.continuous])
    fill.fills_ = {column.name: column.fill for column in prepared.continuous}
    fill.indicators_ = {
        column.source: column.name
        for column in prepared.categorical
        if column.part == "missing" and column.source not in dates.names_
    }
    categorify = Categorify([column.name for column in prepared.categorical])
    categorify.vocabularies_ = {column.name: column.vocabulary for column in prepared.categorical}
    categorify.ordered_ = {column.name: column.ordered for column in prepared.categorical}
    standardize = Standardize([column.name for column in prepared.continuous])
    standardize.means_ = {column.name: column.mean for column in prepared.continuous}
    standardize.stds_ = {column.name: column.std for column in prepared.continuous}
    return Chain([dates, fill, categorify, standardize])


def _parts(frame: pd.DataFrame, date: str) -> DateParts:
    return DateParts(Columns(frame).timestamps(date))


def _rows(parts: DateParts, part: Any) -> NDArray[Any] | pd.api.extensions.ExtensionArray:
    """Return the part of each row: a numpy array, nullable where dates are missing."""
    if part == "elapsed":
        return parts.elapsed
    distinct, rows = parts[part]
    values = np.insert(distinct, 0, 0)[rows]
    if not parts.missing.any():
        return values
    return (pd.arrays.BooleanArray if values.dtype.kind == "b" else pd.arrays.IntegerArray)(values, parts.missing)


def _numbers(frame: pd.DataFrame, name: str) -> NDArray[Any]:
    return Columns(frame).numbers(name).values
