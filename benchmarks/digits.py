"""scikit-learn's digits, 1,797 images of 8 x 8 pixels, and a small user-defined network for them."""

from __future__ import annotations

from typing import final

import pytorch_lightning as pl
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from typing_extensions import override

TEST_ROWS = 360


@final
class Digits(pl.LightningModule):
    """Two convolutions with BatchNorm and a linear layer, with each optimizer's usual settings."""

    def __init__(self, optimizer: str) -> None:
        super().__init__()
        self.optimizer = optimizer
        self.net = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(128, 10),
        )  # fmt: skip

    @override
    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        return nn.functional.cross_entropy(self.net(batch[0]), batch[1])

    @override
    def configure_optimizers(self) -> torch.optim.Optimizer:
        if self.optimizer == "sgd":
            return torch.optim.SGD(self.parameters(), lr=1e-2, momentum=0.9)
        return torch.optim.AdamW(self.parameters())


def seeded_digits(
    optimizer: str, batch_size: int, seed: int
) -> tuple[Digits, DataLoader[tuple[Tensor, ...]], tuple[Tensor, Tensor]]:
    """Return a new network, a loader for four fifths, and the images and labels of the rest, all determined by a seed."""
    images, labels = load_digits(return_X_y=True)
    x, y = torch.tensor(images, dtype=torch.float32).reshape(-1, 1, 8, 8) / 16, torch.tensor(labels)
    torch.manual_seed(seed)
    order = torch.randperm(len(y))
    train, test = order[TEST_ROWS:], order[:TEST_ROWS]
    return (
        Digits(optimizer),
        DataLoader(TensorDataset(x[train], y[train]), batch_size, shuffle=True),
        (x[test], y[test]),
    )


@torch.no_grad()
def accuracy(module: Digits, images: Tensor, labels: Tensor) -> float:
    """Return the fraction of images that are classified correctly."""
    return float((module.eval().net(images).argmax(1) == labels).float().mean())
