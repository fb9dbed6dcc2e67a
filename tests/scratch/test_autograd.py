"""Gradients of the tape are those of torch."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from tabvision.scratch import Value, side_by_side

RANDOM = np.random.default_rng(0)
A, B, POSITIVE = RANDOM.normal(size=(4, 3)), RANDOM.normal(size=(4, 3)), RANDOM.uniform(0.5, 2, (4, 3))
ROW, MATRIX = RANDOM.normal(size=(1, 3)), RANDOM.normal(size=(3, 5))

# an expression, and its operands; it reads the same for a Value and a tensor
EXPRESSIONS: dict[str, tuple[Callable[..., Any], list[Any]]] = {
    "sum and product": (lambda a, b: a * b + a, [A, B]),
    "difference": (lambda a, b: a - b, [A, B]),
    "broadcast row": (lambda a, row: a * row + row, [A, ROW]),
    "broadcast vector": (lambda a, vector: a * vector, [A, ROW[0]]),
    "broadcast scalar": (lambda a, scalar: a * scalar + scalar, [A, np.array(2.0)]),
    "number on either side": (lambda a: 2.0 * a + 1.0 - (1.0 + a) * 3.0, [A]),
    "matrix product": (lambda a, b: a @ b, [A, MATRIX]),
    "power": (lambda a: a**3 + a**-0.5, [POSITIVE]),
    "exp and log": (lambda a: a.exp() * a.log(), [POSITIVE]),
    "relu": (lambda a: a.relu(), [A]),
    "sigmoid": (lambda a: a.sigmoid(), [A]),
    "rows, one of them twice": (lambda a: a[[0, 2, 2]], [A]),
    "mean": (lambda a: a.mean() * a, [A]),
    "a value used in many places": (lambda a: (a * a) @ (a.relu()[[0, 1, 2]]) + a * a.sum(), [A]),
}


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_values_and_gradients_are_those_of_torch(name: str) -> None:
    expression, operands = EXPRESSIONS[name]
    ours = [Value(operand) for operand in operands]
    theirs = [torch.tensor(operand, requires_grad=True) for operand in operands]

    result, expected = expression(*ours), expression(*theirs)
    (result * result).sum().backward()
    torch.autograd.backward((expected * expected).sum())

    np.testing.assert_allclose(result.data, expected.detach(), rtol=1e-12)
    for one, other in zip(ours, theirs, strict=True):
        assert other.grad is not None
        np.testing.assert_allclose(one.grad, other.grad, rtol=1e-10, atol=1e-12)


def test_a_sum_over_an_axis_keeps_it() -> None:
    a, b = Value(A), torch.tensor(A, requires_grad=True)

    (a.sum(axis=1) * a).sum().backward()
    torch.autograd.backward((b.sum(dim=1, keepdim=True) * b).sum())

    np.testing.assert_allclose(a.grad, np.asarray(b.grad), rtol=1e-12)


def test_arrays_side_by_side_each_get_their_columns_of_the_gradient() -> None:
    a, b = Value(A), Value(B)

    (side_by_side(a, b) * np.arange(6.0)).sum().backward()

    np.testing.assert_array_equal(a.grad, np.tile([0.0, 1, 2], (4, 1)))
    np.testing.assert_array_equal(b.grad, np.tile([3.0, 4, 5], (4, 1)))


def test_an_array_on_the_left_is_part_of_the_expression_and_a_second_backward_forgets_the_first() -> None:
    a = Value(A)
    (B * a).sum().backward()
    np.testing.assert_array_equal(a.grad, B)

    a = Value(A)
    for _ in range(2):
        (a * 3.0).sum().backward()
    np.testing.assert_array_equal(a.grad, np.full_like(A, 3.0))
