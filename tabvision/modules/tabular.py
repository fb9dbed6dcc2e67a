"""A LightningModule for tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, final

from torch import Tensor
from typing_extensions import override

from tabvision.batch import Batch
from tabvision.errors import MissingColumnsError, speaking
from tabvision.modules.optimizers import Decay, OptimizerFactory
from tabvision.modules.supervised import SupervisedModule
from tabvision.nets.embedding_mlp import EmbeddingMLP
from tabvision.nets.layer_groups import LayerGroup
from tabvision.schedules import Rates
from tabvision.schema import Schema


@final
class TabularModule(SupervisedModule):
    """Embeddings of the categories beside the numbers, then fully connected layers.

    The default rate is the peak of a `OneCycle`; it was chosen together with the decay on tables of 200 to 300,000 rows, in
    fits of 3 to 20 epochs.

    Args:
        schema: What the data is: `data.schema`, or the dict it was saved as.
        widths: Outputs of each hidden layer; none for a linear model.
        embedding_widths: Width of some columns' embeddings by name; the rest by `min(600, round(1.6 * n**0.56))`.
        embedding_dropout: Share of embedding outputs dropped in training, in [0, 1).
        unknown_share: Share of categories hidden in training, so that missing and unseen ones are learned, in [0, 1).
        dropout: Share dropped after each hidden layer, in [0, 1); one number or one for each layer.
        batch_norm: Whether BatchNorm follows each hidden layer's activation.
        continuous_norm: Whether BatchNorm is put on the numbers.
        squash: Whether numbers are bounded smoothly at 3 standard deviations, so that outliers do no harm.
        activation: "relu", "gelu", "silu" or "mish".
        numbers: "plain", or "piecewise" for a piecewise-linear encoding of each number.
        lr: One rate, `(first, last)` group, `(None, last)`, "first:last", or a list with one a layer group.
        optimizer: "adamw", "adam", "sgd", "rmsprop", or a function from param groups to an optimizer.
        weight_decay: Strength of the decay of weights, at least 0.
        decay: "decoupled" (AdamW) or "l2" (added to the gradient).
        decay_norms: Whether norms and biases decay as well.
        momentum: For SGD and RMSprop, in [0, 1).

    Raises:
        MissingColumnsError: `embedding_widths` names a column that is no category.
        BadValueError: A setting is out of range.

    Example:
        >>> from tabvision.schema import Categorical, Target
        >>> from tabvision.tasks import Binary
        >>> job = Categorical(name="job", source="job", vocabulary=("cook", "nurse"))
        >>> module = TabularModule(Schema(target=Target(columns=("paid",), task=Binary()), categorical=(job,)))
        >>> [group.name for group in module.layer_groups()]
        ['embeddings', 'layers', 'head']
    """

    @speaking()
    def __init__(
        self,
        schema: Schema | dict[str, Any],
        *,
        widths: Sequence[int] = (200, 100),
        embedding_widths: Mapping[str, int] | None = None,
        embedding_dropout: float = 0.0,
        unknown_share: float = 0.003,
        dropout: float | Sequence[float] = 0.0,
        batch_norm: bool = True,
        continuous_norm: bool = True,
        squash: bool = True,
        activation: str = "relu",
        numbers: Literal["plain", "piecewise"] = "plain",
        lr: Rates = 3e-2,
        optimizer: str | OptimizerFactory = "adamw",
        weight_decay: float = 0.05,
        decay: Decay = "decoupled",
        decay_norms: bool = False,
        momentum: float = 0.9,
    ) -> None:
        super().__init__(
            schema,
            lr=lr,
            optimizer=optimizer,
            weight_decay=weight_decay,
            decay=decay,
            decay_norms=decay_norms,
            momentum=momentum,
        )
        columns = self.schema.categorical
        self.net = EmbeddingMLP(
            [column.cardinality for column in columns],
            len(self.schema.continuous),
            self.task.num_outputs,
            widths=widths,
            embedding_widths=_by_place(embedding_widths or {}, [column.name for column in columns]),
            embedding_dropout=embedding_dropout,
            unknown_share=unknown_share,
            dropout=dropout,
            batch_norm=batch_norm,
            continuous_norm=continuous_norm,
            squash=squash,
            activation=activation,
            numbers=numbers,
            bins=[column.bins for column in self.schema.continuous],
        )

    @override
    def forward(self, batch: Batch) -> Tensor:
        logits: Tensor = self.net(batch["continuous"], batch["categorical"])
        return logits

    @override
    def layer_groups(self) -> list[LayerGroup]:
        net = self.net
        parts = {"embeddings": net.embeddings, "layers": net.layers, "head": net.head}
        return [LayerGroup(name, (part,)) for name, part in parts.items() if any(True for _ in part.parameters())]


def _by_place(widths: Mapping[str, int], names: Sequence[str]) -> dict[int, int]:
    """Widths by column number, from widths by column name."""
    if unknown := [name for name in widths if name not in names]:
        raise MissingColumnsError(unknown, names, "Name categorical columns in embedding_widths")
    return {names.index(name): width for name, width in widths.items()}
