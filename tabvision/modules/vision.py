"""A LightningModule for pictures."""

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
from tabvision.nets.backbones import body_groups, check_body_name, make_body
from tabvision.nets.heads import HeadFactory, check_head, make_head, own_head
from tabvision.nets.layer_groups import LayerGroup
from tabvision.schedules import Rates
from tabvision.schema import Image, Schema


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
            "linear" (mean, then one Linear); or a head of your own: a network from features (B, C, H, W), or (B, C) where the
            body pools, to logits, or a function from the number of features C and of logits to one.
        head_widths: Outputs of each hidden layer, for "concat" and "mlp" alone; None for (512,).
        head_scale: Of the std that fastai gives the last layer's weights, above 0; 1 for fastai's own start, not for a head
            of your own. None for a tenth, which begins near an even answer, so that no steps go to unlearning a random one.
        dropout: Fraction dropped before the last layer, in [0, 1), and half of it before every other, for "concat" and "mlp"
            alone; None for 0.5.
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
        BadValueError: A schema without an image, a size that the body does not take, weights that do not fit or cannot be
            downloaded, a head that gives other than the task's logits, or a setting that is out of range or has no effect.

    Source: fastai `vision_learner`; its base rate of `fine_tune` is the default rate.

    Example:
        >>> from tabvision.schema import Image, Target
        >>> from tabvision.tasks import Binary
        >>> schema = Schema(target=Target(columns=("label",), task=Binary()), image=Image(size=(64, 64)))
        >>> [group.name for group in VisionModule(schema, body="resnet18", weights=None).layer_groups()]
        ['early', 'late', 'head']
    """

    own_settings: ClassVar[Mapping[str, str]] = {**SupervisedModule.own_settings, "body": "a body", "head": "a head"}

    @speaking()
    def __init__(
        self,
        schema: Schema | dict[str, Any],
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
        # what is saved rebuilds the module from a checkpoint, which holds the weights
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
        )
        picture = _picture(self.schema)
        chosen: dict[str, Any] = {"kind": head, "scale": head_scale}
        chosen |= {} if head == "linear" else {"widths": head_widths, "dropout": dropout}
        if not is_own:
            check_head(**chosen)
        check_whole("num_groups", num_groups, 2, remedy="Pass 3 for the body's two halves and the head")
        self.body = self._make_body(net, source)
        shape = self.body.feature_shape(picture.size)
        if is_own:
            self.head: nn.Module = self._own_head(top, shape)
        else:
            self.head = make_head(shape[0], self.task.num_outputs, pooled=len(shape) == 1, **chosen)
        body_groups(self.body, num_groups - 1)  # too many are refused at once
        self.schema = self.schema.with_statistics(self.body.mean, self.body.spread)
        self.hparams["schema"] = self.schema.to_dict()
        self._picture = _picture(self.schema)
        self._memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.to(memory_format=self._memory_format)

    def _make_body(self, net: str | nn.Module, weights: str | Path | None) -> Body:
        if isinstance(net, nn.Module):
            if weights not in (None, "default"):
                raise BadValueError(
                    f"weights has no effect with a body of your own, got {weights!r}", "Leave weights out"
                )
            return as_body(net)
        if net == OWN:
            raise self.not_held("body")
        check_body_name(net)
        return make_body(net, weights=weights)

    def _own_head(self, head: str | nn.Module | HeadFactory, shape: tuple[int, ...]) -> nn.Module:
        if isinstance(head, str):
            raise self.not_held("head")
        return own_head(head, shape, self.task.num_outputs)

    @override
    def forward(self, batch: Batch) -> Tensor:
        images = batch["image"]
        if images.dtype == torch.uint8:
            images = normalize(images, self._picture.mean, self._picture.std)
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


def _picture(schema: Schema) -> Image:
    if schema.image is None:
        problem = "the schema has no picture"
        raise BadValueError(problem, "Build it from an ImageDataModule's schema, or use TabularModule")
    return schema.image
