"""Layers and losses with their backward passes written out from the chain rule."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from tabvision.scratch.autograd import Value
from tabvision.scratch.matmul import Array

Random = np.random.Generator


class Linear:
    """Compute x @ weight + bias. Weights start with variance 2 / inputs, which preserves the input's variance under ReLU.

    torch's `nn.Linear` stores the same weight transposed, (outputs, inputs).

    Source: He et al. 2015 for the initial variance.

    Example:
        >>> layer = Linear(3, 2, np.random.default_rng(0))
        >>> layer.forward(np.zeros((5, 3))).shape, layer.backward(np.zeros((5, 2))).shape
        ((5, 2), (5, 3))
    """

    def __init__(self, inputs: int, outputs: int, random: Random) -> None:
        self.weight = Value(random.normal(0, np.sqrt(2 / inputs), (inputs, outputs)))
        self.bias = Value(np.zeros(outputs))
        self.params = [self.weight, self.bias]

    def forward(self, x: Array) -> Array:
        """Return a weighted sum of the inputs for each output."""
        self._x = x
        return x @ self.weight.data + self.bias.data

    def backward(self, grad: Array) -> Array:
        """Return the input's gradient: each output's gradient flows back along the weights that it came through."""
        self.weight.grad, self.bias.grad = self._x.T @ grad, grad.sum(axis=0)
        return grad @ self.weight.data.T


class ReLU:
    """Keep positive numbers and replace the others by zero, whose gradient is zero as well."""

    params: Sequence[Value] = ()

    def forward(self, x: Array) -> Array:
        """Return max(x, 0)."""
        self._positive = x > 0
        return x * self._positive

    def backward(self, grad: Array) -> Array:
        """Return the gradient where the input was positive, and zero elsewhere."""
        return grad * self._positive


class Flatten:
    """Flatten each image to one row of numbers."""

    params: Sequence[Value] = ()

    def forward(self, x: Array) -> Array:
        """Return the images as (B, N)."""
        self._shape = x.shape
        return x.reshape(len(x), -1)

    def backward(self, grad: Array) -> Array:
        """Return the gradient in the shape of the input."""
        return grad.reshape(self._shape)


class Conv:
    """A convolution without padding: a linear layer on patches of the image, each unfolded into a row.

    Shape:
        - x: (B, C, H, W) float64
        - returns: (B, outputs, H - size + 1, W - size + 1) float64

    Example:
        >>> layer = Conv(3, 4, 3, np.random.default_rng(0))
        >>> layer.forward(np.zeros((2, 3, 8, 8))).shape, layer.backward(np.zeros((2, 4, 6, 6))).shape
        ((2, 4, 6, 6), (2, 3, 8, 8))
    """

    def __init__(self, channels: int, outputs: int, size: int, random: Random) -> None:
        self._size, self._linear = size, Linear(channels * size * size, outputs, random)
        self.params = self._linear.params

    def forward(self, x: Array) -> Array:
        """Apply the linear layer to every patch."""
        windows = sliding_window_view(x, (self._size, self._size), axis=(2, 3))  # (B, C, H', W', size, size), a view
        patches = windows.transpose(0, 2, 3, 1, 4, 5)
        self._shape, self._unfolded = x.shape, patches.shape
        rows = self._linear.forward(patches.reshape(-1, len(self._linear.weight.data)))
        return rows.reshape(*self._unfolded[:3], -1).transpose(0, 3, 1, 2)

    def backward(self, grad: Array) -> Array:
        """Return the image's gradient: fold the patches back, summing where they overlap."""
        rows = grad.transpose(0, 2, 3, 1).reshape(-1, grad.shape[1])
        patches = self._linear.backward(rows).reshape(self._unfolded).transpose(0, 3, 1, 2, 4, 5)
        image, (height, width) = np.zeros(self._shape), grad.shape[2:]
        for row, column in np.ndindex(self._size, self._size):
            image[:, :, row : row + height, column : column + width] += patches[..., row, column]
        return image


Layer = Linear | ReLU | Flatten | Conv


class Sequential:
    """A chain of layers; backward goes through them from last to first."""

    def __init__(self, *layers: Layer) -> None:
        self.layers = layers
        self.params = [param for layer in layers for param in layer.params]

    def forward(self, x: Array) -> Array:
        """Return the output of the last layer."""
        for layer in self.layers:
            x = layer.forward(x)
        return x

    def backward(self, grad: Array) -> Array:
        """Set the gradients of all layers and return the input's."""
        for layer in reversed(self.layers):
            grad = layer.backward(grad)
        return grad


def softmax(logits: Array) -> Array:
    """Return probabilities: exp(logits) divided by the sum of each row.

    Subtracting the largest logit first leaves the result unchanged and keeps exp from overflowing.

    Example:
        >>> softmax(np.array([[1000.0, 1000.0]])).tolist()
        [[0.5, 0.5]]
    """
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def cross_entropy(logits: Array, target: NDArray[np.int64]) -> tuple[float, Array]:
    """Return the mean of -log(probability of the true class), and its gradient with respect to the logits.

    Softmax and loss belong together: their gradient is simply the probabilities, minus one for the true class, and
    log(softmax) is computed as a difference, which stays exact even if a probability rounds to zero.

    Example:
        >>> loss, grad = cross_entropy(np.array([[0.0, 0.0]]), np.array([1]))
        >>> round(loss, 4), grad.tolist()
        (0.6931, [[0.5, -0.5]])
    """
    rows, probabilities = np.arange(len(target)), softmax(logits)
    shifted = logits - logits.max(axis=1, keepdims=True)
    losses = np.log(np.exp(shifted).sum(axis=1)) - shifted[rows, target]
    probabilities[rows, target] -= 1
    return float(losses.mean()), probabilities / len(target)


def mse(predictions: Array, target: Array) -> tuple[float, Array]:
    """Return the mean squared error, and its gradient with respect to the predictions.

    Example:
        >>> loss, grad = mse(np.array([3.0]), np.array([1.0]))
        >>> loss, grad.tolist()
        (4.0, [4.0])
    """
    error = predictions - target
    return float((error**2).mean()), 2 * error / error.size
