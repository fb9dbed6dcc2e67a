"""What a frozen stage saves under DDP: a step that trains only the head of a ResNet-18, and one that trains every layer.

    python benchmarks/frozen_stage.py --out benchmarks/results/frozen_stage.json

Two gloo processes on the CPU with one thread each run a single fit, in which `Unfreeze` freezes and unfreezes the body in
alternate epochs, so that both kinds of steps see the same load on the machine. What counts is the ratio within each pair.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, final

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from torchvision.models import resnet18
from typing_extensions import override

from benchmarks.common import ROOT, describe_run, make_parser, run_facts, table, tell
from tabvision.callbacks import Unfreeze

RANKS, STEPS, PAIRS, GOAL = 2, 6, 8, 4.0
MAX_SECONDS = 1800  # kills a run that hangs


@final
class Net(pl.LightningModule):
    """A ResNet-18 with random weights, as body and head."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = resnet18(weights=None)
        self.body.fc = nn.Identity()
        self.head = nn.Linear(512, 10)

    @override
    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        return nn.functional.cross_entropy(self.head(self.body(batch[0])), batch[1])

    @override
    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=1e-4)


@final
class Clock(pl.Callback):
    """Record the seconds of each step in each epoch, without the cost of changing stages."""

    def __init__(self) -> None:
        self.epochs: list[list[float]] = []
        self.start = 0.0

    @override
    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.epochs.append([])

    @override
    def on_train_batch_start(self, *args: Any) -> None:
        self.start = time.perf_counter()

    @override
    def on_train_batch_end(self, *args: Any) -> None:
        self.epochs[-1].append(time.perf_counter() - self.start)


def main(words: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--batch-size", type=int, default=8, help="images per rank and step")
    parser.add_argument("--size", type=int, default=64, help="pixels of an image's side")
    parser.add_argument(
        "--pairs", type=int, default=PAIRS, help="epochs of each kind, not counting a first pair that warms up"
    )
    parser.add_argument("--times", type=Path, help=argparse.SUPPRESS)  # for the training processes
    options = parser.parse_args(words)
    if options.times:
        train(options)
        return
    result = {
        **run_facts(threads=1, packages=["torch", "torchvision", "pytorch-lightning"]),
        "net": "resnet18",
        "ranks": RANKS,
        "batch_size": options.batch_size,
        "size": options.size,
        "goal": GOAL,
        **measure(options),
    }
    tell(result, to_markdown(result), options.out)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Return the seconds per step of each kind, pair by pair."""
    with tempfile.TemporaryDirectory() as folder:
        times = Path(folder) / "times.json"
        words = ["--batch-size", options.batch_size, "--size", options.size, "--pairs", options.pairs, "--times", times]
        command = [sys.executable, str(Path(__file__).resolve()), *map(str, words)]
        subprocess.run(command, cwd=ROOT, check=True, timeout=MAX_SECONDS)
        epochs: list[float] = json.loads(times.read_text())
    frozen, whole = epochs[2::2], epochs[3::2]  # the first pair warms up
    ratios = [slow / fast for fast, slow in zip(frozen, whole, strict=True)]
    return {"frozen_seconds": frozen, "whole_seconds": whole, "ratios": ratios, "ratio": statistics.median(ratios)}


def train(options: argparse.Namespace) -> None:
    """Run one process of the fit; the first one writes the median seconds per step in each epoch."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    rows = RANKS * STEPS * options.batch_size
    images = TensorDataset(torch.randn(rows, 3, options.size, options.size), torch.arange(rows) % 10)
    epochs, clock = 2 * (options.pairs + 1), Clock()
    turns: dict[int, Any] = {epoch: "all" if epoch % 2 else 1 for epoch in range(epochs)}
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=RANKS,
        strategy="ddp",
        max_epochs=epochs,
        callbacks=[Unfreeze(turns, groups=lambda net: [net.body, net.head]), clock],
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
    )
    trainer.fit(Net(), DataLoader(images, options.batch_size))
    if trainer.is_global_zero:
        options.times.write_text(json.dumps([statistics.median(steps) for steps in clock.epochs]))


def to_markdown(result: Mapping[str, Any]) -> str:
    """Return the seconds per step and their ratio."""
    what = f"{result['net']}, {result['size']} px, {result['ranks']} ranks, batch {result['batch_size']}"
    seconds = [statistics.median(result[kind]) for kind in ("frozen_seconds", "whole_seconds")]
    ratios = f"{result['ratio']:.1f} ({min(result['ratios']):.1f} to {max(result['ratios']):.1f})"
    row = [what, *(f"{value:.3f}" for value in seconds), ratios, f"at least {result['goal']:g}"]
    headers = ["net", "s per step, head alone", "s per step, every layer", "times as fast", "goal"]
    return f"{table(headers, [row])}\n\n{describe_run(dict(result))}."


if __name__ == "__main__":
    main()
