"""How many rows hold a category that training lacks: a new user, an item never rated, a job nobody had."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tabvision.errors import count
from tabvision.schema import Schema

ATTRIBUTE = "unseen"  # of an answered frame: `answers.attrs["unseen"]`


def unseen_counts(
    schema: Schema, codes: NDArray[np.integer], is_missing: Callable[[str], NDArray[np.bool_]]
) -> dict[str, int]:
    """Rows with a value that the training rows lack, for each raw column of categories that has such.

    Args:
        schema: Of the model.
        codes: (N, K) codes of the categories, 0 for missing or unseen.
        is_missing: Which rows, (N,), have no value in a raw column; asked only where a code is 0.

    Example:
        >>> from tabvision.schema import Categorical, Target
        >>> from tabvision.tasks import Binary
        >>> job = Categorical(name="job", source="job", vocabulary=("cook", "nurse"))
        >>> schema = Schema(target=Target(columns=("paid",), task=Binary()), categorical=(job,))
        >>> unseen_counts(schema, np.array([[1], [0], [0]]), lambda name: np.array([False, True, False]))
        {'job': 1}
    """
    has_zero = (codes == 0).any(axis=0).tolist()
    found = {}
    for place, column in enumerate(schema.categorical):
        if has_zero[place] and column.name == column.source:  # others are flags, and parts of dates
            found[column.name] = int(((codes[:, place] == 0) & ~is_missing(column.source)).sum())
    return {name: number for name, number in found.items() if number}


def gaps_in_frame(frame: pd.DataFrame) -> Callable[[str], NDArray[np.bool_]]:
    """Which rows of a frame have no value in a column."""
    return lambda name: frame[name].isna().to_numpy(dtype=bool)


def gaps_in_rows(rows: Any) -> Callable[[str], NDArray[np.bool_]]:  # noqa: ANN401 - a sequence of mappings
    """Which of some rows have no value in a column."""
    return lambda name: np.array([bool(pd.isna(row[name])) for row in rows], dtype=bool)


def unseen_sentences(answers: pd.DataFrame) -> list[str]:
    """What there is to say about the rows behind answers.

    Example:
        >>> answers = pd.DataFrame({"prediction": [3.5, 3.0]})
        >>> answers.attrs["unseen"] = {"user": 1}
        >>> unseen_sentences(answers)
        ["1 of 2 rows with a 'user' that training lacks, answered as unknown"]
    """
    unseen: Mapping[str, int] = answers.attrs.get(ATTRIBUTE, {})
    rows = count(len(answers), "row")
    return [
        f"{number:,} of {rows} with a {name!r} that training lacks, answered as unknown"
        for name, number in unseen.items()
    ]


def missing_sentences(module: object, frame: pd.DataFrame) -> list[str]:
    """What there is to say about pairs without a user or item, which nobody can rate; gaps in a table are nothing unusual."""
    from tabvision.modules import CollabModule  # torch, which an exported model does without

    if not isinstance(module, CollabModule):
        return []
    gaps = {name: int(frame[name].isna().sum()) for name in module.schema.inputs}
    rows = count(len(frame), "row")
    return [f"{number:,} of {rows} without a {name!r}, answered as unknown" for name, number in gaps.items() if number]
