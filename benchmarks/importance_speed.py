"""Speed of permutation importance for a table's columns, compared with scikit-learn's on our own Predictor.

    python benchmarks/importance_speed.py --threads 2 --out benchmarks/results/importance_speed.json

The table is synthetic: half of the columns are numbers, half categories with up to 80 values. The networks are those for a
small and a large table, untrained, since weights do not affect speed. scikit-learn gets fewer rows, alternating with ours on
the same rows; a pass predicts every row once with one column shuffled.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import pandas as pd
import torch
from sklearn.inspection import permutation_importance

from benchmarks.common import describe_run, make_parser, run_facts, table, tell
from tabvision.data import TabularDataModule
from tabvision.inference import Predictor
from tabvision.interpret import importance
from tabvision.modules import TabularModule

CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "processor": time.process_time}
NETS: dict[str, dict[str, Any]] = {  # what `TabularModule` chooses by the number of training rows
    "small": {"members": 8, "member_widths": [64, 48], "own_inputs": True},
    "large": {"members": 4, "member_widths": [96, 64], "own_inputs": False},
}


def main(words: Sequence[str] | None = None) -> None:
    options = parse(words)
    torch.set_num_threads(options.threads)
    frame = made_table(options.rows, options.columns)
    result = {
        **run_facts(options.threads),
        **{name: getattr(options, name) for name in ("rows", "columns", "repeats", "peer_rows", "clock")},
        "nets": {name: measure(frame, settings, options) for name, settings in NETS.items()},
    }
    tell(result, to_markdown(result), options.out)


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=65_000)
    parser.add_argument("--columns", type=int, default=30)
    parser.add_argument("--repeats", type=int, default=5, help="shuffles of a column")
    parser.add_argument(
        "--clock", choices=CLOCKS, default="wall", help="processor: CPU time, steadier on a busy machine"
    )
    parser.add_argument("--peer-rows", type=int, default=2_000, help="rows for scikit-learn")
    return parser.parse_args(words)


def made_table(rows: int, columns: int) -> pd.DataFrame:
    """Return a table of numbers and categories, with a target that depends on the first number."""
    draw = np.random.default_rng(0)
    numbers = {f"number {index}": draw.normal(size=rows) for index in range(columns // 2)}
    words = np.array([f"value {index}" for index in range(80)])
    names = {
        f"name {index}": words[draw.integers(3 + 5 * index % 80, size=rows)] for index in range(columns - columns // 2)
    }
    return pd.DataFrame({**numbers, **names, "target": numbers["number 0"] + draw.normal(size=rows)})


def measure(frame: pd.DataFrame, settings: Mapping[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """Return seconds for the whole table and for the default sample, and both libraries' microseconds per row and pass."""
    data = TabularDataModule(frame, "target", split=None, verbose=False)
    predictor = Predictor(TabularModule(data.schema, **settings), device="cpu")
    few, columns = frame.iloc[: options.peer_rows], [name for name in frame if name != "target"]
    passes = options.peer_rows * options.columns * options.repeats

    class Estimator:  # scikit-learn looks for `fit`
        predict = predictor.predict

        def fit(self) -> None: ...

    def error(estimator: Estimator, rows: pd.DataFrame, truth: pd.Series[float]) -> float:
        return -float(((estimator.predict(rows)["prediction"].to_numpy() - truth.to_numpy()) ** 2).mean())

    def ask_peer() -> object:
        return permutation_importance(
            Estimator(), few[columns], few["target"], scoring=error, n_repeats=options.repeats, random_state=0
        )

    ways: dict[str, Callable[[], object]] = {
        "whole": lambda: importance(predictor, frame, max_rows=None, repeats=options.repeats),
        "sample": lambda: importance(predictor, frame, repeats=options.repeats),
        "few": lambda: importance(predictor, few, repeats=options.repeats),
        "peer": ask_peer,
    }
    ways["few"]()  # warm up
    now = CLOCKS[options.clock]
    rounds = [{name: seconds_of(work, now) for name, work in ways.items()} for _ in range(options.rounds)]
    found = {name: [times[name] for times in rounds] for name in ways}
    return {
        "seconds": {name: found[name] for name in ("whole", "sample")},
        "microseconds": {name: [1e6 * each / passes for each in found[name]] for name in ("few", "peer")},
    }


def seconds_of(work: Callable[[], object], now: Callable[[], float]) -> float:
    start = now()
    work()
    return now() - start


def to_markdown(result: Mapping[str, Any]) -> str:
    """Return a table with one line per network."""
    rows = []
    for name, facts in result["nets"].items():
        seconds, each = facts["seconds"], facts["microseconds"]
        ratios = [peer / own for own, peer in zip(each["few"], each["peer"], strict=True)]
        times = f"{statistics.median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f})"
        median = {word: statistics.median(values) for word, values in (seconds | each).items()}
        words = [
            f"{median['whole']:.1f} s",
            f"{median['sample']:.1f} s",
            f"{median['few']:.1f} µs",
            f"{median['peer']:.1f} µs",
        ]
        rows.append([f"network of a {name} table", *words, times])
    headers = [
        f"importance, {result['columns']} columns, {result['repeats']} repeats",
        f"{result['rows']:,} rows",
        "the default sample",
        "per row and pass",
        "scikit-learn, per row and pass",
        "times as fast",
    ]
    unit = "" if result["clock"] == "wall" else "CPU seconds, not wall-clock time.\n\n"
    return f"{table(headers, rows)}\n\n{unit}{describe_run(dict(result))}."


if __name__ == "__main__":
    main()
