"""`tabvision train` on a folder of photos, on a table of their paths, or on a table with photos and other columns."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import torch

from tabvision.cli.folder import is_worker
from tabvision.cli.jobs import (
    Job,
    build,
    component,
    default_batch_size,
    lr_setting,
    make_job,
    source_settings,
)
from tabvision.cli.options import DEFAULT_VALIDATION, settings_of
from tabvision.cli.splits import split_setting
from tabvision.data import ImageDataModule
from tabvision.data.tables.sizes import most_epochs, table_batch_size
from tabvision.errors import BadValueError, NoFeatureError, count, speaking
from tabvision.modules import VisionModule
from tabvision.nets.backbones import body_license
from tabvision.random_state import same_random_state
from tabvision.tuning import Probe, probe

_BODY = "resnet34"
_EPOCHS, _FREEZE_EPOCHS = 9, 5  # five for the head alone, on features computed once, and four for everything
_PCT_START, _VIEWS = 0.3, 2  # in the frozen epochs: fraction with a rising rate; plain and augmented views alternate
_PROBED = range(10, 100_001)  # training images: too few to choose a penalty below, too slow to fit the head above
# chosen so that a few hundred photos still give enough steps in the few epochs of a fine-tune
_IMAGE_BATCHES = {"least": 8, "most": 64, "steps_per_epoch": 14}
_FUSED_EPOCHS, _FUSED_FREEZE_EPOCHS = 32, 30  # new parts train long, on features computed once, and the body briefly
_OF_TABLE = 2  # the last layer groups, those of a table network
_FUSED_LR = 1e-2  # as for a table network
_FUSED_LR_MULT = 500.0  # so that the body's first layers train as slowly as for images alone


def image_job(arguments: argparse.Namespace) -> Job:
    """Return the run for photos: a pretrained body and a new head, fine-tuned in two stages."""
    settings, model = _settings(arguments, "images")
    paths = settings.pop("image", [])
    if len(paths) > 1:
        problem = f"a network of images alone reads one image per row, got --image {','.join(paths)}"
        raise BadValueError("tabvision train", problem, "Name one, or give the table other columns to learn from")
    settings |= {"path": paths[0]} if paths else {}
    epochs = arguments.epochs or _EPOCHS
    callbacks = _fine_tuning(arguments, epochs, min(_FREEZE_EPOCHS, (epochs + 1) // 2))
    if arguments.mixup:
        callbacks.append(component("tabvision.callbacks.MixUp", alpha=arguments.mixup))
    data = build(component("tabvision.data.ImageDataModule", **settings), **arguments.read)
    best = _best_body(arguments, data, model)
    if best is not None:
        model["body"] = best.module.hparams["body"]
    return make_job(
        arguments,
        data,
        settings,
        batch_size=arguments.batch_size or default_batch_size(len(data.parts["train"].rows), **_IMAGE_BATCHES),
        epochs=epochs,
        model=component("tabvision.modules.VisionModule", **model),
        callbacks=callbacks,
        probe=best,
        refit=arguments.refit,
    )


@speaking("tabvision train")
def _best_body(arguments: argparse.Namespace, data: ImageDataModule, settings: Mapping[str, Any]) -> Probe | None:
    """Return the linear probe with the lowest loss among the bodies, and print their metrics; None without a probe.

    Raises:
        BadValueError: A probe is wanted, but there are no validation images or too few training images.
    """
    bodies = [name.strip() for name in settings.get("body", _BODY).split(",")]
    is_wanted = len(bodies) > 1 or arguments.probe
    if is_wanted and "val" not in data.parts:
        option = "--probe" if arguments.probe else f"--body {settings['body']}"
        problem = f"{option} measures a linear probe on held-out images, but none are held out"
        raise BadValueError(problem, "Leave --validation none out, or name one body and no --probe")
    if len(bodies) > 1 and arguments.probe is False:
        problem = "several bodies are compared by linear probes, got --no-probe"
        raise BadValueError(problem, "Name one body, or leave --no-probe out")
    is_pretrained = settings.get("weights", "default") is not None and vars(arguments)["from"] is None
    num_rows = len(data.parts["train"].rows)
    # by default, probe a pretrained body, unless the recipe must reproduce the run bit for bit
    is_usual = is_pretrained and not arguments.verifiable and "val" in data.parts and num_rows in _PROBED
    if not is_wanted and (arguments.probe is False or not is_usual):
        return None
    if is_worker() and len(bodies) == 1:  # to choose among several, every process must probe them
        return None
    is_on_gpu = arguments.accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    found = []
    for body in bodies:
        with same_random_state():  # the run's random state must not depend on the probe
            module = VisionModule(data.schema, **{**settings, "body": body})
        found.append(probe(module.cuda() if is_on_gpu else module, data))
    best = min(found, key=lambda each: each.metrics["val/loss"])
    if not is_worker():
        if len(bodies) > 1:
            print(_ranking(bodies, found))
        name, value = next((name, value) for name, value in best.metrics.items() if name != "val/loss")
        of = f" of {best.module.hparams['body']}, the one to train" if len(bodies) > 1 else ""
        beside = f"naive {data.baseline()[name]:.4g}; {best.seconds:.1f} s"
        print(f"a linear probe on frozen features{of}: {name.removeprefix('val/')} {value:.4g}, {beside}")
    return best


def _ranking(bodies: Sequence[str], found: Sequence[Probe]) -> str:
    """Return a table of bodies, best first, with the metrics of their probes, seconds and license."""
    rows = [
        {
            **{name.removeprefix("val/"): f"{value:.4g}" for name, value in each.metrics.items()},
            "seconds": f"{each.seconds:.1f}",
            "license": body_license(body) or "not stated",
        }
        for body, each in zip(bodies, found, strict=True)
    ]
    table = pd.DataFrame(rows, index=pd.Index(bodies))
    return str(table.sort_values("loss", key=lambda losses: losses.astype(float)).to_string())


@speaking("tabvision train")
def _settings(arguments: argparse.Namespace, kind: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the settings of a datamodule and a module with images, with None for the word "none"."""
    settings, model = source_settings(arguments, kind), settings_of(arguments, kind, "model")
    for these, name in ((settings, "cache"), (model, "weights")):
        if these.get(name) == "none":
            these[name] = None
    if kind == "images" and settings.pop("day_first", False) and not (arguments.split or "").startswith("time"):
        problem = "--day-first is for dates, and a network of images alone reads none"
        raise BadValueError(problem, "Leave --day-first out, or split by time")
    if arguments.validation is not None or arguments.split is not None or isinstance(arguments.test, float):
        settings["split"] = split_setting(arguments, DEFAULT_VALIDATION)
    return settings, model


@speaking("tabvision train")
def _fine_tuning(
    arguments: argparse.Namespace, epochs: int, freeze_epochs: int, **rates: float
) -> list[dict[str, Any]]:
    """Return `FineTune`, without a frozen stage if there is one epoch, otherwise with `FrozenFeatures`.

    Raises:
        BadValueError: The head's learning rate, which determines the others, is not one number, or no epoch is left to
            train every layer.
    """
    try:
        rates |= {name: float(text) for name, text in lr_setting("base_lr", arguments.lr).items()}
    except ValueError:
        problem = f"--lr must be one number for photos, the head's rate, got {arguments.lr!r}"
        raise BadValueError(problem, "Pass a number, such as --lr 2e-3") from None
    frozen = arguments.freeze_epochs
    if frozen is None:
        frozen = min(freeze_epochs, epochs - 1)
    if frozen >= epochs:
        problem = f"--freeze-epochs must be less than the {count(epochs, 'epoch')} of the run, got {frozen}"
        raise BadValueError(problem, "Raise --epochs, or pass --freeze-epochs 0 to train every layer")
    if (arguments.frozen_bf16 or arguments.features) and not frozen:
        option = "--frozen-bf16" if arguments.frozen_bf16 else "--features"
        problem = f"{option} is for epochs with a frozen body, and this run has none"
        raise BadValueError(problem, f"Leave {option} out, or raise --epochs and --freeze-epochs")
    if not frozen:
        return [component("tabvision.callbacks.FineTune", **rates, freeze_epochs=0)]
    stages = component("tabvision.callbacks.FineTune", **rates, freeze_epochs=frozen, frozen_pct_start=_PCT_START)
    return [stages, _frozen_features(arguments, views=_VIEWS)]


def _frozen_features(arguments: argparse.Namespace, **settings: int) -> dict[str, Any]:
    """Return `FrozenFeatures`, with a folder to keep them in if one is given."""
    folder = {} if arguments.features is None else {"folder": arguments.features}
    return component("tabvision.callbacks.FrozenFeatures", **settings, **folder)


def fused_job(arguments: argparse.Namespace) -> Job:
    """Return the run for rows with images: a pretrained body and the table network.

    On a small table, all rows train the table network, with heads on the frozen body's features and early stopping by folds.
    On a large one, or for a given number of epochs, the body is fine-tuned in the second of two stages.
    """
    if arguments.body is not None and "," in arguments.body:
        problem = f"several bodies can be compared only without other columns, got --body {arguments.body}"
        raise BadValueError("tabvision train", problem, "Name one, or compare them with --image-only first")
    settings, model = _settings(arguments, "fused")
    is_fixed = arguments.epochs is not None or arguments.freeze_epochs is not None
    if not is_fixed:
        settings["split"] = split_setting(arguments, "auto")
    try:
        data = build(component("tabvision.data.FusedDataModule", **settings), **arguments.read)
    except NoFeatureError:
        print(f"No column besides {', '.join(arguments.image)} can be used: the network learns from images alone.")
        return image_job(arguments)
    num_rows = len(data.parts["train"].rows)
    if data.schema.target.of_small_table and data.may_fold and not is_fixed:
        return make_job(
            arguments,
            data,
            settings,
            batch_size=arguments.batch_size or min(table_batch_size(num_rows), _IMAGE_BATCHES["most"]),
            epochs=most_epochs(num_rows),
            model=component("tabvision.modules.FusedModule", **model, **lr_setting("lr", arguments.lr)),
            callbacks=[
                component("tabvision.callbacks.Unfreeze", stages={0: _OF_TABLE}),
                _frozen_features(arguments),
                component("tabvision.callbacks.FitTable"),
            ],
            monitor="oof/loss",
        )
    epochs = arguments.epochs or _FUSED_EPOCHS
    return make_job(
        arguments,
        data,
        settings,
        batch_size=arguments.batch_size or default_batch_size(num_rows, **_IMAGE_BATCHES),
        epochs=epochs,
        model=component("tabvision.modules.FusedModule", **model),
        callbacks=_fine_tuning(arguments, epochs, _FUSED_FREEZE_EPOCHS, base_lr=_FUSED_LR, lr_mult=_FUSED_LR_MULT),
    )
