"""Hide values in training as if they were missing or unseen, so that the other columns learn to answer without them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, final

import torch
from torch import Tensor, nn
from typing_extensions import override

from tabvision.nets.layers import fact_device, keep_mask


class Hidden(NamedTuple):
    """What stands in place of a hidden value, by the positions of what is made of its raw column.

    Args:
        codes: For each category its code, such as 0, or that of the indicator of missing values.
        fills: For each number the value that fills a missing one, in standardized units.
    """

    codes: Mapping[int, int]
    fills: Mapping[int, float] = MappingProxyType({})


@final
class HideValues(nn.Module):
    """Replace a fraction of the values of some columns, in training, by what stands for a missing or unseen one.

    A column may be missing in few rows, most of one kind. Its indicator then says what these are, and nothing is learned of
    other rows without it. Monthly sales of houses in 46 towns: the number of offers was missing mostly in small ones, and a
    month without it in Dallas was predicted as that of a small town. RMSE was 144, and is 82 with a fraction of 0.01;
    gradient boosting's is 92 to 113 (3 seeds). On four other tables with missing numbers the change was within the noise.

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
            for part, values in {"at": at, "owner": owner, "value": value}.items():
                dtype = torch.float32 if (name, part) == ("number", "value") else torch.int64
                facts = torch.tensor(values, dtype=dtype, device=fact_device())
                self.register_buffer(f"{name}_{part}", facts, persistent=False)

    @override
    def forward(self, continuous: Tensor, categorical: Tensor) -> tuple[Tensor, Tensor]:
        if not (self.training and self.fraction and self._num_columns):
            return continuous, categorical
        is_kept = keep_mask(categorical[:, :1].expand(-1, self._num_columns), self.fraction).bool()
        return self._with_hidden(continuous, "number", is_kept), self._with_hidden(categorical, "code", is_kept)

    def _with_hidden(self, rows: Tensor, name: str, is_kept: Tensor) -> Tensor:
        at, owner, value = (getattr(self, f"{name}_{part}") for part in ("at", "owner", "value"))
        return rows.index_copy(1, at, torch.where(is_kept[:, owner], rows[:, at], value.to(rows.dtype)))
