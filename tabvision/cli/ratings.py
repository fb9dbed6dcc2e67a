"""`tabvision train` on ratings, purchases, plays: a user, an item and, where there is one, a rating in each row."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pandas as pd

from tabvision.cli.jobs import Job, Part, default_batch_size, lr_setting, make_job
from tabvision.cli.options import settings_of
from tabvision.data import CollabDataModule
from tabvision.errors import BadValueError
from tabvision.modules import CollabModule

WHO = "tabvision train"
EPOCHS = 5  # MovieLens 100k: more learn the training ratings by heart
# Without ratings each epoch draws other negatives. MovieLens 100k, last film of each user held out, recall@10: 0.046 by
# popularity, 0.039 after 5 epochs at 5e-3, 0.061 after 20, 0.066 after 20 at 1e-2
IMPLICIT_EPOCHS, IMPLICIT_LR = 20, 1e-2
MAPPED = 1_000  # items on the map, those with most ratings
SHOWN = 8
RANKED, RANKED_USERS = 10, 1_000  # places, and users at most, by which a ranking is measured
DEFAULT_SHARE = 0.2  # of --validation


def ratings_job(arguments: argparse.Namespace) -> Job:
    """Return the run for ratings: data prepared, batch size chosen by the number of rows.

    Raises:
        BadValueError: One of user and item is not named, or several columns are to be predicted.
    """
    settings = _data_settings(arguments)
    data = CollabDataModule(**settings)
    is_rated = data.rating is not None
    lr = IMPLICIT_LR if arguments.lr is None and not is_rated else arguments.lr
    return make_job(
        arguments,
        data,
        settings,
        batch_size=arguments.batch_size or default_batch_size(len(data.parts["train"].rows)),
        epochs=arguments.epochs or (EPOCHS if is_rated else IMPLICIT_EPOCHS),
        model=Part("tabvision.modules.CollabModule", settings_of(arguments, "ratings", "model") | lr_setting("lr", lr)),
        callback=Part("tabvision.callbacks.OneCycle"),
        shown=[data.user, data.item],
        more=None if is_rated else _ranked,
    )


def _ranked(module: CollabModule, data: CollabDataModule) -> tuple[dict[str, float], dict[str, float]]:
    """How well the items that users took are ranked among all others, beside the items that most took."""
    from tabvision.interpret import ranking_metrics

    try:
        found = ranking_metrics(module, data, RANKED, max_users=RANKED_USERS)
    except BadValueError as error:  # validation may hold no user and item of training
        print(error)
        return {}, {}
    names = (f"recall@{RANKED}", f"ndcg@{RANKED}")
    return {f"val/{name}": found[name] for name in names}, {f"val/{name}": found[f"{name}_popular"] for name in names}


def _data_settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """The datamodule's settings, as in a recipe; what was not asked for is left out."""
    for role in ("user", "item"):
        if getattr(arguments, role) is None:
            raise BadValueError(WHO, f"ratings need --{role}, the column of {role}s", f"Add --{role} COL")
    targets = arguments.target or [None]
    if len(targets) > 1:
        problem = f"ratings have one --target, got {len(targets)}: {', '.join(targets)}"
        raise BadValueError(WHO, problem, "Name one column, or none where each row means yes")
    if targets[0] is not None and arguments.negatives is not None:
        raise BadValueError(WHO, "--negatives is for rows without ratings", "Leave --negatives out, or --target")
    settings = {
        "source": arguments.data,
        **settings_of(arguments, "ratings", "data"),
        "split": _chosen_split(arguments),
    }
    renamed = {"rating": settings.pop("target", [None])[0], "missing": settings.pop("missing_target", None)}
    if "y_range" in settings:
        settings["y_range"] = tuple(settings["y_range"])
    return settings | {name: value for name, value in renamed.items() if value is not None}


def _chosen_split(arguments: argparse.Namespace) -> str | float:
    """A way to split by name, or else the share that validates.

    Raises:
        BadValueError: A share beside a way that has its own, or no column of times for it.
    """
    if arguments.split is None:
        return float(arguments.validation)
    if arguments.validation != DEFAULT_SHARE:
        share = {"time": "the latest fifth", "last": "the last row of each user"}[arguments.split]
        problem = f"--split {arguments.split} validates on {share}, so there is no --validation {arguments.validation}"
        raise BadValueError(WHO, problem, "Leave one of the two out")
    if arguments.timestamp is None:
        problem = f"--split {arguments.split} needs to know when each row was rated"
        raise BadValueError(WHO, problem, "Add --timestamp COL")
    return str(arguments.split)


def show_films(folder: Path) -> None:
    """Prints the best and worst items of a run by bias, and draws `factors.png` and `biases.png` beside its checkpoint.

    Args:
        folder: A run's, with `best.ckpt` in it.
    """
    from tabvision.inference.checkpoint import load_module
    from tabvision.interpret import item_bias

    module = load_module(folder / "best.ckpt")
    assert isinstance(module, CollabModule), "the run was one on ratings"
    biases = item_bias(module)
    print(f"\nGood whatever your taste, by bias:\n{_bias_table(biases.head(SHOWN))}")
    print(f"\nAnd not:\n{_bias_table(biases.tail(SHOWN).iloc[::-1])}\n")
    try:
        draw(module, folder)
    except ModuleNotFoundError:
        print("No pictures: matplotlib is not installed. Install it: pip install 'tabvision[plots]'")
    print(f"What someone should see next: tabvision recommend {folder / 'best.ckpt'} --user 1 -k {SHOWN}")


def draw(module: Any, folder: Path) -> None:  # noqa: ANN401 - a CollabModule, imported where it is needed
    """Draws the items' factors on two axes, and the biases at either end."""
    from tabvision.interpret import item_bias, item_factors, pca
    from tabvision.plots import bias_bars, embedding_map

    frequent = item_factors(module).nlargest(MAPPED, "num_pairs")
    name = module.item.name
    pictures = {
        "factors.png": embedding_map(pca(frequent), title=f"{name}s: tastes that the factors found"),
        "biases.png": bias_bars(item_bias(module), 15, title=f"{name}s: good or bad whatever one's taste"),
    }
    for file, figure in pictures.items():
        figure.savefig(folder / file, dpi=120)
        print(folder / file)


def _bias_table(frame: pd.DataFrame) -> str:
    """One line an item: bias, how many ratings it has, title or id.

    Example:
        >>> print(_bias_table(pd.DataFrame({"film": [7], "title": ["Heat"], "num_pairs": [81], "bias": [0.25]})))
          +0.250     81 ratings  Heat
    """
    names = frame["title" if "title" in frame.columns else frame.columns[0]]
    rows = zip(frame["bias"], frame["num_pairs"], names, strict=True)
    return "\n".join(f"  {bias:+.3f}  {number:>5,} ratings  {name}" for bias, number, name in rows)
