"""A user's own network for small pictures, the pictures, and a quiet Trainer."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from typing_extensions import override

from tabvision.tasks import Task

ROWS, CLASSES = 24, 3


class Looker(pl.LightningModule):
    """A user's own network for small pictures that writes down its training batches."""

    def __init__(self, task: Task | None = None, *, keys: tuple[Any, Any] = ("image", "target")) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.2))
        self.head = nn.Linear(4, CLASSES)
        self.keys = keys
        self.seen: list[Any] = []
        if task is not None:
            self.task = task

    @override
    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.head(self.body(image).mean(dim=(2, 3)))
        return logits

    @override
    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        image, target = (batch[key] for key in self.keys)
        self.seen.append({**batch} if isinstance(batch, dict) else list(batch))
        return nn.functional.cross_entropy(self(image.float()), target)

    @override
    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=1e-2)


def pictures(**more: Tensor) -> dict[str, Tensor]:
    """Noise in three classes, with what else a batch should hold."""
    generator = torch.Generator().manual_seed(3)
    images = torch.randn(ROWS, 3, 6, 8, generator=generator)
    return {"image": images, "target": torch.arange(ROWS) % CLASSES, **more}


def looker(*args: Any, **settings: Any) -> Looker:
    """A `Looker` that starts from the same weights every time."""
    torch.manual_seed(1)
    return Looker(*args, **settings)


def small_trainer(**settings: Any) -> pl.Trainer:
    """A Trainer on the CPU that prints and writes nothing."""
    return pl.Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False, **settings
    )
