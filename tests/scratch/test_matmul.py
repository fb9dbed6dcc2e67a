"""Four ways to multiply matrices agree with the fifth."""

from collections.abc import Callable

import numpy as np
import pytest

from tabvision import scratch
from tabvision.scratch.matmul import Array


@pytest.mark.parametrize(
    "matmul",
    [scratch.matmul_by_loops, scratch.matmul_by_products, scratch.matmul_by_broadcasting, scratch.matmul_by_einsum],
)
@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 5, 2), (2, 1, 4)])
def test_each_way_is_numpys_own_product(matmul: Callable[[Array, Array], Array], shape: tuple[int, int, int]) -> None:
    rows, inner, columns = shape
    random = np.random.default_rng(0)
    a, b = random.normal(size=(rows, inner)), random.normal(size=(inner, columns))

    np.testing.assert_allclose(matmul(a, b), a @ b, rtol=1e-12)
