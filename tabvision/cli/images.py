"""`tabvision train` on a folder of photos, or on a table with their paths."""

from __future__ import annotations

import argparse
from typing import Any

from tabvision.cli.jobs import Component, Job, default_batch_size, lr_setting, make_job, source_settings
from tabvision.cli.options import settings_of
from tabvision.data import ImageDataModule
from tabvision.errors import BadValueError, count

_EPOCHS, _FREEZE_EPOCHS = 5, 1  # one for the head alone, four for everything
# a few hundred photos still take enough steps in the few epochs of a fine-tune
IMAGE_BATCHES = {"least": 8, "most": 64, "steps_per_epoch": 14}


def image_job(arguments: argparse.Namespace) -> Job:
    """Return the run for photos: a pretrained body, a new head, fine-tuned in two stages."""
    settings = source_settings(arguments, "images")
    paths = settings.pop("image", [])
    if len(paths) > 1:
        problem = f"a network of images alone sees one image of each row, got --image {','.join(paths)}"
        raise BadValueError("tabvision train", problem, "Name one, or give the table other columns to learn from")
    settings |= {"path": paths[0]} if paths else {}
    if settings.get("cache") == "none":
        settings["cache"] = None
    epochs = arguments.epochs or _EPOCHS
    callbacks = [Component("tabvision.callbacks.FineTune", stages(arguments, epochs, _FREEZE_EPOCHS))]
    if arguments.mixup:
        callbacks.append(Component("tabvision.callbacks.MixUp", {"alpha": arguments.mixup}))
    data = ImageDataModule(**settings)
    model = settings_of(arguments, "images", "model")
    if arguments.weights == "none":  # random weights
        model["weights"] = None
    return make_job(
        arguments,
        data,
        settings,
        batch_size=arguments.batch_size or default_batch_size(len(data.parts["train"].rows), **IMAGE_BATCHES),
        epochs=epochs,
        model=Component("tabvision.modules.VisionModule", model),
        callbacks=callbacks,
        shown=[] if data.schema.image is None else [data.schema.image.name],
    )


def stages(arguments: argparse.Namespace, epochs: int, freeze_epochs: int) -> dict[str, Any]:
    """Return FineTune's settings; in a single epoch no layer is frozen first.

    Args:
        arguments: The parsed arguments.
        epochs: Epochs of the fit.
        freeze_epochs: Epochs in which the body is frozen, unless the arguments say how many.

    Raises:
        BadValueError: The rate of the head, from which those of the other layers follow, is not one number, or no epoch is
            left for every layer.
    """
    rate = lr_setting("base_lr", arguments.lr)
    try:
        rate = {name: float(text) for name, text in rate.items()}
    except ValueError:
        problem = f"--lr must be one number for photos, the head's rate, got {arguments.lr!r}"
        raise BadValueError("tabvision train", problem, "Pass such as --lr 2e-3") from None
    frozen = arguments.freeze_epochs
    if frozen is None:
        frozen = min(freeze_epochs, epochs - 1)
    if frozen >= epochs:
        problem = f"--freeze-epochs must be less than the {count(epochs, 'epoch')} of the run, got {frozen}"
        raise BadValueError(
            "tabvision train", problem, "Raise --epochs, or pass --freeze-epochs 0 to train every layer"
        )
    if arguments.frozen_bf16 and not frozen:
        problem = "--frozen-bf16 is for epochs with a frozen body, and this run has none"
        raise BadValueError("tabvision train", problem, "Leave it out, or raise --epochs and --freeze-epochs")
    return {"freeze_epochs": frozen, **rate}
