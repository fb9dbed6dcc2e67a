"""`tabvision train` on a folder of photos, or on a table that names them."""

from __future__ import annotations

import argparse
from typing import Any

from tabvision.cli.jobs import Job, Part, lr_setting, make_job, source_settings
from tabvision.cli.options import settings_of
from tabvision.data import ImageDataModule
from tabvision.errors import BadValueError

_EPOCHS, _FREEZE_EPOCHS = 5, 1  # one for the head alone, four for everything
_MIN_IMAGE_BATCH, _MAX_IMAGE_BATCH = 8, 64
_IMAGE_STEPS_PER_EPOCH = 15  # a few hundred photos still take enough steps in the few epochs of a fine-tune


def picture_job(arguments: argparse.Namespace) -> Job:
    """Return the run for photos: a pretrained body, a new head, fine-tuned in two stages."""
    settings = source_settings(arguments, "images")
    data = ImageDataModule(**settings)
    model = settings_of(arguments, "images", "model")
    if arguments.weights == "none":  # a network that has learned nothing yet
        model["weights"] = None
    epochs = arguments.epochs or _EPOCHS
    return make_job(
        arguments,
        data,
        settings,
        batch_size=arguments.batch_size or _default_batch_size(len(data.parts["train"].rows)),
        epochs=epochs,
        model=Part("tabvision.modules.VisionModule", model),
        callback=Part("tabvision.callbacks.FineTune", _stages(arguments, epochs)),
        shown=[] if data.schema.image is None else [data.schema.image.name],
    )


def _stages(arguments: argparse.Namespace, epochs: int) -> dict[str, Any]:
    """Return FineTune's settings: in a single epoch nothing can be frozen first.

    Raises:
        BadValueError: The head's rate, from which the other layers' follow, is several rates, or no number.
    """
    rate = lr_setting("base_lr", arguments.lr)
    try:
        rate = {name: float(text) for name, text in rate.items()}
    except ValueError:
        problem = f"--lr must be one number for photos, the head's rate, got {arguments.lr!r}"
        raise BadValueError("tabvision train", problem, "Pass such as --lr 2e-3") from None
    return {"freeze_epochs": arguments.freeze_epochs or (_FREEZE_EPOCHS if epochs > 1 else 0), **rate}


def _default_batch_size(num_images: int) -> int:
    """A power of two that gives about `_IMAGE_STEPS_PER_EPOCH` steps an epoch.

    Example:
        >>> [_default_batch_size(images) for images in (20, 245, 7_000)]
        [8, 16, 64]
    """
    batch_size = _MIN_IMAGE_BATCH
    while batch_size < _MAX_IMAGE_BATCH and batch_size * 2 * _IMAGE_STEPS_PER_EPOCH <= num_images + batch_size * 2:
        batch_size *= 2
    return batch_size
