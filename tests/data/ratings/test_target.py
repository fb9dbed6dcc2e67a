"""The range of ratings, and what kind of rating it is."""

from decimal import Decimal
from typing import Any

import pandas as pd
import pytest

from tabvision.data.ratings.target import fit_ratings, log_out_of_range
from tabvision.errors import BadTypeError, BadValueError
from tabvision.schema import Target
from tabvision.tasks import Binary, Regression


@pytest.mark.parametrize(
    ("ratings", "expected"),
    [([1, 2, 5], (0.5, 5.5)), ([0.5, 5, 4.5], (0.25, 5.25)), ([-10, 10], (-20, 20)), (["3", "3.0"], (2.5, 3.5))],
)
def test_the_scale_is_widened_by_half_its_smallest_step(ratings: list[object], expected: tuple[float, float]) -> None:
    assert Regression().for_ratings(pd.Series(ratings), None).y_range == expected


def test_numbers_are_a_regression_and_the_choice_is_told(caplog: pytest.LogCaptureFixture) -> None:
    frame = pd.DataFrame({"stars": [1, 2, 3]})

    target = fit_ratings(frame, "stars", None, None, frame["stars"])

    assert isinstance(target.task, Regression)
    assert (target.task.y_range, target.task.mean) == ((0.5, 3.5), (2.0,))
    assert caplog.messages == [
        "ratings 'stars': numbers, predicted between 0.5 and 3.5. Override with y_range (--y-range)."
    ]


@pytest.mark.parametrize(
    "kind",
    [
        lambda stars: stars.astype(object),
        lambda stars: stars.astype("str"),
        lambda stars: stars.astype("category"),
        lambda stars: stars.astype("str").astype("category"),
        lambda stars: stars.map(Decimal),
    ],
    ids=["objects", "text", "category", "category of text", "Decimal"],
)
def test_ratings_of_any_column_that_writes_numbers_are_numbers(kind: Any) -> None:
    frame = pd.DataFrame({"stars": kind(pd.Series([1, 2, 4, 5]))})

    target = fit_ratings(frame, "stars", None, None, frame["stars"])

    assert (target.task.answer_range, target.task.to_dict()["mean"]) == ((0.5, 5.5), [3.0])


def test_the_scale_may_be_wider_than_the_training_rows() -> None:
    target = fit_ratings(pd.DataFrame({"stars": [2, 3]}), "stars", None, None, pd.Series([1, 5]))

    assert isinstance(target.task, Regression)
    assert target.task.y_range == (-1.0, 7.0)


def test_a_task_of_ones_own_keeps_its_range() -> None:
    frame = pd.DataFrame({"stars": [1, 2, 3]})

    target = fit_ratings(frame, "stars", Regression(y_range=(0, 10)), None, frame["stars"])

    assert isinstance(target.task, Regression)
    assert target.task.y_range == (0, 10)


def test_two_values_may_be_stated_to_be_yes_and_no(caplog: pytest.LogCaptureFixture) -> None:
    frame = pd.DataFrame({"liked": [0, 1, 1]})

    target = fit_ratings(frame, "liked", "binary", None, frame["liked"])

    assert isinstance(target.task, Binary)
    assert caplog.messages == ["ratings 'liked': binary, 1 is yes."]


def test_a_range_of_yes_and_no_is_refused() -> None:
    frame = pd.DataFrame({"liked": ["no", "yes"]})

    with pytest.raises(BadValueError, match="y_range is for numbers, and 'liked' is binary"):
        fit_ratings(frame, "liked", None, (0, 1), frame["liked"])


def test_ratings_within_the_range_are_nothing_to_tell(caplog: pytest.LogCaptureFixture) -> None:
    target = Target(columns=("stars",), task=Regression(y_range=(0.5, 5.5), mean=(3.0,), spread=(1.0,)))

    log_out_of_range(pd.DataFrame({"stars": [1, 5]}), target, "test")

    assert not caplog.messages


def test_ratings_with_a_text_among_them_name_it() -> None:
    frame = pd.DataFrame({"stars": ["1", "2", "?", "5"]})
    with pytest.raises(BadTypeError, match=r"1 value cannot be read, such as '\?'"):
        fit_ratings(frame, "stars", None, None, frame["stars"])
