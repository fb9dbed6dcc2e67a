"""The last steps on the device: what is left of the augmentation, normalization, noise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor

from tabvision.augment.color import light_batch
from tabvision.augment.erase import erase_batch
from tabvision.augment.normalize import normalize
from tabvision.augment.warp import warp_batch
from tabvision.batch import Batch
from tabvision.data.images.loader import EXTRAS
from tabvision.data.images.settings import IMAGENET

STAY = ("matrix", "box", "noise", "size")  # looked at by the processor first


def moved(batch: Batch, move: Callable[[Batch], Batch]) -> Batch:
    """A batch with its tensors moved, except those that the processor looks at first."""
    stay = {name: value for name, value in batch.items() if name in STAY}
    rest = {name: value for name, value in batch.items() if name not in STAY}
    return cast("Batch", {**move(cast("Batch", rest)), **stay})


def finished(batch: Batch, mean: Sequence[float], spread: Sequence[float]) -> Batch:
    """A batch with float32 pictures, varied and normalized, in channels-last memory; one that is, as it is.

    Args:
        batch: As a loader yields it, on its device.
        mean: Of each channel, of values in [0, 1]; empty for ImageNet's.
        spread: Standard deviation of each channel, likewise.

    Shape:
        - batch["image"]: (B, 3, h, w) uint8
        - returns: `image` (B, 3, H, W) float32, without what was left to do
    """
    if batch["image"].dtype != torch.uint8:
        return batch
    left: dict[str, Any] = {name: value for name, value in batch.items() if name in EXTRAS}
    rest = {name: value for name, value in batch.items() if name not in EXTRAS}
    images = normalize(_varied(batch["image"], left), *((mean, spread) if len(mean) else IMAGENET))
    images = images.contiguous(memory_format=torch.channels_last)
    if "box" in left:
        images = erase_batch(images, left["box"].numpy(), left["noise"].numpy())
    return cast("Batch", {**rest, "image": images})


def _varied(images: Tensor, left: dict[str, Any]) -> Tensor:
    """Pictures after the warp and the lighting that are left to the device."""
    if "matrix" in left:
        images = warp_batch(images, left["matrix"], tuple(left["size"].tolist()))
    if "light" in left:
        images = light_batch(images, left["light"][:, 0], left["light"][:, 1])
    return images
