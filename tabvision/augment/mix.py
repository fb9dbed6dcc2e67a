"""Rows blended with one another, targets likewise: pure functions of tensors, shares and an order."""

from __future__ import annotations

import math

import torch
from torch import Tensor

Box = tuple[int, int, int, int]  # top, bottom, left, right


def blend_rows(values: Tensor, shares: Tensor, order: Tensor) -> Tensor:
    """Each row blended with the one that `order` puts in its place.

    Args:
        values: One row each, of any shape.
        shares: What each row keeps of itself, in [0, 1].
        order: The row that each is blended with.

    Shape:
        - values: (B, ...) float
        - shares: (B,) float
        - order: (B,) int64
        - returns: (B, ...)

    Example:
        >>> blend_rows(torch.tensor([0.0, 1.0]), torch.tensor([0.75, 0.75]), torch.tensor([1, 0]))
        tensor([0.2500, 0.7500])
    """
    own = shares.to(values).reshape(-1, *[1] * (values.ndim - 1))
    return torch.lerp(values[order], values, own)


def paste(images: Tensor, box: Box, order: Tensor) -> Tensor:
    """Pictures with a box from another picture; a new tensor.

    Example:
        >>> paste(torch.tensor([[[[0.0, 0.0]]], [[[1.0, 1.0]]]]), (0, 1, 1, 2), torch.tensor([1, 0])).flatten().tolist()
        [0.0, 1.0, 1.0, 0.0]
    """
    top, bottom, left, right = box
    mixed = images.clone()
    mixed[..., top:bottom, left:right] = images[order][..., top:bottom, left:right]
    return mixed


def box_of(lam: float, place: tuple[float, float], size: tuple[int, int]) -> Box:
    """A box about a point that covers a share of 1 - lam, cut off at the picture's edges.

    Args:
        lam: The share of the area that stays, in [0, 1].
        place: The box's center, (down, across) as shares of the picture, in [0, 1).
        size: (height, width) of the picture.

    Source:
        fastai 2.8 `CutMix.rand_bbox`, after the paper.

    Example:
        >>> box_of(0.75, (0.5, 0.0), (8, 8))
        (2, 6, 0, 2)
    """
    ends: list[int] = []
    for side, share in zip(size, place, strict=True):
        length = round(side * math.sqrt(1 - lam))
        center = math.floor(share * side)
        ends += [max(center - length // 2, 0), min(center + length // 2, side)]
    return ends[0], ends[1], ends[2], ends[3]


def kept_share(box: Box, size: tuple[int, int]) -> float:
    """The share of the area outside a box.

    Example:
        >>> kept_share((2, 6, 0, 2), (8, 8))
        0.875
    """
    top, bottom, left, right = box
    return 1 - (bottom - top) * (right - left) / (size[0] * size[1])
