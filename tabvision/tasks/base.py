"""The base class of all tasks."""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, TypeVar

import numpy as np

from tabvision.checks import without_array
from tabvision.errors import BadTypeError, BadValueError, speaking
from tabvision.plain import Label, from_plain

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray
    from torch import Tensor
    from torchmetrics import MetricCollection

    from tabvision.tasks.target import Target, TargetFacts

Array = TypeVar("Array", bound=Any)  # numpy or torch
NEW_CLASS = 1e-3  # the initial probability of a class added to a trained network
Correction = Literal["temperature", "label temperatures", "thresholds", "intervals"]


class Task(ABC):
    """One kind of target. B is the number of rows, C of classes, T of numbers to predict.

    All tasks share one contract: the network outputs `num_outputs` logits per row; `activate` turns them into predictions of
    shape (B, C) or (B, T); `loss` returns one value per row; `decode` turns predictions into classes or numbers.

    A custom task is a frozen dataclass of plain facts with a `name`. It must define `num_outputs`, `loss` and `metrics`;
    every other method defaults to the behavior of a numeric target. Files store its name and facts, never its code, so pass
    the class again to open them, as in `Predictor(path, task=MyTask)`.
    """

    name: ClassVar[str]  # its name in files and on the command line
    is_classes: ClassVar[bool] = False  # whether the target names classes, and predictions are probabilities
    allows_missing: ClassVar[bool] = False  # whether rows with a missing target are used
    moves_with_image: ClassVar[bool] = False  # whether the target is a position in the image and moves with it
    ranks_items: ClassVar[bool] = False  # whether the last prediction is how much a user likes an item
    calibrated_by: ClassVar[frozenset[Correction]] = frozenset()  # how predictions can be corrected after training
    uncalibrated: ClassVar[str] = (
        "this kind of target has nothing that is calibrated, neither probabilities nor intervals"
    )

    # The target in a table.

    def suits(self, frame: pd.DataFrame, few: Sequence[Label] | None, separator: str | None) -> str | None:  # noqa: ARG002
        """Return a sentence that explains why this task suits the target, or None if it does not.

        Args:
            frame: The target's columns; a single column without its missing values.
            few: The sorted distinct values of a single column; None if there are many, or several columns.
            separator: Text between the labels in one multi-label column, or None.
        """
        return None

    def check(self, target: Target) -> None:
        """Raise if the task cannot use the target's columns or separator.

        Raises:
            BadValueError: There are too many columns, or there is a separator.
        """
        if target.separator is not None:
            got = f"{target.separator!r} with {type(target.task).__name__} and {target.quoted}"
            problem = f"a separator needs one multilabel column, got {got}"
            raise BadValueError(problem, "Leave the separator out, or name one column and task='multilabel'")

    def find_classes(self, frame: pd.DataFrame, target: Target) -> tuple[Label, ...]:  # noqa: ARG002
        """Return the classes in the training rows in code order; empty for numbers.

        Raises:
            BadTypeError: The column holds a kind of value that the task cannot predict.
            BadValueError: The task cannot predict these classes, such as a single one.
        """
        return ()

    def encode(self, frame: pd.DataFrame, target: Target) -> NDArray[Any]:
        """Return the target of each row as numbers; floats are cast to float32 in batches.

        Shape:
            - returns: (N,) int64 class codes; (N, C) float zeros and ones for labels; (N, T) float numbers

        Raises:
            BadValueError: A class is not in the training rows, or numbers are infinite.
            BadTypeError: The column holds a kind of value that the task cannot predict.
        """
        from tabvision.tasks import labels

        return np.stack([labels.as_floats(frame[name], name) for name in target.columns], axis=1)

    def fit(self, target: NDArray[Any], num_classes: int) -> Self:  # noqa: ARG002
        """Return a copy of the task with the facts of the training target filled in.

        Args:
            target: The training target as returned by `encode`.
            num_classes: Classes in the data; 0 for numbers.

        Raises:
            BadValueError: The data contradicts a fact that the user stated.
        """
        return self

    def refit(self, facts: TargetFacts) -> Self:  # noqa: ARG002
        """Return a copy with the facts of all training rows; called before and after `fit`, which sees only a sample."""
        return self

    def stratify_codes(self, frame: pd.DataFrame, columns: Sequence[str]) -> NDArray[np.int64] | None:  # noqa: ARG002
        """Return class codes for a stratified split before the target is fitted, or None if rows have no single class."""
        return None

    def for_ratings(self, ratings: pd.Series, y_range: tuple[float, float] | None) -> Self:
        """Return a copy of the task that predicts ratings.

        Args:
            ratings: All ratings in the source, not just those for training: the rating scale is known in advance.
            y_range: Lowest and highest prediction, or None.

        Raises:
            BadValueError: The task has no range, or all ratings are equal.
        """
        if y_range is not None:
            raise BadValueError(f"y_range is for numbers, and {ratings.name!r} is {self.name}", "Leave y_range out")
        return self

    def for_later_rows(self) -> Self:
        """Return a copy of the task for rows later in time than the training rows, which may lie outside their range."""
        return self

    @property
    def settings_text(self) -> str:
        """The settings to show after the task's name in a printed schema; "" for none."""
        return ""

    def for_values(self, target: NDArray[Any]) -> Task:  # noqa: ARG002
        """Return the task with settings that suit the encoded training targets; called if the user did not state a task."""
        return self

    @property
    def is_relative(self) -> bool:
        """Whether errors count relative to the prediction, which makes gradients steep for rows far above the mean.

        If so, nominal numbers, such as codes, are not embedded by value, and the default rate for large tables is lower.
        """
        return False

    def grow(self, new: Task, num_classes: int) -> Task:  # noqa: ARG002 - the range of new numbers
        """Return the task for a trained network that is extended to new rows.

        Args:
            new: The task as fitted to the new rows.
            num_classes: The total number of classes, the known ones first; 0 for numbers.

        Raises:
            BadValueError: There are new classes, but the task cannot add any.
        """
        if num_classes:
            raise BadValueError(f"a network for {self.name} cannot learn new classes", "Train a new one on all rows")
        return self

    def join_new(self, known: Tensor, new: Tensor) -> Tensor:
        """Join the logits of known and new classes in a network that has grown; where `new` is 0, new classes are rare.

        Shape:
            - known: (..., C) float, the logits of the known classes
            - new: (..., N) float
            - returns: (..., C + N) float
        """
        import torch

        return torch.cat([known, new + math.log(NEW_CLASS / (1 - NEW_CLASS))], dim=-1)

    @property
    def answer_range(self) -> tuple[float, float] | None:
        """The lowest and highest prediction, or None if there are no bounds."""
        return None

    # What the network outputs.

    @property
    @abstractmethod
    def num_outputs(self) -> int:
        """Number of logits that the network outputs per row."""

    @property
    def num_predictions(self) -> int:
        """Number of values in a row's prediction, as returned by `activate`."""
        return self.num_outputs

    @abstractmethod
    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the loss of each row.

        Shape:
            - logits: (B, num_outputs) float
            - target: as in the batch, or softened: (B, C) float
            - returns: (B,) float32 or wider
        """

    def expected_target(self, target: Tensor) -> str | None:  # noqa: ARG002
        """Return what the targets of a batch must be, or None if they are; it checks a user's own loaders."""
        return None

    @abstractmethod
    def metrics(self) -> MetricCollection:
        """Return new default metrics, to be updated with `(predictions, target)`."""

    def activate(self, logits: Tensor) -> Tensor:
        """Return predictions from logits: (B, C) probabilities, or (B, T) numbers in the user's units."""
        return logits

    def combine(self, logits: Tensor) -> Tensor:
        """Combine the logits of several networks: for classes, return the logits of the mean probability, else the mean.

        Shape:
            - logits: (B, k, num_outputs) float
            - returns: (B, num_outputs) float
        """
        return logits.mean(1)

    def mean_logits(self) -> Tensor | None:
        """Return the logits of the mean training target, for initializing the head's bias; None if unknown."""
        return None

    def logits_of(self, predictions: Tensor) -> Tensor | None:  # noqa: ARG002
        """Return the logits that `activate` turns into these predictions, for the loss of a constant; None if unknown."""
        return None

    def soften(self, target: Tensor) -> Tensor:
        """Return the target as (B, C) or (B, T) float, so that mixup can blend rows."""
        return target

    def constant(self, target: NDArray[Any]) -> NDArray[Any]:
        """Return the best prediction that ignores all features, (1, C) or (1, T): class frequencies, or the mean."""
        mean: NDArray[Any] = np.asarray(target, dtype=np.float64).mean(axis=0, keepdims=True)
        return mean

    def held(self, predictions: NDArray[Any]) -> NDArray[np.bool_]:
        """Return a mask, (B,), of the rows whose prediction was clipped to the bounds around the training targets."""
        return np.zeros(len(predictions), dtype=np.bool_)

    @property
    def prediction_scale(self) -> NDArray[np.float64]:
        """Scale of the predictions, one number for all or for each; an exported file may differ by 1e-5 of it."""
        return np.ones(1)

    # How the target moves with its image.

    def to_view(self, target: NDArray[Any], views: NDArray[np.float64], *, cut: bool) -> NDArray[Any]:  # noqa: ARG002
        """Return encoded targets in the coordinates of the network's images, if they move with the image.

        Args:
            target: As returned by `encode`.
            views: (B, 3, 3) transforms from the network's frame, -1 to 1 from edge to edge, to pixels of each source image.
            cut: Whether targets outside the view become missing, since nothing can be learned from them.
        """
        return target

    def in_user_units(self, predictions: Array, view: Array | None) -> Array:  # noqa: ARG002 - `activate` returns most in user units
        """Convert predictions to user units that `activate` cannot know, such as pixels of the source image.

        Args:
            predictions: As returned by `activate`, numpy or torch.
            view: The batch's `view`, or None.
        """
        return predictions

    # What a user reads.

    def decode(self, predictions: NDArray[Any]) -> NDArray[Any]:
        """Return decoded predictions: (B,) int64 codes, (B, C) bool for multi-label, or (B, T) numbers."""
        return predictions

    def labels(self, codes: NDArray[Any], target: Target) -> NDArray[Any]:  # noqa: ARG002
        """Return the user's labels for the result of `decode` or `encode`: (B,) labels, or (B, T) numbers."""
        return codes

    def names(self, target: Target) -> tuple[Label, ...]:
        """Return the name of each value in a prediction: the classes, or the target's columns."""
        return target.classes if self.is_classes else target.columns

    def answers(
        self, predictions: NDArray[Any], decoded: NDArray[Any], target: Target, *, proba: bool
    ) -> dict[str, Any]:
        """Return the columns of the answer: `prediction`, or `prediction_<name>` for several.

        Args:
            predictions: (B, num_predictions), as returned by `activate`.
            decoded: The same predictions, as returned by `decode`.
            target: Names of the classes and columns.
            proba: Whether to add probabilities.
        """
        del predictions, proba  # only classes use these
        names = self.names(target)
        endings = [f"_{name}" for name in names] if len(names) > 1 else [""]
        return {f"prediction{ending}": decoded[:, index] for index, ending in enumerate(endings)}

    def draw(self, image: NDArray[np.uint8], encoded: NDArray[Any], target: Target) -> tuple[NDArray[np.uint8], str]:
        """Return the network's input image with the target drawn on it, and a caption.

        Args:
            image: (H, W, 3).
            encoded: The row's target, as returned by `encode` and `to_view`.
            target: Names of the classes.
        """
        (label,) = self.labels(encoded[None], target)
        numbers = isinstance(label, np.ndarray)
        return image, ", ".join(f"{value:.3g}" for value in label) if numbers else str(label)

    # The task in files.

    def to_dict(self) -> dict[str, Any]:
        """Return the task as plain data; a custom task is marked as such.

        Raises:
            BadTypeError: The task is not a dataclass, so its facts cannot be stored.
        """
        from tabvision.tasks.registry import is_own  # the registry imports every task

        if not dataclasses.is_dataclass(self):
            problem = f"the task {self.name!r} must be a dataclass"
            raise BadTypeError(problem, "Its fields are stored; decorate the class")
        facts = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        plain = {
            name: without_array(list(value) if isinstance(value, tuple) else value) for name, value in facts.items()
        }
        return {"name": self.name, **({"own": True} if is_own(self) else {}), **plain}

    @staticmethod
    @speaking("Task")
    def from_dict(data: Mapping[str, Any]) -> Task:
        """Return the task that `to_dict` wrote; a custom task can be read only inside `own_task`.

        Raises:
            UnknownNameError: No task has that name.
            BadValueError: A fact is missing, unknown or out of range, or the task is a custom one.
        """
        from tabvision.tasks.registry import kind_of

        if not isinstance(data, Mapping):
            raise BadTypeError(f"a task must be an object, got {type(data).__name__}", "Pass what to_dict wrote")
        kind = kind_of(data)
        return from_plain({key: value for key, value in data.items() if key not in ("name", "own")}, kind)
