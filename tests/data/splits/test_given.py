"""Splits that are given by a column, by row numbers, or by sources of their own."""

from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
from jsonargparse import ArgumentParser

from tabvision.data import TabularDataModule, TimeSplit
from tabvision.data.splits.base import Split
from tabvision.data.splits.given import ColumnSplit, IndexSplit, SourceSplit
from tabvision.errors import BadTypeError, BadValueError, MissingColumnsError

FOUR = pd.DataFrame({"x": [1, 2, 3, 4]})


@pytest.mark.parametrize(
    "values",
    [
        ["train", "valid", "train", "VAL "],
        ["training", "validation", "Train", "dev"],
        [False, True, False, True],
        [0, 1, 0, 1],
        [0.0, 1.0, 0.0, 1.0],
        pd.Categorical(["train", "val", "train", "val"]),
    ],
)
def test_the_usual_words_and_flags_are_understood(values: Any) -> None:
    parts = ColumnSplit("part")(pd.DataFrame({"part": values}), None, seed=0)

    assert parts.validation.tolist() == [1, 3]
    assert not len(parts.test)


def test_own_words_may_be_given() -> None:
    split = ColumnSplit("fold", train=("1", "2"), validation="3", test="4")  # type: ignore[arg-type]  # one word will do

    assert split(pd.DataFrame({"fold": [1, 2, 3, 4]}), None, seed=0).test.tolist() == [3]


def test_a_column_of_other_words_gaps_or_no_validation_row_is_refused() -> None:
    with pytest.raises(BadValueError, match="column 'part' holds values that name no part: 'holdout', 'x'"):
        ColumnSplit("part")(pd.DataFrame({"part": ["train", "holdout", "x", "val"]}), None, seed=0)

    with pytest.raises(
        BadValueError, match=r"the validation part of 2 rows would be empty\. Check the values of column"
    ):
        ColumnSplit("part")(pd.DataFrame({"part": ["train", "test"]}), None, seed=0)

    with pytest.raises(BadValueError, match="has 1 missing value"):
        ColumnSplit("part")(pd.DataFrame({"part": ["train", None]}), None, seed=0)


@pytest.mark.parametrize(
    "rows", [[3, 1], (3, 1), np.array([1, 3]), [False, True, False, True], np.array([False, True, False, True])]
)
def test_rows_are_named_by_number_or_mask(rows: Any) -> None:
    assert IndexSplit(rows)(FOUR, None, seed=0).validation.tolist() == [1, 3]


@pytest.mark.parametrize(
    ("rows", "error", "sentence"),
    [
        ([4], BadValueError, r"validation names rows that do not exist: 4\. Row numbers go from 0 to 3"),
        ([-1], BadValueError, "names rows that do not exist: -1"),
        ([1, 1], BadValueError, "validation names a row more than once"),
        ([True, False], BadValueError, "the mask for validation has 2 values, the frame 4 rows"),
        ([0.5], BadTypeError, "validation must be row numbers or a mask, got 1 dimensions of float64"),
        ([[0]], BadTypeError, "got 2 dimensions of int64"),
        ([], BadValueError, r"the validation part of 4 rows would be empty\. Name some rows"),
        ([0, 1, 2, 3], BadValueError, "the training part of 4 rows would be empty"),
    ],
)
def test_rows_that_cannot_be_meant_are_refused(rows: Any, error: type[Exception], sentence: str) -> None:
    with pytest.raises(error, match=sentence):
        IndexSplit(rows)(FOUR, None, seed=0)


def test_labels_are_row_numbers_only_where_they_are_the_same() -> None:
    frame = pd.DataFrame({"x": np.arange(20.0), "y": np.arange(20) % 2})
    shuffled = frame.sample(frac=1, random_state=0)
    labels = shuffled.index[:5]

    rows: Any = shuffled.index.get_indexer(labels)
    mask: Any = shuffled.index.isin(labels)
    for split in (IndexSplit(rows), IndexSplit(mask)):
        data = TabularDataModule(shuffled, "y", split=split, verbose=False)
        assert data.parts["val"].rows.tolist() == [0, 1, 2, 3, 4]
    named = TabularDataModule(frame, "y", split=IndexSplit(cast("Any", labels)), verbose=False)
    assert named.parts["val"].rows.tolist() == sorted(labels)
    high = IndexSplit(cast("Any", shuffled["x"] > 10))
    assert len(TabularDataModule(shuffled, "y", split=high, verbose=False).parts["val"].rows) == 9

    with pytest.raises(BadValueError, match=r"validation is an index of labels.*frame\.index\.get_indexer\(labels\)"):
        TabularDataModule(shuffled, "y", split=IndexSplit(cast("Any", labels)), verbose=False)
    with pytest.raises(
        BadValueError, match=r"the index of the mask for test differs from the frame's.*mask\.to_numpy\(\)"
    ):
        TabularDataModule(shuffled, "y", split=IndexSplit([0], cast("Any", frame["x"] > 10)), verbose=False)


def test_rows_and_frames_that_do_not_fit_are_refused() -> None:
    with pytest.raises(BadValueError, match="validation and test share 1 row: 2"):
        IndexSplit([1, 2], [2])(FOUR, None, seed=0)

    with pytest.raises(
        MissingColumnsError, match=r"the frame lacks 1 column: 'x' \(did you mean 'X'\?\)\. Give the val"
    ):
        SourceSplit(pd.DataFrame({"X": [1]})).gather(FOUR)

    with pytest.raises(BadValueError, match="SourceSplit: the frame lacks the rows of the other sources"):
        SourceSplit(FOUR)(FOUR, None, seed=0)


def test_sources_of_their_own_are_read_and_follow_the_training_rows(tmp_path: Path) -> None:
    pd.DataFrame({"extra": ["a"], "x": [5]}).to_csv(tmp_path / "valid.csv", index=False)
    split = SourceSplit(tmp_path / "valid.csv", pd.DataFrame({"x": [6, 7]}))

    frame = split.gather(FOUR)
    parts = split(frame.drop(columns=[]), None, seed=0)

    assert frame["x"].tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert (parts.train.tolist(), parts.validation.tolist(), parts.test.tolist()) == ([0, 1, 2, 3], [4], [5, 6])
    assert set(split.columns) == set(frame.columns) - {"x"}


def test_a_source_is_read_beside_training_rows_that_lack_some_text(tmp_path: Path) -> None:
    pd.DataFrame({"x": ["a", None]}).to_csv(tmp_path / "valid.csv", index=False, na_rep="")

    frame = SourceSplit(tmp_path / "valid.csv").gather(pd.DataFrame({"x": ["007", None]}))

    assert frame["x"].fillna("-").tolist() == ["007", "-", "a", "-"]


def test_a_fraction_of_the_training_source_may_test_at_random_or_by_a_split() -> None:
    codes = np.repeat([0, 1], [6, 6])
    split = SourceSplit(pd.DataFrame({"x": [1, 2]}), test=0.5)

    frame = split.gather(pd.DataFrame({"x": range(10)}))
    parts = split(frame, codes, seed=0)

    assert parts.validation.tolist() == [10, 11]
    assert np.bincount(codes[parts.test]).tolist() == [3, 2]
    assert sorted([*parts.train, *parts.test]) == list(range(10))
    last = SourceSplit(pd.DataFrame({"x": [1, 2]}), test=TimeSplit("x", 0, 0.2))
    assert last(frame, codes, seed=0).test.tolist() == [8, 9]
    with pytest.raises(BadValueError, match="SourceSplit: test must draw no validation rows"):
        SourceSplit(pd.DataFrame({"x": [1, 2]}), test=TimeSplit("x", 0.2, 0.2))(frame, codes, seed=0)


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("TimeSplit", {"column": "date", "share": 0.3}, TimeSplit("date", 0.3)),
        ("ColumnSplit", {"column": "fold", "validation": ["3"]}, ColumnSplit("fold", validation=("3",))),
        ("IndexSplit", {"validation": [1, 2]}, None),
        ("SourceSplit", {"validation": "valid.csv"}, None),
        ("SourceSplit", {"validation": "valid.csv", "test": 0.2}, None),
        ("SourceSplit", {"validation": "valid.csv", "test": {"class_path": "tabvision.data.RandomSplit"}}, None),
    ],
)
def test_a_recipe_can_name_a_split(name: str, arguments: dict[str, Any], expected: Split | None) -> None:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--split", type=float | Split | None)

    config = {"class_path": f"tabvision.data.{name}", "init_args": arguments}
    split = parser.instantiate(parser.parse_object({"split": config})).split

    assert type(split).__name__ == name
    assert not isinstance(getattr(split, "test", None), dict)
    assert expected is None or split == expected
