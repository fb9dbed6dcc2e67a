"""Points in a picture."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, final

import numpy as np
from typing_extensions import override

from tabvision.errors import BadValueError, speaking
from tabvision.tasks.base import Task
from tabvision.tasks.checks import check_count, checked_range, fitted_count

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor
    from torchmetrics import MetricCollection

Array = TypeVar("Array", bound=Any)  # of numpy or of torch


@final
@dataclass(frozen=True)
class Points(Task):
    """One point or several in each picture, such as the corners of the eyes: columns of x and y in turns.

    A user's points are pixels of the picture as it stands upright, (0, 0) the center of its first pixel. The network's are
    moved with the picture, however it is cropped, turned or warped, and lie in its own frame: -1 to 1 from edge to edge.
    Answers are pixels of the picture that was asked about. A point that is not there is not a number: it has no loss.

    Args:
        num_points: Points in a picture; filled in by the data.
        y_range: Lowest and highest coordinate in the network's frame, reached by a scaled sigmoid; None for no bounds.

    Source:
        fastai 2.8 `PointBlock`, and its `y_range=(-1, 1)`.

    Example:
        >>> import torch
        >>> Points(1).activate(torch.zeros(1, 2)).tolist()
        [[0.0, 0.0]]
    """

    name: ClassVar[str] = "points"
    num_points: int | None = None
    y_range: tuple[float, float] | None = (-1.0, 1.0)

    @speaking()
    def __post_init__(self) -> None:
        """Checks the facts."""
        check_count("num_points", self.num_points, least=1, remedy="Leave it out; the data fills it in")
        if self.y_range is not None:
            object.__setattr__(self, "y_range", checked_range(self.y_range))

    @property
    @override
    @speaking("Points")
    def num_outputs(self) -> int:
        return 2 * fitted_count(self.num_points)

    @property
    @override
    def is_classes(self) -> bool:
        return False

    @override
    @speaking()
    def fit(self, target: NDArray[Any], num_classes: int) -> Points:
        found = target.shape[1] // 2
        if self.num_points not in (None, found):
            raise BadValueError(f"num_points is {self.num_points}, but the data has {found}", "Leave it out")
        return dataclasses.replace(self, num_points=found)

    @override
    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        given = self.activate(logits)
        wanted = target.to(given.dtype)
        return (given - wanted.where(wanted.isfinite(), given.detach())).square().mean(dim=1)

    @override
    def activate(self, logits: Tensor) -> Tensor:
        logits = logits.float() if logits.itemsize < 4 else logits  # pixels need more than bfloat16
        if self.y_range is None:
            return logits
        low, high = self.y_range
        return logits.sigmoid() * (high - low) + low

    @override
    def in_user_units(self, predictions: Array, view: Array | None) -> Array:
        return predictions if view is None else moved_points(predictions, view)

    @override
    def decode(self, predictions: NDArray[Any]) -> NDArray[Any]:
        return predictions

    @override
    def soften(self, target: Tensor) -> Tensor:
        return target

    @override
    def constant(self, target: NDArray[Any]) -> NDArray[Any]:
        there = np.isfinite(target)
        total = np.where(there, target, 0).sum(axis=0, keepdims=True, dtype=np.float64)
        mean: NDArray[Any] = total / np.maximum(there.sum(axis=0, keepdims=True), 1)
        return mean

    @override
    def metrics(self) -> MetricCollection:
        from tabvision.metrics import point_metrics

        return point_metrics()


def moved_points(points: Array, matrices: Array) -> Array:
    """Each row's points, seen through its matrix.

    Args:
        points: x and y in turns; of numpy or of torch.
        matrices: From homogeneous coordinates (x, y, 1) to others, likewise.

    Shape:
        - points: (B, 2 P)
        - matrices: (B, 3, 3)
        - returns: (B, 2 P)

    Example:
        >>> moved_points(np.array([[1.0, 5.0]]), np.diag([2.0, 3.0, 1.0])[None]).tolist()
        [[2.0, 15.0]]
    """
    x, y = points[:, None, 0::2], points[:, None, 1::2]
    across, down, shift = matrices[:, :, 0, None], matrices[:, :, 1, None], matrices[:, :, 2, None]
    places = across * x + down * y + shift
    moved: Array = (places[:, :2] / places[:, 2:]).swapaxes(1, 2).reshape(points.shape)
    return moved
