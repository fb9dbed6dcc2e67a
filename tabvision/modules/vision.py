"""A LightningModule for images."""

from __future__ import annotations

from typing import final

from tabvision.modules.supervised import SupervisedModule
from tabvision.modules.vision_network import VisionNetwork


@final
class VisionModule(VisionNetwork, SupervisedModule):
    """A pretrained body with a new head.

    uint8 images are normalized as the weights expect, or as the data specifies; `module.schema.image` has the statistics. A
    checkpoint holds the weights, so loading it needs neither the original file nor a download.

    Args:
        schema: The schema of the data, an object with one, such as the datamodule, or the dict it was saved as.
        body: A torchvision or timm name, such as "resnet34", "timm/convnext_tiny" or "efficientnet_lite0"; or a network of
            your own, from images to features.
        weights: "default", a named set, a local file, or None for random weights. A network of your own keeps its weights.
        head: "concat" (maximum and mean of each feature, then hidden layers), "mlp" (mean, then hidden layers) or
            "linear" (mean, then one Linear); or a head of your own: a network from features (B, C, H, W), or (B, C) if the
            body pools, to logits, or a function from the number of features C and the number of logits to one.
        head_widths: Width of each hidden layer, only for "concat" and "mlp"; None for (512,).
        head_scale: Factor on the std of the last layer's initial weights, above 0; 1 for fastai's std. None for 0.1, which
            starts near uniform predictions, so that no steps are spent unlearning random ones. Not for a head of your own.
        dropout: Fraction dropped before the last layer, in [0, 1), and half of it before the others, only for "concat" and
            "mlp"; None for 0.5.
        num_groups: Number of layer groups, including the head, at least 2; the body is split by depth.
        channels_last: Whether convolutions use channels-last memory, which is faster.
        frozen_bf16: Whether a completely frozen body runs in bfloat16 in training steps, which is faster if the CPU or GPU
            supports it.
        lr: One rate, `(first, last)` group, `(None, last)`, "first:last", or a list with one rate per layer group.
        optimizer: "adamw", "adam", "sgd", "rmsprop", or a function from param groups to an optimizer.
        weight_decay: Strength of the weight decay, at least 0.
        decay: "decoupled" (AdamW) or "l2" (added to the gradient).
        decay_norms: Whether norms and biases decay as well.
        momentum: For SGD and RMSprop, in [0, 1).

    Raises:
        UnknownNameError: The body, set of weights or head does not exist.
        BadValueError: The schema has no image, the body does not accept its size, the weights do not fit or cannot be
            downloaded, the head does not return the task's logits, or a setting is out of range or has no effect.

    Source: fastai `vision_learner`; the default rate is the base rate of its `fine_tune`.

    Example:
        >>> from tabvision.schema import Image, Schema, Target
        >>> from tabvision.tasks import Binary
        >>> schema = Schema(target=Target(columns=("label",), task=Binary()), image=Image(size=(64, 64)))
        >>> [group.name for group in VisionModule(schema, body="resnet18", weights=None).layer_groups()]
        ['early', 'late', 'head']
    """
