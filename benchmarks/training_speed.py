"""Training rows a second: a raw PyTorch loop beside tabvision under a normal Trainer, in turns, in one process.

    python benchmarks/training_speed.py --threads 1 --out benchmarks/results/training_speed.json

The raw loop runs the same net from torch's own layers over tensors prepared beforehand, with fused AdamW and the cycle
set by hand; with the packed net, the default, both average the weights over the steps. tabvision runs under a Trainer as
users have it: CSVLogger, a progress bar (into the void, but drawn every 10 steps), a checkpoint after each epoch, OneCycle;
validation is off in both. The first epoch of each run warms up and does not count.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import TQDMProgressBar
from pytorch_lightning.loggers import CSVLogger

from benchmarks.clock import TrainingClock
from benchmarks.common import describe_run, make_parser, run_facts, table, tell
from benchmarks.quiet import unheard
from benchmarks.raw_loop import raw_epoch_seconds
from benchmarks.tables import SETS
from tabvision.callbacks import AverageAndStop, OneCycle
from tabvision.data import TabularDataModule
from tabvision.modules import TabularModule

NETS: dict[str, dict[str, Any]] = {  # settings of `TabularModule`
    "packed": {},
    "MLP": {"net": "mlp", "dropout": 0.0},
    "MLP, dropout 0.1": {"net": "mlp", "dropout": 0.1},
}
AVERAGED = ("packed",)
CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "processor": time.process_time}


def main(words: Sequence[str] | None = None) -> None:
    options = parse(words)
    torch.set_num_threads(options.threads)
    result = {
        **run_facts(options.threads),
        "clock": options.clock,
        "sets": {name: measure(name, options.rounds, options.epochs, CLOCKS[options.clock]) for name in options.sets},
    }
    tell(result, to_markdown(result), options.out)


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--epochs", type=int, default=3, help="of each run, the first not counted; at least 2")
    parser.add_argument("--sets", type=lambda text: text.split(","), default=list(SETS))
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="processor: steadier beside busy neighbours")
    return parser.parse_args(words)


def measure(name: str, rounds: int, epochs: int, now: Callable[[], float]) -> dict[str, Any]:
    """Rows a second of every round, and the ratios of runs that stood side by side."""
    data = SETS[name].make(SETS[name].batch_size)
    rows = len(data.parts["train"].rows)
    pairs: dict[str, list[tuple[float, float]]] = {net: [] for net in NETS}
    for number in range(rounds):
        for net, settings in NETS.items():
            runs = [raw_epoch_seconds, tabvision_epoch_seconds]
            order = runs if number % 2 == 0 else runs[::-1]  # who goes first changes, so that neither always follows
            speeds = {}
            for run in order:
                seconds = run(data, epochs=epochs, settings=settings, averaged=net in AVERAGED, now=now)
                speeds[run] = rows / statistics.median(seconds[1:])
            pairs[net].append((speeds[raw_epoch_seconds], speeds[tabvision_epoch_seconds]))
    return {
        "batch_size": data.batch_size,
        "rows": rows,
        "rounds": rounds,
        "nets": {net: summary(found) for net, found in pairs.items()},
    }


def summary(pairs: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """Medians, and the median of the ratios round by round.

    Example:
        >>> summary([(100.0, 110.0), (50.0, 60.0), (80.0, 80.0)])["ratio"]
        1.1
    """
    raw, ours = zip(*pairs, strict=True)
    ratios = [own / bare for bare, own in pairs]
    medians = {"raw": statistics.median(raw), "tabvision": statistics.median(ours), "ratio": statistics.median(ratios)}
    return {**medians, "raw_rounds": list(raw), "tabvision_rounds": list(ours)}


def tabvision_epoch_seconds(
    data: TabularDataModule,
    *,
    epochs: int,
    settings: Mapping[str, Any],
    now: Callable[[], float],
    averaged: bool = False,
) -> list[float]:
    """Seconds of each epoch under a normal Trainer."""
    clock = TrainingClock(now)
    average = [AverageAndStop(patience=None)] if averaged else []
    with tempfile.TemporaryDirectory() as scratch, unheard():
        trainer = pl.Trainer(
            max_epochs=epochs,
            accelerator="cpu",
            devices=1,
            logger=CSVLogger(scratch),
            callbacks=[clock, OneCycle(), *average, TQDMProgressBar(refresh_rate=10)],
            limit_val_batches=0,
        )
        trainer.fit(TabularModule(data.schema, **settings), data)
    return clock.epoch_seconds


def to_markdown(result: Mapping[str, Any]) -> str:
    """The figures as a table."""
    rows = []
    for name, facts in result["sets"].items():
        for net, speeds in facts["nets"].items():
            label = f"{name}, batch {facts['batch_size']:,}, {net}"
            rows.append([label, f"{speeds['raw']:,.0f}", f"{speeds['tabvision']:,.0f}", f"{speeds['ratio']:.2f}"])
    headers = ["training", "raw loop, rows/s", "tabvision, rows/s", "ratio"]
    unit = "" if result["clock"] == "wall" else "Seconds of the processor, not of the wall clock.\n\n"
    return f"{table(headers, rows)}\n\n{unit}{describe_run(dict(result))}."


if __name__ == "__main__":
    main()
