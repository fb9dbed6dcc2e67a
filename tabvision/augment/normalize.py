"""Normalize pixels for a network: convert to float32, subtract the mean, divide by the std."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import Tensor

from tabvision.errors import BadTypeError, BadValueError, speaking
from tabvision.tracing import is_traced

_MAX_CHANNELS = 4  # the most channels that cv2 supports


@speaking("normalize")
def normalize(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Return images normalized by the mean and std of each channel, in channels-last memory if the input is.

    Args:
        images: uint8 in [0, 255], or float in [0, 1].
        mean: Mean of each channel, for values in [0, 1].
        std: Standard deviation of each channel, like `mean`.

    Shape:
        - images: (B, C, H, W) uint8 or float
        - returns: (B, C, H, W) float32

    Raises:
        BadTypeError: The images have another dtype.
        BadValueError: The number of channels differs from the number of means.

    Example:
        >>> normalize(torch.full((1, 3, 1, 1), 255, dtype=torch.uint8), (0.5, 0.5, 0.5), (0.5, 0.25, 0.25)).flatten()
        tensor([1.0000, 2.0000, 2.0000])
    """
    if not images.is_floating_point() and images.dtype != torch.uint8:
        problem = f"images must be uint8 or float, got {images.dtype}"
        raise BadTypeError(problem, "Convert them to uint8 in [0, 255] or to float in [0, 1]")
    if images.ndim < 3 or images.shape[-3] != len(mean):
        problem = f"images must be (B, {len(mean)}, H, W), with a channel for each mean, got {tuple(images.shape)}"
        raise BadValueError(problem, "Pass one mean and one std for each channel of the images")
    top = 255 if images.dtype == torch.uint8 else 1
    # explicit dtypes, since a Trainer with another precision changes the default dtype
    scale = torch.tensor([1 / (top * value) for value in std], dtype=torch.float32)
    shift = torch.tensor([-center / value for center, value in zip(mean, std, strict=True)], dtype=torch.float32)
    on_cpu = type(images) is Tensor and images.dtype == torch.uint8 and images.device.type == "cpu"
    channels_last = images.ndim == 4 and images.is_contiguous(memory_format=torch.channels_last)
    fits_cv2 = on_cpu and channels_last and images.numel() > 0 and images.shape[1] <= _MAX_CHANNELS
    if fits_cv2 and not is_traced():  # one pass with a table of 256 values per channel: a third of the time
        table = torch.addcmul(shift, torch.arange(256, dtype=torch.float32)[:, None], scale).numpy()
        source = images.permute(0, 2, 3, 1).numpy()
        # numpy requests huge pages; without them, half of the time goes to allocating memory
        found = np.empty(source.shape, dtype=np.float32)
        flat = (-1, *source.shape[2:])
        cv2.LUT(source.reshape(flat), table[None], found.reshape(flat))
        return torch.from_numpy(found).permute(0, 3, 1, 2)
    scale, shift = scale.to(images.device), shift.to(images.device)
    values = images.to(torch.float32, copy=True)
    if images.requires_grad or not values.is_contiguous(memory_format=torch.channels_last):
        return values.mul_(scale[:, None, None]).add_(shift[:, None, None])
    # Broadcasting over the three innermost numbers is slow: treat a whole row of pixels as one long vector.
    channels, width = values.shape[1], values.shape[3]
    rows = values.permute(0, 2, 3, 1).view(-1, width * channels)
    torch.addcmul(shift.repeat(width), rows, scale.repeat(width), out=rows)
    return values
