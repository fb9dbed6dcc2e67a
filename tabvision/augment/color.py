"""Change brightness and contrast as fastai does: on the logits of pixel values, which never overflow."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tabvision.augment.settings import Augmentation
from tabvision.counter_random import stretched

if TYPE_CHECKING:
    from torch import Tensor

NUM_DRAWS = 4
_EPS = 1e-7  # fastai's `logit` clips values to at least this far from 0 and 1


def lighting_strengths(
    settings: Augmentation, draws: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return what to add to each row's logits, and what to multiply them by after that.

    Args:
        settings: The augmentation's settings.
        draws: Random numbers in [0, 1), `NUM_DRAWS` per row.

    Shape:
        - draws: (B, NUM_DRAWS) float64
        - returns: brightness (B,), 0 for none, and contrast (B,), 1 for none

    Source:
        fastai 2.8 `Brightness` and `Contrast`: the new mid-gray is uniform around one half; the logarithm of the contrast is
        uniform around 0.

    Example:
        >>> lighting_strengths(Augmentation(lighting_share=0), np.zeros((1, 4)))
        (array([0.]), array([1.]))
    """
    half = settings.brightness / 2
    grays = stretched(draws[:, 1], 0.5 - half, 0.5 + half)
    widest = -np.log1p(-settings.contrast)
    brightness = np.where(draws[:, 0] < settings.lighting_share, _logit(grays), 0.0)
    contrast = np.where(draws[:, 2] < settings.lighting_share, np.exp(stretched(draws[:, 3], -widest, widest)), 1.0)
    return brightness, contrast


def lighting_tables(settings: Augmentation, draws: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Return each row's lookup table for the 256 pixel values, for `cv2.LUT` or numpy's indexing.

    Args:
        settings: The augmentation's settings.
        draws: Random numbers in [0, 1), `NUM_DRAWS` per row.

    Shape:
        - draws: (B, NUM_DRAWS) float64
        - returns: (B, 256) uint8

    Example:
        >>> lighting_tables(Augmentation(lighting_share=0), np.zeros((1, 4)))[0, [0, 100, 255]].tolist()
        [0, 100, 255]
    """
    brightness, contrast = lighting_strengths(settings, draws)
    logits = (_logit(np.arange(256) / 255) + brightness[:, None]) * contrast[:, None]
    return np.rint(255 / (1 + np.exp(-logits))).astype(np.uint8)


def light_batch(images: Tensor, brightness: Tensor, contrast: Tensor) -> Tensor:
    """Return images with changed brightness and contrast, on their device.

    Args:
        images: Values in [0, 1].
        brightness: What to add to the logits of each image.
        contrast: What to multiply the logits by after that.

    Shape:
        - images: (B, C, H, W) float
        - brightness, contrast: (B,)
        - returns: (B, C, H, W) float, in [0, 1]

    Example:
        >>> import torch
        >>> light_batch(torch.full((1, 1, 1, 1), 0.5), torch.tensor([0.0]), torch.tensor([2.0])).item()
        0.5
    """
    added, factor = (strength.to(images)[:, None, None, None] for strength in (brightness, contrast))
    return images.logit(eps=_EPS).add_(added).mul_(factor).sigmoid_()


def _logit(values: NDArray[np.float64]) -> NDArray[np.float64]:
    inside = np.clip(values, _EPS, 1 - _EPS)
    logits: NDArray[np.float64] = np.log(inside / (1 - inside))
    return logits
