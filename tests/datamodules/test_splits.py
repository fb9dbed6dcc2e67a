"""The split that published figures are taken on."""

import numpy as np
import pandas as pd
import pytest

from datamodules.splits import benchmark_split, chosen_split, split_with_test
from tabvision.data import IndexSplit
from tabvision.errors import UnknownNameError


@pytest.mark.parametrize("num_rows", [7, 53_940, 327_346])
def test_the_first_four_fifths_of_a_fixed_permutation_train(num_rows: int) -> None:
    order = np.random.RandomState(42).permutation(num_rows)

    parts = benchmark_split(num_rows)(pd.DataFrame(index=range(num_rows)), None, seed=5)

    np.testing.assert_array_equal(parts.train, np.sort(order[: int(0.8 * num_rows)]))
    np.testing.assert_array_equal(parts.validation, np.sort(order[int(0.8 * num_rows) :]))


@pytest.mark.parametrize("split", [None, 0.3, benchmark_split(10)])
def test_another_split_passes_unchanged(split: object) -> None:
    assert chosen_split(split, 10) is split  # type: ignore[arg-type]  # one parameter of several types


def test_an_unknown_word_is_refused() -> None:
    with pytest.raises(UnknownNameError, match=r"no split named 'random'\. Choices: benchmark, benchmark_test\."):
        chosen_split("random", 10)  # type: ignore[arg-type]


def test_what_the_benchmark_validates_on_is_tested_and_a_fifth_of_the_rest_validates() -> None:
    rows = pd.DataFrame(index=range(1_000))

    parts = split_with_test(1_000)(rows, None, seed=5)

    np.testing.assert_array_equal(parts.test, benchmark_split(1_000)(rows, None, seed=5).validation)
    assert (len(parts.train), len(parts.validation), len(parts.test)) == (640, 160, 200)
    chosen = chosen_split("benchmark_test", 1_000)
    assert isinstance(chosen, IndexSplit)
    np.testing.assert_array_equal(chosen.validation, split_with_test(1_000).validation)
