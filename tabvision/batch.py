"""The batch: what datamodules pass to modules."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from torch import Tensor


class Batch(TypedDict):
    """A dict of tensors; a key is present only if the data has it. B is the number of rows.

    A type checker sees every key as present, so that a module can read the tensors its data has without checking each one.

    Shape:
        - continuous: (B, N) float32, standardized
        - categorical: (B, K) int64, code 0 = missing or unseen
        - image: (B, C, H, W) float32, normalized, as passed to a module by a Trainer; uint8 as yielded by a loader;
          (B, P, C, H, W) for a table in which P columns hold image paths
        - has_image: (B, P) float32, 1 for each image that a row has, 0 for one that is missing or cannot be read
        - features: (B, C, H, W) or (B, C) float, the output of a frozen body, in place of `image`; (B, P, C) for P images
          per row
        - target: (B,) int64 class codes, (B, C) float32 for multi-label or soft classes, (B, T) float32 for numbers
        - weight: (B,) float32, weights of the rows in the loss
        - fold: (B,) int64, the fold of each training row; the ensemble member with that number does not train on it
        - view: (B, 3, 3) float32, for keypoint targets: maps the network's frame, -1 to 1, to pixels of the source
        - index: (B,) int64, row numbers in the source
    """

    continuous: Tensor
    categorical: Tensor
    image: Tensor
    has_image: Tensor
    features: Tensor
    target: Tensor
    weight: Tensor
    fold: Tensor
    view: Tensor
    index: Tensor
