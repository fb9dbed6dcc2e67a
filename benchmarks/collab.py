"""Compare tabvision with fastai on MovieLens 100k: same rows, factors, batch, epochs, decay and threads, alternating.

    python -m venv peers && peers/bin/pip install -r benchmarks/peers-requirements.txt
    python benchmarks/collab.py --peers-python peers/bin/python --out benchmarks/results/collab.json
    python benchmarks/collab.py --simulate 1000000       memory and step time with as many users and items

80 % of the rows train and the rest validate, by `RandomState(42).permutation`; 5 epochs of one-cycle at 5e-3, decay 0.1,
one thread. Each run has its own process; a round has one run of each library per batch size, and ratios are taken within
a round. Seconds are for the training in one epoch, without validation, the median of all epochs but the first.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.common import describe_run, last_json, make_parser, peak_memory_mib, run_facts, spread_of, table, tell

COLUMNS = ("user", "film", "rating")
EPOCHS, LR, DECAY, FACTORS = 5, 5e-3, 0.1, 50
TRAIN_SHARE = 0.8
SIMULATED_STEPS, SIMULATED_BATCH = 20, 1_024
ROWWISE = {"rows of the batch": True, "every row": False}  # the order matters: a process's peak memory never falls


def main(words: Sequence[str] | None = None) -> None:
    options = parse(words)
    if options.run:
        print(json.dumps(RUNS[options.run](options.csv, options.batch_sizes[0], options.seed)))
    elif options.simulate:
        runs = {name: simulate(options.simulate, rowwise=rowwise) for name, rowwise in ROWWISE.items()}
        found = {**run_facts(threads=1), "users": options.simulate, "items": options.simulate, "runs": runs}
        tell(found, simulation_to_markdown(found), options.out)
    else:
        result = {**run_facts(threads=1), "rounds": measure(options)}
        tell(result, to_markdown(result), options.out)


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("--peers-python", default=sys.executable, help="the Python of fastai's environment")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch-sizes", type=_numbers, default=[64, 1024], help="separated by commas")
    parser.add_argument("--simulate", type=int, metavar="N", help="measure N users and N items instead")
    parser.add_argument("--run", choices=RUNS, help=argparse.SUPPRESS)
    parser.add_argument("--csv", help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    return parser.parse_args(words)


def measure(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Return one entry per round and batch size, with each library's result."""
    from tabvision.data.demo import ratings

    rounds = []
    with tempfile.TemporaryDirectory() as folder:
        csv = Path(folder) / "ratings.csv"
        ratings()[list(COLUMNS)].to_csv(csv, index=False)
        for seed in range(options.rounds):
            for batch_size in options.batch_sizes:
                pythons = {"fastai": options.peers_python, "tabvision": sys.executable}
                found = {name: in_process(python, name, csv, batch_size, seed) for name, python in pythons.items()}
                rounds.append({"batch_size": batch_size, "seed": seed, **found})
                print(rounds[-1], file=sys.stderr)
    return rounds


def in_process(python: str, name: str, csv: Path, batch_size: int, seed: int) -> dict[str, Any]:
    words = ["--run", name, "--csv", str(csv), "--batch-sizes", str(batch_size), "--seed", str(seed)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [python, "-W", "ignore", __file__, *words]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, env=environment)
    if done.returncode:
        raise SystemExit(f"{name} failed; its message stands above")
    return last_json(done.stdout)


def run_tabvision(csv: str, batch_size: int, seed: int) -> dict[str, Any]:
    """Fit tabvision once with a normal Trainer and default settings."""
    import pytorch_lightning as pl
    import torch

    from benchmarks.clock import TrainingClock
    from datamodules.splits import benchmark_split
    from tabvision.callbacks import OneCycle
    from tabvision.data import CollabDataModule
    from tabvision.data.tables.read import read_frame
    from tabvision.modules import CollabModule

    torch.set_num_threads(1)
    pl.seed_everything(seed, verbose=False)
    frame = read_frame(csv)
    data = CollabDataModule(
        frame,
        user="user",
        item="film",
        rating="rating",
        split=benchmark_split(len(frame)),
        batch_size=batch_size,
        seed=seed,
        verbose=False,
    )
    clock = TrainingClock()
    module = CollabModule(data.schema, factors=FACTORS, lr=LR, weight_decay=DECAY)
    trainer = pl.Trainer(max_epochs=EPOCHS, accelerator="cpu", devices=1, logger=False, callbacks=[clock, OneCycle()],
                         enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False)  # fmt: skip
    trainer.fit(module, data)
    return _answer(float(trainer.callback_metrics["val/rmse"]), clock.epoch_seconds, len(data.parts["train"].rows))


def run_fastai(csv: str, batch_size: int, seed: int) -> dict[str, Any]:
    """Fit fastai's `collab_learner` once as in its book; its loader drops the last, shorter batch."""
    import numpy as np
    import pandas as pd
    import torch

    collab: Any = importlib.import_module("fastai.collab")
    fastai: Any = importlib.import_module("fastai.tabular.all")
    torch.set_num_threads(1)
    fastai.set_seed(seed)
    frame = pd.read_csv(csv)
    order = np.random.RandomState(42).permutation(len(frame))
    cut = int(TRAIN_SHARE * len(frame))
    kinds = {"y_names": ["rating"], "y_block": fastai.TransformBlock()}
    splits = (order[:cut].tolist(), order[cut:].tolist())
    rows = collab.TabularCollab(frame, [fastai.Categorify], ["user", "film"], splits=splits, **kinds)
    loaders = collab.CollabDataLoaders(*rows.dataloaders(bs=batch_size).loaders)
    loaders.classes = rows.classes
    learner = collab.collab_learner(loaders, n_factors=FACTORS, y_range=(0, 5.5))
    seconds: list[float] = []
    with learner.no_bar(), learner.no_logging():
        learner.fit_one_cycle(EPOCHS, LR, wd=DECAY, cbs=[_clock(fastai.Callback, seconds)])
        predicted, wanted = learner.get_preds(dl=loaders.valid)
    rmse = (predicted.view(-1) - wanted.view(-1)).square().mean().sqrt().item()
    return _answer(rmse, seconds, len(loaders.train) * batch_size)


def _clock(base: type, seconds: list[float]) -> Any:  # noqa: ANN401 - fastai has no types
    """Return a callback that times each epoch's training."""

    class Clock(base):  # type: ignore[misc]  # the base class is known only at run time
        def before_train(self) -> None:
            self.started = time.perf_counter()

        def after_train(self) -> None:
            seconds.append(time.perf_counter() - self.started)

    return Clock()


def simulate(num: int, *, rowwise: bool) -> dict[str, float]:
    """Return memory and step time for `num` users and as many items, with random pairs."""
    import torch

    from tabvision.modules import CollabModule
    from tabvision.schema import Categorical, Schema, Target
    from tabvision.tasks import Regression

    torch.set_num_threads(1)
    columns = tuple(Categorical(name=name, source=name, vocabulary=tuple(range(num))) for name in COLUMNS[:2])
    task = Regression(y_range=(0.5, 5.5), mean=(3.0,), spread=(1.0,))
    schema = Schema(target=Target(columns=("rating",), task=task), categorical=columns)
    module = CollabModule(schema, factors=FACTORS, rowwise=rowwise)
    optimizer = module.configure_optimizers()
    size = SIMULATED_STEPS * SIMULATED_BATCH
    pairs, stars = torch.randint(1, num + 1, (size, 2)), torch.rand(size, 1) * 4 + 1
    seconds = []
    for step in range(SIMULATED_STEPS):
        start, rows = time.perf_counter(), slice(SIMULATED_BATCH * step, SIMULATED_BATCH * (step + 1))
        loss = task.loss(module({"categorical": pairs[rows]}), stars[rows]).mean()
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        seconds.append(time.perf_counter() - start)
    held = sum(weight.numel() for weight in module.parameters()) * 4 / 2**20
    return {"step_seconds": statistics.median(seconds[2:]), "weights_mib": held, "peak_mib": peak_memory_mib()}


def _answer(rmse: float, seconds: list[float], rows: int) -> dict[str, Any]:
    epoch = statistics.median(seconds[1:])
    return {"rmse": rmse, "epoch_seconds": epoch, "rows_per_second": rows / epoch, "all_epochs": seconds}


def to_markdown(result: Mapping[str, Any]) -> str:
    """Return a table with one line per batch size: errors, seconds per epoch, and the speedup."""
    lines = []
    for size in sorted({entry["batch_size"] for entry in result["rounds"]}):
        rounds = [entry for entry in result["rounds"] if entry["batch_size"] == size]
        ratios = spread_of([entry["fastai"]["epoch_seconds"] / entry["tabvision"]["epoch_seconds"] for entry in rounds])
        cells = [f"{size:,}"]
        for name in ("fastai", "tabvision"):
            cells.append(f"{statistics.fmean(entry[name]['rmse'] for entry in rounds):.4f}")
            cells.append(f"{statistics.median(entry[name]['epoch_seconds'] for entry in rounds):.2f}")
        lines.append([*cells, f"{ratios['mean']:.1f} ({min(ratios['values']):.1f} to {max(ratios['values']):.1f})"])
    names = ["batch", "fastai RMSE", "s per epoch", "tabvision RMSE", "s per epoch", "times as fast"]
    return f"{table(names, lines)}\n\n{describe_run(dict(result))}."


def simulation_to_markdown(result: Mapping[str, Any]) -> str:
    """Return a table with one line per way to update: time per step, and memory."""
    headers = [f"{result['users']:,} users and as many items", "ms per step", "MiB of weights", "peak MiB"]
    lines = [
        [name, f"{run['step_seconds'] * 1e3:,.1f}", f"{run['weights_mib']:,.0f}", f"{run['peak_mib']:,.0f}"]
        for name, run in result["runs"].items()
    ]
    said = f"Each line says what an optimizer step updates. {SIMULATED_BATCH:,} ratings per step, {FACTORS} factors."
    return f"{table(headers, lines)}\n\n{said} {describe_run(dict(result))}."


def _numbers(text: str) -> list[int]:
    return [int(word) for word in text.split(",")]


RUNS: dict[str, Callable[[str, int, int], dict[str, Any]]] = {"fastai": run_fastai, "tabvision": run_tabvision}


if __name__ == "__main__":
    main()
