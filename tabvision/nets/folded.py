"""A packed network for inference only: lookups and folded weights give the same logits, up to rounding, in half the time."""

from __future__ import annotations

import itertools
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from tabvision.nets.numeric import squash
from tabvision.nets.packed import KNOT_SCALE, PackedLinear, PackedNet

_MOST_NUMBERS = 20_000_000  # in the lookup tables: 80 MB


def folded(net: nn.Module) -> nn.Module:
    """Return a packed network as a `FoldedNet`, and any other network unchanged.

    A packed network stays unchanged, too, if classes were added to it later, if its tables would take too much memory, if its
    weights have 16 bits, or on a device that may lack the operations.
    """
    if not isinstance(net, PackedNet) or not isinstance(net.head, PackedLinear):
        return net
    bias, numbers = folded_layers(net)[0][0], net.embeddings.numbers
    if bias.dtype not in (torch.float32, torch.float64) or bias.device.type not in ("cpu", "cuda"):
        return net
    num_categories = sum(len(table) for table in net.embeddings.categories.tables)
    size = num_categories * bias.numel() + 2 * numbers.parts * numbers.table.numel()
    return FoldedNet(net) if size <= _MOST_NUMBERS else net


@final
class FoldedNet(nn.Module):
    """A trained `PackedNet` in evaluation mode, computed with less work; later changes to that network do not affect it.

    Each category's contribution to the first layer is looked up in a table. A number's encoding is linear within each part of
    a bin, so its start and slope are looked up by that part. Each norm is folded into the weights of the next layer.

    Shape:
        - continuous: (B, N) float, standardized
        - categorical: (B, K) int64; codes are not checked against the cardinalities
        - returns: (B, k, num_outputs) float, the logits of every member

    Example:
        >>> net = PackedNet([3, 10], [(-1.0, 0.0, 2.0)], num_outputs=1, members=4).eval()
        >>> rows = torch.randn(5, 1), torch.randint(3, (5, 2))
        >>> torch.allclose(FoldedNet(net)(*rows), net(*rows), atol=1e-5)
        True
    """

    bias: Tensor
    weight: Tensor
    first_rows: Tensor
    table: Tensor

    @torch.no_grad()
    def __init__(self, net: PackedNet) -> None:
        super().__init__()
        inputs = net.embeddings
        (bias, weight), *later = folded_layers(net)
        if inputs.members > 1:
            weight = weight * inputs.scale.unsqueeze(2)
        self.members, self.width, self.num_later = len(weight), later[0][1].shape[1], len(later)
        self.numbers = _FoldedNumbers(net)
        of_categories = []  # (k, cardinality, outputs) each
        for column, span in enumerate(inputs.spans()[1]):
            embedded = inputs.categories.table(column).view(-1, inputs.members, len(span)).transpose(0, 1)
            # in float64, since rounding in float32 may depend on the cardinality, and a grown network must answer the same
            of_categories.append((embedded.double() @ weight[:, list(span)].double()).to(weight.dtype))
        if of_categories:  # every row has exactly one value of the first category, so the bias can be added to it
            of_categories[0] = of_categories[0] + bias
        first_rows = itertools.accumulate((table.shape[1] for table in of_categories), initial=0)
        of_numbers = weight[:, inputs.categories.width :]
        self.is_shared = inputs.members == 1
        held = {
            "bias": bias.flatten(),
            "weight": of_numbers.transpose(0, 1).flatten(1) if self.is_shared else of_numbers,
            "first_rows": torch.tensor([*first_rows][:-1], dtype=torch.int64, device=weight.device),
            "table": torch.cat([weight[:, :0], *of_categories], dim=1).transpose(0, 1).flatten(1),
        }
        for number, (later_bias, later_weight) in enumerate(later):
            held |= {f"bias{number}": later_bias, f"weight{number}": later_weight}
        for name, value in held.items():
            self.register_buffer(name, value.detach().contiguous())

    @override
    def forward(self, continuous: Tensor, categorical: Tensor) -> Tensor:
        inputs, shape = self.numbers(continuous), (len(continuous), self.members, len(self.bias) // self.members)
        sums = self.bias.expand(len(continuous), -1)
        if len(self.first_rows):
            sums = functional.embedding_bag(categorical + self.first_rows, self.table, mode="sum")
        if self.is_shared:
            sums = torch.addmm(sums, inputs.squeeze(1), self.weight).view(shape).transpose(0, 1)
        else:
            sums = torch.baddbmm(sums.view(shape).transpose(0, 1), inputs.transpose(0, 1), self.weight)
        hidden, direct = sums[:, :, : self.width], sums[:, :, self.width :]
        for number in range(self.num_later):
            bias, weight = self.get_buffer(f"bias{number}"), self.get_buffer(f"weight{number}")
            hidden = torch.baddbmm(bias, hidden.relu_(), weight)
        if direct.shape[2]:
            hidden = hidden + direct
        return hidden.transpose(0, 1)


@final
class _FoldedNumbers(nn.Module):
    """Encode numbers, (B, 1 or k, N * 8), from a table of the start and slope in each part of a bin."""

    edges: Tensor
    first_rows: Tensor
    low: Tensor
    high: Tensor
    shift_and_scale: Tensor
    start_and_slope: Tensor
    weight: Tensor

    def __init__(self, net: PackedNet) -> None:
        super().__init__()
        numbers = net.embeddings.numbers
        self.parts, self.members = numbers.parts, net.embeddings.members
        num, most, self.width = numbers.table.shape  # width over all members
        edges = numbers.inner_edges()
        passed = numbers.table.cumsum(1) - numbers.table
        start, slope = (it.repeat_interleave(self.parts, 1) for it in (passed, numbers.table / self.parts))
        if numbers.knots is not None:
            knots = functional.pad(KNOT_SCALE * numbers.knots, (0, 0, 1, 1))  # zero at the edges of each bin
            rise = knots.diff(dim=2)
            part = torch.arange(self.parts, device=rise.device).view(1, 1, -1, 1)
            start, slope = start + (knots[:, :, :-1] - part * rise).flatten(1, 2), slope + rise.flatten(1, 2)
        shift_and_scale = self.parts * torch.stack([numbers.shift, numbers.scale], dim=2)
        held = {
            "edges": edges,
            "first_rows": torch.arange(num, device=edges.device) * (most * self.parts),
            "low": numbers.low,
            "high": numbers.high,
            "shift_and_scale": shift_and_scale.repeat_interleave(self.parts, 1).flatten(0, 1),
            "start_and_slope": torch.cat([start + numbers.bias.unsqueeze(1), slope], dim=2).flatten(0, 1),
            "weight": numbers.weight,
        }
        for name, value in held.items():
            self.register_buffer(name, value.detach().contiguous())

    @override
    def forward(self, continuous: Tensor) -> Tensor:
        held = squash(continuous.clamp(self.low, self.high))
        current = torch.searchsorted(self.edges, held.t().contiguous(), right=True).t()  # the bin of each number
        rows = torch.add(self.first_rows, current, alpha=self.parts)
        shift, scale = self.shift_and_scale.index_select(0, rows.flatten()).view(*rows.shape, 2).unbind(2)
        passed = torch.addcmul(shift, held, scale).clamp(0, self.parts)  # how many parts of that bin
        rows = rows + passed.long().clamp(max=self.parts - 1)
        lines = self.start_and_slope.index_select(0, rows.flatten()).view(*rows.shape, 2 * self.width)
        start, slope = lines.chunk(2, dim=2)
        encoded = torch.addcmul(start, passed.unsqueeze(2), slope).addcmul_(held.unsqueeze(2), self.weight)
        return encoded.view(*rows.shape, self.members, self.width // self.members).transpose(1, 2).flatten(2)


def folded_layers(net: PackedNet) -> list[tuple[Tensor, Tensor]]:
    """Return the bias and weight of each layer in turn, with the norm before it folded in.

    The first pair joins the two layers that read the inputs: the first layer's outputs, then the direct layer's.

    Shape:
        - bias: (k, 1, out)
        - weight: (k, in, out)
    """
    layers = list[Any](net.layers)
    readers = [layers[0].linear, *([] if net.direct is None else [net.direct])]
    found = [(torch.cat([it.bias for it in readers], dim=2), torch.cat([it.weight for it in readers], dim=2))]
    for layer, following in itertools.pairwise([*layers, None]):
        linear: Any = net.head if following is None else following.linear
        norm = layer.norm
        scale = (norm.weight / (norm.running_var + norm.eps).sqrt()).view(linear.members, 1, -1)
        shift = norm.bias.view(scale.shape) - norm.running_mean.view(scale.shape) * scale
        found.append((torch.baddbmm(linear.bias, shift, linear.weight), scale.transpose(1, 2) * linear.weight))
    return found
