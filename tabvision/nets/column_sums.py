"""A packed network with its first layer's sums cached, so that replacing one column does not recompute the others."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor

from tabvision.nets.folded import folded_layers
from tabvision.nets.packed import PackedNet


@final
class ColumnSums:
    """Compute the logits of a `PackedNet`, as if in evaluation mode, for rows in which columns are replaced repeatedly.

    The sums of the layers that read the inputs, the first one and the direct one, are computed once. Replacing a column adds
    the difference between its new and old values to them.
    Each norm is folded into the weights of the next layer, so the network must not change in the meantime.

    Example:
        >>> net = PackedNet([3], [(-1.0, 0.0, 2.0)], num_outputs=1, members=4).eval()
        >>> numbers, codes, none = torch.randn(5, 1), torch.tensor([[0], [1], [2], [1], [2]]), torch.empty(5, 0)
        >>> sums = ColumnSums(net)
        >>> inputs = sums.inputs([0], [], numbers, none)
        >>> found = sums.exchange(sums.of(numbers, codes), [0], [], inputs, inputs.flip(0))
        >>> torch.allclose(found, net(numbers.flip(0), codes), atol=1e-5)
        True
    """

    def __init__(self, net: PackedNet) -> None:
        self._inputs = net.embeddings
        folded = ((bias.mT, weight.mT.contiguous()) for bias, weight in folded_layers(net))
        (self._bias, self._weight), *self._later = folded
        self._width = self._later[0][1].shape[2]
        self._numbers, self._categories = self._inputs.spans()

    @property
    def num_inputs(self) -> int:
        """The number of inputs of the first layer for one row, over all members."""
        return self._inputs.members * self._inputs.width

    def of(self, continuous: Tensor, categorical: Tensor) -> Tensor:
        """Return the sums for whole rows, in the layers that read the inputs.

        Shape:
            - continuous: (B, N) float
            - categorical: (B, K) int64
            - returns: (k, total width of these layers, B) float
        """
        inputs = self._inputs(continuous, categorical).permute(1, 2, 0)
        return torch.baddbmm(self._bias, self._weight, inputs.expand(len(self._weight), -1, -1))

    def inputs(
        self, numbers: Sequence[int], categories: Sequence[int], continuous: Tensor, categorical: Tensor
    ) -> Tensor:
        """Return the inputs that come from some columns only.

        Shape:
            - continuous: (B, len(numbers)) float
            - categorical: (B, len(categories)) int64
            - returns: (B, 1 or k, width) float
        """
        return self._inputs.of_columns(continuous, categorical, numbers, categories)

    def exchange(
        self, sums: Tensor, numbers: Sequence[int], categories: Sequence[int], old: Tensor, new: Tensor
    ) -> Tensor:
        """Return the logits of all members with new values in place of the old, for each of R replacements.

        Args:
            sums: The output of `of` for the rows.
            numbers: Positions of the replaced numbers among all numbers.
            categories: Positions of the replaced categories among all categories.
            old: The `inputs` of these columns in the rows.
            new: The new inputs, one replacement after the other.

        Shape:
            - old: (B, 1 or k, width) float
            - new: (R * B, 1 or k, width) float
            - returns: (R * B, k, num_outputs) float
        """
        spans = [*(self._categories[it] for it in categories), *(self._numbers[it] for it in numbers)]
        weight = self._weight[:, :, [*itertools.chain(*spans)]]
        changes = [(part - old).permute(1, 2, 0) for part in torch.split(new, len(old))]
        found = [self._after(torch.baddbmm(sums, weight, it.expand(len(sums), -1, -1))) for it in changes]
        return torch.cat(found, dim=2).permute(2, 0, 1)

    def _after(self, sums: Tensor) -> Tensor:
        """Return the logits, (k, num_outputs, B), for the sums, which are overwritten."""
        hidden, direct = sums[:, : self._width], sums[:, self._width :]
        for bias, weight in self._later:
            hidden = torch.baddbmm(bias, weight, hidden.relu_())
        return hidden + direct if direct.shape[1] else hidden
