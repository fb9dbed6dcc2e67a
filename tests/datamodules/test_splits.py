"""The split that published figures are taken on."""

import numpy as np
import pandas as pd
import pytest

from datamodules.splits import benchmark_split, chosen_split
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
    with pytest.raises(UnknownNameError, match=r"no split named 'random'\. Choices: benchmark\."):
        chosen_split("random", 10)  # type: ignore[arg-type]
