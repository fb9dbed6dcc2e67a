"""Losses a row, for hard and softened targets alike: each is linear in the target, so mixed rows need no special case."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def binary_losses(logits: Tensor, target: Tensor, gamma: float = 0.0) -> Tensor:
    """Cross-entropy of each yes-or-no logit, with less weight on those that are answered well.

    Args:
        logits: One for each answer.
        target: Probability of "yes", in [0, 1].
        gamma: How much less; 0 for plain cross-entropy, 2 for the usual focal loss.

    Shape:
        - logits: any
        - target: the same
        - returns: the same

    Source: Lin et al. 2017, "Focal Loss for Dense Object Detection", without its alpha.

    Example:
        >>> import torch
        >>> binary_losses(torch.tensor([0.0, 9.0]), torch.ones(2), gamma=2.0).round(decimals=3)
        tensor([0.1730, 0.0000])
    """
    from torch.nn import functional

    if not gamma:
        return functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    log_yes, log_no = functional.logsigmoid(logits), functional.logsigmoid(-logits)
    return -(target * (gamma * log_no).exp() * log_yes + (1 - target) * (gamma * log_yes).exp() * log_no)


def class_losses(logits: Tensor, target: Tensor, gamma: float) -> Tensor:
    """Cross-entropy of each row with each class, with less weight on those that are answered well; a row's loss is their sum.

    Args:
        logits: One for each class.
        target: Probability of each class.
        gamma: How much less; 2 for the usual focal loss.

    Shape:
        - logits: (B, C) float
        - target: (B, C) float
        - returns: (B, C) float

    Source: as in `binary_losses`.

    Example:
        >>> import torch
        >>> class_losses(torch.zeros(1, 2), torch.tensor([[1.0, 0.0]]), gamma=1.0).sum().item()  # 1/2 ln 2
        0.3465735...
    """
    log_shares = logits.log_softmax(dim=1)
    misses = (1 - log_shares.exp()).clamp(min=_smallest(logits))  # a power's slope at 0 may be infinite
    return -target * misses.pow(gamma) * log_shares


def _smallest(values: Tensor) -> float:
    import torch

    return torch.finfo(values.dtype).eps
