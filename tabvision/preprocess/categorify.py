"""The step that turns values into codes."""

from __future__ import annotations

from typing import Any, ClassVar, final

import numpy as np
import pandas as pd
from typing_extensions import override

from tabvision.preprocess.categories import code_writer, vocabulary_of
from tabvision.preprocess.columns import read_column
from tabvision.preprocess.step import Step
from tabvision.schema import Label


@final
class Categorify(Step):
    """A value becomes its code: 0 for missing or unseen, i + 1 for the value at place i of the vocabulary.

    The vocabulary is sorted; an ordered pandas category keeps its own order. Numbers match by value, whatever the
    dtype.

    Args:
        columns: Text, truth values, numbers, or pandas categories.

    Example:
        >>> import pandas as pd
        >>> step = Categorify(["x"]).fit(pd.DataFrame({"x": ["b", "a", None]}))
        >>> step.transform(pd.DataFrame({"x": ["a", "b", "c", None]}))["x"].tolist()
        [1, 2, 0, 0]
    """

    facts: ClassVar[tuple[str, ...]] = ("vocabularies_", "ordered_")
    vocabularies_: dict[str, tuple[Label, ...]]
    ordered_: dict[str, bool]

    @override
    def _fit(self, frame: pd.DataFrame) -> None:
        found = {name: vocabulary_of(read_column(frame[name], name)) for name in self.columns}
        self.vocabularies_ = {name: vocabulary for name, (vocabulary, _) in found.items()}
        self.ordered_ = {name: ordered for name, (_, ordered) in found.items()}

    @override
    def _transform(self, frame: pd.DataFrame) -> pd.DataFrame:
        new: dict[str, Any] = {}
        for name, vocabulary in self.vocabularies_.items():
            new[name] = np.empty(len(frame), dtype=np.int32)
            writer = code_writer(read_column(frame[name], name), vocabulary, name)
            writer(slice(0, len(frame)), new[name])
        return frame.assign(**new)
