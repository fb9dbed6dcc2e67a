"""Figures show the numbers that they are given."""

import pytest

from tabvision.callbacks import FineTune, OneCycle, Unfreeze
from tabvision.callbacks.schedule import RunLength
from tabvision.errors import BadValueError
from tabvision.plots import lr_curve, schedule
from tabvision.tuning import LRFinding


def test_a_schedule_draws_the_rate_of_every_group_at_every_step() -> None:
    callback = FineTune(freeze_epochs=1)

    figure = schedule(callback, num_epochs=3, batches_per_epoch=10, groups=("early", "late", "head"))

    lines = figure.axes[0].get_lines()
    length = RunLength(30, (10, 20, 30))
    expected = [callback.peaks(3)[2] * callback.setting(step, length, 2, 3).factor for step in range(30)]
    assert [line.get_label() for line in lines] == ["early", "late", "head"]
    assert list(lines[2].get_ydata()) == pytest.approx(expected)  # type: ignore[arg-type]


def test_frozen_epochs_are_shaded_and_named() -> None:
    figure = schedule(
        OneCycle(1e-2), num_epochs=3, batches_per_epoch=10, groups=("body", "head"), unfreeze=Unfreeze({0: 1, 2: "all"})
    )

    axes = figure.axes[0]
    assert len(axes.patches) == 2
    assert [text.get_text() for text in axes.texts] == ["body\nfrozen"] * 2


def test_a_schedule_of_nothing_is_refused() -> None:
    with pytest.raises(BadValueError, match="there must be an epoch, a batch and a group"):
        schedule(OneCycle(), num_epochs=0, batches_per_epoch=10)


def test_a_sweep_draws_its_curve_and_marks_the_suggestions_on_it() -> None:
    lrs, losses = (1e-4, 1e-3, 1e-2, 1e-1), (1.0, 0.8, 0.5, 4.0)

    axes = lr_curve(LRFinding(lrs, losses, lowest=1e-2, valley=1e-3, steep=1e-2, minimum=1e-3, slide=1e-2)).axes[0]

    curve, lowest, valley, *_ = axes.get_lines()
    assert list(curve.get_ydata()) == list(losses)  # type: ignore[arg-type]
    assert (lowest.get_xdata()[0], lowest.get_ydata()[0]) == (1e-2, 0.5)  # type: ignore[index]
    assert (valley.get_xdata()[0], valley.get_ydata()[0]) == (1e-3, 0.8)  # type: ignore[index]
    assert axes.get_ylim()[1] < 4.0  # the divergence at the end does not hide the rest
