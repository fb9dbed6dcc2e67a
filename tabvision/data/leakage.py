"""Warn about target leakage and near-duplicate labels."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tabvision.data.base import DataPart
from tabvision.errors import MAX_LISTED, asking
from tabvision.schema import Label, Schema

logger = logging.getLogger("tabvision")

_EXACT = 1 - 1e-9  # correlation above which two columns of numbers are the same
_MAX_LABELS = 10_000  # values of a column that are compared


def log_leakage(schema: Schema, training: DataPart) -> None:
    """Log each column that determines the target in every training row.

    Args:
        schema: Names of the columns.
        training: The training rows.
    """
    for name in _leaking_columns(schema, training):
        logger.info(
            f"Note: {name!r} determines the target in every training row. If it is not known when predicting, leave it "
            f"out: {asking('ignore', name)}."
        )


def _leaking_columns(schema: Schema, training: DataPart) -> list[str]:
    if len(training.rows) <= 2 or "target" not in training.tensors:
        return []
    arrays = {name: tensor[training.rows].numpy() for name, tensor in training.tensors.items()}
    target = arrays["target"]
    if target.ndim == 1:
        return [
            column.name
            for index, column in enumerate(schema.categorical)
            if len(column.vocabulary) == len(schema.classes) and _is_renaming(arrays["categorical"][:, index], target)
        ]
    if schema.task.is_classes or target.shape[1] > 1:
        return []
    return [
        column.name
        for index, column in enumerate(schema.continuous)
        if _is_same_number(arrays["continuous"][:, index], target[:, 0])
    ]


def log_similar_labels(schema: Schema) -> None:
    """Log pairs of labels that differ only in spaces or letter case, usually by mistake.

    Args:
        schema: Classes and vocabularies.

    Example:
        >>> from tabvision.schema import Target
        >>> from tabvision.tasks import Multiclass
        >>> target = Target(columns=("paid",), task=Multiclass(3), classes=("no", "yes", "yes "))
        >>> log_similar_labels(Schema(target=target))
        Note: 'yes' and 'yes ' of 'paid' differ only in spaces or letter case, and count as two.
    """
    columns = [(column.name, column.vocabulary) for column in schema.categorical]
    if len(schema.target.columns) == 1:
        columns.insert(0, (schema.target.columns[0], schema.classes))
    pairs = [(name, pair) for name, labels in columns if (pair := _similar_pair(labels))]
    for name, (one, other) in pairs[:MAX_LISTED]:
        logger.info(f"Note: {one!r} and {other!r} of {name!r} differ only in spaces or letter case, and count as two.")


def _similar_pair(labels: Sequence[Label]) -> tuple[str, str] | None:
    """Return the first two texts that are equal without spaces and letter case."""
    seen: dict[str, str] = {}
    for label in labels[:_MAX_LABELS]:
        if isinstance(label, str) and label != (before := seen.setdefault("".join(label.split()).casefold(), label)):
            return before, label
    return None


def _is_renaming(codes: NDArray[np.integer], target: NDArray[np.integer]) -> bool:
    """Return whether codes and classes map one to one.

    Example:
        >>> _is_renaming(np.array([2, 1, 2]), np.array([0, 1, 0])), _is_renaming(np.array([2, 1, 1]), np.array([0, 1, 0]))
        (True, False)
    """
    num_classes = int(target.max()) + 1
    counts = np.bincount(codes.astype(np.int64) * num_classes + target, minlength=(int(codes.max()) + 1) * num_classes)
    occurs = counts.reshape(-1, num_classes) > 0
    return bool((occurs.sum(axis=0) <= 1).all() and (occurs.sum(axis=1) <= 1).all())


def _is_same_number(values: NDArray[np.floating], target: NDArray[np.floating]) -> bool:
    """Return whether two columns of numbers differ only by scale and offset.

    Example:
        >>> _is_same_number(np.array([1.0, 2.0, 4.0]), np.array([10.0, 20.0, 40.0]))
        True
    """
    one, other = values.astype(np.float64), target.astype(np.float64)
    if one.std() == 0 or other.std() == 0:
        return False
    return bool(abs(np.corrcoef(one, other)[0, 1]) > _EXACT)
