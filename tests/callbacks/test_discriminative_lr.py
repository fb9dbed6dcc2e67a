"""A base rate for each group: spread as stated, shown by name, kept by schedules and by a resumed fit."""

import itertools
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import LearningRateMonitor
from pytorch_lightning.loggers import CSVLogger
from typing_extensions import override

from tabvision.callbacks import DiscriminativeLR, ExactResume, FineTune, OneCycle, Unfreeze
from tabvision.errors import BadValueError
from tests.made.modules import Rates, Saver, UserModule, different, make_loader, make_module, three_groups, three_lists
from tests.made.trainers import MakeTrainer

GROUPS = r"the layer groups, input side first: group_0 \(36 parameters\), group_1 \(42\), group_2 \(7\)"


def test_each_group_trains_at_its_rate(quick_trainer: MakeTrainer, subtests: pytest.Subtests) -> None:
    cases: list[Any] = [
        (1e-3, [1e-3, 1e-3, 1e-3]),
        ((1e-5, 1e-3), [1e-5, 1e-4, 1e-3]),
        ("1e-5:1e-3", [1e-5, 1e-4, 1e-3]),
        ((None, 1e-3), [1e-4, 1e-4, 1e-3]),
        (":1e-3", [1e-4, 1e-4, 1e-3]),
        ([3e-3, 2e-3, 1e-3], [3e-3, 2e-3, 1e-3]),
    ]
    others: list[Any] = [three_groups, three_lists]
    for (lr, expected), groups in itertools.product(cases, others):
        with subtests.test(lr=lr, expected=expected, groups=groups):
            rates = Rates()

            quick_trainer(callbacks=[DiscriminativeLR(lr, groups=groups), rates]).fit(make_module(), make_loader())

            assert all(seen == pytest.approx(expected, rel=1e-12) for seen in rates.lr)


def test_the_body_ratio_divides_the_other_groups_rate(quick_trainer: MakeTrainer) -> None:
    rates = Rates()
    callbacks = [DiscriminativeLR((None, 3e-3), body_ratio=3, groups=three_groups), rates]

    quick_trainer(callbacks=callbacks).fit(make_module(), make_loader())

    assert rates.lr[0] == pytest.approx([1e-3, 1e-3, 3e-3])


def monitored(callbacks: list[pl.Callback], quick_trainer: MakeTrainer, folder: Path) -> dict[str, list[float]]:
    monitor = LearningRateMonitor(logging_interval="step")
    logger = CSVLogger(folder)
    trainer = quick_trainer(max_epochs=2, logger=logger, log_every_n_steps=1, callbacks=[*callbacks, monitor])
    trainer.fit(make_module(), make_loader())
    rates: dict[str, list[float]] = monitor.lrs
    return rates


NAMES = {f"lr-AdamW/group_{place}" for place in range(3)}


def test_learning_rate_monitor_shows_fine_tunes_groups_by_name_in_any_order(
    quick_trainer: MakeTrainer, tmp_path: Path
) -> None:
    logger = CSVLogger(tmp_path / "first")
    first = LearningRateMonitor("step")
    callbacks = [first, FineTune(1, groups=three_groups)]
    quick_trainer(max_epochs=2, logger=logger, log_every_n_steps=1, callbacks=callbacks).fit(
        make_module(), make_loader()
    )

    last = monitored([FineTune(1, groups=three_groups)], quick_trainer, tmp_path)

    assert last.keys() == NAMES
    assert first.lrs == last
    assert last["lr-AdamW/group_2"][0] == pytest.approx(2e-3 / 25)


def test_callbacks_of_different_quantities_compose_in_any_order(quick_trainer: MakeTrainer, tmp_path: Path) -> None:
    seen = []
    for order in permutations(range(3)):
        callbacks = [DiscriminativeLR((1e-4, 1e-2), groups=three_groups), OneCycle(), Unfreeze(1, groups=three_groups)]
        seen.append(monitored([callbacks[place] for place in order], quick_trainer, tmp_path))

    assert seen[0].keys() == NAMES
    assert all(rates == seen[0] for rates in seen)
    assert [seen[0][name][0] for name in sorted(NAMES)] == pytest.approx([1e-4 / 25, 1e-3 / 25, 1e-2 / 25])


def test_a_resumed_fit_keeps_its_rates_and_takes_new_ones(quick_trainer: MakeTrainer, tmp_path: Path) -> None:
    def fit(lr: Any, ckpt_path: Path | None = None) -> tuple[UserModule, Rates]:
        module, rates = make_module(), Rates()
        saver = [] if ckpt_path else [Saver(tmp_path)]
        callbacks = [OneCycle(), DiscriminativeLR(lr, groups=three_groups), ExactResume(), rates, *saver]
        quick_trainer(max_epochs=2, callbacks=callbacks).fit(
            module, make_loader(), ckpt_path=ckpt_path, weights_only=True
        )
        return module, rates

    whole, rates = fit((1e-4, 1e-2))
    same, again = fit((1e-4, 1e-2), tmp_path / "step=3.ckpt")
    _, doubled = fit((2e-4, 2e-2), tmp_path / "step=3.ckpt")

    assert again.lr == rates.lr[3:]
    assert not different(whole.state_dict(), same.state_dict())
    assert sum(doubled.lr, []) == pytest.approx([2 * lr for step in again.lr for lr in step])  # noqa: RUF017 - five lists


def test_a_fit_resumed_from_one_without_it_has_its_rates(quick_trainer: MakeTrainer, tmp_path: Path) -> None:
    quick_trainer(callbacks=[Saver(tmp_path)]).fit(make_module(), make_loader())
    rates = Rates()
    trainer = quick_trainer(callbacks=[DiscriminativeLR(1e-3, groups=lambda module: [module]), rates])

    trainer.fit(make_module(), make_loader(), ckpt_path=tmp_path / "step=2.ckpt", weights_only=True)

    assert rates.lr == [[pytest.approx(1e-3)]] * 2


def test_two_optimizers_have_the_rates_of_their_layers(quick_trainer: MakeTrainer) -> None:
    class Apart(UserModule):
        """Steps an optimizer for the head and one for the rest, by hand."""

        def __init__(self) -> None:
            super().__init__()
            self.automatic_optimization = False

        @override
        def training_step(self, batch: dict[str, torch.Tensor], batch_idx: int) -> torch.Tensor:
            return super().training_step(batch, batch_idx).detach()

        @override
        def configure_optimizers(self) -> Any:
            head = torch.optim.SGD(self.head.parameters(), lr=0.1)
            return [head, torch.optim.SGD([*self.body.parameters(), *self.middle.parameters()], lr=0.1)]

    trainer = quick_trainer(callbacks=[DiscriminativeLR((1e-4, 1e-2), groups=three_groups)])

    trainer.fit(Apart(), make_loader())

    rates = [[group["lr"] for group in optimizer.param_groups] for optimizer in trainer.optimizers]
    assert rates == [[pytest.approx(1e-2)], [pytest.approx(1e-4), pytest.approx(1e-3)]]


def test_a_second_fit_has_the_same_rates(quick_trainer: MakeTrainer) -> None:
    module, rates = make_module(), Rates()
    trainer = quick_trainer(max_epochs=1, callbacks=[DiscriminativeLR((1e-4, 1e-2), groups=three_groups), rates])
    trainer.fit(module, make_loader())
    trainer.fit_loop.max_epochs = 2

    trainer.fit(module, make_loader())

    assert all(lr == pytest.approx([1e-4, 1e-3, 1e-2]) for lr in rates.lr)


@pytest.mark.parametrize(
    "callback", [DiscriminativeLR([1e-3, 1e-2], groups=three_groups), OneCycle([1e-3, 1e-2], groups=three_groups)]
)
def test_another_number_of_rates_than_groups_is_refused(callback: pl.Callback, quick_trainer: MakeTrainer) -> None:
    sentence = f"3 layer groups need 3 rates, got 2; {GROUPS}. Pass one rate for all"
    with pytest.raises(BadValueError, match=sentence):
        quick_trainer(callbacks=[callback]).fit(make_module(), make_loader())


@pytest.mark.parametrize("kind", [DiscriminativeLR, OneCycle])
@pytest.mark.parametrize(("lr", "wrong"), [((1e-3, -1.0), "-1.0"), ((0, 1e-3), "0"), ([1e-3, 0.0, 1e-2], "0.0")])
def test_a_rate_of_zero_or_below_is_refused_with_the_groups_and_their_sizes(
    kind: Any, lr: Any, wrong: str, quick_trainer: MakeTrainer
) -> None:
    callback = kind(lr, groups=three_groups)

    with pytest.raises(
        BadValueError, match=f"{kind.__name__}: a learning rate must be above zero, got {wrong}; {GROUPS}"
    ):
        quick_trainer(callbacks=[callback]).fit(make_module(), make_loader())
