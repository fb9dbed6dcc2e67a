"""Hide values in training as if they were missing or unseen, so that the network learns to answer without them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, final

import torch
from torch import Tensor, nn
from typing_extensions import override

from tabvision.nets.layers import keep_mask


class Hidden(NamedTuple):
    """The values that replace a hidden one, by position among the inputs computed from its raw column.

    Args:
        codes: The code for each category: 0, or that of "missing" for an indicator of missing values.
        fills: The fill value for each number, in standardized units.
    """

    codes: Mapping[int, int]
    fills: Mapping[int, float] = MappingProxyType({})


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
        >>> hide = HideValues([Hidden(codes={1: 2}, fills={0: 0.5})], 0.999)
        >>> [each.tolist() for each in hide(torch.ones(1, 1), torch.tensor([[7, 1]]))]
        [[[0.5]], [[7, 2]]]
        >>> [each.tolist() for each in hide.eval()(torch.ones(1, 1), torch.tensor([[7, 1]]))]
        [[[1.0]], [[7, 1]]]
    """

    def __init__(self, columns: Sequence[Hidden], fraction: float) -> None:
        super().__init__()
        self.fraction = fraction
        numbers = [(at, owner, fill) for owner, column in enumerate(columns) for at, fill in column.fills.items()]
        codes = [(at, owner, code) for owner, column in enumerate(columns) for at, code in column.codes.items()]
        self._num_columns = len(columns)
        for name, cells in (("number", numbers), ("code", codes)):
            at, owner, value = zip(*cells, strict=True) if cells else ((), (), ())
            for part, values in {"at": at, "owner": owner}.items():
                self.register_buffer(f"{name}_{part}", torch.tensor(values, dtype=torch.int64), persistent=False)
            dtype = torch.float32 if name == "number" else torch.int64
            self.register_buffer(f"{name}_value", torch.tensor(value, dtype=dtype), persistent=False)

    @override
    def forward(self, continuous: Tensor, categorical: Tensor) -> tuple[Tensor, Tensor]:
        if not (self.training and self.fraction and self._num_columns):
            return continuous, categorical
        is_kept = keep_mask(categorical[:, :1].expand(-1, self._num_columns), self.fraction).bool()
        return self._with_hidden(continuous, "number", is_kept), self._with_hidden(categorical, "code", is_kept)

    def _with_hidden(self, rows: Tensor, name: str, is_kept: Tensor) -> Tensor:
        at, owner, value = (getattr(self, f"{name}_{part}") for part in ("at", "owner", "value"))
        return rows.index_copy(1, at, torch.where(is_kept[:, owner], rows[:, at], value.to(rows.dtype)))
