"""A network for tables: an embedding for each category, then fully connected layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, final

import torch
from torch import Tensor, nn
from typing_extensions import override

from tabvision.errors import BadValueError, UnknownNameError
from tabvision.nets.dropout import Dropout
from tabvision.nets.norm import BatchNorm1d
from tabvision.nets.numbers import PiecewiseNumbers

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU, "mish": nn.Mish}
MAX_EMBEDDING_WIDTH = 600
NUMBER_WIDTH = 16  # outputs for each piecewise-linear number


def embedding_width(cardinality: int) -> int:
    """Width of the embedding of a category with that many codes, the one for missing or unseen counted.

    Source: 1.6 * n**0.56, at most 600: fastai `emb_sz_rule`.

    Example:
        >>> [embedding_width(cardinality) for cardinality in (2, 10, 100, 1_000_000)]
        [2, 6, 21, 600]
    """
    return min(MAX_EMBEDDING_WIDTH, round(1.6 * cardinality**0.56))


@final
class TableInputs(nn.Module):
    """The input side: embeddings and numbers side by side.

    Shape:
        - continuous: (B, N) float
        - categorical: (B, K) int64
        - returns: (B, width) float
    """

    def __init__(
        self,
        cardinalities: Sequence[int],
        embedding_widths: Sequence[int],
        numbers: nn.Module,
        numbers_width: int,
        dropout: float,
    ) -> None:
        super().__init__()
        pairs = zip(cardinalities, embedding_widths, strict=True)
        self.tables = nn.ModuleList(_table(cardinality, width) for cardinality, width in pairs)
        self.dropout = Dropout(dropout) if dropout else nn.Identity()
        self.numbers = numbers
        self.num_continuous = numbers_width
        self.width = sum(embedding_widths) + numbers_width

    @override
    def forward(self, continuous: Tensor, categorical: Tensor) -> Tensor:
        numbers = [self.numbers(continuous)] if self.num_continuous else []
        if not len(self.tables):
            return numbers[0]
        found = [table(codes) for table, codes in zip(self.tables, categorical.unbind(1), strict=True)]
        if isinstance(self.dropout, nn.Identity):
            return torch.cat(found + numbers, dim=1)
        return torch.cat([self.dropout(torch.cat(found, dim=1)), *numbers], dim=1)


def _table(cardinality: int, width: int) -> nn.Embedding:
    table = nn.Embedding(cardinality, width)
    nn.init.normal_(table.weight, std=width**-0.5)
    with torch.no_grad():
        table.weight[0] = 0
    return table


@final
class EmbeddingMLP(nn.Module):
    """Embeddings of the categories beside the numbers, then blocks of Linear, activation, BatchNorm, Dropout.

    Three parts train at rates of their own: `embeddings` (the input side), `layers`, `head`.

    Args:
        cardinalities: Codes of each category, the one for missing or unseen (0) counted.
        num_continuous: Continuous columns.
        num_outputs: Logits for each row.
        widths: Outputs of each hidden layer; none for a linear model.
        embedding_widths: Width of each embedding, or of some by place; the rest by `embedding_width`.
        embedding_dropout: Share of embedding outputs dropped, in [0, 1).
        dropout: Share dropped after each hidden layer, in [0, 1); one number or one for each layer.
        batch_norm: Whether BatchNorm follows each hidden layer's activation.
        continuous_norm: Whether BatchNorm is put on plain continuous inputs.
        activation: "relu", "gelu", "silu" or "mish".
        numbers: "plain", or "piecewise" for a piecewise-linear encoding.
        bins: For "piecewise", the rising edges of each continuous column.

    Shape:
        - continuous: (B, N) float, standardized
        - categorical: (B, K) int64
        - returns: (B, num_outputs) float

    Raises:
        BadValueError: A number out of range, or lists whose lengths do not match.
        UnknownNameError: No such activation or encoding of numbers.

    Source: fastai `TabularModel`, whose order of layers this is.

    Example:
        >>> net = EmbeddingMLP([3, 10], num_continuous=2, num_outputs=1)
        >>> net(torch.zeros(5, 2), torch.zeros(5, 2, dtype=torch.long)).shape
        torch.Size([5, 1])
    """

    def __init__(
        self,
        cardinalities: Sequence[int],
        num_continuous: int,
        num_outputs: int,
        *,
        widths: Sequence[int] = (200, 100),
        embedding_widths: Sequence[int] | Mapping[int, int] | None = None,
        embedding_dropout: float = 0.0,
        dropout: float | Sequence[float] = 0.0,
        batch_norm: bool = True,
        continuous_norm: bool = True,
        activation: str = "relu",
        numbers: Literal["plain", "piecewise"] = "plain",
        bins: Sequence[Sequence[float]] = (),
    ) -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            raise UnknownNameError("EmbeddingMLP", "activation", activation, ACTIVATIONS)
        shares = [dropout] * len(widths) if isinstance(dropout, int | float) else list(dropout)
        table_widths = _table_widths(cardinalities, embedding_widths)
        side, side_width = _number_side(num_continuous, numbers, bins, norm=continuous_norm)
        self.embeddings = TableInputs(cardinalities, table_widths, side, side_width, embedding_dropout)
        sizes = [self.embeddings.width, *widths]
        modules: list[nn.Module] = []
        for size, width, share in zip(sizes, widths, shares, strict=False):
            modules += [nn.Linear(size, width, bias=not batch_norm), ACTIVATIONS[activation]()]
            modules += [BatchNorm1d(width)] if batch_norm else []
            modules += [Dropout(share)] if share else []
        self.layers = nn.Sequential(*modules)
        self.head = nn.Linear(sizes[-1], num_outputs)

    @override
    def forward(self, continuous: Tensor, categorical: Tensor) -> Tensor:
        logits: Tensor = self.head(self.layers(self.embeddings(continuous, categorical)))
        return logits


def _table_widths(cardinalities: Sequence[int], chosen: Sequence[int] | Mapping[int, int] | None) -> list[int]:
    by_place = chosen if isinstance(chosen, Mapping) else dict(enumerate(chosen or ()))
    unknown = sorted(place for place in by_place if not 0 <= place < len(cardinalities))
    if unknown:
        problem = f"embedding_widths names column {unknown[0]}, but there are {len(cardinalities)} categories"
        raise BadValueError("EmbeddingMLP", problem, "Count categories from 0")
    return [by_place.get(place, embedding_width(number)) for place, number in enumerate(cardinalities)]


def _number_side(num_continuous: int, numbers: str, bins: Sequence[Sequence[float]], *, norm: bool) -> tuple[nn.Module, int]:
    if numbers not in ("plain", "piecewise"):
        raise UnknownNameError("EmbeddingMLP", "encoding of numbers", numbers, ["plain", "piecewise"])
    if numbers == "piecewise" and num_continuous:
        return PiecewiseNumbers(bins, NUMBER_WIDTH), num_continuous * NUMBER_WIDTH
    return (BatchNorm1d(num_continuous) if norm and num_continuous else nn.Identity()), num_continuous
