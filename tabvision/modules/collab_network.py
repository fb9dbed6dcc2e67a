"""The network for ratings: factors of users and items."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from typing_extensions import override

from tabvision.batch import Batch
from tabvision.checks import check_choice
from tabvision.errors import BadTypeError, BadValueError, speaking
from tabvision.modules.network import SchemaNetwork, with_defaults
from tabvision.modules.optimizers import Decay, OptimizerFactory, RowAdamW
from tabvision.nets.embedding_mlp import EmbeddingMLP
from tabvision.nets.factorization import EmbeddingDotBias
from tabvision.nets.layer_groups import LayerGroup
from tabvision.schedules import Rates
from tabvision.schema import Categorical, SchemaSource

Kind = Literal["dot", "neural"]


class CollabNetwork(SchemaNetwork):
    """The network of a `CollabModule`, which describes the settings."""

    seen: Tensor

    @speaking()
    def __init__(
        self,
        schema: SchemaSource,
        *,
        factors: int = 50,
        kind: Kind = "dot",
        rowwise: bool = False,
        widths: Sequence[int] | None = None,
        unknown_share: float | None = None,
        dropout: float | Sequence[float] | None = None,
        lr: Rates = 5e-3,
        optimizer: str | OptimizerFactory = "adamw",
        weight_decay: float = 0.1,
        decay: Decay = "decoupled",
        decay_norms: bool = False,
        momentum: float = 0.9,
    ) -> None:
        check_choice("kind", kind, get_args(Kind))
        layers = with_defaults(
            schema,
            "kind='dot'" if kind == "dot" else None,
            {"widths": widths, "unknown_share": unknown_share, "dropout": dropout},
            {"widths": (100,), "unknown_share": 0.003, "dropout": 0.5},
        )
        super().__init__(
            schema,
            lr=lr,
            optimizer=optimizer,
            weight_decay=weight_decay,
            decay=decay,
            decay_norms=decay_norms,
            momentum=momentum,
            saved={**layers, "kind": kind},
        )
        self._check_is_of_ratings()
        cardinalities = [column.cardinality for column in self.schema.categorical]
        if kind == "dot":
            self.net: EmbeddingDotBias | EmbeddingMLP = EmbeddingDotBias(cardinalities, factors=factors, sparse=rowwise)
        else:
            self.net = EmbeddingMLP(
                cardinalities, 0, self.task.num_outputs, embedding_widths=[factors, factors], **layers
            )
        if (logits := self.task.mean_logits()) is not None:
            # start at the mean rating, not in the middle of `y_range`, from where a few hundred ratings are too few to learn
            # the mean: 699 MovieLens ratings, 5 epochs, RMSE 0.92 rather than 1.08
            with torch.no_grad():
                (self.net.offset if isinstance(self.net, EmbeddingDotBias) else self.net.head).bias.copy_(logits)
        if rowwise:
            if kind != "dot" or optimizer != "adamw" or decay != "decoupled":
                problem = "rowwise is for kind 'dot' with optimizer 'adamw' and its decoupled decay"
                raise BadValueError(f"{problem}, got {kind!r}, {optimizer!r} and {decay!r}", "Leave rowwise out")
            self._optimizer = RowAdamW
        self.seen = torch.empty(2, 0, dtype=torch.int32)

    def _check_is_of_ratings(self) -> None:
        schema, task, remedy = self.schema, self.task, "Build it from the schema of a CollabDataModule"
        if len(schema.categorical) != 2 or schema.continuous:
            kinds = f"{len(schema.categorical)} categories and {len(schema.continuous)} numbers"
            raise BadValueError(f"the schema must have two categories, user and item, got {kinds}", remedy)
        if not task.ranks_items or task.num_outputs != 1:
            found = f"{task.name} with {task.num_outputs} outputs"
            raise BadValueError(f"the target must be one number or a yes-or-no answer, got {found}", remedy)

    @property
    def user(self) -> Categorical:
        """The users."""
        return self.schema.categorical[0]

    @property
    def item(self) -> Categorical:
        """The items."""
        return self.schema.categorical[1]

    @override
    def forward(self, batch: Batch) -> Tensor:
        categorical = self.needed(batch, "categorical")
        if self.hparams["kind"] == "dot":  # isinstance would fail on a network that torch.compile wraps
            logits: Tensor = self.net(categorical)
        else:
            logits = self.net(categorical.new_empty((categorical.shape[0], 0), dtype=torch.float32), categorical)
        return logits

    @override
    def layer_groups(self) -> list[LayerGroup]:
        net: Any = self.net
        if self.hparams["kind"] == "dot":
            return [LayerGroup("embeddings", (net.users, net.items)), LayerGroup("offset", (net.offset,))]
        parts = {"embeddings": net.embeddings, "layers": net.layers, "head": net.head}
        return [LayerGroup(name, (part,)) for name, part in parts.items() if any(True for _ in part.parameters())]

    # Extra state rather than a buffer, since its size depends on the data, and DDP would broadcast a buffer at every step.

    @override
    def get_extra_state(self) -> Tensor:
        return self.seen

    @override
    @speaking()
    def set_extra_state(self, state: Tensor) -> None:
        if not isinstance(state, Tensor) or state.ndim != 2 or len(state) != 2:
            raise BadTypeError("the pairs seen in training must be a tensor (2, P)", "Save the checkpoint again")
        self.seen = state.cpu()


def sorted_pairs(pairs: Tensor) -> Tensor:
    """Return unique pairs, sorted by user, then item.

    Shape:
        - pairs: (2, P) int32
        - returns: (2, Q) int32

    Example:
        >>> sorted_pairs(torch.tensor([[2, 1, 2], [5, 7, 5]], dtype=torch.int32)).tolist()
        [[1, 2], [7, 5]]
    """
    if not pairs.shape[1]:
        return pairs
    num_items = int(pairs[1].max()) + 1
    keys = torch.unique(pairs[0].long() * num_items + pairs[1])
    return torch.stack([keys // num_items, keys % num_items]).to(torch.int32)
