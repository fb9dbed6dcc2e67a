"""fastai's `fine_tune` at every step, and every other fit that fastai recorded."""

import json
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

from tabvision.callbacks import DiscriminativeLR, ExactResume, FineTune, FlatCosine, OneCycle, Unfreeze
from tabvision.errors import BadValueError
from tabvision.schedules import even_multiples
from tests.made.modules import STEPS, Epochs, Rates, Saver, UserModule, make_loader, make_module, marks, three_groups
from tests.made.trainers import MakeTrainer

RECORDED = json.loads((Path(__file__).parent / "fastai_recorded.json").read_text())
FITS: dict[str, tuple[int, list[pl.Callback]]] = {
    "fit_one_cycle(2, 1e-2)": (2, [OneCycle(1e-2)]),
    "fit_one_cycle(2, slice(1e-2))": (2, [OneCycle((None, 1e-2), groups=three_groups)]),
    "fit_one_cycle(2, slice(1e-4,1e-2))": (2, [OneCycle("1e-4:1e-2", groups=three_groups)]),
    "fine_tune(2)": (3, [FineTune(batch_norm="train", groups=three_groups)]),
    "fit_flat_cos(2, 1e-2)": (2, [FlatCosine(1e-2)]),
}
COMPOSED: dict[str, list[pl.Callback]] = {
    "fit_one_cycle(2, slice(1e-2))": [DiscriminativeLR((None, 1e-2), groups=three_groups), OneCycle()],
    "fit_one_cycle(2, slice(1e-4,1e-2))": [OneCycle(), DiscriminativeLR((1e-4, 1e-2), groups=three_groups)],
    "fit_flat_cos(2, 1e-2)": [DiscriminativeLR(1e-2, groups=three_groups), FlatCosine()],
}


class AsRecorded(UserModule):
    """With the optimizer's momentum that fastai's Adam has where no schedule sets it."""

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=3e-3, betas=(0.9, 0.99))


def assert_equals_recorded(name: str, epochs: int, callbacks: list[pl.Callback], quick_trainer: MakeTrainer) -> None:
    recorded, rates = RECORDED["fits"][name], Rates()
    loader = make_loader(8 * 7)  # fastai's recorded epochs have seven batches

    quick_trainer(max_epochs=epochs, callbacks=[*callbacks, rates]).fit(AsRecorded(), loader)

    assert rates.trains == [step["trains"] for step in recorded]
    for ours, momenta, step in zip(rates.lr, rates.momentum, recorded, strict=True):
        assert ours * (3 // len(ours)) == pytest.approx(step["lr"], rel=1e-5)
        assert momenta == pytest.approx([step["momentum"]] * len(momenta), rel=1e-5)


@pytest.mark.parametrize("name", FITS)
def test_rates_momenta_and_what_trains_equal_fastai_at_every_step(name: str, quick_trainer: MakeTrainer) -> None:
    assert_equals_recorded(name, *FITS[name], quick_trainer)


@pytest.mark.parametrize("name", COMPOSED)
def test_a_schedule_and_discriminative_rates_together_equal_fastai(name: str, quick_trainer: MakeTrainer) -> None:
    assert_equals_recorded(name, 2, COMPOSED[name], quick_trainer)


def test_even_multiples_equal_fastai_even_mults() -> None:
    for number, theirs in enumerate(RECORDED["even_mults"], start=1):
        expected = theirs if isinstance(theirs, list) else [theirs]
        assert even_multiples(1e-6, 1e-2, number) == pytest.approx(expected, rel=1e-12)


def test_frozen_groups_do_not_move_and_all_do_after(quick_trainer: MakeTrainer) -> None:
    seen, rates = Epochs(), Rates()
    trainer = quick_trainer(max_epochs=4, callbacks=[FineTune(2, groups=three_groups), seen, rates])

    trainer.fit(make_module("sgd"), make_loader())

    assert seen.trains == seen.moved == seen.grads == marks([1, 1, 3, 3])
    assert [buffers["body.1.num_batches_tracked"] for buffers in seen.buffers] == [0, 0, STEPS, 2 * STEPS]
    heads = [lr[-1] for lr in rates.lr]
    assert heads[: 2 * STEPS] == sorted(heads[: 2 * STEPS])  # the frozen cycle only rises
    assert heads[2 * STEPS] == pytest.approx(1e-3 / 5)


def test_the_frozen_cycle_comes_down_again_if_it_is_to(quick_trainer: MakeTrainer) -> None:
    rates = Rates()
    staging = FineTune(3, base_lr=1e-2, frozen_pct_start=0.3, groups=three_groups)

    quick_trainer(max_epochs=4, callbacks=[staging, rates]).fit(make_module(), make_loader())

    head = [rate[-1] for rate in rates.lr[: 3 * STEPS]]
    top = head.index(max(head))
    assert 3 <= top <= 4
    assert head[top] == pytest.approx(1e-2, rel=0.05)
    assert head[: top + 1] == sorted(head[: top + 1])
    assert head[top:] == sorted(head[top:], reverse=True)
    assert head[-1] < 1e-3


def test_nothing_frozen_is_one_cycle_over_all(quick_trainer: MakeTrainer) -> None:
    rates = Rates()

    quick_trainer(max_epochs=2, callbacks=[FineTune(0, base_lr=0.02, groups=three_groups), rates]).fit(
        make_module(), make_loader()
    )

    assert rates.trains == marks([3]) * 2 * STEPS
    assert rates.lr[0] == pytest.approx([1e-4 / 5, 1e-3 / 5, 1e-2 / 5])


def test_the_second_fit_of_a_trainer_stays_thawed_with_a_cycle_of_its_own(quick_trainer: MakeTrainer) -> None:
    rates = Rates()
    module, trainer = make_module(), quick_trainer(max_epochs=2, callbacks=[FineTune(1, groups=three_groups), rates])
    trainer.fit(module, make_loader())
    trainer.fit_loop.max_epochs = 4

    trainer.fit(module, make_loader())

    assert rates.trains == marks([1]) * STEPS + marks([3]) * 3 * STEPS
    heads = [lr[-1] for lr in rates.lr[2 * STEPS :]]
    assert heads[0] == pytest.approx(1e-3 / 5)  # the thawed cycle's start, not the frozen one's
    assert max(heads) == pytest.approx(1e-3, rel=0.05)
    assert heads[-1] < 1e-4


def test_a_fit_resumed_within_a_second_fit_goes_on_with_its_cycle(quick_trainer: MakeTrainer, tmp_path: Path) -> None:
    def trainer_of(rates: Rates, *, max_epochs: int) -> pl.Trainer:
        callbacks = [FineTune(1, groups=three_groups), ExactResume(), rates, Saver(tmp_path)]
        return quick_trainer(max_epochs=max_epochs, callbacks=callbacks)

    rates, again = Rates(), Rates()
    module, trainer = make_module(), trainer_of(rates, max_epochs=2)
    trainer.fit(module, make_loader())
    trainer.fit_loop.max_epochs = 4
    trainer.fit(module, make_loader())
    resumed = trainer_of(again, max_epochs=4)

    resumed.fit(make_module(), make_loader(), ckpt_path=tmp_path / f"step={3 * STEPS}.ckpt", weights_only=True)

    assert again.lr == rates.lr[3 * STEPS :]


def test_a_fit_resumed_with_more_epochs_goes_on_to_the_end_and_says_so(
    quick_trainer: MakeTrainer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trainer = quick_trainer(max_epochs=2, callbacks=[FineTune(1, groups=three_groups), ExactResume()])
    trainer.fit(make_module(), make_loader())
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    rates = Rates()
    longer = quick_trainer(max_epochs=4, callbacks=[FineTune(1, groups=three_groups), ExactResume(), rates])

    with caplog.at_level("INFO"):
        longer.fit(make_module(), make_loader(), ckpt_path=tmp_path / "last.ckpt", weights_only=True)

    assert longer.global_step == 4 * STEPS
    assert f"the fit was {2 * STEPS} steps when saved, {4 * STEPS} now; the schedule is stretched" in caplog.text
    assert rates.lr[-1][-1] < 1e-4


@pytest.mark.parametrize("settings", [{"max_steps": 6}, {"accumulate_grad_batches": 2}, {"precision": "bf16-mixed"}])
def test_settings_of_the_trainer_keep_both_cycles(settings: dict[str, Any], quick_trainer: MakeTrainer) -> None:
    rates, seen = Rates(), Epochs()
    callbacks = [FineTune(1, groups=three_groups), rates, seen]

    quick_trainer(max_epochs=3, **settings, callbacks=callbacks).fit(make_module(), make_loader())

    assert set(seen.trains) == set(marks([1, 3]))
    assert rates.lr[0][-1] == pytest.approx(2e-3 / 25)
    assert rates.lr[STEPS][-1] == pytest.approx(1e-3 / 5)


def test_fast_dev_run_works_with_more_frozen_epochs_than_it_has(quick_trainer: MakeTrainer) -> None:
    trainer = quick_trainer(fast_dev_run=True, callbacks=[FineTune(3, groups=three_groups)])

    trainer.fit(make_module(), make_loader())

    assert trainer.global_step == 1


@pytest.mark.parametrize("freeze_epochs", [2, 5])
def test_a_fit_no_longer_than_the_frozen_epochs_is_refused(freeze_epochs: int, quick_trainer: MakeTrainer) -> None:
    trainer = quick_trainer(max_epochs=2, callbacks=[FineTune(freeze_epochs, groups=three_groups)])

    with pytest.raises(BadValueError, match=f"max_epochs must be more than the {freeze_epochs} frozen epochs, got 2"):
        trainer.fit(make_module(), make_loader())


def test_max_steps_within_the_frozen_epochs_is_refused(quick_trainer: MakeTrainer) -> None:
    trainer = quick_trainer(max_epochs=3, max_steps=STEPS, callbacks=[FineTune(1, groups=three_groups)])

    with pytest.raises(BadValueError, match=f"FineTune: max_steps={STEPS} ends the fit before its frozen epochs do"):
        trainer.fit(make_module(), make_loader())


def test_a_length_in_steps_alone_is_refused(quick_trainer: MakeTrainer) -> None:
    trainer = quick_trainer(max_epochs=-1, max_steps=4, callbacks=[FineTune(groups=three_groups)])

    with pytest.raises(BadValueError, match="the length of the fit must be given in epochs, but max_epochs is not set"):
        trainer.fit(make_module(), make_loader())


@pytest.mark.parametrize(
    "other", [Unfreeze(1), OneCycle(), DiscriminativeLR(1e-3)], ids=lambda part: type(part).__name__
)
def test_what_fine_tune_is_composed_of_is_refused_beside_it(other: pl.Callback, quick_trainer: MakeTrainer) -> None:
    for callbacks in ([FineTune(groups=three_groups), other], [other, FineTune(groups=three_groups)]):
        with pytest.raises(BadValueError, match=r"only one callback may set .*, got"):
            quick_trainer(max_epochs=2, callbacks=callbacks).fit(make_module(), make_loader())
