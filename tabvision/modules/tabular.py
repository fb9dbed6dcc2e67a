"""A LightningModule for tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, final

from torch import Tensor, nn
from typing_extensions import override

from tabvision.batch import Batch
from tabvision.checks import check_choice
from tabvision.errors import BadTypeError, BadValueError, MissingColumnsError, speaking
from tabvision.modules.optimizers import Decay, OptimizerFactory
from tabvision.modules.supervised import OWN, SupervisedModule, settled
from tabvision.nets.embedding_mlp import EmbeddingMLP
from tabvision.nets.layer_groups import LayerGroup
from tabvision.nets.numeric import PiecewiseNumbers, PlainNumbers
from tabvision.schedules import Rates
from tabvision.schema import Continuous, Schema

NumbersFactory = Callable[[tuple[Continuous, ...]], nn.Module]


@final
class TabularModule(SupervisedModule):
    """Embeddings of the categories, concatenated with the numbers, then fully connected layers.

    The default rate is meant as the peak of a `OneCycle`; rate and decay were chosen together on tables of 200 to 300,000
    rows, in fits of 3 to 20 epochs.

    Args:
        schema: The schema of the data: `data.schema`, or the dict it was saved as.
        widths: Outputs of each hidden layer; empty for a linear model.
        embedding_widths: Embedding width of some columns by name; the rest get `min(600, round(1.6 * n**0.56))`.
        embedding_dropout: Fraction of embedding outputs dropped in training, in [0, 1).
        unknown_share: Fraction of categories hidden in training to learn missing and unseen ones, in [0, 1).
        dropout: Fraction dropped after each hidden layer, in [0, 1); one number or one for each layer.
        batch_norm: Whether BatchNorm follows each hidden layer's activation.
        continuous_norm: Whether BatchNorm is applied to the numbers, only for "plain"; None for True.
        squash: Whether numbers are bounded smoothly at 3 standard deviations, so that outliers do no harm, only for "plain";
            None for True.
        activation: "relu", "gelu", "silu" or "mish".
        numbers: "plain"; "piecewise" for a piecewise-linear encoding of each number; or an encoder of your own: a network
            from (B, N) standardized numbers to (B, width), or a function from `schema.continuous` to one.
        lr: One rate, `(first, last)` group, `(None, last)`, "first:last", or a list with one rate per layer group.
        optimizer: "adamw", "adam", "sgd", "rmsprop", or a function from param groups to an optimizer.
        weight_decay: Strength of the weight decay, at least 0.
        decay: "decoupled" (AdamW) or "l2" (added to the gradient).
        decay_norms: Whether norms and biases decay as well.
        momentum: For SGD and RMSprop, in [0, 1).

    Raises:
        MissingColumnsError: `embedding_widths` names a column that is not categorical.
        BadValueError: A setting is out of range or has no effect, or an encoder of your own does not fit.
        UnknownNameError: The encoding of numbers or the activation does not exist.

    Example:
        >>> from tabvision.schema import Categorical, Target
        >>> from tabvision.tasks import Binary
        >>> job = Categorical(name="job", source="job", vocabulary=("cook", "nurse"))
        >>> module = TabularModule(Schema(target=Target(columns=("paid",), task=Binary()), categorical=(job,)))
        >>> [group.name for group in module.layer_groups()]
        ['embeddings', 'layers', 'head']
    """

    own_settings: ClassVar[Mapping[str, str]] = {**SupervisedModule.own_settings, "numbers": "an encoder of numbers"}

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
        continuous_norm: bool | None = None,
        squash: bool | None = None,
        activation: str = "relu",
        numbers: str | nn.Module | NumbersFactory = "plain",
        lr: Rates = 3e-2,
        optimizer: str | OptimizerFactory = "adamw",
        weight_decay: float = 0.05,
        decay: Decay = "decoupled",
        decay_norms: bool = False,
        momentum: float = 0.9,
    ) -> None:
        encoder, numbers = numbers, numbers if isinstance(numbers, str) else OWN
        normalized = settled(
            schema,
            None if numbers == "plain" else f"numbers={numbers!r}",
            continuous_norm=(continuous_norm, True),
            squash=(squash, True),
        )
        super().__init__(
            schema,
            lr=lr,
            optimizer=optimizer,
            weight_decay=weight_decay,
            decay=decay,
            decay_norms=decay_norms,
            momentum=momentum,
            saved={**normalized, "numbers": numbers},
        )
        columns = self.schema.categorical
        names, named_widths = [column.name for column in columns], embedding_widths or {}
        if unknown := [name for name in named_widths if name not in names]:
            raise MissingColumnsError(unknown, names, "Name categorical columns in embedding_widths")
        self.net = EmbeddingMLP(
            [column.cardinality for column in columns],
            len(self.schema.continuous),
            self.task.num_outputs,
            widths=widths,
            embedding_widths={names.index(name): width for name, width in named_widths.items()},
            embedding_dropout=embedding_dropout,
            unknown_share=unknown_share,
            dropout=dropout,
            batch_norm=batch_norm,
            activation=activation,
            numbers=self._encoder_factory(encoder),
        )

    def _encoder_factory(self, numbers: str | nn.Module | NumbersFactory) -> Callable[[int], nn.Module]:
        """Return a function from the number of columns to their encoder."""
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

    @override
    def forward(self, batch: Batch) -> Tensor:
        logits: Tensor = self.net(batch["continuous"], batch["categorical"])
        return logits

    @override
    def layer_groups(self) -> list[LayerGroup]:
        net = self.net
        parts = {"embeddings": net.embeddings, "layers": net.layers, "head": net.head}
        return [LayerGroup(name, (part,)) for name, part in parts.items() if any(True for _ in part.parameters())]
