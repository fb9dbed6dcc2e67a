"""Reverse-mode automatic differentiation of arrays: what `torch.Tensor.backward` does, without the speed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tabvision.scratch.matmul import Array

Pull = Callable[[Array], tuple[Array, ...]]
"""A function from the gradient of a result to the gradients of what it was computed from."""


class Value:
    """An array that remembers what it was computed from, so that `backward` can find the gradient of each input.

    Every operation below is two lines of math: the result, and how its gradient is pulled back to the operands. The chain
    rule is the loop in `backward`.

    Args:
        data: The numbers.
        parents: What they were computed from.
        pull: Maps the gradient of the result to one gradient per parent.

    Example:
        >>> x = Value([1.0, 2.0])
        >>> (x * x).sum().backward()
        >>> x.grad.tolist()
        [2.0, 4.0]
    """

    __array_ufunc__ = None  # lets this class handle operations with an array on the left

    def __init__(self, data: Any, parents: tuple[Value, ...] = (), pull: Pull = lambda _: ()) -> None:  # noqa: ANN401 - as in np.asarray
        self.data: Array = np.asarray(data, dtype=np.float64)
        self.grad: Array = np.zeros_like(self.data)
        self.parents, self.pull = parents, pull

    def backward(self) -> None:
        """Set the `grad` of every value that this one was computed from, replacing earlier gradients."""
        order: dict[Value, None] = {}

        def visit(value: Value) -> None:
            if value not in order:
                for parent in value.parents:
                    visit(parent)
                order[value] = None  # comes after its parents

        visit(self)
        for value in order:
            value.grad = np.zeros_like(value.data)
        self.grad = np.ones_like(self.data)
        for value in reversed(order):  # complete each value's gradient before pulling it back
            for parent, grad in zip(value.parents, value.pull(value.grad), strict=True):
                parent.grad += _summed_to(grad, parent.data.shape)

    def __add__(self, other: Operand) -> Value:
        other = _as_value(other)
        return Value(self.data + other.data, (self, other), lambda grad: (grad, grad))

    def __mul__(self, other: Operand) -> Value:
        other = _as_value(other)
        return Value(self.data * other.data, (self, other), lambda grad: (grad * other.data, grad * self.data))

    def __matmul__(self, other: Value) -> Value:
        return Value(self.data @ other.data, (self, other), lambda grad: (grad @ other.data.T, self.data.T @ grad))

    def __pow__(self, power: float) -> Value:
        return Value(self.data**power, (self,), lambda grad: (grad * power * self.data ** (power - 1),))

    def __getitem__(self, rows: Any) -> Value:  # noqa: ANN401 - any index of an array
        def pull(grad: Array) -> tuple[Array]:
            spread = np.zeros_like(self.data)
            np.add.at(spread, rows, grad)  # a row that was indexed twice gets both gradients
            return (spread,)

        return Value(self.data[rows], (self,), pull)

    def __sub__(self, other: Operand) -> Value:
        return self + _as_value(other) * -1.0

    __radd__, __rmul__ = __add__, __mul__

    def exp(self) -> Value:
        """Return e ** x for each number."""
        result = np.exp(self.data)
        return Value(result, (self,), lambda grad: (grad * result,))

    def log(self) -> Value:
        """Return the natural logarithm of each number."""
        return Value(np.log(self.data), (self,), lambda grad: (grad / self.data,))

    def relu(self) -> Value:
        """Return max(x, 0) for each number."""
        return Value(np.maximum(self.data, 0), (self,), lambda grad: (grad * (self.data > 0),))

    def sigmoid(self) -> Value:
        """Return 1 / (1 + exp(-x)) for each number."""
        result = 1 / (1 + np.exp(-self.data))
        return Value(result, (self,), lambda grad: (grad * result * (1 - result),))

    def sum(self, axis: int | None = None) -> Value:
        """Return the sum over an axis, which is kept with length one, or over all numbers."""
        total = self.data.sum(axis=axis, keepdims=axis is not None)
        return Value(total, (self,), lambda grad: (np.broadcast_to(grad, self.data.shape),))

    def mean(self) -> Value:
        """Return the mean of all numbers."""
        return self.sum() * (1 / self.data.size)


Operand = Value | Array | float


def side_by_side(*values: Value) -> Value:
    """Concatenate arrays (B, N) along their columns; the gradient is split at the same columns.

    Example:
        >>> side_by_side(Value([[1.0]]), Value([[2.0, 3.0]])).data.tolist()
        [[1.0, 2.0, 3.0]]
    """
    ends = np.cumsum([value.data.shape[1] for value in values])[:-1]
    joined = np.concatenate([value.data for value in values], axis=1)
    return Value(joined, values, lambda grad: tuple(np.split(grad, ends, axis=1)))


def _as_value(operand: Operand) -> Value:
    return operand if isinstance(operand, Value) else Value(operand)


def _summed_to(grad: Array, shape: tuple[int, ...]) -> Array:
    """Sum a gradient over the axes along which the operand was broadcast, since each copy contributes to it."""
    grad = grad.sum(axis=tuple(range(grad.ndim - len(shape))))
    return np.asarray(grad.sum(axis=tuple(axis for axis, size in enumerate(shape) if size == 1), keepdims=True))
