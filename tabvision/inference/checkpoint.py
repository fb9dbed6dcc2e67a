"""Opening a checkpoint as plain data: nothing in it can run."""

from __future__ import annotations

import inspect
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from tabvision import modules
from tabvision.errors import BadTypeError, BadValueError, MissingFileError, TabvisionError
from tabvision.modules.supervised import CHECKPOINT_FORMAT, CHECKPOINT_KEY, SupervisedModule

WHO = "Predictor"
SAVE_AGAIN = "Save it with a Trainer again"


def load_module(path: str | Path, module_class: type[SupervisedModule] | None = None) -> SupervisedModule:
    """The module that a checkpoint holds, rebuilt from plain data, in evaluation mode on the CPU.

    Args:
        path: A checkpoint that a Trainer wrote.
        module_class: The class to build, for a module of the user's own; else the checkpoint names one of tabvision's.

    Raises:
        MissingFileError: No such file.
        BadValueError: Not a checkpoint, a damaged one, one that would run code, one of a newer format, or one of a
            class outside tabvision when no `module_class` was passed.
    """
    checkpoint = read_checkpoint(path)
    kind = _own_class(checkpoint[CHECKPOINT_KEY].get("module"), path) if module_class is None else module_class
    if not (isinstance(kind, type) and issubclass(kind, SupervisedModule)):
        problem = f"module_class must be a subclass of SupervisedModule, got {kind!r}"
        raise BadTypeError(WHO, problem, "Pass the class that was trained")
    module = _build(kind, checkpoint.get("hyper_parameters"), path)
    try:
        module.load_state_dict(checkpoint["state_dict"])
    except (RuntimeError, KeyError, AttributeError, TypeError) as error:
        raise BadValueError(WHO, f"the weights in {path} do not fit {kind.__name__}", SAVE_AGAIN) from error
    return module.eval()


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """The contents of a checkpoint, loaded with `weights_only=True`."""
    file = Path(path).expanduser()
    if not file.is_file():
        raise MissingFileError(
            WHO, f"no checkpoint at {str(path)!r}", "Pass the path of a .ckpt file that a Trainer wrote"
        )
    try:
        checkpoint = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        problem = f"{path} holds more than plain data, or is no checkpoint, and was not opened"
        raise BadValueError(WHO, problem, "Save it again with tabvision, or pass another file") from error
    except Exception as error:  # torch raises whatever the damaged bytes lead to
        problem = f"{path} is damaged or no checkpoint ({type(error).__name__})"
        raise BadValueError(WHO, problem, "Copy the file again, or pass another one") from error
    _check_written_by_us(checkpoint, path)
    return checkpoint  # type: ignore[no-any-return]  # a dict, checked just before


def _build(kind: type[SupervisedModule], settings: object, path: str | Path) -> SupervisedModule:
    """The module from its saved settings; those of a base class or of a command line that it does not take are left out."""
    if not isinstance(settings, Mapping):
        raise BadValueError(WHO, f"{path} has no hyper_parameters to build a module from", SAVE_AGAIN)
    parameters = inspect.signature(kind).parameters.values()
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    named = {parameter.name for parameter in parameters}
    known = {name for name in settings if name in named or (takes_any and not str(name).startswith("_"))}
    try:
        return kind(**{name: settings[name] for name in known})
    except TabvisionError:
        raise
    except (TypeError, ValueError) as error:
        problem = f"the settings in {path} do not build a {kind.__name__} ({error})"
        raise BadValueError(WHO, problem, SAVE_AGAIN) from error


def _check_written_by_us(checkpoint: object, path: str | Path) -> None:
    facts = checkpoint.get(CHECKPOINT_KEY) if isinstance(checkpoint, dict) else None
    if not isinstance(facts, dict):
        raise BadTypeError(WHO, f"{path} was not written by a tabvision module", "Pass a checkpoint of one")
    version = facts.get("format")
    if not isinstance(version, int) or version > CHECKPOINT_FORMAT:
        problem = f"{path} has format {version!r}, and {CHECKPOINT_FORMAT} is the newest that this version reads"
        raise BadValueError(WHO, problem, "Update tabvision: pip install --upgrade tabvision")


def _own_class(name: object, path: str | Path) -> type[SupervisedModule]:
    if name not in modules.__all__ or name == SupervisedModule.__name__:
        problem = f"{path} holds a {name}, which is no module of tabvision"
        raise BadValueError(WHO, problem, f"Pass its class: Predictor(path, module_class={name})")
    found: type[SupervisedModule] = getattr(modules, str(name))
    return found
