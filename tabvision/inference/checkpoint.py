"""Opening a checkpoint as plain data: nothing in it can run, and nothing in it can take more than its own size."""

from __future__ import annotations

import copy
import inspect
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from tabvision import modules
from tabvision.errors import BadTypeError, BadValueError, TabvisionError, UnknownNameError, speaking
from tabvision.inference.answers import check_facts
from tabvision.inference.calibration.facts import Calibration
from tabvision.inference.files import Origin, name_of, read_bytes
from tabvision.inference.untrusted import Budget, BudgetExceededError, check_plain, plain_archive
from tabvision.modules.supervised import CHECKPOINT_FORMAT, CHECKPOINT_KEY, OWN, SupervisedModule
from tabvision.tasks import own_task

SAVE_AGAIN = "Save it with a Trainer again"
CALIBRATION = "calibration"  # its place beside the format
OLDEST_FORMAT = 1
_TABLES = (".csv", ".parquet", ".feather", ".json")


@dataclass(frozen=True)
class Opened:
    """What a checkpoint holds.

    Args:
        module: In evaluation mode; on the CPU, or where it was in memory.
        calibration: How its answers are corrected; plain where nobody calibrated it.
        facts: The format, the version of tabvision and the module's name, as they were saved.
    """

    module: SupervisedModule
    calibration: Calibration
    facts: Mapping[str, Any]


def load_module(origin: Origin, module_class: type[SupervisedModule] | None = None) -> SupervisedModule:
    """Return the module that a checkpoint holds, without its calibration; see `open_checkpoint`."""
    return open_checkpoint(origin, module_class).module


@speaking("Predictor")
def open_checkpoint(
    source: Origin | SupervisedModule,
    module_class: type[SupervisedModule] | None = None,
    **own: Any,  # noqa: ANN401 - a network, a task, a function
) -> Opened:
    """Return the module that a checkpoint holds, rebuilt from plain data, and its calibration; or a copy of a module.

    Args:
        source: A checkpoint that a Trainer wrote: its path, an http or https address, or its bytes; or a module in memory.
        module_class: The class to build, for a module of the user's own; else the checkpoint names one of tabvision's.
        own: Pieces of the user's own that no checkpoint holds: `task`, or by the module's setting, such as `body`.

    Raises:
        MissingFileError: No such file.
        BadValueError: Not a checkpoint, a damaged one, one that would run code or fill the memory, one of another
            format, one of a class outside tabvision when no `module_class` was passed, or a piece that is missing or
            has no effect.
        UnknownNameError: The module has no such setting.
    """
    if isinstance(source, SupervisedModule):
        return _in_memory(source, module_class, own)
    checkpoint, name = read_checkpoint(source), name_of(source)
    facts = checkpoint[CHECKPOINT_KEY]
    kind = _own_class(facts.get("module"), name) if module_class is None else module_class
    if not (isinstance(kind, type) and issubclass(kind, SupervisedModule)):
        problem = f"module_class must be a subclass of SupervisedModule, got {kind!r}"
        raise BadTypeError(problem, "Pass the class that was trained")
    weights = checkpoint.get("state_dict")
    module = _build(kind, checkpoint.get("hyper_parameters"), own, _num_elements(weights), name)
    try:
        module.load_state_dict(weights)  # type: ignore[arg-type]  # anything at all, and torch refuses what is no dict
    except (RuntimeError, KeyError, AttributeError, TypeError) as error:
        raise BadValueError(f"the weights in {name} do not fit {kind.__name__}", SAVE_AGAIN) from error
    calibration = Calibration.from_dict(facts.get(CALIBRATION, {}), module.task)
    check_facts(module.schema, module.task.num_predictions, name)
    return Opened(module.eval(), calibration, facts)


@speaking("Predictor")
def read_checkpoint(origin: Origin) -> dict[str, Any]:
    """The contents of a checkpoint, loaded with `weights_only=True` once its archive is known to be an honest one."""
    content, name = read_bytes(origin), name_of(origin)
    _check_kind(content, name)
    archive = plain_archive(content, name)
    try:
        checkpoint = torch.load(archive, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        problem = f"{name} holds more than plain data, or is no checkpoint, and was not opened"
        raise BadValueError(problem, "Save it again with tabvision, or pass another file") from error
    except Exception as error:  # torch raises whatever the damaged bytes lead to
        problem = f"{name} is damaged or no checkpoint ({type(error).__name__})"
        raise BadValueError(problem, "Copy the file again, or pass another one") from error
    _check_written_by_us(checkpoint, name)
    check_plain(checkpoint, len(content), name)
    return checkpoint  # type: ignore[no-any-return]  # a dict, checked just before


def _check_kind(content: bytes, name: str) -> None:
    """Tells files apart that are easily taken for a checkpoint; none of them is opened."""
    suffix = name[name.rfind(".") :].lower() if "." in name else ""
    if suffix in (".yaml", ".yml"):
        remedy = f"Train it first: tabvision fit --config {name}; then pass the .ckpt file that it writes"
        raise BadValueError(f"{name} is a recipe, not a checkpoint, and was not opened", remedy)
    if suffix in _TABLES:
        raise BadValueError(f"{name} is a table, not a checkpoint", "Pass the .ckpt file first, then the table")
    if suffix == ".onnx" and not content.startswith(b"PK"):
        remedy = "Ask it with tabvision.inference.OnnxPredictor, or pass the .ckpt file"
        raise BadValueError(f"{name} is an exported model, not a checkpoint", remedy)


def _num_elements(weights: object) -> int:
    tensors = weights.values() if isinstance(weights, Mapping) else ()
    return sum(tensor.numel() for tensor in tensors if isinstance(tensor, torch.Tensor))


def _in_memory(module: SupervisedModule, module_class: object, own: Mapping[str, Any]) -> Opened:
    """A copy, so that neither does training go on in evaluation mode nor do answers change with it."""
    if named := [*own, *([] if module_class is None else ["module_class"])]:
        problem = f"a module in memory has all its pieces, and {named[0]} has no effect"
        raise BadValueError(problem, f"Leave {named[0]} out, or pass the path of a checkpoint")
    saved: dict[str, Any] = {}
    module.on_save_checkpoint(saved)
    return Opened(copy.deepcopy(module).eval(), Calibration(), saved.get(CHECKPOINT_KEY, {}))


def _build(
    kind: type[SupervisedModule], settings: object, own: Mapping[str, Any], num_elements: int, name: str
) -> SupervisedModule:
    """The module from its saved settings; those of a base class or of a command line that it does not take are left out."""
    if not isinstance(settings, Mapping):
        raise BadValueError(f"{name} has no hyper_parameters to build a module from", SAVE_AGAIN)
    parameters = inspect.signature(kind).parameters
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    saved: dict[str, Any] = {
        str(key): value
        for key, value in settings.items()
        if key in parameters or (takes_any and not str(key).startswith("_"))
    }
    pieces = {piece: value for piece, value in own.items() if piece != "task"}  # the task is the schema's
    _check_own(kind, saved, pieces, name)
    try:
        with own_task(own.get("task")), Budget(num_elements):
            return kind(**{**saved, **pieces})
    except TabvisionError:
        raise
    except BudgetExceededError as error:
        problem = f"the settings in {name} ask for a far larger {kind.__name__} than its weights are for"
        raise BadValueError(problem, "Do not use it; ask for the original checkpoint") from error
    except (TypeError, ValueError, RuntimeError, ArithmeticError, LookupError, AttributeError) as error:
        problem = f"the settings in {name} do not build a {kind.__name__} ({_first_line(error)})"
        raise BadValueError(problem, SAVE_AGAIN) from error


def _check_own(kind: type, saved: Mapping[str, object], own: Mapping[str, Any], name: str) -> None:
    """Raise if a piece of the user's own has no effect; the module asks for those that are missing."""
    for piece in own:
        if piece not in {*inspect.signature(kind).parameters, *saved}:
            raise UnknownNameError(f"setting of {kind.__name__}", piece, sorted(saved))
        if piece in saved and not (isinstance(saved[piece], str) and saved[piece] == OWN):
            problem = f"{name} holds its {piece}, {saved[piece]!r:.80}, and another has no effect"
            raise BadValueError(problem, f"Leave {piece} out")


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")


def _check_written_by_us(checkpoint: object, name: str) -> None:
    facts = checkpoint.get(CHECKPOINT_KEY) if isinstance(checkpoint, dict) else None
    if not isinstance(facts, dict):
        raise BadTypeError(f"{name} was not written by a tabvision module", "Pass a checkpoint of one")
    found, newest = facts.get("format"), CHECKPOINT_FORMAT
    if not isinstance(found, int) or isinstance(found, bool) or found > newest:
        problem = f"{name} has format {found!r}, and {newest} is the newest that this version reads"
        raise BadValueError(problem, "Update tabvision: pip install --upgrade tabvision")
    if found < OLDEST_FORMAT:
        problem = f"{name} has format {found}, and {OLDEST_FORMAT} is the oldest that this version reads"
        remedy = f"Open it with tabvision {facts.get('version')}, which wrote it, or train again"
        raise BadValueError(problem, remedy)


def _own_class(kind: object, name: str) -> type[SupervisedModule]:
    if kind not in modules.__all__ or kind == SupervisedModule.__name__:
        problem = f"{name} holds a {kind}, which is no module of tabvision"
        raise BadValueError(problem, f"Pass its class: Predictor(path, module_class={kind})")
    found: type[SupervisedModule] = getattr(modules, str(kind))
    return found
