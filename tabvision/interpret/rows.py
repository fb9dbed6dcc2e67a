"""The rows that a question about a model is asked of, and how a raw column is replaced in them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from tabvision.checks import check_whole
from tabvision.errors import BadTypeError, BadValueError, UnknownNameError
from tabvision.inference.batches import Arrays, Inputs
from tabvision.inference.inputs import Source as Rows
from tabvision.inference.predictor import Predictor
from tabvision.modules import SupervisedModule
from tabvision.preprocess.encode import Source, sources_of
from tabvision.schema import Schema

Model: TypeAlias = Predictor | SupervisedModule | str | Path
"""A predictor, a module in memory, or the path of a checkpoint."""


def predictor_of(model: Model) -> Predictor:
    """Return the predictor of a model; raise if it reads images alone."""
    predictor = model if isinstance(model, Predictor) else Predictor(model)
    if not sources_of(predictor.schema):
        problem = "the model must read columns of a table, and it reads images alone"
        raise BadTypeError(problem, "Look at its images with gradcam and plots.top_losses")
    return predictor


def raw_columns(predictor: Predictor) -> dict[str, Source]:
    """Return the raw columns that a model reads, in the order of its schema, each with the encoded columns made of it."""
    found = {source.name: source for source in sources_of(predictor.schema)}
    return {name: found[name] for name in predictor.schema.inputs if name in found}


def raw_column(predictor: Predictor, name: str) -> Source:
    """Return one of the raw columns; raise if the model does not read it."""
    columns = raw_columns(predictor)
    if name not in columns:
        raise UnknownNameError("column", name, columns)
    return columns[name]


def read_rows(predictor: Predictor, rows: Rows, max_rows: int | None, rng: np.random.Generator) -> Inputs:
    """Return the inputs of at most `max_rows` rows, drawn at random in their order; `frame` holds them as a table.

    Raises:
        BadTypeError: The rows are neither a frame nor a table file.
        BadValueError: There are no rows.
    """
    inputs = predictor.read(rows)
    if inputs.frame is None:
        raise BadTypeError("rows must be a frame or a table file", "Pass such as pd.DataFrame(rows)")
    if not inputs.num_rows:
        raise BadValueError("there are no rows", "Pass at least one")
    if max_rows is None or inputs.num_rows <= check_whole("max_rows", max_rows):
        return inputs
    return inputs.take(np.sort(rng.permutation(inputs.num_rows)[:max_rows]))


def take(inputs: Inputs, rows: Sequence[int] | NDArray[np.intp]) -> Arrays:
    """Return the encoded columns of some rows."""
    return {name: array[rows] for name, array in inputs.arrays.items()}


def with_column(arrays: Arrays, column: Source, values: Arrays) -> Arrays:
    """Return a batch in which all that is made of a raw column comes from other rows: parts of a date, the missing indicator.

    Args:
        arrays: The batch, B rows.
        column: The raw column.
        values: The encoded other rows, B of them or one for all.
    """
    replaced = dict(arrays)
    for name, parts in (("continuous", column.continuous), ("categorical", column.categorical)):
        if parts:
            positions = [position for position, _ in parts]
            replaced[name] = arrays[name].copy()
            replaced[name][:, positions] = values[name][:, positions]
    return replaced


def answer_names(schema: Schema, width: int, *, logits: bool = False) -> list[str]:
    """Return the name of each number that a model answers, as in the answers of a `Predictor`, or of each logit.

    Example:
        >>> from tabvision.schema import Target
        >>> from tabvision.tasks import Binary
        >>> schema = Schema(target=Target(columns=("paid",), task=Binary(), classes=("no", "yes")))
        >>> answer_names(schema, 2), answer_names(schema, 1, logits=True)
        (['probability_no', 'probability_yes'], ['logit_yes'])
    """
    names = schema.task.names(schema.target)[-width:]
    prefix = "logit" if logits else "probability" if schema.task.is_classes else "prediction"
    endings = names if len(names) == width else range(width)  # the logits of a task of the user's own
    return [prefix] if width == 1 and not schema.task.is_classes else [f"{prefix}_{ending}" for ending in endings]
