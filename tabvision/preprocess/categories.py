"""The vocabulary of a category, and writers that turn its values into codes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tabvision.errors import BadTypeError
from tabvision.plain import LARGEST_EXACT, check_digits, codes_by_label
from tabvision.preprocess.columns import Column, Levels, Numbers, Text
from tabvision.preprocess.parse import Family, is_blank, parse_number
from tabvision.schema import Label

Writer: TypeAlias = Callable[[slice, NDArray[Any]], None]  # writes the encoded rows of a slice into an array

MAX_TABLE = 1 << 20  # the most entries in a lookup table
MAX_BLOCKWISE = 4_096  # the most texts to look up block by block; with more, all rows are looked up at once


def vocabulary_of(column: Column, name: str) -> tuple[tuple[Label, ...], bool]:
    """Return the distinct values and whether they are ordered; they are sorted unless an ordered category has an order.

    White space counts as missing.

    Raises:
        BadTypeError: The column holds floats that have lost their last digits.

    Example:
        >>> vocabulary_of(Text(pa.array(["b", "a", None, "b"])), "x")
        (('a', 'b'), False)
    """
    column = column.to_labels()
    if isinstance(column, Levels):
        codes, values = column.distinct()
        used = np.unique(codes[codes >= 0])
        if isinstance(column.values, Numbers):
            check_digits(column.values.values[used], name)
        seen: list[Any] = [it for it in map(values.__getitem__, used.tolist()) if it is not None and not is_blank(it)]
        return tuple(dict.fromkeys(seen if column.ordered else sorted(seen))), column.ordered
    if isinstance(column, Text):
        return tuple(sorted(it for it in pc.unique(column.values).drop_null().to_pylist() if not is_blank(it))), False
    if column.exact is not None:
        codes, exact = column.exact
        seen = sorted(exact[code] for code in np.unique(codes[codes >= 0]).tolist())
        check_digits(np.array([it for it in seen if isinstance(it, float)]), name)
        return tuple(seen), False
    distinct = distinct_numbers(column.values)
    check_digits(distinct, name)
    return tuple(Numbers(distinct, column.kind).to_list()), False


def values_seen_once(column: Column) -> set[Label]:
    """Return the values that occur in exactly one row.

    Example:
        >>> values_seen_once(Text(pa.array(["b", "a", None, "b", " "])))
        {'a'}
    """
    codes, values = column.to_labels().distinct()
    counts = np.bincount(codes[codes >= 0])
    return {values[code] for code in np.flatnonzero(counts == 1) if not is_blank(values[code])}


def distinct_numbers(values: NDArray[Any]) -> NDArray[Any]:
    """Return the distinct numbers, ascending, without NaN."""
    if (counted := count_integers(values)) is not None:
        return counted[0]
    distinct = pc.unique(pa.array(values)).to_numpy(zero_copy_only=False) if values.dtype.kind != "b" else values
    distinct = np.unique(distinct)
    return distinct[~np.isnan(distinct)] if distinct.dtype.kind == "f" else distinct


def count_integers(values: NDArray[Any], most: int = MAX_TABLE) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
    """Return the distinct integers, ascending, and the number of rows of each; None for floats, no rows or a wide range.

    Example:
        >>> count_integers(np.array([7, 5, 7]))
        (array([5, 7]), array([1, 2]))
    """
    if values.dtype.kind not in "bui" or not len(values):
        return None
    values = values.view(np.uint8) if values.dtype.kind == "b" else values
    low, high = int(values.min()), int(values.max())
    if high - low >= most or low <= -(2**62) or high >= 2**62:
        return None
    shift = 0 if low >= 0 and high < MAX_TABLE else low
    counts = np.bincount(values.astype(np.int64) - shift if shift else values)
    distinct = np.flatnonzero(counts)
    return distinct + shift, counts[distinct]


def family_of_vocabulary(vocabulary: tuple[Label, ...]) -> Family:
    """Return the family of the values in a vocabulary.

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
    family = family_of_vocabulary(vocabulary)
    wants_text = family == "text"
    column = column.to_labels() if wants_text else column
    if isinstance(column, Text) and family == "boolean":  # a CSV column with another value is read as text
        ones = pc.replace_substring_regex(column.values, r"(?i)^\s*true\s*$", "1")
        column = Text(pc.replace_substring_regex(ones, r"(?i)^\s*false\s*$", "0"))
    if isinstance(column, Levels) and (wants_text or not isinstance(column.values, Text)):
        inner = np.zeros(len(column.values.values), dtype=np.int32)
        code_writer(column.values, vocabulary, name)(slice(0, len(inner)), inner)
        return table_writer(column.codes, np.concatenate([[0], inner]), first=-1)
    if isinstance(column, Text) and wants_text:
        return _text_writer(column.values, vocabulary)
    if isinstance(column, Numbers) and wants_text:
        written = map(parse_number, map(str, vocabulary)) if column.kind == "integer" else ()
        # integers beyond 64 bits are read as text, and in training that made all of the column text
        if any(isinstance(it, int) and abs(it) >= 2**63 for it in written):
            codes, distinct = column.distinct()
            texts = Text(pa.array([str(number) for number in distinct], pa.large_string()))
            return code_writer(Levels(codes, texts, ordered=False), vocabulary, name)
        problem = f"column {name!r} must hold text, as in the training rows, got numbers such as {column.example()!r}"
        raise BadTypeError(problem, f"Convert it, such as frame[{name!r}].astype(str)")
    wanted = "true or false" if family == "boolean" else "numbers"
    return _number_writer(column.to_numbers(name, wanted=wanted), vocabulary, name)


def table_writer(values: NDArray[Any], table: NDArray[Any], *, first: int) -> Writer:
    """Return a writer that looks integers up in a table starting at `first`; integers beyond an end get the end's entry."""

    def write(rows: slice, out: NDArray[Any]) -> None:
        indices = np.subtract(values[rows], first, dtype=np.int64)
        np.take(table, indices, mode="clip", out=out)

    table = table.astype(np.float32 if table.dtype.kind == "f" else np.int32)
    return write


def _text_writer(values: pa.ChunkedArray, vocabulary: tuple[Label, ...]) -> Writer:
    """Return a writer of codes for text, looked up block by block if the vocabulary is small."""
    lookup = pa.array([None, *vocabulary], values.type)  # a missing value matches index 0

    def codes(part: pa.ChunkedArray) -> NDArray[np.int32]:
        found = pc.fill_null(pc.index_in(part, value_set=lookup), 0)
        return np.asarray(found.to_numpy())

    if len(vocabulary) > MAX_BLOCKWISE:
        known = codes(values)
        return lambda rows, out: np.copyto(out, known[rows])
    return lambda rows, out: np.copyto(out, codes(values.slice(rows.start, rows.stop - rows.start)))


def _number_writer(column: Numbers, vocabulary: tuple[Label, ...], name: str) -> Writer:
    """Return a writer of codes for numbers, by a table for integers in a narrow range, else by binary search."""
    values = column.values.view(np.uint8) if column.values.dtype.kind == "b" else column.values
    labels, codes = np.array(vocabulary), np.arange(1, len(vocabulary) + 1, dtype=np.int32)
    if labels.dtype.kind == "f":
        by_label = codes_by_label(vocabulary)
        labels, codes = np.array(list(by_label)), np.array(list(by_label.values()))
    labels = labels.astype(np.int64) if labels.dtype.kind == "b" else labels
    order = np.argsort(labels, kind="stable")
    labels, codes = labels[order], codes[order]
    largest = max(-float(labels[0]), float(labels[-1]))
    if largest >= LARGEST_EXACT and (column.exact or labels.dtype.kind != values.dtype.kind):
        # Compare them exactly, in Python; numpy would compare them as floats.
        indices, distinct = column.distinct()
        floats = np.array([it for it in distinct if isinstance(it, float)]) if column.exact else values
        check_digits(floats, name, largest)
        by_label = codes_by_label(vocabulary)
        return table_writer(indices, np.array([0, *(by_label.get(value, 0) for value in distinct)]), first=-1)
    check_digits(values, name, largest)
    small = labels.dtype.kind == "i" and int(labels[-1]) - int(labels[0]) < MAX_TABLE
    if small and values.dtype.kind in "iu" and values.dtype != np.uint64:
        table = np.zeros(int(labels[-1] - labels[0]) + 3, dtype=np.int32)  # a 0 at either end for values beyond it
        table[labels - labels[0] + 1] = codes
        return table_writer(values, table, first=int(labels[0]) - 1)

    def write(rows: slice, out: NDArray[Any]) -> None:
        part = values[rows]
        found = np.minimum(np.searchsorted(labels, part), len(labels) - 1)
        np.copyto(out, np.where(labels[found] == part, codes[found], 0), casting="same_kind")

    return write
