"""Linear heads on features, fitted to the minimum of a task's loss, with a penalty chosen on held-out rows."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from tabvision.tasks import Task

_PENALTIES = (100.0, 30.0, 10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 0.001)
_CURVATURE = 0.5  # a guess at a loss's second derivative: that of numbers is 1 or 2, of two classes at most 0.25
_MOST_STEPS = 100
_TOLERANCE = 3e-4  # on the gradient: the best held-out losses are within a tenth of a percent of those at 1e-4


class Rows(NamedTuple):
    """Features of rows, (R, F) float, or (R, k, F) if each head has its own, with targets, and weights (R,) float."""

    features: Tensor
    target: Tensor
    weight: Tensor


class Heads(NamedTuple):
    """k linear heads: weights (k, num_outputs, F) and biases (k, num_outputs)."""

    weight: Tensor
    bias: Tensor

    def logits(self, features: Tensor) -> Tensor:
        """Return the logits of every head, (R, k, num_outputs)."""
        if features.ndim == 3:
            return torch.baddbmm(self.bias.unsqueeze(1), features.transpose(0, 1), self.weight.mT).transpose(0, 1)
        return (features @ self.weight.flatten(0, 1).T).unflatten(1, self.bias.shape) + self.bias  # type: ignore[no-any-return, no-untyped-call]


def mean_and_std(features: Tensor) -> tuple[Tensor, Tensor]:
    """Return each feature's mean, and its standard deviation but at least that of an average feature.

    A feature that hardly varies in a few rows may lie far off in others; divided by its own deviation, it would dominate.

    Example:
        >>> mean_and_std(torch.tensor([[0.0, 1.0], [4.0, 1.0]]))
        (tensor([2., 1.]), tensor([2., 1.]))
    """
    std, mean = torch.std_mean(features, dim=0, correction=0)
    return mean, std.clamp(min=float(std.mean()) or 1.0)


def fitted_heads(rows: Rows, task: Task, fold: Tensor, num_folds: int) -> tuple[Heads, float]:
    """Return one head per fold, fitted on the rows outside it, and the penalty with the lowest held-out loss.

    The head of an empty fold is fitted on all rows.

    Args:
        rows: The rows, with standardized features.
        task: The kind of target.
        fold: (R,) int64, the fold of each row; every head is fitted on rows whose fold is not in [0, num_folds).
        num_folds: k, the number of folds.
    """
    is_out = fold.unsqueeze(1) == torch.arange(num_folds)
    features, variance, axes = _principal_axes(rows.features.movedim(0, -2))
    rows = rows._replace(features=features.movedim(-2, 0))
    found: list[tuple[float, Heads, float]] = []
    for penalty in _PENALTIES:
        scale = (_CURVATURE * variance + penalty).rsqrt().unsqueeze(-2)
        heads = minimized(rows, task, penalty, ~is_out, scale=scale, start=found[-1][1] if found else None)
        loss = float(mean_loss(rows, task, heads, is_out).sum())
        if found and loss >= found[-1][0]:  # weaker penalties overfit more, and take longest
            break
        found.append((loss, heads, penalty))
    _, heads, penalty = found[-1]
    return heads._replace(weight=heads.weight @ axes.mT), penalty


def _principal_axes(features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Rotate features to their principal axes, leaving out directions in which none of the rows lies.

    Returns:
        The rotated features, the mean square of each, and the matrix that rotated them.

    Shape:
        - features: (R, F) or (k, R, F) float
        - returns: (..., R, A), (..., A) and (..., F, A) with A = min(R, F)
    """
    num_rows, num_features = features.shape[-2:]
    axes = torch.eye(num_features)
    if num_rows < num_features:
        axes = torch.linalg.qr(features.mT).Q
        features = features @ axes
    variance, rotation = torch.linalg.eigh(features.mT @ features / num_rows)
    return features @ rotation, variance.clamp(min=0), axes @ rotation


def minimized(
    rows: Rows, task: Task, penalty: float, learns: Tensor, *, scale: Tensor, start: Heads | None = None
) -> Heads:
    """Return the heads that minimize the mean loss of their rows plus half the penalty times the sum of squared weights.

    Args:
        rows: The rows.
        task: The kind of target.
        penalty: The strength of the penalty.
        learns: (R, k) bool, whether a head is fitted on a row.
        scale: Units for the weights, (1, F) or (k, 1, F), in which the loss curves about equally in all directions.
        start: Heads to start from, such as those for another penalty; None for zeros.
    """
    if start is None:
        num_heads, num_features, num_outputs = learns.shape[1], rows.features.shape[-1], task.num_outputs
        start = Heads(torch.zeros(num_heads, num_outputs, num_features), torch.zeros(num_heads, num_outputs))
    scaled = Heads(start.weight / scale, start.bias.clone())
    settings: dict[str, Any] = {"tolerance_grad": _TOLERANCE, "tolerance_change": 1e-2 * _TOLERANCE}
    for each in scaled:
        each.requires_grad_()
    optimizer = torch.optim.LBFGS(scaled, max_iter=_MOST_STEPS, line_search_fn="strong_wolfe", **settings)

    def closure() -> Tensor:
        optimizer.zero_grad()
        heads = scaled._replace(weight=scaled.weight * scale)
        loss = mean_loss(rows, task, heads, learns).sum() + penalty / 2 * heads.weight.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    with torch.enable_grad():
        optimizer.step(closure)  # type: ignore[no-untyped-call]
    return Heads((scaled.weight * scale).detach(), scaled.bias.detach())


def mean_loss(rows: Rows, task: Task, heads: Heads, counts: Tensor) -> Tensor:
    """Return the weighted mean loss of each head, (k,), over the rows that count for it."""
    num_heads = counts.shape[1]
    losses = task.loss(heads.logits(rows.features).flatten(0, 1), rows.target.repeat_interleave(num_heads, 0))
    weights = rows.weight.unsqueeze(1) * counts
    return (losses.view_as(weights) * weights).sum(0) / weights.sum(0).clamp(min=torch.finfo(torch.float32).tiny)
