"""One owner for each quantity; a scheduler of the user's own beside ours is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import LearningRateFinder, StochasticWeightAveraging
from typing_extensions import override

from tabvision.callbacks import CosineRestarts, DiscriminativeLR, FineTune, FlatCosine, OneCycle, Unfreeze
from tabvision.errors import BadValueError
from tests.made.modules import UserModule, make_loader, make_module, three_groups
from tests.made.trainers import MakeTrainer

RATES, TIME, LAYERS = "the base rates", "the rate over time", "which layers train"
CLASHES: list[tuple[str, Callable[[], list[pl.Callback]]]] = [
    (LAYERS, lambda: [Unfreeze(1), Unfreeze(2)]),
    (LAYERS, lambda: [FineTune(), Unfreeze(1)]),
    (RATES, lambda: [DiscriminativeLR(1e-3), DiscriminativeLR(1e-2)]),
    (RATES, lambda: [DiscriminativeLR(1e-3), OneCycle(1e-2)]),
    (RATES, lambda: [FlatCosine(1e-3), DiscriminativeLR(1e-2)]),
    (TIME, lambda: [OneCycle(), FlatCosine()]),
    (TIME, lambda: [OneCycle(), CosineRestarts()]),
    (TIME, lambda: [FineTune(), OneCycle()]),
]


@pytest.mark.parametrize(("quantity", "make"), CLASHES)
@pytest.mark.parametrize("turned", [False, True])
def test_two_owners_of_one_quantity_are_refused_in_any_order(
    quantity: str, make: Callable[[], list[pl.Callback]], turned: bool, quick_trainer: MakeTrainer
) -> None:
    one, other = make()[:: -1 if turned else 1]
    names = f"both {type(one).__name__} and {type(other).__name__} set it"

    with pytest.raises(BadValueError, match=f"{quantity} has one owner, and {names}. Leave one out"):
        quick_trainer(max_epochs=2, callbacks=[one, other]).fit(make_module(), make_loader())


class WithScheduler(UserModule):
    """Brings a scheduler of its own."""

    @override
    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.parameters(), lr=1e-2)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1)]


@pytest.mark.parametrize(
    "make",
    [
        OneCycle,
        FlatCosine,
        CosineRestarts,
        lambda: FineTune(groups=three_groups),
        lambda: DiscriminativeLR((1e-4, 1e-2), groups=three_groups),
    ],
)
def test_a_scheduler_of_the_users_own_is_refused(make: Callable[[], pl.Callback], quick_trainer: MakeTrainer) -> None:
    trainer = quick_trainer(max_epochs=2, callbacks=[make()])

    with pytest.raises(BadValueError, match="returns a scheduler of its own, which would fight over the rate"):
        trainer.fit(WithScheduler(), make_loader())


@pytest.mark.parametrize(
    "make",
    [OneCycle, lambda: FineTune(groups=three_groups), lambda: DiscriminativeLR((1e-4, 1e-2), groups=three_groups)],
)
@pytest.mark.parametrize(
    ("rival", "sentence"),
    [
        (
            lambda: StochasticWeightAveraging(swa_lrs=1e-3),
            r"replaces the rates set here .* Average with .*EMAWeightAveraging",
        ),
        (LearningRateFinder, r"gives every param group one rate.* Find it with tabvision.tuning.FindLR\(\)"),
    ],
)
@pytest.mark.parametrize("turned", [False, True])
def test_lightnings_callbacks_that_set_rates_are_refused_in_any_order(
    make: Callable[[], pl.Callback],
    rival: Callable[[], pl.Callback],
    sentence: str,
    turned: bool,
    quick_trainer: MakeTrainer,
) -> None:
    callbacks = [make(), rival()]
    trainer = quick_trainer(max_epochs=3, callbacks=callbacks[:: -1 if turned else 1])

    with pytest.raises(BadValueError, match=sentence):
        trainer.fit(make_module(), make_loader())


def test_unfreezing_alone_lets_a_scheduler_of_the_users_own_be(quick_trainer: MakeTrainer) -> None:
    trainer = quick_trainer(max_epochs=3, callbacks=[Unfreeze(1, groups=three_groups)])

    trainer.fit(WithScheduler(), make_loader())

    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(1e-5)


@pytest.mark.parametrize("turned", [False, True])
def test_owners_of_different_quantities_go_together(turned: bool, quick_trainer: MakeTrainer) -> None:
    callbacks = [Unfreeze(1, groups=three_groups), DiscriminativeLR(1e-3, groups=three_groups), OneCycle()]
    trainer = quick_trainer(max_epochs=2, callbacks=callbacks[:: -1 if turned else 1])

    trainer.fit(make_module(), make_loader())

    assert trainer.state.finished
