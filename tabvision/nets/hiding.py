"""Hide values in training as if they were missing or unseen, so that the network learns to answer without them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, final

import torch
from torch import Tensor, nn
from typing_extensions import override

from tabvision.nets.layers import fact_device


class Hidden(NamedTuple):
    """The values that replace a hidden one, by position among the inputs computed from its raw column.

    Args:
        codes: The code for each category: 0, or that of "missing" for an indicator of missing values.
        fills: The fill value for each number, in standardized units.
        fraction: Fraction of the rows whose value is hidden, in [0, 1].
    """

    codes: Mapping[int, int]
    fills: Mapping[int, float] = MappingProxyType({})
    fraction: float = 0.01


@final
class HideValues(nn.Module):
    """Replace a fraction of the values in some columns, during training, by what stands for a missing or unseen one.

    If a column is missing in few rows, and mostly rows of one kind, its indicator of missing values comes to mean that kind,
    and predictions for other rows without a value are wrong. In monthly house sales of 46 towns, the number of offers was
    missing mostly in small towns, so Dallas without it was predicted as one. A fraction of 0.01 lowered RMSE from 144 to 82;
    gradient boosting has 92 to 113 (3 seeds). On four other tables with missing numbers the change was within the noise.

    Shape:
        - continuous: (B, N) float
        - categorical: (B, K) int64
        - returns: the same

    Example:
        >>> hide = HideValues([Hidden(codes={1: 2}, fills={0: 0.5}, fraction=1.0)])
        >>> [each.tolist() for each in hide(torch.ones(1, 1), torch.tensor([[7, 1]]))]
        [[[0.5]], [[7, 2]]]
        >>> [each.tolist() for each in hide.eval()(torch.ones(1, 1), torch.tensor([[7, 1]]))]
        [[[1.0]], [[7, 1]]]
    """

    fractions: Tensor

    def __init__(self, columns: Sequence[Hidden]) -> None:
        super().__init__()
        numbers = [(at, owner, fill) for owner, column in enumerate(columns) for at, fill in column.fills.items()]
        codes = [(at, owner, code) for owner, column in enumerate(columns) for at, code in column.codes.items()]
        fractions = torch.tensor([column.fraction for column in columns], device=fact_device())
        self.register_buffer("fractions", fractions, persistent=False)
        for name, cells in (("number", numbers), ("code", codes)):
            at, owner, value = zip(*cells, strict=True) if cells else ((), (), ())
            for part, values in {"at": at, "owner": owner, "value": value}.items():
                dtype = torch.float32 if (name, part) == ("number", "value") else torch.int64
                facts = torch.tensor(values, dtype=dtype, device=fact_device())
                self.register_buffer(f"{name}_{part}", facts, persistent=False)

    @override
    def forward(self, continuous: Tensor, categorical: Tensor) -> tuple[Tensor, Tensor]:
        if not (self.training and len(self.fractions)):
            return continuous, categorical
        is_kept = torch.rand(len(categorical), len(self.fractions), device=categorical.device) >= self.fractions
        return self._with_hidden(continuous, "number", is_kept), self._with_hidden(categorical, "code", is_kept)

    def _with_hidden(self, rows: Tensor, name: str, is_kept: Tensor) -> Tensor:
        at, owner, value = (getattr(self, f"{name}_{part}") for part in ("at", "owner", "value"))
        return rows.index_copy(1, at, torch.where(is_kept[:, owner], rows[:, at], value.to(rows.dtype)))
