"""The inputs of a network, predictions for them batch by batch, and averaging over views of an image."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeAlias, final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tabvision.errors import BadValueError, count

if TYPE_CHECKING:
    from tabvision.inference.images import ImageBatches
    from tabvision.schema import Schema

ROWS_AT_ONCE = 2048  # as measured on CPUs, more rows of a table do not fit the caches
_CELLS_AT_ONCE = 1 << 19  # 8 members take up to 1 KB per cell, which would be 10 GB for 2,000 rows of 5,000 columns
_IMAGES_AT_ONCE = 64
_PLAIN_WEIGHT = 0.25  # the weight of the plain view's prediction; the mean of the augmented views gets the rest
Arrays: TypeAlias = dict[str, NDArray[Any]]

Network: TypeAlias = Callable[[Arrays], NDArray[Any]]
"""A function from the arrays of a batch to (B, C) predictions."""


@final
@dataclass(frozen=True)
class Inputs:
    """The inputs of a network for some rows, and what the frame of answers takes from the source.

    Args:
        num_rows: The number of rows.
        arrays: `continuous` (N, C) float32 and `categorical` (N, K) int32, each if the schema has such columns.
        images: The images of the rows, drawn on demand; None for a schema without images.
        index: The index of the source frame; None if the source is not a frame.
        frame: The rows as a table, if the source is one.
        unseen_rows: For each raw column that has any, the numbers of rows with a category that was not in training, text
            instead of a number, or a date with a time zone although training had none (or the reverse).
        outside_rows: For each raw column that has any, the numbers of rows with values far outside the training range.
        shown: Columns to show before the answers.
    """

    num_rows: int
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    images: ImageBatches | None = None
    index: pd.Index | None = None
    frame: pd.DataFrame | None = None
    unseen_rows: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)
    outside_rows: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)
    shown: Mapping[str, Any] = field(default_factory=dict)

    @property
    def unseen(self) -> dict[str, int]:
        """The number of rows with a category that was not in training, or text instead of a number, by raw column."""
        return {name: len(rows) for name, rows in self.unseen_rows.items()}

    @property
    def outside(self) -> dict[str, int]:
        """The number of rows with a number or date far outside the training range, by raw column."""
        return {name: len(rows) for name, rows in self.outside_rows.items()}

    @property
    def errors(self) -> Mapping[int, str]:
        """The reasons for rows without an answer, by row number; complete after all batches are read."""
        return {} if self.images is None else self.images.errors

    @property
    def absent(self) -> Mapping[str, int]:
        """The number of rows without an image, by image column; complete after all batches are read."""
        return {} if self.images is None else {name: len(rows) for name, rows in self.images.absent.items()}

    def take(self, rows: NDArray[np.integer]) -> Inputs:
        """Return the inputs for some of the rows."""
        return replace(
            self,
            num_rows=len(rows),
            arrays={name: array[rows] for name, array in self.arrays.items()},
            images=None if self.images is None else self.images.take(rows),
            index=None if self.index is None else self.index[rows],
            frame=None if self.frame is None else self.frame.iloc[rows],
            shown={name: np.asarray(values)[rows] for name, values in self.shown.items()},
            unseen_rows=_among(rows, self.unseen_rows),
            outside_rows=_among(rows, self.outside_rows),
        )

    def batches(self, batch_size: int | None = None, view: int = 0) -> Iterator[Arrays]:
        """Yield the arrays of the readable rows, in order.

        Args:
            batch_size: Rows in a batch; None for 2,048 of a table (fewer with over 256 columns), or 64 with images.
            view: 0 for the plain view of images; 1, 2 and so on for different augmented views.

        Shape:
            - index: (B,) int64, the row numbers
            - continuous: (B, C) float32
            - categorical: (B, K) int32
            - image: (B, C, H, W) uint8; (B, P, C, H, W) and has_image (B, P) float32 if rows may lack images
            - view: (B, 3, 3) float64, for a target that moves with its image: maps the network's frame to image pixels
        """
        if self.images is not None:
            for drawn in self.images.batches(batch_size or _IMAGES_AT_ONCE, view):
                yield drawn | {name: array[drawn["index"]] for name, array in self.arrays.items()}
            return
        columns = sum(array.shape[1] for array in self.arrays.values() if array.ndim > 1)
        size = batch_size or max(1, min(ROWS_AT_ONCE, _CELLS_AT_ONCE // max(1, columns)))
        for start in range(0, self.num_rows, size):
            stop = min(start + size, self.num_rows)
            part = {name: array[start:stop] for name, array in self.arrays.items()}
            yield {"index": np.arange(start, stop)} | part


def input_names(schema: Schema) -> list[str]:
    """Return the names of the arrays that a network of this schema reads, in order."""
    image = schema.image
    used = {"continuous": schema.continuous, "categorical": schema.categorical, "image": image is not None}
    used["has_image"] = image is not None and image.optional
    return [name for name, is_used in used.items() if is_used]


def _among(rows: NDArray[np.integer], numbers: Mapping[str, NDArray[np.int64]]) -> dict[str, NDArray[np.int64]]:
    """Translate each column's row numbers to positions among some of the rows, leaving out columns with none."""
    found = {name: np.flatnonzero(np.isin(rows, of_column)) for name, of_column in numbers.items()}
    return {name: of_column for name, of_column in found.items() if len(of_column)}


def predict_all(
    network: Network, inputs: Inputs, *, num_answers: int, batch_size: int | None = None, view: int = 0
) -> NDArray[np.floating]:
    """Return the predictions of a network for all rows; NaN for a row that cannot be read.

    Args:
        network: The network.
        inputs: The rows.
        num_answers: C, used if no row can be read.
        batch_size: Rows in a batch; None for the default.
        view: 0 for the plain view of images; 1, 2 and so on for augmented views.

    Shape:
        - returns: (num_rows, C) float

    Raises:
        BadValueError: A prediction is not finite.

    Example:
        >>> inputs = Inputs(3, {"continuous": np.ones((3, 2), np.float32)})
        >>> predict_all(lambda arrays: arrays["continuous"][:, :1], inputs, num_answers=1, batch_size=2).tolist()
        [[1.0], [1.0], [1.0]]
    """
    batches = inputs.batches(batch_size, view)
    found = [(arrays["index"], finite_answers(network(arrays))) for arrays in batches if len(arrays["index"])]
    if len(found) == 1 and len(found[0][0]) == inputs.num_rows:
        return found[0][1]
    whole = np.full((inputs.num_rows, num_answers), np.nan, dtype=found[0][1].dtype if found else np.float32)
    for rows, values in found:
        whole[rows] = values
    return whole


def blend(
    plain: NDArray[np.floating], augmented: NDArray[np.floating], *, use_max: bool = False
) -> NDArray[np.floating]:
    """Return the weighted mean of predictions from the plain view of each row and from augmented views.

    Args:
        plain: Predictions from the plain view: probabilities of classes, or numbers.
        augmented: Predictions from each augmented view.
        use_max: Whether to take the largest probability over all views, plain included; rows then no longer sum to 1.

    Shape:
        - plain: (R, C) float
        - augmented: (n, R, C) float
        - returns: (R, C) float

    Source:
        fastai 2.8 `Learner.tta`, "preds (mean over n augmented) and targets, lerped with beta"; its beta is 0.25.

    Example:
        >>> blend(np.array([[1.0, 0.0]]), np.array([[[0.0, 1.0]]])).tolist()
        [[0.25, 0.75]]
    """
    if use_max:
        largest: NDArray[np.floating] = np.maximum(augmented.max(axis=0), plain)
        return largest
    mean = augmented.mean(axis=0)
    blended: NDArray[np.floating] = mean + _PLAIN_WEIGHT * (plain - mean)
    return blended


def finite_answers(predictions: NDArray[Any]) -> NDArray[Any]:
    """Return the predictions; raise if any is not finite, as after training that diverged."""
    if not np.isfinite(predictions).all():
        bad = int((~np.isfinite(predictions).all(axis=1)).sum())
        problem = f"the network's answers to {count(bad, 'row')} are not finite, as after training that diverged"
        raise BadValueError(problem, "Use an earlier checkpoint, or train again at a lower learning rate")
    return predictions


def is_row(source: Mapping[str, object]) -> bool:
    """Return whether a dict is one row, which may hold an image as an array, rather than a dict of columns.

    Example:
        >>> is_row({"age": 3, "photo": np.zeros((2, 2, 3))}), is_row({"age": [3]}), is_row({"age": np.zeros(2)})
        (True, False, False)
    """
    return not any(
        isinstance(it, list | tuple | pd.Series) or (isinstance(it, np.ndarray) and it.ndim == 1)
        for it in source.values()
    )
