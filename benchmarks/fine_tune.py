"""A whole fine-tune on photos compared with fastai: same body, weights, photos, size, batch, epochs, threads; alternating.

    python -m venv peers && peers/bin/pip install -r benchmarks/peers-requirements.txt
    python benchmarks/fine_tune.py ants_and_bees --fastai-python peers/bin/python --out benchmarks/results/fine_tune.json

PHOTOS holds train/ and val/ with class folders. Both train EfficientNet-Lite0 with a concat-pool head at 128 px in batches of
16: one epoch for the head alone and three for all layers, at base rate 2e-3. fastai uses `fine_tune`, `aug_transforms` after
presizing to 160 pixels, and BatchNorms that train while frozen. tabvision uses its defaults, its defaults with the frozen
body in bfloat16, and its defaults in bf16-mixed. Each run has its own process; seconds are for the fit, including
validation but not imports.
"""

from __future__ import annotations

import argparse
import importlib
import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.beside_fastai import PACKAGES, fine_tuned_in_turns, make_peers_parser
from benchmarks.common import describe_run, run_facts, table, tell
from benchmarks.quiet import quiet_trainer

Precision = Literal["32-true", "bf16-mixed"]
NET, SIZE, PRESIZE, BATCH_SIZE, EPOCHS, RATE = "tf_efficientnet_lite0", 128, 160, 16, 4, 2e-3


def main(words: Sequence[str] | None = None) -> None:
    options = parse(words)
    if options.run:
        print(json.dumps(RUNS[options.run](options)))
        return
    found = fine_tuned_in_turns(__file__, options.photos, options, RUNS)
    result = {**run_facts(options.threads, PACKAGES), "photos": options.photos.name, "runs": found}
    tell(result, to_markdown(result), options.out)


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    parser = make_peers_parser(__doc__, RUNS)
    parser.add_argument("photos", type=Path, help="a folder with train/ and val/, each with one folder per class")
    return parser.parse_args(words)


def run_tabvision(
    options: argparse.Namespace, precision: Precision = "32-true", *, frozen_bf16: bool = False
) -> dict[str, Any]:
    import pytorch_lightning as pl
    import torch

    from benchmarks.clock import TrainingClock
    from benchmarks.short_fine_tunes import Accuracies
    from tabvision.callbacks import FineTune
    from tabvision.data import ImageDataModule
    from tabvision.modules import VisionModule

    torch.set_num_threads(options.threads)
    pl.seed_everything(options.seed, verbose=False)
    start = time.perf_counter()
    data = ImageDataModule(options.photos, size=SIZE, batch_size=BATCH_SIZE, seed=options.seed, verbose=False)
    module = VisionModule(data.schema, body="efficientnet_lite0", frozen_bf16=frozen_bf16)
    accuracies, clock = Accuracies(), TrainingClock()
    trainer = quiet_trainer(EPOCHS, FineTune(1, base_lr=RATE), accuracies, clock, precision=precision)
    trainer.fit(module, data)
    seconds = time.perf_counter() - start
    return _answer(seconds, len(data.parts["train"].rows), clock.epoch_seconds, accuracies.values)


def run_fastai(options: argparse.Namespace) -> dict[str, Any]:
    import torch

    fastai: Any = importlib.import_module("fastai.vision.all")
    timm: Any = importlib.import_module("timm")
    torch.set_num_threads(options.threads)
    fastai.set_seed(options.seed)
    start = time.perf_counter()
    loaders = fastai.ImageDataLoaders.from_folder(
        options.photos,
        train="train",
        valid="val",
        bs=BATCH_SIZE,
        item_tfms=fastai.Resize(PRESIZE),
        batch_tfms=[
            *fastai.aug_transforms(size=SIZE, min_scale=0.75),
            fastai.Normalize.from_stats([0.5] * 3, [0.5] * 3),
        ],
        num_workers=options.threads,
    )
    body = timm.create_model(NET, pretrained=False, num_classes=0, global_pool="")
    body.load_state_dict(torch.load(options.weights, weights_only=True))
    head = fastai.create_head(body.num_features, loaders.c)
    fastai.apply_init(head, torch.nn.init.kaiming_normal_)
    clock = _clock(fastai)
    learner = fastai.Learner(
        loaders,
        torch.nn.Sequential(body, head),
        metrics=fastai.accuracy,
        splitter=lambda net: [fastai.params(net[0]), fastai.params(net[1])],
        cbs=[clock],
    )
    with learner.no_bar(), learner.no_logging():
        learner.fine_tune(EPOCHS - 1, RATE)
    seconds = time.perf_counter() - start
    rows = len(loaders.train) * BATCH_SIZE  # the loader drops the last, shorter batch
    return _answer(seconds, rows, clock.epoch_seconds, clock.accuracies)


def _clock(fastai: Any) -> Any:  # noqa: ANN401 - a library without types
    class Clock(fastai.Callback):  # type: ignore[misc]  # the base class is known only at run time
        """Record each epoch's training seconds and accuracy over both fits of `fine_tune`."""

        epoch_seconds: list[float]
        accuracies: list[float]
        order = 60  # after the recorder

        def __init__(self) -> None:
            super().__init__()
            self.epoch_seconds, self.accuracies = [], []

        def before_train(self) -> None:
            """Note when an epoch's training starts."""
            self.started = time.perf_counter()

        def after_train(self) -> None:
            """Record how long it took."""
            self.epoch_seconds.append(time.perf_counter() - self.started)

        def after_epoch(self) -> None:
            """Record the accuracy after validation."""
            self.accuracies.append(float(self.recorder.values[-1][-1]))

    return Clock()


def _answer(seconds: float, rows: int, epochs: Sequence[float], accuracies: Sequence[float]) -> dict[str, Any]:
    """Return one run's results, with photos per second for the frozen epoch and the median of the others."""
    return {
        "seconds": seconds,
        "frozen": rows / epochs[0],
        "unfrozen": rows / statistics.median(epochs[1:]),
        "accuracies": list(accuracies),
    }


def to_markdown(result: Mapping[str, Any]) -> str:
    """Return a table with one line per library: median speeds and seconds, mean accuracies."""
    runs = result["runs"]
    rows = []
    for name, found in runs.items():
        after = [statistics.fmean(values) for values in zip(*(run["accuracies"] for run in found), strict=True)]
        cells = [f"{statistics.median(run[key] for run in found):,.1f}" for key in ("frozen", "unfrozen", "seconds")]
        rows.append([name, *cells, f"{after[0]:.3f}", f"{after[-1]:.3f}"])
    headers = [result["photos"], "photos/s frozen", "unfrozen", "total seconds", "accuracy, frozen", "at the end"]
    said = [f"{name} is … times as fast: {_ratios(runs['fastai'], runs[name])}." for name in runs if name != "fastai"]
    return f"{table(headers, rows)}\n\n{' '.join(said)} {describe_run(dict(result))}."


def _ratios(theirs: Sequence[Mapping[str, Any]], ours: Sequence[Mapping[str, Any]]) -> str:
    """Return the speedups within each round: medians and ranges."""
    pairs = list(zip(theirs, ours, strict=True))
    ratios = {key: [own[key] / other[key] for other, own in pairs] for key in ("frozen", "unfrozen")}
    ratios["whole"] = [other["seconds"] / own["seconds"] for other, own in pairs]
    return ", ".join(
        f"{key} {statistics.median(values):.1f} ({min(values):.1f} to {max(values):.1f})"
        for key, values in ratios.items()
    )


RUNS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "fastai": run_fastai,
    "tabvision": run_tabvision,
    "tabvision, frozen_bf16": partial(run_tabvision, frozen_bf16=True),
    "tabvision, bf16-mixed": partial(run_tabvision, precision="bf16-mixed"),
}


if __name__ == "__main__":
    main()
