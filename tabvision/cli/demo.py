"""`tabvision demo`: the whole way on real data that a package ships."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from tabvision.cli.arguments import whole

DEMOS = ("tabular",)
EPOCHS = 3


def add_parser(commands: Any) -> None:  # noqa: ANN401 - argparse does not name the class
    """Adds the command."""
    parser = commands.add_parser("demo", help="train on real data that a package ships, in under two minutes")
    parser.add_argument("kind", nargs="?", choices=DEMOS, default="tabular", help="tabular: will a flight be late?")
    parser.add_argument("--out", metavar="DIR", default="runs/demo-tabular", help="folder for everything written")
    parser.add_argument("--rows", metavar="N", type=whole, help="flights to take (default: all 327,346)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Writes the flights as a file, then trains on it just as `tabvision train` would."""
    from tabvision.cli import build_parser
    from tabvision.data.examples import FLIGHTS_CATEGORICAL, flights

    folder = Path(arguments.out)
    folder.mkdir(parents=True, exist_ok=True)
    data = folder / "flights.parquet"
    frame = flights()
    frame.head(arguments.rows or len(frame)).to_parquet(data)
    words = ["train", str(data), "--target", "late", "--categorical", ",".join(FLIGHTS_CATEGORICAL)]
    words += ["--epochs", str(EPOCHS), "--out", str(folder), "--overwrite"]
    print(f"Will a flight be late? The same as:\n  tabvision {' '.join(words)}\n")
    start = time.perf_counter()
    command = build_parser().parse_args(words)
    command.run(command)
    print(f"The demo took {time.perf_counter() - start:.0f} s.")
