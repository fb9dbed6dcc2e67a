"""Heads: networks from the features of a body to the logits of a task."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Literal, cast, final, get_args

import torch
from torch import Tensor, nn
from typing_extensions import override

from tabvision.checks import check_choice, check_fraction, check_positive, check_widths
from tabvision.errors import BadTypeError, BadValueError, count, speaking
from tabvision.nets.layers import BatchNorm1d, width_of

HeadName = Literal["concat", "mlp", "linear"]
HeadFactory = Callable[[int, int], nn.Module]
"""A function from the number of features and the number of logits to a head."""
_NORM_BIAS = 1e-3  # fastai's `init_default` for norms


@final
class _ConcatPool(nn.Module):
    """Concatenate the maximum and the mean of each feature over the image.

    Shape:
        - input: (B, C, H, W) float, or (B, 2C) if already pooled
        - returns: (B, 2C) float

    Source: fastai `AdaptiveConcatPool2d` and `Flatten`.

    Example:
        >>> _ConcatPool()(torch.tensor([[[[1.0, 3.0]]]]))
        tensor([[3., 2.]])
    """

    @override
    def forward(self, input: Tensor) -> Tensor:
        if input.ndim == 2:
            return input
        # unlike adaptive max pooling, amax has a deterministic gradient on a GPU
        return torch.cat([input.amax(dim=(2, 3)), input.mean(dim=(2, 3))], dim=1)


@final
class _MeanPool(nn.Module):
    """Take the mean of each feature over the image.

    Shape:
        - input: (B, C, H, W) float, or (B, C) if already pooled
        - returns: (B, C) float
    """

    @override
    def forward(self, input: Tensor) -> Tensor:
        return mean_pooled(input)


def pooled_for(head: nn.Module, features: Tensor) -> Tensor:
    """Return features pooled as the head would pool them, for it to accept instead; unchanged for a user's own head.

    Example:
        >>> pooled_for(make_head(512, 10), torch.zeros(2, 512, 7, 7)).shape
        torch.Size([2, 1024])
    """
    first = head[0] if isinstance(head, nn.Sequential) and len(head) else head
    pooled: Tensor = first(features) if isinstance(first, _ConcatPool | _MeanPool) else features
    return pooled


def mean_pooled(features: Tensor) -> Tensor:
    """Average (B, C, H, W) features over the image to (B, C); leave (B, C) from a body that pools as it is."""
    return features.mean(dim=(2, 3)) if features.ndim == 4 else features


def make_head(
    num_features: int,
    num_outputs: int,
    *,
    kind: str = "concat",
    widths: Sequence[int] = (512,),
    dropout: float = 0.5,
    scale: float = 1.0,
    pooled: bool = False,
) -> nn.Sequential:
    """Return a new head for a body.

    Hidden layers are BatchNorm, Dropout, Linear, ReLU; the last Linear comes after BatchNorm and the full dropout, the others
    after half of it. Layers have the same positions as in fastai's `create_head`, so that weights can be copied.

    Args:
        num_features: Channels of the body's features.
        num_outputs: Number of logits per row.
        kind: "concat" (maximum and mean of each feature, then hidden layers), "mlp" (mean, then hidden layers) or
            "linear" (mean, then one Linear with a bias).
        widths: Width of each hidden layer; empty for BatchNorm, Dropout and one Linear. "linear" has no hidden layers.
        dropout: Fraction dropped before the last layer, in [0, 1).
        scale: Factor on the std of the last layer's initial weights, above 0; 1 for fastai's std.
        pooled: Whether the body returns one vector per image, so that the head need not pool.

    Shape:
        - input: (B, num_features, H, W) float, or (B, num_features) when pooled
        - returns: (B, num_outputs) float

    Raises:
        UnknownNameError: The head does not exist.
        BadValueError: A number is out of range.

    Source: fastai `create_head`, with `kaiming_normal_` weights and a norm bias of 1e-3.

    Example:
        >>> make_head(512, 10)(torch.zeros(2, 512, 7, 7)).shape
        torch.Size([2, 10])
    """
    check_head(kind, widths, dropout, scale)
    if kind == "concat" and not pooled:
        num_features *= 2
    layers: list[nn.Module] = [nn.Identity()] if pooled else [_ConcatPool() if kind == "concat" else _MeanPool()]
    layers.append(nn.Identity())  # in place of fastai's Flatten, which our pooling does not need
    if kind == "linear":
        layers.append(nn.Linear(num_features, num_outputs))
    else:
        sizes = [num_features, *widths]
        for size, width in itertools.pairwise(sizes):
            layers += [BatchNorm1d(size), nn.Dropout(dropout / 2), nn.Linear(size, width, bias=False)]
            layers.append(nn.ReLU(inplace=True))
        layers += [BatchNorm1d(sizes[-1]), nn.Dropout(dropout), nn.Linear(sizes[-1], num_outputs, bias=False)]
    head = nn.Sequential(*layers)
    for layer in head:
        if isinstance(layer, nn.BatchNorm1d):
            nn.init.constant_(layer.bias, _NORM_BIAS)
        elif isinstance(layer, nn.Linear):
            nn.init.kaiming_normal_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    with torch.no_grad():
        cast("nn.Linear", head[-1]).weight *= scale
    return head


def own_head(head: nn.Module | HeadFactory, features: tuple[int, ...], num_outputs: int) -> nn.Module:
    """Return a user's own head, checked on features of the body's shape.

    Args:
        head: A network, or a function from the number of features and the number of logits to one.
        features: The shape of an image's features: (C, H, W), or (C,) if the body pools.
        num_outputs: Number of logits per row.

    Raises:
        BadTypeError: The head is neither a network nor a function that returns one.
        BadValueError: The head does not accept such features, or does not return (B, num_outputs).

    Example:
        >>> own_head(nn.Linear, (512,), 10)
        Linear(in_features=512, out_features=10, bias=True)
    """
    net = head(features[0], num_outputs) if callable(head) and not isinstance(head, nn.Module) else head
    if not isinstance(net, nn.Module):
        problem = f"head must be a name, a torch.nn.Module or a function that returns one, got {type(net).__name__}"
        raise BadTypeError(problem, "Return a module from features to logits")
    if (width := width_of(net, features, "head")) != num_outputs:
        problem = f"the head must return {count(num_outputs, 'logit')} for an image, got {width}"
        raise BadValueError(problem, "Let a function build it: head=lambda num_features, num_outputs: ...")
    return net


@speaking("make_head")
def check_head(kind: object, widths: object = (), dropout: object = 0.0, scale: object = 1.0) -> None:
    """Raise unless the settings of a head are valid.

    Raises:
        UnknownNameError: The head does not exist.
        BadTypeError: A setting has the wrong type.
        BadValueError: A width, a fraction or a scale is out of range.
    """
    check_choice("head", kind, get_args(HeadName))
    check_fraction("dropout", dropout, remedy="Pass a fraction such as 0.5")
    check_positive("head_scale", scale, remedy="Pass 0.1, or 1 for fastai's start")
    check_widths("head_widths", widths, remedy="Pass a list such as [512]")
