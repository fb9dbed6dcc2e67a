"""`tabvision train` on a folder of photos, or on a table that names them."""

from __future__ import annotations

import argparse
from typing import Any

from tabvision.cli.jobs import Job, Part, default_image_batch_size, finder, given_rate, without_nones
from tabvision.cli.tables import one_or_several
from tabvision.data import ImageDataModule
from tabvision.errors import BadValueError

EPOCHS = 5  # one for the head alone, four for everything
FREEZE_EPOCHS = 1


def picture_job(arguments: argparse.Namespace) -> Job:
    """The run for photos: a pretrained body, a new head, fine-tuned in two stages."""
    settings = data_settings(arguments)
    data = ImageDataModule(**settings)
    num_images = len(data.parts["train"].rows)
    data.batch_size = settings["batch_size"] = arguments.batch_size or default_image_batch_size(num_images)
    epochs = arguments.epochs or EPOCHS
    return Job(
        seed=arguments.seed,
        data=Part("tabvision.data.ImageDataModule", settings),
        datamodule=data,
        model=Part("tabvision.modules.VisionModule", model_settings(arguments)),
        callbacks=[Part("tabvision.callbacks.FineTune", stages(arguments, epochs)), *finder(arguments.lr)],
        trainer={"max_epochs": epochs, "log_every_n_steps": max(1, min(10, num_images // data.batch_size))},
        shown=[] if data.schema.image is None else [data.schema.image.name],
    )


def data_settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """The datamodule's settings, as in a recipe; what was not asked for is left out."""
    return without_nones(
        {
            "source": arguments.data,
            "target": one_or_several(arguments.target) if arguments.target else None,
            "path": arguments.image,
            "root": arguments.root,
            "label_pattern": arguments.label_pattern,
            "size": arguments.size,
            "augment": arguments.augment,
            "bad_share": arguments.bad_share,
            "task": arguments.task,
            "separator": arguments.separator,
            "weight": arguments.weight,
            "split": arguments.validation,
            "seed": arguments.seed,
            "encoding": arguments.encoding,
            "missing_target": "drop" if arguments.drop_missing_target else None,
        }
    )


def model_settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """The module's settings; `--weights none` means a network that has learned nothing yet."""
    settings = without_nones({"body": arguments.body, "weights": arguments.weights})
    if arguments.weights == "none":
        settings["weights"] = None
    return settings


def stages(arguments: argparse.Namespace, epochs: int) -> dict[str, Any]:
    """FineTune's settings: in a single epoch nothing can be frozen first."""
    frozen = arguments.freeze_epochs or (FREEZE_EPOCHS if epochs > 1 else 0)
    return without_nones({"freeze_epochs": frozen, "base_lr": one_rate(given_rate(arguments.lr))})


def one_rate(text: str | None) -> float | None:
    """The head's rate, from which the other layers' follow.

    Raises:
        BadValueError: Several rates, or no number.

    Example:
        >>> one_rate("2e-3"), one_rate(None)
        (0.002, None)
    """
    if text is None:
        return None
    try:
        return float(text)
    except ValueError:
        problem = f"--lr must be one number for photos, the head's rate, got {text!r}"
        raise BadValueError("tabvision train", problem, "Pass such as --lr 2e-3") from None
