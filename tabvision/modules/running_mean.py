"""A mean that costs two additions a step and is read once an epoch."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor


@final
class RunningMean:
    """The weighted mean of values seen so far, summed on the device.

    Example:
        >>> mean = RunningMean()
        >>> mean.update(torch.tensor(2.0), 1)
        >>> mean.update(torch.tensor(5.0), 3)
        >>> (mean.totals()[0] / mean.totals()[1]).item()
        4.25
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forgets everything."""
        self._sum: Tensor | None = None
        self._weight: Tensor | float = 0.0

    def update(self, mean: Tensor, weight: Tensor | float) -> None:
        """Adds the mean of some rows and how much they weigh."""
        weight = _wide(weight) if isinstance(weight, Tensor) else weight
        share = _wide(mean) * weight
        self._sum = share if self._sum is None else self._sum + share
        self._weight = self._weight + weight  # not in place: a tensor may be the caller's

    def load(self, totals: Tensor) -> None:
        """Takes back what `totals` gave."""
        self._sum, self._weight = totals[0], totals[1]

    def totals(self) -> Tensor:
        """Sum and weight, (2,), to be added over ranks."""
        total = torch.zeros((), dtype=torch.float64) if self._sum is None else self._sum
        return torch.stack([total, torch.as_tensor(self._weight).to(total)])


def _wide(value: Tensor) -> Tensor:
    """In float64 where the device has it: a float32 sum over a long epoch loses digits."""
    return value.detach() if value.device.type == "mps" else value.detach().double()
