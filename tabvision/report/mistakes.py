"""The report's section on where the model is wrong: confusions, residuals, slices, highest losses, doubtful labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from tabvision.inference import Results
from tabvision.interpret import (
    confusion,
    errors_by,
    likely_mislabeled,
    most_confused,
    residuals,
    top_losses,
    worst_slices,
)
from tabvision.interpret.rows import Model
from tabvision.report.photos import photo_parts
from tabvision.report.tables import Section, part_of, section_of

_MAX_CLASSES = 200  # the most classes to draw a confusion matrix for
_MAX_POINTS = 2_000  # rows in the scatter plot of predictions
_MAX_INPUTS = 6  # input columns to show for the rows with the highest loss
_MAX_PROBABILITIES = 4


def mistakes_section(
    results: Results, importance: pd.DataFrame | None, slice_by: Sequence[pd.Series[Any]], model: Model | None
) -> Section:
    """Return the section, with errors by each series in `slice_by` and, for images, where the model looked."""
    task = results.schema.task
    parts = _confusions(results) if results.is_one_class else [] if task.is_classes else _residuals(results)
    image = results.schema.image
    if set(results.frame) - {*results.schema.target.columns, image and image.name}:
        found = worst_slices(results)
        if found.empty:
            text = "No slice of a column with at least 10 rows is predicted worse than the rest by more than chance explains."
            parts.append(part_of("", None, text=text))
        else:
            text = "These slices are predicted worse than the rest by more than chance explains."
            caption = "Slices with an error above that of all rows, with 95% intervals"
            parts.append(part_of(caption, found, "slices", text=text))
    parts += [part_of(f"Errors by {values.name}", errors_by(results, values)) for values in slice_by]
    parts += photo_parts(results, model)
    parts.append(part_of("The rows with the highest loss", _few_columns(top_losses(results), results, importance)))
    if results.is_one_class and len(doubtful := likely_mislabeled(results, 10)):
        text = "If the model is this sure of another class, the label may be wrong."
        doubtful = doubtful.rename(columns={"label": "suggested label"})
        parts.append(part_of("Labels to check", _few_columns(doubtful, results, importance), text=text))
    return section_of("Where it is wrong", parts=parts)


def _confusions(results: Results) -> list[dict[str, Any]]:
    pairs = most_confused(results)
    often = part_of("", None, text="No class is confused with another.")
    if len(pairs):
        often = part_of("The classes that are confused most often", pairs)
    counts = confusion(results)
    if len(counts) > _MAX_CLASSES:
        return [often]
    counts.insert(0, "true", counts.index, allow_duplicates=True)
    matrix = "Rows by true class and predicted class"
    return [part_of(matrix, counts if len(counts) <= 12 else None, "confusion_matrix", counts), often]


def _residuals(results: Results) -> list[dict[str, Any]]:
    found = residuals(results)
    errors = found.assign(absolute=found["residual"].abs()).groupby("name", sort=False)
    table = pd.DataFrame(
        {
            "mean error": errors["absolute"].mean(),
            "half are within": errors["absolute"].median(),
            "9 of 10 are within": errors["absolute"].quantile(0.9),
            "largest": errors["absolute"].max(),
            "true minus predicted": errors["residual"].mean(),
        }
    ).reset_index()
    some = found.groupby("name", sort=False).head(_MAX_POINTS) if len(results) > _MAX_POINTS else found
    caption = "Predicted and true values, and the errors"
    return [part_of(caption, table, "residuals", some)]


def _few_columns(frame: pd.DataFrame, results: Results, importance: pd.DataFrame | None) -> pd.DataFrame:
    """Return the row number, the prediction without a long list of probabilities, and the most important inputs.

    The user's columns come after the prediction's and may have the same names.
    """
    names = list(results.frame.drop(columns=list(results.schema.target.columns)))
    answer, inputs = frame.iloc[:, : frame.shape[1] - len(names)], frame.iloc[:, frame.shape[1] - len(names) :]
    probabilities = [name for name in answer if str(name).startswith("probability_")]
    answer = answer.drop(columns=probabilities) if len(probabilities) > _MAX_PROBABILITIES else answer
    answer = answer if "predicted" in answer else answer.rename(columns={"label": "predicted"})
    order = [] if importance is None else list(importance["column"])
    ranks = [order.index(name) if name in order else len(order) for name in names]
    inputs = inputs.iloc[:, sorted(sorted(range(len(names)), key=ranks.__getitem__)[:_MAX_INPUTS])]
    for name in results.schema.image.columns if results.schema.image is not None else ():
        if name in inputs:  # show file names without their folders
            paths = inputs[name]
            inputs = inputs.assign(**{name: [Path(path).name if isinstance(path, str) else None for path in paths]})
    found = pd.concat([answer.rename(columns={"row": "true_row"}), inputs.rename(columns={"row": "input_row"})], axis=1)
    found.insert(0, "row", found.index.astype(str))
    return found
