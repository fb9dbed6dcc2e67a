"""Points in a picture."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, final

import numpy as np
from typing_extensions import override

from tabvision.errors import BadValueError, count, listed, speaking
from tabvision.tasks.base import Target, Task
from tabvision.tasks.checks import check_count, checked_range, fitted_count

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray
    from torch import Tensor
    from torchmetrics import MetricCollection

Array = TypeVar("Array", bound=Any)  # of numpy or of torch

PIXELS = "Points are pixels of each picture, (0, 0) the center of its first"


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
    allows_missing: ClassVar[bool] = True
    moves_with_image: ClassVar[bool] = True
    uncalibrated: ClassVar[str] = "points have nothing that is calibrated, neither probabilities nor intervals"
    num_points: int | None = None
    y_range: tuple[float, float] | None = (-1.0, 1.0)

    @speaking()
    def __post_init__(self) -> None:
        """Check the facts."""
        check_count("num_points", self.num_points, least=1, remedy="Leave it out; the data fills it in")
        if self.y_range is not None:
            object.__setattr__(self, "y_range", checked_range(self.y_range))

    @property
    @override
    @speaking("Points")
    def num_outputs(self) -> int:
        return 2 * fitted_count(self.num_points)

    @override
    def check(self, target: Target) -> None:
        if len(target.columns) % 2:
            problem = (
                f"points need two columns each, x and y in turns, got {len(target.columns)}: {listed(target.columns)}"
            )
            raise BadValueError(problem, 'Name both of each, such as target=["left_x", "left_y"]')
        if target.separator is not None:
            problem = f"a separator is for labels, and points have none, got {target.separator!r}"
            raise BadValueError(problem, "Leave it out")

    @override
    def encode(self, frame: pd.DataFrame, target: Target) -> NDArray[np.float64]:
        return read_points(frame, target.columns)

    @override
    @speaking()
    def fit(self, target: NDArray[Any], num_classes: int) -> Points:
        found = target.shape[1] // 2
        if self.num_points not in (None, found):
            raise BadValueError(f"num_points is {self.num_points}, but the data has {found}", "Leave it out")
        known = target[np.isfinite(target)]
        if not len(known):
            raise BadValueError("no training row has a point", "Choose other columns or a larger training part")
        if len(target) > 1 and known.min() >= -1 and known.max() <= 1:
            problem = f"all points lie between {known.min():g} and {known.max():g}, so they are no pixels"
            raise BadValueError(problem, f"{PIXELS}: multiply shares by the picture's width and height")
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
    def to_view(self, target: NDArray[Any], views: NDArray[np.float64], *, cut: bool) -> NDArray[np.float32]:
        found: NDArray[Any] = moved_points(target.astype(np.float64), np.linalg.inv(views))
        if cut:
            pairs = found.reshape(len(found), -1, 2)
            hidden = ~(np.abs(pairs) <= 1).all(axis=2)
            found = np.where(hidden[:, :, None], np.nan, pairs).reshape(found.shape)
        return found.astype(np.float32)

    @override
    def in_user_units(self, predictions: Array, view: Array | None) -> Array:
        return predictions if view is None else moved_points(predictions, view)

    @override
    def draw(self, image: NDArray[np.uint8], encoded: NDArray[Any], target: Target) -> tuple[NDArray[np.uint8], str]:
        import cv2

        size = np.array([image.shape[1], image.shape[0]])
        places = (encoded.reshape(-1, 2).astype(np.float64) + 1) * size / 2 - 0.5
        shown = places[np.isfinite(places).all(axis=1)].round().astype(int)
        drawn, radius = np.ascontiguousarray(image), max(1, min(image.shape[:2]) // 60)
        for x, y in shown.tolist():
            cv2.circle(drawn, (x, y), radius + 1, (0, 0, 0), cv2.FILLED)
            cv2.circle(drawn, (x, y), radius, (255, 255, 0), cv2.FILLED)
        return drawn, count(len(shown), "point")

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
    """Return each row's points, seen through its matrix.

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


def read_points(frame: pd.DataFrame, columns: Sequence[str]) -> NDArray[np.float64]:
    """Return the points of each row; not a number where one is missing.

    Shape:
        - returns: (N, 2 P) float64

    Raises:
        BadTypeError: A column of something else than numbers.
        BadValueError: An x without its y, or an infinity.

    Example:
        >>> import pandas as pd
        >>> read_points(pd.DataFrame({"x": [3, None], "y": [4, None]}), ["x", "y"]).tolist()
        [[3.0, 4.0], [nan, nan]]
    """
    from tabvision.tasks import labels

    points = np.full((len(frame), len(columns)), np.nan)
    for place, name in enumerate(columns):
        there = np.asarray(frame[name].notna(), dtype=bool)
        if there.any():
            points[there, place] = labels.as_numbers(frame[name][there], name)
    missing = np.isnan(points)
    for place in range(0, len(columns), 2):
        halves = missing[:, place] != missing[:, place + 1]
        if halves.any():
            x, y = columns[place : place + 2]
            problem = f"{count(int(halves.sum()), 'row')} of {x!r} and {y!r} hold one of the two, first row "
            raise BadValueError(
                f"{problem}{labels.row_name(frame, halves)}", "Leave both empty where a point is missing"
            )
    return points
