"""Pure functions: schedules of the learning rate and momentum, rates per layer group, and stages of freezing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import accumulate as accumulated
from typing import Literal, NamedTuple

from tabvision.checks import is_integer, is_number
from tabvision.errors import BadTypeError, BadValueError, accepting_who, count, listed

Convention = Literal["fastai", "torch"]
Rates = float | tuple[float | None, float] | list[float] | str
"""A learning rate for every group, `(low, high)` for first to last, `(None, high)`, "low:high", or one rate per group."""

Stages = tuple[tuple[int, int | None], ...]
"""Pairs of a first epoch and how many of the last layer groups train from then on; None means all."""


class Setting(NamedTuple):
    """The values of a schedule at one step: a factor on the peak rate, and the momentum (None: unchanged)."""

    factor: float
    momentum: float | None


def _anneal_cos(start: float, end: float, fraction: float) -> float:
    """Interpolate from `start` at fraction 0 to `end` at fraction 1 along half a cosine.

    Example:
        >>> _anneal_cos(1.0, 3.0, 0.5)
        2.0
    """
    return end + (start - end) / 2 * (1 + math.cos(math.pi * fraction))


def one_cycle(
    step: int,
    total: int,
    *,
    pct_start: float = 0.25,
    div: float = 25.0,
    div_final: float = 1e5,
    momentum: tuple[float, float, float] | None = (0.95, 0.85, 0.95),
    convention: Convention = "fastai",
) -> Setting:
    """Return the rate factor and momentum of one cycle: up along a cosine, then down along another.

    Args:
        step: The number of optimizer steps taken, in [0, total); later steps keep the last value.
        total: The number of optimizer steps in the whole cycle, at least 1.
        pct_start: The fraction of the cycle in which the rate rises, in (0, 1).
        div: The first rate is the peak divided by this.
        div_final: The last rate is the peak (fastai) or the first rate (torch) divided by this.
        momentum: The momentum at the start, at the peak and at the end; None leaves it unchanged.
        convention: "fastai" puts step i at i / total, "torch" at i / (total - 1); they also differ in `div_final`.

    Source:
        fastai 2.8 `fit_one_cycle`; torch 2 `OneCycleLR` with `three_phase=False`.

    Example:
        >>> [round(one_cycle(step, 100).factor, 3) for step in (0, 25, 99)]
        [0.04, 1.0, 0.0]
    """
    last = total if convention == "fastai" else max(1, total - 1)
    peak = pct_start * total - (0 if convention == "fastai" else 1)
    lowest = 1 / div_final if convention == "fastai" else 1 / (div * div_final)
    step = min(step, last)
    if step <= peak:
        fraction = step / peak if peak > 0 else 1.0
        start, end, moms = 1 / div, 1.0, momentum and momentum[:2]
    else:
        fraction = (step - peak) / (last - peak)
        start, end, moms = 1.0, lowest, momentum and momentum[1:]
    return Setting(_anneal_cos(start, end, fraction), _anneal_cos(moms[0], moms[1], fraction) if moms else None)


def inverse_decay(step: int, *, half: float = 400.0, power: float = 1.0, warmup: int = 10) -> float:
    """Return the rate factor (half / (half + step)) ** power, after a linear rise over the first steps.

    Example:
        >>> [round(inverse_decay(step, half=100), 3) for step in (0, 9, 100, 300)]
        [0.1, 0.917, 0.5, 0.25]
    """
    rise = min(1.0, (step + 1) / warmup) if warmup else 1.0
    return float(rise * (half / (half + step)) ** power)


def flat_cosine(step: int, total: int, *, pct_start: float = 0.75, div_final: float = 1e5) -> float:
    """Return a rate factor that stays at 1, then falls along a cosine.

    Source: fastai 2.8 `fit_flat_cos`.

    Example:
        >>> [round(flat_cosine(step, 100), 3) for step in (0, 75, 99)]
        [1.0, 1.0, 0.004]
    """
    fraction = min(1.0, step / total)
    return 1.0 if fraction <= pct_start else _anneal_cos(1.0, 1 / div_final, (fraction - pct_start) / (1 - pct_start))


def cosine_restarts(step: int, total: int, *, num_cycles: int, cycle_mult: int = 2) -> float:
    """Return the rate factor of cycles that fall from 1 to 0 along a cosine, each `cycle_mult` times as long as the last.

    Source: fastai 2.8 `fit_sgdr`.

    Example:
        >>> [round(cosine_restarts(step, 30, num_cycles=2), 3) for step in (0, 5, 10, 20)]
        [1.0, 0.5, 1.0, 0.5]
    """
    lengths = [cycle_mult**cycle for cycle in range(num_cycles)]
    position = min(step / total, 1.0) * sum(lengths)
    for length in lengths[:-1]:
        if position < length:
            return _anneal_cos(1.0, 0.0, position / length)
        position -= length
    return _anneal_cos(1.0, 0.0, position / lengths[-1])


@accepting_who
def spread_rates(
    rates: Rates, num_groups: int, *, body_ratio: float = 10.0, sizes: Mapping[str, int] | None = None
) -> list[float]:
    """Return one rate for each layer group, input side first.

    Args:
        rates: One rate for all; `(low, high)` or "low:high" for equal multiples from first to last group; `(None, high)` or
            ":high" for `high` on the last group and `high / body_ratio` on all others; a list with one rate per group.
        num_groups: The number of groups, at least 1.
        body_ratio: The ratio of the last group's rate to that of all others, if only the last is given.
        sizes: The number of parameters of each group by name, for the error message.

    Raises:
        BadTypeError: A rate is not a number.
        BadValueError: A rate is not positive, or the number of rates does not match.

    Source:
        fastai 2.8 `even_mults` and `slice`; the 2019 course divides by three (`body_ratio=3`).

    Example:
        >>> spread_rates((None, 1e-3), 3)
        [0.0001, 0.0001, 0.001]
    """
    if isinstance(rates, str):
        rates = _parse_rates(rates)
    groups = ""  # the end of the error's sentence about rates
    if sizes:
        first, *rest = sizes.items()
        named = [f"{first[0]} ({count(first[1], 'parameter')})", *(f"{name} ({size:,})" for name, size in rest)]
        groups = f"; the layer groups, input side first: {listed(named)}"
    if isinstance(rates, list):
        found = [_checked_rate(rate, groups) for rate in rates]
        if len(found) != num_groups:
            remedy = "Pass one rate for all, a pair (first, last), or a list with one rate for each group"
            raise BadValueError(f"{num_groups} layer groups need {num_groups} rates, got {len(found)}{groups}", remedy)
        return found
    if isinstance(rates, tuple):
        if len(rates) != 2:
            remedy = "Pass (first, last), or a list with one rate for each group"
            raise BadValueError(f"a pair of rates must have 2 numbers, got {rates!r}{groups}", remedy)
        high = _checked_rate(rates[1], groups)
        if rates[0] is None:
            return [high / body_ratio] * (num_groups - 1) + [high]
        return even_multiples(_checked_rate(rates[0], groups), high, num_groups)
    return [_checked_rate(rates, groups)] * num_groups


def rates_like(rates: Sequence[float], last: float | None) -> list[float]:
    """Scale the rates so that the last one equals `last`; return them unchanged if it is None.

    Example:
        >>> rates_like([0.5, 1.0], last=4.0)
        [2.0, 4.0]
    """
    return list(rates) if last is None else [last * (rate / rates[-1]) for rate in rates]


@accepting_who
def check_rates(rates: Rates, *, groups_known: bool = True) -> None:
    """Raise unless `spread_rates` accepts `rates` for some number of groups.

    Args:
        rates: As for `spread_rates`.
        groups_known: False leaves the signs in a list of rates unchecked, for a later call whose error can name the groups.
    """
    if not groups_known and isinstance(rates, list):
        rates = [1.0 if is_number(rate) else rate for rate in rates]  # check the types now, the signs later
    elif not groups_known and isinstance(rates, tuple) and len(rates) == 2:
        rates = (1.0 if is_number(rates[0]) else rates[0], 1.0 if is_number(rates[1]) else rates[1])
    spread_rates(rates, len(rates) if isinstance(rates, list) else 1)


def even_multiples(low: float, high: float, number: int) -> list[float]:
    """Return `number` values from `low` to `high`, each the same multiple of the one before; only `high` if `number` is 1.

    Example:
        >>> [round(value, 6) for value in even_multiples(1e-4, 1e-2, 3)]
        [0.0001, 0.001, 0.01]
    """
    if number == 1:
        return [high]
    return [low * (high / low) ** (index / (number - 1)) for index in range(number)]


def epoch_ends(batches_per_epoch: int, accumulate: Sequence[float]) -> list[int]:
    """Return the number of optimizer steps taken by the end of each epoch, counting one for leftover batches.

    Args:
        batches_per_epoch: The number of batches in an epoch.
        accumulate: For each epoch, the number of batches per step; not a whole number if it was measured.

    Example:
        >>> epoch_ends(10, accumulate=[1, 1, 4])
        [10, 20, 23]
    """
    return list(accumulated(math.ceil(batches_per_epoch / every - 1e-9) for every in accumulate))


def _parse_rates(text: str) -> float | tuple[float | None, float]:
    low, colon, high = text.partition(":")
    try:
        if not colon:
            return float(low)
        return (float(low) if low.strip() else None, float(high))
    except ValueError:
        remedy = 'Write one rate as "1e-3", first and last as "1e-5:1e-3", or ":1e-3"; FindLR() finds one'
        raise BadValueError(f"rates must be numbers, got {text!r}", remedy) from None


def _checked_rate(rate: object, groups: str) -> float:
    if not is_number(rate):
        raise BadTypeError(f"a learning rate must be a number, got {rate!r}{groups}", "Pass a number such as 1e-3")
    if not 0 < rate < math.inf:
        raise BadValueError(f"a learning rate must be above zero, got {rate!r}{groups}", "Pass a number such as 1e-3")
    return float(rate)


@accepting_who
def as_stages(stages: object) -> Stages:
    """Return stages in order of their first epoch, each with how many of the last layer groups train (None: all).

    Args:
        stages: The number of epochs in which only the last group trains, or a mapping from epoch to a number or "all".

    Raises:
        BadTypeError: `stages` is neither a whole number nor a mapping of whole numbers.
        BadValueError: An epoch is negative, no stage starts at epoch 0, or a stage trains no group.

    Example:
        >>> as_stages(2), as_stages({0: 1, 3: "all"})
        (((0, 1), (2, None)), ((0, 1), (3, None)))
    """
    remedy = 'Pass the number of frozen epochs, or a mapping such as {0: 1, 2: 2, 4: "all"}'
    if is_integer(stages):
        stages = {0: 1, stages: "all"} if stages != 0 else {0: "all"}
    if not isinstance(stages, Mapping):
        raise BadTypeError(f"stages must be a whole number or a mapping, got {stages!r}", remedy)
    found: list[tuple[int, int | None]] = []
    for epoch, number in stages.items():
        if not is_integer(epoch) or not (number == "all" or is_integer(number)):
            raise BadTypeError(f"a stage must be an epoch and a number of groups, got {epoch!r}: {number!r}", remedy)
        if epoch < 0 or (number != "all" and number < 1):
            problem = f"a stage must start at epoch 0 or later and train at least one group, got {epoch}: {number!r}"
            raise BadValueError(problem, remedy)
        found.append((int(epoch), None if number == "all" else int(number)))
    if 0 not in stages:
        raise BadValueError(f"stages must include epoch 0, got {stages!r}", remedy)
    return tuple(sorted(found, key=lambda stage: stage[0]))


def num_trainable(stages: Stages, epoch: int, num_groups: int) -> int:
    """Return how many of the last layer groups train in an epoch, at most `num_groups`.

    Example:
        >>> [num_trainable(((0, 1), (2, None)), epoch, num_groups=3) for epoch in range(3)]
        [1, 1, 3]
    """
    number = next(number for start, number in reversed(stages) if start <= epoch)
    return num_groups if number is None else min(number, num_groups)
