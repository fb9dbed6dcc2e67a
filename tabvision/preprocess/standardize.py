"""The step that brings numbers to mean 0 and spread 1."""

from __future__ import annotations

from typing import Any, ClassVar, final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from typing_extensions import override

from tabvision.preprocess.columns import read_column
from tabvision.preprocess.convert import as_numbers
from tabvision.preprocess.statistics import facts_of, number_writer
from tabvision.preprocess.step import Step


@final
class Standardize(Step):
    """A number becomes `(number - mean) / spread`, as float32; a column that never changes becomes zeros.

    Gaps are left to `FillMissing`, which comes before; one that is still there stays NaN.

    Args:
        columns: Numbers, or text that reads as numbers.

    Example:
        >>> import pandas as pd
        >>> frame = pd.DataFrame({"x": [1.0, 3.0], "constant": [0.1, 0.1]})
        >>> Standardize(["x", "constant"]).fit(frame).transform(frame).to_numpy().tolist()
        [[-1.0, 0.0], [1.0, 0.0]]
    """

    facts: ClassVar[tuple[str, ...]] = ("means_", "spreads_")
    means_: dict[str, float]
    spreads_: dict[str, float]  # standard deviations, divided by the count; 1 for a constant column

    @override
    def _fit(self, frame: pd.DataFrame) -> None:
        facts = {}
        for name in self.columns:
            values = _read(frame, name)
            facts[name] = facts_of(values[~np.isnan(values)], name)
        self.means_ = {name: fact.mean for name, fact in facts.items()}
        self.spreads_ = {name: fact.spread for name, fact in facts.items()}

    @override
    def _transform(self, frame: pd.DataFrame) -> pd.DataFrame:
        new: dict[str, Any] = {}
        for name, mean in self.means_.items():
            new[name] = np.empty(len(frame), dtype=np.float32)
            writer = number_writer(_read(frame, name), np.nan, mean, self.spreads_[name], name)
            writer(slice(0, len(frame)), new[name])
        return frame.assign(**new)


def _read(frame: pd.DataFrame, name: str) -> NDArray[Any]:
    return as_numbers(read_column(frame[name], name), name).values
