"""Three epochs at the rate that the finder suggests: a small network reads digits, over five seeds.

    python benchmarks/found_rates.py --out benchmarks/results/found_rates.json

A convolutional network with BatchNorm, scikit-learn's digits (1,797 images of 8 x 8), a fifth of them to test, one one-cycle
at the found rate as its peak. Beside the suggestion stand fastai's four ways, read off the same sweep.
"""

from __future__ import annotations

import argparse
import copy
import logging
import statistics
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, final

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import pytorch_lightning as pl
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from typing_extensions import override

from benchmarks.common import commit, describe_run, machine, table, versions, write_json
from tabvision.callbacks import OneCycle
from tabvision.tuning import lr_find
from tabvision.tuning.find_lr import WAYS

EPOCHS, TEST_ROWS, GOAL = 3, 360, 0.98
OPTIMIZERS, BATCH_SIZES = ("adamw", "sgd"), (32, 64)


@final
class Digits(pl.LightningModule):
    """Two convolutions and a linear layer, with each optimizer's usual settings."""

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


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, help="a JSON file for the figures")
    options = parser.parse_args(words)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    fits = {
        f"{optimizer}, batch {size}": [read(optimizer, size, seed) for seed in range(options.seeds)]
        for optimizer in OPTIMIZERS
        for size in BATCH_SIZES
    }
    result = {"machine": machine(1), "versions": versions(), "commit": commit(), "goal": GOAL, "fits": fits}
    print(to_markdown(result))
    if options.out:
        write_json(options.out, result)


def read(optimizer: str, batch_size: int, seed: int) -> dict[str, dict[str, float]]:
    """Rate and accuracy of each way, from the same weights, rows and order."""
    images, labels = load_digits(return_X_y=True)
    x, y = torch.tensor(images, dtype=torch.float32).reshape(-1, 1, 8, 8) / 16, torch.tensor(labels)
    torch.manual_seed(seed)
    order = torch.randperm(len(y))
    train, test = order[TEST_ROWS:], order[:TEST_ROWS]
    module = Digits(optimizer)
    loader = DataLoader(TensorDataset(x[train], y[train]), batch_size, shuffle=True)
    found = lr_find(trainer(), module, loader)
    seen: dict[str, dict[str, float]] = {}
    for way in WAYS:
        trained = copy.deepcopy(module)
        torch.manual_seed(100 + seed)
        trainer(OneCycle(getattr(found, way))).fit(trained, loader)
        with torch.no_grad():
            right = trained.eval().net(x[test]).argmax(1) == y[test]
        seen[way] = {"rate": getattr(found, way), "accuracy": float(right.float().mean())}
    return seen


def trainer(*callbacks: pl.Callback) -> pl.Trainer:
    """A quiet Trainer on the CPU."""
    return pl.Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=EPOCHS,
        callbacks=list(callbacks),
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
    )


def to_markdown(result: Mapping[str, Any]) -> str:
    """Median accuracies, and the suggestion's worst and its rates."""
    rows = []
    for name, seeds in result["fits"].items():
        medians = [statistics.median(seed[way]["accuracy"] for seed in seeds) for way in WAYS]
        rates = [seed[WAYS[0]]["rate"] for seed in seeds]
        rows.append([name, *(f"{median:.3f}" for median in medians), f"{min(rates):.0e} to {max(rates):.0e}"])
    headers = ["median accuracy", f"{WAYS[0]}, the suggestion", *WAYS[1:], "suggested rates"]
    seeds = len(next(iter(result["fits"].values())))
    return f"{table(headers, rows)}\n\n{seeds} seeds; the goal is {result['goal']}. {describe_run(dict(result))}."


if __name__ == "__main__":
    main()
