"""Three networks, for images, tables and ratings, and one function to fit them, in pure numpy."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from tabvision.schedules import one_cycle
from tabvision.scratch.autograd import Value, side_by_side
from tabvision.scratch.layers import Conv, Flatten, Linear, Random, ReLU, Sequential
from tabvision.scratch.matmul import Array
from tabvision.scratch.optimizers import SGD

Codes = NDArray[np.int64]


def fit(
    gradients: Callable[[Codes], float], optimizer: SGD, num_rows: int, *, epochs: int, batch_size: int, seed: int = 0
) -> list[float]:
    """Fit with one cycle of learning rate and momentum, and return the mean training loss of each epoch.

    The schedule is `tabvision.schedules.one_cycle`, the same function that `tabvision.callbacks.OneCycle` calls.

    Args:
        gradients: A function that sets the gradients of the optimizer's parameters for some rows and returns their mean loss.
        optimizer: The optimizer; its rate is the peak of the cycle.
        num_rows: The number of training rows; each is used once per epoch.
        epochs: Passes over the rows.
        batch_size: Rows per step.
        seed: Determines the order of the rows.
    """
    random, peak, history = np.random.default_rng(seed), optimizer.lr, []
    total = epochs * math.ceil(num_rows / batch_size)
    for _ in range(epochs):
        order, summed = random.permutation(num_rows), 0.0
        for start in range(0, num_rows, batch_size):
            setting = one_cycle(optimizer.steps, total)
            optimizer.lr, optimizer.beta = peak * setting.factor, setting.momentum or optimizer.beta
            rows = order[start : start + batch_size]
            summed += gradients(rows) * len(rows)
            optimizer.step()
        history.append(summed / num_rows)
    return history


def image_net(channels: int, size: int, classes: int, random: Random) -> Sequential:
    """Return a small network for square images: a 3 x 3 convolution, then fully connected layers.

    Example:
        >>> image_net(1, 8, 10, np.random.default_rng(0)).forward(np.zeros((2, 1, 8, 8))).shape
        (2, 10)
    """
    body = Conv(channels, 16, 3, random), ReLU(), Flatten(), Linear(16 * (size - 2) ** 2, 64, random), ReLU()
    return Sequential(*body, Linear(64, classes, random))


class TabularNet:
    """A network for tables: embeddings of the categories, concatenated with the numbers, then fully connected layers.

    Args:
        cardinalities: The number of codes of each category.
        num_continuous: The number of numeric columns, which must have mean 0 and standard deviation 1.
        outputs: Logits per row.
        random: Draws the initial weights.

    Source: embedding width min(600, 1.6 x cardinality ** 0.56), fastai.

    Example:
        >>> net = TabularNet([3, 10], 2, 1, np.random.default_rng(0))
        >>> net.logits(np.zeros((5, 2), int), np.zeros((5, 2))).data.shape
        (5, 1)
    """

    def __init__(self, cardinalities: Sequence[int], num_continuous: int, outputs: int, random: Random) -> None:
        widths = [min(600, round(1.6 * number**0.56)) for number in cardinalities]
        self.tables = [Value(random.normal(0, 0.1, shape)) for shape in zip(cardinalities, widths, strict=True)]
        self.first, self.last = Linear(sum(widths) + num_continuous, 64, random), Linear(64, outputs, random)
        self.params = [*self.tables, *self.first.params, *self.last.params]

    def logits(self, categorical: Codes, continuous: Array) -> Value:
        """Return (B, outputs), differentiable."""
        embedded = [table[codes] for table, codes in zip(self.tables, categorical.T, strict=True)]
        hidden = (side_by_side(*embedded, Value(continuous)) @ self.first.weight + self.first.bias).relu()
        return hidden @ self.last.weight + self.last.bias


class DotBias:
    """Matrix factorization: the dot product of user and item factors, plus a bias for each and a global one.

    Args:
        num_users: The number of users.
        num_items: The number of items.
        y_range: The lowest and highest rating; a sigmoid keeps predictions between them.
        mean: The mean rating, where all predictions start.
        random: Draws the initial factors.
        factors: The number of factors for each user and item.

    Source: fastai `EmbeddingDotBias`; the initial std is that of `tabvision.nets.factorization`.

    Example:
        >>> net = DotBias(3, 4, (0.5, 5.5), 3.0, np.random.default_rng(0))
        >>> net.ratings(np.array([0, 1]), np.array([2, 3])).data.shape
        (2, 1)
    """

    def __init__(
        self,
        num_users: int,
        num_items: int,
        y_range: tuple[float, float],
        mean: float,
        random: Random,
        *,
        factors: int = 50,
    ) -> None:
        low, high = self.y_range = y_range
        self.users, self.items = (Value(random.normal(0, 0.01, (number, factors))) for number in (num_users, num_items))
        self.user_bias, self.item_bias = Value(np.zeros((num_users, 1))), Value(np.zeros((num_items, 1)))
        self.offset = Value(math.log((mean - low) / (high - mean)))  # the sigmoid's inverse
        self.params = [self.users, self.items, self.user_bias, self.item_bias, self.offset]

    def ratings(self, user: Codes, item: Codes) -> Value:
        """Return (B, 1), differentiable."""
        (low, high), products = self.y_range, (self.users[user] * self.items[item]).sum(axis=1)
        logits = products + self.user_bias[user] + self.item_bias[item] + self.offset
        return logits.sigmoid() * (high - low) + low
