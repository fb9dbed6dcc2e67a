"""Keypoints: points in an image."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, final

import numpy as np
from typing_extensions import override

from tabvision.checks import check_whole
from tabvision.errors import BadValueError, count, listed, speaking
from tabvision.tasks.base import Array, Task
from tabvision.tasks.checks import checked_range, fitted_count
from tabvision.tasks.losses import at_least_float32, bounded

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray
    from torch import Tensor
    from torchmetrics import MetricCollection

    from tabvision.tasks.target import Target


PIXELS = "Points are pixels of each image, (0, 0) the center of its first"


@final
@dataclass(frozen=True)
class Points(Task):
    """Keypoints: one point or several in each image, such as the corners of the eyes, in alternating columns of x and y.

    The user's points are pixels of the upright image, where (0, 0) is the center of the first pixel. For the network they
    move with the image as it is cropped, rotated or warped, in coordinates from -1 to 1 from edge to edge. Predictions are
    pixels of the source image. A missing point is NaN and has no loss.

    Args:
        num_points: Number of points per image; filled in by the data.
        y_range: Lowest and highest coordinate in the network's frame, bounded by a scaled sigmoid; None for no bounds.

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
        """Check the arguments."""
        if self.num_points is not None:
            check_whole("num_points", self.num_points, remedy="Leave it out; the data fills it in")
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
            problem = f"points need two columns each, x then y, got {len(target.columns)}: {listed(target.columns)}"
            raise BadValueError(problem, 'Name both, such as target=["left_x", "left_y"]')
        if target.separator is not None:
            problem = f"a separator is for labels, and points have none, got {target.separator!r}"
            raise BadValueError(problem, "Leave it out")

    @override
    def encode(self, frame: pd.DataFrame, target: Target) -> NDArray[np.float64]:
        """Return the points of each row, (N, 2 P) float64; NaN where one is missing.

        Raises:
            BadTypeError: A column does not hold numbers.
            BadValueError: A point lacks its x or its y, or a number is infinite.
        """
        from tabvision.tasks import labels

        columns = target.columns
        points = np.full((len(frame), len(columns)), np.nan)
        for index, name in enumerate(columns):
            known = np.asarray(frame[name].notna(), dtype=bool)
            if known.any():
                points[known, index] = labels.as_floats(frame[name][known], name)
        missing = np.isnan(points)
        for index in range(0, len(columns), 2):
            halves = missing[:, index] != missing[:, index + 1]
            if halves.any():
                x, y = columns[index : index + 2]
                rows = f"{count(int(halves.sum()), 'row')} with only one, first row {labels.row_name(frame, halves)}"
                problem = f"{x!r} and {y!r} must both hold a number or both be empty, got {rows}"
                raise BadValueError(problem, "Leave both empty where a point is missing")
        return points

    @override
    @speaking()
    def fit(self, target: NDArray[Any], num_classes: int) -> Points:
        found = target.shape[1] // 2
        if self.num_points not in (None, found):
            raise BadValueError(f"num_points is {self.num_points}, but the data has {found} points", "Leave it out")
        known = target[np.isfinite(target)]
        if not len(known):
            raise BadValueError("no training row has a point", "Choose other columns or a larger training split")
        if len(target) > 1 and known.min() >= -1 and known.max() <= 1:
            problem = f"all points lie between {known.min():g} and {known.max():g}, so they are not pixels"
            raise BadValueError(problem, f"{PIXELS}: multiply fractions by the image's width and height")
        return dataclasses.replace(self, num_points=found)

    @override
    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        predicted = self.activate(logits)
        target = target.to(predicted.dtype)
        return (predicted - target.where(target.isfinite(), predicted.detach())).square().mean(dim=1)

    @override
    def activate(self, logits: Tensor) -> Tensor:
        logits = at_least_float32(logits)
        return logits if self.y_range is None else bounded(logits, self.y_range)

    @override
    def to_view(self, target: NDArray[Any], views: NDArray[np.float64], *, cut: bool) -> NDArray[np.float32]:
        points: NDArray[Any] = _move_points(target.astype(np.float64), np.linalg.inv(views))
        if cut:
            pairs = points.reshape(len(points), -1, 2)
            outside = ~(np.abs(pairs) <= 1).all(axis=2)
            points = np.where(outside[:, :, None], np.nan, pairs).reshape(points.shape)
        return points.astype(np.float32)

    @override
    def in_user_units(self, predictions: Array, view: Array | None) -> Array:
        return predictions if view is None else _move_points(predictions, view)

    @override
    def draw(self, image: NDArray[np.uint8], encoded: NDArray[Any], target: Target) -> tuple[NDArray[np.uint8], str]:
        import cv2

        size = np.array([image.shape[1], image.shape[0]])
        pixels = (encoded.reshape(-1, 2).astype(np.float64) + 1) * size / 2 - 0.5
        shown = pixels[np.isfinite(pixels).all(axis=1)].round().astype(int)
        drawn, radius = np.ascontiguousarray(image), max(1, min(image.shape[:2]) // 60)
        for x, y in shown.tolist():
            cv2.circle(drawn, (x, y), radius + 1, (0, 0, 0), cv2.FILLED)
            cv2.circle(drawn, (x, y), radius, (255, 255, 0), cv2.FILLED)
        return drawn, count(len(shown), "point")

    @override
    def constant(self, target: NDArray[Any]) -> NDArray[Any]:
        known = np.isfinite(target)
        total = np.where(known, target, 0).sum(axis=0, keepdims=True, dtype=np.float64)
        mean: NDArray[Any] = total / np.maximum(known.sum(axis=0, keepdims=True), 1)
        return mean

    @override
    def metrics(self) -> MetricCollection:
        from tabvision.metrics import point_metrics

        return point_metrics()


def _move_points(points: Array, matrices: Array) -> Array:
    """Return each row's points transformed by its matrix.

    Args:
        points: Alternating x and y; numpy or torch.
        matrices: Projective transforms of homogeneous coordinates (x, y, 1); numpy or torch.

    Shape:
        - points: (B, 2 P)
        - matrices: (B, 3, 3)
        - returns: (B, 2 P)

    Example:
        >>> _move_points(np.array([[1.0, 5.0]]), np.diag([2.0, 3.0, 1.0])[None]).tolist()
        [[2.0, 15.0]]
    """
    x, y = points[:, None, 0::2], points[:, None, 1::2]
    across, down, shift = matrices[:, :, 0, None], matrices[:, :, 1, None], matrices[:, :, 2, None]
    homogeneous = across * x + down * y + shift
    moved: Array = (homogeneous[:, :2] / homogeneous[:, 2:]).swapaxes(1, 2).reshape(points.shape)
    return moved
