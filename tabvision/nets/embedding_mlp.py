"""A network for tables: an embedding for each category, then fully connected layers."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import final

import torch
from torch import Tensor, nn
from typing_extensions import override

from tabvision.checks import check_choice, check_fraction, check_whole, check_widths
from tabvision.errors import BadValueError, speaking
from tabvision.nets.embeddings import Embeddings, embedding_width
from tabvision.nets.layers import BatchNorm1d, Dropout
from tabvision.nets.numeric import PlainNumbers, numbers_width

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU, "mish": nn.Mish}
_HEAD_SCALE = 0.3  # factor on torch's initial std; 0.1 is better on diamonds but worse on flights, 1 the reverse


@final
class EmbeddingMLP(nn.Module):
    """Embeddings of the categories, concatenated with the numbers, then blocks of Linear, activation, BatchNorm, Dropout.

    Three parts can train at different rates: `embeddings` (the input side), `layers` and `head`. The weights of hidden layers
    start orthogonal; those of the head start small.

    Args:
        cardinalities: Number of codes of each category, including the one for missing or unseen (0).
        num_continuous: Number of continuous columns.
        num_outputs: Number of logits per row.
        widths: Width of each hidden layer; empty for a linear model.
        embedding_widths: Width of each embedding, or of some by position; `embedding_width` sets the rest.
        embedding_dropout: Fraction of embedding outputs dropped in training, in [0, 1).
        unknown_share: Fraction of codes that become 0 (missing or unseen) in training, in [0, 1).
        dropout: Fraction dropped after each hidden layer, in [0, 1); one number or one for each layer.
        batch_norm: Whether BatchNorm follows each hidden layer's activation.
        activation: "relu", "gelu", "silu" or "mish".
        numbers: A function from the number of continuous columns, at least 1, to the module that encodes them.

    Shape:
        - continuous: (B, N) float, standardized
        - categorical: (B, K) int64
        - returns: (B, num_outputs) float

    Raises:
        BadValueError: A number is out of range, there are no columns, or the lengths of lists do not match.
        UnknownNameError: The activation does not exist.

    Source: the order of layers in fastai's `TabularModel`.

    Example:
        >>> net = EmbeddingMLP([3, 10], num_continuous=2, num_outputs=1)
        >>> net(torch.zeros(5, 2), torch.zeros(5, 2, dtype=torch.long)).shape
        torch.Size([5, 1])
    """

    @speaking()
    def __init__(
        self,
        cardinalities: Sequence[int],
        num_continuous: int,
        num_outputs: int,
        *,
        widths: Sequence[int] = (200, 100),
        embedding_widths: Sequence[int] | Mapping[int, int] | None = None,
        embedding_dropout: float = 0.0,
        unknown_share: float = 0.003,
        dropout: float | Sequence[float] = 0.0,
        batch_norm: bool = True,
        activation: str = "relu",
        numbers: Callable[[int], nn.Module] = PlainNumbers,
    ) -> None:
        super().__init__()
        check_widths("widths", widths, remedy="Pass a list such as [200, 100]; an empty one for a linear model")
        if not len(cardinalities) and not num_continuous:
            raise BadValueError("a row must have a category or a number, got neither", "Pass at least one column")
        check_choice("activation", activation, ACTIVATIONS)
        check_fraction("embedding_dropout", embedding_dropout)
        check_fraction("unknown_share", unknown_share)
        dropouts = _one_per_layer(dropout, len(widths))
        by_position = enumerate(embedding_widths or ())
        chosen = embedding_widths if isinstance(embedding_widths, Mapping) else dict(by_position)
        for width in chosen.values():
            check_whole("each of embedding_widths", width, remedy="Pass whole numbers from 1")
        each = [chosen.get(position, embedding_width(number)) for position, number in enumerate(cardinalities)]
        embeddings = Embeddings(cardinalities, each, unknown_share=unknown_share, dropout=embedding_dropout)
        self.embeddings = _TableInputs(embeddings, num_continuous, numbers)
        sizes = [self.embeddings.width, *widths]
        self.layers = nn.Sequential()
        for (size, width), fraction in zip(itertools.pairwise(sizes), dropouts, strict=True):
            self.layers.extend(self._block(size, width, fraction, activation=activation, norm=batch_norm))
        self.head = nn.Linear(sizes[-1], num_outputs)
        nn.init.zeros_(self.head.bias)
        with torch.no_grad():
            self.head.weight *= _HEAD_SCALE

    @override
    def forward(self, continuous: Tensor, categorical: Tensor) -> Tensor:
        logits: Tensor = self.head(self.layers(self.embeddings(continuous, categorical)))
        return logits

    @staticmethod
    def _block(size: int, width: int, dropout: float, *, activation: str, norm: bool) -> list[nn.Module]:
        linear = nn.Linear(size, width)  # keeps its bias, since the activation comes before BatchNorm
        nn.init.orthogonal_(linear.weight)
        nn.init.zeros_(linear.bias)
        after: list[nn.Module] = [BatchNorm1d(width)] if norm else []
        after += [Dropout(dropout)] if dropout else []
        return [linear, ACTIVATIONS[activation](), *after]


@final
class _TableInputs(nn.Module):
    """The input side of a network for tables: concatenated embeddings and numbers, either of which may be empty.

    Shape:
        - continuous: (B, N) float
        - categorical: (B, K) int64
        - returns: (B, width) float
    """

    def __init__(self, categories: Embeddings, num_continuous: int, numbers: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.categories = categories
        self.numbers = numbers(num_continuous) if num_continuous else PlainNumbers(0)
        self.num_numbers = num_continuous
        self.width = categories.width + numbers_width(self.numbers, num_continuous)

    def spans(self) -> tuple[list[range], list[range]]:
        """Return the positions of the inputs that come from each number, and from each category."""
        number_width = (self.width - self.categories.width) // max(1, self.num_numbers)
        return self.categories.spans(self.num_numbers, number_width)

    @override
    def forward(self, continuous: Tensor, categorical: Tensor) -> Tensor:
        parts = [self.categories(categorical)] if self.categories.width else []
        parts += [self.numbers(continuous)] if self.num_numbers else []
        return torch.cat(parts, dim=1)


def _one_per_layer(dropout: float | Sequence[float], num_layers: int) -> list[float]:
    if isinstance(dropout, str) or not isinstance(dropout, Sequence):
        check_fraction("dropout", dropout)
        return [dropout] * num_layers
    if len(dropout) != num_layers:
        problem = f"dropout must be one number or {num_layers} (one for each hidden layer), got {len(dropout)}"
        raise BadValueError(problem, "Make it as long as widths")
    for fraction in dropout:
        check_fraction("dropout", fraction)
    return list(dropout)
