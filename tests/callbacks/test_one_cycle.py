"""OneCycle under a real Trainer, against torch's OneCycleLR and fastai's recorded rates."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch.optim import SGD, AdamW, Optimizer
from torch.utils.data import DataLoader, IterableDataset
from typing_extensions import override

from tabvision.callbacks import CosineRestarts, DiscriminativeLR, ExactResume, FlatCosine, OneCycle
from tabvision.errors import BadValueError
from tabvision.modules import TabularModule
from tabvision.schedules import cosine_restarts, flat_cosine
from tests.made.modules import (
    STEPS,
    Own,
    Rates,
    Recorder,
    Saver,
    batches,
    different,
    expected_of_torch,
    make_loader,
    make_module,
    sgd,
    three_groups,
)
from tests.made.pairs import tabular_data
from tests.made.trainers import MakeTrainer

EPOCHS = 4

# rates of fit_one_cycle(2, 1e-2) and momenta over the 14 steps of 2 epochs of 7 batches, as its recorder saw them
# Source: fastai 2.8.12, shared/parity/fastai.json, "rec fit_one_cycle(2, 1e-2)"
FASTAI_RATES = [
    0.0004, 0.0022072491016616514, 0.006268100858539586, 0.009524650621643328, 0.009944154652622297,
    0.009504849247544356, 0.008665272698974382, 0.007500024864862766, 0.0061126430221438615, 0.004626403757622209,
    0.0031733628132046996, 0.0018826326880508407, 0.0008688973398991197, 0.0002222339993940385,
]  # fmt: skip
FASTAI_MOMENTA = [
    0.95, 0.9311744885243578, 0.8888739493902126, 0.8549515560245486, 0.8505584590583676, 0.8549515570401268,
    0.863347406484321, 0.8750000013513858, 0.8888739585181465, 0.9037364997887758, 0.9182670545384983,
    0.9311744848643402, 0.9413119397204059, 0.9477786377924375,
]  # fmt: skip


@pytest.mark.parametrize("make", [sgd, lambda params: AdamW(params, lr=0.1)], ids=["sgd", "adamw"])
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({"pct_start": 0.3, "div": 25.0, "div_final": 1e4}, {}),
        (
            {"pct_start": 0.5, "div": 10.0, "div_final": 100.0, "momentum": (0.9, 0.7, 0.9)},
            {
                "pct_start": 0.5,
                "div_factor": 10.0,
                "final_div_factor": 100.0,
                "base_momentum": 0.7,
                "max_momentum": 0.9,
            },
        ),
    ],
    ids=["defaults", "others"],
)
def test_every_step_has_the_rate_and_momentum_of_torchs_one_cycle(
    make: Callable[[Any], Optimizer], ours: dict[str, Any], theirs: dict[str, Any], quick_trainer: MakeTrainer
) -> None:
    recorder = Recorder()
    cycle = OneCycle(convention="torch", **ours)

    quick_trainer(max_epochs=EPOCHS, callbacks=[cycle, recorder]).fit(Own(make), batches())

    expected = expected_of_torch(make, EPOCHS * 7, max_lr=0.1, **theirs)
    assert recorder.first("rates") == pytest.approx(expected.first("rates"), rel=1e-9)
    assert recorder.first("momenta") == pytest.approx(
        [pytest.approx(value, rel=1e-9) for value in _momenta(expected, ours)]
    )


def _momenta(expected: Recorder, ours: dict[str, Any]) -> list[float]:
    """What torch sets; its defaults are our defaults too."""
    assert ours.get("momentum", (0.95, 0.85, 0.95))[0] == expected.first("momenta")[0]
    return expected.first("momenta")


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_our_modules_have_the_rates_of_torchs_one_cycle_too(name: str, quick_trainer: MakeTrainer) -> None:
    data = tabular_data("binary")  # three batches an epoch
    recorder = Recorder()
    cycle = OneCycle(max_lr=0.1, convention="torch", pct_start=0.3, div_final=1e4)

    trainer = quick_trainer(max_epochs=EPOCHS, callbacks=[recorder, cycle])
    trainer.fit(TabularModule(data.schema, widths=[4], optimizer=name), data)

    expected = expected_of_torch(sgd, EPOCHS * 3, max_lr=0.1)
    for rates, rate in zip(recorder.rates, expected.first("rates"), strict=True):
        assert rates == pytest.approx([rate] * len(rates))
    assert recorder.first("momenta") == pytest.approx(expected.first("momenta"))


@pytest.mark.parametrize(
    ("max_lr", "factors"),
    [
        (1e-2, [1.0, 1.0, 1.0]),
        ((None, 1e-2), [0.1, 0.1, 1.0]),
        (":1e-2", [0.1, 0.1, 1.0]),
        ((1e-4, 1e-2), [0.01, 0.1, 1.0]),
        ("1e-4:1e-2", [0.01, 0.1, 1.0]),
        ([3e-3, 2e-3, 1e-2], [0.3, 0.2, 1.0]),
    ],
    ids=str,
)
def test_rates_and_momenta_are_fastais_in_every_group(
    max_lr: Any, factors: list[float], quick_trainer: MakeTrainer
) -> None:
    recorder = Recorder()
    cycle = OneCycle(max_lr=max_lr, groups=lambda module: list(module.layers))

    quick_trainer(max_epochs=2, callbacks=[cycle, recorder]).fit(Own(sgd, num_groups=3), batches(7))

    assert len(recorder.rates) == 14
    for place, factor in enumerate(factors):
        assert [step[place] for step in recorder.rates] == pytest.approx(
            [factor * rate for rate in FASTAI_RATES], rel=1e-5
        )
        assert [step[place] for step in recorder.momenta] == pytest.approx(FASTAI_MOMENTA, rel=1e-5)


def test_without_a_peak_each_group_keeps_its_own(quick_trainer: MakeTrainer) -> None:
    module = Own(lambda groups: SGD([{**group, "lr": 10.0**place} for place, group in enumerate(groups)]), num_groups=2)
    recorder = Recorder()

    quick_trainer(callbacks=[OneCycle(), recorder]).fit(module, batches())

    assert [rates[1] / rates[0] for rates in recorder.rates] == pytest.approx([10.0] * 7)


def test_momentum_is_left_alone_when_asked_and_where_there_is_none(quick_trainer: MakeTrainer) -> None:
    for make, settings, left in ((sgd, {"momentum": None}, 0.9), (lambda params: SGD(params, lr=0.1), {}, 0)):
        recorder = Recorder()

        quick_trainer(callbacks=[OneCycle(**settings), recorder]).fit(Own(make), batches())  # type: ignore[arg-type]

        assert set(recorder.first("momenta")) == {left}


def test_its_settings_can_be_asked_without_a_trainer() -> None:
    cycle = OneCycle(pct_start=0.25)

    assert cycle.at(step=25, total=100).factor == pytest.approx(1.0)
    assert cycle.at(step=25, total=100).momentum == pytest.approx(0.85)
    assert cycle.at(step=1_000, total=100) == cycle.at(step=100, total=100)


# FlatCosine and CosineRestarts: fastai's values at every step, on any optimizer, and resumable.


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
