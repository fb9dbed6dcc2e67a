"""Rows as they come: ids, gaps, repeated pairs. What a datamodule says of them is in test_collab.py."""

import numpy as np
import pandas as pd
import pytest

from tabvision.data.ratings.rows import complete_rows, with_whole_ids, without_duplicates
from tabvision.errors import BadTypeError, BadValueError


def test_whole_floats_with_gaps_become_whole_numbers_with_gaps(caplog: pytest.LogCaptureFixture) -> None:
    frame = with_whole_ids(pd.DataFrame({"who": [1.0, np.nan]}), ["who"])

    assert frame["who"].tolist() == [1, pd.NA]
    assert caplog.messages == ["Column 'who' holds floats that are all whole: taken as whole numbers."]


def test_texts_and_whole_numbers_stay_as_they_are(caplog: pytest.LogCaptureFixture) -> None:
    given = pd.DataFrame({"who": ["a", "b"], "film": [1, 2]})

    frame = with_whole_ids(given, ["who", "film"])

    assert frame is given
    assert not caplog.messages


@pytest.mark.parametrize("wrong", [0.5, np.inf])
def test_floats_that_are_no_ids_are_refused(wrong: float) -> None:
    with pytest.raises(BadTypeError, match=f"must hold ids, got the number {wrong:g}"):
        with_whole_ids(pd.DataFrame({"who": [1.0, wrong]}), ["who"])


def test_a_column_of_gaps_leaves_nothing() -> None:
    with pytest.raises(BadValueError, match="every row is without 'who'"):
        complete_rows(pd.DataFrame({"who": [None, None]}), ["who"], "drop")


def test_the_order_given_decides_which_row_of_a_pair_is_the_last() -> None:
    frame = pd.DataFrame({"who": [1, 1], "film": [1, 1]})

    rows = without_duplicates(frame, np.array([1, 0]), ["who", "film"], "last")

    assert rows.tolist() == [0]


def test_one_repeated_row_is_told_in_the_singular() -> None:
    with pytest.raises(BadValueError, match=r"1 row repeats a pair of 'who' and 'film', such as \(1, 2\)"):
        without_duplicates(pd.DataFrame({"who": [1, 1], "film": [2, 2]}), np.arange(2), ["who", "film"], "error")
