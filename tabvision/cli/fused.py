"""`tabvision train` on a table whose rows name images, which it learns from beside the other columns."""

from __future__ import annotations

import argparse

from tabvision.cli.images import IMAGE_BATCHES, fine_tuning, image_job, image_settings, stages
from tabvision.cli.jobs import Component, Job, built, default_batch_size, make_job
from tabvision.errors import BadValueError, NoFeatureError

EPOCHS, FREEZE_EPOCHS = 32, 30  # new parts learn for long, on features computed once, and the body little
BASE_LR, LR_MULT = 1e-2, 500.0  # the rate of a table's network; the body's first layers train as slowly as for images


def fused_job(arguments: argparse.Namespace) -> Job:
    """Return the run for rows with images: a pretrained body and the network of tables, fine-tuned in two stages.

    Raises:
        BadValueError: Several bodies are named.
    """
    if arguments.body is not None and "," in arguments.body:
        problem = f"several bodies are compared for images alone, got --body {arguments.body}"
        raise BadValueError("tabvision train", problem, "Name one, or compare them with --image-only first")
    settings, model = image_settings(arguments, "fused")
    try:
        data = built(arguments, Component("tabvision.data.FusedDataModule", settings))
    except NoFeatureError:
        print(f"Besides {', '.join(arguments.image)} no column can be used: the network learns from images alone.")
        return image_job(arguments)
    epochs = arguments.epochs or EPOCHS
    rates = {"base_lr": BASE_LR, "lr_mult": LR_MULT, **stages(arguments, epochs, FREEZE_EPOCHS)}
    return make_job(
        arguments,
        data,
        settings,
        batch_size=arguments.batch_size or default_batch_size(len(data.parts["train"].rows), **IMAGE_BATCHES),
        epochs=epochs,
        model=Component("tabvision.modules.FusedModule", model),
        callbacks=fine_tuning(rates),
        shown=data.image.columns,
    )
