"""The vocabulary of a category, and the writers that turn its values into codes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tabvision.errors import BadTypeError
from tabvision.preprocess.columns import Column, Levels, Numbers, Text, Timestamps
from tabvision.preprocess.parse import Family, is_blank
from tabvision.schema import Label

Writer: TypeAlias = Callable[[slice, NDArray[Any]], None]  # writes the encoded rows of the slice into the array

MAX_TABLE = 1 << 20  # entries of a lookup table
MAX_BLOCKWISE = 4_096  # up to so many texts are looked up block by block; with more, all rows are looked up at once


def vocabulary_of(column: Column) -> tuple[tuple[Label, ...], bool]:
    """Return the distinct values, and whether they are ordered; sorted, unless an ordered category gives its own order.

    White space is missing, and no value.

    Example:
        >>> vocabulary_of(Text(pa.array(["b", "a", None, "b"])))
        (('a', 'b'), False)
    """
    column = column.to_labels()
    if isinstance(column, Levels):
        assert not isinstance(column.values, Timestamps), "to_labels leaves no timestamps"
        values = column.values.to_list()
        used = np.unique(column.codes[column.codes >= 0])
        seen: list[Any] = [
            values[code] for code in used.tolist() if values[code] is not None and not is_blank(values[code])
        ]
        return tuple(dict.fromkeys(seen if column.ordered else sorted(seen))), column.ordered
    if isinstance(column, Text):
        return tuple(sorted(it for it in pc.unique(column.values).drop_null().to_pylist() if not is_blank(it))), False
    assert isinstance(column, Numbers), "to_labels leaves no timestamps"
    return tuple(Numbers(distinct_numbers(column.values), column.kind).to_list()), False


def distinct_numbers(values: NDArray[Any]) -> NDArray[Any]:
    """Return the distinct numbers, ascending, without NaN."""
    if values.dtype.kind in "bui" and len(values):
        values = values.view(np.uint8) if values.dtype.kind == "b" else values
        low, high = int(values.min()), int(values.max())
        if high - low < MAX_TABLE and low >= -(2**62) and high < 2**62:
            shifted = values if low >= 0 and high < MAX_TABLE else values.astype(np.int64) - low
            return np.flatnonzero(np.bincount(shifted)) + (0 if shifted is values else low)
    distinct = pc.unique(pa.array(values)).to_numpy(zero_copy_only=False) if values.dtype.kind != "b" else values
    distinct = np.unique(distinct)
    return distinct[~np.isnan(distinct)] if distinct.dtype.kind == "f" else distinct


def family_of_vocabulary(vocabulary: tuple[Label, ...]) -> Family:
    """Return what kind of values a vocabulary holds.

    Example:
        >>> family_of_vocabulary((1, 2)), family_of_vocabulary((False, True)), family_of_vocabulary(("a",))
        ('number', 'boolean', 'text')
    """
    if all(isinstance(label, str) for label in vocabulary):
        return "text"
    return "boolean" if all(isinstance(label, bool) for label in vocabulary) else "number"


def code_writer(column: Column, vocabulary: tuple[Label, ...], name: str) -> Writer:
    """Return a writer of codes: 0 for missing or unseen, i + 1 for the value at index i.

    Raises:
        BadTypeError: The column holds another kind of value than the vocabulary.

    Example:
        >>> out = np.empty(3, np.int32)
        >>> code_writer(Text(pa.array(["b", None, "z"])), ("a", "b"), "x")(slice(0, 3), out)
        >>> out.tolist()
        [2, 0, 0]
    """
    if not vocabulary or column.all_missing():
        return lambda _rows, out: out.fill(0)
    wants_text = family_of_vocabulary(vocabulary) == "text"
    column = column.to_labels() if wants_text else column
    if isinstance(column, Levels) and (wants_text or not isinstance(column.values, Text)):
        inner = np.zeros(len(column.values.values), dtype=np.int32)
        code_writer(column.values, vocabulary, name)(slice(0, len(inner)), inner)
        return table_writer(column.codes, np.concatenate([[0], inner]), first=-1)
    if isinstance(column, Text) and wants_text:
        return _text_writer(column.values, vocabulary)
    if isinstance(column, Numbers) and wants_text:
        problem = f"column {name!r} must hold text, as in the training rows, got numbers such as {column.example()!r}"
        raise BadTypeError(problem, f"Convert it, such as frame[{name!r}].astype(str)")
    return _number_writer(column.to_numbers(name, wrong=BadTypeError).values, vocabulary)


def table_writer(values: NDArray[Any], table: NDArray[Any], *, first: int) -> Writer:
    """Return a writer that looks integers up in a table beginning at `first`; integers beyond an end get its entry."""

    def write(rows: slice, out: NDArray[Any]) -> None:
        indices = np.subtract(values[rows], first, dtype=np.int64)
        np.take(table, indices, mode="clip", out=out)

    table = table.astype(np.float32 if table.dtype.kind == "f" else np.int32)
    return write


def _text_writer(values: pa.ChunkedArray, vocabulary: tuple[Label, ...]) -> Writer:
    lookup = pa.array([None, *vocabulary], values.type)  # a missing value is found at index 0

    def codes(part: pa.ChunkedArray) -> NDArray[np.int32]:
        found = pc.fill_null(pc.index_in(part, value_set=lookup), 0)
        return np.asarray(found.to_numpy())

    if len(vocabulary) > MAX_BLOCKWISE:
        known = codes(values)
        return lambda rows, out: np.copyto(out, known[rows])
    return lambda rows, out: np.copyto(out, codes(values.slice(rows.start, rows.stop - rows.start)))


def _number_writer(values: NDArray[Any], vocabulary: tuple[Label, ...]) -> Writer:
    values = values.view(np.uint8) if values.dtype.kind == "b" else values
    labels = np.array(vocabulary)
    labels = labels.astype(np.int64) if labels.dtype.kind == "b" else labels
    order = np.argsort(labels, kind="stable")
    labels = labels[order]
    small = labels.dtype.kind == "i" and int(labels[-1]) - int(labels[0]) < MAX_TABLE
    if small and values.dtype.kind in "iu" and values.dtype != np.uint64:
        table = np.zeros(int(labels[-1] - labels[0]) + 3, dtype=np.int32)  # a 0 at either end for what lies beyond
        table[labels - labels[0] + 1] = order + 1
        return table_writer(values, table, first=int(labels[0]) - 1)

    def write(rows: slice, out: NDArray[Any]) -> None:
        part = values[rows]
        found = np.minimum(np.searchsorted(labels, part), len(labels) - 1)
        np.copyto(out, np.where(labels[found] == part, order[found] + 1, 0), casting="same_kind")

    return write
