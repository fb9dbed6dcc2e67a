"""The target of a task: its columns and classes, and facts about its values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta

from tabvision.errors import listed
from tabvision.plain import Label, NumberFormat
from tabvision.tasks.base import Task

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# with fewer rows than this, every row should train, and a network's members gain from inputs of their own
SMALL_TABLE = 20_000
MOST_GROWTHS = 100  # times that classes are added: each wraps the last layer, and Python limits the depth of calls


@dataclass(frozen=True)
class TargetFacts:
    """Facts about the target over more training rows than fit in memory.

    Args:
        counts: The number of rows in each class; empty unless each row has a single class.
        mean: The mean of each number; empty for classes, as are the rest.
        std: The standard deviation of each number (with `ddof=0`).
        low: The lowest value of each number.
        high: The highest value of each number.
    """

    counts: NDArray[np.int64]
    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Target:
    """The columns to predict, with their task and classes.

    Args:
        columns: One column, or several for several numbers or labels.
        task: The kind of target, fitted to the training rows.
        classes: The user's labels in code order; empty for numbers.
        separator: Text between the labels in one multi-label column, or None.
        low: The smallest training value of each column, if recorded.
        high: The largest training value of each column, if recorded.
        num_rows: The number of training and validation rows, if recorded, which decides the default network and fit.
            Validation rows from the same source count, so that holding some out does not change the network.
        grown: The number of classes added each time the network grew.
        frequencies: The fraction of training rows in each class, if recorded; a network starts by predicting these.
        text: How each column writes numbers as text; empty if none is text.
    """

    columns: tuple[str, ...]
    task: Task
    classes: tuple[Label, ...] = ()
    separator: str | None = None
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    num_rows: int = 0
    grown: Annotated[tuple[Annotated[int, Meta(ge=1)], ...], Meta(max_length=MOST_GROWTHS)] = ()
    frequencies: tuple[Annotated[float, Meta(ge=0, le=1)], ...] = ()
    text: tuple[NumberFormat, ...] = ()

    @property
    def of_small_table(self) -> bool:
        """Whether there are so few rows that a network's members take turns at holding rows out."""
        return 0 < self.num_rows < SMALL_TABLE

    @property
    def first_outputs(self) -> int:
        """The number of logits in the first fit, before the network grew."""
        return self.task.num_outputs - sum(self.grown)

    @property
    def quoted(self) -> str:
        """The columns, quoted for an error message."""
        return listed([repr(name) for name in self.columns])
