"""Blend rows and targets with each other: pure functions of tensors, fractions and an order."""

from __future__ import annotations

import math

import torch
from torch import Tensor

Box = tuple[int, int, int, int]  # top, bottom, left, right


def blend_rows(values: Tensor, fractions: Tensor, order: Tensor) -> Tensor:
    """Blend each row with the row given by `order`.

    Args:
        values: Rows of any shape.
        fractions: Weight of each row itself, in [0, 1].
        order: Index of the row to blend each row with.

    Shape:
        - values: (B, ...) float
        - fractions: (B,) float
        - order: (B,) int64
        - returns: (B, ...)

    Example:
        >>> blend_rows(torch.tensor([0.0, 1.0]), torch.tensor([0.75, 0.75]), torch.tensor([1, 0]))
        tensor([0.2500, 0.7500])
    """
    own = fractions.to(values).reshape(-1, *[1] * (values.ndim - 1))
    return torch.lerp(values[order], values, own)


def paste(images: Tensor, box: Box, order: Tensor) -> Tensor:
    """Return a copy of the images in which a box comes from another image.

    Example:
        >>> paste(torch.tensor([[[[0.0, 0.0]]], [[[1.0, 1.0]]]]), (0, 1, 1, 2), torch.tensor([1, 0])).flatten().tolist()
        [0.0, 1.0, 1.0, 0.0]
    """
    top, bottom, left, right = box
    mixed = images.clone()
    mixed[..., top:bottom, left:right] = images[order][..., top:bottom, left:right]
    return mixed


def box_of(lam: float, center: tuple[float, float], size: tuple[int, int]) -> Box:
    """Return a box around a point that covers a fraction 1 - lam of the area, clipped at the image's edges.

    Args:
        lam: The fraction of the area outside the box, in [0, 1].
        center: The box's center, (down, across) as fractions of the image, in [0, 1).
        size: (height, width) of the image.

    Source:
        fastai 2.8 `CutMix.rand_bbox`, after the paper.

    Example:
        >>> box_of(0.75, (0.5, 0.0), (8, 8))
        (2, 6, 0, 2)
    """
    ends: list[int] = []
    for side, fraction in zip(size, center, strict=True):
        length = round(side * math.sqrt(1 - lam))
        middle = math.floor(fraction * side)
        ends += [max(middle - length // 2, 0), min(middle + length // 2, side)]
    return ends[0], ends[1], ends[2], ends[3]


def fraction_outside(box: Box, size: tuple[int, int]) -> float:
    """Return the fraction of the area outside a box.

    Example:
        >>> fraction_outside((2, 6, 0, 2), (8, 8))
        0.875
    """
    top, bottom, left, right = box
    return 1 - (bottom - top) * (right - left) / (size[0] * size[1])
