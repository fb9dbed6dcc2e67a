"""FlatCosine and CosineRestarts: fastai's values at every step, on any optimizer, and resumable."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, IterableDataset
from typing_extensions import override

from tabvision.callbacks import CosineRestarts, DiscriminativeLR, ExactResume, FlatCosine, OneCycle
from tabvision.errors import BadValueError
from tabvision.schedules import cosine_restarts, flat_cosine
from tests.made.modules import STEPS, Rates, Saver, different, make_loader, make_module, three_groups
from tests.made.trainers import MakeTrainer

RECORDED = json.loads((Path(__file__).parent / "fastai_recorded.json").read_text())


def test_flat_cosine_equals_fastai_at_every_step() -> None:
    recorded = RECORDED["fits"]["fit_flat_cos(2, 1e-2)"]

    for step, theirs in enumerate(recorded):
        assert 1e-2 * flat_cosine(step, len(recorded)) == pytest.approx(theirs["lr"][0], rel=1e-5)


@pytest.mark.parametrize(("num_cycles", "cycle_mult"), [(1, 2), (3, 2), (3, 1), (2, 3)])
def test_cosine_restarts_follow_fastai_fit_sgdr(num_cycles: int, cycle_mult: int) -> None:
    lengths = [10 * cycle_mult**cycle for cycle in range(num_cycles)]
    expected = [(1 + math.cos(math.pi * step / length)) / 2 for length in lengths for step in range(length)]

    ours = [
        cosine_restarts(step, sum(lengths), num_cycles=num_cycles, cycle_mult=cycle_mult)
        for step in range(sum(lengths))
    ]

    assert ours == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("schedule", [FlatCosine(0.02), CosineRestarts(0.02, num_cycles=2)])
def test_the_rate_follows_the_schedule_and_momentum_stays(
    schedule: FlatCosine | CosineRestarts, quick_trainer: MakeTrainer
) -> None:
    rates, total = Rates(), 3 * STEPS

    quick_trainer(max_epochs=3, callbacks=[rates, schedule]).fit(make_module("sgd"), make_loader())

    factors = {
        "FlatCosine": [flat_cosine(step, total) for step in range(total)],
        "CosineRestarts": [cosine_restarts(step, total, num_cycles=2) for step in range(total)],
    }
    assert [lr for [lr] in rates.lr] == pytest.approx([0.02 * factor for factor in factors[type(schedule).__name__]])
    assert set(sum(rates.momentum, [])) == {0.9}  # noqa: RUF017 - a dozen of lists of one


@pytest.mark.parametrize("make", [FlatCosine, CosineRestarts])
def test_groups_have_peaks_of_their_own(make: Any, quick_trainer: MakeTrainer) -> None:
    rates, composed = Rates(), Rates()
    quick_trainer(callbacks=[make((1e-4, 1e-2), groups=three_groups), rates]).fit(make_module(), make_loader())

    apart = [make(), DiscriminativeLR((1e-4, 1e-2), groups=three_groups), composed]
    quick_trainer(callbacks=apart).fit(make_module(), make_loader())

    assert rates.lr[0] == pytest.approx([1e-4, 1e-3, 1e-2])
    assert composed.lr == rates.lr


@pytest.mark.parametrize("make", [lambda: FlatCosine(0.02), lambda: CosineRestarts(0.02, num_cycles=2)])
def test_a_resumed_fit_goes_on_with_the_same_rates_and_ends_with_the_same_bits(
    make: Callable[[], pl.Callback], quick_trainer: MakeTrainer, tmp_path: Path
) -> None:
    rates, again, module, resumed = Rates(), Rates(), make_module(dropout=0.2), make_module(dropout=0.2)
    quick_trainer(max_epochs=2, callbacks=[make(), ExactResume(), rates, Saver(tmp_path)]).fit(module, make_loader())

    quick_trainer(max_epochs=2, callbacks=[make(), ExactResume(), again]).fit(
        resumed, make_loader(), ckpt_path=tmp_path / "step=3.ckpt", weights_only=True
    )

    assert again.lr == rates.lr[3:]
    assert not different(module.state_dict(), resumed.state_dict())


class Endless(IterableDataset[dict[str, torch.Tensor]]):
    """Batches without a number."""

    @override
    def __iter__(self) -> Any:
        for _ in range(6):
            yield from make_loader()


@pytest.mark.parametrize("make", [FlatCosine, CosineRestarts, OneCycle])
def test_a_loader_without_a_length_needs_max_steps(make: Any, quick_trainer: MakeTrainer) -> None:
    loader = DataLoader(Endless(), batch_size=None)
    trainer = quick_trainer(max_epochs=2, callbacks=[make()])
    with pytest.raises(BadValueError, match="must be known, but the loader has no length"):
        trainer.fit(make_module(), loader)

    rates = Rates()
    quick_trainer(max_epochs=-1, max_steps=10, callbacks=[make(0.01), rates]).fit(make_module(), loader)

    assert len(rates.lr) == 10
    assert rates.lr[-1] < [0.01 / 2]


@pytest.mark.parametrize("make", [FlatCosine, CosineRestarts, OneCycle])
def test_a_fit_without_an_end_is_refused(make: Any, quick_trainer: MakeTrainer) -> None:
    trainer = quick_trainer(max_epochs=-1, callbacks=[make()])

    with pytest.raises(BadValueError, match="must be known, but max_epochs is not set"):
        trainer.fit(make_module(), make_loader())
