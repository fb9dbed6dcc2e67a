"""A network for tables that packs several small ones into one and averages them, at little more than the cost of one."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from tabvision.checks import check_fraction, check_whole, check_widths
from tabvision.errors import BadValueError, speaking
from tabvision.nets.embeddings import Embeddings, embedding_width
from tabvision.nets.hiding import Hidden, HideValues
from tabvision.nets.layers import BatchNorm1d, Dropout, fact_device
from tabvision.nets.numeric import squash

NUMBER_WIDTH = 8  # outputs for each number
KNOT_SCALE = (
    0.15  # factor on the values inside bins, which slows their learning: at 0.3, smooth effects are learned worse
)
_HEAD_SCALE = 0.3  # as in `EmbeddingMLP`
_MOST_WEIGHTS = 10_000_000  # in the embeddings of one category: a million values get a width of 10 rather than 600
# limits how far BatchNorm scales up a unit that is nearly always 0: with torch's 1e-5, rare rows may get extreme predictions
_NORM_EPS = 1e-2


@final
class PackedNet(nn.Module):
    """k small networks side by side, the members, each with layers of Linear, ReLU, BatchNorm, Dropout.

    Every number is encoded by its position among its bins (PLE), every category by an embedding. The members share these
    inputs, or each has its own, so that nothing leaks from rows that only the other members train on. A number beyond its
    bins, which end at the lowest and highest training value, is clamped to the nearer of the two.

    Three parts can train at different rates: `embeddings` (the input side), `layers` and `head`. The weights of hidden layers
    start orthogonal in each member; those of the head start small.

    Args:
        cardinalities: Number of codes of each category, including the one for missing or unseen (0).
        bins: Increasing edges of the bins of each number, in standardized units.
        num_outputs: Number of logits per row.
        members: k, the number of members.
        widths: Width of each hidden layer of a member, for at least one layer.
        dropout: Fraction dropped after each hidden layer, in [0, 1).
        own_inputs: Whether each member has embeddings and encodings of its own, for small tables. Embeddings are then no
            wider than the encoding of a number, since wide ones overfit values that occur in few rows.
        unknown_share: Fraction of codes that become 0 (missing or unseen) in training, in [0, 1).
        hide: Columns whose values are partly hidden in training, such as those with missing values; see `HideValues`.
            Nothing is hidden if `unknown_share` is 0.
        embedding_widths: Embedding width of some categories by position; the rest get `embedding_width`, within limits.
        joined: Number of further inputs of the last hidden layer, such as features of a row's images; 0 for none.
        direct: Whether the encoded inputs also reach the outputs through a linear layer (a skip connection), which starts at
            zero: few rows then suffice to learn a target that is nearly a sum of effects.
        bin_parts: Equal parts of each bin, between which it has values of its own, so that the network can follow a target
            that changes quickly along a number; 1 for none.

    Shape:
        - continuous: (B, N) float, standardized
        - categorical: (B, K) int64
        - returns: (B, k, num_outputs) float, the logits of every member

    Raises:
        BadValueError: A number is out of range, or there are no columns.

    Source: piecewise-linear encoding, Gorishniy et al. 2022, "On Embeddings for Numerical Features in Tabular Deep Learning";
        finer values that are zero at the coarser knots, Yserentant 1986, "On the Multi-Level Splitting of Finite Element
        Spaces" (the hierarchical basis);
        members packed in one network, Gorishniy et al. 2025, "TabM"; a linear layer beside the deep ones, Cheng et al. 2016,
        "Wide & Deep Learning for Recommender Systems".

    Example:
        >>> net = PackedNet([3, 10], [(-1.0, 0.0, 2.0)], num_outputs=1, members=4)
        >>> net(torch.zeros(5, 1), torch.zeros(5, 2, dtype=torch.long)).shape
        torch.Size([5, 4, 1])
    """

    @speaking()
    def __init__(
        self,
        cardinalities: Sequence[int],
        bins: Sequence[Sequence[float]],
        num_outputs: int,
        *,
        members: int = 4,
        widths: Sequence[int] = (96, 64),
        dropout: float = 0.0,
        own_inputs: bool = False,
        unknown_share: float = 0.003,
        hide: Sequence[Hidden] = (),
        embedding_widths: Mapping[int, int] | None = None,
        joined: int = 0,
        direct: bool = False,
        bin_parts: int = 1,
    ) -> None:
        super().__init__()
        check_whole("members", members)
        check_whole("bin_parts", bin_parts)
        check_widths("widths", widths, remedy="Pass a list such as [96, 64]")
        check_fraction("dropout", dropout)
        check_fraction("unknown_share", unknown_share)
        if not len(widths):
            raise BadValueError(
                "widths must name at least one layer, got none", 'Pass a list such as [96, 64], or net="mlp"'
            )
        self.embeddings = _Inputs(
            cardinalities,
            bins,
            members if own_inputs else 1,
            unknown_share,
            hide if unknown_share else (),
            embedding_widths or {},
            bin_parts=bin_parts,
        )
        self.layers = nn.Sequential()
        for number, (size, width) in enumerate(itertools.pairwise([self.embeddings.width, *widths]), start=1):
            self.layers.append(_Layer(members, size + (joined if number == len(widths) else 0), width, dropout))
        self.head: nn.Module = PackedLinear(members, widths[-1], num_outputs)
        nn.init.uniform_(self.head.weight, -_HEAD_SCALE * widths[-1] ** -0.5, _HEAD_SCALE * widths[-1] ** -0.5)
        self.direct = PackedLinear(members, self.embeddings.width, num_outputs) if direct else None
        if self.direct is not None:
            nn.init.zeros_(self.direct.weight)
        self.register_load_state_dict_pre_hook(_with_later_parts)  # type: ignore[no-untyped-call]  # torch has no types here

    @override
    def forward(self, continuous: Tensor, categorical: Tensor) -> Tensor:
        inputs = self.embeddings(continuous, categorical)
        beside = () if self.direct is None else (self.direct(inputs),)
        logits: Tensor = self.head(self.layers(inputs), *beside)
        return logits

    def hidden(self, continuous: Tensor, categorical: Tensor) -> Tensor:
        """Return the inputs of the last hidden layer, (B, 1 or k, width), without the `joined` ones."""
        hidden: Tensor = self.layers[:-1](self.embeddings(continuous, categorical))
        return hidden

    def join(self, hidden: Tensor, joined: Tensor) -> Tensor:
        """Return the logits of every member, (B, k, num_outputs), from the output of `hidden` and (B, joined) features."""
        together = torch.cat([hidden, joined.unsqueeze(1).expand(-1, hidden.shape[1], -1)], dim=2)
        logits: Tensor = self.head(self.layers[-1](together))
        return logits


@final
class _PackedNumbers(nn.Module):
    """Encode each number by its position among its column's bins, then apply a small linear layer per column.

    The encoding is linear between the edges of bins; with parts, it also has values at knots inside each bin. Both start at
    zero, next to a linear term that does not. Numbers are clamped to the outer edges, and squashed smoothly at 3 standard
    deviations.

    Args:
        bins: Increasing edges of each column, at least two; fewer for a constant column.
        members: Number of linear layers per column, one for each member of a `PackedNet`.
        parts: Parts of each bin.

    Shape:
        - continuous: (B, N) float, standardized
        - returns: (B, N, members * 8) float

    Example:
        >>> _PackedNumbers([(-1.0, 0.0, 2.0), ()])(torch.zeros(5, 2)).shape
        torch.Size([5, 2, 8])
    """

    scale: Tensor
    shift: Tensor
    low: Tensor
    high: Tensor

    def __init__(self, bins: Sequence[Sequence[float]], members: int = 1, parts: int = 1) -> None:
        super().__init__()
        self.parts = parts
        num, width = len(bins), members * NUMBER_WIDTH
        most = max((len(edges) - 1 for edges in bins), default=1)
        with fact_device():
            scale, shift = torch.zeros(2, num, max(1, most))
            low, high = torch.zeros(2, num)
            for row, edges in enumerate(bins):
                found = squash(torch.tensor(tuple(edges), dtype=torch.float64))
                if len(found) < 2 or not bool((found.diff() > 0).all()):
                    continue  # constant, or its edges are equal in float32: encoded as 0 in every row
                number, sizes = len(found) - 1, found.diff()
                scale[row, :number], shift[row, :number] = (1 / sizes).float(), (-found[:-1] / sizes).float()
                low[row], high[row] = edges[0], edges[-1]
        for name, value in {"scale": scale, "shift": shift, "low": low, "high": high}.items():
            self.register_buffer(name, value, persistent=False)
        self.table = nn.Parameter(torch.zeros(num, max(1, most), width))
        self.knots = nn.Parameter(torch.zeros(num, max(1, most), parts - 1, width)) if parts > 1 else None
        self.weight = nn.Parameter(torch.empty(num, width).uniform_(-1, 1) * NUMBER_WIDTH**-0.5)
        self.bias = nn.Parameter(torch.empty(num, width).uniform_(-1, 1) * NUMBER_WIDTH**-0.5)
        self.requires_grad_(num > 0)  # if empty, they get no gradient, and DDP would wait for one

    @override
    def forward(self, continuous: Tensor, columns: Sequence[int] | None = None) -> Tensor:
        parts = (self.shift, self.scale, self.low, self.high, self.table, self.bias, self.weight)
        shift, scale, low, high, table, bias, weight = parts if columns is None else [it[list(columns)] for it in parts]
        held = squash(continuous.clamp(low, high)).unsqueeze(-1)
        positions = torch.addcmul(shift, held, scale).clamp(0, 1)
        encoded = torch.bmm(positions.transpose(0, 1), table).transpose(0, 1)
        if self.knots is not None:
            encoded = encoded + self._inside_bins(
                positions, self.knots if columns is None else self.knots[list(columns)]
            )
        return torch.addcmul(bias + encoded, held, weight)

    def inner_edges(self) -> Tensor:
        """Return where the second and later bins start, after squashing, (N, most bins - 1); infinity for none."""
        scale, shift = self.scale[:, 1:].double(), self.shift[:, 1:].double()
        return torch.where(scale > 0, -shift / scale, torch.inf).to(self.scale.dtype)

    def bins_of(self, continuous: Tensor) -> Tensor:
        """Return the number of the bin of each value, (B, N) int64."""
        held = squash(continuous.clamp(self.low, self.high))
        return torch.searchsorted(self.inner_edges(), held.t().contiguous(), right=True).t()

    def _inside_bins(self, positions: Tensor, knots: Tensor) -> Tensor:
        """Return what the knots add, (B, N, width): their values, joined by lines that start and end each bin at zero.

        Args:
            positions: (B, N, bins), the fraction of each bin that a number has passed.
            knots: (N, bins, parts - 1, width), the values between the parts of each bin.
        """
        num, most = positions.shape[1:]
        # the first bin that a number has not passed in full; the column's last one if it has passed all
        current = positions.floor().sum(2, keepdim=True).long().clamp(0, most - 1)
        passed = positions.gather(2, current).squeeze(2) * self.parts
        part = passed.long().clamp(0, self.parts - 1)
        above = passed - part
        bins = torch.arange(num, device=knots.device) * most + current.squeeze(2)
        end = bins * (self.parts - 1) + part  # index of the knot where the part ends; it starts at the knot before
        values = knots.flatten(0, 2)
        around = torch.stack([end - 1, end]).clamp(0, len(values) - 1)
        shares = torch.stack([(1 - above) * (part > 0), above * (part < self.parts - 1)])  # 0 at the edges of the bin
        found = values.index_select(0, around.flatten()).view(*around.shape, values.shape[1])
        return (found * (KNOT_SCALE * shares).unsqueeze(3)).sum(0)


@final
class _Inputs(nn.Module):
    """The input side: embeddings and encoded numbers of each row, (B, 1 or k, width).

    If the members have inputs of their own, these are multiplied by `scale`, (k, width), which `scale_inputs` sets.
    """

    scale: Tensor

    def __init__(
        self,
        cardinalities: Sequence[int],
        bins: Sequence[Sequence[float]],
        members: int,
        unknown_share: float,
        hide: Sequence[Hidden],
        chosen: Mapping[int, int],
        *,
        bin_parts: int,
    ) -> None:
        super().__init__()
        if not len(cardinalities) and not len(bins):
            raise BadValueError("a row must have a category or a number, got neither", "Pass at least one column")
        most = NUMBER_WIDTH if members > 1 else _MOST_WEIGHTS
        widths = [
            chosen.get(column, min(embedding_width(number), most, max(4, _MOST_WEIGHTS // number)))
            for column, number in enumerate(cardinalities)
        ]
        self.members = members
        self.hide = HideValues(hide)
        self.categories = Embeddings(cardinalities, widths, members=members, unknown_share=unknown_share)
        self.numbers = _PackedNumbers(bins, members, bin_parts)
        self.width = sum(widths) + NUMBER_WIDTH * len(bins)
        self.register_buffer("scale", torch.ones(members, self.width) if members > 1 else None)

    @override
    def forward(self, continuous: Tensor, categorical: Tensor) -> Tensor:
        continuous, categorical = self.hide(continuous, categorical)
        parts = []
        if self.categories.width:
            embedded = self.categories(categorical)
            parts.append(embedded if self.members > 1 else embedded.unsqueeze(1))
        if len(self.numbers.table):
            parts.append(self._by_member(self.numbers(continuous)))
        inputs = torch.cat(parts, dim=2)
        return inputs * self.scale if self.members > 1 else inputs

    def spans(self) -> tuple[list[range], list[range]]:
        """Return the positions of the inputs that come from each number, and from each category."""
        return self.categories.spans(len(self.numbers.table), NUMBER_WIDTH)

    def of_columns(
        self, continuous: Tensor, categorical: Tensor, numbers: Sequence[int], categories: Sequence[int]
    ) -> Tensor:
        """Return the inputs that come from some columns only, as if in evaluation mode.

        Args:
            continuous: (B, len(numbers)) float, the numbers of these columns.
            categorical: (B, len(categories)) int64, the codes of these columns.
            numbers: Positions of these numbers among all numbers.
            categories: Positions of these categories among all categories.
        """
        tables = [self.categories.table(column) for column in categories]
        parts = [
            table.index_select(0, codes).view(len(codes), self.members, -1)
            for table, codes in zip(tables, categorical.unbind(1), strict=True)
        ]
        if numbers:
            parts.append(self._by_member(self.numbers(continuous, numbers)))
        inputs = torch.cat(parts, dim=2)
        if self.members == 1:
            return inputs
        of_numbers, of_categories = self.spans()
        spans = [*(of_categories[it] for it in categories), *(of_numbers[it] for it in numbers)]
        return inputs * self.scale[:, [*itertools.chain(*spans)]]

    def _by_member(self, encoded: Tensor) -> Tensor:
        """Return the encodings of numbers, (B, N, members * 8), as (B, members, N * 8)."""
        return encoded.view(*encoded.shape[:2], self.members, NUMBER_WIDTH).transpose(1, 2).flatten(2)


@final
class PackedLinear(nn.Module):
    """A linear layer for each member. (B, k, in) -> (B, k, out); (B, 1, in) is the same input for every member.

    The output of a parallel layer, (B, k, out), can be passed as `beside`, to be added.
    """

    def __init__(self, members: int, size: int, width: int) -> None:
        super().__init__()
        self.members = members
        self.weight = nn.Parameter(torch.empty(members, size, width))
        self.bias = nn.Parameter(torch.zeros(members, 1, width))

    @override
    def forward(self, rows: Tensor, beside: Tensor | None = None) -> Tensor:
        if rows.shape[1] == 1:  # one product with one wide matrix
            wide = torch.addmm(self.bias.flatten(), rows.squeeze(1), self.weight.transpose(0, 1).flatten(1))
            outputs: Tensor = wide.unflatten(1, (self.members, self.bias.shape[2]))  # type: ignore[no-untyped-call]
        else:
            outputs = torch.baddbmm(self.bias, rows.transpose(0, 1), self.weight).transpose(0, 1)
        return outputs if beside is None else outputs + beside


def _with_later_parts(net: nn.Module, state: dict[str, Any], prefix: str, *_: object) -> None:
    """Fill in the parts that an older checkpoint lacks, such that they change no answer: zeros, and ones for scales."""
    if any(name.startswith(f"{prefix}head.") for name in state):
        numbers = f"{prefix}embeddings.numbers"
        if f"{numbers}.fine" in state:  # for a few days before 0.2.0: the rise in each part of a bin
            rises = 0.3 * state.pop(f"{numbers}.fine").unflatten(1, (state[f"{numbers}.table"].shape[1], -1))
            whole, parts = rises.sum(2, keepdim=True), rises.shape[2]
            line = whole * (torch.arange(1, parts + 1) / parts).view(1, 1, -1, 1)
            state[f"{numbers}.table"] = state[f"{numbers}.table"] + whole.squeeze(2)
            state[f"{numbers}.knots"] = (rises.cumsum(2) - line)[:, :, :-1] / KNOT_SCALE
        for name, value in net.state_dict(prefix=prefix).items():
            if name.startswith(f"{prefix}direct.") or name == f"{numbers}.knots":
                state.setdefault(name, torch.zeros_like(value))
            elif name == f"{prefix}embeddings.scale":
                state.setdefault(name, torch.ones_like(value))


@final
class _Layer(nn.Module):
    """A hidden layer of every member: Linear, ReLU, BatchNorm, Dropout; (B, 1 or k, in) becomes (B, k, out)."""

    def __init__(self, members: int, size: int, width: int, dropout: float) -> None:
        super().__init__()
        self.linear = PackedLinear(members, size, width)
        for weight in self.linear.weight:
            nn.init.orthogonal_(weight)
        self.norm = BatchNorm1d(members * width, eps=_NORM_EPS)
        self.dropout = Dropout(dropout) if dropout else nn.Identity()

    @override
    def forward(self, rows: Tensor) -> Tensor:
        hidden = functional.relu(self.linear(rows))
        normed: Tensor = self.dropout(self.norm(hidden.flatten(1)))
        return normed.view(hidden.shape)
