"""Finish a batch of images on its device: warp, change the lighting, normalize and erase."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, cast

import torch
from torch import Tensor

from tabvision.augment.color import light_batch
from tabvision.augment.erase import erase_batch
from tabvision.augment.normalize import normalize
from tabvision.augment.warp import warp_batch
from tabvision.batch import Batch
from tabvision.errors import BadTypeError, speaking
from tabvision.schema import IMAGENET_MEAN, IMAGENET_STD

Own: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""A user's own augmentation; see `Augmentation.own`."""
# Keys of a batch that `finished` consumes; a module never sees them
EXTRAS = ("matrix", "light", "own", "box", "noise", "size")
_STAY = ("matrix", "box", "noise", "size")  # the CPU reads these


def moved(batch: Batch, move: Callable[[Batch], Batch]) -> Batch:
    """Move the tensors of a batch, except those that the CPU reads."""
    stay = {name: value for name, value in batch.items() if name in _STAY}
    rest = {name: value for name, value in batch.items() if name not in _STAY}
    return cast("Batch", {**move(cast("Batch", rest)), **stay})


def finished(batch: Batch, mean: Sequence[float], std: Sequence[float], own: Own | None = None) -> Batch:
    """Augment and normalize a batch to float32 images in channels-last memory; return a finished batch unchanged.

    Args:
        batch: A loader's batch, on its device.
        mean: Mean of each channel, for values in [0, 1]; empty for ImageNet's statistics.
        std: Standard deviation of each channel, like `mean`.
        own: The user's own augmentation, applied to batches that hold random numbers for it.

    Shape:
        - batch["image"]: (B, C, h, w) uint8
        - returns: `image` (B, C, H, W) float32; the keys in `EXTRAS` are gone
    """
    if "features" in batch or batch["image"].dtype != torch.uint8:
        return batch
    extras: dict[str, Any] = {name: value for name, value in batch.items() if name in EXTRAS}
    rest = {name: value for name, value in batch.items() if name not in EXTRAS}
    images = batch["image"]
    if "matrix" in extras:
        images = warp_batch(images, extras["matrix"], tuple(extras["size"].tolist()))
    if "light" in extras:
        images = light_batch(images, extras["light"][:, 0], extras["light"][:, 1])
    if own is not None and "own" in extras:
        images = augmented_by(own, images, extras["own"])
    images = normalize(images, *((mean, std) if len(mean) else (IMAGENET_MEAN, IMAGENET_STD)))
    images = images.contiguous(memory_format=torch.channels_last)
    if "box" in extras:
        images = erase_batch(images, extras["box"].numpy(), extras["noise"].numpy())
    return cast("Batch", {**rest, "image": images})


@speaking("augment")
def augmented_by(own: Own, images: Tensor, numbers: Tensor) -> Tensor:
    """Apply a user's own augmentation, and check what it returns.

    Shape:
        - images: (B, C, H, W) uint8 or float
        - numbers: (B, `NUM_OWN_DRAWS`) float32
        - returns: (B, C, H, W) uint8

    Raises:
        BadTypeError: The function returns something else.
    """
    if images.is_floating_point():
        images = images.mul(255).round_().to(torch.uint8)
    augmented = own(images, numbers)
    if not isinstance(augmented, Tensor) or augmented.dtype != torch.uint8 or augmented.shape != images.shape:
        is_tensor = isinstance(augmented, Tensor)
        got = f"{augmented.dtype} {tuple(augmented.shape)}" if is_tensor else type(augmented).__name__
        problem = f"your augmentation must return uint8 images of shape {tuple(images.shape)} as it got them, got {got}"
        raise BadTypeError(problem, "Return a tensor of the same shape and type")
    return augmented
