"""Schemas that earlier versions wrote are read to the same facts."""

from typing import Any

import pytest

from tabvision.errors import BadValueError
from tabvision.schema import Categorical, Continuous, Date, Image, Schema, Target
from tabvision.tasks import Binary

NUMBER = {"source": "age", "mean": 40.0, "spread": 10.0, "fill": 38.0, "had_missing": True, "bins": [-1.0, 1.0]}
FORMAT_1: dict[str, Any] = {
    "format": 1,
    "target": {"columns": ["paid"], "task": Binary().to_dict(), "classes": ["no", "yes"], "separator": None},
    "continuous": [{"name": "age", **NUMBER}, {"name": "sold_day_of_year_3", **NUMBER, "source": "sold"}],
    "categorical": [
        {"name": "month", "source": "month", "vocabulary": [1, 2], "ordered": False},
        {"name": "sold_month", "source": "sold", "vocabulary": [1, 2], "ordered": False},
        {"name": "sold_missing", "source": "sold", "vocabulary": [False, True], "ordered": False},
        {"name": "age_missing_2", "source": "age", "vocabulary": [False, True], "ordered": False},
    ],
    "dates": [{"name": "sold", "parts": ["month", "day_of_year"]}],
    "left_out": [],
    "image": {"name": "photo", "size": [8, 9], "resize": "pad", "mean": [0.5], "spread": [0.25]},
}


def test_format_1_is_read() -> None:
    number: dict[str, Any] = {"mean": 40.0, "std": 10.0, "fill": 38.0, "had_missing": True, "bins": (-1.0, 1.0)}

    assert Schema.from_dict(FORMAT_1) == Schema(
        target=Target(columns=("paid",), task=Binary(), classes=("no", "yes")),
        continuous=(
            Continuous(name="age", source="age", **number),
            Continuous(name="sold_day_of_year_3", source="sold", part="day_of_year", **number),
        ),
        categorical=(
            Categorical(name="month", source="month", vocabulary=(1, 2)),
            Categorical(name="sold_month", source="sold", vocabulary=(1, 2), part="month"),
            Categorical(name="sold_missing", source="sold", vocabulary=(False, True), part="missing"),
            Categorical(name="age_missing_2", source="age", vocabulary=(False, True), part="missing"),
        ),
        dates=(Date(name="sold", parts=("month", "day_of_year")),),
        image=Image(name="photo", size=(8, 9), resize="pad", mean=(0.5,), std=(0.25,)),
    )


def test_reading_format_1_leaves_it_as_it_is() -> None:
    Schema.from_dict(FORMAT_1)

    assert FORMAT_1["continuous"][1].keys() == {"name", *NUMBER}


def test_a_column_of_format_1_that_names_no_part_of_its_date_is_refused() -> None:
    century = {**FORMAT_1["continuous"][1], "name": "sold_century"}

    with pytest.raises(
        BadValueError, match="Schema: 'sold_century' is computed from the date 'sold', but names no part of it"
    ):
        Schema.from_dict({**FORMAT_1, "continuous": [century]})
