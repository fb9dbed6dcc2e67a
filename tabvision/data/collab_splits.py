"""A split by user: the last thing that each did is what is to be foreseen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from typing_extensions import override

from tabvision.data.splits.base import TEST, TRAIN, VALIDATION, Parts, Split, factorized, parts_from, split_column
from tabvision.data.splits.ordered import TimeSplit, times_as_numbers
from tabvision.errors import BadValueError


@final
@dataclass(frozen=True)
class LeaveLastOut(Split):
    """Each user's last row validates; with a test part the very last tests and the one before validates.

    A user's first row always trains. Of rows with one time, the one further down is the later.

    Args:
        user: The column of users.
        timestamp: The column of times, as for `TimeSplit`; None for the order of the rows.
        test: Whether there is a test part.

    Example:
        >>> frame = pd.DataFrame({"user": [1, 1, 2, 2, 2], "time": [9, 5, 1, 2, 3]})
        >>> LeaveLastOut("user", "time")(frame, None, seed=0).validation.tolist()
        [0, 4]
    """

    user: str
    timestamp: str | None = None
    test: bool = False

    @override
    def __call__(self, frame: pd.DataFrame, target_codes: NDArray[Any] | None, *, seed: int) -> Parts:
        users, _ = factorized("LeaveLastOut", frame, self.user)
        times: NDArray[Any] = np.arange(len(frame))
        if self.timestamp is not None:
            times = times_as_numbers(split_column("LeaveLastOut", frame, self.timestamp), "LeaveLastOut")
        order = np.lexsort((np.arange(len(frame)), times, users))
        sizes = np.bincount(users)
        ends = np.repeat(np.cumsum(sizes), sizes)
        left = ends - np.arange(len(frame)) - 1  # of a user's rows after this one
        first = left == np.repeat(sizes, sizes) - 1
        part = np.full(len(frame), TRAIN, dtype=np.int8)
        part[order[(left == int(self.test)) & ~first]] = VALIDATION
        if self.test:
            part[order[(left == 0) & ~first]] = TEST
        remedy = "Each needs a user with two rows, or three with a test part"
        return parts_from("LeaveLastOut", part, test_share=float(self.test), remedy=remedy)


def ratings_split(split: str, user: str, timestamp: str | None, who: str) -> Split:
    """The split that a word means: "last" or "time".

    Raises:
        BadValueError: Another word, or no timestamp for "time".

    Example:
        >>> ratings_split("time", "user", "when", "here")
        TimeSplit(column='when', share=0.2, test_share=0.0)
    """
    if split == "last":
        return LeaveLastOut(user, timestamp)
    if split != "time":
        remedy = 'Pass a share such as 0.2, a split object, "time", "last" or None'
        raise BadValueError(who, f"split {split!r} is not known", remedy)
    if timestamp is None:
        raise BadValueError(who, 'split="time" needs the column of times', "Name it: timestamp=...")
    return TimeSplit(timestamp)
