"""Weights from files: read as plain data, and matched to a network key by key."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from tabvision.errors import BadTypeError, BadValueError, MissingFileError, count, listed

SUFFIXES = (".pth", ".pt", ".bin", ".ckpt", ".safetensors")
_NESTED = ("state_dict", "model_state_dict", "model", "model_ema")  # where training scripts put the weights
_PREFIXES = ("", "module.", "model.", "module.model.", "net.", "body.net.", "_orig_mod.")
_UNIMPORTANT = "num_batches_tracked"  # a counter, which older files lack


def is_file_name(weights: str | Path) -> bool:
    """Whether weights are named by a file rather than by a word.

    Example:
        >>> is_file_name("best.pth"), is_file_name("IMAGENET1K_V2")
        (True, False)
    """
    return isinstance(weights, Path) or weights.endswith(SUFFIXES)


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """The tensors that a file holds, by key; nothing in it can run.

    Args:
        path: A .safetensors file, or one that `torch.save` wrote: tensors by key, or a dict with those under "state_dict" or
            "model".

    Raises:
        MissingFileError: No such file.
        BadValueError: Damaged, or more than plain data.
        BadTypeError: No tensors by key.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise MissingFileError(f"no weights at {str(path)!r}", "Pass the path of a .pth, .pt or .safetensors file")
    try:
        content = _load(file)
    except pickle.UnpicklingError as error:
        problem = f"{path} holds more than plain data, or is no file of weights, and was not opened"
        raise BadValueError(problem, "Save the net's state_dict(), or pass another file") from error
    except Exception as error:  # torch raises whatever the damaged bytes lead to
        problem = f"{path} is damaged or no file of weights ({type(error).__name__})"
        raise BadValueError(problem, "Copy the file again, or pass another one") from error
    return _tensors(content, path)


def load_weights(net: nn.Module, state: Mapping[str, Tensor], *, source: str, left_out: Sequence[str] = ()) -> None:
    """Copies weights into a network; every key must match in name and shape.

    Args:
        net: The network that takes them.
        state: Tensors by key; a "module." or "model." in front of every key is understood.
        source: Where they come from, for the sentence.
        left_out: Parts that are not copied, such as the classifier "fc".

    Raises:
        BadValueError: Keys that are missing, of another shape or unknown to the network, listed.

    Example:
        >>> net = nn.Linear(2, 1)
        >>> load_weights(net, {"module.weight": torch.ones(1, 2), "module.bias": torch.ones(1)}, source="a file")
        >>> net(torch.ones(1, 2)).item()
        3.0
    """
    expected = net.state_dict()
    state = _without_prefix(state, set(expected))
    given = {key: value for key, value in state.items() if not _is_under(key, left_out)}
    missing = [key for key in expected if key not in given and not key.endswith(_UNIMPORTANT)]
    unknown = [key for key in given if key not in expected]
    shapes = [
        f"{key} {tuple(given[key].shape)} instead of {tuple(value.shape)}"
        for key, value in expected.items()
        if key in given and given[key].shape != value.shape
    ]
    problems = {"missing": missing, "of another shape": shapes, "unknown to the net": unknown}
    found = "; ".join(
        f"{count(len(wrong), 'key')} {what}: {listed(wrong)}" for what, wrong in problems.items() if wrong
    )
    if found:
        problem = f"the weights in {source} do not fit the body, which has {count(len(expected), 'key')}. {found}"
        raise BadValueError(problem, "Pass weights that were trained with this architecture")
    net.load_state_dict(given, strict=False)


def _load(file: Path) -> object:
    if file.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(file)
    return torch.load(file, map_location="cpu", weights_only=True)


def _tensors(content: object, path: str | Path) -> dict[str, Tensor]:
    for name in _NESTED:
        if isinstance(content, Mapping) and isinstance(content.get(name), Mapping):
            content = content[name]
    found = {}
    if isinstance(content, Mapping):
        found = {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
    if not found:
        raise BadTypeError(f"{path} holds no tensors by key", "Save the net's state_dict()")
    return found


def _without_prefix(state: Mapping[str, Tensor], expected: set[str]) -> dict[str, Tensor]:
    """The state under the prefix that makes most keys match; keys outside it belong to other parts."""
    under = [{key.removeprefix(prefix): state[key] for key in state if key.startswith(prefix)} for prefix in _PREFIXES]
    return max(under, key=lambda keys: len(expected & keys.keys()))  # the first of equals: no prefix at all


def _is_under(key: str, parts: Sequence[str]) -> bool:
    return any(key == part or key.startswith(f"{part}.") for part in parts)
