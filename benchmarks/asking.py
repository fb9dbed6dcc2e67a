"""Prediction speed on raw flights compared with fastai: 100,000 rows at once, and one row at a time.

    python -m venv peers && peers/bin/pip install -r benchmarks/peers-requirements.txt
    python benchmarks/asking.py --fastai-python peers/bin/python --threads 1 --out benchmarks/results/asking.json

Both networks have hidden layers of 200 and 100 and train for a few steps, since weights do not affect speed. fastai predicts
a frame with `test_dl` and `get_preds`, at its default batch size and at 4,096, and a single row with `predict`; tabvision
uses `Predictor` with nothing but the checkpoint. Each run has its own process.
"""

from __future__ import annotations

import argparse
import importlib
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.beside_fastai import in_turns, make_peers_parser
from benchmarks.common import describe_run, run_facts, spread_of, table, tell

TRAINING_ROWS, TIMES = 20_000, 3
NUMBERS = ["distance", "sched_dep_time", "sched_arr_time"]  # the other columns, except the target, are categories
LARGE_BATCH = 4_096


def main(words: Sequence[str] | None = None) -> None:
    options = parse(words)
    if options.run:
        print(json.dumps(RUNS[options.run](options)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "flights.csv"
        num_rows = write_flights(path, options.rows)
        counts = ["--rows", str(options.rows), "--singles", str(options.singles)]
        runs = in_turns(__file__, ["--csv", str(path), *counts], options, RUNS)
    result = {**run_facts(options.threads), "rows": num_rows, "runs": runs}
    tell(result, to_markdown(result), options.out)


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    parser = make_peers_parser(__doc__, RUNS)
    parser.add_argument("--rows", type=int, default=100_000, help="raw rows to predict at once")
    parser.add_argument("--singles", type=int, default=300, help="rows to predict one by one")
    parser.add_argument("--csv", help=argparse.SUPPRESS)
    return parser.parse_args(words)


def write_flights(path: Path, rows: int) -> int:
    """Write the raw flights with the recipe's columns, and return how many rows to predict."""
    from benchmarks.tables import SETS

    frame = SETS["flights"].make(SETS["flights"].batch_size).frame.iloc[: max(rows, TRAINING_ROWS)]
    frame.to_csv(path, index=False)
    return min(rows, len(frame))


def run_tabvision(options: argparse.Namespace) -> dict[str, Any]:
    """Time a Predictor that has opened a checkpoint."""
    import pandas as pd
    import pytorch_lightning as pl
    import torch

    from benchmarks.quiet import unheard
    from tabvision.data import TabularDataModule
    from tabvision.inference import Predictor
    from tabvision.modules import TabularModule

    torch.set_num_threads(options.threads)
    frame = pd.read_csv(options.csv)
    training = frame.iloc[:TRAINING_ROWS]
    data = TabularDataModule(
        training, "late", categorical=categories(frame), continuous=NUMBERS, batch_size=LARGE_BATCH, verbose=False
    )
    trainer = pl.Trainer(max_epochs=1, accelerator="cpu", devices=1, logger=False, enable_checkpointing=False)
    with unheard(), tempfile.TemporaryDirectory() as scratch:
        trainer.fit(TabularModule(data.schema), data)
        trainer.save_checkpoint(path := Path(scratch) / "net.ckpt")
        predictor = Predictor(path, device="cpu")
    raw = frame.iloc[: options.rows].drop(columns="late")
    rows = raw.sample(options.singles, random_state=0).to_dict("records")
    return {
        "default": rate(len(raw), lambda: predictor.predict(raw)),
        "single": one_by_one(rows, predictor.predict),
    }


def run_fastai(options: argparse.Namespace) -> dict[str, Any]:
    """Time fastai's learner."""
    import pandas as pd
    import torch

    fastai: Any = importlib.import_module("fastai.tabular.all")
    torch.set_num_threads(options.threads)
    frame = pd.read_csv(options.csv)
    text = [name for name in frame.columns if not pd.api.types.is_numeric_dtype(frame[name])]
    frame = frame.astype(dict.fromkeys(text, object))
    loaders = fastai.TabularDataLoaders.from_df(
        frame.iloc[:TRAINING_ROWS],
        procs=[fastai.Categorify, fastai.FillMissing, fastai.Normalize],
        cat_names=categories(frame.columns),
        cont_names=NUMBERS,
        y_names="late",
        y_block=fastai.CategoryBlock(),
    )
    learner = fastai.tabular_learner(loaders, layers=[200, 100])
    raw = frame.iloc[: options.rows].drop(columns="late")
    rows = [row for _, row in raw.sample(options.singles, random_state=0).iterrows()]
    with learner.no_bar(), learner.no_logging():
        learner.fit(1)
        return {
            "default": rate(len(raw), lambda: learner.get_preds(dl=loaders.test_dl(raw))),
            "large batch": rate(len(raw), lambda: learner.get_preds(dl=loaders.test_dl(raw, bs=LARGE_BATCH))),
            "single": one_by_one(rows, learner.predict),
        }


def categories(columns: Iterable[str]) -> list[str]:
    """Return the columns that are not numbers."""
    return [name for name in columns if name not in (*NUMBERS, "late")]


def rate(num_rows: int, work: Callable[[], object]) -> float:
    """Return rows per second, the median of several runs after a warm-up."""
    work()
    return num_rows / statistics.median(seconds_of(work) for _ in range(TIMES))


def one_by_one(rows: Sequence[Any], ask: Callable[[Any], object]) -> float:
    """Return the median milliseconds per row, after a tenth of the rows as warm-up."""
    times = [seconds_of(lambda row=row: ask(row)) for row in rows]  # type: ignore[misc]  # a lambda's default
    return statistics.median(times[len(times) // 10 :]) * 1e3


def seconds_of(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def to_markdown(result: Mapping[str, Any]) -> str:
    """Return a table with one line per way to predict, each compared with tabvision."""
    ours, theirs = result["runs"]["tabvision"], result["runs"]["fastai"]
    asked = {"default": "default batch", "large batch": f"batch {LARGE_BATCH:,}"}
    own, rows = spread_of([run["default"] for run in ours])["mean"], []
    for name, words in asked.items():
        ratios = [mine["default"] / other[name] for mine, other in zip(ours, theirs, strict=True)]
        speed = spread_of([run[name] for run in theirs])["mean"]
        label = f"{result['rows']:,} rows, fastai at its {words}" if name == "default" else f"fastai at {words}"
        rows.append([label, f"{speed:,.0f} rows/s", f"{own:,.0f} rows/s", _ratio(ratios)])
    single = [spread_of([run["single"] for run in runs])["mean"] for runs in (theirs, ours)]
    ratios = [other["single"] / mine["single"] for mine, other in zip(ours, theirs, strict=True)]
    rows.append(["one row", *(f"{each:.2f} ms" for each in single), _ratio(ratios)])
    return f"{table(['raw flights', 'fastai', 'tabvision', 'times as fast'], rows)}\n\n{describe_run(dict(result))}."


def _ratio(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.1f} ({min(values):.1f} to {max(values):.1f})"


RUNS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {"fastai": run_fastai, "tabvision": run_tabvision}


if __name__ == "__main__":
    main()
