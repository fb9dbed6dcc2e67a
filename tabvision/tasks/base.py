"""What every task promises."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

from tabvision.errors import BadTypeError, BadValueError, speaking
from tabvision.plain import from_plain

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor
    from torchmetrics import MetricCollection

Array = TypeVar("Array", bound=Any)  # of numpy or of torch


class Task(ABC):
    """One kind of target. B is the number of rows, C of classes, T of numbers to predict.

    Every task keeps the same promises: the network gives `num_outputs` logits a row; `activate` turns them into predictions
    of shape (B, C) or (B, T); `loss` is one value a row; `decode` turns predictions into what a user reads.
    """

    name: ClassVar[str]  # the name in files and on the command line

    @property
    @abstractmethod
    def num_outputs(self) -> int:
        """Logits the network gives for a row."""

    @property
    def is_classes(self) -> bool:
        """Whether the target names classes (and predictions are probabilities) rather than numbers."""
        return True

    @abstractmethod
    def fit(self, target: NDArray[Any], num_classes: int) -> Self:
        """This task with the facts of a training target filled in.

        Args:
            target: The encoded training target: (B,) int64 codes, or (B, C) or (B, T) float.
            num_classes: Classes the data has; 0 for numbers.

        Raises:
            BadValueError: The data contradicts what the user stated.
        """

    @abstractmethod
    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """The loss of each row.

        Shape:
            - logits: (B, num_outputs) float
            - target: as in the batch; softened targets (B, C) float are taken too
            - returns: (B,) float32 or wider
        """

    @abstractmethod
    def activate(self, logits: Tensor) -> Tensor:
        """Predictions from logits: (B, C) probabilities, or (B, T) numbers in the user's units."""

    def in_user_units(self, predictions: Array, view: Array | None) -> Array:  # noqa: ARG002 - most have them already
        """Predictions in the user's units, where `activate` cannot know them: points as pixels of the pictures asked about.

        Args:
            predictions: As `activate` gives them, of numpy or of torch.
            view: The batch's `view`, or None.
        """
        return predictions

    @abstractmethod
    def decode(self, predictions: NDArray[Any]) -> NDArray[Any]:
        """What the predictions say: (B,) int64 codes, (B, C) bool for multi-label, (B, T) numbers."""

    @abstractmethod
    def soften(self, target: Tensor) -> Tensor:
        """The target as (B, C) or (B, T) float, which may be blended between rows."""

    @abstractmethod
    def constant(self, target: NDArray[Any]) -> NDArray[Any]:
        """The best prediction that looks at no feature, (1, C) or (1, T): class shares, or the mean."""

    @abstractmethod
    def metrics(self) -> MetricCollection:
        """Fresh default metrics, updated by `(predictions, target)`."""

    def to_dict(self) -> dict[str, Any]:
        """The task as plain data."""
        facts = {
            field.name: _plain(getattr(self, field.name))
            for field in dataclasses.fields(self)  # type: ignore[arg-type]  # concrete tasks are dataclasses
        }
        return {"name": self.name, **facts}

    @staticmethod
    @speaking("Task")
    def from_dict(data: Mapping[str, Any]) -> Task:
        """The task that `to_dict` wrote.

        Raises:
            UnknownNameError: No task has that name.
            BadValueError: A fact is missing, unknown or out of range.
        """
        if not isinstance(data, Mapping):
            raise BadTypeError(f"a task must be an object, got {type(data).__name__}", "Pass what to_dict wrote")
        facts = {key: value for key, value in data.items() if key != "name"}
        from tabvision.tasks.registry import task_named  # which knows every task, and so cannot be known here

        kind = type(task_named(data.get("name")))
        known = {field.name for field in dataclasses.fields(kind)}
        if unknown := sorted(map(str, set(facts) - known)):
            raise BadValueError(f"{kind.__name__} has no facts {unknown}", f"Known are {sorted(known)}")
        return from_plain(facts, kind)


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value
