"""Rows that are used: their targets, parts and weights, and what is refused."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from tabvision.data.rows import (
    check_reserved,
    chosen_task,
    named_target,
    row_weights,
    rows_with_target,
    stated_task,
    taken,
)
from tabvision.errors import BadTypeError, BadValueError, MissingColumnsError, UnknownNameError
from tabvision.schema import Schema, Target
from tabvision.tasks import Binary, Multiclass, Points, Regression


def frame_with_gaps() -> pd.DataFrame:
    return pd.DataFrame({"paid": ["no", None, "yes", "no", "yes", None], "weight": [1, -5, 2, 0, 3, None]})


def test_a_target_is_named_by_one_name_or_several() -> None:
    assert named_target("a", None) == ("a",)
    assert named_target(["a", "b"], None) == ("a", "b")


@pytest.mark.parametrize("target", [None, 3, ["a", 3], {"a"}])
def test_what_names_no_column_is_refused(target: Any) -> None:
    with pytest.raises(BadTypeError, match="target must be a column name or a list of them, got"):
        named_target(target, None)


def test_a_schema_of_another_target_is_refused() -> None:
    schema = Schema(target=Target(columns=("a", "b"), task=Regression()))

    assert named_target(["a", "b"], schema) == ("a", "b")
    with pytest.raises(BadValueError, match=r"the schema predicts 'a', 'b', not 'a'. Pass target='a', 'b', or"):
        named_target("a", schema)


def test_what_is_no_schema_is_refused() -> None:
    with pytest.raises(BadTypeError, match=r"schema must be a Schema, got str\. Pass module\.schema"):
        named_target("a", "best.ckpt")  # type: ignore[arg-type]  # on purpose


@pytest.mark.parametrize(
    ("name", "error", "sentence"),
    [
        ("w8", MissingColumnsError, r"lacks 1 column: 'w8'\. Name the column that weighs the rows"),
        ("pay", BadValueError, "column 'pay' weighs the rows, and cannot be the target as well"),
        ("age", BadValueError, "column 'age' weighs the rows, and cannot be a feature as well"),
    ],
)
def test_a_column_of_weights_serves_nothing_else(name: str, error: type[Exception], sentence: str) -> None:
    frame = pd.DataFrame({"age": [1.0], "pay": [2.0], "size": [3.0]})

    check_reserved(frame, {"size": "weighs the rows"}, ["pay"], ["age"])
    with pytest.raises(error, match=f".*{sentence}"):
        check_reserved(frame, {name: "weighs the rows"}, ["pay"], ["age"])


def test_rows_without_a_target_are_left_out_and_the_others_copied_only_where_asked(
    caplog: pytest.LogCaptureFixture,
) -> None:
    frame = frame_with_gaps()
    assert rows_with_target(frame, ["paid"], "error").tolist() == [0, 1, 2, 3, 4, 5]
    assert not caplog.messages
    assert rows_with_target(frame, ["paid"], "drop").tolist() == [0, 2, 3, 4]
    assert caplog.messages == ["2 rows without a target left out."]
    assert len(rows_with_target(frame, ["paid"], "drop", Points())) == 6
    with pytest.raises(UnknownNameError, match="no missing_target named 'skip'"):
        rows_with_target(frame, ["paid"], "skip")

    frame = frame_with_gaps()
    assert taken(frame, np.arange(6)) is frame
    assert taken(frame, np.array([0, 2])).index.tolist() == [0, 2]


def test_a_task_is_taken_as_stated_and_else_inferred_aloud(caplog: pytest.LogCaptureFixture) -> None:
    rows, stated = frame_with_gaps().iloc[[0, 2]], Binary(threshold=0.3)

    assert chosen_task(rows, ["paid"], stated, None) == stated
    assert not caplog.messages
    assert chosen_task(rows, ["paid"], None, None).name == "binary"
    assert caplog.messages[0].partition(".")[0] == "target 'paid': binary (2 values: no, yes)"


def test_a_task_is_stated_by_an_object_a_name_or_a_schema() -> None:
    schema = Schema(target=Target(columns=("a",), task=Regression()))

    assert stated_task(None, None) is None
    assert stated_task("multiclass", None) == Multiclass()
    assert stated_task(Binary(), schema) is schema.task
    with pytest.raises(UnknownNameError, match="no task named 'binry'"):
        stated_task("binry", None)


def test_a_task_is_chosen_for_rows_with_a_target_only() -> None:
    with pytest.raises(BadValueError, match="the target 'paid' is missing in 2 of 6 rows"):
        chosen_task(frame_with_gaps(), ["paid"], Binary(), None)


def test_a_weight_that_is_none_is_refused_with_its_row_in_the_users_own_index() -> None:
    frame = frame_with_gaps().set_index(pd.Index(list("abcdef")))

    assert row_weights(frame.iloc[[0, 2, 3, 4]], "weight").tolist() == [1, 2, 0, 3]
    with pytest.raises(BadValueError, match=r"column 'weight' must hold .*0, got .* in row 'f'"):
        row_weights(frame.iloc[[0, 2, 5]], "weight")
    with pytest.raises(BadValueError, match=r"in row 'b' and 1 other"):
        row_weights(frame, "weight")
    with pytest.raises(MissingColumnsError, match=r".*lacks 1 column: 'wieght'"):
        row_weights(frame, "wieght")


def test_weights_are_numbers_and_not_what_pandas_makes_of_dates_or_complex_numbers() -> None:
    days = pd.date_range("2024", periods=2)
    for values in (days, days.astype("category"), days.to_period("D"), days.tz_localize("UTC"), [1j, 2]):
        with pytest.raises(BadTypeError, match=r"column 'w' must hold numbers"):
            row_weights(pd.DataFrame({"w": values}), "w")
