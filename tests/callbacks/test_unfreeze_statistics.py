"""Which BatchNorms keep the statistics they came with, in a fit and in one that goes on."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import nn
from typing_extensions import override

from tabvision.callbacks import FineTune, Unfreeze
from tests.made.modules import STEPS, UserModule, make_loader, make_module, three_groups, three_lists
from tests.made.trainers import MakeTrainer

STAGED: dict[str, Callable[[], pl.Callback]] = {
    "Unfreeze": lambda: Unfreeze(1, groups=three_groups),
    "FineTune": lambda: FineTune(1, groups=three_groups),
}
staged = pytest.mark.parametrize("staged", STAGED.values(), ids=STAGED)


def pretrained(**settings: Any) -> UserModule:
    """A module whose BatchNorm has seen other data."""
    module = make_module(**settings)
    module.train()
    with torch.no_grad():
        module(torch.randn(64, 3, generator=torch.Generator().manual_seed(1)) + 2)
    return module


def norm_of(module: UserModule) -> nn.BatchNorm1d:
    (norm,) = (part for part in module.modules() if isinstance(part, nn.BatchNorm1d))
    return norm


def statistics(module: UserModule) -> list[torch.Tensor]:
    return [buffer.clone() for buffer in module.buffers()]


def batches_followed(module: UserModule) -> int:
    """Batches that the statistics have followed."""
    count = norm_of(module).num_batches_tracked
    assert count is not None
    return int(count)


def same(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return all(torch.equal(first, second) for first, second in zip(one, other, strict=True))


@staged
def test_pretrained_statistics_stay_after_the_thaw_while_weights_learn(
    staged: Callable[[], pl.Callback], quick_trainer: MakeTrainer
) -> None:
    module = pretrained()
    before, weight = statistics(module), norm_of(module).weight.clone()

    quick_trainer(max_epochs=3, callbacks=[staged()]).fit(module, make_loader())

    assert same(before, statistics(module))
    assert not torch.equal(weight, norm_of(module).weight)
    assert norm_of(module).training


@staged
def test_a_fresh_norm_has_nothing_to_keep_and_follows_from_the_thaw_on(
    staged: Callable[[], pl.Callback], quick_trainer: MakeTrainer
) -> None:
    module = make_module()

    quick_trainer(max_epochs=3, callbacks=[staged()]).fit(module, make_loader())

    assert batches_followed(module) == 2 * STEPS


def test_policy_eval_lets_pretrained_statistics_follow_from_the_thaw_on(quick_trainer: MakeTrainer) -> None:
    module = pretrained()

    quick_trainer(max_epochs=3, callbacks=[Unfreeze(1, batch_norm="eval", groups=three_groups)]).fit(
        module, make_loader()
    )

    assert batches_followed(module) == 1 + 2 * STEPS


@pytest.mark.parametrize(
    "callback",
    [Unfreeze(0, groups=three_groups), Unfreeze({0: 2}, groups=three_groups), FineTune(0, groups=three_groups)],
)
def test_layers_that_train_from_the_first_epoch_on_keep_theirs_too(
    callback: pl.Callback, quick_trainer: MakeTrainer
) -> None:
    module = pretrained()
    before, weight = statistics(module), norm_of(module).weight.clone()

    quick_trainer(max_epochs=2, callbacks=[callback]).fit(module, make_loader())

    assert same(before, statistics(module))
    assert isinstance(callback, Unfreeze) or not torch.equal(weight, norm_of(module).weight)


def with_norm_in_head(module: UserModule) -> list[Any]:
    """The BatchNorm in the last of two layer groups."""
    return [module.body[0], [module.body[1], module.middle, module.head]]


def test_a_norm_of_the_last_group_follows_even_with_statistics(quick_trainer: MakeTrainer) -> None:
    module = pretrained()

    quick_trainer(max_epochs=2, callbacks=[Unfreeze(1, groups=with_norm_in_head)]).fit(module, make_loader())

    assert batches_followed(module) == 1 + 2 * STEPS


def test_a_norm_that_was_fresh_before_the_first_fit_follows_in_the_second_as_well(quick_trainer: MakeTrainer) -> None:
    module = make_module()

    for _ in range(2):
        quick_trainer(max_epochs=2, callbacks=[FineTune(0, groups=three_groups)]).fit(module, make_loader())

    assert batches_followed(module) == 4 * STEPS


class Modes(pl.Callback):
    """Which parts are in training mode, in each batch."""

    def __init__(self) -> None:
        self.names: list[set[str]] = []

    @override
    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any) -> None:
        self.names.append({name for name, part in pl_module.named_modules() if part.training})


@pytest.mark.filterwarnings("ignore:Found 1 module.s. in eval mode")
@pytest.mark.parametrize("groups", [three_groups, three_lists])
def test_a_frozen_part_is_in_evaluation_with_its_dropout_until_it_thaws(
    groups: Any, quick_trainer: MakeTrainer
) -> None:
    module, seen = pretrained(dropout=0.5), Modes()
    module.body[2].eval()  # as its user has it

    quick_trainer(max_epochs=3, callbacks=[Unfreeze({0: 1, 1: 2, 2: "all"}, groups=groups), seen]).fit(
        module, make_loader()
    )

    middle = {"middle", "middle.0", "middle.1", "middle.2"}
    assert seen.names[0] == {"", "head"}
    assert seen.names[STEPS] == {"", "head"} | middle
    assert seen.names[2 * STEPS] == {"", "head", "body", "body.0"} | middle
    assert {name for name, part in module.named_modules() if not part.training} == {"body.2"}


@pytest.mark.filterwarnings("ignore:Checkpoint directory")  # the second fit goes on writing where the first did
@staged
@pytest.mark.parametrize("make", [make_module, pretrained])
def test_a_resumed_fit_goes_on_as_the_first_began(
    make: Callable[[], UserModule], staged: Callable[[], pl.Callback], quick_trainer: MakeTrainer, tmp_path: Path
) -> None:
    whole = make()
    saver = ModelCheckpoint(tmp_path, filename="{epoch}", save_top_k=-1)
    quick_trainer(max_epochs=4, enable_checkpointing=True, callbacks=[staged(), saver]).fit(whole, make_loader())

    resumed = make()
    again = ModelCheckpoint(tmp_path, filename="{epoch}", save_top_k=-1)
    quick_trainer(max_epochs=4, enable_checkpointing=True, callbacks=[staged(), again]).fit(
        resumed, make_loader(), ckpt_path=tmp_path / "epoch=1.ckpt", weights_only=True
    )

    assert same(statistics(whole), statistics(resumed))
    assert same(list(whole.parameters()), list(resumed.parameters()))


def test_a_sweep_within_the_fit_keeps_what_the_fit_keeps(quick_trainer: MakeTrainer) -> None:
    callback = Unfreeze(1, groups=three_groups)
    quick_trainer(max_epochs=2, callbacks=[callback]).fit(pretrained(), make_loader())

    (sweep,) = callback.for_sweep(1)
    module = pretrained()
    before = statistics(module)
    quick_trainer(callbacks=[sweep]).fit(module, make_loader())

    assert same(before, statistics(module))
