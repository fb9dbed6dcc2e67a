"""Warn about target leakage, columns that nobody has when predicting, and about labels that are nearly alike."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tabvision.data.base import Part
from tabvision.errors import MAX_LISTED, asking
from tabvision.schema import Label, Schema

logger = logging.getLogger("tabvision")

EXACT = 1 - 1e-9  # correlation above which two numbers are one
MAX_LABELS = 10_000  # values of a column that are compared


def log_leakage(schema: Schema, training: Part) -> None:
    """Log each column that tells the target exactly in every training row.

    Args:
        schema: Names the columns.
        training: The training rows.
    """
    for name in _copies(schema, training):
        logger.info(
            f"Note: {name!r} tells the target exactly in every training row. If it is not known when predicting, leave it "
            f"out: {asking('ignore', name)}."
        )


def _copies(schema: Schema, training: Part) -> list[str]:
    """Return the columns that tell the target exactly."""
    if len(training.rows) <= 2 or "target" not in training.tensors:
        return []
    arrays = {name: tensor[training.rows].numpy() for name, tensor in training.tensors.items()}
    target = arrays["target"]
    if target.ndim == 1:
        return [
            column.name
            for place, column in enumerate(schema.categorical)
            if len(column.vocabulary) == len(schema.classes) and is_renaming(arrays["categorical"][:, place], target)
        ]
    if schema.task.is_classes or target.shape[1] > 1:
        return []
    return [
        column.name
        for place, column in enumerate(schema.continuous)
        if is_same_number(arrays["continuous"][:, place], target[:, 0])
    ]


def log_similar_labels(schema: Schema) -> None:
    """Log columns of which two values differ in spaces or letter case alone, usually by mistake.

    Args:
        schema: Holds the values.

    Example:
        >>> from tabvision.schema import Target
        >>> from tabvision.tasks import Multiclass
        >>> target = Target(columns=("paid",), task=Multiclass(3), classes=("no", "yes", "yes "))
        >>> log_similar_labels(Schema(target=target))
        Note: 'yes' and 'yes ' of 'paid' differ in spaces or letter case alone, and count as two.
    """
    columns = [(column.name, column.vocabulary) for column in schema.categorical]
    if len(schema.target.columns) == 1:
        columns.insert(0, (schema.target.columns[0], schema.classes))
    pairs = [(name, pair) for name, labels in columns if (pair := _alike(labels))]
    for name, (one, other) in pairs[:MAX_LISTED]:
        logger.info(f"Note: {one!r} and {other!r} of {name!r} differ in spaces or letter case alone, and count as two.")


def _alike(labels: Sequence[Label]) -> tuple[str, str] | None:
    """Return the first two texts that are the same without spaces and letter case."""
    seen: dict[str, str] = {}
    for label in labels[:MAX_LABELS]:
        if isinstance(label, str) and label != (before := seen.setdefault("".join(label.split()).casefold(), label)):
            return before, label
    return None


def is_renaming(codes: NDArray[np.integer], target: NDArray[np.integer]) -> bool:
    """Return whether each code goes with one class and each class with one code.

    Example:
        >>> is_renaming(np.array([2, 1, 2]), np.array([0, 1, 0])), is_renaming(np.array([2, 1, 1]), np.array([0, 1, 0]))
        (True, False)
    """
    num_classes = int(target.max()) + 1
    counts = np.bincount(codes.astype(np.int64) * num_classes + target, minlength=(int(codes.max()) + 1) * num_classes)
    met = counts.reshape(-1, num_classes) > 0
    return bool((met.sum(axis=0) <= 1).all() and (met.sum(axis=1) <= 1).all())


def is_same_number(values: NDArray[np.floating], target: NDArray[np.floating]) -> bool:
    """Return whether two numbers differ by scale and offset alone.

    Example:
        >>> is_same_number(np.array([1.0, 2.0, 4.0]), np.array([10.0, 20.0, 40.0]))
        True
    """
    one, other = values.astype(np.float64), target.astype(np.float64)
    if one.std() == 0 or other.std() == 0:
        return False
    return bool(abs(np.corrcoef(one, other)[0, 1]) > EXACT)
