"""A LightningModule for pictures."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor, nn
from typing_extensions import override

from tabvision.augment.normalize import normalize
from tabvision.batch import Batch
from tabvision.errors import BadTypeError, BadValueError, speaking
from tabvision.modules.optimizers import Decay, OptimizerFactory
from tabvision.modules.supervised import SupervisedModule
from tabvision.nets.backbone import Body, as_body
from tabvision.nets.backbones import body_groups, check_body_name, make_body
from tabvision.nets.heads import HeadName, check_head, make_head
from tabvision.nets.layer_groups import LayerGroup
from tabvision.schedules import Rates
from tabvision.schema import Image, Schema

_OWN_BODY = "own"  # saved in place of a network, which is no plain data


@final
class VisionModule(SupervisedModule):
    """A pretrained body with a new head.

    Pictures that come as uint8 are normalized as the weights expect, or as the data says; `module.schema.image` has the
    statistics. A checkpoint holds the weights, so that it is opened without the file or network they came from.

    Args:
        schema: What the data is: `data.schema`, or the dict it was saved as.
        body: A name of torchvision or timm, such as "resnet34", "timm/convnext_tiny" or "efficientnet_lite0"; or a network of
            your own, from pictures to features.
        weights: "default", a named set, a local file, or None for random ones. A network of your own keeps those it has.
        head: "concat" (largest value and mean of each feature, then hidden layers), "mlp" (mean, then hidden layers) or
            "linear" (mean, then one Linear).
        head_widths: Outputs of each hidden layer of the head.
        head_scale: Of the spread that fastai gives the last layer's weights, above 0; 1 for fastai's own start. A tenth
            begins near an even answer, so that no steps go to unlearning a random one.
        dropout: Share dropped before the last layer, in [0, 1), and half of it before every other.
        num_groups: Layer groups, the head among them, at least 2; the body is cut by depth.
        channels_last: Whether convolutions work on channels-last memory, which is quicker.
        frozen_bf16: Whether a body of which nothing trains computes in bfloat16 in training steps; quicker where the
            processor or GPU knows the format.
        lr: One rate, `(first, last)` group, `(None, last)`, "first:last", or a list with one a layer group.
        optimizer: "adamw", "adam", "sgd", "rmsprop", or a function from param groups to an optimizer.
        weight_decay: Strength of the decay of weights, at least 0.
        decay: "decoupled" (AdamW) or "l2" (added to the gradient).
        decay_norms: Whether norms and biases decay as well.
        momentum: For SGD and RMSprop, in [0, 1).

    Raises:
        UnknownNameError: No such body, set of weights or head.
        BadValueError: A schema without a picture, a size that the body does not take, weights that do not fit or cannot be
            downloaded, or a setting out of range.

    Source: fastai `vision_learner`; its base rate of `fine_tune` is the default rate.

    Example:
        >>> from tabvision.schema import Image, Target
        >>> from tabvision.tasks import Binary
        >>> schema = Schema(target=Target(columns=("label",), task=Binary()), image=Image(size=(64, 64)))
        >>> [group.name for group in VisionModule(schema, body="resnet18", weights=None).layer_groups()]
        ['early', 'late', 'head']
    """

    @speaking()
    def __init__(
        self,
        schema: Schema | dict[str, Any],
        *,
        body: str | nn.Module = "resnet34",
        weights: str | Path | None = "default",
        head: HeadName = "concat",
        head_widths: Sequence[int] = (512,),
        head_scale: float = 0.1,
        dropout: float = 0.5,
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
        net, source = body, weights
        # what is saved rebuilds the module from a checkpoint, which holds the weights
        body, weights = (_OWN_BODY if isinstance(net, nn.Module) else net), None
        super().__init__(
            schema,
            lr=lr,
            optimizer=optimizer,
            weight_decay=weight_decay,
            decay=decay,
            decay_norms=decay_norms,
            momentum=momentum,
        )
        picture = _picture(self.schema)
        check_head(head, head_widths, dropout, head_scale)
        _check_num_groups(num_groups)
        self.body = _body(net, source)
        channels, *rest = self.body.feature_shape(picture.size)
        self.head = make_head(
            channels,
            self.task.num_outputs,
            kind=head,
            widths=head_widths,
            dropout=dropout,
            scale=head_scale,
            pooled=not rest,
        )
        body_groups(self.body, num_groups - 1)  # too many are refused at once
        self.schema = self.schema.with_statistics(self.body.mean, self.body.spread)
        self.hparams["schema"] = self.schema.to_dict()
        self._picture = _picture(self.schema)
        self._memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.to(memory_format=self._memory_format)

    @override
    def forward(self, batch: Batch) -> Tensor:
        images = batch["image"]
        if images.dtype == torch.uint8:
            images = normalize(images, self._picture.mean, self._picture.spread)
        images = images.to(self.dtype)  # of a Trainer(precision="bf16-true"), which leaves bytes to the datamodule
        logits: Tensor = self.head(self._features(images.contiguous(memory_format=self._memory_format)))
        return logits

    def _features(self, images: Tensor) -> Tensor:
        low = self.hparams["frozen_bf16"] and self.training and not any(map(_learns, self.body.parameters()))
        with torch.autocast(images.device.type, torch.bfloat16) if low else contextlib.nullcontext():
            features: Tensor = self.body(images)
        return features.to(self.dtype) if low else features

    @override
    @speaking()
    def layer_groups(self) -> list[LayerGroup]:
        groups = body_groups(self.body, self.hparams["num_groups"] - 1)
        return [*groups, LayerGroup("head", (self.head,))]


def _learns(parameter: nn.Parameter) -> bool:
    return parameter.requires_grad


def _body(net: object, weights: str | Path | None) -> Body:
    if isinstance(net, nn.Module):
        return as_body(net)
    if net == _OWN_BODY:
        problem = "it was trained with a body of your own, which no checkpoint holds"
        raise BadValueError(problem, "Pass it again: load_from_checkpoint(path, body=...)")
    check_body_name(net)
    return make_body(str(net), weights=weights)


def _picture(schema: Schema) -> Image:
    if schema.image is None:
        problem = "the schema has no picture"
        raise BadValueError(problem, "Build it from an ImageDataModule's schema, or use TabularModule")
    return schema.image


def _check_num_groups(num_groups: object) -> None:
    remedy = "Pass 3 for the body's two halves and the head"
    if isinstance(num_groups, bool) or not isinstance(num_groups, int):
        raise BadTypeError(f"num_groups must be a whole number, got {num_groups!r}", remedy)
    if num_groups < 2:
        raise BadValueError(f"num_groups must be at least 2, got {num_groups}", remedy)
