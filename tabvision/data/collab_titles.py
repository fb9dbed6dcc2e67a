"""Readable names of items, from the ratings themselves or from a second table."""

from __future__ import annotations

import pandas as pd

from tabvision.data.ratings.rows import with_whole_ids
from tabvision.errors import BadValueError, MissingColumnsError, count, listed
from tabvision.preprocess import to_arrays
from tabvision.preprocess.fit import Features
from tabvision.schema import Categorical


def titles_of(items: Categorical, table: pd.DataFrame, title: str, who: str) -> tuple[tuple[str, ...], list[str]]:
    """The title of each item in the order of the vocabulary, and a sentence about items that have none.

    An item without a title is called by its id.

    Args:
        items: The items as a category.
        table: A table with the items' ids, in a column named as in the ratings, and their titles.
        title: The column of titles.
        who: Who speaks in an error.

    Raises:
        MissingColumnsError: The table lacks one of the two columns.
        BadValueError: No item is in the table, or an item has two titles.

    Example:
        >>> items = Categorical(name="film", source="film", vocabulary=(7, 8))
        >>> titles_of(items, pd.DataFrame({"film": [8, 7], "name": ["Heat", "Fargo"]}), "name", "here")[0]
        ('Fargo', 'Heat')
    """
    name = items.source
    _check_columns(table, name, title, who)
    pairs, _ = with_whole_ids(table[[name, title]].dropna().drop_duplicates(), [name], who)
    if len(again := pairs[pairs[name].duplicated()]):
        item = again[name].tolist()[0]
        both = listed([repr(text) for text in pairs.loc[pairs[name] == item, title]])
        raise BadValueError(who, f"{name} {item!r} has more than one title: {both}", "Leave one title for each item")
    known = Features(dates=(), continuous=(), categorical=(items,), left_out=())
    codes = to_arrays(known, pairs, who)[1][:, 0]
    found = {code: str(text) for code, text in zip(codes.tolist(), pairs[title], strict=True) if code}
    if not found:
        ids = listed([repr(label) for label in items.vocabulary[:3]])
        theirs = listed([repr(label) for label in pairs[name].head(3)]) or "none"
        problem = f"the titles match no item of the ratings: ids there are such as {ids}, beside titles {theirs}"
        raise BadValueError(who, problem, f"Pass a table whose column {name!r} holds the same ids")
    lacking = len(items.vocabulary) - len(found)
    notes = [f"{count(lacking, 'item')} without a title, called by id."] if lacking else []
    return tuple(found.get(code, str(label)) for code, label in enumerate(items.vocabulary, start=1)), notes


def _check_columns(table: pd.DataFrame, item: str, title: str, who: str) -> None:
    columns = listed([repr(name) for name in table.columns])
    remedies = {
        item: f"The table of titles needs the column of ids by that name, and has {columns}",
        title: f"Name the column of titles with title: the table has {columns}",
    }
    for name, remedy in remedies.items():
        if name not in table.columns:
            raise MissingColumnsError(f"{who}, titles", [name], table.columns, remedy)
