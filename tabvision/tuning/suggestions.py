"""Suggest learning rates from a loss curve: fastai's four methods, and one whose smoothing does not lag.

Source: fastai 2.8 `callback/schedule.py`; each method drops the first tenth and the last five points of the curve.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

_LAST_CUT = 5
_SLIDE_WINDOW = 15
_SLIDE_THRESHOLD = 0.005
_LOWEST_STD = 3.0  # std, in steps, of the Gaussian that smooths the losses in `lowest`


def first_read(num_steps: int) -> int:
    """Return the first step of a sweep that counts."""
    return num_steps // 10


def usable(lrs: Sequence[float], losses: Sequence[float], num_steps: int) -> tuple[list[float], list[float]]:
    """Return the part of a sweep that counts: without its start and end, and up to the first non-finite loss."""
    first, last = first_read(num_steps), len(losses) - _LAST_CUT
    finite = next((step for step, loss in enumerate(losses[first:last]) if not math.isfinite(loss)), last - first)
    return list(lrs[first : first + finite]), list(losses[first : first + finite])


def valley(lrs: Sequence[float], losses: Sequence[float]) -> float:
    """Return the rate halfway along the longest stretch of falling losses: a third plus a sixth of it past its start.

    Example:
        >>> valley([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [6.0, 5.0, 4.0, 3.0, 2.0, 1.0])
        3.0
    """
    lengths = [1] * len(losses)
    best, start = 0, 0
    for step in range(1, len(losses)):
        for before in range(step):
            if losses[step] < losses[before] and lengths[step] < lengths[before] + 1:
                lengths[step] = lengths[before] + 1
            if lengths[best] < lengths[step]:
                best, start = step, step - lengths[step]
    third = (best - start) / 3
    return float(lrs[start + int(third) + int(third / 2)])


def steep(lrs: Sequence[float], losses: Sequence[float]) -> float:
    """Return the rate at which the loss falls fastest with respect to the logarithm of the rate.

    Example:
        >>> steep([0.1, 1.0, 10.0], [3.0, 2.9, 1.0])
        1.0
    """
    slopes = np.diff(losses) / np.diff(np.log(lrs))
    return float(lrs[int(slopes.argmin())])


def minimum(lrs: Sequence[float], losses: Sequence[float]) -> float:
    """Return a tenth of the rate with the lowest loss.

    Example:
        >>> minimum([0.1, 1.0, 10.0], [3.0, 1.0, 9.0])
        0.1
    """
    return float(lrs[int(np.argmin(losses))]) / 10


def slide(lrs: Sequence[float], losses: Sequence[float]) -> float:
    """Return the rate at the left end of a window that slides in from the right until the slopes at both ends agree.

    Example:
        >>> rates = [float(step) for step in range(20)]
        >>> slide(rates, [1.0] * 20)
        4.0
    """
    slopes = np.gradient(losses)
    right, left = -1, -1 - _SLIDE_WINDOW
    found = lrs[max(left, -len(lrs))]
    while left >= -len(losses) and abs(slopes[right] - slopes[left]) > _SLIDE_THRESHOLD:
        found = lrs[left]
        right, left = right - 1, left - 1
    return float(found)


def lowest(lrs: Sequence[float], raw_losses: Sequence[float]) -> float:
    """Return the rate with the lowest loss, after smoothing the losses with a Gaussian over the steps on both sides.

    fastai smooths only over past steps, so its curve turns dozens of steps late (how many depends on network and batch
    size), and `minimum` takes a tenth of the rate to compensate. Without the lag, the lowest point itself is a good peak for
    one cycle. Losses above the first ones only show that training diverged, and are clipped to them.

    Example:
        >>> lowest([0.1, 1.0, 10.0, 100.0], [3.0, 1.0, 9.0, 99.0])
        0.1
    """
    losses = np.asarray(raw_losses, dtype=np.float64)
    losses = np.minimum(losses, losses[: max(1, len(losses) // 10)].mean())
    steps = np.arange(len(losses))
    weights = np.exp(-0.5 * ((steps[:, None] - steps) / _LOWEST_STD) ** 2)
    return float(lrs[int((weights @ losses / weights.sum(axis=1)).argmin())])
