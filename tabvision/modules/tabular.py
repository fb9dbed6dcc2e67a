"""A LightningModule for tables."""

from __future__ import annotations

from typing import final

from tabvision.modules.supervised import SupervisedModule
from tabvision.modules.tabular_network import TabularNetwork


@final
class TabularModule(TabularNetwork, SupervisedModule):
    """Several small networks packed into one and averaged, or fastai's network of embeddings and fully connected layers.

    By default the network is a `PackedNet` with 4 members; below 20,000 rows it has 8, each with inputs of its own and a
    linear layer from these to the output. Its default rate suits `FitTable`, or the peak of a `OneCycle`. A setting that
    only fastai's network has, such as `widths`, selects that network, an `EmbeddingMLP`.

    Args:
        schema: The schema of the data, an object with one, such as the datamodule, or the dict it was saved as.
        net: "packed"; "mlp"; a network of your own from `(continuous, categorical)` to logits (B, num_outputs), or
            (B, k, num_outputs) for k members; a function from the schema to one; or None to choose by the other settings.
        members: Number of members, only for "packed".
        member_widths: Width of each hidden layer of a member, only for "packed".
        own_inputs: Whether each member has embeddings and encodings of its own, and the linear layer; only for "packed".
        bin_parts: Equal parts of each bin of a number for a finer encoding, 1 for bins alone; None for one part per 768
            training rows, at most 8. Only for "packed".
        widths: Width of each hidden layer; empty for a linear model. This and the next seven are only for "mlp".
        embedding_widths: Embedding width of some columns by name; the rest get `min(600, round(1.6 * n**0.56))`.
        embedding_dropout: Fraction of embedding outputs dropped in training, in [0, 1).
        batch_norm: Whether BatchNorm follows each hidden layer's activation.
        continuous_norm: Whether BatchNorm is applied to the numbers, only for numbers="plain".
        squash: Whether to bound numbers smoothly at 3 standard deviations, against outliers; only for numbers="plain".
        activation: "relu", "gelu", "silu" or "mish".
        numbers: "plain"; "piecewise" for a piecewise-linear encoding of each number; or an encoder of your own: a network
            from (B, N) standardized numbers to (B, width), or a function from `schema.continuous` to one.
        unknown_share: Fraction of categories hidden in training to learn missing and unseen ones, in [0, 1). Unless it is 0,
            "packed" also hides one percent of the values in columns with missing numbers.
        dropout: Fraction dropped after each hidden layer, in [0, 1); for "mlp" also a list with one per layer. None is 0.1
            for classes and 0 for numbers with "packed", and 0 with "mlp".
        lr: One rate, `(first, last)` group, `(None, last)`, "first:last", or a list with one rate per layer group; None takes
            the network's own: 0.015 for "packed" (0.0015 from 20,000 rows on if errors are relative), 0.03 for "mlp".
        optimizer: "adamw", "adam", "sgd", "rmsprop", or a function from param groups to an optimizer.
        weight_decay: Strength of the weight decay, at least 0.
        decay: "decoupled" (AdamW) or "l2" (added to the gradient).
        decay_norms: Whether norms and biases decay as well.
        momentum: For SGD and RMSprop, in [0, 1).
        bag: Number of such networks to average; `cross_validate` trains each of them separately.

    Raises:
        MissingColumnsError: `embedding_widths` names a column that is not categorical.
        BadValueError: A setting is out of range or has no effect, or a part of your own does not fit.
        UnknownNameError: The network, the encoding of numbers or the activation does not exist.

    Example:
        >>> from tabvision.schema import Categorical, Schema, Target
        >>> from tabvision.tasks import Binary
        >>> job = Categorical(name="job", source="job", vocabulary=("cook", "nurse"))
        >>> module = TabularModule(Schema(target=Target(columns=("paid",), task=Binary()), categorical=(job,)))
        >>> [group.name for group in module.layer_groups()]
        ['embeddings', 'layers', 'head']
    """
