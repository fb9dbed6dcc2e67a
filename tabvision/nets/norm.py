"""BatchNorm that takes a batch of one row."""

from __future__ import annotations

from typing import final

from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override


@final
class BatchNorm1d(nn.BatchNorm1d):
    """Like `torch.nn.BatchNorm1d`, but a training batch of one row is normalized with the running statistics.

    One row has no spread; torch raises there. Such a batch leaves the running statistics alone, and gradients flow.

    Shape:
        - input: (B, N) or (B, N, L) float
        - returns: the same

    Example:
        >>> import torch
        >>> BatchNorm1d(2)(torch.ones(1, 2)).detach().round(decimals=3)
        tensor([[1., 1.]])
    """

    @override
    def forward(self, input: Tensor) -> Tensor:
        if self.training and self.track_running_stats and input.numel() == self.num_features:
            arguments = (self.running_mean, self.running_var, self.weight, self.bias)
            return functional.batch_norm(input, *arguments, training=False, eps=self.eps)
        return super().forward(input)
