"""Relevance: scale each column's inputs to a packed network by how much of the classes the column explains alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tabvision.nets.packed import PackedNet

LEAST_SCALE = 0.3  # of a column that explains nothing alone, which may still matter together with others


@torch.no_grad()
def scale_inputs(net: PackedNet, tensors: Mapping[str, Tensor]) -> None:
    """Scale the inputs of each column by how much of the classes it explains, relative to the column that explains most.

    The inputs of other columns start smaller and, as the optimizer moves every weight at the same rate, learn more slowly, so
    that a network for few rows fits less noise. Each member measures the columns on the rows outside its fold. A network that
    was trained before stays unchanged, and so does one whose target is numbers, which it underfits rather than overfits.

    Args:
        net: The network, whose members have inputs of their own.
        tensors: The training rows with their `fold`, under the keys of a batch.

    Source: ranking columns by what each explains alone, Fan and Lv 2008, "Sure Independence Screening for Ultrahigh
        Dimensional Feature Space"; a scale for each input, Holzmüller et al. 2024, "Better by Default" (RealMLP).
    """
    first: Any = net.layers[0]
    target = tensors["target"].cpu()
    was_trained = bool(first.norm.num_batches_tracked)
    if was_trained or target.is_floating_point() or target.ndim > 1:
        return
    weight = tensors["weight"].cpu().double() if "weight" in tensors else torch.ones(len(target)).double()
    rows = _Rows(target, weight, tensors["fold"].cpu(), net.embeddings.members)
    bins = net.embeddings.numbers.bins_of(tensors["continuous"])
    columns = [*bins.cpu().unbind(1), *tensors["categorical"].cpu().unbind(1)]
    explained = torch.stack([rows.explained_by(column) for column in columns], dim=1)
    most = explained.amax(1, keepdim=True)
    scales = torch.where(most > 0, LEAST_SCALE + (1 - LEAST_SCALE) * (explained / most).sqrt(), 1)
    of_numbers, of_categories = net.embeddings.spans()
    for scale, span in zip(scales.unbind(1), [*of_numbers, *of_categories], strict=True):
        net.embeddings.scale[:, span.start : span.stop] = scale.unsqueeze(1).to(net.embeddings.scale)


class _Rows(NamedTuple):
    """R rows with their classes, (R,) int64, weights, (R,) float64, and folds, (R,) int64."""

    target: Tensor
    weight: Tensor
    fold: Tensor
    num_folds: int

    def explained_by(self, column: Tensor) -> Tensor:
        """Return how much better a column tells the classes than their frequencies, in the rows outside each fold.

        This is Goodman and Kruskal's tau, adjusted for what groups of random rows would explain, so that a column with many
        values in few rows explains little.

        Args:
            column: (R,) int64, a value's code or bin.

        Returns:
            (num_folds,) float64, in [0, 1].
        """
        num_classes = int(self.target.max()) + 1
        pairs, pair = torch.unique(column * num_classes + self.target, return_inverse=True)
        of_value, of_class, of_pair = self._sums(column), self._sums(self.target), self._sums(pair)
        total = of_value.sum(1)
        within = torch.zeros_like(of_value).index_add_(1, pairs // num_classes, of_pair.square())
        within = total - torch.where(of_value > 0, within / of_value, 0).sum(1)
        left = within / (total - of_class.square().sum(1) / total)  # of the Gini impurity
        num_rows = total.square() / self._sums(torch.zeros_like(column), self.weight)[:, 0]  # as many of equal weight
        found = (num_rows - (of_value > 0).sum(1) - left * (num_rows - 1)) / num_rows
        return found.nan_to_num(0, 0, 0).clamp(min=0)  # NaN or infinite for a single class, and if no rows are left

    def _sums(self, group: Tensor, values: Tensor | float = 1.0) -> Tensor:
        """Return the weighted sums of values in each group outside each fold, (num_folds, groups)."""
        num_groups = int(group.max()) + 1
        inside = torch.bincount(self.fold * num_groups + group, self.weight * values, self.num_folds * num_groups)
        inside = inside.view(self.num_folds, num_groups)
        return inside.sum(0) - inside
