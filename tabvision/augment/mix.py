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


def mixup(images: Tensor, targets: Tensor, lam: Tensor, order: Tensor) -> tuple[Tensor, Tensor]:
    """Pictures and targets blended, each row with another.

    Args:
        images: Pictures, or any rows of numbers.
        targets: Class shares or numbers.
        lam: What each row keeps of itself, in [0, 1].
        order: The row that each is blended with.

    Shape:
        - images: (B, ...) float
        - targets: (B, ...) float
        - lam: (B,) float
        - order: (B,) int64

    Source:
        Zhang, Cisse, Dauphin, Lopez-Paz 2018, "mixup: Beyond Empirical Risk Minimization".

    Example:
        >>> images, targets = mixup(torch.eye(2), torch.eye(2), torch.tensor([0.75, 1.0]), torch.tensor([1, 0]))
        >>> images.tolist()
        [[0.75, 0.25], [0.0, 1.0]]
    """
    return blend_rows(images, lam, order), blend_rows(targets, lam, order)


def cutmix(images: Tensor, targets: Tensor, box: Box, order: Tensor) -> tuple[Tensor, Tensor]:
    """Pictures with a box from another picture, targets by the share of the area.

    Args:
        images: Pictures.
        targets: Class shares or numbers.
        box: (top, bottom, left, right) in pixels.
        order: The picture that each one's box comes from.

    Shape:
        - images: (B, C, H, W)
        - targets: (B, ...) float
        - order: (B,) int64

    Source:
        Yun, Han, Oh, Chun, Choe, Yoo 2019, "CutMix: Regularization Strategy to Train Strong Classifiers".

    Example:
        >>> pictures = torch.tensor([[[[0.0, 0.0]]], [[[1.0, 1.0]]]])
        >>> cutmix(pictures, torch.eye(2), (0, 1, 1, 2), torch.tensor([1, 0]))[1].tolist()
        [[0.5, 0.5], [0.5, 0.5]]
    """
    shares = torch.full((len(images),), kept_share(box, (images.shape[-2], images.shape[-1])), device=images.device)
    return paste(images, box, order), blend_rows(targets, shares, order)


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
