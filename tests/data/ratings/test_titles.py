"""Titles of items: in the order of the vocabulary, ids in place of missing ones."""

import pandas as pd
import pytest

from tabvision.data.ratings.rows import titles_of
from tabvision.errors import BadValueError
from tabvision.schema import Categorical

ITEMS = Categorical(name="film", source="film", vocabulary=(7, 8, 9))


def test_titles_are_in_the_order_of_the_vocabulary_and_others_are_passed_over(caplog: pytest.LogCaptureFixture) -> None:
    table = pd.DataFrame({"film": [9, 7, 8, 100], "title": ["Heat", "Fargo", "Alien", "Brazil"]})

    assert titles_of(ITEMS, table, "title") == ("Fargo", "Alien", "Heat")
    assert not caplog.messages


def test_an_item_without_a_title_is_called_by_its_id(caplog: pytest.LogCaptureFixture) -> None:
    table = pd.DataFrame({"film": [9, 7, 8], "title": ["Heat", None, "Alien"]})

    assert titles_of(ITEMS, table, "title") == ("7", "Alien", "Heat")
    assert caplog.messages == ["1 item without a title, named by id."]


def test_ids_that_are_whole_floats_on_one_side_match() -> None:
    table = pd.DataFrame({"film": [7.0, 8.0, 9.0], "title": ["a", "b", "c"]})

    assert titles_of(ITEMS, table, "title") == ("a", "b", "c")


def test_a_title_that_comes_again_is_one_title() -> None:
    table = pd.DataFrame({"film": [7, 7, 8, 9], "title": ["a", "a", "b", "c"]})

    assert titles_of(ITEMS, table, "title") == ("a", "b", "c")


def test_two_titles_of_one_item_are_refused() -> None:
    table = pd.DataFrame({"film": [7, 7], "title": ["a", "b"]})

    with pytest.raises(BadValueError, match="film 7 has more than one title: 'a', 'b'"):
        titles_of(ITEMS, table, "title")


@pytest.mark.parametrize("table", [{"film": [1, 2], "title": ["a", "b"]}, {"film": [7.0], "title": [None]}])
def test_titles_of_other_items_are_refused(table: dict[str, list[object]]) -> None:
    with pytest.raises(BadValueError, match=r"the titles match no item of the ratings: ids there are such as 7, 8, 9"):
        titles_of(ITEMS, pd.DataFrame(table), "title")
