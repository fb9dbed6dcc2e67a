"""Dropout whose mask costs a third of torch's on the CPU."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from tabvision.errors import BadValueError
from tabvision.tracing import is_traced

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

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:  # noqa: FBT001, FBT002 - torch's signature
        if not 0 <= p <= 1:
            raise BadValueError("Dropout", f"p must lie in [0, 1], got {p!r}", "Pass a share such as 0.1")
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
