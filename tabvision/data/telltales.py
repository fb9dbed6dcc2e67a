"""Columns that give the target away: copies of it under another name, which nobody has when predicting."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tabvision.data.base import Part
from tabvision.schema import Schema

EXACT = 1 - 1e-9  # correlation above which two numbers are one


def telltales(schema: Schema, training: Part) -> list[str]:
    """A sentence for each column that tells the target exactly in every training row.

    Args:
        schema: Names the columns.
        training: The training rows.
    """
    if len(training.rows) <= 2 or "target" not in training.tensors:
        return []
    arrays = {name: tensor[training.rows].numpy() for name, tensor in training.tensors.items()}
    target = arrays["target"]
    if target.ndim == 1:
        copies = [
            column.name
            for place, column in enumerate(schema.categorical)
            if len(column.vocabulary) == len(schema.classes) and is_renaming(arrays["categorical"][:, place], target)
        ]
    elif schema.task.is_classes or target.shape[1] > 1:
        return []
    else:
        copies = [
            column.name
            for place, column in enumerate(schema.continuous)
            if is_same_number(arrays["continuous"][:, place], target[:, 0])
        ]
    return [
        f"Note: {name!r} tells the target exactly in every training row. If it is not known when predicting, leave it "
        f"out: ignore=[{name!r}] (--ignore {name})."
        for name in copies
    ]


def is_renaming(codes: NDArray[np.integer], target: NDArray[np.integer]) -> bool:
    """Whether each code goes with one class and each class with one code.

    Example:
        >>> is_renaming(np.array([2, 1, 2]), np.array([0, 1, 0])), is_renaming(np.array([2, 1, 1]), np.array([0, 1, 0]))
        (True, False)
    """
    num_classes = int(target.max()) + 1
    counts = np.bincount(codes.astype(np.int64) * num_classes + target, minlength=(int(codes.max()) + 1) * num_classes)
    met = counts.reshape(-1, num_classes) > 0
    return bool((met.sum(axis=0) <= 1).all() and (met.sum(axis=1) <= 1).all())


def is_same_number(values: NDArray[np.floating], target: NDArray[np.floating]) -> bool:
    """Whether two numbers differ by scale and offset alone.

    Example:
        >>> is_same_number(np.array([1.0, 2.0, 4.0]), np.array([10.0, 20.0, 40.0]))
        True
    """
    one, other = values.astype(np.float64), target.astype(np.float64)
    if one.std() == 0 or other.std() == 0:
        return False
    return bool(abs(np.corrcoef(one, other)[0, 1]) > EXACT)
