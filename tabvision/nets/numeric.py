"""Encoders of numbers: squashing and BatchNorm, piecewise-linear encoding, or a user's own module."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor, nn
from typing_extensions import override

from tabvision.errors import BadTypeError, BadValueError, speaking
from tabvision.nets.layers import BatchNorm1d, width_of

_LIMIT = 3.0  # standard deviations
_PIECEWISE_WIDTH = 8  # outputs per number; diamonds, 12 seeds: RMSE 0.0918 with 8, 0.0942 with 16


def squash(numbers: Tensor) -> Tensor:
    """Return x / sqrt(1 + (x / 3)**2), about x near 0 and never beyond 3, without a square that could overflow.

    Source: Holzmueller et al. 2024, "Better by Default" (RealMLP), smooth clipping.

    Example:
        >>> squash(torch.tensor([-0.1, 0.1, 1e30])).round(decimals=3)
        tensor([-0.1000,  0.1000,  3.0000])
    """
    return (numbers / _LIMIT).atan().sin() * _LIMIT


@final
class PlainNumbers(nn.Module):
    """Squash outliers and apply BatchNorm.

    Args:
        num_columns: Number of columns, possibly 0.
        norm: Whether BatchNorm is applied.
        squash: Whether each number goes through `squash`, so that a value far outside the training range changes the
            prediction by a bounded amount.

    Shape:
        - continuous: (B, N) float, standardized
        - returns: (B, N) float

    Example:
        >>> PlainNumbers(3, norm=False)(torch.tensor([[-0.1, 0.1, 1e30]])).tolist()
        [[-0.0999..., 0.0999..., 3.0]]
    """

    def __init__(self, num_columns: int, *, norm: bool = True, squash: bool = True) -> None:
        super().__init__()
        self.width = num_columns
        self.norm = BatchNorm1d(num_columns) if norm and num_columns else nn.Identity()
        self.squash = squash

    @override
    def forward(self, continuous: Tensor) -> Tensor:
        if self.squash:  # before the norm, since one outlier in a batch would distort its column's statistics
            continuous = squash(continuous)
        normed: Tensor = self.norm(continuous)
        return normed


@final
class PiecewiseNumbers(nn.Module):
    """Encode each number by its position among its column's bins, then apply a small linear layer per column.

    A column without edges (constant in training) is used unchanged.

    Args:
        bins: Increasing edges of each column, at least two; empty for a constant column.

    Shape:
        - continuous: (B, N) float
        - returns: (B, N * 8) float

    Raises:
        BadValueError: Edges do not increase, are not finite, or there is only one.

    Source: Gorishniy et al. 2022, "On Embeddings for Numerical Features in Tabular Deep Learning"; version B, TabM's.

    Example:
        >>> PiecewiseNumbers([(-1.0, 0.0, 2.0), ()])(torch.zeros(5, 2)).shape
        torch.Size([5, 16])
    """

    @speaking()
    def __init__(self, bins: Sequence[Sequence[float]]) -> None:
        super().__init__()
        for number, edges in enumerate(bins):
            rising = all(low < high for low, high in itertools.pairwise(edges))
            if len(edges) == 1 or not rising or not all(map(math.isfinite, edges)):
                problem = f"bins of number {number} must be at least two rising edges, got {tuple(edges)!r}"
                raise BadValueError(problem, "Take them from the schema's continuous columns")
        self.width = len(bins) * _PIECEWISE_WIDTH
        tensors = [torch.tensor(tuple(edges) or (0.0, 1.0), dtype=torch.float32) for edges in bins]
        # imported here since it takes a second: it imports scikit-learn if installed
        from rtdl_num_embeddings import PiecewiseLinearEmbeddings

        with warnings.catch_warnings():  # it warns about a single bin, which is correct for a column of two values
            warnings.filterwarnings("ignore", "The .*-th feature has just two bin edges", UserWarning)
            self.encoding = PiecewiseLinearEmbeddings(tensors, _PIECEWISE_WIDTH, activation=False, version="B")

    @override
    def forward(self, continuous: Tensor) -> Tensor:
        encoded: Tensor = self.encoding(continuous)
        return encoded.flatten(1)


def numbers_width(encoder: nn.Module, num_columns: int) -> int:
    """Return the number of outputs of an encoder of numbers for a row.

    Args:
        encoder: One of the encoders above, or a user's own module from (B, N) to (B, width).
        num_columns: N, the number of continuous columns.

    Raises:
        BadTypeError: The encoder is not a network.
        BadValueError: It does not accept that many columns, or does not return (B, width).
    """
    if isinstance(encoder, PlainNumbers | PiecewiseNumbers):
        return encoder.width
    if not isinstance(encoder, nn.Module):
        problem = f"an encoder of numbers must be a torch.nn.Module, got {type(encoder).__name__}"
        raise BadTypeError(problem, "Return a module from (B, N) to (B, width)")
    return width_of(encoder, (num_columns,), "encoder of numbers")
