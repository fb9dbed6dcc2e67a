"""Losses of logits: cross-entropy for hard and softened targets, linear in the target, and the Tweedie deviance."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

FARTHEST = 20.0  # logarithms beyond it are as good as zero and infinity; within it, no loss overflows


def at_least_float32(logits: Tensor) -> Tensor:
    """Return logits as float32 if they have fewer bits, too few for losses and numbers in user units."""
    return logits.float() if logits.itemsize < 4 else logits


def bounded(logits: Tensor, y_range: tuple[float, float]) -> Tensor:
    """Map logits to the range by a scaled sigmoid."""
    low, high = y_range
    return logits.sigmoid() * (high - low) + low


def binary_losses(logits: Tensor, target: Tensor, gamma: float = 0.0, smoothing: float = 0.0) -> Tensor:
    """Return the binary cross-entropy of each logit, with the focal factor, which down-weights those predicted well.

    Args:
        logits: One for each binary label.
        target: Probability of the positive class, in [0, 1].
        gamma: Exponent of the focal factor; 0 for plain cross-entropy, 2 for the usual focal loss.
        smoothing: Fraction of each target that is spread evenly over yes and no.

    Shape:
        - logits: any shape, float
        - target: as `logits`
        - returns: as `logits`

    Source: Lin et al. 2017, "Focal Loss for Dense Object Detection", without its alpha.

    Example:
        >>> import torch
        >>> binary_losses(torch.tensor([0.0, 9.0]), torch.ones(2), gamma=2.0).round(decimals=3)
        tensor([0.1730, 0.0000])
    """
    from torch.nn import functional

    if smoothing:
        target = target * (1 - smoothing) + smoothing / 2
    if not gamma:
        return functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    log_yes, log_no = functional.logsigmoid(logits), functional.logsigmoid(-logits)
    return -(target * (gamma * log_no).exp() * log_yes + (1 - target) * (gamma * log_yes).exp() * log_no)


def class_losses(logits: Tensor, target: Tensor, gamma: float) -> Tensor:
    """Return each class's term of the focal cross-entropy; the loss of a row is the sum of its terms.

    Args:
        logits: One for each class.
        target: Probability of each class.
        gamma: Exponent of the focal factor; 2 for the usual focal loss.

    Shape:
        - logits: (B, C) float
        - target: (B, C) float
        - returns: (B, C) float

    Source: see `binary_losses`.

    Example:
        >>> import torch
        >>> class_losses(torch.zeros(1, 2), torch.tensor([[1.0, 0.0]]), gamma=1.0).sum().item()  # 1/2 ln 2
        0.3465735...
    """
    import torch

    log_probabilities = logits.log_softmax(dim=1)
    # clamped, since the gradient of a power may be infinite at 0
    misses = (1 - log_probabilities.exp()).clamp(min=torch.finfo(logits.dtype).eps)
    return -target * misses.pow(gamma) * log_probabilities


def logit_of_mean(logits: Tensor) -> Tensor:
    """Return the logit of the mean probability over the second dimension.

    Shape:
        - logits: (B, k, C) float
        - returns: (B, C) float

    Example:
        >>> import torch
        >>> logit_of_mean(torch.tensor([[[-9.0], [9.0]], [[2.0], [2.0]]])).round(decimals=3).tolist()
        [[0.0], [2.0]]
    """
    import torch
    from torch.nn import functional

    yes: Tensor
    no: Tensor
    yes, no = torch.logsumexp(functional.logsigmoid(torch.stack([logits, -logits])), 2)
    return yes - no


def tweedie_losses(logits: Tensor, target: Tensor) -> Tensor:
    """Return the Tweedie deviance of power 1.5 between exp(logits) and the target, 0 where they are equal.

    Its expectation is lowest where exp(logits) is the mean of the target. Errors count relative to the prediction, and zeros
    are allowed: power 1.5 lies between Poisson (1) and gamma (2).

    Args:
        logits: The logarithm of the prediction.
        target: Best scaled to a mean near 1. Values below 0, which can only occur in later rows, count as 0.

    Shape:
        - logits: any shape, float
        - target: as `logits`
        - returns: as `logits`

    Source: Dunn and Smyth 2005, "Series evaluation of Tweedie exponential dispersion model densities", the deviance.

    Example:
        >>> import torch
        >>> tweedie_losses(torch.zeros(3), torch.tensor([1.0, 0.0, 4.0]))
        tensor([0., 4., 4.])
    """
    near = logits.clamp(-FARTHEST, FARTHEST)
    root = (near / 2).exp()  # the square root of the prediction
    return 4 * (target.clamp(min=0).sqrt() - root).square() / root + (logits - near).abs()  # the second term pulls back
