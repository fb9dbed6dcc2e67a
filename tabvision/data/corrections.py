"""Relabel or drop rows according to a list of corrections, such as an edited `interpret.likely_mislabeled`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tabvision.checks import check_present
from tabvision.data.splits.base import Rows
from tabvision.data.tables.cells import with_columns
from tabvision.data.tables.read import Source, read_frame
from tabvision.data.targets import infer_task, missing_cells
from tabvision.errors import BadValueError, UnknownNameError, count, listed
from tabvision.schema import Schema
from tabvision.tasks import Task

logger = logging.getLogger("tabvision")

_ROW, _LABEL, _DROP = "row", "label", "drop"


def corrected(
    frame: pd.DataFrame,
    corrections: Source | None,
    columns: Sequence[str],
    *,
    path: str | None = None,
    task: Task | None = None,
    separator: str | None = None,
    schema: Schema | None = None,
) -> tuple[pd.DataFrame, Rows]:
    """Return the frame with corrected labels, and the numbers of the rows to keep; log how many rows change.

    Args:
        frame: The rows of a source.
        corrections: A frame or a table file with two columns: `row`, a label of the frame's index (in a file, the row
            number), or for images the column of paths; and `label`, the new label, or empty or "drop" to leave the row out.
            Other columns are ignored. None changes nothing.
        columns: The target column.
        path: The column of image paths.
        task: The task, if known.
        separator: Text between the labels in one multi-label column.
        schema: A reused schema, whose labels are valid, too.

    Raises:
        MissingColumnsError: There is no `label`, or neither `row` nor the column of paths.
        BadValueError: A row is named twice or does not exist, no row is left, or the target has several columns.
        UnknownNameError: A label is not one of the target's.

    Example:
        >>> frame = pd.DataFrame({"paid": ["no", "yes", "no"]})
        >>> found, rows = corrected(frame, pd.DataFrame({"row": [0, 2], "label": ["yes", "drop"]}), ["paid"])
        1 row relabeled, 1 row dropped by the corrections.
        >>> found["paid"].tolist(), rows.tolist()
        (['yes', 'yes', 'no'], [0, 1])
    """
    every = np.arange(len(frame), dtype=np.int64)
    if corrections is None:
        return frame, every
    if len(columns) != 1:
        problem = f"corrections need a target of one column, got {len(columns)}"
        raise BadValueError(problem, "Correct the table itself")
    listing = read_frame(corrections, na_values=[], known={_LABEL: (), **({path: ()} if path else {})})
    key = _ROW if path is None or path not in listing else path
    check_present((key, _LABEL), listing.columns, "Pass a table of corrections with the columns row and label")
    rows = _positions(listing[key], pd.Index(frame[path]) if key == path else frame.index, key)
    (column,) = columns
    is_dropped, labels = _new_labels(listing[_LABEL], frame, column, task, separator, schema)
    if is_dropped.sum() == len(frame):
        raise BadValueError("the corrections drop every row", "Keep some, or give them a label")
    changed = frame[column].astype(labels.dtype).copy()
    changed.iloc[rows[~is_dropped]] = labels.array
    counts = f"{count(len(labels), 'row')} relabeled, {count(int(is_dropped.sum()), 'row')} dropped"
    logger.info(f"{counts} by the corrections.")
    return with_columns(frame, {column: changed}), np.delete(every, rows[is_dropped])


def _positions(wanted: pd.Series, labels: pd.Index, key: str) -> Rows:
    """Return the number of each named row; raise if one does not exist or is named twice.

    Example:
        >>> _positions(pd.Series([7, 5]), pd.Index([5, 6, 7]), "row")
        array([2, 0])
    """
    is_number = pd.api.types.is_numeric_dtype(labels)
    named = pd.Index(pd.to_numeric(wanted, errors="coerce") if is_number else wanted.astype(str))
    labels = labels if is_number else labels.astype(str)
    several = [*wanted[named.duplicated() & named.notna()], *wanted[named.isin(labels[labels.duplicated()])]]
    if several:
        problem = (
            f"each {key} of the corrections must name one row, and be listed once, got {listed([*map(repr, several)])}"
        )
        raise BadValueError(problem, "Keep one line for each, or give the rows a unique index")
    found = labels.get_indexer(named)
    if absent := wanted[found < 0].tolist():
        rows = count(len(labels), "row")
        problem = (
            f"each {key} of the corrections must be one of the source's {rows}, got {listed([*map(repr, absent)])}"
        )
        raise BadValueError(problem, "Correct the list, or pass the source that it belongs to")
    return np.asarray(found, dtype=np.int64)


def _new_labels(
    given: pd.Series, frame: pd.DataFrame, column: str, task: Task | None, separator: str | None, schema: Schema | None
) -> tuple[NDArray[np.bool_], pd.Series]:
    """Return a mask of the rows to drop, and the others' labels in the target's type; raise if one is unknown."""
    values = frame[column].dropna()
    if values.map(type).eq(list).any():
        problem = f"corrections are for a target of text or numbers, and {column!r} holds lists"
        raise BadValueError(problem, "Correct the column itself")
    known = {_text(value): value for value in (*values.unique(), *(schema.classes if schema else ()))}
    texts = ["" if is_out else _text(value) for value, is_out in zip(given, missing_cells(given), strict=True)]
    is_dropped = np.array([not text or (text == _DROP and text not in known) for text in texts], dtype=np.bool_)
    texts = [text for text, is_out in zip(texts, is_dropped, strict=True) if not is_out]
    if separator is not None:
        parts = {part.strip() for text in known for part in text.split(separator)}
        unknown = [part for text in texts for part in text.split(separator) if part.strip() not in parts]
        found: list[Any] = texts
    else:
        unknown = [text for text in texts if text not in known]
        found = [known.get(text, text) for text in texts]
    if unknown and not (task or infer_task(frame, [column], separator)[0]).is_classes:
        numbers = pd.to_numeric(pd.Series(texts), errors="coerce")
        unknown = [text for text, is_none in zip(texts, numbers.isna(), strict=True) if is_none]
        if not unknown:
            are_numbers = pd.api.types.is_numeric_dtype(values)
            return is_dropped, numbers if are_numbers else pd.Series(texts, dtype=values.dtype)
    if unknown:
        raise UnknownNameError(f"label of {column!r}", unknown[0], known)
    return is_dropped, pd.Series(found, dtype=values.dtype)


def _text(value: object) -> str:
    """Return a label as it is written in a file of corrections.

    Example:
        >>> _text("a "), _text(2.0), _text(True)
        ('a ', '2', 'True')
    """
    is_whole = isinstance(value, float | np.floating) and float(value).is_integer()
    return str(int(value)) if is_whole else str(value)  # type: ignore[call-overload]
