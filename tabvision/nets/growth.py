"""Growing networks: add categories, columns and classes to a trained network without changing its answers at first."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import cast, final

import torch
from torch import Tensor, nn
from typing_extensions import override

from tabvision.nets.embedding_mlp import EmbeddingMLP
from tabvision.nets.factorization import EmbeddingDotBias
from tabvision.nets.numeric import PiecewiseNumbers
from tabvision.nets.packed import PackedLinear, PackedNet

Join = Callable[[Tensor, Tensor], Tensor]
_Rows = tuple[list[int], list[int]]  # input positions of a layer, and the matching positions in the grown layer


@final
class GrownOutputs(nn.Module):
    """The last layer of a network that learns new classes: the outputs for the known classes, and for the new ones.

    Args:
        known: The layer for the known classes.
        new: A layer with the same inputs for the new classes; it starts at zero.
        join: A function from both outputs to logits: `task.join_new`.

    Shape:
        - rows: (..., inputs) float
        - beside: (..., known) float, the output of a layer parallel to `known`, which is added to it; None for none
        - returns: (..., known + new) float

    Example:
        >>> from tabvision.tasks import Multiclass
        >>> grown = GrownOutputs(nn.Linear(3, 2), nn.Linear(3, 1), Multiclass(3).join_new)
        >>> round(grown(torch.rand(1, 3)).softmax(1)[0, 2].item(), 6)
        0.001
    """

    scale: Tensor

    def __init__(self, known: nn.Module, new: nn.Module, join: Join) -> None:
        super().__init__()
        self.known, self.new, self.join = known, new, join
        self.register_buffer("scale", torch.ones(()))
        for parameter in self.new.parameters():
            nn.init.zeros_(parameter)

    @override
    def forward(self, rows: Tensor, *beside: Tensor) -> Tensor:
        return self.join(self.known(rows, *beside), self.new(rows)) * self.scale


def with_growth(layer: nn.Module, grown: Sequence[int], join: Join) -> nn.Module:
    """Return the last layer for a target that has gained classes.

    Args:
        layer: The last layer for the classes of the first fit.
        grown: The number of classes added each time the network grew; empty to return the layer.
        join: As for `GrownOutputs`.
    """
    num_inputs = layer.get_parameter("weight").shape[1]
    members = layer.members if isinstance(layer, PackedLinear) else 0
    for number in grown:
        new = PackedLinear(members, num_inputs, number) if members else nn.Linear(num_inputs, number)
        layer = GrownOutputs(layer, new, join)
    return layer


@torch.no_grad()
def scale_outputs(layers: Sequence[nn.Module], factor: float) -> None:
    """Multiply the summed outputs of parallel last layers by a factor; a grown layer keeps the factor as its `scale`."""
    grown = [layer.scale for layer in layers if isinstance(layer, GrownOutputs)]
    for tensor in grown or [parameter for layer in layers for parameter in layer.parameters()]:
        tensor.mul_(factor)


@torch.no_grad()
def copy_outputs(known: nn.Module, new: nn.Module, *, has_more: bool, rows: _Rows | None = None) -> None:
    """Copy the last layer of a network.

    Args:
        known: The layer to copy from.
        new: The last layer of the grown network.
        has_more: Whether the target has new classes, so that `new` is a `GrownOutputs` around such a layer.
        rows: As for `_copy_layer`.
    """
    if has_more:
        assert isinstance(new, GrownOutputs), "built from a target that has grown"
        new = new.known
    if isinstance(known, GrownOutputs) and isinstance(new, GrownOutputs):
        new.scale.copy_(known.scale)
        copy_outputs(known.known, new.known, has_more=False, rows=rows)
        known, new = known.new, new.new
    _copy_layer(known, new, rows)


def _copy_layer(known: nn.Module, new: nn.Module, rows: _Rows | None) -> None:
    """Copy a linear layer into one that may have more inputs, and one more output, for the negative of two classes.

    Args:
        known: An `nn.Linear`, (outputs, inputs), or the packed layer of several members, (members, inputs, outputs).
        new: The larger layer.
        rows: The inputs of `known`, and the matching inputs of `new`; None if they are the same.
    """
    outputs = 0 if isinstance(known, nn.Linear) else -1
    for name, parameter in new.named_parameters():
        old = known.get_parameter(name)
        size = old.shape[outputs]
        part = parameter.zero_().narrow(outputs, parameter.shape[outputs] - size, size)
        if rows is not None and name == "weight":
            part[:, rows[1]] = old[:, rows[0]]
        else:
            part.copy_(old)


@torch.no_grad()
def copy_table_net(known: PackedNet | EmbeddingMLP, new: PackedNet | EmbeddingMLP, *, has_more: bool) -> None:
    """Copy the parts of a network for tables that can grow: the inputs, the layer that reads them, and the last layer.

    A new category starts with the embedding of an unknown value; a new column starts with weights of zero.
    """
    for column in range(len(known.embeddings.categories.order)):
        table, grown_table = known.embeddings.categories.table(column), new.embeddings.categories.table(column)
        grown_table[:] = table[0]
        grown_table[: len(table)] = table
    encoder, state = known.embeddings.numbers, new.embeddings.numbers.state_dict()
    for name, old in encoder.state_dict().items():  # the first dimension of every tensor is the columns
        if isinstance(encoder, PiecewiseNumbers) and name == "encoding.linear.weight":
            # a column's last bin always comes last, after any padding
            state[name][: len(old), : old.shape[1] - 1], state[name][: len(old), -1] = old[:, :-1], old[:, -1]
        elif not name.startswith("encoding.impl."):  # those are computed from the bins
            state[name][tuple(slice(size) for size in old.shape)] = old
    (numbers, categories), (grown_numbers, grown_categories) = known.embeddings.spans(), new.embeddings.spans()
    old_spans = [*numbers, *categories]
    new_spans = [*grown_numbers[: len(numbers)], *grown_categories[: len(categories)]]
    first, grown_first = _first_layer(known), _first_layer(new)
    num_joined = 0  # the number of inputs from a row's images
    if first is not known.head:
        num_joined = first.get_parameter("weight").shape[1] - known.embeddings.width
    ends = [range(net.embeddings.width, net.embeddings.width + num_joined) for net in (known, new)]
    rows = ([*itertools.chain(*old_spans, ends[0])], [*itertools.chain(*new_spans, ends[1])])
    copy_outputs(known.head, new.head, has_more=has_more, rows=rows if first is known.head else None)
    if first is not known.head:
        _copy_layer(first, grown_first, rows)
    if isinstance(known, PackedNet) and isinstance(new, PackedNet):
        _copy_packed_inputs(known, new, ([*itertools.chain(*old_spans)], [*itertools.chain(*new_spans)]))


def _copy_packed_inputs(known: PackedNet, new: PackedNet, positions: _Rows) -> None:
    """Copy the scales of a packed network's inputs, and the direct layer; a new column has a scale of one."""
    old_positions, new_positions = positions
    if known.embeddings.members > 1:
        new.embeddings.scale[:, new_positions] = known.embeddings.scale[:, old_positions]
    if known.direct is not None:
        assert new.direct is not None, "built by the same settings"
        _copy_layer(known.direct, new.direct, positions)


def _first_layer(net: PackedNet | EmbeddingMLP) -> nn.Module:
    """Return the layer that reads the inputs."""
    if not len(net.layers):
        return net.head
    return cast("nn.Module", net.layers[0].linear) if isinstance(net, PackedNet) else net.layers[0]


@torch.no_grad()
def copy_factors(known: EmbeddingDotBias, new: EmbeddingDotBias) -> None:
    """Copy the factors of users and items; new users and items start with the factors of an unknown one."""
    for name in ("users", "items"):
        table, grown_table = getattr(known, name).weight, getattr(new, name).weight
        grown_table[:] = table[0]
        grown_table[: len(table)] = table
