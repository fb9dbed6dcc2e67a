"""Which rows a run holds out, by its options."""

import argparse
from typing import Any

import pytest

from tabvision.cli.jobs import component
from tabvision.cli.options import add_options
from tabvision.cli.splits import ratings_split_setting, split_setting
from tabvision.errors import BadValueError


def parsed(*words: str) -> argparse.Namespace:
    """The options as the command parses them."""
    parser = argparse.ArgumentParser()
    add_options(parser)
    return parser.parse_args(words)


@pytest.mark.parametrize(
    ("words", "split"),
    [
        ("", "auto"),
        ("--validation none", None),
        ("--validation none --test 0.1", (None, 0.1)),
        ("--validation 0.3", 0.3),
        ("--validation rows.csv", component("tabvision.data.SourceSplit", validation="rows.csv")),
        (
            "--validation rows.csv --test 0.1",
            component("tabvision.data.SourceSplit", validation="rows.csv", test=0.1),
        ),
        (
            "--validation rows.csv --test 0.1 --split time:day",
            component(
                "tabvision.data.SourceSplit",
                validation="rows.csv",
                test=component("tabvision.data.TimeSplit", share=0, test_share=0.1, column="day"),
            ),
        ),
        (
            "--validation none --test 0.1 --split random",
            component("tabvision.data.RandomSplit", share=0, test_share=0.1),
        ),
        ("--split last", component("tabvision.data.TimeSplit", share=0.2, column=None)),
        (
            "--split time:day --day-first",
            component("tabvision.data.TimeSplit", share=0.2, column="day", day_first=True),
        ),
    ],
)
def test_options_name_a_split(words: str, split: Any) -> None:
    assert split_setting(parsed(*words.split()), "auto") == split


def test_ratings_are_split_by_name_where_a_name_says_it_all() -> None:
    by_user = parsed("--user", "u", "--timestamp", "t", "--split", "last")

    assert ratings_split_setting(by_user) == "last"
    with pytest.raises(BadValueError, match=r"Add --timestamp COL"):
        ratings_split_setting(parsed("--user", "u", "--split", "time"))
