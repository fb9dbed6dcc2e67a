"""Memory and time for long lists: user-item pairs, with and without ratings, and photo files in a folder.

    python benchmarks/bytes_per_row.py --out benchmarks/results/bytes_per_row.json

Pairs are drawn without repeats and read from a Parquet file with a rating and a time; photos are hard links to a few files.
Each list is read in its own process, not counting imports.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.common import ROOT, describe_run, make_parser, peak_memory_mib, run_facts, table, tell

LISTS = {"rated": "pairs with a rating", "taken": "pairs without", "photos": "photos in folders"}
ITEMS, PAIRS_PER_USER = 20_000, 100
FOLDER, LINKS = 500, 50_000  # files per folder; links per file, where file systems allow about 65,000
MIB = 1 << 20


def main(words: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--pairs", type=int, nargs="+", default=[1_000_000, 10_000_000])
    parser.add_argument("--photos", type=int, nargs="+", default=[200_000])
    parser.add_argument("--list", choices=list(LISTS), help="what a process of its own reads")
    parser.add_argument("--source", type=Path, help="its file or folder")
    options = parser.parse_args(words)
    if options.list:
        print(json.dumps(read(options.list, options.source)))
        return
    result: dict[str, Any] = {**run_facts(threads=1), "lists": []}
    with tempfile.TemporaryDirectory() as folder:
        for rows in options.pairs:
            make_pairs(source := Path(folder, f"{rows}.parquet"), rows)
            result["lists"] += [run("rated", source, rows), run("taken", source, rows)]
        for rows in options.photos:
            make_photos(source := Path(folder, f"photos-{rows}"), rows)
            result["lists"].append(run("photos", source, rows))
    tell(result, to_markdown(result), options.out)


def make_pairs(file: Path, rows: int) -> None:
    import numpy as np
    import pandas as pd

    draw = np.random.default_rng(0)
    keys = np.unique(draw.integers(0, max(2, rows // PAIRS_PER_USER) * ITEMS, rows * 11 // 10 + 100))
    keys = draw.permutation(keys)[:rows]
    stars, times = draw.integers(1, 6, rows).astype(np.int8), draw.integers(1_500_000_000, 1_600_000_000, rows)
    pd.DataFrame({"user": keys // ITEMS, "item": keys % ITEMS, "stars": stars, "when": times}).to_parquet(file)


def make_photos(folder: Path, rows: int) -> None:
    from PIL import Image

    for row in range(rows):
        inner = folder / ("cat", "dog")[row // FOLDER % 2] / f"{row // FOLDER:05}"
        if row % FOLDER == 0:
            inner.mkdir(parents=True)
        if row % LINKS == 0:
            Image.new("RGB", (32, 32)).save(first := folder.with_name(f"{folder.name}-{row}.png"))
        os.link(first, inner / f"photo-{row:08}.png")


def run(kind: str, source: Path, rows: int) -> dict[str, Any]:
    """Read a list in its own process."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, __file__, "--list", kind, "--source", str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise RuntimeError(done.stderr[-4_000:])
    return {"list": kind, "rows": rows, **json.loads(done.stdout.splitlines()[-1])}


def read(kind: str, source: Path) -> dict[str, float]:
    """Read a list and draw the first training batch."""
    from tabvision.data import CollabDataModule, ImageDataModule

    before, start = peak_memory_mib(), time.process_time()
    data: Any
    if kind == "photos":
        data = ImageDataModule(source, label_depth=2, size=32, cache=None, num_workers=0, verbose=False)
    else:
        rating = "stars" if kind == "rated" else None
        data = CollabDataModule(source, user="user", item="item", rating=rating, verbose=False)
    seconds = time.process_time() - start
    next(iter(data.train_dataloader()))
    held = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE") / MIB
    return {"cpu_seconds": seconds, "peak_mib": peak_memory_mib() - before, "held_mib": held - before}


def to_markdown(result: Mapping[str, Any]) -> str:
    """Return the figures as a table."""
    lines = [
        (
            f"{it['rows']:,} {LISTS[it['list']]}",
            f"{it['cpu_seconds']:.1f}",
            *(f"{it[name] * MIB / it['rows']:,.0f}" for name in ("held_mib", "peak_mib")),
        )
        for it in result["lists"]
    ]
    head = ["", "CPU seconds", "bytes each, held", "bytes each, at the peak"]
    return f"{table(head, lines)}\n\n{describe_run(dict(result))}."


if __name__ == "__main__":
    main()
