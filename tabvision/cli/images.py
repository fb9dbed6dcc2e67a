"""`tabvision train` on a folder of photos, or on a table with their paths."""

from __future__ import annotations

import argparse
from typing import Any

from tabvision.cli.jobs import Component, Job, default_batch_size, lr_setting, make_job, source_settings, split_setting
from tabvision.cli.options import DEFAULT_VALIDATION, settings_of
from tabvision.errors import BadValueError

_EPOCHS, _FREEZE_EPOCHS = 5, 1  # one for the head alone, four for everything
# a few hundred photos still take enough steps in the few epochs of a fine-tune
_BATCHES = {"least": 8, "most": 64, "steps_per_epoch": 14}


def image_job(arguments: argparse.Namespace) -> Job:
    """Return the run for photos: a pretrained body, a new head, fine-tuned in two stages."""
    settings = source_settings(arguments, "images")
    if isinstance(arguments.test, float) or arguments.split is not None:
        settings["split"] = split_setting(arguments, DEFAULT_VALIDATION)
    data = Component("tabvision.data.ImageDataModule", settings).build()
    model = settings_of(arguments, "images", "model")
    if arguments.weights == "none":  # random weights
        model["weights"] = None
    epochs = arguments.epochs or _EPOCHS
    return make_job(
        arguments,
        data,
        settings,
        batch_size=arguments.batch_size or default_batch_size(len(data.parts["train"].rows), **_BATCHES),
        epochs=epochs,
        model=Component("tabvision.modules.VisionModule", model),
        callbacks=[Component("tabvision.callbacks.FineTune", _stages(arguments, epochs))],
        shown=[] if data.schema.image is None else [data.schema.image.name],
    )


def _stages(arguments: argparse.Namespace, epochs: int) -> dict[str, Any]:
    """Return FineTune's settings; in a single epoch no layer is frozen first.

    Raises:
        BadValueError: The rate of the head, from which those of the other layers follow, is not one number.
    """
    rate = lr_setting("base_lr", arguments.lr)
    try:
        rate = {name: float(text) for name, text in rate.items()}
    except ValueError:
        problem = f"--lr must be one number for photos, the head's rate, got {arguments.lr!r}"
        raise BadValueError("tabvision train", problem, "Pass such as --lr 2e-3") from None
    return {"freeze_epochs": arguments.freeze_epochs or (_FREEZE_EPOCHS if epochs > 1 else 0), **rate}
