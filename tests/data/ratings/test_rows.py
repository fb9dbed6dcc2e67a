"""Rows as they come: ids, gaps, repeated pairs. What a datamodule says of them is in test_collab.py."""

from decimal import Decimal
from typing import Any
from uuid import UUID

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from tabvision.data.ratings.rows import (
    complete_rows,
    num_repeats,
    settled_duplicates,
    titles_of,
    with_whole_ids,
    without_duplicates,
)
from tabvision.errors import BadTypeError, BadValueError
from tabvision.schema import Categorical


def test_whole_floats_with_gaps_become_whole_numbers_with_gaps(caplog: pytest.LogCaptureFixture) -> None:
    frame = with_whole_ids(pd.DataFrame({"who": [1.0, np.nan]}), ["who"])

    assert frame["who"].tolist() == [1, pd.NA]
    assert caplog.messages == ["Column 'who' holds floats that are all whole: read as integers."]


def test_texts_and_whole_numbers_stay_as_they_are(caplog: pytest.LogCaptureFixture) -> None:
    given = pd.DataFrame({"who": ["a", "b"], "film": [1, 2]})

    frame = with_whole_ids(given, ["who", "film"])

    assert frame is given
    assert not caplog.messages


@pytest.mark.parametrize("gap", [False, True])
@pytest.mark.parametrize(
    "kind",
    [
        lambda ids: pd.Series(ids, dtype=object),
        lambda ids: pd.Series(ids).astype("category"),
        lambda ids: pd.Series([None if it is None else Decimal(it) for it in ids], dtype=object),
        lambda ids: pd.Series(ids).astype(pd.ArrowDtype(pa.decimal128(20, 2))),
        lambda ids: pd.Series([1, *ids[1:]], dtype=object),
    ],
    ids=["objects", "category", "Decimal", "Arrow", "int and float"],
)
def test_whole_floats_and_decimals_in_any_column_become_whole_numbers(kind: Any, gap: bool) -> None:
    frame = with_whole_ids(pd.DataFrame({"who": kind([1.0, None if gap else 2.0, 3.0])}), ["who"])

    assert frame["who"].dropna().tolist() == ([1, 3] if gap else [1, 2, 3])
    assert all(isinstance(it, int) for it in frame["who"].dropna().tolist())
    with pytest.raises(BadTypeError, match=r"must hold ids, got the number 1\.5"):
        with_whole_ids(pd.DataFrame({"who": kind([3.0, None if gap else 2.0, 1.5])}), ["who"])


def test_decimals_keep_digits_that_floats_lose() -> None:
    ids = [Decimal(2**60 + number) for number in range(3)]

    assert with_whole_ids(pd.DataFrame({"who": ids}), ["who"])["who"].tolist() == [2**60, 2**60 + 1, 2**60 + 2]
    with pytest.raises(BadTypeError, match="lost their last digits"):
        with_whole_ids(pd.DataFrame({"who": pd.Series([2.0**60, 1.0], dtype=object)}), ["who"])


def test_a_value_that_is_no_id_may_be_made_text() -> None:
    with pytest.raises(BadTypeError, match=r"got UUID such as .*make them text: frame\['who'\]\.astype\(str\)"):
        with_whole_ids(pd.DataFrame({"who": [UUID(int=1), UUID(int=2)]}), ["who"])


@pytest.mark.parametrize("wrong", [0.5, np.inf])
def test_floats_that_are_no_ids_are_refused(wrong: float) -> None:
    with pytest.raises(BadTypeError, match=f"must hold ids, got the number {wrong:g}"):
        with_whole_ids(pd.DataFrame({"who": [1.0, wrong]}), ["who"])


def test_ids_of_32_bit_floats_and_columns_of_gaps_are_refused() -> None:
    with pytest.raises(BadTypeError, match=r"lost their last digits, such as 1\.67772e\+07"):
        with_whole_ids(pd.DataFrame({"who": np.array([2**24, 1], np.float32)}), ["who"])

    with pytest.raises(BadValueError, match="'who' is missing in every row"):
        complete_rows(pd.DataFrame({"who": [None, None]}), ["who"], "drop")


def test_an_id_of_white_space_is_missing() -> None:
    assert complete_rows(pd.DataFrame({"who": ["a", " "], "film": [1, 2]}), ["who", "film"], "drop").tolist() == [0]


def test_the_order_given_decides_which_row_of_a_pair_is_the_last() -> None:
    frame = pd.DataFrame({"who": [1, 1], "film": [1, 1]})

    rows = without_duplicates(frame, np.array([1, 0]), ["who", "film"], "last")

    assert rows.tolist() == [0]


@pytest.mark.parametrize(
    ("repeated", "num_rows", "settled"),
    [(1, 1_000, "last"), (2, 1_999, "error"), (2, 2_000, "last"), (0, 1_000, "error")],
)
def test_pairs_are_few_up_to_one_row_in_a_thousand(repeated: int, num_rows: int, settled: str) -> None:
    frame = pd.DataFrame({"who": np.arange(num_rows), "film": 1})
    frame.loc[frame.index < repeated, "who"] = num_rows - 1
    frame.loc[num_rows, :] = None  # rows without an id repeat nothing
    frame.loc[num_rows + 1, :] = None

    assert settled_duplicates(frame, ["who", "film"], "few") == settled


@pytest.mark.parametrize("kind", ["int64", "Int64", "str", "category", "object"])
def test_repeated_pairs_are_counted_as_pandas_finds_them(kind: str) -> None:
    pairs = pd.DataFrame(np.random.default_rng(0).integers(-9, 9, (60, 2)), columns=["user", "item"]).astype(kind)
    before = pairs.copy()

    assert num_repeats(pairs) == pairs.duplicated().sum() > 0
    assert num_repeats(pairs.iloc[:0]) == 0
    pd.testing.assert_frame_equal(pairs, before)


def test_one_repeated_row_is_told_in_the_singular() -> None:
    with pytest.raises(BadValueError, match=r"1 row repeats a pair of 'who' and 'film', such as \(1, 2\)"):
        without_duplicates(pd.DataFrame({"who": [1, 1], "film": [2, 2]}), np.arange(2), ["who", "film"], "error")


# Titles of items: in the order of the vocabulary, ids in place of missing ones.


ITEMS = Categorical(name="film", source="film", vocabulary=(7, 8, 9))


def test_titles_are_in_the_order_of_the_vocabulary_and_others_are_passed_over(caplog: pytest.LogCaptureFixture) -> None:
    table = pd.DataFrame({"film": [9, 7, 8, 100], "title": ["Heat", "Fargo", "Alien", "Brazil"]})

    assert titles_of(ITEMS, table, "title") == ("Fargo", "Alien", "Heat")
    assert not caplog.messages


def test_an_item_without_a_title_is_called_by_its_id(caplog: pytest.LogCaptureFixture) -> None:
    table = pd.DataFrame({"film": [9, 7, 8], "title": ["Heat", None, "Alien"]})

    assert titles_of(ITEMS, table, "title") == ("7", "Alien", "Heat")
    assert caplog.messages == ["1 item without a title, named by id."]


def test_titles_match_ids_that_are_whole_floats_and_may_come_again() -> None:
    table = pd.DataFrame({"film": [7.0, 8.0, 9.0], "title": ["a", "b", "c"]})
    assert titles_of(ITEMS, table, "title") == ("a", "b", "c")

    table = pd.DataFrame({"film": [7, 7, 8, 9], "title": ["a", "a", "b", "c"]})
    assert titles_of(ITEMS, table, "title") == ("a", "b", "c")


def test_two_titles_of_one_item_are_refused() -> None:
    table = pd.DataFrame({"film": [7, 7], "title": ["a", "b"]})

    with pytest.raises(BadValueError, match="film 7 has more than one title: 'a', 'b'"):
        titles_of(ITEMS, table, "title")


@pytest.mark.parametrize("table", [{"film": [1, 2], "title": ["a", "b"]}, {"film": [7.0], "title": [None]}])
def test_titles_of_other_items_are_refused(table: dict[str, list[object]]) -> None:
    with pytest.raises(
        BadValueError, match=r"the titles match no item of the ratings: the ratings have ids such as 7, 8, 9"
    ):
        titles_of(ITEMS, pd.DataFrame(table), "title")
