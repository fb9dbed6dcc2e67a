"""What a user of Lightning does by habit with a module: subclass it, save its settings, read metrics, call its steps."""

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from typing_extensions import override

from tabvision.batch import Batch
from tabvision.data import TabularDataModule, base
from tabvision.errors import BadTypeError, BadValueError
from tabvision.inference import Predictor
from tabvision.modules import SupervisedModule, TabularModule
from tabvision.schema import SchemaSource
from tests.made.pairs import EACH, Pair, make_frame, tabular_data
from tests.made.tables import small
from tests.made.trainers import MakeTrainer, saved


class Seen(pl.Callback):
    """Notes the metrics that a callback reads at the end of each epoch."""

    def __init__(self) -> None:
        self.train: list[float] = []
        self.val: list[float] = []

    @override
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.train.append(trainer.callback_metrics["train/loss"].item())

    @override
    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.val.append(trainer.callback_metrics["val/loss"].item())


class Ends(Seen):
    """Notes them when all hooks of the epoch have run."""

    @override
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The module's hook comes later."""

    on_validation_epoch_end = on_train_epoch_end

    @override
    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.current_epoch:
            super().on_train_epoch_end(trainer, pl_module)

    @override
    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_validation_epoch_end(trainer, pl_module)

    @override
    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_train_epoch_end(trainer, pl_module)


@pytest.mark.parametrize(
    "settings", [{}, {"limit_val_batches": 2, "limit_train_batches": 3, "num_sanity_val_steps": 1}]
)
def test_callbacks_read_the_metrics_of_the_epoch_that_ends(
    settings: dict[str, Any], quick_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "CPU_EVAL_BATCH_SIZE", 5)
    data = tabular_data("binary", make_frame(90))
    seen, ends = Seen(), Ends()

    quick_trainer(max_epochs=3, callbacks=[seen, ends], **settings).fit(small(data), data)

    assert len(set(seen.train)) == 3
    assert (seen.train, seen.val) == (ends.train, ends.val)


def test_an_epoch_that_ends_early_has_its_loss_too(quick_trainer: MakeTrainer) -> None:
    data = tabular_data("binary", make_frame(90))
    trainer = quick_trainer(max_steps=2, max_epochs=-1)

    trainer.fit(small(data), data)

    assert trainer.callback_metrics["train/loss"].isfinite()


class Saving(TabularModule):  # type: ignore[misc]  # a user's own class of a final one
    """Saves its settings by hand, in one of the ways that Lightning's guide shows."""

    def __init__(
        self, schema: SchemaSource, alpha: float = 0.5, names: str = "a", lr: Any = 1e-3, how: str = "all"
    ) -> None:
        super().__init__(schema, lr=lr, members=2, member_widths=[4])
        self.alpha, self.names = alpha, names
        if how == "all":
            self.save_hyperparameters()
        elif how == "ignore":
            self.save_hyperparameters(ignore=["schema", "lr", "names"])
        elif how == "some":
            self.save_hyperparameters("alpha")


@pytest.mark.parametrize("how", ["all", "ignore", "some"])
def test_a_subclass_may_save_its_settings_by_hand(how: str, tmp_path: Path) -> None:
    module = Saving(tabular_data("binary").schema, alpha=0.25, names="b", lr=(1e-4, 1e-2), how=how)

    loaded = Saving.load_from_checkpoint(saved(module, tmp_path / "mine.ckpt"), weights_only=True)

    assert (loaded.alpha, loaded.hparams["lr"], loaded.hparams["members"]) == (0.25, (1e-4, 1e-2), 2)
    assert loaded.names == ("b" if how == "all" else "a")
    assert "schema" not in module.hparams_initial
    assert module.hparams_initial["lr"] == [1e-4, 1e-2]


class Handing(Saving):  # type: ignore[misc]  # likewise
    """Hands what it does not know to a class that takes less than SupervisedModule."""

    def __init__(self, schema: SchemaSource, *, note: str = "", **settings: Any) -> None:
        super().__init__(schema, **settings)
        self.note = note


def test_a_subclass_that_hands_settings_on_is_opened_again(tmp_path: Path) -> None:
    path = saved(Handing(tabular_data("binary").schema, note="mine", alpha=0.25, lr=0.02), tmp_path / "mine.ckpt")

    predictor = Predictor(path, module_class=Handing, device="cpu")

    loaded: Any
    for loaded in (Handing.load_from_checkpoint(path), predictor.module):
        assert (loaded.note, loaded.alpha, loaded.hparams["lr"]) == ("mine", 0.25, 0.02)


class OwnLoss(TabularModule):  # type: ignore[misc]  # a user's own class of a final one
    """Computes and logs its losses itself, in training alone or in validation as well."""

    validates = False

    @override
    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss: Tensor = self(batch).square().mean()
        self.log("train/own", loss, on_step=False, on_epoch=True, batch_size=len(batch["index"]))
        return loss

    @override
    def validation_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        if not self.validates:
            super().validation_step(batch, batch_idx, dataloader_idx)


@pytest.mark.parametrize("validates", [False, True])
def test_a_loss_that_a_subclass_computes_itself_is_the_only_one_logged(
    validates: bool, quick_trainer: MakeTrainer
) -> None:
    data = tabular_data("binary", make_frame(60))
    module = OwnLoss(data.schema, members=2, member_widths=[4])
    module.validates = validates
    trainer = quick_trainer(num_sanity_val_steps=0)

    trainer.fit(module, data)

    names = {"train/own"} if validates else {"train/own", "val/loss", "val/accuracy", "val/auroc", "val/f1"}
    assert trainer.callback_metrics.keys() == names


class OfParts(SupervisedModule):
    """A network of the user's own, in plain parts."""

    def __init__(self, schema: SchemaSource, backbone: nn.Module, *, weigh: Any = None, wrong: bool = False) -> None:
        super().__init__(schema, lr=0.1)
        self.backbone, self.weigh, self.wrong = backbone, weigh, wrong
        self.head, self.scale = nn.LazyLinear(self.task.num_outputs), nn.Parameter(torch.ones(1))
        self.head(backbone(torch.zeros(1, len(self.schema.continuous))))

    @override
    def forward(self, batch: Batch) -> Tensor:
        logits: Tensor = self.head(self.backbone(batch["continuous"])) * self.scale
        return logits

    @override
    def layer_groups(self) -> Any:
        return [self.backbone, "head" if self.wrong else [self.head, self.scale]]


def backbone_for(data: TabularDataModule) -> nn.Module:
    return nn.Linear(len(data.schema.continuous), 3)


def test_a_network_passed_to_a_subclass_is_the_users_own(quick_trainer: MakeTrainer, tmp_path: Path) -> None:
    data = tabular_data("binary", make_frame(60))
    module = OfParts(data.schema, backbone_for(data), weigh=torch.sigmoid)
    trainer = quick_trainer()
    trainer.fit(module, data)
    trainer.save_checkpoint(path := tmp_path / "own.ckpt")

    with pytest.raises(
        BadValueError, match=r"OfParts: the module was trained with backbone= of your own.* Pass it again: load_fr"
    ):
        OfParts.load_from_checkpoint(path, weigh=torch.sigmoid)
    loaded = OfParts.load_from_checkpoint(path, backbone=backbone_for(data), weigh=torch.sigmoid)
    predictor = Predictor(path, module_class=OfParts, backbone=backbone_for(data), weigh=torch.sigmoid, device="cpu")

    batch: Any = next(iter(data.loader("val")))
    opened: Any = predictor.module
    assert torch.equal(loaded.eval()(batch), module.eval()(batch))
    assert torch.equal(opened.backbone.weight, module.get_parameter("backbone.weight"))
    assert [group["name"] for group in trainer.optimizers[0].param_groups if group["params"]][-1].startswith("group_1")


def test_layer_groups_of_anything_else_are_refused_by_their_number(quick_trainer: MakeTrainer) -> None:
    data = tabular_data("binary", make_frame(60))
    module = OfParts(data.schema, backbone_for(data), wrong=True)

    with pytest.raises(BadTypeError, match=r"OfParts: layer group 1 must be a module or a list of .*, got str"):
        quick_trainer().fit(module, data)


@pytest.mark.parametrize("pair", EACH, ids=str)
def test_steps_can_be_called_without_a_trainer(pair: Pair) -> None:
    data: Any = pair.data()
    module = pair.module(data.schema)
    batch = next(iter(data.train_dataloader()))

    loss = module.training_step(batch, 0)
    torch.autograd.backward(loss)
    module.eval().validation_step(next(iter(data.val_dataloader())), 0)

    assert loss.isfinite()
    assert module._loss[0].totals()[1] > 0
    assert len(module.predict_step(batch, 0)["predictions"]) == len(batch["index"])


def test_fabric_trains_a_module() -> None:
    data = tabular_data("binary", make_frame(60))
    plain = small(data)
    fabric = Fabric(accelerator="cpu", devices=1)
    module, optimizer = fabric.setup(plain, plain.configure_optimizers())

    for number, batch in enumerate(data.train_dataloader()):
        fabric.backward(module.training_step(batch, number))
        optimizer.step()
        optimizer.zero_grad()

    assert plain._loss["train"].totals()[1] == len(data.parts["train"].rows)
