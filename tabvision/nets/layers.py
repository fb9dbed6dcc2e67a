"""BatchNorm that takes a batch of one row, or of one small picture."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, final

from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm
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


@contextlib.contextmanager
def resting_norms(net: nn.Module) -> Iterator[None]:
    """For a while, every BatchNorm of the net that gets one value a channel normalizes as `BatchNorm1d` here does.

    Where a net comes with norms of its own: one small picture ends in maps of one pixel, which have no spread. Norms that
    get more values work as ever. A SyncBatchNorm takes its values from all ranks, and is left alone.

    Example:
        >>> import torch
        >>> norm = nn.BatchNorm2d(2)
        >>> with resting_norms(norm):
        ...     norm(torch.ones(1, 2, 1, 1)).flatten().tolist() == norm.eval()(torch.ones(1, 2, 1, 1)).flatten().tolist()
        True
    """
    norms = [part for part in net.modules() if isinstance(part, _BatchNorm) and part.training]
    norms = [norm for norm in norms if norm.track_running_stats and not isinstance(norm, nn.SyncBatchNorm)]
    hooks = [norm.register_forward_pre_hook(_rest) for norm in norms]
    try:
        yield
    finally:
        for hook, norm in zip(hooks, norms, strict=True):
            hook.remove()
            norm.training = True


def _rest(norm: _BatchNorm, inputs: tuple[Any, ...]) -> None:
    norm.training = inputs[0].numel() > norm.num_features
