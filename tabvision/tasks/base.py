"""What every task promises, and the target that it belongs to."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, TypeVar

import numpy as np

from tabvision.errors import BadTypeError, BadValueError, listed, speaking
from tabvision.plain import Label, from_plain

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray
    from torch import Tensor
    from torchmetrics import MetricCollection

Array = TypeVar("Array", bound=Any)  # of numpy or of torch
Correction = Literal["temperature", "label temperatures", "thresholds", "intervals"]


class Task(ABC):
    """One kind of target. B is the number of rows, C of classes, T of numbers to predict.

    Every task keeps the same promises: the network gives `num_outputs` logits a row; `activate` turns them into predictions
    of shape (B, C) or (B, T); `loss` is one value a row; `decode` turns predictions into what a user reads.

    A task of your own is a frozen dataclass of plain facts with a `name`. It needs `num_outputs`, `loss` and `metrics`;
    everything else has a default, that of a target of numbers. Files store its name and facts, never its code: pass it
    again to open them, such as `Predictor(path, task=MyTask)`.
    """

    name: ClassVar[str]  # the name in files and on the command line
    is_classes: ClassVar[bool] = False  # whether the target names classes, and predictions are probabilities
    allows_missing: ClassVar[bool] = False  # whether rows without a target are kept
    moves_with_image: ClassVar[bool] = False  # whether the target lies in an image and moves with it
    ranks_items: ClassVar[bool] = False  # whether the last prediction says how much a user likes an item
    calibrated_by: ClassVar[frozenset[Correction]] = frozenset()  # how answers can be corrected after training
    uncalibrated: ClassVar[str] = (
        "this kind of target has nothing that is calibrated, neither probabilities nor intervals"
    )

    # What the target looks like in a table.

    def suits(self, frame: pd.DataFrame, few: Sequence[Label] | None, separator: str | None) -> str | None:  # noqa: ARG002
        """Return a sentence that says why a target of no stated task is of this kind, or None if it is not.

        Args:
            frame: The target's columns; a single column without its missing values.
            few: The distinct values of a single column in order; None if there are many, or several columns.
            separator: What parts the labels in one column of text, or None.
        """
        return None

    def check(self, target: Target) -> None:
        """Raise if the task has no use for the target's columns or separator.

        Raises:
            BadValueError: Too many columns, or a separator.
        """
        if target.separator is not None:
            raise bad_separator(target)

    def find_classes(self, frame: pd.DataFrame, target: Target) -> tuple[Label, ...]:  # noqa: ARG002
        """Return the classes of the training rows in code order; none for numbers.

        Raises:
            BadTypeError: A kind of value that the task cannot predict.
            BadValueError: Classes that the task cannot predict, such as a single one.
        """
        return ()

    def encode(self, frame: pd.DataFrame, target: Target) -> NDArray[Any]:
        """Return the target of each row as numbers; batches hold floats as float32.

        Shape:
            - returns: (N,) int64 class codes; (N, C) float zeros and ones for labels; (N, T) float numbers

        Raises:
            BadValueError: A class that training lacks, or infinities.
            BadTypeError: A kind of value that the task cannot predict.
        """
        from tabvision.tasks import labels

        return np.stack([labels.as_numbers(frame[name], name) for name in target.columns], axis=1)

    def fit(self, target: NDArray[Any], num_classes: int) -> Self:  # noqa: ARG002
        """Return this task with the facts of a training target filled in.

        Args:
            target: The encoded training target, as `encode` gives it.
            num_classes: Classes the data has; 0 for numbers.

        Raises:
            BadValueError: The data contradicts what the user stated.
        """
        return self

    def stratify_codes(self, frame: pd.DataFrame, columns: Sequence[str]) -> NDArray[np.int64] | None:  # noqa: ARG002
        """Return class codes to divide rows by before the target is fitted, or None where rows have no single class."""
        return None

    def for_ratings(self, ratings: pd.Series, y_range: tuple[float, float] | None) -> Self:
        """Return this task as it predicts ratings.

        Args:
            ratings: Every rating there is: its steps and ends are known before anyone rates.
            y_range: Lowest and highest answer, or None.

        Raises:
            BadValueError: The task has no range, or all ratings are the same.
        """
        if y_range is not None:
            raise BadValueError(f"y_range is for numbers, and {ratings.name!r} is {self.name}", "Leave y_range out")
        return self

    @property
    def answer_range(self) -> tuple[float, float] | None:
        """The lowest and highest answer, or None where there are no bounds."""
        return None

    # What the network gives for it.

    @property
    @abstractmethod
    def num_outputs(self) -> int:
        """Logits the network gives for a row."""

    @property
    def num_predictions(self) -> int:
        """Numbers in the prediction of a row, as `activate` gives it."""
        return self.num_outputs

    @abstractmethod
    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the loss of each row.

        Shape:
            - logits: (B, num_outputs) float
            - target: as in the batch; softened targets (B, C) float are taken too
            - returns: (B,) float32 or wider
        """

    @abstractmethod
    def metrics(self) -> MetricCollection:
        """Return fresh default metrics, updated by `(predictions, target)`."""

    def activate(self, logits: Tensor) -> Tensor:
        """Return predictions from logits: (B, C) probabilities, or (B, T) numbers in the user's units."""
        return logits

    def mean_logits(self) -> Tensor | None:
        """Return the logits of the mean training target, for a network that is to begin there; None if not known."""
        return None

    def soften(self, target: Tensor) -> Tensor:
        """Return the target as (B, C) or (B, T) float, which may be blended between rows."""
        return target

    def constant(self, target: NDArray[Any]) -> NDArray[Any]:
        """Return the best prediction that looks at no feature, (1, C) or (1, T): class frequencies, or the mean."""
        mean: NDArray[Any] = np.asarray(target, dtype=np.float64).mean(axis=0, keepdims=True)
        return mean

    @property
    def prediction_scale(self) -> NDArray[np.float64]:
        """How far predictions lie apart, one number for all or one each; exported files may differ by 1e-5 of it."""
        return np.ones(1)

    # How it moves with its image.

    def to_view(self, target: NDArray[Any], views: NDArray[np.float64], *, cut: bool) -> NDArray[Any]:  # noqa: ARG002
        """Return encoded targets as they lie in the network's images, where they move with them.

        Args:
            target: As `encode` gives it.
            views: (B, 3, 3) from the network's frame, -1 to 1 from edge to edge, to pixels of each source.
            cut: Whether what the view does not show becomes missing: nothing can be learned of it.
        """
        return target

    def in_user_units(self, predictions: Array, view: Array | None) -> Array:  # noqa: ARG002 - most have them already
        """Return predictions in the user's units, where `activate` cannot know them: pixels of the image asked about.

        Args:
            predictions: As `activate` gives them, of numpy or of torch.
            view: The batch's `view`, or None.
        """
        return predictions

    # What a user reads.

    def decode(self, predictions: NDArray[Any]) -> NDArray[Any]:
        """Return what the predictions say: (B,) int64 codes, (B, C) bool for multi-label, (B, T) numbers."""
        return predictions

    def labels(self, codes: NDArray[Any], target: Target) -> NDArray[Any]:  # noqa: ARG002
        """Return the user's own labels from what `decode` answers or `encode` gives: (B,) labels, or (B, T) numbers."""
        return codes

    def names(self, target: Target) -> tuple[Label, ...]:
        """Return what each number of a prediction is called: the classes, or the target's columns."""
        return target.classes if self.is_classes else target.columns

    def answers(
        self,
        predictions: NDArray[Any],  # noqa: ARG002 - as `proba`, for classes
        decoded: NDArray[Any],
        target: Target,
        *,
        proba: bool,  # noqa: ARG002
    ) -> dict[str, Any]:
        """Return the columns that a user reads: `prediction`, or `prediction_<name>` where there are several.

        Args:
            predictions: (B, num_predictions), as `activate` gives them.
            decoded: What they say.
            target: Names the classes and columns.
            proba: Whether to add probabilities.
        """
        names = self.names(target)
        endings = [f"_{name}" for name in names] if len(names) > 1 else [""]
        return {f"prediction{ending}": decoded[:, place] for place, ending in enumerate(endings)}

    def draw(self, image: NDArray[np.uint8], encoded: NDArray[Any], target: Target) -> tuple[NDArray[np.uint8], str]:
        """Return an image of the network's size with its target drawn in, and a caption.

        Args:
            image: (H, W, 3).
            encoded: The row's target, as `encode` and `to_view` give it.
            target: Names the classes.
        """
        (label,) = self.labels(encoded[None], target)
        numbers = isinstance(label, np.ndarray)
        return image, ", ".join(f"{value:.3g}" for value in label) if numbers else str(label)

    # How files hold it.

    def to_dict(self) -> dict[str, Any]:
        """Return the task as plain data; one of the user's own is marked so.

        Raises:
            BadTypeError: It is no dataclass, whose facts could be stored.
        """
        from tabvision.tasks.registry import is_own  # which knows every task, and so cannot be known here

        if not dataclasses.is_dataclass(self):
            raise BadTypeError(
                f"the task {self.name!r} must be a dataclass", "Its fields are stored; decorate the class"
            )
        facts = {field.name: _plain(getattr(self, field.name)) for field in dataclasses.fields(self)}
        return {"name": self.name, **({"own": True} if is_own(self) else {}), **facts}

    @staticmethod
    @speaking("Task")
    def from_dict(data: Mapping[str, Any]) -> Task:
        """Return the task that `to_dict` wrote; one of the user's own within `own_task`.

        Raises:
            UnknownNameError: No task has that name.
            BadValueError: A fact is missing, unknown or out of range, or the task is the user's own.
        """
        from tabvision.tasks.registry import kind_of

        if not isinstance(data, Mapping):
            raise BadTypeError(f"a task must be an object, got {type(data).__name__}", "Pass what to_dict wrote")
        kind = kind_of(data)
        facts = {key: value for key, value in data.items() if key not in ("name", "own")}
        known = {field.name for field in dataclasses.fields(kind)}  # type: ignore[arg-type]  # tasks are dataclasses
        if unknown := sorted(map(str, set(facts) - known)):
            raise BadValueError(f"{kind.__name__} has no facts {unknown}", f"Known are {sorted(known)}")
        return from_plain(facts, kind)


@dataclass(frozen=True, kw_only=True)
class Target:
    """What is predicted.

    Args:
        columns: One column, or several for several numbers or labels.
        task: What kind of target it is, fitted to the training rows.
        classes: The user's labels in code order; empty for numbers.
        separator: What parts the labels in one multi-label column, or None.
        low: The smallest training value of each column, if they were recorded.
        high: The largest training value of each column, likewise.
    """

    columns: tuple[str, ...]
    task: Task
    classes: tuple[Label, ...] = ()
    separator: str | None = None
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()

    @property
    def quoted(self) -> str:
        """The columns as a sentence names them."""
        return listed([repr(name) for name in self.columns])


def bad_separator(target: Target) -> BadValueError:
    """Return the error of a separator that the task has no use for."""
    kind = type(target.task).__name__
    problem = f"a separator needs one multilabel column, got {target.separator!r} with {kind} and {target.quoted}"
    return BadValueError(problem, "Leave the separator out, or name one column and task='multilabel'")


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value
