"""Groups stay together; folds have their sizes, classes and groups, the same for the same seed."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tabvision.data.splits.base import Split
from tabvision.data.splits.ordered import LeaveLastOut
from tabvision.data.splits.random import GroupSplit, assign_folds
from tabvision.errors import BadTypeError, BadValueError


def test_no_group_is_in_two_parts_and_shares_are_nearly_met(subtests: pytest.Subtests) -> None:
    for seed in range(10):
        with subtests.test(seed=seed):
            groups = np.random.default_rng(seed).choice(40, size=1000)
            frame = pd.DataFrame({"g": groups})

            parts = GroupSplit("g", 0.2, 0.3)(frame, None, seed=seed)

            sets = [set(groups[rows]) for rows in (parts.train, parts.validation, parts.test)]
            assert len(set.union(*sets)) == sum(map(len, sets))
            assert len(parts.validation) == pytest.approx(200, abs=25)
            assert len(parts.test) == pytest.approx(300, abs=25)


def test_as_many_groups_as_parts_are_enough(subtests: pytest.Subtests) -> None:
    for seed, test_share in itertools.product(range(5), [0.0, 0.2]):
        with subtests.test(seed=seed, test_share=test_share):
            frame = pd.DataFrame({"g": ["a"] * 90 + ["b"] * 5 + (["c"] if test_share else [])})

            parts = GroupSplit("g", 0.2, test_share)(frame, None, seed=seed)

            assert len(parts.train)
            assert len(parts.validation)


def test_too_few_groups_are_refused() -> None:
    with pytest.raises(BadValueError, match="column 'g' has 1 group, 2 parts need at least 2"):
        GroupSplit("g")(pd.DataFrame({"g": [1, 1, 1]}), None, seed=0)
    with pytest.raises(BadValueError, match="column 'g' has 2 groups, 3 parts need at least 3"):
        GroupSplit("g", 0.2, 0.2)(pd.DataFrame({"g": [1, 1, 2]}), None, seed=0)


def test_groups_that_cannot_be_compared_are_refused() -> None:
    with pytest.raises(BadTypeError, match="column 'g' holds values that cannot be compared"):
        GroupSplit("g")(pd.DataFrame({"g": [[1], [2]]}), None, seed=0)


@pytest.mark.parametrize("split", [GroupSplit("who"), LeaveLastOut("who")])
def test_groups_whose_numbers_became_floats_are_refused_since_several_would_be_one(split: Split) -> None:
    frame = pd.DataFrame({"who": np.arange(9) + 2.0**60})

    with pytest.raises(BadTypeError, match="column 'who' holds whole numbers that became floats and lost their last"):
        split(frame, None, seed=0)


@settings(max_examples=60, deadline=None)
@given(num_rows=st.integers(1, 200), num_folds=st.integers(2, 9), seed=st.integers(0, 5), classes=st.integers(1, 6))
def test_sizes_differ_by_at_most_one_row_in_all_and_in_every_class(
    num_rows: int, num_folds: int, seed: int, classes: int
) -> None:
    codes = np.random.default_rng(seed).integers(0, classes, num_rows)

    folds = assign_folds(num_rows, num_folds, seed=seed, codes=codes)

    sizes = np.bincount(folds, minlength=num_folds)
    assert np.ptp(sizes) <= 1
    for code in range(classes):
        assert np.ptp(np.bincount(folds[codes == code], minlength=num_folds)) <= 1
    assert (folds == assign_folds(num_rows, num_folds, seed=seed, codes=codes)).all()


@settings(max_examples=60, deadline=None)
@given(num_rows=st.integers(1, 200), num_groups=st.integers(1, 40), seed=st.integers(0, 5))
def test_a_group_is_in_one_fold_and_folds_are_as_even_as_the_largest_group_allows(
    num_rows: int, num_groups: int, seed: int
) -> None:
    groups = np.random.default_rng(seed).integers(0, num_groups, num_rows)

    folds = assign_folds(num_rows, 5, seed=seed, groups=groups)

    assert all(len(set(folds[groups == group])) == 1 for group in set(groups.tolist()))
    assert np.ptp(np.bincount(folds, minlength=5)) <= np.bincount(groups).max()


def test_another_seed_gives_other_folds() -> None:
    assert (assign_folds(100, 4, seed=0) != assign_folds(100, 4, seed=1)).any()
