"""Lightning's own example of transfer learning, with `Unfreeze` in place of its callback.

After `examples/pytorch/domain_templates/computer_vision_fine_tuning.py`: its module filters what its optimizer holds by
`requires_grad` and brings a MultiStepLR. The network and the data are small ones of our own.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor, nn
from torch.optim import Adam
from torch.optim.lr_scheduler import MultiStepLR
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset
from torchmetrics.classification import BinaryAccuracy
from typing_extensions import override

from tabvision.callbacks import Unfreeze
from tests.made.trainers import quiet_trainer

EPOCHS, BATCHES, IMAGES = 3, 4, 32


class TransferLearningModel(pl.LightningModule):
    """A user's module as the example has it."""

    def __init__(self, milestones: Sequence[int] = (1, 2), lr: float = 1e-2, lr_scheduler_gamma: float = 1e-1) -> None:
        super().__init__()
        self.milestones = milestones
        self.lr = lr
        self.lr_scheduler_gamma = lr_scheduler_gamma
        self.__build_model()
        self.train_acc = BinaryAccuracy()
        self.valid_acc = BinaryAccuracy()
        self.save_hyperparameters()

    def __build_model(self) -> None:
        torch.manual_seed(1)
        self.feature_extractor = nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 6, 3), nn.AdaptiveAvgPool2d(1)
        )
        self.feature_extractor(torch.rand(16, 3, 8, 8))  # its BatchNorm comes with statistics, as a pretrained one
        self.fc = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 1))

    @override
    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.feature_extractor(x).squeeze(-1).squeeze(-1))
        return logits

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return nn.functional.binary_cross_entropy_with_logits(input=logits, target=labels)

    @override
    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        x, y = batch
        y_logits = self.forward(x)
        y_true = y.view((-1, 1)).type_as(x)
        self.log("train_acc", self.train_acc(torch.sigmoid(y_logits), y_true.int()), prog_bar=True)
        return self.loss(y_logits, y_true)

    @override
    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        x, y = batch
        y_logits = self.forward(x)
        y_true = y.view((-1, 1)).type_as(x)
        self.log("val_loss", self.loss(y_logits, y_true), prog_bar=True, sync_dist=True)
        self.log("val_acc", self.valid_acc(torch.sigmoid(y_logits), y_true.int()), prog_bar=True)

    @override
    def configure_optimizers(self) -> Any:
        parameters = list(self.parameters())
        trainable_parameters = list(filter(lambda p: p.requires_grad, parameters))
        optimizer = Adam(trainable_parameters, lr=self.lr)
        scheduler = MultiStepLR(optimizer, milestones=self.milestones, gamma=self.lr_scheduler_gamma)
        return [optimizer], [scheduler]


def parts(module: TransferLearningModel) -> list[nn.Module]:
    """What the example's callback thaws at its two milestones, and the head."""
    return [module.feature_extractor[:-2], module.feature_extractor[-2:], module.fc]


class ImageData(pl.LightningDataModule):
    """Light and dark images in a fixed order: eight in a step, however many processes share them."""

    @override
    def train_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        return self._loader()

    @override
    def val_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        return self._loader()

    def _loader(self) -> DataLoader[tuple[Tensor, ...]]:
        images = torch.rand(IMAGES, 3, 8, 8, generator=torch.Generator().manual_seed(2))
        labels = torch.arange(IMAGES) % 2
        rows = TensorDataset(images * (0.5 + 0.5 * labels.reshape(-1, 1, 1, 1)), labels)
        assert self.trainer is not None
        rank, world_size = self.trainer.global_rank, self.trainer.world_size
        order: DistributedSampler[tuple[Tensor, ...]] = DistributedSampler(rows, world_size, rank, shuffle=False)
        return DataLoader(rows, batch_size=IMAGES // BATCHES // world_size, sampler=order)


class Watch(pl.Callback):
    """For each epoch: the rate, the parameters that train, and those that moved."""

    def __init__(self) -> None:
        self.rates: list[list[float]] = []
        self.trains: list[list[str]] = []
        self.moved: list[list[str]] = []
        self._before: dict[str, Tensor] = {}

    @override
    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.rates.append([group["lr"] for group in trainer.optimizers[0].param_groups])
        self._before = {name: weight.detach().clone() for name, weight in pl_module.named_parameters()}

    @override
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        named = dict(pl_module.named_parameters())
        self.trains.append([name for name, weight in named.items() if weight.requires_grad])
        self.moved.append([name for name, weight in named.items() if not torch.equal(weight, self._before[name])])


def fit(folder: Path, ckpt_path: Path | None = None, **settings: Any) -> dict[str, Any]:
    """A fit of three stages, whole or resumed: what it saw, and the state that it ended with."""
    watch, module = Watch(), TransferLearningModel()
    saver = ModelCheckpoint(folder, "{epoch}", save_top_k=-1, save_on_train_epoch_end=True)
    trainer = quiet_trainer(
        max_epochs=EPOCHS,
        default_root_dir=folder,
        use_distributed_sampler=False,
        enable_checkpointing=ckpt_path is None,
        callbacks=[Unfreeze({0: 1, 1: 2, 2: "all"}, groups=parts), watch, *([saver] if ckpt_path is None else [])],
        **settings,
    )
    trainer.fit(module, ImageData(), ckpt_path=ckpt_path, weights_only=True)
    state = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    return {"rates": watch.rates, "trains": watch.trains, "moved": watch.moved, "state": state}


def main(folder: Path) -> None:
    """On two processes: a whole fit, and one resumed from the end of each epoch."""
    torch.set_num_threads(1)
    settings: dict[str, Any] = {"devices": 2, "strategy": "ddp"}
    seen = {"whole": fit(folder, **settings)}
    for epoch in range(EPOCHS - 1):
        seen[f"resumed {epoch}"] = fit(folder, folder / f"epoch={epoch}.ckpt", **settings)
    torch.save(seen, folder / f"rank{torch.distributed.get_rank()}.pt")
