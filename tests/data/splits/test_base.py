"""Splits: every row in one part, by seed alone, classes in proportion, and no part empty unnoticed."""

import itertools
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tabvision.data import TabularDataModule
from tabvision.data.splits.base import Split, SplitRows
from tabvision.data.splits.given import ColumnSplit, IndexSplit, SourceSplit
from tabvision.data.splits.ordered import TimeSplit
from tabvision.data.splits.random import GroupSplit, RandomSplit, StratifiedSplit, _NoSplit, as_split
from tabvision.errors import BadTypeError, BadValueError

NUM_ROWS = 57
CODES = np.arange(NUM_ROWS) % 3
FRAME = pd.DataFrame(
    {
        "group": np.arange(NUM_ROWS) // 4,
        "day": pd.Timestamp("2020-01-01") + pd.to_timedelta(np.arange(NUM_ROWS)[::-1] // 2, unit="D"),
        "part": np.resize(["train", "train", "val", "test"], NUM_ROWS),
        "__part__": np.resize([0, 0, 1, 2], NUM_ROWS),
    }
)
SPLITS = [
    _NoSplit(),
    RandomSplit(0.2),
    RandomSplit(0.2, 0.3),
    StratifiedSplit(0.2),
    StratifiedSplit(0.2, 0.3),
    GroupSplit("group", 0.2),
    GroupSplit("group", 0.2, 0.3),
    TimeSplit("day", 0.2),
    TimeSplit("day", 0.2, 0.3),
    ColumnSplit("part"),
    IndexSplit([5, 3], [8]),
    SourceSplit(FRAME),
]


def divide(split: Split, seed: int = 0) -> SplitRows:
    return split(FRAME, CODES, seed=seed)


def as_lists(parts: SplitRows) -> list[list[int]]:
    return [parts.train.tolist(), parts.validation.tolist(), parts.test.tolist()]


def test_every_row_is_in_one_part_and_rows_rise(subtests: pytest.Subtests) -> None:
    for split in SPLITS:
        with subtests.test(split=split):
            train, validation, test = as_lists(divide(split))

            assert sorted(train + validation + test) == list(range(NUM_ROWS))
            assert all(rows == sorted(rows) for rows in (train, validation, test))
            assert {rows.dtype for rows in vars(divide(split)).values()} == {np.dtype(np.int64)}


def test_the_same_seed_gives_the_same_parts_whatever_the_global_state(subtests: pytest.Subtests) -> None:
    for split in SPLITS:
        with subtests.test(split=split):
            first = as_lists(divide(split))
            np.random.seed(99)

            assert as_lists(divide(split)) == first


@pytest.mark.parametrize("split", [RandomSplit(), StratifiedSplit(), GroupSplit("group")], ids=repr)
def test_another_seed_gives_other_parts(split: Split) -> None:
    assert as_lists(divide(split, seed=1)) != as_lists(divide(split, seed=0))


@pytest.mark.parametrize("kind", [RandomSplit, StratifiedSplit])
def test_a_test_part_leaves_the_validation_part_as_it_is(kind: type[RandomSplit]) -> None:
    assert divide(kind(0.2, 0.3)).validation.tolist() == divide(kind(0.2)).validation.tolist()


def test_classes_keep_their_proportion_to_within_a_row(subtests: pytest.Subtests) -> None:
    for seed, (share, test_share) in itertools.product(range(5), [(0.2, 0.0), (0.33, 0.2), (0.05, 0.5), (0.7, 0.2)]):
        with subtests.test(seed=seed, share=share, test_share=test_share):
            codes = np.random.default_rng(seed).choice(6, size=500, p=[0.5, 0.2, 0.15, 0.1, 0.03, 0.02])
            sizes = np.bincount(codes, minlength=6)

            parts = StratifiedSplit(share, test_share)(pd.DataFrame(index=range(500)), codes, seed=seed)

            for rows, wanted in ((parts.validation, share), (parts.test, test_share)):
                assert (np.abs(np.bincount(codes[rows], minlength=6) - sizes * wanted) <= 1).all()
                assert abs(len(rows) - 500 * wanted) <= 1
            assert (np.bincount(codes[parts.train], minlength=6) > 0).all()


def test_rare_classes_stay_in_training() -> None:
    codes = np.array([0] * 50 + [1] + [2, 2])

    parts = StratifiedSplit(0.8, 0.1)(pd.DataFrame(index=range(53)), codes, seed=0)

    assert set(codes[parts.train]) == {0, 1, 2}
    assert 1 not in codes[parts.validation]


def test_every_class_trains_even_where_the_shares_leave_it_less_than_a_row() -> None:
    codes = np.repeat(np.arange(50), 3)

    parts = StratifiedSplit(0.4, 0.5)(pd.DataFrame(index=range(150)), codes, seed=0)

    assert set(codes[parts.train]) == set(range(50))


def test_classes_of_one_row_take_no_place_from_others() -> None:
    codes = np.concatenate([np.zeros(62, dtype=int), np.ones(63, dtype=int), np.arange(2, 42)])

    parts = StratifiedSplit(0.6)(pd.DataFrame(index=range(165)), codes, seed=0)

    assert np.bincount(codes[parts.validation]).tolist() == [38, 38]


def test_many_classes_of_two_rows_still_give_the_share() -> None:
    codes = np.repeat(np.arange(1000), 2)

    parts = StratifiedSplit(0.2)(pd.DataFrame(index=range(2000)), codes, seed=0)

    assert len(parts.validation) == 400


@pytest.mark.parametrize("codes", [None, np.zeros((57, 2)), np.zeros(57)])
def test_stratifying_needs_classes(codes: Any) -> None:
    with pytest.raises(BadTypeError, match="StratifiedSplit: a stratified split needs one class per row"):
        StratifiedSplit()(FRAME, codes, seed=0)


@pytest.mark.parametrize("codes", [np.full(57, -1), np.zeros(3, dtype=int)])
def test_stratifying_needs_a_class_for_every_row(codes: Any) -> None:
    with pytest.raises(BadValueError, match="StratifiedSplit: a stratified split needs a class for every row"):
        StratifiedSplit()(FRAME, codes, seed=0)


def test_no_training_row_is_refused() -> None:
    with pytest.raises(BadValueError, match="the training part of 2 rows would be empty"):
        RandomSplit(0.9)(pd.DataFrame(index=range(2)), None, seed=0)


def test_an_empty_test_part_that_was_asked_for_is_refused() -> None:
    with pytest.raises(BadValueError, match=r"the test part of 10 rows would be empty \(share 0\.2, test 0\.01\)"):
        RandomSplit(0.2, 0.01)(pd.DataFrame(index=range(10)), None, seed=0)


def test_a_single_validation_row_will_do() -> None:
    assert len(RandomSplit(0.3)(pd.DataFrame(index=range(3)), None, seed=0).validation) == 1


def test_short_forms_mean_what_they_say() -> None:
    split = TimeSplit("day")

    assert as_split(0.3, stratify=True) == StratifiedSplit(0.3)
    assert as_split(0.3, stratify=False) == RandomSplit(0.3)
    assert as_split(None, stratify=True) == _NoSplit()
    assert as_split(split, stratify=True) is split
    assert as_split((0.3, 0.1), stratify=True) == StratifiedSplit(0.3, 0.1)
    assert as_split((None, 0.1), stratify=False) == RandomSplit(0, 0.1)


@pytest.mark.parametrize("stratify", [True, False])
def test_test_rows_need_no_validation_rows_beside_them(stratify: bool) -> None:
    parts = as_split((None, 0.2), stratify=stratify)(FRAME, CODES, seed=0)

    assert (len(parts.train), len(parts.validation), len(parts.test)) == (46, 0, 11)
    for share in ((1.5, 0.1), (0.2, 0.9), (None, 0)):
        with pytest.raises(BadValueError):
            as_split(share, stratify=stratify)
    frame = pd.DataFrame({"group": np.arange(20)})
    for split in (GroupSplit, TimeSplit):
        parts = split("group", 0, 0.2)(frame, None, seed=0)
        assert (len(parts.train), len(parts.validation), len(parts.test)) == (16, 0, 4)
        with pytest.raises(BadValueError, match="share must lie"):
            split("group", 0)


@pytest.mark.parametrize("value", ["0.2", True, [0.2], FRAME])
def test_another_short_form_is_refused(value: Any) -> None:
    with pytest.raises(BadTypeError, match=r"split must be a fraction in \(0, 1\), a split object or None, got"):
        as_split(value, stratify=False)


@pytest.mark.parametrize(
    "kind", [RandomSplit, StratifiedSplit, lambda *s: GroupSplit("g", *s), lambda *s: TimeSplit("t", *s)]
)
def test_shares_out_of_range_are_refused(kind: Any) -> None:
    for share in (0, 1, -0.1, 5, float("nan")):
        with pytest.raises(BadValueError, match=r"share must lie in \(0, 1\), got"):
            kind(share)
    with pytest.raises(BadValueError, match=r"test_share must lie in \[0, 1\), got 1"):
        kind(0.2, 1)
    with pytest.raises(BadValueError, match=r"share 0\.6 and test_share 0\.4 leave no rows for training"):
        kind(0.6, 0.4)
    with pytest.raises(BadTypeError, match=r"share must be a number in \(0, 1\), got '0\.2'"):
        kind("0.2")


def test_columns_that_only_divide_are_told() -> None:
    assert GroupSplit("group").columns == ("group",)
    assert ColumnSplit("part").columns == ("part",)
    assert TimeSplit("day").columns == ()
    assert RandomSplit().columns == ()


@pytest.mark.parametrize("split", [0.2, (0.2, 0.1), GroupSplit("group"), TimeSplit("when"), ColumnSplit("part")])
def test_rows_kept_apart_are_in_no_other_part_and_are_drawn_as_validation_rows_are(split: Any) -> None:
    frame = pd.DataFrame({"x": range(60), "group": [row // 4 for row in range(60)], "y": ["a", "b", "b"] * 20})
    frame["when"] = pd.date_range("2020-01-01", periods=60)
    frame["part"] = ["train"] * 48 + ["valid"] * 12

    data = TabularDataModule(frame, "y", split=split, calibration=0.25, verbose=False)

    rows = {name: {*part.tensors["index"][part.rows].tolist()} for name, part in data.parts.items()}
    assert sorted(row for some in rows.values() for row in some) == [*range(60)]
    assert len(rows["calibration"]) == round(0.25 * len(rows["train"] | rows["calibration"]))
    assert data.schema.target.num_rows == len(rows["train"] | rows["val"])
    if isinstance(split, GroupSplit):
        assert not {row // 4 for row in rows["calibration"]} & {row // 4 for row in rows["train"]}
    if isinstance(split, TimeSplit):
        assert max(rows["train"]) < min(rows["calibration"]) < min(rows["val"])


@pytest.mark.parametrize("share", [0, 1.0, "half"])
def test_a_share_to_keep_apart_is_a_fraction(share: Any) -> None:
    with pytest.raises((BadValueError, BadTypeError), match="TabularDataModule: calibration must"):
        TabularDataModule(pd.DataFrame({"x": range(40), "y": ["a", "b"] * 20}), "y", calibration=share, verbose=False)
