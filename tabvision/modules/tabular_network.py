"""The networks for tables: packed, an MLP with embeddings, or the user's own, and bags of these."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from typing_extensions import override

from tabvision.batch import Batch
from tabvision.checks import check_choice, check_present, check_whole
from tabvision.errors import BadTypeError, BadValueError, speaking
from tabvision.modules.network import OWN, SchemaNetwork, with_defaults
from tabvision.modules.optimizers import Decay, OptimizerFactory
from tabvision.nets.embedding_mlp import EmbeddingMLP
from tabvision.nets.embeddings import embedding_width
from tabvision.nets.folded import folded
from tabvision.nets.growth import scale_outputs, with_growth
from tabvision.nets.hiding import Hidden
from tabvision.nets.layer_groups import LayerGroup
from tabvision.nets.numeric import PiecewiseNumbers, PlainNumbers
from tabvision.nets.packed import NUMBER_WIDTH, PackedNet
from tabvision.nets.relevance import scale_inputs
from tabvision.nets.stacking import stack_linear
from tabvision.schedules import Rates
from tabvision.schema import Continuous, Schema, SchemaSource, grown_widths, schema_of

NetFactory = Callable[[Schema], nn.Module]
NumbersFactory = Callable[[tuple[Continuous, ...]], nn.Module]

_LR = {"packed": 1.5e-2, "mlp": 3e-2, OWN: 1e-3}
_ROWS_PER_PART, _MOST_PARTS = 768, 8  # for parts of bins: with 48 bins, 16 rows per part
# fractions of a column's values that are hidden in training
_HIDDEN_MISSING = 0.01  # of a column with missing values; 0.003 and 0.03 are worse
_HIDDEN_NOMINAL = 0.1  # at least, for a nominal number: new rows often bring new values
_MOST_HIDDEN = 0.5
_LR_RELATIVE = 1.5e-3  # for a packed network on a large table with relative errors: ten times this makes the loss jump
_MLP_DEFAULTS: dict[str, Any] = {
    "widths": (200, 100),
    "embedding_widths": {},
    "embedding_dropout": 0.0,
    "batch_norm": True,
    "activation": "relu",
    "numbers": "plain",
}
_PLAIN_DEFAULTS = {"continuous_norm": True, "squash": True}  # for numbers="plain"


class TabularNetwork(SchemaNetwork):
    """The network of a `TabularModule`, which describes the settings."""

    own_settings: ClassVar[Mapping[str, str]] = {
        **SchemaNetwork.own_settings,
        "net": "a network",
        "numbers": "an encoder of numbers",
    }

    @speaking()
    def __init__(
        self,
        schema: SchemaSource,
        *,
        net: str | nn.Module | NetFactory | None = None,
        members: int | None = None,
        member_widths: Sequence[int] | None = None,
        own_inputs: bool | None = None,
        bin_parts: int | None = None,
        widths: Sequence[int] | None = None,
        embedding_widths: Mapping[str, int] | None = None,
        embedding_dropout: float | None = None,
        batch_norm: bool | None = None,
        continuous_norm: bool | None = None,
        squash: bool | None = None,
        activation: str | None = None,
        numbers: str | nn.Module | NumbersFactory | None = None,
        unknown_share: float | None = None,
        dropout: float | Sequence[float] | None = None,
        lr: Rates | None = None,
        optimizer: str | OptimizerFactory = "adamw",
        weight_decay: float = 0.05,
        decay: Decay = "decoupled",
        decay_norms: bool = False,
        momentum: float = 0.9,
        bag: int = 1,
    ) -> None:
        check_whole("bag", bag)
        given_net, given_numbers = net, numbers  # a checkpoint holds only their names, to rebuild the network
        net, numbers = (each if isinstance(each, str | None) else OWN for each in (net, numbers))
        packed = {"members": members, "member_widths": member_widths, "own_inputs": own_inputs, "bin_parts": bin_parts}
        embedding = {"embedding_widths": embedding_widths, "embedding_dropout": embedding_dropout}
        layers = {"widths": widths, "dropout": dropout, "batch_norm": batch_norm, "activation": activation}
        inputs = {
            "numbers": numbers,
            "continuous_norm": continuous_norm,
            "squash": squash,
            "unknown_share": unknown_share,
        }
        settings = _settings_of(schema, net, packed | embedding | layers | inputs)
        if bag > 1 and OWN in (settings["net"], numbers):
            problem = f"a bag builds its networks from settings, got bag={bag!r} and a network or encoder of your own"
            raise BadValueError(problem, "Leave bag out, or take a network and an encoder by name")
        if lr is None:
            is_large = settings["net"] == "packed" and not settings["own_inputs"]
            leaps = is_large and schema_of(schema).task.is_relative
            lr = _LR_RELATIVE if leaps else _LR[settings["net"]]
        super().__init__(
            schema,
            lr=lr,
            optimizer=optimizer,
            weight_decay=weight_decay,
            decay=decay,
            decay_norms=decay_norms,
            momentum=momentum,
            saved={**settings, "lr": lr, "bag": bag},
        )
        nets = [self._build(given_net, given_numbers) for _ in range(bag)]
        self.net: nn.Module = nets[0] if bag == 1 else nn.ModuleList(nets)

    def _build(
        self, net: str | nn.Module | NetFactory | None, numbers: str | nn.Module | NumbersFactory | None
    ) -> nn.Module:
        """Return a new network for the settings; `net` and `numbers` are as the user passed them."""
        if self.hparams["net"] == OWN:
            return self._own_net(net)
        if self.hparams["net"] == "packed":
            return packed_net(self.schema, self.hparams)
        return self._mlp(numbers)

    def _mlp(self, numbers: str | nn.Module | NumbersFactory | None) -> nn.Module:
        names = [column.name for column in self.schema.categorical]
        settings = self.hparams
        named_widths = settings["embedding_widths"] or {}
        check_present(named_widths, names, "Name categorical columns in embedding_widths")
        shared = ("widths", "embedding_dropout", "unknown_share", "dropout", "batch_norm", "activation")
        net: Any = EmbeddingMLP(
            [column.cardinality for column in self.schema.categorical],
            len(self.schema.continuous),
            self.schema.target.first_outputs,
            embedding_widths=grown_widths(self.schema)
            | {names.index(name): width for name, width in named_widths.items()},
            numbers=self._encoder_factory("plain" if numbers is None else numbers),
            **{name: settings[name] for name in shared},
        )
        net.head = with_growth(net.head, self.schema.target.grown, self.task.join_new)
        return net  # type: ignore[no-any-return]  # an EmbeddingMLP

    def _own_net(self, net: str | nn.Module | NetFactory | None) -> nn.Module:
        if net == OWN:
            raise self.not_held("net")
        found = net if isinstance(net, nn.Module) else net(self.schema) if callable(net) else None
        if not isinstance(found, nn.Module):
            problem = f"net must be a name, a torch.nn.Module or a function to one, got {net!r}"
            raise BadTypeError(problem, 'Pass "packed", "mlp", or a module from (continuous, categorical) to logits')
        return found

    def _encoder_factory(self, numbers: str | nn.Module | NumbersFactory) -> Callable[[int], nn.Module]:
        """Return a function from the number of columns to an encoder for them."""
        columns = self.schema.continuous
        if not isinstance(numbers, str):
            if not callable(numbers):
                problem = f"numbers must be a name, a torch.nn.Module or a function, got {numbers!r}"
                raise BadTypeError(problem, 'Pass "plain", "piecewise", or a module from (B, N) to (B, width)')
            if not columns:
                raise BadValueError("the rows have no numbers for numbers= to encode", "Leave numbers out")
            return lambda _: numbers if isinstance(numbers, nn.Module) else numbers(columns)
        if numbers == OWN:
            raise self.not_held("numbers")
        check_choice("encoding of numbers", numbers, ["plain", "piecewise"])
        if numbers == "piecewise":
            return lambda _: PiecewiseNumbers([column.bins for column in columns])
        settings = self.hparams
        return lambda num: PlainNumbers(num, norm=settings["continuous_norm"], squash=settings["squash"])

    @property
    def nets(self) -> tuple[nn.Module, ...]:
        """The networks of a bag, or the only one."""
        return (self.net,) if self.hparams["bag"] == 1 else tuple(self.net.children())

    @override
    def forward(self, batch: Batch) -> Tensor:
        return self.combine_members(self.member_logits(batch))

    @override
    def member_logits(self, batch: Batch) -> Tensor:
        continuous, categorical = self.needed(batch, "continuous"), self.needed(batch, "categorical")
        logits = [net(continuous, categorical) for net in self.nets]
        logits = [each if each.ndim == 3 else each.unsqueeze(1) for each in logits]
        return logits[0] if len(logits) == 1 else torch.cat(logits, dim=1)

    @override
    def combine_members(self, logits: Tensor, fold: Tensor | None = None) -> Tensor:
        if fold is None or self.hparams["bag"] == 1:
            return super().combine_members(logits, fold)
        nets = torch.stack(logits.chunk(self.hparams["bag"], dim=1), dim=1)  # (B, bag, members, num_outputs)
        rows = torch.arange(len(nets), device=nets.device)
        if fold.ndim == 1:  # a whole network of the bag did not train on the row
            return self.task.combine(nets[rows, fold])
        return self.task.combine(nets[rows[:, None], torch.arange(nets.shape[1], device=nets.device), fold])

    @override
    def for_inference(self) -> SchemaNetwork:
        kind, of_table = type(self), TabularNetwork
        if kind.forward is not of_table.forward or kind.member_logits is not of_table.member_logits:
            return self  # a subclass may use parts of the network that the folded one lacks
        nets = [folded(net) for net in self.nets]
        found = copy.copy(self)
        found._modules = self._modules | {"net": nets[0] if self.hparams["bag"] == 1 else nn.ModuleList(nets)}  # noqa: SLF001
        return found

    @property
    def fold_members(self) -> int:
        """The number of members that can each leave out a fold of the training rows; 1 for shared inputs, and for a bag."""
        return self.hparams["members"] if self.hparams["own_inputs"] and self.hparams["bag"] == 1 else 1

    @torch.no_grad()
    def scale_logits(self, factor: float) -> None:
        """Multiply all logits by a factor, in the last layer; a user's own network stays as it is."""
        if self.hparams["net"] != OWN:
            scale_outputs(self.layer_groups()[-1].modules, factor)

    def scale_inputs(self, tensors: Mapping[str, Tensor]) -> None:
        """Scale each column's inputs by how much it tells about the classes alone; numbers and a trained network stay.

        Args:
            tensors: The training rows with their `fold`, under the keys of a batch.
        """
        net: nn.Module = self.net
        if isinstance(net, PackedNet) and self.fold_members > 1:
            scale_inputs(net, tensors)

    def stack_linear(self, tensors: Mapping[str, Tensor]) -> float:
        """Average each member with a linear model of the rows outside its fold, weighted to do best on the held-out folds.

        Args:
            tensors: The training rows with their `fold`, under the keys of a batch.

        Returns:
            The network's weight in the average.
        """
        net: nn.Module = self.net
        return stack_linear(net, tensors, self.task) if isinstance(net, PackedNet) and self.fold_members > 1 else 1.0

    @override
    def layer_groups(self) -> list[LayerGroup]:
        if self.hparams["net"] == OWN:
            return [LayerGroup("net", (self.net,))]
        parts: dict[str, list[Any]] = {
            name: [getattr(net, name, None) for net in self.nets] for name in ("embeddings", "layers", "head", "direct")
        }
        parts["head"] += [direct for direct in parts.pop("direct") if direct is not None]
        groups = [LayerGroup(name, tuple(modules)) for name, modules in parts.items()]
        return [group for group in groups if len(group)]


def packed_defaults(schema: Schema) -> dict[str, Any]:
    """Return the default settings of a `PackedNet`, which depend on the number of training rows and the task."""
    is_small = schema.target.of_small_table
    return {
        "members": 8 if is_small else 4,
        "member_widths": (64, 48) if is_small else (96, 64),
        "own_inputs": is_small,
        "bin_parts": min(_MOST_PARTS, max(1, schema.target.num_rows // _ROWS_PER_PART)),
        "dropout": 0.1 if schema.task.is_classes else 0.0,  # for regression any dropout hurts
    }


def packed_net(schema: Schema, settings: Mapping[str, Any], joined: int = 0) -> PackedNet:
    """Return a new `PackedNet` for a schema.

    Args:
        schema: The schema of the data.
        settings: The settings of `packed_defaults`, and `unknown_share`.
        joined: Number of further inputs of the last hidden layer, as for `PackedNet`.
    """
    net = PackedNet(
        [column.cardinality for column in schema.categorical],
        [column.edges for column in schema.continuous],
        schema.target.first_outputs,
        widths=settings["member_widths"],
        hide=_columns_to_hide(schema),
        embedding_widths=_nominal_widths(schema) | grown_widths(schema),
        joined=joined,
        direct=settings["own_inputs"] and not joined,
        **{name: settings[name] for name in ("members", "own_inputs", "bin_parts", "dropout", "unknown_share")},
    )
    frequencies = schema.target.frequencies
    start = schema.task.logits_of(torch.tensor([frequencies])) if frequencies else None
    if start is not None and start.shape[1] == schema.target.first_outputs:  # few rows are too few to learn it
        net.head.get_parameter("bias").data += start
    net.head = with_growth(net.head, schema.target.grown, schema.task.join_new)
    return net


def _nominal_widths(schema: Schema) -> dict[int, int]:
    """Return the embedding width of each category that holds the values of a nominal number: no wider than a number's own."""
    nominal = [(at, it) for at, it in enumerate(schema.categorical) if it.part == "value"]
    return {at: min(NUMBER_WIDTH, embedding_width(column.cardinality)) for at, column in nominal}


def _columns_to_hide(schema: Schema) -> list[Hidden]:
    """Return the columns whose values training hides in part: those with missing values, and categories with rare values.

    A category is hidden as often as new rows are expected to bring an unseen value. The network then learns to predict such
    rows, and relies less on values that it saw in few rows.
    """
    found = []
    for source in [it.source for it in schema.categorical if it.part == "missing"]:
        numbers = [(at, it) for at, it in enumerate(schema.continuous) if it.source == source]
        codes = [
            (at, 2 if it.part == "missing" else 0) for at, it in enumerate(schema.categorical) if it.source == source
        ]
        found.append(Hidden(dict(codes), {at: (it.fill - it.mean) / it.std for at, it in numbers}, _HIDDEN_MISSING))
    for at, column in enumerate(schema.categorical):
        fraction = max(column.unseen, _HIDDEN_NOMINAL if column.part == "value" else 0)
        if fraction:
            found.append(Hidden({at: 0}, fraction=min(fraction, _MOST_HIDDEN)))
    return found


def _settings_of(schema: SchemaSource, net: str | None, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the kind of network and its settings with defaults filled in, and None for settings without effect.

    Args:
        schema: As passed to the module.
        net: "packed", "mlp", "own", or None to choose by the settings.
        given: The settings as passed, and None for those that were not.
    """
    if net is None:
        net = "packed" if all(given[name] is None for name in (*_MLP_DEFAULTS, *_PLAIN_DEFAULTS)) else "mlp"
    check_choice("net", net, ["packed", "mlp", OWN])
    packed, chosen = packed_defaults(schema_of(schema)), f"net={net!r}"
    dropout = packed.pop("dropout")
    both = {"unknown_share": 0.003, "dropout": dropout if net == "packed" else 0.0}
    settings = {
        **with_defaults(schema, None if net == "packed" else chosen, given, packed),
        **with_defaults(schema, None if net == "mlp" else chosen, given, _MLP_DEFAULTS),
        **with_defaults(schema, chosen if net == OWN else None, given, both),
    }
    numbers = f"numbers={given['numbers']!r}" if given["numbers"] else chosen
    unused_with = None if settings["numbers"] == "plain" else numbers
    return {**settings, **with_defaults(schema, unused_with, given, _PLAIN_DEFAULTS), "net": net}
