"""Points as targets: read from a table's columns, and moved with their pictures into the network's frame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tabvision.augment.geometry import Matrices, to_output
from tabvision.data.images.stores import PictureStore
from tabvision.data.images.views import View
from tabvision.data.labels import as_numbers
from tabvision.data.targets import check_columns
from tabvision.errors import BadValueError, count, listed
from tabvision.schema import Target
from tabvision.tasks import Points, Task
from tabvision.tasks.points import moved_points

PIXELS = "Points are pixels of each picture, (0, 0) the center of its first"


def as_points(task: Task | str | None) -> Points | None:
    """The task, if it is one of points.

    Example:
        >>> as_points("points"), as_points("regression")
        (Points(num_points=None, y_range=(-1.0, 1.0)), None)
    """
    if isinstance(task, Points):
        return task
    return Points() if task == Points.name else None


def fit_points(frame: pd.DataFrame, columns: Sequence[str], task: Points) -> Target:
    """The facts of a target of points.

    Args:
        frame: The training rows.
        columns: x and y of each point in turns.
        task: As stated.

    Raises:
        MissingColumnsError: No such column.
        BadTypeError: A column of something else than numbers.
        BadValueError: Half a point, or coordinates that cannot be pixels.
    """
    check_columns(frame, columns)
    points = read_points(frame, columns)
    known = points[np.isfinite(points)]
    if not len(known):
        raise BadValueError("no training row has a point", "Choose other columns or a larger training part")
    if len(frame) > 1 and known.min() >= -1 and known.max() <= 1:
        problem = f"all points lie between {known.min():g} and {known.max():g}, so they are no pixels"
        raise BadValueError(problem, f"{PIXELS}: multiply shares by the picture's width and height")
    return Target(columns=tuple(columns), task=task.fit(points, 0))


def check_pairs(columns: Sequence[str], separator: str | None) -> None:
    """Refuses columns that are no pairs of x and y, and a separator.

    Raises:
        BadValueError: An odd number of columns, or a separator.
    """
    if len(columns) % 2:
        problem = f"points need two columns each, x and y in turns, got {len(columns)}: {listed(columns)}"
        raise BadValueError(problem, 'Name both of each, such as target=["left_x", "left_y"]')
    if separator is not None:
        raise BadValueError(f"a separator is for labels, and points have none, got {separator!r}", "Leave it out")


def read_points(frame: pd.DataFrame, columns: Sequence[str]) -> NDArray[np.float64]:
    """The points of each row; not a number where one is missing.

    Shape:
        - returns: (N, 2 P) float64

    Raises:
        BadTypeError: A column of something else than numbers.
        BadValueError: An x without its y, or an infinity.

    Example:
        >>> read_points(pd.DataFrame({"x": [3, None], "y": [4, None]}), ["x", "y"]).tolist()
        [[3.0, 4.0], [nan, nan]]
    """
    points = np.full((len(frame), len(columns)), np.nan)
    for place, name in enumerate(columns):
        there = np.asarray(frame[name].notna(), dtype=bool)
        if there.any():
            points[there, place] = as_numbers(frame[name][there], name)
    missing = np.isnan(points)
    for place in range(0, len(columns), 2):
        halves = missing[:, place] != missing[:, place + 1]
        if halves.any():
            x, y = columns[place : place + 2]
            problem = f"{count(int(halves.sum()), 'row')} of {x!r} and {y!r} hold one of the two, first row "
            raise BadValueError(f"{problem}{int(halves.argmax())}", "Leave both empty where a point is missing")
    return points


def marked(picture: NDArray[np.uint8], points: NDArray[np.float32]) -> tuple[NDArray[np.uint8], str]:
    """A picture of the network's size with its points drawn in, and how many they are.

    Args:
        picture: (H, W, 3).
        points: (2 P,) in the network's frame.
    """
    places = moved_points(points[None].astype(np.float64), to_output(picture.shape[:2])[None]).reshape(-1, 2)
    shown = places[np.isfinite(places).all(axis=1)].round().astype(int)
    drawn, radius = np.ascontiguousarray(picture), max(1, min(picture.shape[:2]) // 60)
    for x, y in shown.tolist():
        cv2.circle(drawn, (x, y), radius + 1, (0, 0, 0), cv2.FILLED)
        cv2.circle(drawn, (x, y), radius, (255, 255, 0), cv2.FILLED)
    return drawn, count(len(shown), "point")


def views_of(store: PictureStore, view: View, rows: NDArray[np.int64], epoch: int) -> Matrices:
    """From the network's frame, -1 to 1, to pixels of each source, as the view shows it.

    Shape:
        - returns: (B, 3, 3) float64

    Raises:
        UnreadableImageError: A picture cannot be opened.
    """
    if not len(rows):
        return np.empty((0, 3, 3))
    held = store.places(rows)
    shown = view.matrices([size for size, _ in held], rows, epoch)
    whole: Matrices = np.stack([place for _, place in held]) @ shown @ to_output(view.size)
    return whole / whole[:, 2:, 2:]


def points_in_view(points: NDArray[Any], views: Matrices, *, cut: bool) -> NDArray[np.float32]:
    """Points of the sources in the network's frame.

    Args:
        points: Pixels of each source, x and y in turns.
        views: As `views_of` gives them.
        cut: Whether points that the view does not show become no number: nothing can be learned of them.

    Shape:
        - points: (B, 2 P)
        - views: (B, 3, 3)
        - returns: (B, 2 P) float32

    Example:
        >>> points_in_view(np.array([[5.0, 0.0]]), np.diag([10.0, 10.0, 1.0])[None], cut=True).tolist()
        [[0.5, 0.0]]
    """
    found: NDArray[Any] = moved_points(points.astype(np.float64), np.linalg.inv(views))
    if cut:
        pairs = found.reshape(len(found), -1, 2)
        hidden = ~(np.abs(pairs) <= 1).all(axis=2)
        found = np.where(hidden[:, :, None], np.nan, pairs).reshape(found.shape)
    return found.astype(np.float32)
