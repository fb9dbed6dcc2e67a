"""Stacking: average a packed network with a linear model of the same rows, by the weights that answer held-out rows best."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from tabvision.nets.growth import scale_outputs
from tabvision.nets.linear_fit import Heads, Rows, fitted_heads, mean_and_std
from tabvision.nets.numeric import squash
from tabvision.nets.packed import PackedLinear, PackedNet
from tabvision.tasks import Task

_WEIGHTS = tuple(step / 20 for step in range(21))  # of the network
_MOST_INPUTS = 5_000_000  # of all members and rows: more take as long as the network, and teach it what a sum is
_MOST_INPUTS_WIDE = 40_000_000  # where a row has more inputs than there are rows, which teach no network a sum
_MOST_ROUNDS = 4


@torch.no_grad()
def stack_linear(net: PackedNet, tensors: Mapping[str, Tensor], task: Task) -> float:
    """Average each member with a linear model of the rows outside its fold, by the weights that answer the folds best.

    Few rows teach a linear model sooner than a network, and where the target is nearly a sum it stays the better one, above
    all where few of very many columns matter. It becomes part of the `direct` layer. Of classes it gets half of that weight:
    there a network gains much by the mean of its members, which no fold shows. A network without that layer, or with very
    many inputs or new classes, stays as it is, and so does one whose loss on the folds would fall by less than a standard
    error.

    Args:
        net: The network, in evaluation mode, whose members have inputs of their own.
        tensors: The training rows with their `fold`, as a batch would hold them.
        task: The kind of target.

    Returns:
        The weight of the network, in [0, 1]; the linear model has the rest.

    Source: weights chosen by held-out answers, Wolpert 1992, "Stacked Generalization".
    """
    continuous, categorical, fold = tensors["continuous"], tensors["categorical"], tensors["fold"].cpu()
    inputs = net.embeddings(continuous, categorical)
    most = _MOST_INPUTS_WIDE if len(fold) < inputs.shape[2] else _MOST_INPUTS
    is_small = len(fold) > 1 and inputs.numel() <= most
    has_grown = not isinstance(net.head, PackedLinear)
    if not isinstance(net.direct, PackedLinear) or has_grown or not is_small or not inputs.isfinite().all():
        return 1.0
    own, inputs = net(continuous, categorical).float().cpu(), inputs.float().cpu()
    basis = _basis(net, continuous, inputs)
    features = torch.bmm(inputs.transpose(0, 1), basis).transpose(0, 1)
    mean, std = mean_and_std(features)
    weight = tensors["weight"].float().cpu() if "weight" in tensors else torch.ones(len(fold))
    target = tensors["target"].cpu()
    rows = Rows((features - mean) / std, target.float() if target.is_floating_point() else target, weight)
    heads, linear, _ = _linear_model(rows, task, fold, inputs.shape[1])
    own = own[torch.arange(len(fold)), fold]
    losses = torch.stack([task.loss(each * own + (1 - each) * linear, rows.target) for each in _WEIGHTS]) * weight
    best = int(losses.sum(1).argmin())
    own_weight = _WEIGHTS[best]
    if not _is_gain(losses[-1] - losses[best]):
        return 1.0
    if task.is_classes:  # the folds' single members lose far more than the mean of all will, the linear model hardly
        own_weight = (1 + own_weight) / 2
    scale_outputs([net.head, net.direct], own_weight)
    scaled = heads.weight / std.unsqueeze(1)
    plain = Heads(torch.bmm(scaled, basis.mT), heads.bias - (scaled * mean.unsqueeze(1)).sum(2))
    net.direct.weight.add_(plain.weight.mT.to(continuous.device), alpha=1 - own_weight)
    net.direct.bias.add_(plain.bias.unsqueeze(1).to(continuous.device), alpha=1 - own_weight)
    return own_weight


class _Linear(NamedTuple):
    """A head for each fold, and the logits and weighted losses of all rows, by the heads that did not learn from them."""

    heads: Heads
    logits: Tensor
    losses: Tensor


def _linear_model(rows: Rows, task: Task, fold: Tensor, num_folds: int) -> _Linear:
    """Return the linear model that answers the folds best, of all features or of those that matter.

    It is fitted in rounds: in each a feature is scaled by its weight in the round before, so that the penalty drives the
    weights of those that matter little to zero. A round counts if it lowers the loss on the folds by more than a standard
    error.

    Source: Bühlmann and Meier 2008, multi-step adaptive penalties, in the discussion of "One-step Sparse Estimates".
    """

    def fitted(scale: Tensor) -> _Linear:
        heads, _ = fitted_heads(rows._replace(features=rows.features * scale), task, fold, num_folds)
        heads = heads._replace(weight=heads.weight * scale.unsqueeze(1))
        logits = heads.logits(rows.features)[torch.arange(len(fold)), fold]
        return _Linear(heads, logits, task.loss(logits, rows.target) * rows.weight)

    best = fitted(torch.ones(rows.features.shape[1:]))
    for _ in range(_MOST_ROUNDS - 1):
        sizes = torch.linalg.vector_norm(best.heads.weight, dim=1)
        found = fitted(sizes / sizes.square().mean(1, keepdim=True).sqrt().clamp(min=1e-12))
        if not _is_gain(best.losses - found.losses):
            break
        best = found
    return best


def _is_gain(gain: Tensor) -> bool:
    """Return whether the rows gain more than a standard error; not if some gain is not a number."""
    return bool(gain.sum() > gain.std() * len(gain) ** 0.5)


def _basis(net: PackedNet, continuous: Tensor, inputs: Tensor) -> Tensor:
    """Return the features of a linear model as sums of the inputs, (k, width, F): a matrix for each member.

    A number's feature is the sum of its encodings that comes closest to the number itself, a category's are its embedding.

    Args:
        net: The network.
        continuous: (R, N) float, the numbers of the rows.
        inputs: (R, k, width) float, what numbers and categories have become.
    """
    _, num_members, width = inputs.shape
    numbers = net.embeddings.numbers
    held = squash(continuous.clamp(numbers.low, numbers.high)).float().cpu()
    spans, _ = net.embeddings.spans()
    found = [torch.eye(width)[:, : width - sum(map(len, spans))].expand(num_members, -1, -1)]
    for number, span in zip(held.unbind(1), spans, strict=True):
        encoded = functional.pad(inputs[:, :, span.start : span.stop].transpose(0, 1), (0, 1), value=1.0)
        wanted = number.view(1, -1, 1).expand(num_members, -1, -1)
        closest = torch.linalg.lstsq(encoded, wanted, driver="gelsd").solution[:, :-1]
        found.append(functional.pad(closest, (0, 0, span.start, width - span.stop)))
    return torch.cat(found, dim=2)
