"""What two gloo processes keep as features of a frozen body."""

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, distributed
from typing_extensions import override

from tabvision.callbacks import FineTune, FrozenFeatures
from tabvision.data import ImageDataModule
from tabvision.modules import VisionModule
from tests.made.images import write_folder
from tests.made.processes_stages import make_trainer


class Kept(pl.Callback):
    """The features of each row of training, by view, in the order of the rows."""

    def __init__(self, frozen: FrozenFeatures) -> None:
        self.frozen = frozen
        self.features: dict[str, Tensor] = {}

    @override
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        for (part, view, _), kept in self.frozen._kept.items():
            if part == "train":
                self.features[f"view {view}"] = kept["features"][kept["row"].argsort()]


def write_many(folder: Path) -> Path:
    """Images that make several chunks."""
    return write_folder(folder / "photos", {"ants": 90, "bees": 90}, size=(10, 10))


def features_of(root: Path, folder: Path | None = None, **settings: Any) -> tuple[dict[str, Tensor], VisionModule]:
    """Fit with two frozen epochs; return the features by view, and the module."""
    torch.manual_seed(0)
    data = ImageDataModule(root / "photos", size=32, batch_size=16, verbose=False, num_workers=0)
    module = VisionModule(data.schema, body="test_resnet", weights=None)
    frozen = FrozenFeatures(views=2, folder=folder)
    kept = Kept(frozen)
    make_trainer(root, max_epochs=3, callbacks=[FineTune(2), frozen, kept], **settings).fit(module, data)
    return kept.features, module


def main(folder: Path) -> None:
    """Write down what this process kept."""
    features, module = features_of(folder, folder / "kept", strategy="ddp", devices=2)
    torch.save({"features": features, "state": module.state_dict()}, folder / f"rank{distributed.get_rank()}.pt")
