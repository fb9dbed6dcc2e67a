"""What the optimizers hold while layers are frozen, and what a fit that ends frozen leaves behind."""

import contextlib
import copy
from types import MethodType
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from typing_extensions import override

from tabvision.callbacks import DiscriminativeLR, FineTune, Unfreeze
from tabvision.errors import BadValueError
from tests.made.modules import Epochs, UserModule, different, make_loader, make_module, marks, three_groups, weights
from tests.made.trainers import MakeTrainer


class Filtered(UserModule):
    """Gives its optimizer what trains when it is made."""

    @override
    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(filter(lambda parameter: parameter.requires_grad, self.parameters()), lr=1e-2)


@pytest.mark.parametrize("make", [Unfreeze, FineTune])
def test_an_optimizer_filtered_by_requires_grad_holds_every_layer(make: Any, quick_trainer: MakeTrainer) -> None:
    module, seen = Filtered(), Epochs()
    module.body.requires_grad_(False)

    for _ in range(2):  # the method is the module's own again after each fit
        quick_trainer(max_epochs=3, callbacks=[make(1, groups=three_groups), seen]).fit(module, make_loader())
        assert "configure_optimizers" not in vars(module)

    assert seen.trains == seen.moved == marks([1, 3, 3, 1, 3, 3])


def test_a_configure_optimizers_that_was_set_on_the_object_stays_there(quick_trainer: MakeTrainer) -> None:
    module, seen = make_module(), Epochs()
    own = MethodType(Filtered.configure_optimizers, module)
    module.configure_optimizers = own  # type: ignore[method-assign]  # as LightningCLI does

    quick_trainer(max_epochs=2, callbacks=[Unfreeze(1, groups=three_groups), seen]).fit(module, make_loader())

    assert seen.moved == marks([1, 3])
    assert vars(module)["configure_optimizers"] is own


def test_a_copy_of_a_module_whose_fit_broke_off_at_its_setup_configures_itself(quick_trainer: MakeTrainer) -> None:
    class Broken(pl.Callback):
        @override
        def setup(self, *args: Any, **kwargs: Any) -> None:
            raise RuntimeError("out of paper")

    module = Filtered()
    with pytest.raises(RuntimeError, match="out of paper"):
        quick_trainer(callbacks=[Unfreeze(1, groups=three_groups), Broken()]).fit(module, make_loader())
    copied = copy.deepcopy(module)

    optimizer = copied.configure_optimizers()

    assert optimizer.param_groups[0]["params"] == list(copied.parameters())


class WithToken(UserModule):
    """Has a parameter beside its parts, as a ViT has `cls_token` and `pos_embed`."""

    def __init__(self) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(6))

    @override
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.middle(self.body(x) + self.cls_token))
        return logits


class ApartFromToken(WithToken):
    """Has an optimizer for the token, and one for the rest."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    @override
    def training_step(self, batch: dict[str, torch.Tensor], batch_idx: int) -> torch.Tensor:
        loss = super().training_step(batch, batch_idx)
        self.manual_backward(loss)
        for optimizer in self.optimizers():  # type: ignore[union-attr]
            optimizer.step()
            optimizer.zero_grad()
        return loss

    @override
    def configure_optimizers(self) -> Any:
        rest = [parameter for name, parameter in self.named_parameters() if name != "cls_token"]
        return [torch.optim.SGD([self.cls_token], lr=0.1), torch.optim.SGD(rest, lr=0.1)]


OWNERS: list[Any] = [Unfreeze, FineTune, lambda *_, groups: DiscriminativeLR(1e-3, groups=groups)]


@pytest.mark.parametrize(
    ("make", "kind"),
    [*((make, WithToken) for make in OWNERS), (Unfreeze, ApartFromToken), (OWNERS[-1], ApartFromToken)],
)
def test_a_parameter_that_the_groups_forget_is_refused(make: Any, kind: Any, quick_trainer: MakeTrainer) -> None:
    trainer = quick_trainer(max_epochs=2, callbacks=[make(1, groups=three_groups)])

    with pytest.raises(BadValueError, match=r"\w+: the optimizer has 1 parameter in no layer group: cls_token"):
        trainer.fit(kind(), make_loader())


@pytest.mark.parametrize("make", OWNERS)
def test_a_layer_that_is_in_no_optimizer_is_refused(make: Any, quick_trainer: MakeTrainer) -> None:
    class HeadAlone(UserModule):
        @override
        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.head.parameters(), lr=0.1)

    trainer = quick_trainer(max_epochs=2, callbacks=[make(1, groups=three_groups)])

    with pytest.raises(
        BadValueError, match=r"\w+: the layer groups have 6 parameters that the optimizer lacks: body\.0"
    ):
        trainer.fit(HeadAlone(), make_loader())


def test_two_optimizers_that_together_hold_every_layer_are_fine(quick_trainer: MakeTrainer) -> None:
    module = ApartFromToken()
    before = weights(module)
    callback = Unfreeze(1, groups=lambda module: [[module.body, module.cls_token], module.middle, module.head])

    quick_trainer(max_epochs=1, callbacks=[callback]).fit(module, make_loader())

    assert different(before, weights(module)) == ["head.weight", "head.bias"]


class StopsEarly(pl.Callback):
    """Ends the fit after its first epoch, as EarlyStopping may."""

    @override
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        trainer.should_stop = True


class Breaks(pl.Callback):
    @override
    def on_train_batch_end(self, *args: Any) -> None:
        raise RuntimeError("out of paper")


@pytest.mark.parametrize("make", [Unfreeze, FineTune])
@pytest.mark.parametrize("ends", [StopsEarly, Breaks])
def test_a_fit_that_ends_frozen_leaves_every_layer_trainable(
    make: Any, ends: type[pl.Callback], quick_trainer: MakeTrainer
) -> None:
    module, seen = make_module(), Epochs()
    trainer = quick_trainer(max_epochs=3, callbacks=[make(2, groups=three_groups), ends()])
    with contextlib.suppress(RuntimeError):
        trainer.fit(module, make_loader())

    assert all(part.training for part in module.modules())
    quick_trainer(callbacks=[seen]).fit(module, make_loader())

    assert seen.moved == marks([3])


@pytest.mark.parametrize(
    ("settings", "more", "said"),
    [
        (
            {"max_epochs": 2},
            [],
            "Unfreeze: max_epochs=2 ends before epoch 2, so the stage that starts there has no effect.",
        ),
        ({"max_epochs": 4, "max_steps": 3}, [], "Unfreeze: the fit ended after 1 epoch, before epoch 2, so the stage"),
        ({"max_epochs": 4}, [StopsEarly()], "Unfreeze: the fit ended after 1 epoch, before epoch 2, so the stage"),
    ],
)
def test_a_stage_that_no_epoch_reaches_is_told(
    settings: dict[str, Any],
    more: list[pl.Callback],
    said: str,
    quick_trainer: MakeTrainer,
    caplog: pytest.LogCaptureFixture,
) -> None:
    quick_trainer(**settings, callbacks=[Unfreeze(2, groups=three_groups), *more]).fit(make_module(), make_loader())

    assert said in caplog.text
    assert caplog.text.count("Unfreeze: ") == 1


@pytest.mark.parametrize(
    ("stages", "settings"), [({0: 1}, {}), (1, {"max_epochs": 2}), (1, {"fast_dev_run": True}), (0, {})]
)
def test_stages_that_are_reached_are_not_mentioned(
    stages: Any, settings: dict[str, Any], quick_trainer: MakeTrainer, caplog: pytest.LogCaptureFixture
) -> None:
    quick_trainer(**settings, callbacks=[Unfreeze(stages, groups=three_groups)]).fit(make_module(), make_loader())

    assert "Unfreeze: " not in caplog.text
