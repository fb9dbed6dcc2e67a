"""How each stage's time and memory grow with rows, columns, values, classes, photos, pairs and ranks, with fitted exponents.

    python benchmarks/scaling.py --out benchmarks/results/scaling.json
    python benchmarks/scaling.py --curves rows,ranks --out benchmarks/results/scaling.json    # measure these, keep the rest

Each size of each curve runs in its own process, forked after the imports, which does all the work once at a small size
before it measures. Seconds are CPU time in one thread, since the machine may be shared.
"""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch

from benchmarks.common import ROOT, describe_run, make_parser, run_facts, table, tell
from benchmarks.scaling_ranks import KINDS, RANK_ROWS, train
from benchmarks.scaling_stages import CURVES, SMALL, Curve, Stages, make_rows

LEAST = {"seconds": 0.01, "mib": 8.0}  # smaller growth is noise and is not fitted
FEWEST = 3  # the fewest sizes for a fit
MAX_RANKS = 4


def main(words: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__)
    known = [*CURVES, "ranks"]
    parser.add_argument(
        "--curves", type=lambda text: text.split(","), default=known, help=f"some of {', '.join(known)}"
    )
    parser.add_argument("--folder", type=Path, help="the folder for the data (default: a temporary one)")
    parser.add_argument("--rank", nargs=2, metavar=("RANKS", "KIND"), help="what one of several ranks runs")
    options = parser.parse_args(words)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    if options.rank:
        train(options.folder, int(options.rank[0]), options.rank[1], options.out)
        return
    before = json.loads(options.out.read_text(encoding="utf-8")) if options.out and options.out.exists() else {}
    curves = before.get("curves", {})
    result = {**before, **run_facts(threads=1), "curves": curves}
    for name in options.curves:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            if name == "ranks":
                result["ranks"] = measure_ranks(Path(folder))
            else:
                curves[name] = measure(CURVES[name], Path(folder))
        tell(result, f"{name} done", options.out)
    print(to_markdown(result))


def measure(curve: Curve, folder: Path) -> dict[str, Any]:
    """Return the stages at each size."""
    found = []
    small = folder / "small"
    small.mkdir()
    curve.make(SMALL if curve.small is None else curve.small, small)
    for size in curve.sizes:
        data = folder / ("all" if curve.grows else str(size))
        data.mkdir(exist_ok=True)
        found.append(apart(curve, size, data, small))
    stages = {name: _stage([each[name] for each in found]) for name in found[0]}
    return {"title": curve.title, "unit": curve.unit, "sizes": [*curve.sizes], "stages": stages}


def _stage(points: Sequence[Mapping[str, float]]) -> dict[str, list[float]]:
    return {what: [round(point[what], 4) for point in points] for what in points[0]}


def apart(curve: Curve, size: int, data: Path, small: Path) -> dict[str, dict[str, float]]:
    """Make the data and do the work on it, each in its own process."""
    context = multiprocessing.get_context("fork")
    run = context.Process(target=curve.make, args=(size, data))
    run.start()
    run.join()
    receiver, sender = context.Pipe(duplex=False)
    run = context.Process(target=_work, args=(curve, size, data, small, sender))
    run.start()
    sender.close()
    try:
        found: dict[str, dict[str, float]] = receiver.recv()
    except EOFError as error:
        raise RuntimeError(f"{curve.title}, {size:,}: the process failed") from error
    run.join()
    return found


def _work(curve: Curve, size: int, data: Path, small: Path, sender: Any) -> None:  # noqa: ANN401
    scratch = Path(tempfile.mkdtemp(dir=small.parent))
    for file in small.iterdir():
        (scratch / file.name).symlink_to(file)
    curve.work(scratch, SMALL if curve.small is None else curve.small, Stages())
    stages = Stages()
    curve.work(data, size, stages)
    sender.send(stages.found)


def measure_ranks(folder: Path) -> list[dict[str, Any]]:
    """Fit on one to four ranks, with a table in memory and a prepared one."""
    make_rows(RANK_ROWS, folder)
    found = []
    for kind in KINDS:
        for ranks in range(1, MAX_RANKS + 1):
            environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
            out = folder / f"{kind}-{ranks}"
            words = ["--rank", str(ranks), kind, "--folder", str(folder), "--out", str(out)]
            command = [sys.executable, str(Path(__file__).resolve()), *words]
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=900)
            if done.returncode:
                raise RuntimeError(done.stderr[-4_000:])
            each = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(out.iterdir())]
            found.append({"kind": kind, "ranks": ranks, **{name: [rank[name] for rank in each] for name in each[0]}})
            time.sleep(0.1)
    return found


def exponent(sizes: Sequence[float], values: Sequence[float], least: float = 0.0) -> dict[str, float]:
    """Return the exponent with which a value grows with size, its standard error, and the growth per additional unit.

    To remove a constant, the first point is subtracted from all others, both sizes and values; then a line is fitted by
    least squares to the logarithms of the differences above `least`. The growth per unit is the slope between the last two
    points.

    Example:
        >>> found = exponent([10, 20, 40, 80, 160], [5 + 3 * size for size in (10, 20, 40, 80, 160)])
        >>> round(found["exponent"], 6), round(found["error"], 6), found["unit"]
        (1.0, 0.0, 3.0)
    """
    size, value = (np.asarray(each[1:], dtype=float) - each[0] for each in (sizes, values))
    x, y = np.log(size[value > least]), np.log(value[value > least])
    slope, constant = np.polyfit(x, y, 1)
    residual = y - constant - slope * x
    error = math.sqrt(float(residual @ residual) / max(1, len(x) - 2) / float(((x - x.mean()) ** 2).sum()))
    unit = (values[-1] - values[-2]) / (sizes[-1] - sizes[-2])
    return {"exponent": float(slope), "error": error, "unit": unit}


def growth(curve: Mapping[str, Any], stage: str, what: str) -> dict[str, float] | None:
    """Return the exponent of a stage's "seconds" or "mib"; None if it hardly grows."""
    values = curve["stages"][stage].get(what)
    if values is None or sum(value - values[0] > LEAST[what] for value in values) < FEWEST:
        return None
    return exponent(curve["sizes"], values, LEAST[what])


def power(found: Mapping[str, float]) -> str:
    """Format an exponent and its standard error."""
    return f"{found['exponent']:.2f} ± {found['error']:.2f}"


def to_markdown(result: Mapping[str, Any]) -> str:
    """Return one table per curve: seconds and memory at the largest size, exponents, and the cost of one more unit."""
    parts = []
    for curve in result["curves"].values():
        sizes, unit = curve["sizes"], curve["unit"]
        headers = [
            curve["title"],
            f"s at {sizes[-1]:,}",
            "exponent",
            f"µs per {unit}",
            "MiB",
            "exponent",
            f"bytes per {unit}",
        ]
        rows = [
            [stage, *_cells(curve, stage, "seconds", 1e6), *_cells(curve, stage, "mib", 2**20)]
            for stage in curve["stages"]
        ]
        parts.append(table(headers, rows))
    if "ranks" in result:
        parts.append(ranks_to_markdown(result["ranks"]))
    return "\n\n".join([*parts, f"{NOTE} {describe_run(dict(result))}."])


NOTE = (
    "Seconds are CPU time. MiB are the peak private memory of the process beyond its imports, including what earlier stages "
    "hold. Exponents, with their standard errors, are fitted to five sizes after the figures of a sixth, smallest size are "
    "subtracted; - means that fewer than three sizes grow by more than 10 ms or 8 MiB. The cost per unit is the slope "
    "between the two largest sizes."
)


def _cells(curve: Mapping[str, Any], stage: str, what: str, scale: float) -> list[str]:
    values, found = curve["stages"][stage].get(what), growth(curve, stage, what)
    largest = "" if values is None else f"{values[-1]:,.2f}" if what == "seconds" else f"{max(0.0, values[-1]):,.0f}"
    if found is None:
        return [largest, "" if values is None else "-", ""]
    return [largest, power(found), f"{max(0.0, found['unit'] * scale):,.3g}"]


def ranks_to_markdown(runs: Sequence[Mapping[str, Any]]) -> str:
    """Return a table with one line per fit."""
    headers = [
        f"Ranks: a table of {RANK_ROWS:,} rows",
        "private MiB per rank",
        "MiB of all ranks, shared pages once",
        "MB all-reduced per step",
        "CPU ms per rank and step",
        "ms per step",
        "MB/s of an all-reduce alone",
    ]
    lines = [
        [
            f"{run['kind']}, {run['ranks']}",
            f"{max(run['private_mib']):,.0f}",
            f"{sum(run['shared_mib']):,.0f}",
            f"{run['bytes'][0] / 1e6:,.2f}" if run["ranks"] > 1 else "",
            f"{statistics.fmean(run['cpu']) * 1e3:,.1f}",
            f"{statistics.fmean(run['wall']) * 1e3:,.1f}",
            f"{run['bandwidth'][0] / 1e6:,.0f}" if run["ranks"] > 1 else "",
        ]
        for run in runs
    ]
    return table(headers, lines)


if __name__ == "__main__":
    main()
