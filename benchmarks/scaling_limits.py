"""The tables in `docs/scaling.md`, from `scaling.json`: a summary of exponents, and estimates for a billion rows and 64 GPUs.

python benchmarks/scaling_limits.py    # rewrite both tables
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.common import ROOT, describe_run, table, write_text
from benchmarks.scaling import exponent, growth, power, ranks_to_markdown

DOCUMENT = ROOT / "docs" / "scaling.md"
RESULT = ROOT / "benchmarks" / "results" / "scaling.json"
ROWS, GPUS, PAIRS, PHOTOS, VALUES = 10**9, 64, 10**8, 10**6, 10**6
VALIDATION = 0.2  # fraction of the rows


def main() -> None:
    result = json.loads(RESULT.read_text(encoding="utf-8"))
    text = DOCUMENT.read_text(encoding="utf-8")
    for name, content in tables(result).items():
        before, rest = text.split(f"<!-- {name} -->\n")
        text = f"{before}<!-- {name} -->\n{content}\n<!-- end -->" + rest.split("<!-- end -->", 1)[1]
    write_text(DOCUMENT, text)


def tables(result: Mapping[str, Any]) -> dict[str, str]:
    """Return the document's tables by the name of their place in it."""
    return {"exponents": exponents(result), "ranks": ranks_to_markdown(result["ranks"]), "limits": limits(result)}


def exponents(result: Mapping[str, Any]) -> str:
    """Return a table with one line per stage whose time or memory grows with size."""
    lines = []
    for curve in result["curves"].values():
        found = [
            [stage, *_growth(curve, stage, "seconds", 1e6), *_growth(curve, stage, "mib", 2**20)]
            for stage in curve["stages"]
        ]
        lines += [[f"**{curve['title']}**", "", "", "", ""], *(line for line in found if any(line[1:]))]
    headers = ["stage", "µs per unit", "exponent of time", "bytes per unit", "exponent of memory"]
    return f"{table(headers, lines)}\n\n{describe_run(dict(result))}."


def _growth(curve: Mapping[str, Any], stage: str, what: str, scale: float) -> list[str]:
    found = growth(curve, stage, what)
    return ["", ""] if found is None else [f"{max(0.0, found['unit'] * scale):,.3g}", power(found)]


def limits(result: Mapping[str, Any]) -> str:
    """Return a table with one line per estimate: the factors and the result."""

    def one(curve: str, stage: str, what: str) -> float:
        """Return the cost of one more unit, in seconds or bytes."""
        found = result["curves"][curve]
        unit = exponent(found["sizes"], found["stages"][stage][what])["unit"]
        return unit * (2**20 if what == "mib" else 1)

    alone, *_, most = (run for run in result["ranks"] if run["kind"] == "in memory")
    sent, step = most["bytes"][0], statistics.fmean(alone["cpu"])
    ring = 2 * (GPUS - 1) / GPUS * sent
    disk, prepare = one("prepared", "arrays on the disk", "mib"), one("prepared", PREPARE, "seconds")
    epoch = 2 * one("prepared", TRAIN, "seconds")  # doubled, since half of the rows train
    answer = 2 * one("prepared", PREDICT, "seconds")
    merge = 2 * one("prepared", "merge shards", "seconds")
    memory = one("rows", DATA, "mib")
    pairs, photos = one("negatives", TAKEN, "mib"), one("one_folder", LISTING, "mib")
    weights = result["curves"]["cardinality"]["stages"]["weights"]["mib"][-1] * 2**20 / 1e6
    ids, saved = one("ids", EVERY, "mib"), one("ids", "checkpoint: weights and moments", "mib")
    seen = int(ROWS * VALIDATION)
    lines = [
        (
            "prepared arrays on the disk",
            f"{ROWS:.0e} rows x {disk:.0f} bytes",
            f"{ROWS * disk / 1e9:,.0f} GB per machine",
        ),
        ("preparing, on one core", f"{ROWS:.0e} x {prepare * 1e6:.2f} µs", f"{ROWS * prepare / 3600:.1f} hours"),
        ("an epoch, on one core", f"{ROWS:.0e} x {epoch * 1e6:.0f} µs", f"{ROWS * epoch / 3600:.1f} hours"),
        ("an epoch, on 64 such cores", "1/64, if communication keeps up", f"{ROWS * epoch / 60 / GPUS:.0f} minutes"),
        ("predictions, on one core", f"{ROWS:.0e} x {answer * 1e6:.1f} µs", f"{ROWS * answer / 3600:.1f} hours"),
        ("merging their shards, on one core", f"{ROWS:.0e} x {merge * 1e6:.2f} µs", f"{ROWS * merge / 60:.0f} minutes"),
        (
            "row numbers of all rows, while merging shards",
            f"{ROWS:.0e} x (8 bytes, and 8 more while sorting)",
            f"{ROWS * 16 / 1e9:.0f} GB",
        ),
        (
            "the table in memory, on each rank",
            f"{ROWS:.0e} x {memory:.0f} bytes",
            f"{ROWS * memory / 1e9:,.0f} GB: prepare it",
        ),
        (
            "validation metrics, gathered by each rank",
            f"{seen:.0e} rows x 8 bytes",
            f"{seen * 8 / 1e9:.1f} GB per rank, {GPUS * seen * 8 / 1e9:,.0f} GB in total",
        ),
        (
            "the order of an epoch",
            f"{ROWS:.0e} / 1,024 blocks x 40 bytes",
            f"{ROWS / 1024 * 40 / 1e6:.0f} MB per rank, and 13 MB for the window",
        ),
        ("gradients all-reduced per step, the default network", "4 bytes per weight", f"{sent / 1e6:.2f} MB"),
        (
            "sent and received by each of 64 ranks in a ring",
            f"2 x 63/64 x {sent / 1e6:.2f} MB",
            f"{ring / 1e6:.2f} MB",
        ),
        (
            "bandwidth at which that takes as long as a step here",
            f"{ring / 1e6:.2f} MB / {step * 1e3:.0f} ms",
            f"{ring / step / 1e6:.0f} MB/s",
        ),
        (
            "the same, on a device 100 times as fast",
            "x 100",
            f"{100 * ring / step / 1e9:.1f} GB/s",
        ),
        (
            f"weights of a category with {VALUES:,} values",
            "measured; at most ten million numbers, up to 2,500,000 values",
            f"{weights:,.0f} MB, all-reduced in each step",
        ),
        (
            "a category with a hundred million values, with gradient and moments",
            "1e+08 x 4 numbers x 16 bytes",
            f"{1e8 * 4 * 16 / 1e9:.1f} GB per rank, {1e8 * 4 * 4 / 1e9:.1f} GB all-reduced in each step",
        ),
        (
            "a hundred million users and as many items, all rows updated",
            f"1e+08 x {ids:.0f} bytes",
            f"{1e8 * ids / 1e9:,.0f} GB per rank, a checkpoint of {1e8 * saved / 1e9:,.0f} GB",
        ),
        (
            f"{PAIRS:,} known pairs, for drawing negatives",
            f"{PAIRS:.0e} x {pairs:.0f} bytes",
            f"{PAIRS * pairs / 1e9:.1f} GB at most, {PAIRS * 4 / 1e9:.1f} GB kept",
        ),
        (f"listing {PHOTOS:,} photos", f"{PHOTOS:.0e} x {photos:.0f} bytes", f"{PHOTOS * photos / 1e6:.0f} MB"),
    ]
    return table(["what", "from", "comes to"], lines)


PREPARE = "prepare: read twice, fit, encode, write"
TRAIN = "train, an epoch of half the rows"
PREDICT = "predict half the rows into shards"
DATA = "TabularDataModule, all of the above"
TAKEN = "index the known pairs"
LISTING = "ImageDataModule, listing included"
EVERY = "5 steps, every row"


if __name__ == "__main__":
    main()
