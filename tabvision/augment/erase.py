"""Erase a box of each image with noise, so that a network does not rely on any single part."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tabvision.augment.settings import Augmentation
from tabvision.counter_random import stretched

if TYPE_CHECKING:
    from torch import Tensor

NUM_DRAWS = 6
_MIN_ASPECT = 0.3


def erase_boxes(settings: Augmentation, draws: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.int64]:
    """Return each row's box as (top, bottom, left, right) in pixels; empty if nothing is to be erased.

    Args:
        settings: The probability and the largest area.
        draws: Random numbers in [0, 1), `NUM_DRAWS` per row.
        size: (height, width) of the images.

    Shape:
        - draws: (B, NUM_DRAWS) float64
        - returns: (B, 4) int64

    Source:
        fastai 2.8 `RandomErasing`: the area is uniform up to the largest; the ratio of height to width is log-uniform
        between 0.3 and 1 / 0.3.

    Example:
        >>> erase_boxes(Augmentation(erase=1.0, erase_area=0.25), np.full((1, 6), 0.5), (8, 8)).tolist()
        [[3, 6, 3, 6]]
    """
    sides = np.array(size)
    areas = stretched(draws[:, 1], 0, settings.erase_area) * sides.prod()
    roots = np.exp(stretched(draws[:, 2], math.log(_MIN_ASPECT), -math.log(_MIN_ASPECT)) / 2)
    lengths = np.rint(np.sqrt(areas)[:, None] * np.stack([roots, 1 / roots], axis=1)).astype(np.int64)
    lengths = np.where(draws[:, :1] < settings.erase, np.minimum(lengths, sides), 0)
    first = np.floor(draws[:, 3:5] * (sides - lengths + 1)).astype(np.int64)
    return np.stack([first[:, 0], first[:, 0] + lengths[:, 0], first[:, 1], first[:, 1] + lengths[:, 1]], axis=1)


def noise_seeds(draws: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the seed of each row's noise, from the row's last random number.

    Example:
        >>> noise_seeds(np.array([[0, 0, 0, 0, 0, 0.5]])).tolist()
        [4503599627370496]
    """
    return (draws[:, NUM_DRAWS - 1] * 2.0**53).astype(np.int64)


def erase_batch(images: Tensor, boxes: NDArray[np.int64], seeds: NDArray[np.int64]) -> Tensor:
    """Fill each row's box with noise of mean 0 and std 1, in place.

    Args:
        images: Normalized images, on any device.
        boxes: (top, bottom, left, right) of each row.
        seeds: Seed of each row's noise; on one kind of device, the same seed gives the same noise.

    Shape:
        - images: (B, C, H, W) float
        - boxes: (B, 4) int64
        - seeds: (B,) int64
        - returns: the same tensor

    Example:
        >>> import torch
        >>> images = torch.zeros(1, 3, 4, 4)
        >>> int(erase_batch(images, np.array([[0, 2, 0, 2]]), np.array([7])).count_nonzero())
        12
    """
    import torch

    generator = torch.Generator(images.device)
    for row, (top, bottom, left, right) in enumerate(boxes.tolist()):
        if bottom > top and right > left:
            images[row, :, top:bottom, left:right].normal_(generator=generator.manual_seed(int(seeds[row])))
    return images
