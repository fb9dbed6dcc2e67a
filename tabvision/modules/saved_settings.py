"""The settings of a module in its checkpoints: which are saved, which a checkpoint may be loaded with, and what damage is."""

from __future__ import annotations

import inspect
import pickle
import traceback
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch

from tabvision import lightning as pl
from tabvision.errors import UnknownNameError


@contextmanager
def without_advice() -> Iterator[None]:
    """Suppress Lightning's advice to ignore settings that are networks, since we save only their names."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Attribute .* is an instance of `nn.Module`")
        yield


def settings_not_taken(kind: type, settings: Iterable[str]) -> set[str]:
    """Return the settings that a class, with the classes to which it hands **kwargs, does not take."""
    left = {name for name in settings if not name.startswith("_")}  # others are Lightning's
    for base in (base for base in kind.__mro__ if "__init__" in vars(base)):
        parameters = inspect.signature(base.__init__).parameters.values()  # type: ignore[misc]  # of each class its own
        left.difference_update(each.name for each in parameters)
        if not any(each.kind is each.VAR_KEYWORD for each in parameters):
            break
    return left


def is_damage(error: Exception, *, plain: bool) -> bool:
    """Return whether an error means that a file is not a checkpoint; reading plain data, torch may raise any class for it."""
    if isinstance(error, EOFError | KeyError | pickle.UnpicklingError) or "PytorchStreamReader" in str(error):
        return True
    frames = traceback.walk_tb(error.__traceback__)
    is_read = any(frame.f_code.co_filename == torch.serialization.__file__ for frame, _ in frames)
    return plain and is_read and not isinstance(error, OSError | MemoryError)


def check_loading_settings(kind: type[pl.LightningModule], settings: Mapping[str, object]) -> None:
    """Raise for a setting that neither the module nor Lightning's loading accepts; Lightning would silently drop it."""
    names = inspect.signature(kind).parameters
    of_lightning = inspect.signature(pl.LightningModule.load_from_checkpoint).parameters
    for name in settings:
        if name not in {*names, *of_lightning}:
            raise UnknownNameError(f"setting of {kind.__name__}", name, sorted(names))
