"""`tabvision demo`: train on real data that a package ships."""

from __future__ import annotations

import argparse
import shlex
import time
from pathlib import Path

from tabvision.errors import BadValueError

QUESTIONS = {
    "tabular": "will a flight be late?",
    "vision": "which digit was written?",
    "fused": "what does an order come to, whose quantity is handwritten?",
    "collab": "which films will somebody like?",
}


def run(arguments: argparse.Namespace) -> None:
    """Write the data as files, then run `tabvision train` on them."""
    from tabvision.cli import build_parser, train

    folder = Path(arguments.out or f"runs/demo-{arguments.kind}")
    if arguments.out and folder.exists() and any(folder.iterdir()):  # whose files the demo's would replace
        raise BadValueError("tabvision demo", f"{folder} is not empty", "Choose a new folder with --out")
    folder.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    words = ["train", *_write_data(arguments.kind, folder, arguments.rows), "--out", str(folder), "--overwrite"]
    print(f"{QUESTIONS[arguments.kind].capitalize()} The same as:\n  tabvision {shlex.join(words)}\n")
    train.run(build_parser().parse_args(words))
    if arguments.kind == "collab":
        from tabvision.cli.ratings import show_films

        show_films(folder)
    print(f"The demo took {time.perf_counter() - start:.0f} s.")


def _write_data(kind: str, folder: Path, num_rows: int | None) -> list[str]:
    """Write the data of a demo into a folder and return the arguments of `tabvision train` for it."""
    from tabvision.data import demo

    if kind == "tabular":
        data, frame = folder / "flights.parquet", demo.flights()
        frame.head(num_rows or len(frame)).to_parquet(data)
        return [str(data), "--target", "late", "--categorical", ",".join(demo.FLIGHTS_CATEGORICAL)]
    if kind == "vision":  # no augmentation: a mirrored digit is not a digit
        words = [str(demo.digits(folder / "digits")), "--body", "efficientnet_lite0", "--size", "64"]
        return [*words, "--augment", "none", "--batch-size", "32", "--epochs", "8", "--lr", "5e-3"]
    if kind == "fused":
        data, frame = folder / "orders.csv", demo.orders(folder)
        frame.head(num_rows or len(frame)).to_csv(data, index=False)
        return [str(data), "--target", "log_total", "--image", "photo", "--body", "efficientnet_lite0", "--size", "64"]
    data, titles = folder / "ratings.csv", folder / "films.csv"
    demo.ratings().to_csv(data, index=False)
    demo.films().to_csv(titles, index=False)
    return [str(data), "--user", "user", "--item", "film", "--target", "rating", "--titles", str(titles)]
