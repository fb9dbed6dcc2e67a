"""Size and speed of a model from every module, as a checkpoint and as exported files.

    python benchmarks/export.py --threads 1 --out benchmarks/results/export.json

The nets have a recipe's size and train for five steps, since weights do not affect speed. Each format predicts the same raw
rows or JPEG files and returns a frame in the user's labels or units; the formats alternate. Times are medians.
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
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import pytorch_lightning as pl
import torch
from PIL import Image

from benchmarks.common import describe_run, make_parser, run_facts, table, tell
from benchmarks.quiet import unheard
from benchmarks.tables import SETS
from tabvision.data import CollabDataModule, ImageDataModule
from tabvision.data.demo import ratings
from tabvision.inference import OnnxPredictor, Predictor, export
from tabvision.modules import CollabModule, SupervisedModule, TabularModule, VisionModule

RAW_ROWS = 100_000
PHOTOS = 64
WARM_UP = 10


class Made(NamedTuple):
    """A module, data to train it on for a few steps, and inputs to predict at once and one by one."""

    module: SupervisedModule
    data: Any
    many: Any
    single: Sequence[Any]


def main(words: Sequence[str] | None = None) -> None:
    options = parse(words)
    torch.set_num_threads(options.threads)
    result = run_facts(options.threads) | {"rows": options.raw_rows, "photos": options.photos, "modules": {}}
    with tempfile.TemporaryDirectory() as folder:
        for name, make in MAKERS.items():
            made = make(Path(folder), options)
            result["modules"][name] = measure(made, Path(folder) / "nets" / name, options.threads, options.rounds)
    tell(result, to_markdown(result), options.out)


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--singles", type=int, default=500, help="rows to predict one by one; a tenth as many photos")
    parser.add_argument("--raw-rows", type=int, default=RAW_ROWS, help="rows of the raw frame")
    parser.add_argument("--photos", type=int, default=PHOTOS)
    return parser.parse_args(words)


def tabular(_: Path, options: argparse.Namespace) -> Made:
    """Return the net of the flights recipe."""
    data = SETS["flights"].make(SETS["flights"].batch_size)
    raw = data.frame.drop(columns="late").iloc[: options.raw_rows]
    return Made(TabularModule(data.schema), data, raw, raw.iloc[: options.singles].to_dict("records"))


def collab(_: Path, options: argparse.Namespace) -> Made:
    """Return a net with 50 factors for MovieLens' 100,000 ratings."""
    frame = ratings().iloc[: options.raw_rows]
    data = CollabDataModule(frame, user="user", item="film", rating="rating", verbose=False)
    pairs = frame[["user", "film"]]
    return Made(CollabModule(data.schema), data, pairs, pairs.iloc[: options.singles].to_dict("records"))


def vision(folder: Path, options: argparse.Namespace) -> Made:
    """Return a resnet18 at 224 pixels, for photos of a typical size."""
    draw = np.random.default_rng(0)
    paths = []
    for place in range(options.photos):
        path = folder / "photos" / f"class{place % 2}" / f"{place}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        rough = draw.integers(0, 256, (12, 16, 3), dtype=np.uint8)  # pixel noise would not decode like a photo
        Image.fromarray(rough).resize((500, 375), Image.Resampling.BICUBIC).save(path, quality=90)
        paths.append(str(path))
    data = ImageDataModule(str(folder / "photos"), size=224, batch_size=8, verbose=False)
    module = VisionModule(data.schema, body="resnet18", weights=None)
    return Made(module, data, paths, [[path] for path in paths[: max(1, options.singles // 10)]])


MAKERS: dict[str, Callable[[Path, argparse.Namespace], Made]] = {
    "tabular": tabular,
    "collab": collab,
    "vision, resnet18": vision,
}


def measure(made: Made, folder: Path, threads: int, rounds: int) -> dict[str, dict[str, float]]:
    """Return size, seconds to write and to open, rows per second, and milliseconds per single row, for each kind of file."""
    folder.mkdir(parents=True)
    checkpoint, onnx = folder / "net.ckpt", folder / "net.onnx"
    save_briefly_trained(made, checkpoint)
    files = {"checkpoint": {"bytes": float(checkpoint.stat().st_size)}}
    for path in (onnx, onnx.with_suffix(".pt2")):
        seconds, done = timed(partial(export, checkpoint, path))
        files[path.suffix] = {"bytes": float(done.num_bytes), "write_seconds": seconds}
    opened: dict[str, Predictor | OnnxPredictor] = {}
    openers: dict[str, Callable[[], Predictor | OnnxPredictor]] = {
        "checkpoint": partial(Predictor, checkpoint, device="cpu"),
        ".onnx": partial(OnnxPredictor, onnx, threads=threads),
    }
    for name, opener in openers.items():
        files[name]["open_seconds"], opened[name] = timed(opener)
    many = alternately({name: partial(one.predict, made.many) for name, one in opened.items()}, rounds)
    for name, one in opened.items():
        files[name]["rows_per_second"] = len(made.many) / many[name]
        files[name]["single_ms"] = single_ms(one, made.single)
    return files


def save_briefly_trained(made: Made, path: Path) -> None:
    with unheard():
        trainer = pl.Trainer(max_steps=5, accelerator="cpu", devices=1, logger=False, enable_checkpointing=False)
        trainer.fit(made.module, made.data.train_dataloader())
        trainer.save_checkpoint(path, weights_only=True)


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    found = work()
    return time.perf_counter() - start, found


def alternately(ways: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Return the median seconds of each function; they alternate, so that a slow minute affects all of them."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():
        way()
    for _ in range(rounds):
        for name, way in ways.items():
            seconds[name].append(timed(way)[0])
    return {name: statistics.median(values) for name, values in seconds.items()}


def single_ms(one: Predictor | OnnxPredictor, rows: Sequence[Any]) -> float:
    for row in rows[:WARM_UP]:
        one.predict(row)
    return 1_000 * statistics.median(timed(partial(one.predict, row))[0] for row in rows)


def to_markdown(result: Mapping[str, Any]) -> str:
    """Return a table with one line per module and kind of file."""
    heads = ["module", "file", "KB", "written in s", "opened in s", "raw rows or photos per second", "one, ms"]
    keys = [
        ("bytes", 1e-3, ",.0f"),
        ("write_seconds", 1, ".1f"),
        ("open_seconds", 1, ".2f"),
        ("rows_per_second", 1, ",.0f"),
        ("single_ms", 1, ".2f"),
    ]
    lines = [
        [module, name, *(shown(facts.get(key), scale, form) for key, scale, form in keys)]
        for module, files in result["modules"].items()
        for name, facts in files.items()
    ]
    said = f"At most {result['rows']:,} rows of a table, or {result['photos']:,} JPEG files of 500 x 375 pixels."
    return f"{table(heads, lines)}\n\n{said} {describe_run(dict(result))}"


def shown(value: float | None, scale: float, form: str) -> str:
    return "" if value is None else format(value * scale, form)


if __name__ == "__main__":
    main()
