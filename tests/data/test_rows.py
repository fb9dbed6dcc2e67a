"""Rows that are used: their targets, parts and weights, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from tabvision.data import IndexSplit, StratifiedSplit
from tabvision.data.rows import (
    check_serving,
    chosen_task,
    divide_kept,
    encode_kept,
    named_target,
    row_weights,
    rows_with_target,
)
from tabvision.errors import BadTypeError, BadValueError, MissingColumnsError, UnknownNameError
from tabvision.schema import Schema, Target
from tabvision.tasks import Binary, Regression


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

    check_serving(frame, {"size": "weighs the rows"}, ["pay"], ["age"])
    with pytest.raises(error, match=f".*{sentence}"):
        check_serving(frame, {name: "weighs the rows"}, ["pay"], ["age"])


def test_rows_without_a_target_are_left_out_only_where_that_is_asked_for() -> None:
    frame = frame_with_gaps()

    kept, notes = rows_with_target(frame, ["paid"], "drop")
    everything, nothing = rows_with_target(frame, ["paid"], "error")

    assert (kept.tolist(), notes) == ([0, 2, 3, 4], ("2 rows without a target left out.",))
    assert (everything.tolist(), nothing) == ([0, 1, 2, 3, 4, 5], ())
    with pytest.raises(UnknownNameError, match="no missing_target named 'skip'"):
        rows_with_target(frame, ["paid"], "skip")


def test_a_task_is_taken_as_stated_and_else_inferred_aloud() -> None:
    rows, stated = frame_with_gaps().iloc[[0, 2]], Binary(threshold=0.3)

    assert chosen_task(rows, ["paid"], stated, None) == (stated, ())
    assert chosen_task(rows, ["paid"], "multiclass", None)[0].name == "multiclass"
    inferred, (note,) = chosen_task(rows, ["paid"], None, None)
    assert (inferred.name, note.partition(".")[0]) == ("binary", "target 'paid': binary (2 values: no, yes)")


def test_a_task_is_chosen_for_rows_with_a_target_only() -> None:
    with pytest.raises(BadValueError, match="the target 'paid' is missing in 2 of 6 rows"):
        chosen_task(frame_with_gaps(), ["paid"], Binary(), None)


def test_parts_hold_kept_rows_by_their_number_in_the_source() -> None:
    frame, kept = frame_with_gaps(), np.array([0, 2, 3, 4])
    codes = np.array([0, 1, 0, 1])

    given = divide_kept(IndexSplit([1, 2, 3]), frame, kept, codes, seed=0)
    drawn = divide_kept(StratifiedSplit(0.5), frame, kept, codes, seed=0)

    assert (given.train.tolist(), given.validation.tolist()) == ([0, 4], [2, 3])
    assert sorted([*drawn.train, *drawn.validation]) == kept.tolist()
    assert all(sorted(frame["paid"].iloc[rows]) == ["no", "yes"] for rows in (drawn.train, drawn.validation))


def test_targets_and_weights_of_rows_that_are_not_kept_are_nought() -> None:
    frame, kept = frame_with_gaps(), np.array([0, 2, 3, 4])
    target = Target(columns=("paid",), task=Binary(), classes=("no", "yes"))

    assert encode_kept(frame, target, kept).tolist() == [0, 0, 1, 0, 1, 0]
    assert row_weights(frame, "weight", kept).tolist() == [1, 0, 2, 0, 3, 0]


def test_a_weight_that_is_none_is_refused_with_its_row_in_the_source() -> None:
    frame = frame_with_gaps()

    with pytest.raises(BadValueError, match=r"weights in 'weight' must be .*, but 1 row has none such, first row 5"):
        row_weights(frame, "weight", np.array([0, 2, 5]))
    with pytest.raises(BadValueError, match=r"but 2 rows have none such, first row 1"):
        row_weights(frame, "weight", np.arange(6))
    with pytest.raises(MissingColumnsError, match=r".*lacks 1 column: 'wieght'"):
        row_weights(frame, "wieght", np.arange(6))
