"""When MixUp and label smoothing help on photos: short and long fine-tunes with and without them, on clean and noisy labels.

    python benchmarks/soft_targets.py --photos ants_and_bees --fashion /usr/share/datasets/fashion-mnist \
        --size 64 --rows 250 --out benchmarks/results/soft_targets.json
    python benchmarks/soft_targets.py --fashion /usr/share/datasets/fashion-mnist --rows 250 --epochs 16 --wrong 0.3 \
        --out benchmarks/results/soft_targets_wrong_labels.json

Data and body are as in frozen_features.py, and stages as in `tabvision train`: the head alone for half of the epochs, at
most five, then every layer. For wrong labels, a fraction of the training photos, drawn by row, has one of the other classes
in every epoch; validation photos keep theirs. The network is measured after the last epoch, and nothing is chosen on
validation photos.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, log_loss
from typing_extensions import override

from benchmarks.common import describe_run, make_parser, run_facts, table, write_json
from benchmarks.frozen_features import add_data_options, data_sets, mean_and_error
from benchmarks.quiet import quiet_trainer
from benchmarks.short_fine_tunes import PACKAGES
from tabvision.callbacks import FineTune, FrozenFeatures, MixUp
from tabvision.data import ImageDataModule
from tabvision.modules import VisionModule
from tabvision.nets.layers import evaluating

MOST_FROZEN, VIEWS = 5, 2
PLAIN = "plain"


class Way(NamedTuple):
    """How targets are softened: MixUp's parameter, 0 for none, and the fraction that smoothing spreads over the classes."""

    mixup: float = 0.0
    smoothing: float = 0.0


WAYS = {PLAIN: Way(), "MixUp(0.4)": Way(mixup=0.4), "label_smoothing=0.1": Way(smoothing=0.1)}


def main(words: Sequence[str] | None = None) -> None:
    options = parse(words)
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    result: dict[str, Any] = {**run_facts(1, PACKAGES), "size": options.size, "runs": []}
    with tempfile.TemporaryDirectory() as scratch:
        sets = data_sets(options, Path(scratch))
        for seed in range(options.seeds):
            for epochs in options.epochs:
                for wrong in options.wrong:
                    for name, make in sets.items():
                        for way in options.ways:
                            facts = {"set": name, "epochs": epochs, "wrong": wrong, "way": way, "seed": seed}
                            found = train(make(seed), WAYS[way], epochs, wrong, seed)
                            result["runs"].append(facts | found)
                            print(facts | found, file=sys.stderr, flush=True)
                            if options.out:  # keep what an interrupted run has measured
                                write_json(options.out, result)
    print(to_markdown(result))


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    parser = make_parser(__doc__)
    add_data_options(parser)
    parser.add_argument("--epochs", type=int, nargs="*", default=[4, 16], help="lengths of a run")
    parser.add_argument("--wrong", type=float, nargs="*", default=[0.0], help="fractions of wrong training labels")
    parser.add_argument("--seeds", type=int, default=3, help="runs per way")
    parser.add_argument("--ways", type=lambda text: text.split(";"), default=list(WAYS), help="names, separated by ;")
    return parser.parse_args(words)


def train(data: ImageDataModule, way: Way, epochs: int, wrong: float, seed: int) -> dict[str, float]:
    """Return accuracy and log loss on the validation photos after a fine-tune, and its CPU seconds."""
    pl.seed_everything(seed, verbose=False)
    target = data.schema.target
    task: Any = target.task  # Binary or Multiclass, which support smoothing
    task = replace(task, label_smoothing=way.smoothing)
    data.schema = replace(data.schema, target=replace(target, task=task))
    module = VisionModule(data.schema, body="efficientnet_lite0")
    frozen = min(MOST_FROZEN, (epochs + 1) // 2)
    callbacks: list[pl.Callback] = [FineTune(frozen, frozen_pct_start=0.3), FrozenFeatures(VIEWS)]
    if wrong:
        callbacks.append(WrongLabels(wrong, len(target.classes or ()), len(data.frame), seed))
    if way.mixup:  # after WrongLabels has changed the labels
        callbacks.append(MixUp(way.mixup, seed=seed))
    trainer = quiet_trainer(epochs, *callbacks, enable_progress_bar=False, limit_val_batches=0)
    start = time.process_time()
    trainer.fit(module, data)
    seconds = time.process_time() - start
    truth, answers = answered(module, data)
    return {
        "accuracy": float(accuracy_score(truth, answers.argmax(axis=1))),
        "log_loss": float(log_loss(truth, answers, labels=range(answers.shape[1]))),
        "seconds": seconds,
    }


def answered(module: VisionModule, data: ImageDataModule) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the classes of the validation photos, and the network's probabilities."""
    found = []
    with evaluating(module), torch.inference_mode():
        for batch in data.ordered_loader("val"):
            logits = module(data.transfer_batch_to_device(batch, module.device, 0))
            found.append((batch["target"].flatten(), module.task.activate(logits.double())))
    truth, answers = (torch.cat(each).numpy() for each in zip(*found, strict=True))
    return truth, answers


class WrongLabels(pl.Callback):
    """Train some rows with a wrong class, the same one in every epoch."""

    def __init__(self, share: float, num_classes: int, num_rows: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        moved = rng.integers(1, num_classes, num_rows) * (rng.random(num_rows) < share)
        self.moved, self.num_classes = torch.from_numpy(moved), num_classes

    @override
    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        batch["target"] = (batch["target"] + self.moved[batch["index"]]) % self.num_classes


def to_markdown(result: Mapping[str, Any]) -> str:
    """Return a row per set, fraction of wrong labels and length: the plain run, and differences from it with their errors."""
    counts = Counter(run["seed"] for run in result["runs"])
    whole = [run for run in result["runs"] if counts[run["seed"]] == max(counts.values())]  # drop an unfinished seed
    num_seeds = len({run["seed"] for run in whole})
    ways = list(dict.fromkeys(run["way"] for run in whole))
    cases = list(dict.fromkeys((run["set"], run["wrong"], run["epochs"]) for run in whole))
    parts = []
    for metric in ("accuracy", "log_loss"):
        rows = []
        for case in sorted(cases):
            runs = [run for run in whole if (run["set"], run["wrong"], run["epochs"]) == case]
            found = {way: {run["seed"]: run[metric] for run in runs if run["way"] == way} for way in ways}
            plain = found[PLAIN]
            cells = [
                mean_and_error([value - plain[seed] for seed, value in found[way].items()], sign="+")
                for way in ways
                if way != PLAIN
            ]
            name, wrong, epochs = case
            rows.append(
                [name, f"{wrong:.0%}".replace("%", " %"), f"{epochs}", mean_and_error([*plain.values()]), *cells]
            )
        headers = [
            f"{metric.replace('_', ' ')}",
            "labels wrong",
            "epochs",
            *(f"{way}, difference" if way != PLAIN else way for way in ways),
        ]
        parts.append(table(headers, rows))
    seconds = {way: fmean(run["seconds"] for run in whole if run["way"] == way) for way in ways}
    spent = ", ".join(f"{way} {value:.0f}" for way, value in seconds.items())
    of = f"{num_seeds} seeds, paired differences; photos at {result['size']} px"
    return "\n\n".join(
        [*parts, f"Mean ± standard error over {of}. CPU seconds per run: {spent}. {describe_run(dict(result))}."]
    )


if __name__ == "__main__":
    main()
