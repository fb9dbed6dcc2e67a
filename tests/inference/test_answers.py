"""Predictions as a frame: labels of every kind, one column a class."""

import numpy as np
import pandas as pd
import pytest

from tabvision.inference.answers import answer_frame
from tabvision.schema import Label, Schema, Target
from tabvision.tasks import Binary, Multiclass, Multilabel, Regression


def schema(*classes: Label, separator: str | None = None) -> Schema:
    task = Multilabel(len(classes)) if separator else Multiclass(len(classes))
    return Schema(target=Target(columns=("y",), task=task, classes=classes, separator=separator))


@pytest.mark.parametrize(
    "classes", [("a", "b", "c"), (1, 2, 3), (0.5, 1.5, 2.5), ("1", 2, 3.0), (False, True, 2)], ids=str
)
def test_labels_keep_their_kind(classes: tuple[Label, ...]) -> None:
    answers = answer_frame(schema(*classes), np.eye(3))

    assert answers["label"].tolist() == list(classes)
    assert [type(label) for label in answers["label"].tolist()] == [type(label) for label in classes]


def test_text_labels_are_a_text_column() -> None:
    assert answer_frame(schema("a", "b"), np.eye(2))["label"].dtype == pd.Series(["a"]).dtype


def test_truth_values_are_answered_as_such() -> None:
    target = Target(columns=("y",), task=Binary(), classes=(False, True))

    assert answer_frame(Schema(target=target), np.array([[0.1, 0.9]]))["label"].tolist() == [True]


def test_labels_of_a_row_are_joined_by_the_targets_separator() -> None:
    answers = answer_frame(schema("a", "b", "c", separator="|"), np.array([[0.9, 0.1, 0.6], [0.1, 0.1, 0.1]]))

    assert answers["label"].tolist() == ["a|c", ""]


def test_numbers_are_named_by_target_where_there_are_several() -> None:
    task = Regression(mean=(0.0, 0.0), spread=(1.0, 1.0))
    several = Schema(target=Target(columns=("pay", "cost"), task=task))

    answers = answer_frame(several, np.array([[1.0, 2.0]]))

    assert answers.to_dict("records") == [{"prediction_pay": 1.0, "prediction_cost": 2.0}]


def test_the_threshold_of_the_task_decides() -> None:
    target = Target(columns=("y",), task=Binary(threshold=0.2), classes=("no", "yes"))

    assert answer_frame(Schema(target=target), np.array([[0.7, 0.3]]))["label"].tolist() == ["yes"]
