"""Training rows per second: a raw PyTorch loop, plain Lightning and tabvision, alternating in one process.

    python benchmarks/training_speed.py --threads 1 --out benchmarks/results/training_speed.json

The raw loop runs the same net made of torch's own layers on tensors prepared beforehand, with fused AdamW and the cycle
set by hand; with the packed net, the default, all of them average the weights over the steps. tabvision runs with a typical
Trainer: CSVLogger, a progress bar (drawn every 10 steps, but discarded), a checkpoint after each epoch, OneCycle. A plain
LightningModule around the raw loop's net does the same, to separate Lightning's overhead from ours. Validation is off; the
first epoch of each run warms up and does not count.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
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
from benchmarks.raw_loop import PlainModule, RawLoop, raw_epoch_seconds
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
    parser.add_argument(
        "--clock", choices=CLOCKS, default="wall", help="processor: CPU time, steadier on a busy machine"
    )
    return parser.parse_args(words)


def measure(name: str, rounds: int, epochs: int, now: Callable[[], float]) -> dict[str, Any]:
    """Return rows per second in every round, and the ratios between runs of the same round."""
    data = SETS[name].make(SETS[name].batch_size)
    rows = len(data.parts["train"].rows)
    found: dict[str, list[dict[str, float]]] = {net: [] for net in NETS}
    for number in range(rounds):
        for net, settings in NETS.items():
            loops = [RawLoop(data, settings, averaged=net in AVERAGED) for _ in range(2)]
            runs: dict[str, Callable[[], list[float]]] = {
                "raw": partial(raw_epoch_seconds, loops[0], epochs=epochs, now=now),
                "lightning": partial(lightning_epoch_seconds, loops[1], epochs=epochs, now=now),
                "tabvision": partial(
                    tabvision_epoch_seconds, data, settings, averaged=net in AVERAGED, epochs=epochs, now=now
                ),
            }
            order = [*runs][:: 1 if number % 2 else -1]  # alternate who goes first
            found[net].append({run: rows / statistics.median(runs[run]()[1:]) for run in order})
    return {
        "batch_size": data.batch_size,
        "rows": rows,
        "rounds": rounds,
        "nets": {net: summary(speeds) for net, speeds in found.items()},
    }


def summary(rounds: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """Return medians, and the median over rounds of the ratios to the raw loop.

    Example:
        >>> summary([{"raw": 100.0, "tabvision": 110.0}, {"raw": 50.0, "tabvision": 60.0}])["ratios"]["tabvision"]
        1.15
    """
    names = sorted(rounds[0])
    medians = {name: statistics.median(each[name] for each in rounds) for name in names}
    ratios = {name: statistics.median(each[name] / each["raw"] for each in rounds) for name in names}
    return {"medians": medians, "ratios": ratios, "rounds": [dict(each) for each in rounds]}


def lightning_epoch_seconds(loop: RawLoop, *, epochs: int, now: Callable[[], float]) -> list[float]:
    """Return the seconds per epoch of a plain LightningModule."""
    return fit_seconds(PlainModule(loop), loop, epochs, now)


def tabvision_epoch_seconds(
    data: TabularDataModule, settings: Mapping[str, Any], *, averaged: bool, epochs: int, now: Callable[[], float]
) -> list[float]:
    """Return the seconds per epoch of tabvision."""
    average = [AverageAndStop(patience=None)] if averaged else []
    return fit_seconds(TabularModule(data.schema, **settings), data, epochs, now, OneCycle(), *average)


def fit_seconds(
    module: pl.LightningModule,
    data: TabularDataModule | RawLoop,
    epochs: int,
    now: Callable[[], float],
    *callbacks: pl.Callback,
) -> list[float]:
    """Return the seconds per epoch with a normal Trainer."""
    clock = TrainingClock(now)
    with tempfile.TemporaryDirectory() as scratch, unheard():
        trainer = pl.Trainer(
            max_epochs=epochs,
            accelerator="cpu",
            devices=1,
            logger=CSVLogger(scratch),
            callbacks=[clock, *callbacks, TQDMProgressBar(refresh_rate=10)],
            limit_val_batches=0,
        )
        trainer.fit(module, data)
    return clock.epoch_seconds


def to_markdown(result: Mapping[str, Any]) -> str:
    """Return the figures as a table."""
    rows = []
    for name, facts in result["sets"].items():
        for net, speeds in facts["nets"].items():
            label = f"{name}, batch {facts['batch_size']:,}, {net}"
            medians, ratios = speeds["medians"], speeds["ratios"]
            numbers = [f"{medians[each]:,.0f}" for each in ("raw", "lightning", "tabvision")]
            rows.append([label, *numbers, f"{ratios['tabvision']:.2f}", f"{ratios['lightning']:.2f}"])
    headers = [
        "training",
        "raw loop, rows/s",
        "plain Lightning",
        "tabvision",
        "tabvision's ratio to raw",
        "plain Lightning's",
    ]
    unit = "" if result["clock"] == "wall" else "CPU seconds, not wall-clock time.\n\n"
    return f"{table(headers, rows)}\n\n{unit}{describe_run(dict(result))}."


if __name__ == "__main__":
    main()
