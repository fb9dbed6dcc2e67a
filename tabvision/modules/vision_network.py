"""The network for images: a body and a head."""

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
from tabvision.modules.network import OWN, SchemaNetwork, with_defaults
from tabvision.modules.optimizers import Decay, OptimizerFactory
from tabvision.nets.backbones import body_groups, make_body
from tabvision.nets.body import Body, as_body
from tabvision.nets.growth import with_growth
from tabvision.nets.heads import HeadFactory, check_head, make_head, own_head, pooled_for
from tabvision.nets.layer_groups import LayerGroup
from tabvision.schedules import Rates
from tabvision.schema import Image, Schema, SchemaSource


class ImageNetwork(SchemaNetwork):
    """A network that reads images through a body.

    Attributes:
        body: The body, by name or the user's own.
    """

    body: Body
    _image: Image
    _memory_format: torch.memory_format = torch.channels_last

    def _set_body(self, body: str | nn.Module, weights: str | Path | None) -> None:
        """Build the body, and use its weights' statistics unless the data specifies others."""
        channels = image_of(self.schema).channels
        if isinstance(body, nn.Module):
            if weights not in (None, "default"):
                problem = f"weights has no effect with a body of your own, got {weights!r}"
                raise BadValueError(problem, "Leave weights out")
            self.body = as_body(body, channels)
        elif body == OWN:
            raise self.not_held("body")
        else:
            self.body = make_body(body, weights=weights, in_channels=channels)
        self.schema = self.schema.with_statistics(self.body.mean, self.body.spread)
        self.hparams["schema"] = self.schema.to_dict()
        self._image = image_of(self.schema)

    def _normalized(self, images: Tensor) -> Tensor:
        """Return images as the body expects them: uint8 images are normalized, float images already are."""
        if images.dtype == torch.uint8:
            images = normalize(images, self._image.mean, self._image.std)
        return images.to(self._weights_dtype).contiguous(memory_format=self._memory_format)

    @property
    def _weights_dtype(self) -> torch.dtype:
        """The dtype of the weights; not float32 under `Trainer(precision="bf16-true")`, which leaves uint8 unchanged."""
        return next(self.parameters()).dtype


class VisionNetwork(ImageNetwork):
    """The network of a `VisionModule`, which describes the settings."""

    other_data: ClassVar[str] = (
        "For other classes, columns or sizes keep the body's weights and train a new head: "
        'VisionModule(data.schema, body=..., weights="own.ckpt")'
    )
    own_settings: ClassVar[Mapping[str, str]] = {**SchemaNetwork.own_settings, "body": "a body", "head": "a head"}

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
        given_body, given_weights, given_head = body, weights, head
        # these values are saved, to rebuild the network from a checkpoint, which has the weights
        body, weights = (OWN if isinstance(given_body, nn.Module) else given_body), None
        head = head if isinstance(head, str) else OWN
        settings = _head_settings(schema, head, head_widths, head_scale, dropout)
        super().__init__(
            schema,
            lr=lr,
            optimizer=optimizer,
            weight_decay=weight_decay,
            decay=decay,
            decay_norms=decay_norms,
            momentum=momentum,
            saved={
                **settings,
                "body": body,
                "weights": weights,
                "head": head,
                "num_groups": num_groups,
                "frozen_bf16": frozen_bf16,
            },
        )
        image_of(self.schema)  # raise early if there is none
        if not self.schema.is_of_images:
            problem = "the schema describes rows with columns and images"
            raise BadValueError(problem, "Use FusedModule, or an ImageDataModule")
        widths, scale, dropout = (settings[name] for name in ("head_widths", "head_scale", "dropout"))
        arguments: dict[str, Any] = {"kind": head, "widths": widths, "scale": scale, "dropout": dropout}
        arguments = {name: value for name, value in arguments.items() if value is not None}  # those with an effect
        if head != OWN:
            check_head(**arguments)
        check_whole("num_groups", num_groups, 2, remedy="Pass 3 for the body's two halves and the head")
        self._set_body(given_body, given_weights)
        self.head = self._new_head(given_head, arguments)
        body_groups(self.body, num_groups - 1)  # raise early if there are too many
        self._memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.to(memory_format=self._memory_format)

    def _new_head(self, head: str | nn.Module | HeadFactory, arguments: Mapping[str, Any]) -> nn.Module:
        """Return a new head for these arguments of `make_head`, or the user's own, checked."""
        shape, target = self.body.feature_shape(self._image.size), self.schema.target
        if not isinstance(head, str):
            return own_head(head, shape, self.task.num_outputs)
        if head == OWN:
            raise self.not_held("head")
        made = make_head(shape[0], target.first_outputs, pooled=len(shape) == 1, **arguments)
        made[-1] = with_growth(made[-1], target.grown, self.task.join_new)
        return made

    @override
    def forward(self, batch: Batch) -> Tensor:
        logits: Tensor = self.head(batch["features"] if "features" in batch else self.features(batch))
        return logits

    def features(self, batch: Batch) -> Tensor:
        """Return the body's features for a batch of images, (B, C, H, W) float, or (B, C) if the body pools."""
        images = self._normalized(self.needed(batch, "image"))
        low = self.hparams["frozen_bf16"] and self.training
        low = low and not any(parameter.requires_grad for parameter in self.body.parameters())
        with torch.autocast(images.device.type, torch.bfloat16) if low else contextlib.nullcontext():
            features: Tensor = self.body(images)
        return features.to(self._weights_dtype) if low else features

    def pooled(self, features: Tensor) -> Tensor:
        """Return features pooled as the head pools them; a batch may hold these much smaller tensors instead."""
        return pooled_for(self.head, features)

    @override
    @speaking()
    def layer_groups(self) -> list[LayerGroup]:
        groups = body_groups(self.body, self.hparams["num_groups"] - 1)
        return [*groups, LayerGroup("head", (self.head,))]


def _head_settings(
    schema: SchemaSource, head: str, widths: Sequence[int] | None, scale: float | None, dropout: float | None
) -> dict[str, Any]:
    """Return the settings of a head with defaults filled in, and None for those without effect on it."""
    given = {"head_widths": widths, "head_scale": scale, "dropout": dropout}
    own = "a head of your own" if head == OWN else None
    linear = "head='linear'" if head == "linear" else None
    return {
        **with_defaults(schema, own or linear, given, {"head_widths": (512,), "dropout": 0.5}),
        **with_defaults(schema, own, given, {"head_scale": 0.1}),
    }


def image_of(schema: Schema) -> Image:
    """Return the schema's image; raise if there is none."""
    if schema.image is None:
        remedy = "Build it from an ImageDataModule's schema, or use TabularModule"
        raise BadValueError("the schema has no image", remedy)
    return schema.image
