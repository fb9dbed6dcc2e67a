"""Matrix multiplication in four versions, from loops to one line, each faster than the one before."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def matmul_by_loops(a: Array, b: Array) -> Array:
    """Return a @ b by three loops: each output is a row of `a` times a column of `b`.

    Shape:
        - a: (M, K) float64
        - b: (K, N) float64
        - returns: (M, N) float64

    Example:
        >>> matmul_by_loops(np.array([[1.0, 2.0]]), np.array([[3.0], [4.0]])).tolist()
        [[11.0]]
    """
    result = np.zeros((len(a), b.shape[1]))
    for row in range(len(a)):
        for column in range(b.shape[1]):
            for inner in range(len(b)):
                result[row, column] += a[row, inner] * b[inner, column]
    return result


def matmul_by_products(a: Array, b: Array) -> Array:
    """Return a @ b; the innermost loop becomes the sum of an elementwise product of two vectors."""
    return np.array([[(row * column).sum() for column in b.T] for row in a])


def matmul_by_broadcasting(a: Array, b: Array) -> Array:
    """Return a @ b; a row of `a`, as a column, is broadcast over `b`: (K, 1) times (K, N) is (K, N), summed over K."""
    return np.stack([(row[:, None] * b).sum(axis=0) for row in a])


def matmul_by_einsum(a: Array, b: Array) -> Array:
    """Return a @ b; einsum sums over an index that is repeated on the left and absent on the right."""
    product: Array = np.einsum("mk,kn->mn", a, b)
    return product
