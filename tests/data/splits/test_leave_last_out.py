"""Each user's last row validates."""

import numpy as np
import pandas as pd
import pytest

from tabvision.data import LeaveLastOut
from tabvision.errors import BadTypeError, BadValueError, MissingColumnsError
from tests.made.ratings import made_ratings


@pytest.mark.parametrize("test", [False, True])
def test_the_last_of_each_user_is_held_out_as_pandas_has_it(test: bool) -> None:
    frame = made_ratings()

    parts = LeaveLastOut("who", "when", test=test)(frame, None, seed=0)

    ordered = frame.sort_values("when").groupby("who")
    last, before = ordered.nth(-1).index, ordered.nth(-2).index
    assert parts.validation.tolist() == sorted(before if test else last)
    assert parts.test.tolist() == (sorted(last) if test else [])
    assert sorted([*parts.train, *parts.validation, *parts.test]) == list(range(len(frame)))


def test_without_times_the_order_of_the_rows_decides() -> None:
    frame = pd.DataFrame({"who": ["b", "a", "b", "a"]})

    assert LeaveLastOut("who")(frame, None, seed=0).validation.tolist() == [2, 3]


def test_a_users_only_row_trains() -> None:
    frame = pd.DataFrame({"who": ["a", "b", "b"], "when": [1, 2, 3]})

    assert LeaveLastOut("who", "when")(frame, None, seed=0).train.tolist() == [0, 1]


def test_times_may_be_dates_as_text() -> None:
    frame = pd.DataFrame({"who": [1, 1, 1], "when": ["2020-03-01", "2021-01-01", "2019-12-31"]})

    assert LeaveLastOut("who", "when")(frame, None, seed=0).validation.tolist() == [1]


def test_of_one_time_the_row_further_down_is_the_later() -> None:
    frame = pd.DataFrame({"who": np.ones(4), "when": [5, 5, 5, 1]})

    assert LeaveLastOut("who", "when")(frame, None, seed=0).validation.tolist() == [2]


def test_users_of_one_row_each_leave_nothing_to_validate() -> None:
    with pytest.raises(BadValueError, match="the validation part of 2 rows would be empty"):
        LeaveLastOut("who")(pd.DataFrame({"who": [1, 2]}), None, seed=0)


def test_times_that_are_none_are_refused() -> None:
    frame = pd.DataFrame({"who": [1, 1], "when": ["soon", "later"]})

    with pytest.raises(
        BadTypeError, match=r"LeaveLastOut: .*must hold dates, times or numbers, got values such as 'soon'"
    ):
        LeaveLastOut("who", "when")(frame, None, seed=0)


def test_a_missing_column_is_named() -> None:
    with pytest.raises(MissingColumnsError, match="'When'"):
        LeaveLastOut("who", "When")(made_ratings(), None, seed=0)
