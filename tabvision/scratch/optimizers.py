"""SGD, momentum, RMSProp and Adam, in one to five lines each, and a race between them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from tabvision.scratch.autograd import Value
from tabvision.scratch.matmul import Array

if TYPE_CHECKING:
    import pandas as pd


class SGD:
    """Plain SGD: each step moves a parameter against its gradient, times the rate. Subclasses change only the move.

    Weight decay pulls every parameter toward zero. "l2" adds decay x parameter to the gradient, which is the gradient of
    decay / 2 x parameter ** 2, so whatever an optimizer does to gradients also applies to the decay. "decoupled" shrinks the
    parameter by rate x decay, separately from the gradient. For plain SGD the two are the same step. For Adam they are not,
    since it divides the gradient, including the L2 decay, by the gradient's recent size.

    Equal to `torch.optim.SGD`, which has only L2; with decoupled decay, to `tabvision.modules` with `optimizer="sgd"`.

    Args:
        params: The parameters to move; each has `data` and `grad`.
        lr: The learning rate.
        weight_decay: Strength of the decay, at least 0.
        decay: "l2" or "decoupled".

    Source: decoupled decay: Loshchilov and Hutter 2019.

    Example:
        >>> weight = Value([1.0])
        >>> weight.grad = np.array([2.0])
        >>> SGD([weight], lr=0.1).step()
        >>> weight.data.tolist()
        [0.8]
    """

    def __init__(
        self, params: Sequence[Value], lr: float, *, weight_decay: float = 0.0, decay: Literal["l2", "decoupled"] = "l2"
    ) -> None:
        self.params, self.lr, self.weight_decay, self.decay = params, lr, weight_decay, decay
        self.beta, self.steps = 0.9, 0  # a momentum schedule sets beta
        self.averages = [np.zeros_like(param.data) for param in params]
        self.squares = [np.zeros_like(param.data) for param in params]

    def step(self) -> None:
        """Move every parameter once."""
        self.steps += 1
        for number, param in enumerate(self.params):
            l2, shrink = (self.weight_decay, 0.0) if self.decay == "l2" else (0.0, self.lr * self.weight_decay)
            move = self.move(number, param.grad + l2 * param.data)
            param.data *= 1 - shrink
            param.data -= self.lr * move

    def move(self, number: int, grad: Array) -> Array:  # noqa: ARG002 - subclasses look up their averages by it
        """Return the move, which the rate multiplies: for SGD the gradient itself."""
        return grad


class Momentum(SGD):
    """Move along an exponentially weighted average of the gradients.

    The lesson uses beta x average + (1 - beta) x gradient, a true average. torch uses beta x average + gradient, which grows
    to 1 / (1 - beta) times that: at a constant beta, torch's step at rate lr is the lesson's at lr / (1 - beta). If a
    schedule changes beta, the two differ for good, since torch's sum still holds gradients at their old weight.

    Equal to `torch.optim.SGD(momentum=beta)` if the attribute `form` is "torch".
    """

    form: Literal["lesson", "torch"] = "lesson"

    def move(self, number: int, grad: Array) -> Array:
        """Return the average of the gradients so far."""
        weight = 1.0 if self.form == "torch" else 1 - self.beta
        self.averages[number] = self.beta * self.averages[number] + weight * grad
        return self.averages[number]


class RMSProp(SGD):
    """Divide each gradient by its recent size, so that steep and flat directions move at the same pace.

    Equal to `torch.optim.RMSprop(alpha=0.99)` without momentum. torch's momentum averages the divided gradients and
    fastai's the raw ones; this class has none, and `Adam` averages the raw ones.
    """

    alpha, eps = 0.99, 1e-8

    def move(self, number: int, grad: Array) -> Array:
        """Return the gradient divided by the root of the average of its squares."""
        self.squares[number] = self.alpha * self.squares[number] + (1 - self.alpha) * grad**2
        return grad / (np.sqrt(self.squares[number]) + self.eps)


class Adam(SGD):
    """Momentum divided by RMSProp's root, with both averages corrected for starting at zero.

    Equal to `torch.optim.Adam(betas=(beta, alpha), eps=eps)` with L2, and to `AdamW` with decoupled decay. The constants are
    those of `tabvision.modules`. Without the correction the first step would be (1 - beta) / sqrt(1 - alpha) times as long.

    Source: Kingma and Ba 2015.
    """

    alpha, eps = 0.95, 1e-5

    def move(self, number: int, grad: Array) -> Array:
        """Return the average of the gradients divided by the root of the average of their squares."""
        self.averages[number] = self.beta * self.averages[number] + (1 - self.beta) * grad
        self.squares[number] = self.alpha * self.squares[number] + (1 - self.alpha) * grad**2
        average = self.averages[number] / (1 - self.beta**self.steps)
        square = self.squares[number] / (1 - self.alpha**self.steps)
        return average / (np.sqrt(square) + self.eps)


SLOPE, INTERCEPT = 2.0, 30.0
RATES = {"SGD": (SGD, 2e-4), "momentum": (Momentum, 4e-3), "RMSProp": (RMSProp, 0.1), "Adam": (Adam, 1.0)}
"""A rate at which each converges and stays; SGD and momentum diverge at twice theirs."""


def optimizer_race(*, max_epochs: int = 100_000) -> pd.DataFrame:
    """Return the lesson's spreadsheet: how each optimizer finds the line y = 2 x + 30 from slope 1 and intercept 1.

    The slope is found at once, since x is large. The intercept hardly changes the error, so the race is about finding it.
    An optimizer is done when the intercept is within 0.5 and the slope within 0.1; its last row says after how many epochs.
    All 29 rows form one batch. (The spreadsheet takes one step per row, and that noise hides what momentum gains.)

    Args:
        max_epochs: The epoch at which an optimizer gives up.

    Returns:
        The columns `optimizer`, `epoch` (0 is the start), `slope`, `intercept`, `loss`.

    Example:
        >>> race = optimizer_race(max_epochs=200)
        >>> race.groupby("optimizer")["epoch"].max().loc[["SGD", "Adam"]].to_dict()
        {'SGD': 200, 'Adam': 106}
    """
    import pandas as pd

    x = np.random.default_rng(0).integers(5, 100, 29).astype(np.float64)
    rows = []
    for name, (kind, rate) in RATES.items():
        line = Value([1.0, 1.0])
        optimizer = kind([line], rate)
        for epoch in range(max_epochs + 1):
            slope, intercept = line.data.tolist()
            error = (slope - SLOPE) * x + intercept - INTERCEPT
            rows.append((name, epoch, slope, intercept, float(np.mean(error**2))))
            if abs(slope - SLOPE) < 0.1 and abs(intercept - INTERCEPT) < 0.5:
                break
            line.grad = np.array([np.mean(2 * error * x), np.mean(2 * error)])
            optimizer.step()
    return pd.DataFrame(rows, columns=["optimizer", "epoch", "slope", "intercept", "loss"])
