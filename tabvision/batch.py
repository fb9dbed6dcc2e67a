"""The batch: the one thing that datamodules hand to modules."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from torch import Tensor


class Batch(TypedDict, total=False):
    """A dict of tensors; a key is present when the data has that part. B is the number of rows.

    Shape:
        - continuous: (B, N) float32, standardized
        - categorical: (B, K) int64, code 0 = missing or unseen
        - image: (B, 3, H, W) float32, normalized, as a module in a Trainer gets it; uint8 as a loader yields it
        - target: (B,) int64 class codes, (B, C) float32 for multi-label or softened classes, (B, T) float32 for numbers
        - weight: (B,) float32, the row's weight in the loss
        - view: (B, 3, 3) float32, where points are the target: from the network's frame, -1 to 1, to pixels of the source
        - index: (B,) int64, the row's number in the source
    """

    continuous: Tensor
    categorical: Tensor
    image: Tensor
    target: Tensor
    weight: Tensor
    view: Tensor
    index: Tensor
