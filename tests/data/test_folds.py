"""Folds: sizes, classes and groups; the same for the same seed."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tabvision.data.folds import assign_folds


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
