"""`tabvision demo`: the whole way on real data that a package ships."""

from __future__ import annotations

import argparse
import shlex
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tabvision.cli.arguments import whole

QUESTIONS = {
    "tabular": "will a flight be late?",
    "vision": "which digit was written?",
    "collab": "which films will somebody like?",
}


def add_parser(commands: Any) -> None:  # noqa: ANN401 - argparse does not name the class
    """Adds the command."""
    parser = commands.add_parser("demo", help="train on real data that a package ships, in under three minutes")
    questions = "; ".join(f"{kind}: {question}" for kind, question in QUESTIONS.items())
    parser.add_argument("kind", nargs="?", choices=QUESTIONS, default="tabular", help=questions)
    parser.add_argument("--out", metavar="DIR", help="folder for everything written (default runs/demo-KIND)")
    parser.add_argument("--rows", metavar="N", type=whole, help="flights to take (default: all 327,346)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Writes the data as files, then trains on them just as `tabvision train` would."""
    folder = Path(arguments.out or f"runs/demo-{arguments.kind}")
    folder.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    if arguments.kind == "tabular":
        words = _flights_words(folder, arguments.rows)
    elif arguments.kind == "vision":
        words = _digits_words(folder)
    else:
        words = _films_words(folder)
    train(QUESTIONS[arguments.kind], [*words, "--out", str(folder), "--overwrite"])
    if arguments.kind == "collab":
        from tabvision.cli.ratings import show_films

        show_films(folder)
    print(f"The demo took {time.perf_counter() - start:.0f} s.")


def _flights_words(folder: Path, rows: int | None) -> list[str]:
    """The words of a training run on flights from New York."""
    from tabvision.data.demo import FLIGHTS_CATEGORICAL, flights

    data = folder / "flights.parquet"
    frame = flights()
    frame.head(rows or len(frame)).to_parquet(data)
    return ["train", str(data), "--target", "late", "--categorical", ",".join(FLIGHTS_CATEGORICAL), "--epochs", "3"]


def _digits_words(folder: Path) -> list[str]:
    """The words of a training run on handwritten digits, with weights learned on ImageNet; a digit has no mirror image."""
    from tabvision.data.demo import digits

    data = digits(folder / "digits")
    words = ["train", str(data), "--body", "efficientnet_lite0", "--size", "64", "--augment", "none"]
    return [*words, "--batch-size", "32", "--epochs", "8", "--lr", "5e-3"]


def _films_words(folder: Path) -> list[str]:
    """The words of a training run on MovieLens's ratings."""
    from tabvision.data.demo import films, ratings

    data, titles = folder / "ratings.csv", folder / "films.csv"
    ratings().to_csv(data, index=False)
    films().to_csv(titles, index=False)
    words = ["train", str(data), "--user", "user", "--item", "film", "--target", "rating"]
    return [*words, "--titles", str(titles)]


def train(question: str, words: Sequence[str]) -> None:
    """Says what is asked and runs the command."""
    from tabvision.cli import build_parser

    print(f"{question.capitalize()} The same as:\n  tabvision {shlex.join(words)}\n")
    command = build_parser().parse_args(list(words))
    command.run(command)
