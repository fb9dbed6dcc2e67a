"""Splits by time."""

import datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tabvision.data import LeaveLastOut
from tabvision.data.splits.ordered import TimeSplit, times_as_numbers
from tabvision.data.splits.random import GroupSplit
from tabvision.errors import BadTypeError, BadValueError, MissingColumnsError
from tests.made.ratings import made_ratings


@pytest.mark.parametrize("split", [GroupSplit("g"), TimeSplit("g")])
def test_missing_values_in_the_column_are_counted(split: Any) -> None:
    with pytest.raises(BadValueError, match="'g' decides the split, but has 2 missing values"):
        split(pd.DataFrame({"g": [1, None, None, 2]}), None, seed=0)
    with pytest.raises(BadValueError, match="but has 1 missing value"):
        split(pd.DataFrame({"g": [1, None, 2, 2]}), None, seed=0)


def test_the_latest_rows_validate_and_the_very_latest_test(subtests: pytest.Subtests) -> None:
    cases: list[Any] = [
        pd.date_range("2020-01-01", periods=10),
        pd.date_range("2020-01-01", periods=10, tz="Europe/Paris"),
        pd.period_range("2020-01", periods=10, freq="M"),
        [f"2020-01-{day:02d}" for day in range(1, 11)],
        [f"01/{day:02d}/2020" for day in range(1, 11)],
        [datetime.date(2020, 1, day) for day in range(1, 11)],
        range(10),
        np.linspace(0, 1, 10),
        pd.array(range(10), dtype="Int64"),
    ]

    for times in cases:
        with subtests.test(times=times):
            order = np.random.default_rng(0).permutation(10)
            frame = pd.DataFrame({"t": times}).iloc[order]

            parts = TimeSplit("t", 0.3, 0.2)(frame, None, seed=0)

            assert sorted(order[parts.test]) == [8, 9]
            assert sorted(order[parts.validation]) == [5, 6, 7]


def test_rows_of_one_time_stay_together_in_the_nearest_cut() -> None:
    frame = pd.DataFrame({"t": [1] * 4 + [2] * 5 + [3] * 1})

    assert TimeSplit("t", 0.3)(frame, None, seed=0).validation.tolist() == [9]
    assert TimeSplit("t", 0.5)(frame, None, seed=0).validation.tolist() == [4, 5, 6, 7, 8, 9]


def test_too_few_times_are_refused() -> None:
    with pytest.raises(BadValueError, match="column 't' has 1 distinct time, 2 parts need at least 2"):
        TimeSplit("t")(pd.DataFrame({"t": [1, 1, 1]}), None, seed=0)
    with pytest.raises(BadValueError, match="column 't' has 2 distinct times, 3 parts need at least 3"):
        TimeSplit("t", 0.2, 0.2)(pd.DataFrame({"t": [1, 1, 2]}), None, seed=0)


# Each user's last row validates.


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


def test_dates_in_text_are_read_in_the_order_that_a_day_above_twelve_proves(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "tabvision")

    assert times_as_numbers(pd.Series(["3/2/2016", "13/1/2016", "1/3/2016"])).argsort().tolist() == [1, 0, 2]
    assert not caplog.messages
    assert times_as_numbers(pd.Series(["3/2/2016", "12/1/2016", "1/3/2016"])).argsort().tolist() == [2, 0, 1]
    assert (
        "Dates of None such as '3/2/2016' are read in the order m/d/Y. If the day comes first, pass day_first=True"
        in caplog.text
    )
    caplog.clear()
    days = pd.Series(["3/2/2016", "12/1/2016", "1/3/2016"])
    assert times_as_numbers(days, day_first=True).argsort().tolist() == [1, 0, 2]
    assert not caplog.messages
    frame = pd.DataFrame({"who": 1, "when": days})
    assert TimeSplit("when", 0.4, day_first=True)(frame, None, seed=0).validation.tolist() == [2]
    assert LeaveLastOut("who", "when", day_first=True)(frame, None, seed=0).validation.tolist() == [2]


def test_the_order_of_the_rows_may_be_that_of_time() -> None:
    parts = TimeSplit(None, 0.2, 0.2)(pd.DataFrame({"x": range(10)}), None, seed=0)

    assert (parts.validation.tolist(), parts.test.tolist()) == ([6, 7], [8, 9])


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
