"""The step that fills gaps in numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from typing_extensions import override

from tabvision.preprocess.checks import free_name
from tabvision.preprocess.columns import read_column
from tabvision.preprocess.convert import as_numbers
from tabvision.preprocess.statistics import check_finite, facts_of
from tabvision.preprocess.step import Step


@final
class FillMissing(Step):
    """A missing number becomes the training median, and `{name}_missing` marks it where training rows had gaps.

    A gap that comes only at prediction is filled the same way; nothing marks it, since no network has learnt the mark.

    Args:
        columns: Numbers, or text that reads as numbers.
        indicators: Those of the columns that may get a `…_missing` column; None for all.

    Example:
        >>> import pandas as pd
        >>> FillMissing(["x"]).fit(pd.DataFrame({"x": [1.0, None, 5.0]})).transform(pd.DataFrame({"x": [None]}))
             x  x_missing
        0  3.0       True
    """

    facts: ClassVar[tuple[str, ...]] = ("fills_", "indicators_")
    fills_: dict[str, float]  # of each column: the training median
    indicators_: dict[str, str]  # of each column with gaps in training: the new column that marks them

    def __init__(self, columns: Sequence[str], indicators: Sequence[str] | None = None) -> None:
        super().__init__(columns)
        self.indicators = self.columns if indicators is None else tuple(indicators)

    @override
    def _fit(self, frame: pd.DataFrame) -> None:
        fills, indicators, taken = {}, {}, set(frame.columns)
        for name in self.columns:
            facts = facts_of(_read(frame, name), name)
            fills[name] = facts.fill
            if facts.num_missing and name in self.indicators:
                indicators[name] = free_name(f"{name}_missing", taken)
                taken.add(indicators[name])
        self.fills_, self.indicators_ = fills, indicators

    @override
    def _transform(self, frame: pd.DataFrame) -> pd.DataFrame:
        new: dict[str, Any] = {}
        for name, fill in self.fills_.items():
            values = _read(frame, name)
            check_finite(values, name)
            gaps = np.isnan(values)
            new[name] = np.where(gaps, fill, values) if gaps.any() else values
            if name in self.indicators_:
                new[self.indicators_[name]] = gaps
        return frame.assign(**new)


def _read(frame: pd.DataFrame, name: str) -> NDArray[Any]:
    return as_numbers(read_column(frame[name], name), name).values
