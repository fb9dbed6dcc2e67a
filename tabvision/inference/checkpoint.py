"""Open a checkpoint as plain data, so that nothing in it can run code or allocate more memory than its size justifies."""

from __future__ import annotations

import copy
import functools
import inspect
import pickle
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import torch

from tabvision import modules
from tabvision.data.tables.text_file import first_line
from tabvision.errors import BadTypeError, BadValueError, TabvisionError, UnknownNameError, speaking
from tabvision.inference.calibration.facts import Calibration
from tabvision.inference.files import Origin, check_facts, check_format, origin_name, read_bytes
from tabvision.inference.untrusted import ASK_FOR_THE_ORIGINAL, Budget, BudgetExceededError, check_plain, plain_archive
from tabvision.modules.network import CHECKPOINT_FORMAT, CHECKPOINT_KEY, OWN, SchemaNetwork
from tabvision.tasks import own_task

if TYPE_CHECKING:
    from tabvision.modules import SupervisedModule

_SAVE_AGAIN = "Save it with a Trainer again"
CALIBRATION = "calibration"  # its key, next to the format's
OLDEST_FORMAT = 1
_TABLES = (".csv", ".parquet", ".feather", ".json")


@dataclass(frozen=True)
class Opened:
    """The contents of a checkpoint.

    Args:
        net: The module in evaluation mode, on the CPU or on the device that it had in memory; for a checkpoint of
            tabvision's own modules, the network without Lightning.
        calibration: The corrections of its answers; empty if it was not calibrated.
        facts: The format, the version of tabvision and the module's name, as saved.
    """

    net: SchemaNetwork
    calibration: Calibration
    facts: Mapping[str, Any]

    @functools.cached_property
    def module(self) -> SupervisedModule:
        """The LightningModule, which shares the weights of the network."""
        from tabvision.modules import SupervisedModule

        if isinstance(self.net, SupervisedModule):
            return self.net
        net: Any = self.net
        # the network has dropped settings without effect, which old checkpoints hold
        used = {name: value for name, value in net.hparams.items() if name in net.built_from and value != OWN}
        settings = {**net.built_from, **used, "schema": net.schema}
        module: SupervisedModule = getattr(modules, _module_name(type(net)))(**settings)
        module.load_state_dict(net.state_dict(), assign=True)
        return module.to(next(net.parameters()).device).eval()


@speaking("Predictor")
def open_checkpoint(
    source: Origin | SchemaNetwork,
    module_class: type[SupervisedModule] | None = None,
    **own: Any,  # noqa: ANN401 - a network, a task, a function
) -> Opened:
    """Rebuild a checkpoint's module from plain data, with its calibration; or copy a module in memory.

    Args:
        source: A checkpoint that a Trainer wrote: its path, an http or https URL, or its bytes; or a module in memory.
        module_class: The class of a user's own module; None for the tabvision class that the checkpoint names.
        own: The user's own objects, which a checkpoint cannot hold: `task`, or a setting of the module, such as `body`.

    Raises:
        MissingFileError: The file does not exist.
        BadValueError: The file is not a checkpoint, is damaged, would run code or exhaust memory, has another format, or
            names a class outside tabvision without `module_class`; or one of the user's objects is missing or has no effect.
        UnknownNameError: The module has no such setting.
    """
    source = getattr(source, "_orig_mod", source)  # torch.compile wraps a module
    if isinstance(source, SchemaNetwork):
        if named := [*own, *([] if module_class is None else ["module_class"])]:
            problem = f"a module in memory is complete, so {named[0]} has no effect"
            raise BadValueError(problem, f"Leave {named[0]} out, or pass the path of a checkpoint")
        saved: dict[str, Any] = {}
        source.on_save_checkpoint(saved)  # type: ignore[operator]  # one in memory is a LightningModule
        # a copy, so that further training does not change the answers
        return Opened(copy.deepcopy(source).eval(), Calibration(), saved.get(CHECKPOINT_KEY, {}))
    checkpoint, name = read_checkpoint(source), origin_name(source)
    facts = checkpoint[CHECKPOINT_KEY]
    kind: object = module_class
    if kind is None:
        module_name = facts.get("module")
        if module_name not in modules.__all__ or module_name == "SupervisedModule":
            problem = f"{name} holds a {module_name}, which is not a module of tabvision"
            raise BadValueError(problem, f"Pass its class: Predictor(path, module_class={module_name})")
        kind = getattr(modules, f"{module_name.removesuffix('Module')}Network")
    if not (isinstance(kind, type) and issubclass(kind, SchemaNetwork)):
        problem = f"module_class must be a subclass of SupervisedModule, got {kind!r}"
        raise BadTypeError(problem, "Pass the class that was trained")
    weights = checkpoint.get("state_dict")
    net = _build(kind, checkpoint.get("hyper_parameters"), own, weights, name)
    try:
        net.load_state_dict(weights)  # type: ignore[arg-type]  # torch raises unless it is a dict
    except (RuntimeError, KeyError, AttributeError, TypeError) as error:
        raise BadValueError(f"the weights in {name} do not fit {_module_name(kind)}", _SAVE_AGAIN) from error
    calibration = Calibration.from_dict(facts.get(CALIBRATION, {}), net.task)
    check_facts(net.schema, net.task.num_predictions, name)
    return Opened(net.eval(), calibration, facts)


@speaking("Predictor")
def read_checkpoint(origin: Origin) -> dict[str, Any]:
    """Return the contents of a tabvision checkpoint, loaded with `weights_only=True` after its archive passed all checks."""
    checkpoint, name = _read_plain(origin), origin_name(origin)
    facts = checkpoint.get(CHECKPOINT_KEY) if isinstance(checkpoint, dict) else None
    if not isinstance(facts, dict):
        raise BadTypeError(f"{name} is not a checkpoint of a tabvision module", "Pass one that a Trainer wrote")
    remedy = f"Open it with tabvision {facts.get('version')}, which wrote it, or train again"
    check_format(facts.get("format"), OLDEST_FORMAT, CHECKPOINT_FORMAT, name, remedy)
    return checkpoint  # type: ignore[no-any-return]  # a dict, as checked above


def _read_plain(origin: Origin) -> Any:  # noqa: ANN401 - whatever the file holds
    """Return the contents of any checkpoint, loaded with `weights_only=True` after its archive passed all checks."""
    content, name = read_bytes(origin), origin_name(origin)
    _check_kind(content, name)
    archive = plain_archive(content, name)
    try:
        checkpoint = torch.load(archive, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        problem = f"{name} holds more than plain data, or is not a checkpoint, and was not opened"
        raise BadValueError(problem, "Save it again with tabvision, or pass another file") from error
    except Exception as error:  # torch may raise any class for damaged bytes
        problem = f"{name} is damaged or not a checkpoint ({type(error).__name__})"
        raise BadValueError(problem, "Copy the file again, or pass another one") from error
    check_plain(checkpoint, len(content), name)
    return checkpoint


def read_state(origin: Origin, folders: Collection[str] = ()) -> dict[str, Any]:
    """Return the state of a fit for a Trainer to resume, opened as plain data, for any LightningModule.

    Args:
        origin: A path, a URL or bytes.
        folders: The folders, local or remote, in which the Trainer may replace checkpoints.

    Raises:
        BadValueError: The file is not plain data, was not written by a Trainer, or would make the Trainer remove other files.
    """
    checkpoint, name = _read_plain(origin), origin_name(origin)
    if not isinstance(checkpoint, dict) or not {"state_dict", "pytorch-lightning_version"} <= checkpoint.keys():
        raise BadValueError(f"{name} was not written by a Trainer", "Pass a checkpoint that trainer.fit wrote")
    callbacks = checkpoint.get("callbacks")
    files: list[str] = []  # named in the states of `ModelCheckpoint`, which removes them as it saves new ones
    for state in callbacks.values() if isinstance(callbacks, Mapping) else ():
        if isinstance(state, Mapping):
            best = state.get("best_k_models")
            files += map(str, best if isinstance(best, Mapping) else ())
            files += [str(path) for key, path in state.items() if str(key).endswith("_model_path")]
    for path in files:
        if "://" in path and not any(path.startswith(folder) and ".." not in path for folder in folders):
            # Lightning checks local paths against its folder, but not URLs, so it would remove local:///home
            problem = f"{name} would make the Trainer replace {path!r}, which is not in the folder of its checkpoints"
            raise BadValueError(problem, ASK_FOR_THE_ORIGINAL)
    return checkpoint


def _check_kind(content: bytes, name: str) -> None:
    """Raise for files that are easily mistaken for a checkpoint, without opening them."""
    suffix = PurePath(name).suffix.lower()
    if suffix in (".yaml", ".yml"):
        remedy = f"Train it first: tabvision fit --config {name}; then pass the .ckpt file that it writes"
        raise BadValueError(f"{name} is a recipe, not a checkpoint, and was not opened", remedy)
    if suffix in _TABLES:
        raise BadValueError(f"{name} is a table, not a checkpoint", "Pass the .ckpt file first, then the table")
    if suffix == ".onnx" and not content.startswith(b"PK"):
        remedy = "Open it with tabvision.inference.OnnxPredictor, or pass the .ckpt file"
        raise BadValueError(f"{name} is an exported model, not a checkpoint", remedy)


def _build(
    kind: type[SchemaNetwork], settings: object, own: Mapping[str, Any], weights: object, name: str
) -> SchemaNetwork:
    """Build the network from its saved settings, without those of a base class or LightningCLI that it does not accept."""
    if not isinstance(settings, Mapping):
        raise BadValueError(f"{name} has no hyper_parameters to build a module from", _SAVE_AGAIN)
    parameters = inspect.signature(kind).parameters
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    saved: dict[str, Any] = {
        str(key): value
        for key, value in settings.items()
        if key in parameters or (takes_any and not str(key).startswith("_"))
    }
    pieces = {piece: value for piece, value in own.items() if piece != "task"}  # the schema holds the task
    _check_own(kind, saved, pieces, name)
    for setting, value in saved.items():
        if _is_of_cli(value) and setting not in pieces:
            raise kind.not_held(setting)
    tensors = weights.values() if isinstance(weights, Mapping) else ()
    num_elements = sum(tensor.numel() for tensor in tensors if isinstance(tensor, torch.Tensor))
    try:
        with own_task(own.get("task")), Budget(num_elements):
            net: Any = kind(**{**saved, **pieces})
            net.built_from = {**saved, **pieces}
            return net  # type: ignore[no-any-return]
    except TabvisionError:
        raise
    except BudgetExceededError as error:
        problem = f"the settings in {name} build a far larger {_module_name(kind)} than its weights fit"
        raise BadValueError(problem, ASK_FOR_THE_ORIGINAL) from error
    except (TypeError, ValueError, RuntimeError, ArithmeticError, LookupError, AttributeError) as error:
        problem = f"the settings in {name} do not build a {_module_name(kind)} ({first_line(error)})"
        raise BadValueError(problem, _SAVE_AGAIN) from error


def _check_own(kind: type, saved: Mapping[str, object], own: Mapping[str, Any], name: str) -> None:
    """Raise if one of the user's own objects has no effect; the module itself raises if one is missing."""
    for piece in own:
        if piece not in {*inspect.signature(kind).parameters, *saved}:
            raise UnknownNameError(f"setting of {_module_name(kind)}", piece, sorted(saved))
        if saved.get(piece, OWN) != OWN and not _is_of_cli(saved[piece]):
            problem = f"{name} holds its {piece}, {saved[piece]!r:.80}, so another one has no effect"
            raise BadValueError(problem, f"Leave {piece} out")


def _is_of_cli(value: object) -> bool:
    """Return whether a setting is an object as LightningCLI writes it down: its class and arguments."""
    return isinstance(value, Mapping) and "class_path" in value


def _module_name(kind: type) -> str:
    """Return the name of a network's module."""
    is_ours = kind.__module__.startswith(modules.__name__)
    return f"{kind.__name__.removesuffix('Network')}Module" if is_ours else kind.__name__
