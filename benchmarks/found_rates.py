"""Train a small network on digits for three epochs at the rate that the finder suggests, over five seeds.

    python benchmarks/found_rates.py --out benchmarks/results/found_rates.json

A convolutional network with BatchNorm trains on scikit-learn's digits (1,797 images of 8 x 8, a fifth for testing) for one
cycle with the found rate as its peak. The suggestion is compared with fastai's four methods on the same sweep.
"""

from __future__ import annotations

import copy
import logging
import statistics
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import pytorch_lightning as pl
import torch

from benchmarks.common import describe_run, make_parser, run_facts, table, tell
from benchmarks.digits import accuracy, seeded_digits
from tabvision.callbacks import OneCycle
from tabvision.tuning import lr_find
from tabvision.tuning.sweep import WAYS

EPOCHS, GOAL = 3, 0.98
OPTIMIZERS, BATCH_SIZES = ("adamw", "sgd"), (32, 64)


def main(words: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args(words)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    fits = {
        f"{optimizer}, batch {size}": [read(optimizer, size, seed) for seed in range(options.seeds)]
        for optimizer in OPTIMIZERS
        for size in BATCH_SIZES
    }
    result = {**run_facts(threads=1), "goal": GOAL, "fits": fits}
    tell(result, to_markdown(result), options.out)


def read(optimizer: str, batch_size: int, seed: int) -> dict[str, dict[str, float]]:
    """Return each method's rate and accuracy, from the same weights, rows and order."""
    module, loader, test = seeded_digits(optimizer, batch_size, seed)
    found = lr_find(trainer(), module, loader)
    seen: dict[str, dict[str, float]] = {}
    for way in WAYS:
        trained = copy.deepcopy(module)
        torch.manual_seed(100 + seed)
        trainer(OneCycle(getattr(found, way))).fit(trained, loader)
        seen[way] = {"rate": getattr(found, way), "accuracy": accuracy(trained, *test)}
    return seen


def trainer(*callbacks: pl.Callback) -> pl.Trainer:
    """Return a quiet Trainer on the CPU."""
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
    """Return a table of median accuracies, with the suggestion's worst accuracy and its rates."""
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
