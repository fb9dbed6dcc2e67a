"""Sizes and speeds of one model as a checkpoint and as exported files.

    python benchmarks/export.py --threads 1 --out benchmarks/results/export.json

The net is the flights recipe's after a few steps: weights do not change the speed. Each way answers the same raw rows to a
frame with labels and probabilities; the ways take turns. Times are medians.
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

import torch

from benchmarks.common import commit, machine, table, versions, write_json
from benchmarks.prediction_speed import briefly_trained
from benchmarks.tables import SETS
from tabvision.inference import OnnxPredictor, Predictor, export

RAW_ROWS = 100_000
WARM_UP = 50


def main(words: Sequence[str] | None = None) -> None:
    options = parse(words)
    torch.set_num_threads(options.threads)
    files = measure(options.threads, options.rounds, options.singles, options.raw_rows)
    result = {
        "machine": machine(options.threads),
        "versions": versions(),
        "commit": commit(),
        "files": files,
    }
    print(to_markdown(files))
    if options.out:
        write_json(options.out, result)


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--singles", type=int, default=1_000, help="single rows to answer")
    parser.add_argument("--raw-rows", type=int, default=RAW_ROWS, help="rows of the raw frame")
    parser.add_argument("--out", type=Path, help="a JSON file for the figures")
    return parser.parse_args(words)


def measure(threads: int, rounds: int, singles: int, raw_rows: int) -> dict[str, dict[str, float]]:
    """Bytes, seconds to write and to open, rows a second and milliseconds a single row, of each kind of file."""
    data = SETS["flights"].make(SETS["flights"].batch_size)
    raw = data.frame.drop(columns="late").iloc[:raw_rows]
    with tempfile.TemporaryDirectory() as scratch:
        checkpoint, onnx = Path(scratch) / "net.ckpt", Path(scratch) / "net.onnx"
        briefly_trained(data, checkpoint)
        files = {"checkpoint": {"bytes": float(checkpoint.stat().st_size), "write_seconds": float("nan")}}
        for path in (onnx, onnx.with_suffix(".pt2")):
            seconds, done = timed(partial(export, checkpoint, path))
            files[path.suffix] = {"bytes": float(done.num_bytes), "write_seconds": seconds}
        opened: dict[str, Predictor | OnnxPredictor] = {}
        seconds, opened["checkpoint"] = timed(partial(Predictor, checkpoint, device="cpu"))
        files["checkpoint"]["open_seconds"] = seconds
        seconds, opened[".onnx"] = timed(partial(OnnxPredictor, onnx, threads=threads))
        files[".onnx"]["open_seconds"] = seconds
    rows = raw.iloc[:singles].to_dict("records")
    many = alternately({name: partial(one.predict, raw) for name, one in opened.items()}, rounds)
    for name, one in opened.items():
        files[name]["rows_per_second"] = len(raw) / many[name]
        files[name]["single_ms"] = single_ms(one, rows)
    return files


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    found = work()
    return time.perf_counter() - start, found


def alternately(ways: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """The median seconds of each way; they take turns, so that a slow minute hits all of them."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            seconds[name].append(timed(way)[0])
    return {name: statistics.median(values) for name, values in seconds.items()}


def single_ms(one: Predictor | OnnxPredictor, rows: Sequence[Mapping[str, Any]]) -> float:
    for row in rows[:WARM_UP]:
        one.predict(row)
    return 1_000 * statistics.median(timed(partial(one.predict, row))[0] for row in rows)


def to_markdown(files: Mapping[str, Mapping[str, float]]) -> str:
    """One line a kind of file."""
    heads = ["file", "KB", "written in s", "opened in s", "raw rows a second", "one row, ms"]
    keys = [
        ("bytes", 1e-3, ".0f"),
        ("write_seconds", 1, ".1f"),
        ("open_seconds", 1, ".2f"),
        ("rows_per_second", 1, ",.0f"),
        ("single_ms", 1, ".2f"),
    ]
    lines = [
        [name, *(shown(facts.get(key), scale, form) for key, scale, form in keys)] for name, facts in files.items()
    ]
    return table(heads, lines)


def shown(value: float | None, scale: float, form: str) -> str:
    return "" if value is None or value != value else format(value * scale, form)  # noqa: PLR0124 - NaN alone is not itself


if __name__ == "__main__":
    main()
