"""Compare tabvision with other libraries: same rows, layers, batch, epochs and threads; alternating, one process per run.

    python -m venv peers && peers/bin/pip install -r benchmarks/peers-requirements.txt
    python benchmarks/peers.py --peers-python peers/bin/python --threads 1 --out benchmarks/results/peers.json

It measures training rows per second (rows seen per median epoch, without validation and start-up) and quality on the same
validation rows after equal epochs. A library that is not installed is reported as missing. Each library prepares the data
in its own way from the same CSV. fastai trains at the rate `--fastai-lr`, the others at `--lr`, and tabvision at its
default.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from sklearn.metrics import roc_auc_score

from benchmarks.common import describe_run, last_json, make_parser, run_facts, spread_of, table, tell
from benchmarks.peer_runs.protocol import NOT_INSTALLED
from benchmarks.tables import SETS
from tabvision.data import TabularDataModule

RUNS = Path(__file__).resolve().parent / "peer_runs"
PEERS = ("tabvision", "fastai", "pytorch_tabular", "skorch")
FASTAI_LR = 2e-2  # better on both sets than 1e-2 and than its own default, 1e-3
LR = 2e-2


def main(words: Sequence[str] | None = None) -> None:
    options = parse(words)
    pythons = dict.fromkeys(PEERS, options.peers_python) | {"tabvision": sys.executable} | dict(options.python_of)
    result = {
        **run_facts(options.threads),
        "rounds": options.rounds,
        "sets": {name: measure(name, pythons, options) for name in options.sets},
    }
    tell(result, to_markdown(result), options.out)


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("--peers-python", default=sys.executable, help="the Python of the peers' environment")
    parser.add_argument(
        "--python-of", action="append", type=_pair, default=[], metavar="PEER=PYTHON", help="for one peer"
    )
    parser.add_argument("--peers", type=lambda text: text.split(","), default=list(PEERS))
    parser.add_argument("--sets", type=lambda text: text.split(","), default=list(SETS))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3, help="each with a seed of its own")
    parser.add_argument("--epochs", type=int, help="the set's own if not given")
    parser.add_argument("--fastai-lr", type=float, default=FASTAI_LR)
    parser.add_argument("--lr", type=float, default=LR)
    parser.add_argument("--dropout", type=float, default=0.0, help="after each hidden layer, in all alike (default 0)")
    parser.add_argument("--rows", type=int, help="only the first rows, to try things")
    return parser.parse_args(words)


def measure(name: str, pythons: Mapping[str, str], options: argparse.Namespace) -> dict[str, Any]:
    """Return all runs on one data set, alternating between libraries."""
    chosen = SETS[name]
    with tempfile.TemporaryDirectory() as scratch:
        data = chosen.make(chosen.batch_size)
        csv = Path(scratch) / "rows.csv"
        truth = write_rows(data, csv, options.rows)
        spec = {
            "csv": str(csv),
            "target": data.schema.target.columns[0],
            "categorical": [column.name for column in data.schema.categorical],
            "continuous": [column.name for column in data.schema.continuous],
            "metric": chosen.metric,
            "epochs": options.epochs or chosen.epochs,
            "batch_size": chosen.batch_size,
            "threads": options.threads,
            "dropout": options.dropout,
            "lr": options.lr,
            "fastai_lr": options.fastai_lr,
        }
        found: dict[str, list[dict[str, Any]]] = {peer: [] for peer in options.peers}
        for seed in range(options.rounds):
            for peer, runs in found.items():
                runs.append(run_peer(peer, pythons[peer], {**spec, "seed": seed}, truth, Path(scratch)))
                print(name, peer, json.dumps(runs[-1]), file=sys.stderr)
    kept = ("metric", "epochs", "batch_size", "dropout", "lr", "fastai_lr")
    return {**{key: spec[key] for key in kept}, "peers": {peer: summary(runs) for peer, runs in found.items()}}


def write_rows(data: TabularDataModule, path: Path, num_rows: int | None) -> Any:  # noqa: ANN401 - an array
    """Write the raw rows with a column `part`, and return the validation targets in the file's order."""
    frame = data.frame.assign(part="train")
    frame.loc[data.parts["val"].rows.numpy(), "part"] = "validation"
    frame = frame.iloc[:num_rows]
    frame.to_csv(path, index=False)
    truth = frame.loc[frame["part"] == "validation", data.schema.target.columns[0]]
    return (truth == "yes").to_numpy() if data.schema.task.is_classes else truth.to_numpy()


def run_peer(peer: str, python: str, spec: dict[str, Any], truth: Any, scratch: Path) -> dict[str, Any]:  # noqa: ANN401
    """Train once in a new process, and return the measurements, or the reason that there are none."""
    path, answers = scratch / "spec.json", scratch / "answers.npy"
    answers.unlink(missing_ok=True)
    path.write_text(json.dumps({**spec, "predictions": str(answers)}), encoding="utf-8")
    environment = {**os.environ, "OMP_NUM_THREADS": str(spec["threads"]), "PYTHONWARNINGS": "ignore"}
    command = [python, str(RUNS / f"run_{peer}.py"), str(path)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    except OSError as error:
        return {"missing": f"no Python there ({error.strerror})"}
    if done.returncode == NOT_INSTALLED:
        return {"missing": last_json(done.stdout)["missing"]}
    if done.returncode:
        return {"failed": done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"exit {done.returncode}"}
    answer = last_json(done.stdout)
    speed = answer["rows_per_epoch"] / statistics.median(answer["epoch_seconds"])
    quality = score(spec["metric"], truth, np.load(answers))
    return {"rows_per_second": speed, "quality": quality, "versions": answer["versions"]}


def score(metric: str, truth: Any, predictions: Any) -> float:  # noqa: ANN401 - arrays
    """Return the area under the ROC curve, or the root mean squared error.

    Example:
        >>> score("rmse", np.array([1.0, 2.0]), np.array([4.0, 5.0]))
        3.0
    """
    if len(truth) != len(predictions):
        raise ValueError(f"{len(truth)} validation rows, but {len(predictions)} predictions")
    if metric == "auroc":
        return float(roc_auc_score(truth, predictions))
    return float(np.sqrt(np.mean((truth - predictions) ** 2)))


def summary(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the median speed and mean quality of the successful runs, or the reason that none succeeded."""
    worked = [run for run in runs if "quality" in run]
    if not worked:
        return dict(runs[0])
    speeds = [run["rows_per_second"] for run in worked]
    return {
        "rows_per_second": {"median": statistics.median(speeds), "rounds": speeds},
        "quality": spread_of([run["quality"] for run in worked]),
        "versions": worked[0]["versions"],
        "failed_runs": [run for run in runs if run not in worked],
    }


def to_markdown(result: Mapping[str, Any]) -> str:
    """Return the figures as one table per data set."""
    parts = []
    for name, facts in result["sets"].items():
        dropout = f", dropout {facts['dropout']}" if facts.get("dropout") else ""
        title = f"{name}, batch {facts['batch_size']:,}, {facts['epochs']} epochs{dropout}"
        headers = [title, "rows/s", "ours is … times as fast", facts["metric"], "spread"]
        ours = facts["peers"].get("tabvision", {})
        parts.append(table(headers, [_row(peer, found, ours) for peer, found in facts["peers"].items()]))
    return "\n\n".join([*parts, f"{describe_run(dict(result))}."])


def _row(peer: str, found: Mapping[str, Any], ours: Mapping[str, Any]) -> list[str]:
    if "quality" not in found:
        reason = f"not installed: {found['missing']}" if "missing" in found else f"failed: {found['failed']}"
        return [peer, reason, "", "", ""]
    speed, own = found["rows_per_second"]["median"], ours.get("rows_per_second", {}).get("median")
    name = f"{peer} {found['versions'].get(peer.replace('_', '-'), '')}".strip()
    ratio = f"{own / speed:.2f}" if own else ""
    return [name, f"{speed:,.0f}", ratio, f"{found['quality']['mean']:.4f}", f"{found['quality']['spread']:.4f}"]


def _pair(text: str) -> tuple[str, str]:
    name, _, path = text.partition("=")
    return name, path


if __name__ == "__main__":
    main()
