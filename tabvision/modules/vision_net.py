"""A body and a head, and how batches of images go through them."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from typing_extensions import override

from tabvision.augment.normalize import normalize
from tabvision.batch import Batch
from tabvision.checks import check_whole
from tabvision.errors import BadValueError, speaking
from tabvision.modules.network import OWN, Answering, settled
from tabvision.modules.optimizers import Decay, OptimizerFactory
from tabvision.nets.backbones import body_groups, make_body
from tabvision.nets.body import Body, as_body
from tabvision.nets.growth import with_growth
from tabvision.nets.heads import HeadFactory, check_head, make_head, own_head, pooled_for
from tabvision.nets.layer_groups import LayerGroup
from tabvision.schedules import Rates
from tabvision.schema import Image, Schema, SchemaSource


class VisionNet(Answering):
    """What answers in a `VisionModule`, without Lightning; the settings are described there."""

    other_data: ClassVar[str] = (
        "For other classes, columns or sizes keep the body's weights and train a new head: "
        'VisionModule(data.schema, body=..., weights="own.ckpt")'
    )
    own_settings: ClassVar[Mapping[str, str]] = {**Answering.own_settings, "body": "a body", "head": "a head"}

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
        frozen_bf16: bool = False,
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
            saved={
                **hidden,
                "head_scale": head_scale,
                "body": body,
                "weights": weights,
                "head": head,
                "num_groups": num_groups,
                "frozen_bf16": frozen_bf16,
            },
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
        images = images.to(self._weights_dtype)  # under Trainer(precision="bf16-true"), which leaves uint8 unchanged
        images = images.contiguous(memory_format=self._memory_format)
        low = self.hparams["frozen_bf16"] and self.training
        low = low and not any(parameter.requires_grad for parameter in self.body.parameters())
        with torch.autocast(images.device.type, torch.bfloat16) if low else contextlib.nullcontext():
            features: Tensor = self.body(images)
        return features.to(self._weights_dtype) if low else features

    def pooled(self, features: Tensor) -> Tensor:
        """Return what the head keeps of features, which a batch may have in their place: a fraction of their numbers."""
        return pooled_for(self.head, features)

    @override
    @speaking()
    def layer_groups(self) -> list[LayerGroup]:
        groups = body_groups(self.body, self.hparams["num_groups"] - 1)
        return [*groups, LayerGroup("head", (self.head,))]


def body_of(module: Answering, net: str | nn.Module, weights: str | Path | None) -> Body:
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
