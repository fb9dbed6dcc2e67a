"""A model's answers for rows with a known target, the basis for analyzing its errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tabvision.data.targets import encode_target
from tabvision.errors import BadTypeError, count, speaking
from tabvision.inference.answers import UNCALIBRATED, answer_frame
from tabvision.inference.batches import finite_answers
from tabvision.inference.calibration.facts import Calibration
from tabvision.schema import Schema

if TYPE_CHECKING:
    from torch import Tensor

    from tabvision.inference.images import ImageBatches

_SHOWN_ROWS = 5  # in a notebook


@final
@dataclass(frozen=True, eq=False)
class Results:
    """Rows with their target, the model's predictions and their losses; created by `Predictor.losses`.

    Args:
        schema: The schema of the model.
        frame: The rows, with the user's own columns, index and target.
        predictions: Probabilities or numbers, as `task.activate` returns them.
        target: The encoded target.
        loss: The task's loss of each row.
        calibration: The thresholds of the classes, if they were calibrated.
        fold: For out-of-fold predictions, the member that each row was held out from; see `importance`.
        images: The images of the rows, as in `Inputs.images`; None if there are none, or their files are not known.

    Shape:
        - predictions: (N, C) or (N, T) float
        - target: (N,) int64 class codes, (N, C) zeros and ones, or (N, T) float
        - loss: (N,) float
        - fold: (N,) int64, or (N, networks) for a bag whose networks all trained on the rows
    """

    schema: Schema
    frame: pd.DataFrame
    predictions: NDArray[Any]
    target: NDArray[Any]
    loss: NDArray[Any]
    calibration: Calibration = UNCALIBRATED
    fold: NDArray[np.int64] | None = None
    images: ImageBatches | None = None

    @classmethod
    @speaking("Results")
    def of_gathered(
        cls, schema: Schema, frame: pd.DataFrame, gathered: Mapping[str, Tensor], *, files: Sequence[str] | None = None
    ) -> Results:
        """Return the results of a `trainer.predict` over rows with a target, such as validation rows.

        Args:
            schema: The schema of the data: `data.schema`.
            frame: The rows of the data: `data.frame`.
            gathered: The result of `gather(trainer.predict(module, data.val_dataloader()))`.
            files: The image files of the frame's rows, `data.files`, for looking at some of them later.

        Raises:
            BadTypeError: The rows were predicted without their target.
            BadValueError: A prediction is not finite.
        """
        if "loss" not in gathered:
            remedy = "Predict a loader of rows with a target, such as data.val_dataloader()"
            raise BadTypeError("the predictions have no loss, since their rows had no target", remedy)
        numbers = gathered["index"].numpy()
        rows, images = frame.iloc[numbers], None
        if files is not None and schema.image is not None:
            num = len(schema.image.columns)
            found = [files[row * num + position] for row in numbers.tolist() for position in range(num)]
            if schema.is_of_images:
                from tabvision.inference.images import ImageBatches

                images = ImageBatches(found, schema)
            else:
                rows = with_images(rows, schema.image.columns, found)
        target = encode_target(rows, schema.target)
        fold = gathered["fold"].numpy() if "fold" in gathered else None
        answers = finite_answers(gathered["predictions"].numpy()), target, gathered["loss"].numpy()
        return cls(schema, rows, *answers, fold=fold, images=images)

    def to_frame(self) -> pd.DataFrame:
        """Return the target, the answer and the loss of each row, with the rows' index."""
        answers = answer_frame(self.schema, self.predictions, calibration=self.calibration).set_index(self.frame.index)
        truth = self.frame[list(self.schema.target.columns)]
        truth = truth.rename(columns={name: f"true_{name}" for name in truth if name in answers or name == "loss"})
        return pd.concat([truth, answers], axis=1).assign(loss=self.loss)

    def _repr_html_(self) -> str:
        """Return the number of rows, their mean loss, and the first of them, for a notebook."""
        said = f"{count(len(self), 'row')}, mean loss {np.nanmean(self.loss) if len(self) else np.nan:.4g}"
        return f"<p>{said}</p>\n{self.take(np.arange(min(len(self), _SHOWN_ROWS))).to_frame().to_html(max_cols=10)}"

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.loss)

    def take(self, rows: NDArray[np.integer]) -> Results:
        """Return some of the rows."""
        parts = (self.predictions[rows], self.target[rows], self.loss[rows])
        fold = None if self.fold is None else self.fold[rows]
        images = None if self.images is None else self.images.take(rows)
        return Results(self.schema, self.frame.iloc[rows], *parts, self.calibration, fold, images)

    @property
    def decoded(self) -> NDArray[Any]:
        """The answers: (N,) int64 class codes, (N, C) bool for labels, or (N, T) numbers."""
        return self.calibration.decode(self.schema.task, self.predictions)

    @property
    def is_one_class(self) -> bool:
        """Whether each row has one class, rather than labels or numbers."""
        return self.schema.task.is_classes and self.target.ndim == 1


def noun_of(results: Results) -> str:
    """Return the word for what a row is: "image" or "row"."""
    return "image" if results.schema.is_of_images else "row"


def with_images(frame: pd.DataFrame, columns: Sequence[str], images: Sequence[object]) -> pd.DataFrame:
    """Replace the image paths in rows with paths that can be opened from here, or None for a missing image.

    Args:
        frame: The rows.
        columns: The columns of images.
        images: The images of the first row, then those of the second.

    Example:
        >>> with_images(pd.DataFrame({"front": ["a.jpg"]}), ["front"], ["photos/a.jpg"])["front"].tolist()
        ['photos/a.jpg']
    """
    found = [None if isinstance(each, str) and not each else each for each in images]
    cells = {name: found[position :: len(columns)] for position, name in enumerate(columns)}
    return frame.assign(**{name: pd.Series(each, frame.index, dtype=object) for name, each in cells.items()})
