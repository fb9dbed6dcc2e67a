"""The target that a task belongs to: its columns and classes, and what is known of its values."""

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

# rows to fit by below which every row should train, and the members of a network gain from inputs of their own
SMALL_TABLE = 20_000
MOST_GROWTHS = 100  # by new classes: each wraps the last layer, and Python's calls nest to a limited depth


@dataclass(frozen=True)
class TargetFacts:
    """Facts of the target over more training rows than memory holds.

    Args:
        counts: The rows of each class; empty if rows have no single class each.
        mean: The mean of each number; empty for classes, as are the others.
        std: The standard deviation of each (divided by the count, not by one less).
        low: The lowest.
        high: The highest.
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
        num_rows: The number of rows that train or validate, if recorded: small tables get another network and another
            fit. Validation rows of the same source count, so that holding some out does not choose another network.
        grown: The number of classes that each growth of the network has added.
        frequencies: The fraction of the training rows in each class, if recorded: a network starts with these answers.
        text: How the text of each column writes numbers; empty if none is text.
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
        """Whether there are so few rows that members of a network hold out rows for each other."""
        return 0 < self.num_rows < SMALL_TABLE

    @property
    def first_outputs(self) -> int:
        """The logits of the first fit, before the network has grown."""
        return self.task.num_outputs - sum(self.grown)

    @property
    def quoted(self) -> str:
        """The columns, quoted for an error message."""
        return listed([repr(name) for name in self.columns])
