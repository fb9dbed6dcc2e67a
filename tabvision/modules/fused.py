"""A LightningModule for rows that have both columns and images."""

from __future__ import annotations

from typing import final

from tabvision.modules.fused_network import FusedNetwork
from tabvision.modules.supervised import SupervisedModule


@final
class FusedModule(FusedNetwork, SupervisedModule):
    """A pretrained body for a row's images and a network for tables for its columns, joined before the last layers.

    All images of a row go through one body. A linear head predicts from each image's average-pooled features, or from a
    learned vector for a missing image. Its prediction, and indicators of missing images, become further inputs of the last
    hidden layer in every member of a `PackedNet`. In training some rows show only their columns and some only their images,
    so that neither part is ignored.

    Five layer groups train at rates of their own: the body's two halves, `images` (the linear head), `table` and `head`.
    `FineTune` freezes the body while the other three train. `tabvision train` does it differently, which suits small tables:
    with `Unfreeze({0: 2})`, `FrozenFeatures()` and `FitTable()`, the body and the linear head stay frozen. One linear head
    per fold is fitted on frozen features before the first step, and every row trains.

    Args:
        schema: The schema of the data: `data.schema` of a `FusedDataModule`, or the dict it was saved as.
        body: A torchvision or timm name, or a network of your own, as for `VisionModule`.
        weights: "default", a named set, a local file, or None for random weights, as for `VisionModule`.
        image_width: Outputs of the linear head; None for one per output of the target, which `FitTable` needs.
        image_dropout: Fraction of the images' features dropped in training, in [0, 1).
        part_dropout: Fraction of rows, in [0, 0.5), that train without their images; as many train without their columns.
        members: Number of members of the `PackedNet`; None for 8 below 20,000 rows, else 4.
        member_widths: Width of each hidden layer of a member; None for (64, 48) below 20,000 rows, else (96, 64).
        own_inputs: Whether each member has embeddings and encodings of its own; None for yes below 20,000 rows, else no.
        bin_parts: Equal parts of each bin of a number for a finer encoding, 1 for bins alone; None for one part per 768
            training rows, at most 8.
        unknown_share: Fraction of categories hidden in training to learn missing and unseen ones, in [0, 1). Unless it is 0,
            one percent of the values in columns with missing numbers is hidden as well.
        dropout: Fraction dropped after each hidden layer of a member, in [0, 1); None for 0.1 for classes, 0 for numbers.
        num_groups: Number of layer groups, including `images`, `table` and `head`, at least 4.
        lr: One rate, `(first, last)` group, `(None, last)`, "first:last", or a list with one rate per layer group.
        optimizer: "adamw", "adam", "sgd", "rmsprop", or a function from param groups to an optimizer.
        weight_decay: Strength of the weight decay, at least 0.
        decay: "decoupled" (AdamW) or "l2" (added to the gradient).
        decay_norms: Whether norms and biases decay as well.
        momentum: For SGD and RMSprop, in [0, 1).

    Raises:
        UnknownNameError: The body or set of weights does not exist.
        BadValueError: The schema has no images or no columns, the body does not accept their size, the weights do not fit or
            cannot be downloaded, or a setting is out of range.

    Source: late fusion, and dropping whole parts: Neverova et al. 2015, "ModDrop"; held-out predictions as inputs:
        Wolpert 1992, "Stacked Generalization".

    Example:
        >>> from tabvision.schema import Continuous, Image, Schema, Target
        >>> from tabvision.tasks import Binary
        >>> area = Continuous(name="area", source="area", mean=0.0, std=1.0, fill=0.0, bins=(-1.0, 1.0))
        >>> target, image = Target(columns=("sold",), task=Binary()), Image(size=(64, 64), optional=True)
        >>> module = FusedModule(Schema(target=target, continuous=(area,), image=image), body="resnet18", weights=None)
        >>> [group.name for group in module.layer_groups()]
        ['early', 'late', 'images', 'table', 'head']
    """
