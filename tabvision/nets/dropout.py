"""Dropout whose mask costs a third of torch's on the CPU."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from tabvision.errors import BadValueError

LANES = 1 << 16  # one 16-bit number decides on one element, so a probability is kept to 1 / 65,536


@final
class Dropout(nn.Dropout):
    """Like `torch.nn.Dropout`, with a cheaper mask on the CPU.

    torch draws 32 random bits and a float for each element; here one draw of 64 bits serves four elements. The mask comes
    from torch's default generator, so `torch.manual_seed` and a saved generator state repeat it. What is kept is scaled by
    the exact inverse of the probability in use, so the expectation is unchanged. On other devices, in half-empty cases
    (p of 0 or 1) and while a graph is traced, torch's own dropout runs.

    Args:
        p: Probability that an element becomes zero, in [0, 1]; on the CPU rounded to 1 / 65,536.
        inplace: Whether to overwrite the input; torch's own dropout then runs.

    Shape:
        - input: (*) float
        - returns: (*) the same

    Raises:
        BadValueError: `p` outside [0, 1].

    Example:
        >>> kept = Dropout(0.25)(torch.ones(1000)).unique()
        >>> kept.tolist() == [0.0, torch.tensor(1 / 0.75).item()]
        True
    """

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:  # noqa: FBT001, FBT002 - torch's signature
        if not 0 <= p <= 1:
            raise BadValueError("Dropout", f"p must lie in [0, 1], got {p!r}", "Pass a share such as 0.1")
        super().__init__(p, inplace)

    @override
    def forward(self, input: Tensor) -> Tensor:
        dropped = round(self.p * LANES)
        if not self.training or dropped == 0:
            return input
        if dropped == LANES or self.inplace or not _is_plain(input):
            return functional.dropout(input, self.p, training=True, inplace=self.inplace)
        return input * _keep_mask(input, dropped) * (LANES / (LANES - dropped))


def _keep_mask(like: Tensor, dropped: int) -> Tensor:
    """Zeros with probability `dropped` / `LANES`, else ones, of the shape and dtype of `like`.

    A comparison that writes floats is several times quicker than one that writes booleans to be converted.
    """
    words = torch.empty((like.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None)  # all 64 bits
    bits = words.view(torch.int16)[: like.numel()].view(like.shape)
    return torch.ge(bits, dropped - LANES // 2, out=torch.empty_like(bits, dtype=like.dtype))


def _is_plain(tensor: Tensor) -> bool:
    """Whether it is real numbers on the CPU, computed now rather than traced."""
    if tensor.device.type != "cpu" or not tensor.is_floating_point():
        return False
    return not (torch.compiler.is_compiling() or torch.jit.is_tracing())
