"""One owner for each quantity; a scheduler of the user's own beside ours is refused."""

from collections.abc import Callable
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import (
    BackboneFinetuning,
    BaseFinetuning,
    EMAWeightAveraging,
    LearningRateFinder,
    StochasticWeightAveraging,
)
from torch import nn
from typing_extensions import override

from tabvision.callbacks import (
    AverageAndStop,
    CosineRestarts,
    DiscriminativeLR,
    FineTune,
    FlatCosine,
    OneCycle,
    Unfreeze,
)
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
    names = f"{type(one).__name__} and {type(other).__name__}"

    with pytest.raises(
        BadValueError, match=f"only one callback may set {quantity}, got {names}. Leave one of them out"
    ):
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

    with pytest.raises(BadValueError, match="returns a scheduler, which would set the rate as well"):
        trainer.fit(WithScheduler(), make_loader())


@pytest.mark.parametrize("make", [OneCycle, lambda: FineTune(groups=three_groups)])
def test_who_owns_the_rate_names_unfreeze_as_the_way_to_keep_the_scheduler(
    make: Callable[[], pl.Callback], quick_trainer: MakeTrainer
) -> None:
    callback = make()

    name = type(callback).__name__
    with pytest.raises(
        BadValueError, match=rf"{name}: .* or keep the scheduler and replace this callback with Unfreeze\(\)"
    ):
        quick_trainer(max_epochs=2, callbacks=[callback]).fit(WithScheduler(), make_loader())


class Milestones(BaseFinetuning):
    """A user's own, as in Lightning's example."""

    @override
    def freeze_before_training(self, pl_module: pl.LightningModule) -> None: ...

    @override
    def finetune_function(
        self, pl_module: pl.LightningModule, epoch: int, optimizer: torch.optim.Optimizer
    ) -> None: ...


RATE_OWNERS: dict[str, Callable[[], pl.Callback]] = {
    "OneCycle": OneCycle,
    "FlatCosine": FlatCosine,
    "FineTune": lambda: FineTune(groups=three_groups),
    "DiscriminativeLR": lambda: DiscriminativeLR((1e-4, 1e-2), groups=three_groups),
}
LAYER_OWNERS: dict[str, Callable[[], pl.Callback]] = {
    "FineTune": lambda: FineTune(groups=three_groups),
    "Unfreeze": lambda: Unfreeze(groups=three_groups),
}
WEIGHT_OWNERS: dict[str, Callable[[], pl.Callback]] = {"AverageAndStop": AverageAndStop}
RIVALS: list[tuple[dict[str, Callable[[], pl.Callback]], Callable[[], pl.Callback], str]] = [
    (
        RATE_OWNERS,
        lambda: StochasticWeightAveraging(swa_lrs=1e-3),
        "StochasticWeightAveraging replaces the rates set here .* Average with .*EMAWeightAveraging.*",
    ),
    (
        RATE_OWNERS,
        LearningRateFinder,
        r"LearningRateFinder gives every param group one rate.* Find it with tabvision.tuning.FindLR\(\)",
    ),
    (
        RATE_OWNERS | LAYER_OWNERS,
        BackboneFinetuning,
        r"BackboneFinetuning adds the backbone to the optimizer during the fit.* unfreeze layers with Unfreeze\(\)",
    ),
    (
        WEIGHT_OWNERS,
        lambda: StochasticWeightAveraging(swa_lrs=1e-3),
        "StochasticWeightAveraging averages the weights too, and keeps its own average. Leave it out",
    ),
    (WEIGHT_OWNERS, EMAWeightAveraging, "EMAWeightAveraging averages the weights too.* Leave it out"),
    (LAYER_OWNERS, Milestones, r"Milestones freezes and unfreezes layers too.* unfreeze layers with Unfreeze\(\)"),
]


@pytest.mark.parametrize(
    ("name", "make", "rival", "sentence"),
    [(name, make, rival, sentence) for owners, rival, sentence in RIVALS for name, make in owners.items()],
)
def test_lightnings_callbacks_that_set_what_is_owned_are_refused_in_any_order(
    name: str,
    make: Callable[[], pl.Callback],
    rival: Callable[[], pl.Callback],
    sentence: str,
    quick_trainer: MakeTrainer,
) -> None:
    for turned in (False, True):
        callbacks = [make(), rival()][:: -1 if turned else 1]
        with pytest.raises(BadValueError, match=f"{name}: {sentence}, or leave {name} out"):
            quick_trainer(max_epochs=3, callbacks=callbacks).fit(WithBackbone(), make_loader())


class WithBackbone(UserModule):
    """Has the attribute that Lightning's callback looks for."""

    @property
    def backbone(self) -> nn.Module:
        return self.body


class AddsGroup(pl.Callback):
    """Adds the body to the optimizer when the second epoch starts."""

    def __init__(self, **options: float) -> None:
        self.options = options

    @override
    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, UserModule)
        if trainer.current_epoch == 1:
            trainer.optimizers[0].add_param_group({"params": list(pl_module.body.parameters()), **self.options})


class HeadFirst(UserModule):
    """Its optimizer starts with the head alone."""

    @override
    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.head.parameters(), lr=1e-2)


@pytest.mark.parametrize("make", [OneCycle, FlatCosine, CosineRestarts, lambda: OneCycle(0.1)])
def test_a_group_added_in_mid_fit_without_a_base_rate_is_refused(
    make: Callable[[], pl.Callback], quick_trainer: MakeTrainer
) -> None:
    trainer = quick_trainer(max_epochs=3, callbacks=[AddsGroup(lr=1e-3), make()])

    with pytest.raises(BadValueError, match=r"\w+: param group 1 was added during the fit, and has no base rate"):
        trainer.fit(HeadFirst(), make_loader())


def test_a_group_added_in_mid_fit_with_a_base_rate_is_scheduled(quick_trainer: MakeTrainer) -> None:
    trainer = quick_trainer(max_epochs=3, callbacks=[AddsGroup(lr=0.0, initial_lr=1e-3), FlatCosine()])

    trainer.fit(HeadFirst(), make_loader())

    first, added = trainer.optimizers[0].param_groups
    assert added["lr"] == pytest.approx(first["lr"] / 10)


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
