"""Read the rows for a question about a model once, and replace a raw column in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias, final

import numpy as np
import torch
from numpy.typing import NDArray

from tabvision.checks import check_whole
from tabvision.errors import BadTypeError, BadValueError
from tabvision.inference.batches import Arrays, Inputs
from tabvision.inference.inputs import Source as Rows
from tabvision.inference.predictor import Predictor
from tabvision.modules import SupervisedModule
from tabvision.preprocess import Columns
from tabvision.preprocess.encode import Source, sources_of
from tabvision.preprocess.parse import NO_DATE
from tabvision.schema import Schema

Model: TypeAlias = Predictor | SupervisedModule | str | Path
"""A predictor, a module in memory, or the path of a checkpoint."""


@final
@dataclass(frozen=True)
class _ImageColumn:
    """A raw column of images in a table, and its position among the images of a row."""

    name: str
    position: int


Column: TypeAlias = Source | _ImageColumn


def predictor_of(model: Model) -> Predictor:
    """Return the predictor of a model; raise if it reads only images."""
    predictor = model if isinstance(model, Predictor) else Predictor(model)
    if not sources_of(predictor.schema):
        problem = "the model must read columns of a table, and it reads only images"
        raise BadTypeError(problem, "Look at its images with gradcam and plots.top_losses")
    return predictor


def raw_columns(predictor: Predictor) -> dict[str, Column]:
    """Return the raw columns that a model reads, in schema order, each with the columns encoded from it."""
    found: dict[str, Column] = {source.name: source for source in sources_of(predictor.schema)}
    if (image := predictor.schema.image) is not None:
        found |= {name: _ImageColumn(name, position) for position, name in enumerate(image.columns)}
    return {name: found[name] for name in predictor.schema.inputs if name in found}


def read_rows(
    predictor: Predictor,
    rows: Rows,
    max_rows: int | None,
    rng: np.random.Generator,
    fold: NDArray[np.integer] | None = None,
) -> Inputs:
    """Return the inputs of at most `max_rows` random rows, in order; their `frame` is the raw table."""
    inputs = predictor.read(rows)
    if inputs.frame is None:
        raise BadTypeError("rows must be a frame or a table file", "Pass a frame, such as pd.DataFrame(rows)")
    if not inputs.num_rows:
        raise BadValueError("there are no rows", "Pass at least one")
    if fold is not None:
        if len(fold) != inputs.num_rows:
            problem = f"fold must have a number for each of {inputs.num_rows:,} rows, got {len(fold):,}"
            raise BadValueError(problem, "Pass results.fold with results.frame")
        inputs = replace(inputs, arrays={**inputs.arrays, "fold": fold})
    if max_rows is not None and inputs.num_rows > check_whole("max_rows", max_rows):
        inputs = inputs.take(np.sort(rng.permutation(inputs.num_rows)[:max_rows]))
    return with_features(predictor, inputs)


def with_features(predictor: Predictor, inputs: Inputs) -> Inputs:
    """Return the inputs with the features of their images in place of the images, which are thus read only once."""
    if inputs.images is None:
        return inputs
    module: Any = predictor.module  # a FusedModule, since others were refused
    features, has_image = [], []
    with torch.inference_mode():
        for arrays in inputs.batches():
            features.append(module.features(predictor.batch(arrays)).cpu().numpy())
            has_image.append(arrays["has_image"])
    found = {"features": np.concatenate(features), "has_image": np.concatenate(has_image)}
    return replace(inputs, images=None, arrays={**inputs.arrays, **found})


def column_values(
    arrays: Mapping[str, NDArray[Any]], column: Column, rows: Sequence[int] | NDArray[np.intp] | slice = slice(None)
) -> Arrays:
    """Return everything encoded from a raw column, such as the parts of a date, in some rows, by default all."""
    return {name: arrays[name][rows][:, positions] for name, positions in positions_of(column).items() if positions}


def with_column(arrays: Arrays, column: Column, values: Arrays) -> Arrays:
    """Return a batch in which everything encoded from a raw column comes from other rows.

    Args:
        arrays: The batch, B rows.
        column: The raw column.
        values: The `column_values` of B other rows, or of one for all.
    """
    replaced = dict(arrays)
    for name, values_of_column in values.items():
        replaced[name] = arrays[name].copy()
        replaced[name][:, positions_of(column)[name]] = values_of_column
    return replaced


def positions_of(column: Column) -> dict[str, list[int]]:
    """Return the positions in each array of everything encoded from a raw column."""
    if isinstance(column, _ImageColumn):
        return {"features": [column.position], "has_image": [column.position]}
    parts = {"continuous": column.continuous, "categorical": column.categorical}
    return {name: [position for position, _ in found] for name, found in parts.items()}


def floats_of(columns: Columns, source: Source) -> NDArray[np.float64]:
    """Return a raw column of numbers or dates as floats: dates in microseconds, missing values as NaN."""
    if source.kind == "number":
        return np.asarray(columns.numbers(source.name, source.form).values, np.float64)
    timestamps = columns.timestamps(source.name, source.form).values
    return np.where(timestamps == NO_DATE, np.nan, timestamps.astype(np.float64))


def answer_names(schema: Schema, width: int, *, logits: bool = False) -> list[str]:
    """Return the name of each number in a model's answer, as a `Predictor` names it, or of each logit.

    Example:
        >>> from tabvision.schema import Target
        >>> from tabvision.tasks import Binary
        >>> schema = Schema(target=Target(columns=("paid",), task=Binary(), classes=("no", "yes")))
        >>> answer_names(schema, 2), answer_names(schema, 1, logits=True)
        (['probability_no', 'probability_yes'], ['logit_yes'])
    """
    names = schema.task.names(schema.target)[-width:]
    prefix = "logit" if logits else "probability" if schema.task.is_classes else "prediction"
    endings = names if len(names) == width else range(width)  # logits of a user's own task
    return [prefix] if width == 1 and not schema.task.is_classes else [f"{prefix}_{ending}" for ending in endings]
