"""Clean the rows of a ratings table: convert ids to integers, find missing values and duplicates, join titles."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tabvision.checks import check_choice, check_present
from tabvision.data.rows import taken
from tabvision.data.tables.cells import with_columns
from tabvision.data.targets import missing_cells
from tabvision.errors import BadTypeError, BadValueError, count, listed
from tabvision.logs import notes_at
from tabvision.plain import check_digits
from tabvision.preprocess import to_arrays
from tabvision.preprocess.fit import Features
from tabvision.preprocess.parse import family_of
from tabvision.schema import Categorical
from tabvision.tasks.labels import row_name

logger = logging.getLogger("tabvision")

Duplicates = Literal["error", "last", "keep", "few"]
Missing = Literal["error", "drop"]
_FEW = 0.001  # the largest fraction of rows that `duplicates="few"` allows to repeat a pair
_FRACTIONAL = (float, np.floating, Decimal)


def with_whole_ids(frame: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Convert float and decimal ids to integers, and log each such column.

    In pandas, a join turns integers into floats if some row has no match; databases return decimals.

    Raises:
        BadTypeError: Ids are floats that are fractional or too large to be exact, are lists, or are of several types.

    Example:
        >>> with_whole_ids(pd.DataFrame({"user": [1.0, 2.0]}), ["user"])["user"].tolist()
        Column 'user' holds floats that are all whole: read as integers.
        [1, 2]
    """
    new = {}
    for name in columns:
        values = _without_categories(frame[name])
        present = values.dropna()
        if values.dtype == object:
            _check_one_kind(present, name)
            if not any(isinstance(value, _FRACTIONAL) for value in present):
                continue
            floats = np.array([value for value in present if not isinstance(value, Decimal)], np.float64)
        elif pd.api.types.is_float_dtype(values):
            floats = present.to_numpy()
        else:
            continue
        numbers = present.to_numpy(np.float64)
        if len(fractions := numbers[~np.isfinite(numbers) | (numbers != np.floor(numbers))]):
            problem = f"column {name!r} must hold ids, got the number {fractions[0]:g}"
            raise BadTypeError(problem, "Name the column of ids; numbers with a fraction are not ids")
        check_digits(floats, name)  # a decimal has all of its own
        if len(present):
            new[name] = _as_integers(values)
            logger.info(f"Column {name!r} holds floats that are all whole: read as integers.")
    return with_columns(frame, new) if new else frame


def _without_categories(ids: pd.Series) -> pd.Series:
    """Unwrap pandas categories of floats or mixed objects, and Arrow decimals, to the values themselves."""
    if isinstance(ids.dtype, pd.CategoricalDtype):
        kind = ids.cat.categories.dtype
        is_number = pd.api.types.is_float_dtype(kind) or pd.api.types.is_object_dtype(kind)
        return ids.astype(kind) if is_number else ids
    return ids.astype(object) if isinstance(ids.dtype, pd.ArrowDtype) and ids.dtype.type is Decimal else ids


def _as_integers(ids: pd.Series) -> pd.Series:
    """Return whole floats and decimals as integers; missing ones stay missing."""
    if ids.dtype != object:
        return ids.astype("Int64") if ids.isna().any() else ids.astype(np.int64)
    whole = [pd.NA if missing else int(value) for value, missing in zip(ids, ids.isna(), strict=True)]
    return pd.Series(whole, index=ids.index, name=ids.name, dtype=object).infer_objects()


def _check_one_kind(ids: pd.Series, name: str) -> None:
    """Raise if ids are of several types, since 1 and "1" would be two users."""
    examples: dict[Any, Any] = {type(value): value for value in reversed(ids.tolist())}
    families = {family_of(kind) for kind in examples}
    if None in families:
        kind, value = next((kind, value) for kind, value in examples.items() if family_of(kind) is None)
        problem = f"column {name!r} must hold ids, got {kind.__name__} such as {value!r}"
        remedy = f"Name the column of ids, one per row, or make them text: frame[{name!r}].astype(str)"
        raise BadTypeError(problem, remedy)
    if len(families) > 1:
        shown = " and ".join(f"{kind.__name__} ({value!r})" for kind, value in examples.items())
        remedy = f"Make them text: frame[{name!r}] = frame[{name!r}].astype(str)"
        raise BadTypeError(f"column {name!r} must hold ids of one kind, got {shown}", remedy)


def complete_rows(frame: pd.DataFrame, columns: Sequence[str], missing: Missing) -> NDArray[np.int64]:
    """Return the numbers of the rows without missing values, and log how many are left out.

    Raises:
        UnknownNameError: `missing` is neither "error" nor "drop".
        BadValueError: Values are missing and `missing` is "error", or no row is left.

    Example:
        >>> complete_rows(pd.DataFrame({"user": ["a", None]}), ["user"], "drop")
        1 row without 'user' left out.
        array([0])
    """
    check_choice("setting for missing values", missing, get_args(Missing))
    is_missing = {name: missing_cells(frame[name]) for name in columns}
    rows = np.asarray(np.logical_or.reduce([*is_missing.values()]), dtype=bool)
    if not rows.any():
        return np.arange(len(frame), dtype=np.int64)
    names = " or ".join(repr(name) for name in columns if is_missing[name].any())
    if missing == "error":
        where = f"{int(rows.sum()):,} of {count(len(frame), 'row')}, first row {row_name(frame, rows)}"
        problem = f"{names} is missing in {where}"
        remedy = f'Leave them out: frame.dropna(subset={list(columns)!r}), or missing="drop" (--drop-missing-target)'
        raise BadValueError(problem, remedy)
    if rows.all():
        raise BadValueError(f"{names} is missing in every row", "Name other columns")
    logger.info(f"{count(int(rows.sum()), 'row')} without {names} left out.")
    return np.flatnonzero(~rows).astype(np.int64)


def settled_duplicates(frame: pd.DataFrame, pair: Sequence[str], duplicates: Duplicates) -> Duplicates:
    """Resolve "few" to "last", and log it, if at most one row in a thousand repeats a pair; else to "error".

    Example:
        >>> settled_duplicates(pd.DataFrame({"user": [1, 1], "item": [7, 7]}), ["user", "item"], "few")
        'error'
    """
    if duplicates != "few":
        return duplicates
    pairs = frame[list(pair)].dropna()
    again = num_repeats(pairs)
    if not 0 < again <= _FEW * len(pairs):
        return "error"
    logger.info(
        f"{count(again, 'row')} of {len(pairs):,} repeat a user and an item: the last of each is used. Override with "
        f'duplicates="error" or "keep" (--duplicates).'
    )
    return "last"


def num_repeats(pairs: pd.DataFrame) -> int:
    """Return how many rows of two columns, without missing values, repeat an earlier row.

    Each row becomes one number to sort; for ten million rows this takes a third of the memory and time of hashing.

    Example:
        >>> num_repeats(pd.DataFrame({"user": [1, 2, 1, 1], "item": list("abaa")}))
        2
    """
    keys, items = (pd.factorize(pairs[name])[0] for name in pairs)
    keys *= items.max(initial=0) + 1
    keys += items
    keys.sort()
    return int((keys[1:] == keys[:-1]).sum())


def without_duplicates(
    frame: pd.DataFrame, rows: NDArray[np.int64], pair: Sequence[str], duplicates: Duplicates
) -> NDArray[np.int64]:
    """Leave out rows whose pair occurs again later; return the other row numbers, and log how many are left out.

    Args:
        frame: The table.
        rows: Row numbers to check, in the order that decides which row of a pair is last.
        pair: The columns of user and item.
        duplicates: "error" to raise, "last" to use the last row of a pair, "keep" to use all.

    Raises:
        UnknownNameError: `duplicates` is none of these.
        BadValueError: A pair occurs again and `duplicates` is "error".

    Example:
        >>> frame = pd.DataFrame({"user": [1, 1, 1], "item": [7, 8, 7]})
        >>> without_duplicates(frame, np.arange(3), ["user", "item"], "last").tolist()
        1 row left out in favor of a later one with the same user and item.
        [1, 2]
    """
    check_choice("setting for duplicates", duplicates, get_args(Duplicates))
    if duplicates == "keep":
        return rows
    pairs = frame[list(pair)]
    if not num_repeats(taken(pairs, rows)):
        return rows
    again = pairs.iloc[rows].duplicated(keep="last").to_numpy(dtype=bool)
    if duplicates == "error":
        first = ", ".join(repr(frame[name].iloc[rows[[again.argmax()]]].tolist()[0]) for name in pair)
        problem = f"{count(int(again.sum()), 'row')} repeat a pair of {pair[0]!r} and {pair[1]!r}, such as ({first})"
        problem = problem.replace("1 row repeat", "1 row repeats")
        remedy = 'Keep the last of each, duplicates="last", or all, "keep" (--duplicates), or average them: '
        raise BadValueError(problem, remedy + f"frame.groupby({list(pair)!r}, as_index=False).mean()")
    logger.info(f"{count(int(again.sum()), 'row')} left out in favor of a later one with the same user and item.")
    left: NDArray[np.int64] = rows[~again]
    return left


def titles_of(items: Categorical, table: pd.DataFrame, title: str) -> tuple[str, ...]:
    """Return the title of each item in the order of the vocabulary, and log how many have none.

    An item without a title gets its id as the title.

    Args:
        items: The category of items.
        table: A table with item ids, in a column of the same name as in the ratings, and titles.
        title: The column of titles.

    Raises:
        MissingColumnsError: The table lacks one of the two columns.
        BadValueError: No item is in the table, or an item has two titles.

    Example:
        >>> items = Categorical(name="film", source="film", vocabulary=(7, 8))
        >>> titles_of(items, pd.DataFrame({"film": [8, 7], "name": ["Heat", "Fargo"]}), "name")
        ('Fargo', 'Heat')
    """
    name = items.source
    columns = listed([repr(column) for column in table.columns])
    remedies = {
        name: f"The table of titles needs the column of ids under that name, and has {columns}",
        title: f"Name the column of titles as title=: the table has {columns}",
    }
    for column, remedy in remedies.items():
        check_present([column], table.columns, remedy)
    with notes_at(False):  # float ids in a table of titles need no note
        pairs = with_whole_ids(table[[name, title]].dropna().drop_duplicates(), [name])
    if len(again := pairs[pairs[name].duplicated()]):
        item = again[name].tolist()[0]
        both = listed([repr(text) for text in pairs.loc[pairs[name] == item, title]])
        raise BadValueError(f"{name} {item!r} has more than one title: {both}", "Leave one title for each item")
    known = Features(dates=(), continuous=(), categorical=(items,), left_out=())
    codes = to_arrays(known, pairs)[1][:, 0]
    found = {code: str(text) for code, text in zip(codes.tolist(), pairs[title], strict=True) if code}
    if not found:
        ids = listed([repr(label) for label in items.vocabulary[:3]])
        theirs = listed([repr(label) for label in pairs[name].head(3)]) or "none"
        problem = f"the titles match no item of the ratings: the ratings have ids such as {ids}, the titles {theirs}"
        raise BadValueError(problem, f"Pass a table whose column {name!r} holds the same ids")
    if num_untitled := len(items.vocabulary) - len(found):
        logger.info(f"{count(num_untitled, 'item')} without a title, named by id.")
    return tuple(found.get(code, str(label)) for code, label in enumerate(items.vocabulary, start=1))
