"""Stacking: average a packed network with a linear model of the same rows, weighted to do best on held-out rows."""

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

_WEIGHTS = tuple(step / 20 for step in range(21))  # candidate weights of the network
_MOST_INPUTS = 5_000_000  # over members and rows; with more, it takes as long as the network, which learns a sum too
_MOST_INPUTS_WIDE = 40_000_000  # if there are more inputs than rows, too few for a network to learn a sum
_MOST_ROUNDS = 4


@torch.no_grad()
def stack_linear(net: PackedNet, tensors: Mapping[str, Tensor], task: Task) -> float:
    """Average each member with a linear model of the rows outside its fold, weighted to do best on the held-out folds.

    A linear model needs fewer rows than a network, and remains better if the target is nearly a sum of effects, especially
    if few of many columns matter. It is added to the `direct` layer. For classes it gets half the weight that was best on the
    folds, since those do not show how much a network gains from averaging its members. A network stays unchanged if it has no
    direct layer, very many inputs or grown classes, or if its loss on the folds would fall by less than a standard error.

    Args:
        net: The network, in evaluation mode, whose members have inputs of their own.
        tensors: The training rows with their `fold`, under the keys of a batch.
        task: The kind of target.

    Returns:
        The weight of the network, in [0, 1]; the linear model has the rest.

    Source: weights chosen by held-out predictions, Wolpert 1992, "Stacked Generalization".
    """
    continuous, categorical, fold = tensors["continuous"], tensors["categorical"], tensors["fold"].cpu()
    most = _MOST_INPUTS_WIDE if len(fold) < net.embeddings.width else _MOST_INPUTS
    is_small = 1 < len(fold) <= most / (net.embeddings.members * net.embeddings.width)
    has_grown = not isinstance(net.head, PackedLinear)
    if not isinstance(net.direct, PackedLinear) or has_grown or not is_small:
        return 1.0
    inputs = net.embeddings(continuous, categorical).float().cpu()
    if not inputs.isfinite().all():
        return 1.0
    own = net(continuous, categorical).float().cpu()
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
    if task.is_classes:  # averaging all members will lower the network's loss a lot, and the linear model's hardly
        own_weight = (1 + own_weight) / 2
    scale_outputs([net.head, net.direct], own_weight)
    scaled = heads.weight / std.unsqueeze(1)
    plain = Heads(torch.bmm(scaled, basis.mT), heads.bias - (scaled * mean.unsqueeze(1)).sum(2))
    net.direct.weight.add_(plain.weight.mT.to(continuous.device), alpha=1 - own_weight)
    net.direct.bias.add_(plain.bias.unsqueeze(1).to(continuous.device), alpha=1 - own_weight)
    return own_weight


class _Linear(NamedTuple):
    """A head for each fold, and the logits and weighted losses of all rows from the heads that were not fitted on them."""

    heads: Heads
    logits: Tensor
    losses: Tensor


def _linear_model(rows: Rows, task: Task, fold: Tensor, num_folds: int) -> _Linear:
    """Return the linear model that does best on the held-out folds, on all features or on those that matter.

    It is fitted in rounds: each scales every feature by its weight in the round before, so that the penalty drives the
    weights of unimportant features to zero. A round counts only if it lowers the loss on the folds by more than a standard
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
    """Return whether the rows gain more than a standard error in total; False if any gain is NaN."""
    return bool(gain.sum() > gain.std() * len(gain) ** 0.5)


def _basis(net: PackedNet, continuous: Tensor, inputs: Tensor) -> Tensor:
    """Return a matrix per member, (k, width, F), from the network's inputs to the features of a linear model.

    A number's feature is the combination of its encoding that comes closest to the number itself; a category's features are
    its embedding.

    Args:
        net: The network.
        continuous: (R, N) float, the numbers of the rows.
        inputs: (R, k, width) float, the encoded numbers and embedded categories.
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
