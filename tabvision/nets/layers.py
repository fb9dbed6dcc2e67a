"""Layers of our own, and what any network is asked: BatchNorm of a single row, a quick Dropout, a trial run."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm
from typing_extensions import override

from tabvision.checks import check_fraction
from tabvision.errors import BadValueError, speaking
from tabvision.tracing import is_traced


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


@contextlib.contextmanager
def evaluating(net: nn.Module) -> Iterator[None]:
    """Put a network in evaluation mode for a while; each part goes back to the mode it was in.

    Example:
        >>> net = nn.Dropout()
        >>> with evaluating(net):
        ...     during = net.training
        >>> during, net.training
        (False, True)
    """
    modes = [(part, part.training) for part in net.modules()]
    net.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


def width_of(net: nn.Module, shape: Sequence[int], what: str) -> int:
    """Return how many numbers a network of the user's own gives for a row, found by trying it on two rows of zeros.

    Args:
        net: The network.
        shape: Of a row of its input.
        what: What the sentence calls it, such as "head".

    Raises:
        BadValueError: It does not take such rows, or gives anything but (B, width).

    Example:
        >>> width_of(nn.Linear(3, 5), (3,), "head")
        5
    """
    rows, remedy = torch.zeros(2, *shape), "Pass a torch.nn.Module that turns (B, ...) into (B, width)"
    rows = rows.to(next((parameter.device for parameter in net.parameters()), rows.device))
    try:
        with evaluating(net), torch.no_grad():
            given = net(rows)
    except Exception as error:
        problem = f"the {what} takes no rows of shape {tuple(shape)} ({str(error).strip().rstrip('.'):.120})"
        raise BadValueError(problem, remedy) from error
    if not isinstance(given, Tensor) or given.ndim != 2 or len(given) != len(rows):
        got = tuple(given.shape) if isinstance(given, Tensor) else type(given).__name__
        raise BadValueError(f"the {what} must give (2, width) for 2 rows, got {got}", remedy)
    return given.shape[1]


LANES = 1 << 16  # 16 random bits decide on one element, so a probability is kept to 1 / 65,536


@final
class Dropout(nn.Dropout):
    """Like `torch.nn.Dropout`, with a cheaper mask on the CPU.

    One random draw of 64 bits serves four elements. It comes from torch's default generator, so `torch.manual_seed` or
    a saved generator state repeats it. What is kept is scaled by the exact inverse of the probability in use, so the
    expectation is unchanged. On other devices, for `p` of 0 or 1, and while a graph is traced, torch's dropout runs.

    Args:
        p: Probability that an element becomes zero, in [0, 1]; on the CPU rounded to 1 / 65,536.
        inplace: Whether to overwrite the input; torch's own dropout then runs.

    Shape:
        - input: (*) float
        - returns: (*) the same

    Raises:
        BadValueError: `p` outside [0, 1].

    Example:
        >>> Dropout(0.5)(torch.ones(1000)).unique()
        tensor([0., 2.])
    """

    @speaking()
    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:  # noqa: FBT001, FBT002 - torch's signature
        check_fraction("p", p, "[]")
        super().__init__(p, inplace)

    @override
    def forward(self, input: Tensor) -> Tensor:
        lanes = round(self.p * LANES)
        if not self.training or self.inplace or not 0 < lanes < LANES or not _is_quick(input):
            return functional.dropout(input, self.p, self.training, self.inplace)
        mask = _lane_mask(input, lanes)
        scale = LANES / (LANES - lanes)
        if input.dtype in (torch.float32, torch.float64):
            return input * mask.mul_(scale)
        return input * mask * scale  # a mask of 16 bits would round the scale, one way for all elements


def keep_mask(like: Tensor, share: float) -> Tensor:
    """Zeros with probability `share`, else ones, in the shape, dtype and place of `like`.

    Args:
        like: Any real tensor.
        share: In [0, 1]; on the CPU rounded to 1 / 65,536.

    Example:
        >>> keep_mask(torch.zeros(2, dtype=torch.int64), 0.0)
        tensor([1, 1])
    """
    lanes = round(share * LANES)
    if lanes < LANES and like.device.type == "cpu" and not is_traced():
        return _lane_mask(like, lanes)
    return (torch.rand(like.shape, device=like.device) >= share).to(like.dtype)


def _lane_mask(like: Tensor, lanes: int) -> Tensor:
    """Zeros with probability `lanes` / `LANES`, else ones.

    A comparison that writes numbers is several times quicker than one that writes booleans, to be converted.
    """
    words = torch.empty((like.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None)  # all 64 bits
    bits = words.view(torch.int16)[: like.numel()].view(like.shape)
    return torch.ge(bits, lanes - LANES // 2, out=torch.empty_like(bits, dtype=like.dtype))


def _is_quick(tensor: Tensor) -> bool:
    return tensor.device.type == "cpu" and tensor.is_floating_point() and not is_traced()
