"""Parts and targets of images."""

import numpy as np
import pandas as pd
import pytest

from tabvision.data.images.files import ImageTable
from tabvision.data.images.sources import divide, target_columns
from tabvision.data.rows import class_counts, with_every_label
from tabvision.data.splits.base import TEST, TRAIN, VALIDATION, SplitRows
from tabvision.data.splits.given import IndexSplit
from tabvision.errors import BadValueError
from tabvision.schema import Target
from tabvision.tasks import Multiclass, Multilabel, Regression


def test_classes_are_counted_most_frequent_first() -> None:
    target = Target(columns=("x",), task=Multiclass(), classes=("a", "b", "c"))
    labels = Target(columns=("x",), task=Multilabel(), classes=("a", "b"), separator=" ")

    assert class_counts(np.array([1, 1, 0]), target) == "b 2, a 1, c 0"
    assert class_counts(np.array([[1.0, 1.0], [0.0, 1.0]]), labels) == "b 2, a 1"
    assert class_counts(np.array([[0.5]]), Target(columns=("x",), task=Regression())) == ""


def test_rows_with_a_label_of_their_own_train(caplog: pytest.LogCaptureFixture) -> None:
    frame = pd.DataFrame({"tags": ["a", "b", "a c", "a b", "d"]})
    parts = SplitRows(np.array([0, 1]), np.array([2, 3, 4]), np.array([], dtype=np.int64))

    found = with_every_label(parts, frame, "tags", " ")

    assert (found.train.tolist(), found.validation.tolist()) == ([0, 1, 2, 4], [3])
    assert caplog.messages == ["2 rows moved from validation to training, which would otherwise lack some labels."]
    assert with_every_label(found, frame, "tags", " ") is found


def test_rows_kept_apart_for_calibration_leave_training_every_label_too() -> None:
    frame = pd.DataFrame({"tags": ["a", "b", "a c", "a b", "d"]})
    parts = SplitRows(np.array([0, 1]), np.array([2]), np.array([], dtype=np.int64), calibration=np.array([3, 4]))

    found = with_every_label(parts, frame, "tags", " ")

    assert (found.train.tolist(), found.validation.tolist(), found.calibration.tolist()) == ([0, 1, 2, 4], [], [3])


def test_folders_and_a_share_divide_the_rows() -> None:
    frame = pd.DataFrame({"x": range(12)})
    part = np.array([TRAIN] * 8 + [TEST] * 4, dtype=np.int8)

    parts = divide(ImageTable(frame, part=part), np.arange(12), 12, None, 0.25, seed=0)

    assert [len(rows) for rows in (parts.train, parts.validation, parts.test)] == [6, 2, 4]
    assert parts.test.tolist() == [8, 9, 10, 11]
    part[0] = VALIDATION
    table = ImageTable(frame, part=part)
    assert divide(table, np.arange(12), 12, None, 0.25, seed=0).validation.tolist() == [0]


def test_a_split_by_row_number_means_the_source_where_rows_are_left_out() -> None:
    left = np.array([1, 2, 4, 5])
    table = ImageTable(pd.DataFrame({"x": range(6)})).taken(left)

    parts = divide(table, left, 6, None, IndexSplit([0, 4]), seed=0)

    assert (left[parts.train].tolist(), left[parts.validation].tolist()) == ([1, 2, 5], [4])


def test_a_target_may_come_from_folders() -> None:
    assert target_columns(None, None, "label") == ["label"]
    with pytest.raises(BadValueError, match="a table needs the name of its target"):
        target_columns(None, None, None)
