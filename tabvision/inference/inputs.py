"""Read rows, images or both from any kind of source into batches of arrays for a network. No torch."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, Unpack, final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tabvision.data.tables.cells import MISSING_WORDS
from tabvision.data.tables.files import is_paths
from tabvision.data.tables.read import read_frame, text_format
from tabvision.data.tables.text_file import TextFormat
from tabvision.errors import BadTypeError, count, listed
from tabvision.inference.batches import Inputs, is_row
from tabvision.preprocess import Columns, RowEncoder, to_arrays
from tabvision.preprocess.parse import is_blank, is_tz_aware, parse_number
from tabvision.schema import NumberFormat, Schema

if TYPE_CHECKING:
    from tabvision.augment.settings import Augmentation
    from tabvision.data.images.decode import ImageSource

_FEW_ROWS = 16  # up to this number of rows, plain Python is faster than a frame
_BEYOND = 0.1  # numbers outside the training range by more than this fraction of its width count as outside
_BEYOND_FEW = 5  # divided by the number of training rows and added, since few rows say little about the range
Rows: TypeAlias = (
    pd.DataFrame | Mapping[str, object] | Sequence[Mapping[str, object]] | Sequence[str | Path] | str | Path
)
Source: TypeAlias = "Rows | ImageSource | Sequence[ImageSource]"
"""Rows; a folder, one image, or a list of images (paths, bytes, PIL images or arrays); or a table that names images."""


@final
class InputReader:
    """Read rows, images or both by a schema; safe to share between threads.

    Args:
        schema: The schema of the model.
        augment: The augmentation used in training, for views other than the plain one.

    Example:
        >>> from tabvision.schema import Continuous, Target
        >>> from tabvision.tasks import Regression
        >>> age = Continuous(name="age", source="age", mean=40.0, std=10.0, fill=40.0)
        >>> read = InputReader(Schema(target=Target(columns=("pay",), task=Regression()), continuous=(age,)))
        >>> read({"age": 50}).arrays["continuous"].tolist(), read({"age": [50, None]}).num_rows
        ([[1.0]], 2)
    """

    def __init__(self, schema: Schema, augment: Augmentation | None = None) -> None:
        self.schema, self.augment = schema, augment
        self._encode = RowEncoder(schema)
        self._has_columns = bool(schema.continuous or schema.categorical)
        words = MISSING_WORDS if schema.na_values is None else schema.na_values
        known = schema.known_columns
        # the range that counts as near the training rows: theirs plus a tenth of it on either side, or more for few rows; it
        # is unlimited for a column that was constant, or has no bins in an older checkpoint
        ends = np.array([(it.bins[0], it.bins[-1]) if it.bins else (-np.inf, np.inf) for it in schema.continuous])
        low, high = ends.reshape(-1, 2).T.astype(np.float32)
        fraction = np.float32(_BEYOND + _BEYOND_FEW / max(1, schema.target.num_rows or 1_000))
        beyond = np.where(np.isfinite(low), (high - low) * fraction, 0)
        self._ranges = np.stack([low - beyond, high + beyond])  # (2, C) standardized
        self._missing = {name: frozenset(words).difference(known[name] or ()) for name in schema.inputs}

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle for worker processes, which rebuild the encoder of single rows."""
        return InputReader, (self.schema, self.augment)

    def __call__(self, source: Source, *, labeled: bool = False, **form: Unpack[TextFormat]) -> Inputs:
        """Return the inputs of the network for a source.

        Args:
            source: Rows: a frame, one row as a dict, a list of such rows, a dict of columns, or table files. Images: a
                folder, a file, a list of paths, bytes, PIL images or arrays (H, W, 3) uint8, or a table that names files.
            labeled: Whether to read the targets too, into `frame`; a folder then has one folder for each class.
            form: How a text file is written; see `read_frame`.

        Raises:
            MissingColumnsError: A column of the training rows is missing.
            TabvisionError: The rows are invalid in another way.
        """
        form = text_format(self.schema, **form)
        if self.schema.image is None:
            return self._of_rows(source, form, labeled=labeled)
        from tabvision.inference.images import ImageReader

        found = ImageReader(self.schema, self.augment, form)(source, labeled=labeled)
        if not self._has_columns:
            return found
        if found.frame is None or found.shown:
            names = listed([repr(name) for name in self.schema.inputs])
            problem = f"the source holds only images, and the model reads columns as well: {names}"
            remedy = f"Pass a table with these columns that names the images in {self.schema.image.name!r}"
            raise BadTypeError(problem, remedy)
        is_plain = isinstance(source, Mapping) or (isinstance(source, list | tuple) and isinstance(source[0], Mapping))
        rows = self._of_rows(source if is_plain else found.frame, form)
        return replace(found, arrays=rows.arrays, unseen_rows=rows.unseen_rows, outside_rows=rows.outside_rows)

    def _of_rows(self, source: Rows, form: TextFormat, *, labeled: bool = False) -> Inputs:
        if not labeled and not is_paths(source):
            if isinstance(source, Mapping) and is_row(source):
                source = [source]
            if isinstance(source, list | tuple):
                source = list(map(self._with_missing, source))
            if isinstance(source, list) and len(source) <= _FEW_ROWS:
                return self._inputs(self._encode(source), source)
        known = self.schema.known_columns
        frame = source if isinstance(source, pd.DataFrame) else read_frame(source, **form, known=known)
        columns = Columns(frame)
        arrays = to_arrays(self.schema, columns)
        _note_on_shares(self.schema, columns)
        return replace(self._inputs(arrays, columns), index=frame.index, frame=frame)

    def _with_missing(self, row: Any) -> Any:  # noqa: ANN401 - a dict, or what the encoder refuses
        """Return a row with None for the words that mark a missing value in a file."""
        if not isinstance(row, Mapping):
            return row
        found = [name for name, it in row.items() if isinstance(it, str) and it in self._missing.get(name, ())]
        return {**row, **dict.fromkeys(found)} if found else row

    def _inputs(self, arrays: tuple[NDArray[Any], NDArray[Any]], rows: Any) -> Inputs:  # noqa: ANN401 - columns or dicts
        columns = {"continuous": self.schema.continuous, "categorical": self.schema.categorical}
        used = {name: array for name, array in zip(columns, arrays, strict=True) if columns[name]}
        numbers, (low, high) = arrays[0], self._ranges
        is_outside = (numbers < low) | (numbers > high)
        outside: dict[str, NDArray[np.bool_]] = {}
        for position in np.flatnonzero(is_outside.any(axis=0)).tolist():
            name = self.schema.continuous[position].source  # of a date's parts, any one suffices
            outside[name] = outside.get(name, np.zeros(len(numbers), dtype=np.bool_)) | is_outside[:, position]
        outside_rows = {name: np.flatnonzero(is_far) for name, is_far in outside.items()}
        unseen = _unseen_rows(self.schema, arrays[1], rows)
        return Inputs(len(numbers), used, unseen_rows=unseen, outside_rows=outside_rows)


def _note_on_shares(schema: Schema, columns: Columns) -> None:
    """Log that numbers in a column of percents may be fractions, since in training it was text such as 12%."""
    for number in schema.continuous:
        if not number.text.startswith("%") or abs(number.mean) <= 1:
            continue
        cells, values = columns.frame[number.source], columns.numbers(number.source, number.text).values
        has_sign = isinstance(cells.dtype, pd.StringDtype) and cells.str.contains("%", regex=False, na=False).any()
        if len(values) > 1 and not has_sign and np.nanmax(np.abs(values), initial=0) <= 1 and np.nansum(np.abs(values)):
            logging.getLogger("tabvision").info(
                f"{number.source!r} held percents such as 12% in training, and all its numbers lie between -1 and 1: 0.5 is "
                "read as 0.5%. If they are fractions, multiply them by 100."
            )


def _unseen_rows(
    schema: Schema,
    codes: NDArray[np.integer],
    rows: Any,  # noqa: ANN401 - same
) -> dict[str, NDArray[np.int64]]:
    """Return rows with a category that was not in training, text that is not a number, or a date with other time zones.

    The last means a date with a time zone although those in training had none, or the reverse. Columns without such rows
    are left out.

    Args:
        schema: The schema of the model.
        codes: (N, K) codes of the categories, 0 for missing or unseen.
        rows: The raw rows: columns, or a list of dicts.

    Example:
        >>> from tabvision.schema import Categorical, Target
        >>> from tabvision.tasks import Binary
        >>> job = Categorical(name="job", source="job", vocabulary=("cook", "nurse"))
        >>> schema = Schema(target=Target(columns=("paid",), task=Binary()), categorical=(job,))
        >>> _unseen_rows(schema, np.array([[1], [0], [0]]), [{"job": "cook"}, {"job": None}, {"job": "pilot"}])
        {'job': array([2])}
    """
    has_zero = (codes == 0).any(axis=0).tolist()
    found: dict[str, list[int]] = {}
    for position, column in enumerate(schema.categorical):
        if has_zero[position] and column.part in (None, "value"):  # the others are indicators and date parts
            values = _values_of(column.source, rows)
            unknown = np.flatnonzero((codes[:, position] == 0) & ~np.asarray(pd.isna(values), dtype=bool))
            unseen = values.iloc[unknown] if isinstance(values, pd.Series) else [values[row] for row in unknown]
            found[column.source] = [
                row for row, value in zip(unknown.tolist(), unseen, strict=True) if not is_blank(value)
            ]
    for number in schema.continuous:
        if number.text != "strict":
            values = _values_of(number.source, rows)
            missing = np.arange(len(codes))
            if isinstance(rows, Columns):  # it has read them already
                missing = np.flatnonzero(np.isnan(rows.numbers(number.source, number.text).values))
                values = values.iloc[missing]
            texts = ((row, it) for row, it in zip(missing.tolist(), values, strict=True) if isinstance(it, str))
            none = [row for row, text in texts if not is_blank(text) and parse_number(text, number.text) is None]
            found[number.source] = sorted({*none, *found.get(number.source, ())})
    for date in schema.dates:
        if date.tz_aware is not None:
            values = _values_of(date.name, rows)
            is_other = (is_tz_aware(values) != date.tz_aware) & ~np.asarray(pd.isna(values), dtype=bool)
            found |= {date.name: np.flatnonzero(is_other).tolist()} if is_other.any() else {}
    return {name: np.array(numbers, dtype=np.int64) for name, numbers in found.items() if numbers}


def _values_of(source: str, rows: Any) -> Any:  # noqa: ANN401 - a series or a list
    return rows.frame[source] if isinstance(rows, Columns) else [row[source] for row in rows]


def notes_on_unseen(schema: Schema, inputs: Inputs) -> list[str]:
    """Return a sentence for each column that has values unlike those in training, so that predictions rest on less."""
    rows, notes = count(inputs.num_rows, "row"), []
    nominal = {category.source for category in schema.categorical}  # a nominal number is also a category
    forms = {number.source: number.text for number in schema.continuous if number.source not in nominal}
    tz_aware = {date.name: date.tz_aware for date in schema.dates}
    for name, num in inputs.unseen.items():
        unknown = f"with a {name!r} not seen in training, predicted as unknown"
        if name in forms:
            unknown = f"whose {name!r} is not a number{_such_as(forms[name])}, read as missing"
        elif name in tz_aware:
            unknown = (
                f"whose {name!r} has {'no' if tz_aware[name] else 'a'} time zone, unlike the training rows, read in UTC"
            )
        notes.append(f"{num:,} of {rows} {unknown}")
    far = "far outside the training range, so the prediction is a guess"
    return notes + [f"{num:,} of {rows} whose {name!r} is {far}" for name, num in inputs.outside.items()]


def _such_as(form: NumberFormat) -> str:
    """Return words that show how numbers were written in training.

    Example:
        >>> _such_as("1.234,5"), _such_as("€,"), _such_as("lenient")
        (' such as 1.234,5', ' such as €1.234,5', '')
    """
    if form == "lenient":
        return ""
    sign, comma = form[:1], form.endswith(",")
    return f" such as {form if len(form) > 2 else sign + ('1.234,5' if comma else '1,234.5')}"
