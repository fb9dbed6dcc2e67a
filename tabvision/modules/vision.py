"""A LightningModule for images."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, final

import torch
from torch import Tensor, nn
from typing_extensions import override

from tabvision.augment.normalize import normalize
from tabvision.batch import Batch
from tabvision.checks import check_whole
from tabvision.errors import BadValueError, speaking
from tabvision.modules.optimizers import Decay, OptimizerFactory
from tabvision.modules.supervised import OWN, SupervisedModule, settled
from tabvision.nets.backbone import Body, as_body
from tabvision.nets.backbones import body_groups, make_body
from tabvision.nets.growth import with_growth
from tabvision.nets.heads import HeadFactory, check_head, make_head, own_head, pooled_for
from tabvision.nets.layer_groups import LayerGroup
from tabvision.schedules import Rates
from tabvision.schema import Image, Schema, SchemaSource


@final
class VisionModule(SupervisedModule):
    """A pretrained body with a new head.

    uint8 images are normalized as the weights expect, or as the data specifies; `module.schema.image` has the statistics. A
    checkpoint holds the weights, so loading it needs neither the file nor the network they came from.

    Args:
        schema: The schema of the data, or what has it, such as the datamodule; or the dict it was saved as.
        body: A torchvision or timm name, such as "resnet34", "timm/convnext_tiny" or "efficientnet_lite0"; or a network of
            your own, from images to features.
        weights: "default", a named set, a local file, or None for random ones. A network of your own keeps its weights.
        head: "concat" (maximum and mean of each feature, then hidden layers), "mlp" (mean, then hidden layers) or
            "linear" (mean, then one Linear); or a head of your own: a network from features (B, C, H, W), or (B, C) if the
            body pools, to logits, or a function from the numbers of features C and logits to one.
        head_widths: Outputs of each hidden layer, only for "concat" and "mlp"; None for (512,).
        head_scale: Factor on the std of the last layer's initial weights, above 0; 1 for fastai's std, not for a head of your
            own. None for 0.1, which starts near uniform predictions, so that no steps go to unlearning random ones.
        dropout: Fraction dropped before the last layer, in [0, 1), and half of it before every other, only for "concat" and
            "mlp"; None for 0.5.
        num_groups: Number of layer groups, including the head, at least 2; the body is cut by depth.
        channels_last: Whether convolutions use channels-last memory, which is faster.
        frozen_bf16: Whether a completely frozen body computes in bfloat16 in training steps; faster if the processor or GPU
            supports the format.
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

    Source: fastai `vision_learner`; its base rate of `fine_tune` is the default rate.

    Example:
        >>> from tabvision.schema import Image, Target
        >>> from tabvision.tasks import Binary
        >>> schema = Schema(target=Target(columns=("label",), task=Binary()), image=Image(size=(64, 64)))
        >>> [group.name for group in VisionModule(schema, body="resnet18", weights=None).layer_groups()]
        ['early', 'late', 'head']
    """

    other_data: ClassVar[str] = (
        "For other classes, columns or sizes keep the body's weights and train a new head: "
        'VisionModule(data.schema, body=..., weights="own.ckpt")'
    )
    own_settings: ClassVar[Mapping[str, str]] = {**SupervisedModule.own_settings, "body": "a body", "head": "a head"}

    @speaking()
    def __init__(
        self,
        schema: SchemaSource,
        *,
        body: str | nn.Module = "resnet34",
        weights: str | Path | None = "default",
        head: str | nn.Module | HeadFactory = "concat",
        head_widths: Sequence[int] | None = None,
        head_scale: float | None = None,
        dropout: float | None = None,
        num_groups: int = 3,
        channels_last: bool = True,
        frozen_bf16: bool = False,  # noqa: ARG002 - saved with the settings, like all of them
        lr: Rates = 2e-3,
        optimizer: str | OptimizerFactory = "adamw",
        weight_decay: float = 0.01,
        decay: Decay = "decoupled",
        decay_norms: bool = False,
        momentum: float = 0.9,
    ) -> None:
        net, source, top = body, weights, head
        # these are saved, to rebuild the module from a checkpoint, which holds the weights
        body, weights = (OWN if isinstance(net, nn.Module) else net), None
        head = head if isinstance(head, str) else OWN
        is_own = head == OWN
        hidden = settled(
            schema,
            "a head of your own" if is_own else "head='linear'" if head == "linear" else None,
            head_widths=(head_widths, (512,)),
            dropout=(dropout, 0.5),
        )
        head_widths, dropout = hidden.values()
        (head_scale,) = settled(schema, "a head of your own" if is_own else None, head_scale=(head_scale, 0.1)).values()
        super().__init__(
            schema,
            lr=lr,
            optimizer=optimizer,
            weight_decay=weight_decay,
            decay=decay,
            decay_norms=decay_norms,
            momentum=momentum,
            saved={**hidden, "head_scale": head_scale, "body": body, "weights": weights, "head": head},
        )
        image = image_of(self.schema)
        if not self.schema.is_of_images:
            raise BadValueError(
                "the schema is of rows with columns and images", "Use FusedModule, or an ImageDataModule"
            )
        chosen: dict[str, Any] = {"kind": head, "scale": head_scale}
        chosen |= {} if head == "linear" else {"widths": head_widths, "dropout": dropout}
        if not is_own:
            check_head(**chosen)
        check_whole("num_groups", num_groups, 2, remedy="Pass 3 for the body's two halves and the head")
        self.body = body_of(self, net, source)
        shape, target = self.body.feature_shape(image.size), self.schema.target
        if is_own:
            self.head: nn.Module = self._own_head(top, shape)
        else:
            self.head = made = make_head(shape[0], target.first_outputs, pooled=len(shape) == 1, **chosen)
            made[-1] = with_growth(made[-1], target.grown, self.task.join_new)
        body_groups(self.body, num_groups - 1)  # raises now if there are too many
        self.schema = self.schema.with_statistics(self.body.mean, self.body.spread)
        self.hparams["schema"] = self.schema.to_dict()
        self._image = image_of(self.schema)
        self._memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.to(memory_format=self._memory_format)

    def _own_head(self, head: str | nn.Module | HeadFactory, shape: tuple[int, ...]) -> nn.Module:
        if isinstance(head, str):
            raise self.not_held("head")
        return own_head(head, shape, self.task.num_outputs)

    @override
    def forward(self, batch: Batch) -> Tensor:
        logits: Tensor = self.head(batch["features"] if "features" in batch else self.features(batch))
        return logits

    def features(self, batch: Batch) -> Tensor:
        """Return what the body makes of the images of a batch, (B, C, H, W) float, or (B, C) if it pools."""
        images = self.needed(batch, "image")
        if images.dtype == torch.uint8:
            images = normalize(images, self._image.mean, self._image.std)
        images = images.to(self.dtype)  # under Trainer(precision="bf16-true"), which leaves uint8 unchanged
        images = images.contiguous(memory_format=self._memory_format)
        low = self.hparams["frozen_bf16"] and self.training
        low = low and not any(parameter.requires_grad for parameter in self.body.parameters())
        with torch.autocast(images.device.type, torch.bfloat16) if low else contextlib.nullcontext():
            features: Tensor = self.body(images)
        return features.to(self.dtype) if low else features

    def pooled(self, features: Tensor) -> Tensor:
        """Return what the head keeps of features, which a batch may have in their place: a fraction of their numbers."""
        return pooled_for(self.head, features)

    @override
    @speaking()
    def layer_groups(self) -> list[LayerGroup]:
        groups = body_groups(self.body, self.hparams["num_groups"] - 1)
        return [*groups, LayerGroup("head", (self.head,))]


def body_of(module: SupervisedModule, net: str | nn.Module, weights: str | Path | None) -> Body:
    """Return the body of a module: by name, or the user's own.

    Args:
        module: The module, which has its schema.
        net: The name of a network, or one of the user's own.
        weights: Its weights, as for `VisionModule`.
    """
    channels = image_of(module.schema).channels
    if isinstance(net, nn.Module):
        if weights not in (None, "default"):
            problem = f"weights has no effect with a body of your own, got {weights!r}"
            raise BadValueError(problem, "Leave weights out")
        return as_body(net, channels)
    if net == OWN:
        raise module.not_held("body")
    return make_body(net, weights=weights, in_channels=channels)


def image_of(schema: Schema) -> Image:
    """Return the image that a network sees.

    Raises:
        BadValueError: The schema has none.
    """
    if schema.image is None:
        remedy = "Build it from an ImageDataModule's schema, or use TabularModule"
        raise BadValueError("the schema has no image", remedy)
    return schema.image
