"""How continuous columns enter a network: as they are, normalized, or encoded piecewise-linearly."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import final

import torch
from rtdl_num_embeddings import PiecewiseLinearEmbeddings
from torch import Tensor, nn
from typing_extensions import override

from tabvision.errors import BadValueError


@final
class PiecewiseNumbers(nn.Module):
    """Each number as the place it has among its bins, through a small linear layer of its own.

    A column without edges (constant in training) enters as it is.

    Args:
        bins: Rising edges of each column, two at least; none for a constant column.
        width: Outputs for each column.

    Shape:
        - continuous: (B, N) float
        - returns: (B, N * width) float

    Source: Gorishniy et al. 2022, "On Embeddings for Numerical Features in Tabular Deep Learning".
    """

    def __init__(self, bins: Sequence[Sequence[float]], width: int) -> None:
        super().__init__()
        for place, edges in enumerate(bins):
            _check_edges(place, edges)
        self.width = len(bins) * width
        edges_or_unit = [torch.tensor(edges if len(edges) else (0.0, 1.0), dtype=torch.float32) for edges in bins]
        with warnings.catch_warnings():  # one bin is what a column of two values has
            warnings.simplefilter("ignore", UserWarning)
            self.encoding = PiecewiseLinearEmbeddings(edges_or_unit, width, activation=False, version="B")

    @override
    def forward(self, continuous: Tensor) -> Tensor:
        encoded: Tensor = self.encoding(continuous)
        return encoded.flatten(1)


def _check_edges(place: int, edges: Sequence[float]) -> None:
    rising = all(low < high for low, high in zip(edges, edges[1:], strict=False))
    if len(edges) == 1 or not rising:
        problem = f"bins of column {place} must be at least two rising edges, got {tuple(edges)!r}"
        raise BadValueError("EmbeddingMLP", problem, "Take them from the schema's continuous columns")
