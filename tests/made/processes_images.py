"""What two gloo processes do with images and points in them, and with ratings.

`test_image_processes.py` reads what each process wrote down.
"""

from collections import defaultdict
from pathlib import Path
from typing import Any

import pandas as pd
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from typing_extensions import override

from tabvision.augment import Augmentation
from tabvision.callbacks import ExactResume, FineTune, MixUp, OneCycle
from tabvision.data import FusedDataModule, ImageDataModule
from tabvision.inference import PredictionWriter
from tabvision.modules import CollabModule, FusedModule, VisionModule
from tests.made.images import write_folder
from tests.made.modules import Saver
from tests.made.points import make, spotted
from tests.made.processes_stages import Record, make_trainer
from tests.made.ratings import ratings_data

IMAGES = {"ants": 19, "bees": 18}
EPOCHS, PER_EPOCH = 3, 4
RESUMED_STEPS = (2, 4, 11)  # inside the frozen epoch, at its end, inside the last
RATINGS = {"dense": {"factors": 4}, "rowwise": {"factors": 4, "rowwise": True}}


class RowsSeen(pl.Callback):
    """The row numbers that this process trained on and validated in each epoch, and those it predicted."""

    def __init__(self) -> None:
        self.trained: dict[int, list[int]] = defaultdict(list)
        self.validated: dict[int, list[int]] = defaultdict(list)
        self.predicted: list[int] = []

    @override
    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.trained[trainer.current_epoch] += batch["index"].tolist()

    @override
    def on_validation_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, *args: Any) -> None:
        self.validated[trainer.current_epoch] += batch["index"].tolist()

    @override
    def on_predict_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, *args: Any) -> None:
        self.predicted += batch["index"].tolist()


class ImagesSeen(pl.Callback):
    """The training images of each row that this process saw, by epoch."""

    def __init__(self) -> None:
        self.images: dict[tuple[int, int], Tensor] = {}

    @override
    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        for row, image in zip(batch["index"].tolist(), batch["image"], strict=True):
            self.images[trainer.current_epoch, row] = image.clone()


def darkened(images: Tensor, numbers: Tensor) -> Tensor:
    """An augmentation of a user: each image darker by its own first number."""
    return (images * numbers[:, :1, None, None]).to(torch.uint8)


def vary(folder: Path, **trainer: Any) -> dict[tuple[int, int], Tensor]:
    """The images of two epochs as an augmentation of the user's own leaves them."""
    augment = Augmentation(own=darkened)
    data = ImageDataModule(folder / "images", size=32, batch_size=4, num_workers=1, augment=augment, verbose=False)
    module = VisionModule(data.schema, body="test_resnet", weights=None, head_widths=[8])
    seen = ImagesSeen()
    make_trainer(folder, **trainer, max_epochs=2, limit_val_batches=0, callbacks=[seen]).fit(module, data)
    return seen.images


class Blended(pl.Callback):
    """The batches as `MixUp`, which stands before this in the list, left them."""

    def __init__(self) -> None:
        self.images: list[Tensor] = []

    @override
    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.images.append(batch["image"].clone())


def write_images(folder: Path) -> None:
    """What both processes read."""
    write_folder(folder / "images", IMAGES, size=(36, 40), kind="png")
    spotted(folder / "spots", num=13).to_csv(folder / "spots.csv", index=False)


def make_images(folder: Path) -> tuple[VisionModule, ImageDataModule]:
    """A small body over small files, varied in training."""
    data = ImageDataModule(
        folder / "images", size=32, batch_size=4, num_workers=1, predict=folder / "images", verbose=False
    )
    return VisionModule(data.schema, body="test_resnet", weights=None, head_widths=[8]), data


def make_fused(folder: Path) -> tuple[FusedModule, FusedDataModule]:
    """The same files, two in a row beside a number and a category; some rows lack one or both."""
    files = sorted(str(file) for file in (folder / "images").rglob("*.png"))
    frame = pd.DataFrame({"front": files, "back": files[::-1], "x": range(len(files)), "y": range(len(files))})
    frame["job"] = ["cook", "nurse"] * (len(files) // 2) + ["cook"] * (len(files) % 2)
    frame.loc[::3, "front"], frame.loc[::4, "back"] = None, None
    settings: dict[str, Any] = {"task": "regression", "size": 32, "batch_size": 4, "num_workers": 1, "verbose": False}
    data = FusedDataModule(frame, "y", image=["front", "back"], **settings)
    return FusedModule(data.schema, body="test_resnet", weights=None, members=2, member_widths=[8, 4]), data


MAKERS = {"images": make_images, "fused": make_fused}


def fit(folder: Path, ckpt_path: Path | None, what: str = "images", **settings: Any) -> tuple[Any, Any, dict[str, Any]]:
    """A frozen epoch and two whole ones, from the start or from a checkpoint."""
    pl.seed_everything(1 if ckpt_path is None else 99, verbose=False)
    module, data = MAKERS[what](folder)
    record, rows = Record(), RowsSeen()
    callbacks: list[pl.Callback] = [FineTune(1, base_lr=2e-3), ExactResume(), record, rows]
    if ckpt_path is None:
        callbacks.append(Saver(folder if what == "images" else folder / what))
    trainer = make_trainer(folder, **settings, max_epochs=EPOCHS, num_sanity_val_steps=0, callbacks=callbacks)
    trainer.fit(module, data, ckpt_path=ckpt_path, weights_only=True)
    state = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    seen = {"steps": trainer.global_step, "trained": dict(rows.trained), "validated": dict(rows.validated)}
    return module, data, {"state": state, "epochs": record.states, **seen}


def predict(module: VisionModule, data: ImageDataModule, folder: Path, **settings: Any) -> list[int]:
    """The rows that this process predicted; it writes them to its shard."""
    rows = RowsSeen()
    trainer = make_trainer(folder, **settings, callbacks=[PredictionWriter(folder / "shards"), rows])
    trainer.predict(module, data, return_predictions=False)
    return rows.predicted


def blend(module: VisionModule, folder: Path, **settings: Any) -> list[Tensor]:
    """What `MixUp` makes of batches that are the same in every process."""
    generator = torch.Generator().manual_seed(5)
    images = torch.randn(3, 4, 3, 32, 32, generator=generator)
    batches: Any = [{"image": each, "target": torch.tensor([0, 1, 0, 1]), "index": torch.arange(4)} for each in images]
    loader: Any = DataLoader(batches, batch_size=None)
    blended = Blended()
    make_trainer(folder, **settings, max_epochs=1, callbacks=[MixUp(0.4), blended]).fit(module, loader)
    return blended.images


def rate(folder: Path, settings: dict[str, Any], **trainer: Any) -> list[dict[str, Tensor]]:
    """Factors and biases after each epoch of explicit ratings."""
    pl.seed_everything(1, verbose=False)
    data = ratings_data()
    record = Record()
    module = CollabModule(data.schema, lr=0.05, **settings)
    make_trainer(folder, **trainer, max_epochs=2, callbacks=[OneCycle(), record]).fit(module, data)
    return record.states


def point(folder: Path, **trainer: Any) -> list[dict[str, Tensor]]:
    """Parameters after each epoch of a fit to points; the answers of every row go to shards, the module to a checkpoint."""
    pl.seed_everything(1, verbose=False)
    frame = pd.read_csv(folder / "spots.csv")
    data = make(frame, size=32, predict=frame)
    module = VisionModule(data.schema, body="test_resnet", weights=None, head_widths=[8])
    record = Record()
    whole = make_trainer(folder, **trainer, max_epochs=2, callbacks=[FineTune(1), record])
    whole.fit(module, data)
    whole.save_checkpoint(folder / "points.ckpt")
    writer = PredictionWriter(folder / "point_shards")
    make_trainer(folder, **trainer, callbacks=[writer]).predict(module, data, return_predictions=False)
    return record.states


def own_head(num_features: int, num_outputs: int) -> nn.Module:
    """A head of the user's own, with a norm."""
    return nn.Sequential(
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.BatchNorm1d(num_features), nn.Linear(num_features, num_outputs)
    )


def with_own_head(folder: Path, **trainer: Any) -> list[dict[str, Tensor]]:
    """Parameters after each epoch of a fit with a head of the user's own; the module goes to a checkpoint."""
    pl.seed_everything(1, verbose=False)
    _, data = make_images(folder)
    module = VisionModule(data.schema, body="test_resnet", weights=None, head=own_head)
    record = Record()
    whole = make_trainer(folder, **trainer, max_epochs=2, callbacks=[FineTune(1), record])
    whole.fit(module, data)
    whole.save_checkpoint(folder / "own_head.ckpt")
    return record.states


def main(folder: Path) -> None:
    """Runs every fit and writes down what this process saw."""
    torch.set_num_threads(1)
    both: dict[str, Any] = {"devices": 2, "strategy": "ddp"}
    module, data, whole = fit(folder, None, **both)
    rank = torch.distributed.get_rank()
    seen: dict[str, Any] = {
        "whole": whole,
        "resumed": {step: fit(folder, folder / f"step={step}.ckpt", **both)[2]["state"] for step in RESUMED_STEPS},
        "fused": fit(folder, None, "fused", **both)[2],
        "fused resumed": {
            step: fit(folder, folder / "fused" / f"step={step}.ckpt", "fused", **both)[2]["state"] for step in (3, 6)
        },
        "predicted": predict(module, data, folder, **both),
        "blended": blend(module, folder, **both),
        "varied": vary(folder, **both),
        "points": point(folder, **both),
        "own head": with_own_head(folder, **both),
        "ratings": {name: rate(folder, settings, **both) for name, settings in RATINGS.items()},
    }
    torch.save(seen, folder / f"rank{rank}.pt")
