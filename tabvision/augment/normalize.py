"""Pixels as a network wants them: float32, mean taken off, divided by the spread."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import Tensor

from tabvision.errors import BadTypeError, BadValueError, speaking
from tabvision.tracing import is_traced

_MOST_CHANNELS = 4  # of the pictures that cv2 is sure to take


@speaking("normalize")
def normalize(images: Tensor, mean: Sequence[float], spread: Sequence[float]) -> Tensor:
    """Pictures with mean 0 and spread 1 in each channel, in channels-last memory where they came in it.

    Args:
        images: uint8 in [0, 255], or float in [0, 1].
        mean: Of each channel, of values in [0, 1].
        spread: Standard deviation of each channel, likewise.

    Shape:
        - images: (B, C, H, W) uint8 or float
        - returns: (B, C, H, W) float32

    Raises:
        BadTypeError: Another kind of number.
        BadValueError: Pictures of more or fewer channels than there are means.

    Example:
        >>> normalize(torch.full((1, 3, 1, 1), 255, dtype=torch.uint8), (0.5, 0.5, 0.5), (0.5, 0.25, 0.25)).flatten()
        tensor([1.0000, 2.0000, 2.0000])
    """
    if not images.is_floating_point() and images.dtype != torch.uint8:
        problem = f"pictures must be uint8 or float, got {images.dtype}"
        raise BadTypeError(problem, "Convert them to uint8 in [0, 255] or to float in [0, 1]")
    if images.ndim < 3 or images.shape[-3] != len(mean):
        problem = f"pictures must be (B, {len(mean)}, H, W), as there are means, got {tuple(images.shape)}"
        raise BadValueError(problem, "Pass one mean and one spread for each channel of the pictures")
    top = 255 if images.dtype == torch.uint8 else 1
    # A Trainer of another precision sets the type that new tensors have
    scale = torch.tensor([1 / (top * value) for value in spread], dtype=torch.float32)
    shift = torch.tensor([-center / value for center, value in zip(mean, spread, strict=True)], dtype=torch.float32)
    if _has_bytes_side_by_side(images) and not is_traced():
        return _looked_up(images, scale, shift)
    scale, shift = scale.to(images.device), shift.to(images.device)
    values = images.to(torch.float32, copy=True)
    if images.requires_grad or not values.is_contiguous(memory_format=torch.channels_last):
        return values.mul_(scale[:, None, None]).add_(shift[:, None, None])
    # Broadcasting over the innermost three numbers is slow: a whole row of pixels is taken as one long vector.
    channels, width = values.shape[1], values.shape[3]
    rows = values.permute(0, 2, 3, 1).view(-1, width * channels)
    torch.addcmul(shift.repeat(width), rows, scale.repeat(width), out=rows)
    return values


def _has_bytes_side_by_side(images: Tensor) -> bool:
    """Whether a processor has a picture's bytes as cv2 takes them."""
    on_processor = type(images) is Tensor and images.dtype == torch.uint8 and images.device.type == "cpu"
    laid_out = images.ndim == 4 and images.is_contiguous(memory_format=torch.channels_last)
    return on_processor and laid_out and images.numel() > 0 and images.shape[1] <= _MOST_CHANNELS


def _looked_up(images: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """The formula by a table of 256 values a channel: one pass over the pictures, a third of the time of three."""
    table = torch.addcmul(shift, torch.arange(256, dtype=torch.float32)[:, None], scale).numpy()
    source = images.permute(0, 2, 3, 1).numpy()
    # numpy asks the system for large pages; without them half the time goes to getting fresh memory
    values = np.empty(source.shape, dtype=np.float32)
    rows = (-1, *source.shape[2:])
    cv2.LUT(source.reshape(rows), table[None], values.reshape(rows))
    return torch.from_numpy(values).permute(0, 3, 1, 2)
