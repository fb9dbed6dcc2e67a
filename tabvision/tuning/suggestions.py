"""Learning rates read off a curve of losses: fastai's four ways, and one without the lag of its smoothing.

Source: fastai 2.8 `callback/schedule.py`; each looks at the curve without its first tenth and its last five points.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

LAST_CUT = 5
SLIDE_WINDOW = 15
SLIDE_THRESHOLD = 0.005
WINDOW = 3.0  # steps; spread of the bell that smooths the losses for `lowest`


def first_read(num_steps: int) -> int:
    """The first step of a sweep that is worth reading."""
    return num_steps // 10


def usable(lrs: Sequence[float], losses: Sequence[float], num_steps: int) -> tuple[list[float], list[float]]:
    """The part of a sweep that is worth reading: no start, no end, nothing from the first loss that is no number on."""
    first, last = first_read(num_steps), len(losses) - LAST_CUT
    finite = next((place for place, loss in enumerate(losses[first:last]) if not math.isfinite(loss)), last - first)
    return list(lrs[first : first + finite]), list(losses[first : first + finite])


def valley(lrs: Sequence[float], losses: Sequence[float]) -> float:
    """The rate halfway down the longest stretch of falling losses: a third and a sixth of it past its start.

    Example:
        >>> valley([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [6.0, 5.0, 4.0, 3.0, 2.0, 1.0])
        3.0
    """
    lengths = [1] * len(losses)
    best, start = 0, 0
    for place in range(1, len(losses)):
        for before in range(place):
            if losses[place] < losses[before] and lengths[place] < lengths[before] + 1:
                lengths[place] = lengths[before] + 1
            if lengths[best] < lengths[place]:
                best, start = place, place - lengths[place]
    third = (best - start) / 3
    return float(lrs[start + int(third) + int(third / 2)])


def steep(lrs: Sequence[float], losses: Sequence[float]) -> float:
    """The rate where the loss falls fastest over the logarithm of the rate.

    Example:
        >>> steep([0.1, 1.0, 10.0], [3.0, 2.9, 1.0])
        1.0
    """
    slopes = np.diff(_array(losses)) / np.diff(np.log(_array(lrs)))
    return float(lrs[int(slopes.argmin())])


def minimum(lrs: Sequence[float], losses: Sequence[float]) -> float:
    """A tenth of the rate with the lowest loss.

    Example:
        >>> minimum([0.1, 1.0, 10.0], [3.0, 1.0, 9.0])
        0.1
    """
    return float(lrs[int(_array(losses).argmin())]) / 10


def slide(lrs: Sequence[float], losses: Sequence[float]) -> float:
    """The rate at the left end of a window that slides in from the right until the slope at both ends agrees.

    Example:
        >>> rates = [float(place) for place in range(20)]
        >>> slide(rates, [1.0] * 20)
        4.0
    """
    slopes = np.gradient(_array(losses))
    right, left = -1, -1 - SLIDE_WINDOW
    found = lrs[max(left, -len(lrs))]
    while left >= -len(losses) and abs(slopes[right] - slopes[left]) > SLIDE_THRESHOLD:
        found = lrs[left]
        right, left = right - 1, left - 1
    return float(found)


def lowest(lrs: Sequence[float], raw_losses: Sequence[float]) -> float:
    """The rate with the lowest loss, where each step's own loss is smoothed by a bell over the steps on both sides.

    fastai smooths over past steps alone, so its curve turns some dozens of steps late, by how many depends on network and
    batch; `minimum` takes a tenth for that. Without the lag the lowest point is itself a good peak for a one-cycle.
    Losses above the first ones say only that training broke down, and count as those.

    Example:
        >>> lowest([0.1, 1.0, 10.0, 100.0], [3.0, 1.0, 9.0, 99.0])
        0.1
    """
    losses = _array(raw_losses)
    losses = np.minimum(losses, losses[: max(1, len(losses) // 10)].mean())
    steps = np.arange(len(losses))
    weights = np.exp(-0.5 * ((steps[:, None] - steps) / WINDOW) ** 2)
    return float(lrs[int((weights @ losses / weights.sum(axis=1)).argmin())])


def _array(values: Sequence[float]) -> NDArray[np.float64]:
    return np.asarray(values, dtype=np.float64)
