"""Training on rows that are sorted by target: shuffled by blocks and windows, fully, or not at all.

    python benchmarks/sorted_rows.py --out benchmarks/results/sorted_rows.json

Some flights are sorted by whether they are late and then by distance, so that a block of rows has one class and one route.
Blocks have 8 rows instead of a prepared table's 1,024, so that the training rows make as many windows of 512 blocks as six
million rows of a prepared table. All fits of a seed start with the same weights and validate on the same rows.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, final

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from typing_extensions import override

from benchmarks.common import describe_run, make_parser, run_facts, spread_of, table, tell
from benchmarks.quiet import quiet_trainer, unheard
from tabvision.callbacks import OneCycle
from tabvision.data import IndexSplit, TabularDataModule
from tabvision.data.demo import FLIGHTS_CATEGORICAL, flights
from tabvision.data.loaders import Order, TensorLoader
from tabvision.data.row_order import BlockOrder
from tabvision.data.splits.base import PartName
from tabvision.modules import TabularModule

ROWS, BLOCK, WINDOW, BATCH_SIZE = 60_000, 8, 512, 256
ORDERS = {"shuffled in full": None, "shuffled by blocks and windows": (BLOCK, WINDOW), "as sorted": (1 << 30, 1)}


def main(words: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=2)
    options = parser.parse_args(words)
    torch.set_num_threads(1)
    some = flights().sample(ROWS, random_state=0).sort_values(["late", "distance"], ignore_index=True, kind="stable")
    settings: dict[str, Any] = {"categorical": FLIGHTS_CATEGORICAL, "split": IndexSplit(range(0, ROWS, 5))}
    data = Sorted(some, "late", batch_size=BATCH_SIZE, verbose=False, **settings)
    losses: dict[str, list[float]] = {name: [] for name in ORDERS}
    for seed in range(options.seeds):
        for name, order in ORDERS.items():  # alternating
            losses[name].append(loss(data, order, seed, options.epochs))
    windows = -(-len(data.parts["train"].rows) // (BLOCK * WINDOW))
    found = {name: spread_of(each) for name, each in losses.items()}
    result = {**run_facts(threads=1), "epochs": options.epochs, "windows": windows, "losses": found}
    tell(result, to_markdown(result), options.out)


@final
class Sorted(TabularDataModule):
    """A table in memory whose training rows come in the order of a prepared table."""

    blocks: tuple[int, int] | None = None

    @override
    def make_loader(self, part: PartName, order: Order) -> TensorLoader:
        if self.blocks is None or part != "train":
            return super().make_loader(part, order)
        (block, window), (tensors, rows) = self.blocks, self.parts[part]
        if block > len(rows):
            return TensorLoader(tensors, rows, batch_size=self.batch_size)
        blocks = BlockOrder(rows, seed=order["seed"], block=block, window=window)
        return TensorLoader(tensors, rows, batch_size=self.batch_size, **order, order=blocks)


def loss(data: Sorted, blocks: tuple[int, int] | None, seed: int, epochs: int) -> float:
    """Return the validation loss at the end of a fit."""
    data.blocks, data.seed = blocks, seed
    torch.manual_seed(seed)
    module = TabularModule(data.schema)
    with unheard():
        trainer = quiet_trainer(epochs, OneCycle(), enable_progress_bar=False, num_sanity_val_steps=0)
        trainer.fit(module, datamodule=data)
    return float(trainer.callback_metrics["val/loss"])


def to_markdown(result: Mapping[str, Any]) -> str:
    """Return the losses as a table, with the difference between the two orders seed by seed."""
    losses = result["losses"]
    full, blocks, _ = (losses[name]["values"] for name in ORDERS)
    apart = spread_of([one - other for one, other in zip(blocks, full, strict=True)])
    error = apart["spread"] / len(full) ** 0.5
    rows = [(name, f"{it['mean']:.4f}", f"{it['spread']:.4f}") for name, it in losses.items()]
    rows.append(("by blocks, minus the full shuffle's", f"{apart['mean']:+.4f}", f"± {error:.4f}"))
    said = f"{result['epochs']} epochs, {len(full)} seeds, {result['windows']} windows."
    lines = table(["log loss of validation rows", "mean", "standard deviation"], rows)
    return f"{lines}\n\n{said} {describe_run(dict(result))}."


if __name__ == "__main__":
    main()
