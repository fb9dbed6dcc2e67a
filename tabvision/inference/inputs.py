"""Raw rows, in whatever form they come, to the arrays that a network reads. No torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias, final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tabvision.data.tables.read import read_frame
from tabvision.errors import count
from tabvision.preprocess import RowEncoder, to_arrays
from tabvision.schema import Schema

FEW_ROWS = 16  # up to here plain Python is quicker than a frame
_COLUMN = (list, tuple, np.ndarray, pd.Series)  # a dict of these is a table, not one row
Rows: TypeAlias = pd.DataFrame | Mapping[str, object] | Sequence[Mapping[str, object]] | str | Path


@final
@dataclass(frozen=True)
class Inputs:
    """What a network reads, and the index that its answers get.

    Args:
        arrays: Those of `continuous` (N, C) float32 and `categorical` (N, K) int32 that the schema has columns for.
        num_rows: Rows in all.
        index: Of the frame that came; None where no frame did.
        unseen: Rows with a category that training lacks, by raw column.
    """

    arrays: Mapping[str, NDArray[Any]]
    num_rows: int
    index: pd.Index | None = None
    unseen: Mapping[str, int] = field(default_factory=dict)

    def part(self, start: int, stop: int) -> dict[str, NDArray[Any]]:
        """The arrays of some rows."""
        return {name: array[start:stop] for name, array in self.arrays.items()}


@final
class InputReader:
    """Reads raw rows by a schema; built once, called many times, by any number of threads.

    Args:
        schema: Of the model that will be asked.

    Example:
        >>> from tabvision.schema import Continuous, Target
        >>> from tabvision.tasks import Regression
        >>> age = Continuous(name="age", source="age", mean=40.0, std=10.0, fill=40.0)
        >>> read = InputReader(Schema(target=Target(columns=("pay",), task=Regression()), continuous=(age,)))
        >>> read({"age": 50}).arrays["continuous"].tolist(), read({"age": [50, None]}).num_rows
        ([[1.0]], 2)
    """

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self._encode = RowEncoder(schema)

    def __call__(self, source: Rows) -> Inputs:
        """The arrays of a frame, one row as a dict, a list of such rows, a dict of columns, or a table file.

        Raises:
            MissingColumnsError: A column that training had is not there.
            TabvisionError: Anything else that is wrong with the rows.
        """
        if isinstance(source, Mapping) and not any(isinstance(value, _COLUMN) for value in source.values()):
            source = [source]
        if isinstance(source, list | tuple) and len(source) <= FEW_ROWS:
            return self._inputs(self._encode(source), None, gaps_in_rows(source))
        text = self.schema.text_columns
        frame = source if isinstance(source, pd.DataFrame) else read_frame(source, text=text)
        return self._inputs(to_arrays(self.schema, frame), frame.index, gaps_in_frame(frame))

    def _inputs(
        self,
        arrays: tuple[NDArray[Any], NDArray[Any]],
        index: pd.Index | None,
        gaps: Callable[[str], NDArray[np.bool_]],
    ) -> Inputs:
        columns = {"continuous": self.schema.continuous, "categorical": self.schema.categorical}
        used = {name: array for name, array in zip(columns, arrays, strict=True) if columns[name]}
        return Inputs(used, len(arrays[0]), index, unseen_counts(self.schema, arrays[1], gaps))


ATTRIBUTE = "unseen"  # of an answered frame: `answers.attrs["unseen"]`


def unseen_counts(
    schema: Schema, codes: NDArray[np.integer], is_missing: Callable[[str], NDArray[np.bool_]]
) -> dict[str, int]:
    """Rows with a value that the training rows lack, for each raw column of categories that has such.

    Args:
        schema: Of the model.
        codes: (N, K) codes of the categories, 0 for missing or unseen.
        is_missing: Which rows, (N,), have no value in a raw column; asked only where a code is 0.

    Example:
        >>> from tabvision.schema import Categorical, Target
        >>> from tabvision.tasks import Binary
        >>> job = Categorical(name="job", source="job", vocabulary=("cook", "nurse"))
        >>> schema = Schema(target=Target(columns=("paid",), task=Binary()), categorical=(job,))
        >>> unseen_counts(schema, np.array([[1], [0], [0]]), lambda name: np.array([False, True, False]))
        {'job': 1}
    """
    has_zero = (codes == 0).any(axis=0).tolist()
    found = {}
    for place, column in enumerate(schema.categorical):
        if has_zero[place] and column.name == column.source:  # others are flags, and parts of dates
            found[column.name] = int(((codes[:, place] == 0) & ~is_missing(column.source)).sum())
    return {name: number for name, number in found.items() if number}


def gaps_in_frame(frame: pd.DataFrame) -> Callable[[str], NDArray[np.bool_]]:
    """Which rows of a frame have no value in a column."""
    return lambda name: frame[name].isna().to_numpy(dtype=bool)


def gaps_in_rows(rows: Any) -> Callable[[str], NDArray[np.bool_]]:  # noqa: ANN401 - a sequence of mappings
    """Which of some rows have no value in a column."""
    return lambda name: np.array([bool(pd.isna(row[name])) for row in rows], dtype=bool)


def unseen_sentences(answers: pd.DataFrame) -> list[str]:
    """What there is to say about the rows behind answers.

    Example:
        >>> answers = pd.DataFrame({"prediction": [3.5, 3.0]})
        >>> answers.attrs["unseen"] = {"user": 1}
        >>> unseen_sentences(answers)
        ["1 of 2 rows with a 'user' that training lacks, answered as unknown"]
    """
    unseen: Mapping[str, int] = answers.attrs.get(ATTRIBUTE, {})
    rows = count(len(answers), "row")
    return [
        f"{number:,} of {rows} with a {name!r} that training lacks, answered as unknown"
        for name, number in unseen.items()
    ]


def missing_sentences(module: object, frame: pd.DataFrame) -> list[str]:
    """What there is to say about pairs without a user or item, which nobody can rate; gaps in a table are nothing unusual."""
    from tabvision.modules import CollabModule  # torch, which an exported model does without

    if not isinstance(module, CollabModule):
        return []
    gaps = {name: int(frame[name].isna().sum()) for name in module.schema.inputs}
    rows = count(len(frame), "row")
    return [f"{number:,} of {rows} without a {name!r}, answered as unknown" for name, number in gaps.items() if number]
