"""Ratings that cannot be used as they are: a sentence each, and nothing lost in silence."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from tabvision.data.ratings.rows import with_whole_ids
from tabvision.errors import BadTypeError, BadValueError
from tests.made.ratings import made_ratings, ratings_data, rows_of


@pytest.mark.parametrize(
    "times",
    [
        lambda when: when.astype(str),
        lambda when: pd.to_datetime(when, unit="s"),
        lambda when: pd.to_datetime(when, unit="s").astype(str),
        lambda when: pd.to_datetime(when, unit="h").dt.strftime("%m/%d/%Y %H:%M"),
    ],
)
def test_times_split_alike_in_whatever_way_they_are_written(times: Any, subtests: pytest.Subtests) -> None:
    for split in ["time", "last"]:
        with subtests.test(split=split):
            frame = made_ratings()
            written = ratings_data(frame.assign(when=times(frame["when"])), split=split, timestamp="when")

            assert written.parts["val"].rows.tolist() == (
                ratings_data(frame, split=split, timestamp="when").parts["val"].rows.tolist()
            )


@pytest.mark.parametrize(
    "times", [["9", "10"], ["12/01/2019", "01/01/2020"], ["2019-12-01", "2020-01-01"], [9, 10], [9.5, 10.0]]
)
def test_the_last_of_a_repeated_pair_is_found_in_whatever_way_times_are_written(times: list[Any]) -> None:
    frame = made_ratings()
    early, late = frame.assign(when=times[0]), frame.head(5).assign(when=times[1], stars=1.0)

    data = ratings_data(pd.concat([late, early]), duplicates="last", timestamp="when", split=None)

    assert set(range(5)) <= set(data.parts["train"].rows.tolist())
    assert len(data.parts["train"].rows) == len(frame)


def test_times_that_are_none_do_not_decide_which_row_is_the_last() -> None:
    frame = made_ratings().astype({"when": object})
    frame.loc[0, "when"] = "soon"

    with pytest.raises(BadTypeError, match="column 'when' must hold dates, times or numbers"):
        ratings_data(frame, duplicates="last", timestamp="when")


def test_a_missing_time_that_decides_is_refused_or_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    frame = made_ratings().astype({"when": float})
    frame.loc[4, "when"] = np.nan
    settings: dict[str, Any] = {"split": "last", "timestamp": "when"}

    with pytest.raises(BadValueError, match="'when' is missing in 1 of 345 rows, first row 4"):
        ratings_data(frame, **settings)
    data = ratings_data(frame, **settings, missing="drop", verbose=True)

    assert 4 not in rows_of(data)
    assert "1 row without 'when' left out." in capsys.readouterr().out


def test_times_that_decide_nothing_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    ratings_data(timestamp="when", verbose=True)

    assert "Column 'when' of timestamps is not used" in capsys.readouterr().out


def test_without_a_rating_it_is_told_what_a_row_means(capsys: pytest.CaptureFixture[str]) -> None:
    ratings_data(rating=None, verbose=True)

    assert "No rating: each row means that 'who' took 'film'; 4 negatives are drawn" in capsys.readouterr().out


def test_test_rows_outside_the_range_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    ratings_data(test=made_ratings().head(3).assign(stars=99), verbose=True)

    assert "Note: 3 test rows outside 0.75 to 5.25" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([[1], [2]], r"column 'who' must hold ids, got list such as \[1\]. Name the column of ids"),
        (["1", 1, 2], r"ids of one kind, got .*Make them text: frame\['who'\] = frame\['who'\].astype\(str\)"),
        ([1234567890123456789.0, 3.0], r"lost their last digits, such as 1.23457e\+18. Read them as text"),
    ],
)
def test_ids_that_would_be_lost_or_confused_are_refused(ids: list[Any], message: str) -> None:
    frame = pd.DataFrame({"who": pd.Series(ids, dtype=float if isinstance(ids[0], float) else object)})

    with pytest.raises(BadTypeError, match=message):
        with_whole_ids(frame, ["who"])


def test_ids_as_text_keep_their_zeros() -> None:
    frame = made_ratings().assign(who=lambda table: "00" + table["who"].astype(str))

    assert ratings_data(frame).schema.categorical[0].vocabulary[0] == "00100"


def test_ratings_that_are_all_alike_and_pairs_of_no_part_are_refused() -> None:
    with pytest.raises(BadValueError, match=r"all ratings in 'stars' are 5.0.* each row means a yes, leave rating out"):
        ratings_data(made_ratings().assign(stars=5.0))

    with pytest.raises(BadValueError, match="there is no val split, only train"):
        ratings_data(split=None).held_out_pairs()
    with pytest.raises(BadValueError, match=r"there is no test split, only train, val\. Pass a table or file as test="):
        ratings_data().held_out_pairs("test")


def test_test_rows_of_the_split_and_of_a_source_are_refused_together() -> None:
    with pytest.raises(BadValueError, match="the split already holds out test rows, and test= names others"):
        ratings_data(split=(0.2, 0.2), test=made_ratings().head(9))
