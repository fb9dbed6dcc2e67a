"""Heads: from a body's features to the logits of a task."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Literal, cast, final, get_args

import torch
from torch import Tensor, nn
from typing_extensions import override

from tabvision.errors import BadValueError, UnknownNameError, speaking
from tabvision.nets.layers import BatchNorm1d

HeadName = Literal["concat", "mlp", "linear"]
_NORM_BIAS = 1e-3  # fastai's `init_default` for norms


@final
class ConcatPool(nn.Module):
    """The largest value of each feature over the picture, then the mean.

    Shape:
        - input: (B, C, H, W) float
        - returns: (B, 2C) float

    Source: fastai `AdaptiveConcatPool2d` and `Flatten`.

    Example:
        >>> ConcatPool()(torch.tensor([[[[1.0, 3.0]]]]))
        tensor([[3., 2.]])
    """

    @override
    def forward(self, input: Tensor) -> Tensor:
        # amax, unlike adaptive max pooling, has a deterministic gradient on a GPU
        return torch.cat([input.amax(dim=(2, 3)), input.mean(dim=(2, 3))], dim=1)


@final
class MeanPool(nn.Module):
    """The mean of each feature over the picture.

    Shape:
        - input: (B, C, H, W) float
        - returns: (B, C) float
    """

    @override
    def forward(self, input: Tensor) -> Tensor:
        return input.mean(dim=(2, 3))


def make_head(
    num_features: int,
    num_outputs: int,
    *,
    kind: HeadName = "concat",
    widths: Sequence[int] = (512,),
    dropout: float = 0.5,
    scale: float = 1.0,
    pooled: bool = False,
) -> nn.Sequential:
    """A new head over a body.

    Hidden layers are BatchNorm, Dropout, Linear, ReLU; before the last Linear, BatchNorm and the full dropout, before every
    other half of it. Layers stand at the places they have in fastai's `create_head`, so that weights can be copied.

    Args:
        num_features: Channels that the body gives.
        num_outputs: Logits for each row.
        kind: "concat" (largest value and mean of each feature, then hidden layers), "mlp" (mean, then hidden layers) or
            "linear" (mean, then one Linear with a bias).
        widths: Outputs of each hidden layer; none for BatchNorm, Dropout and one Linear. No matter for "linear".
        dropout: Share dropped before the last layer, in [0, 1).
        scale: Of the spread that the last layer's weights begin with, above 0; 1 for fastai's.
        pooled: Whether the body gives one vector for a picture; then nothing is pooled.

    Shape:
        - input: (B, num_features, H, W) float, or (B, num_features) when pooled
        - returns: (B, num_outputs) float

    Raises:
        UnknownNameError: No such head.
        BadValueError: A number out of range.

    Source: fastai `create_head`, with `kaiming_normal_` weights and a norm bias of 1e-3.

    Example:
        >>> make_head(512, 10)(torch.zeros(2, 512, 7, 7)).shape
        torch.Size([2, 10])
    """
    check_head(kind, widths, dropout, scale)
    if kind == "concat" and not pooled:
        num_features *= 2
    layers: list[nn.Module] = [nn.Identity()] if pooled else [ConcatPool() if kind == "concat" else MeanPool()]
    layers.append(nn.Identity())  # fastai's Flatten, which our pooling needs no more
    if kind == "linear":
        layers.append(nn.Linear(num_features, num_outputs))
    else:
        layers += _hidden_layers([num_features, *widths, num_outputs], dropout)
    head = _initialized(nn.Sequential(*layers))
    with torch.no_grad():
        cast("nn.Linear", head[-1]).weight *= scale
    return head


@speaking("make_head")
def check_head(kind: object, widths: object, dropout: object, scale: object) -> None:
    """Refuses what makes no head.

    Raises:
        UnknownNameError: No such head.
        BadValueError: A width, a share or a scale out of range.
    """
    if kind not in get_args(HeadName):
        raise UnknownNameError("head", kind, get_args(HeadName))
    if isinstance(dropout, bool) or not isinstance(dropout, int | float) or not 0 <= dropout < 1:
        raise BadValueError(f"dropout must lie in [0, 1), got {dropout!r}", "Pass a share such as 0.5")
    if isinstance(scale, bool) or not isinstance(scale, int | float) or not 0 < scale < math.inf:
        raise BadValueError(f"head_scale must be a number above 0, got {scale!r}", "Pass 0.1, or 1 for fastai's start")
    whole = isinstance(widths, Sequence) and not isinstance(widths, str)
    if not whole or any(type(width) is not int or width < 1 for width in cast("Sequence[object]", widths)):
        problem = f"head_widths must be whole numbers from 1, got {widths!r}"
        raise BadValueError(problem, "Pass a list such as [512]")


def _hidden_layers(sizes: Sequence[int], dropout: float) -> list[nn.Module]:
    layers: list[nn.Module] = []
    last = len(sizes) - 2
    for place, (size, width) in enumerate(itertools.pairwise(sizes)):
        share = dropout if place == last else dropout / 2
        layers += [BatchNorm1d(size), nn.Dropout(share), nn.Linear(size, width, bias=False)]
        layers += [] if place == last else [nn.ReLU(inplace=True)]
    return layers


def _initialized(head: nn.Sequential) -> nn.Sequential:
    for layer in head:
        if isinstance(layer, nn.BatchNorm1d):
            nn.init.constant_(layer.bias, _NORM_BIAS)
        elif isinstance(layer, nn.Linear):
            nn.init.kaiming_normal_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return head
