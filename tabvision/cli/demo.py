"""`tabvision demo`: train on real data that comes with a package."""

from __future__ import annotations

import argparse
import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tabvision.errors import BadValueError

if TYPE_CHECKING:
    import pandas as pd

_MAPPED = 1_000  # items on the map, those with the most ratings
_SHOWN = 8  # items in a list
QUESTIONS = {
    "tabular": "will a flight be late?",
    "vision": "which digit was written?",
    "fused": "what is the total of an order whose quantity is handwritten?",
    "collab": "which films will a user like?",
}


def run(arguments: argparse.Namespace) -> None:
    """Write the data to files, then run `tabvision train` on them."""
    from tabvision.cli import build_parser, train

    folder = Path(arguments.out or f"runs/demo-{arguments.kind}")
    if arguments.out and folder.exists() and any(folder.iterdir()):  # the demo would replace its files
        raise BadValueError("tabvision demo", f"{folder} is not empty", "Choose a new folder with --out")
    folder.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    words = ["train", *_write_data(arguments.kind, folder, arguments.rows), "--out", str(folder), "--overwrite"]
    print(f"{QUESTIONS[arguments.kind].capitalize()} The same as:\n  tabvision {shlex.join(words)}\n")
    train.run(build_parser().parse_args(words))
    if arguments.kind == "collab":
        _show_films(folder)
    print(f"The demo took {time.perf_counter() - start:.0f} s.")


def _write_data(kind: str, folder: Path, num_rows: int | None) -> list[str]:
    """Write the data of a demo to a folder and return the arguments of `tabvision train` for it."""
    from tabvision.data import demo

    if kind == "tabular":
        data, frame = folder / "flights.parquet", demo.flights()
        frame.head(num_rows or len(frame)).to_parquet(data)
        return [str(data), "--target", "late", "--categorical", ",".join(demo.FLIGHTS_CATEGORICAL)]
    if kind == "vision":  # no augmentation: a mirrored digit is no longer a digit
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


def _show_films(folder: Path) -> None:
    """Print the best and worst items of a run by bias, and plot factors and biases next to its checkpoint."""
    from tabvision.data.tables.write import written_whole
    from tabvision.inference.checkpoint import open_checkpoint
    from tabvision.interpret import item_bias, item_factors, pca

    module: Any = open_checkpoint(folder / "best.ckpt").module
    biases, name = item_bias(module), module.item.name
    print(f"\nLiked whatever one's taste, by bias:\n{_bias_table(biases.head(_SHOWN))}")
    print(f"\nDisliked:\n{_bias_table(biases.tail(_SHOWN).iloc[::-1])}\n")
    try:
        from tabvision.plots import bias_bars, embedding_map
    except ModuleNotFoundError:
        print("No plots: matplotlib is not installed. Install it: pip install 'tabvision[plots]'")
    else:
        tastes = pca(item_factors(module).nlargest(_MAPPED, "num_pairs"))
        figures = {
            "factors.png": embedding_map(tastes, title=f"{name}s: tastes that the factors found"),
            "biases.png": bias_bars(biases, 15, title=f"{name}s: liked or disliked whatever one's taste"),
        }
        for file, figure in figures.items():
            with written_whole(folder / file) as partial:
                figure.savefig(partial, dpi=120)
            print(folder / file)
    print(f"What user 1 should see next: tabvision recommend {folder / 'best.ckpt'} --user 1 -k {_SHOWN}")


def _bias_table(frame: pd.DataFrame) -> str:
    """Return one line per item: bias, number of ratings, title or id.

    Example:
        >>> import pandas as pd
        >>> print(_bias_table(pd.DataFrame({"film": [7], "title": ["Heat"], "num_pairs": [81], "bias": [0.25]})))
          +0.250     81 ratings  Heat
    """
    names = frame["title" if "title" in frame.columns else frame.columns[0]]
    rows = zip(frame["bias"], frame["num_pairs"], names, strict=True)
    return "\n".join(f"  {bias:+.3f}  {number:>5,} ratings  {name}" for bias, number, name in rows)
