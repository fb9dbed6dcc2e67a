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
from tabvision.inference.unseen import gaps_in_frame, gaps_in_rows, unseen_counts
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
        who: Who speaks in an error.

    Example:
        >>> from tabvision.schema import Continuous, Target
        >>> from tabvision.tasks import Regression
        >>> age = Continuous(name="age", source="age", mean=40.0, spread=10.0, fill=40.0)
        >>> read = InputReader(Schema(target=Target(columns=("pay",), task=Regression()), continuous=(age,)), "here")
        >>> read({"age": 50}).arrays["continuous"].tolist(), read({"age": [50, None]}).num_rows
        ([[1.0]], 2)
    """

    def __init__(self, schema: Schema, who: str) -> None:
        self.schema, self._who = schema, who
        self._encode = RowEncoder(schema, who=who)

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
        frame = source if isinstance(source, pd.DataFrame) else read_frame(source, who=self._who, text=text)
        return self._inputs(to_arrays(self.schema, frame, who=self._who), frame.index, gaps_in_frame(frame))

    def _inputs(
        self,
        arrays: tuple[NDArray[Any], NDArray[Any]],
        index: pd.Index | None,
        gaps: Callable[[str], NDArray[np.bool_]],
    ) -> Inputs:
        columns = {"continuous": self.schema.continuous, "categorical": self.schema.categorical}
        used = {name: array for name, array in zip(columns, arrays, strict=True) if columns[name]}
        return Inputs(used, len(arrays[0]), index, unseen_counts(self.schema, arrays[1], gaps))
