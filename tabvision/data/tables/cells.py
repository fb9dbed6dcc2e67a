"""Read the cells of a delimited text file: which words mark a missing value, and which whole numbers are names."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tabvision.data.tables.text_file import TextFile
from tabvision.errors import BadTypeError, count, listed

logger = logging.getLogger("tabvision")

MISSING_WORDS = (
    "NA", "N/A", "n/a", "#N/A", "#N/A N/A", "#NA", "<NA>", "NaN", "nan", "-NaN", "-nan", "1.#IND", "-1.#IND", "1.#QNAN",
    "-1.#QNAN", "NULL", "null", "None",
)  # fmt: skip
"""The words that mark a missing value unless the user says otherwise: those of pandas."""
NAMES = frozenset({"None"})  # values in a column of words: no pet, no damage, no alley

Known: TypeAlias = Mapping[str, Collection[str] | None]
"""Columns that are known to be text or not: the texts that each may hold, or None if it is not text."""
Parse: TypeAlias = Callable[..., pd.DataFrame]
"""A function that parses some columns again, as text or with inferred types, given the words that mark a missing value."""


def with_columns(frame: pd.DataFrame, columns: Mapping[Any, Any] | pd.DataFrame) -> pd.DataFrame:
    """Return a frame with some columns set, like `assign`, which does not accept a column named self.

    Example:
        >>> with_columns(pd.DataFrame({"self": [1]}), {"self": [2]})["self"].tolist()
        [2]
    """
    found = frame.copy(deep=False)
    for name, values in columns.items():
        found[name] = values
    return found


def checked_words(na_values: Sequence[str] | None) -> tuple[str, ...]:
    """Return the words, besides an empty cell, that mark a missing value; None means `MISSING_WORDS`.

    Raises:
        BadTypeError: They are not a list of texts.

    Example:
        >>> checked_words(["?", ""]), len(checked_words(None))
        (('?',), 18)
    """
    if na_values is None:
        return MISSING_WORDS
    if isinstance(na_values, str) or not all(isinstance(word, str) for word in na_values):
        problem = f"na_values must be a list of words, got {na_values!r}"
        raise BadTypeError(problem, 'Pass a list such as ["NA", "?"], or [] if only empty cells are missing')
    return tuple(word for word in na_values if word)


def without_words(
    frame: pd.DataFrame, words: Sequence[str], known: Known, parse: Parse, *, is_default: bool
) -> pd.DataFrame:
    """Return the frame with missing values where cells hold one of the words, and log how many.

    A word that a known column may hold stays. By default "None" also stays in other columns of words.

    Args:
        frame: The columns as parsed; only empty cells are missing.
        words: The words that mark a missing value.
        known: Columns that are known to be text or not.
        parse: Parses columns again: `parse(columns, words)`.
        is_default: Whether the words are those of `MISSING_WORDS`, rather than the user's.
    """
    texts, found = dict[Any, pa.Array](), dict[Any, dict[str, int]]()
    for name in (name for name in frame if isinstance(frame[name].dtype, pd.StringDtype)):
        texts[name] = pa.array(frame[name], pa.large_string(), from_pandas=True)
        held = texts[name].filter(pc.is_in(texts[name], value_set=pa.array(words, pa.large_string())))
        if counts := {each["values"]: each["counts"] for each in pc.value_counts(held).to_pylist()}:
            found[name] = counts
    if not found:
        return frame
    again = parse([name for name in found if known.get(name) is None], words)
    columns: dict[str, pd.Series] = {}
    kept: dict[str, dict[str, int]] = {}
    for name, counts in found.items():
        is_text = name not in again or isinstance(again[name].dtype, pd.StringDtype)
        values = set(known.get(name) or (_names(texts[name], words) if is_default and is_text else ()))
        stays = {word: counts.pop(word) for word in values & set(counts)}
        if name not in known:
            kept[name] = stays
        columns[name] = frame[name].mask(frame[name].isin(list(counts))) if is_text or stays else again[name]
    _log_words("missing", found, is_default=is_default)
    _log_words("a value, not as missing", kept, is_default=is_default)
    return with_columns(frame, columns)


def _names(values: pa.Array, words: Collection[str]) -> Collection[str]:
    """Return the words that count as values here, since most other texts begin with a letter, unlike numbers and dates."""
    others = pc.unique(values.drop_null())
    others = others.filter(pc.invert(pc.is_in(others, value_set=pa.array(words, pa.large_string()))))
    is_name = pc.match_substring_regex(others, r"^\s*\p{L}")
    return NAMES if len(others) and pc.mean(is_name).as_py() > 0.5 else ()


def _log_words(read_as: str, found: Mapping[str, Mapping[str, int]], *, is_default: bool) -> None:
    """Log which words in which columns are read in a special way, and how often each occurs."""
    words = [(name, *each) for name, counts in found.items() for each in sorted(counts.items())]
    if shown := [f"{word!r} in {name!r} ({count(number, 'row')})" for name, word, number in words]:
        other = ' Name the words that mean missing: na_values=["NA"] (--na NA); [] (--na "") for none.'
        logger.info(f"Read as {read_as}: {listed(shown)}.{other if is_default else ''}")


def with_padded_numbers(
    frame: pd.DataFrame, known: Known, parse: Parse, file: TextFile, delimiter: str
) -> pd.DataFrame:
    """Return whole numbers as text in columns where some begin with a zero, since 007 is not 7, and log which.

    Args:
        frame: The columns as parsed.
        known: Columns that are known to be text or not.
        parse: Parses columns again, as text: `parse(columns)`.
        file: The file.
        delimiter: The character between its fields.
    """
    whole = [name for name in frame if name not in known and are_whole(frame[name])]
    if not whole or not _may_hold_zeros(file, delimiter):
        return frame
    padded = {}
    for name, cells in parse(whole, None).items():
        texts = cells.str.strip().where(frame[name].notna())
        values = pa.array(texts, pa.large_string(), from_pandas=True)
        is_padded = pc.any(pc.match_substring_regex(values, "^[+-]?0[0-9]")).as_py()
        if is_padded and pc.all(pc.match_substring_regex(values, "^[+-]?[0-9]+$")).as_py():
            padded[name] = texts
    if not padded:
        return frame
    logger.info(f"Integers with leading zeros stay text: {listed([*map(repr, padded)])}.")
    return with_columns(frame, padded)


def are_whole(values: pd.Series) -> bool:
    """Return whether a column is not empty and holds whole numbers, possibly as floats."""
    if pd.api.types.is_bool_dtype(values) or not pd.api.types.is_numeric_dtype(values):
        return False
    if pd.api.types.is_integer_dtype(values):
        return True
    numbers: NDArray[np.float64] = values.dropna().to_numpy(np.float64)
    return bool(len(numbers) and (numbers == np.floor(numbers)).all())


def _may_hold_zeros(file: TextFile, delimiter: str) -> bool:
    """Return whether some field may begin with a zero followed by a digit; this is faster than parsing the file."""
    if file.encoding.startswith(("utf-16", "utf-32")):
        return True
    before = np.zeros(256, dtype=bool)
    before[[*b'\r\n" ', *delimiter.encode(file.encoding.removesuffix("-sig"))]] = True
    rest = b"\n"
    with file.open() as opened:
        while block := opened.read(1 << 22):
            part = np.frombuffer(rest + block, np.uint8)
            zeros = np.flatnonzero(part[1:-1] == ord("0"))  # positions of the bytes before them
            if (before[part[zeros]] & (part[zeros + 2] - np.uint8(ord("0")) < 10)).any():
                return True
            rest = block[-2:]
    return False
