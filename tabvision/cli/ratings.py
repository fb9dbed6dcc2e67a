"""`tabvision train` on ratings, purchases or plays: rows with a user, an item and, optionally, a rating."""

from __future__ import annotations

import argparse
from typing import Any

from tabvision.cli.jobs import Job, build, component, default_batch_size, lr_setting, make_job, source_settings
from tabvision.cli.options import settings_of
from tabvision.cli.splits import ratings_split_setting
from tabvision.errors import BadValueError, speaking

_EPOCHS = 5  # MovieLens 100k: more epochs overfit the training ratings
# Without ratings, each epoch draws new negatives. On MovieLens 100k with the last film of each user held out, recall@10 is
# 0.046 by popularity, 0.039 after 5 epochs at 5e-3, 0.061 after 20, and 0.066 after 20 at 1e-2.
_IMPLICIT_EPOCHS, _IMPLICIT_LR = 20, 1e-2


def ratings_job(arguments: argparse.Namespace) -> Job:
    """Return the run for ratings, with batch size chosen by the number of rows and epochs by whether there are ratings.

    Raises:
        BadValueError: The user or item column is not given, or there is more than one target.
    """
    settings = _data_settings(arguments)
    data = build(component("tabvision.data.CollabDataModule", **settings))
    model = settings_of(arguments, "ratings", "model")
    is_rated = data.rating is not None
    lr = _IMPLICIT_LR if arguments.lr is None and not is_rated else arguments.lr
    return make_job(
        arguments,
        data,
        settings,
        batch_size=arguments.batch_size or default_batch_size(len(data.parts["train"].rows)),
        epochs=arguments.epochs or (_EPOCHS if is_rated else _IMPLICIT_EPOCHS),
        model=component("tabvision.modules.CollabModule", **model, **lr_setting("lr", lr)),
        callbacks=[component("tabvision.callbacks.OneCycle")],
    )


@speaking("tabvision train")
def _data_settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the given settings of the datamodule, as in a recipe.

    Raises:
        BadValueError: The options contradict each other, or user or item is missing.
    """
    for role in ("user", "item"):
        if getattr(arguments, role) is None:
            raise BadValueError(f"ratings need --{role}, the column of {role}s", f"Add --{role} COL")
    targets = arguments.target or [None]
    if len(targets) > 1:
        problem = f"ratings have one --target, got {len(targets)}: {', '.join(targets)}"
        raise BadValueError(problem, "Name one column, or none if each row means that the user took the item")
    if targets[0] is not None and arguments.negatives is not None:
        raise BadValueError("--negatives is for rows without ratings", "Leave out --negatives or --target")
    settings = {"source": arguments.data, "duplicates": "few", **source_settings(arguments, "ratings")}
    settings["split"] = ratings_split_setting(arguments)
    renamed = {"rating": settings.pop("target", None), "missing": settings.pop("missing_target", None)}
    if "y_range" in settings:
        settings["y_range"] = tuple(settings["y_range"])
    return settings | {name: value for name, value in renamed.items() if value is not None}
