"""What somebody asks about: rows of a table or pictures, batch by batch as a module reads them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from typing_extensions import override

from tabvision.batch import Batch
from tabvision.checks import check_fraction
from tabvision.errors import BadValueError
from tabvision.inference.inputs import Inputs

BATCH_SIZE = 2048  # measured on CPUs: more rows of a table no longer fit their caches


class Asked(ABC):
    """Rows to be answered.

    Args:
        num_rows: How many.
        index: What the answers are indexed by; None for 0, 1, 2 and so on.
        shown: Columns that stand before the answers.
        frame: The rows as a table, where there is one.
    """

    def __init__(
        self,
        num_rows: int,
        *,
        index: pd.Index | None = None,
        shown: Mapping[str, Any] | None = None,
        frame: pd.DataFrame | None = None,
    ) -> None:
        self.num_rows, self.index, self.frame = num_rows, index, frame
        self.shown = dict(shown or {})
        self.errors: dict[int, str] = {}  # why a row has no answer
        self.unseen: Mapping[str, int] = {}  # rows with a category that training lacks, by raw column

    @property
    @abstractmethod
    def default_batch_size(self) -> int:
        """Rows that go through the network at once."""

    @abstractmethod
    def batches(self, batch_size: int, look: int = 0) -> Iterator[tuple[NDArray[np.int64], Batch]]:
        """The rows in order, as row numbers and what a module reads.

        Args:
            batch_size: Rows at once.
            look: 0 for rows as they are; from 1 for varied ones, another way for each number.
        """


@final
class AskedRows(Asked):
    """Rows of a table.

    Args:
        inputs: What the network reads of them.
    """

    def __init__(self, inputs: Inputs) -> None:
        super().__init__(inputs.num_rows, index=inputs.index)
        self.inputs, self.unseen = inputs, inputs.unseen

    @property
    @override
    def default_batch_size(self) -> int:
        return BATCH_SIZE

    @override
    def batches(self, batch_size: int, look: int = 0) -> Iterator[tuple[NDArray[np.int64], Batch]]:
        import torch  # where there is a module to be asked: an exported model's pictures come this way as well

        for start in range(0, self.num_rows, batch_size):
            rows = np.arange(start, min(start + batch_size, self.num_rows))
            part = self.inputs.part(start, start + batch_size)
            yield (
                rows,
                {
                    "continuous": torch.from_numpy(part["continuous"])
                    if "continuous" in part
                    else torch.zeros(len(rows), 0),
                    "categorical": torch.from_numpy(part["categorical"]).long()
                    if "categorical" in part
                    else torch.zeros(len(rows), 0, dtype=torch.int64),
                },
            )


def blend(
    plain: NDArray[np.floating], augmented: NDArray[np.floating], *, beta: float = 0.25, use_max: bool = False
) -> NDArray[np.floating]:
    """The answer from a plain view of each row and from varied ones.

    Args:
        plain: Predictions from the plain view: probabilities of classes, or numbers.
        augmented: Predictions from each varied view.
        beta: What the plain view's answer counts, in [0, 1]; the varied views' mean counts the rest.
        use_max: Whether to take the largest probability of all views instead, plain included; rows then no longer sum to 1.

    Shape:
        - plain: (R, C) float
        - augmented: (n, R, C) float
        - returns: (R, C) float

    Raises:
        BadTypeError: `beta` is no number.
        BadValueError: `beta` out of range, no varied view, or shapes that do not fit.

    Source:
        fastai 2.8 `Learner.tta`, "preds (mean over n augmented) and targets, lerped with beta".

    Example:
        >>> blend(np.array([[1.0, 0.0]]), np.array([[[0.0, 1.0]]])).tolist()
        [[0.25, 0.75]]
    """
    _check(plain, augmented, beta)
    if use_max:
        largest: NDArray[np.floating] = np.maximum(augmented.max(axis=0), plain)
        return largest
    mean = augmented.mean(axis=0)
    blended: NDArray[np.floating] = mean + beta * (plain - mean)
    return blended


def _check(plain: NDArray[np.floating], augmented: NDArray[np.floating], beta: object) -> None:
    check_fraction("beta", beta, "[]", remedy="Leave it out for 0.25")
    if augmented.ndim != plain.ndim + 1 or augmented.shape[1:] != plain.shape or not len(augmented):
        problem = f"varied answers must be (n, {', '.join(map(str, plain.shape))}), n from 1, got {augmented.shape}"
        raise BadValueError(problem, "Pass one answer a row for each view")
