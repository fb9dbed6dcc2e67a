"""Opening a checkpoint as plain data: nothing in it can run."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from tabvision import modules
from tabvision.errors import BadTypeError, BadValueError, MissingFileError, UnknownNameError
from tabvision.modules.supervised import CHECKPOINT_FORMAT, CHECKPOINT_KEY, SupervisedModule

WHO = "Predictor"


def load_module(path: str | Path, module_class: type[SupervisedModule] | None = None) -> SupervisedModule:
    """The module that a checkpoint holds, rebuilt from plain data, in evaluation mode on the CPU.

    Args:
        path: A checkpoint that a Trainer wrote.
        module_class: The class to build, for a module of the user's own; else the checkpoint names one of tabvision's.

    Raises:
        MissingFileError: No such file.
        BadValueError: Not a checkpoint, a damaged one, one that would run code, or one of a newer format.
        UnknownNameError: It names a class outside tabvision, and no `module_class` was passed.
    """
    checkpoint = read_checkpoint(path)
    kind = module_class or _own_class(checkpoint[CHECKPOINT_KEY].get("module"))
    settings = checkpoint.get("hyper_parameters")
    if not isinstance(settings, Mapping):
        raise BadValueError(
            WHO, f"{path} has no hyper_parameters to build a module from", "Save it with a Trainer again"
        )
    module = kind(**{str(name): value for name, value in settings.items()})
    try:
        module.load_state_dict(checkpoint["state_dict"])
    except (RuntimeError, KeyError, AttributeError) as error:
        raise BadValueError(
            WHO, f"the weights in {path} do not fit {kind.__name__}", "Save it with a Trainer again"
        ) from error
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


def _check_written_by_us(checkpoint: object, path: str | Path) -> None:
    facts = checkpoint.get(CHECKPOINT_KEY) if isinstance(checkpoint, dict) else None
    if not isinstance(facts, dict):
        raise BadTypeError(WHO, f"{path} was not written by a tabvision module", "Pass a checkpoint of one")
    version = facts.get("format")
    if not isinstance(version, int) or version > CHECKPOINT_FORMAT:
        problem = f"{path} has format {version!r}, and {CHECKPOINT_FORMAT} is the newest that this version reads"
        raise BadValueError(WHO, problem, "Update tabvision: pip install --upgrade tabvision")


def _own_class(name: object) -> type[SupervisedModule]:
    own = {kind: getattr(modules, kind) for kind in modules.__all__ if kind != SupervisedModule.__name__}
    if name not in own:
        raise UnknownNameError(WHO, "tabvision module", name, own)
    found: type[SupervisedModule] = own[str(name)]
    return found
