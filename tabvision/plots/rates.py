"""Learning rates: a schedule before any training, and the curve of a learning-rate sweep."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tabvision.callbacks.schedule import RunLength, Schedule
from tabvision.callbacks.unfreeze import Unfreeze
from tabvision.errors import BadValueError, speaking
from tabvision.schedules import epoch_ends
from tabvision.tuning import LRFinding

_MAX_POINTS = 500  # a longer run is drawn at every n-th step
_TALLEST = 1.5  # times the first loss: larger losses would hide the rest


@runtime_checkable
class _Staged(Protocol):
    """A schedule that also freezes, such as FineTune."""

    unfreeze: Unfreeze


@speaking("plots.schedule")
def schedule(
    callback: Schedule,
    *,
    num_epochs: int,
    batches_per_epoch: int,
    groups: Sequence[str] = ("body", "head"),
    lr: float = 1.0,
    unfreeze: Unfreeze | None = None,
) -> Figure:
    """Draw the rate and momentum of every layer group over the steps, frozen spans shaded.

    Args:
        callback: OneCycle, FineTune or another schedule.
        num_epochs: The Trainer's `max_epochs`.
        batches_per_epoch: Optimizer steps in an epoch.
        groups: Names of the layer groups, input side first.
        lr: The optimizer's own rate, for a schedule that has no peak of its own.
        unfreeze: What freezes which layers, if it is a callback of its own.

    Raises:
        BadValueError: No epoch, no batch or no group.

    Example:
        >>> from tabvision.callbacks import FineTune
        >>> figure = schedule(FineTune(freeze_epochs=1), num_epochs=3, batches_per_epoch=10)
        >>> [axes.get_ylabel() for axes in figure.axes]
        ['learning rate', 'momentum']
    """
    if num_epochs < 1 or batches_per_epoch < 1 or not groups:
        problem = f"there must be an epoch, a batch and a group, got {num_epochs}, {batches_per_epoch}, {list(groups)}"
        raise BadValueError(problem, "Pass what the Trainer will have")
    ends = epoch_ends(batches_per_epoch, [1] * num_epochs)
    length = RunLength(ends[-1], tuple(ends))
    steps = range(0, length.total, max(1, length.total // _MAX_POINTS))
    figure = Figure(figsize=(8, 5), layout="constrained")
    top, bottom = figure.subplots(2, sharex=True, height_ratios=(3, 1))
    peaks = callback.peaks(len(groups)) or [lr] * len(groups)
    for index, (name, peak) in enumerate(zip(groups, peaks, strict=True)):
        settings = [callback.setting(step, length, index, len(groups)) for step in steps]
        top.plot(steps, [peak * setting.factor for setting in settings], label=name)
        if index == 0 and all(setting.momentum is not None for setting in settings):
            bottom.plot(steps, [setting.momentum or 0.0 for setting in settings], color="gray")
    stages = unfreeze or (callback.unfreeze if isinstance(callback, _Staged) else None)
    if stages is not None:
        _shade(top, stages, ends, groups)
    top.set(ylabel="learning rate", title=type(callback).__name__, yscale="log" if len(set(peaks)) > 1 else "linear")
    bottom.set(ylabel="momentum", xlabel="step")
    top.legend()
    return figure


def _shade(axes: Axes, unfreeze: Unfreeze, ends: Sequence[int], groups: Sequence[str]) -> None:
    """Shade the epochs in which some groups are frozen, and name them."""
    starts = [0, *ends[:-1]]
    for epoch, (start, end) in enumerate(zip(starts, ends, strict=True)):
        frozen = groups[: len(groups) - unfreeze.num_trainable(epoch, len(groups))]
        if frozen:
            axes.axvspan(start, end, color="tab:blue", alpha=0.12, linewidth=0)
            label = f"{', '.join(frozen)}\nfrozen"
            axes.annotate(label, ((start + end) / 2, 0.03), xycoords=("data", "axes fraction"), ha="center", fontsize=8)


def lr_curve(finding: LRFinding) -> Figure:
    """Draw the smoothed loss over the rate, and mark the suggestions on it.

    Args:
        finding: The result of `lr_find`.

    Example:
        >>> finding = LRFinding((1e-3, 1e-2), (1.0, 0.5), lowest=1e-3, valley=1e-3, steep=1e-3, minimum=1e-3, slide=1e-3)
        >>> lr_curve(finding).axes[0].get_xscale()
        'log'
    """
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(finding.lrs, finding.losses, color="gray")
    for color, way in enumerate(("lowest", "valley", "steep", "minimum", "slide")):
        rate = getattr(finding, way)
        at = min(range(len(finding.lrs)), key=lambda index, rate=rate: abs(finding.lrs[index] - rate))  # type: ignore[misc]
        axes.plot(finding.lrs[at], finding.losses[at], "o", color=f"C{color}", label=f"{way} {rate:.1e}")
    low, high = min(finding.losses), max(finding.losses[0] * _TALLEST, finding.losses[0])
    axes.set(xscale="log", xlabel="learning rate of the last layer group", ylabel="smoothed training loss")
    if high > low:
        axes.set_ylim(low - 0.05 * (high - low), high)
    axes.legend()
    return figure
