"""The network of columns and images, and how batches go through it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, final

import torch
from torch import Tensor, nn
from typing_extensions import override

from tabvision.augment.normalize import normalize
from tabvision.batch import Batch
from tabvision.checks import check_fraction, check_whole
from tabvision.errors import BadValueError, speaking
from tabvision.modules.network import OWN, Answering
from tabvision.modules.optimizers import Decay, OptimizerFactory
from tabvision.modules.vision_net import body_of, image_of
from tabvision.nets.backbones import body_groups
from tabvision.nets.growth import with_growth
from tabvision.nets.layer_groups import LayerGroup
from tabvision.nets.layers import BatchNorm1d, Dropout
from tabvision.nets.packed import PackedNet
from tabvision.schedules import Rates
from tabvision.schema import Schema, SchemaSource, grown_widths, schema_of
from tabvision.tracing import is_traced


class FusedNet(Answering):
    """What answers in a `FusedModule`, without Lightning; the settings are described there."""

    other_data: ClassVar[str] = (
        "For other classes, columns or sizes keep the body's weights and train the rest anew: "
        'FusedModule(data.schema, body=..., weights="own.ckpt")'
    )
    own_settings: ClassVar[Mapping[str, str]] = {**Answering.own_settings, "body": "a body"}

    @speaking()
    def __init__(
        self,
        schema: SchemaSource,
        *,
        body: str | nn.Module = "resnet34",
        weights: str | Path | None = "default",
        image_width: int = 32,
        image_dropout: float = 0.5,
        part_dropout: float = 0.2,
        members: int | None = None,
        member_widths: Sequence[int] | None = None,
        own_inputs: bool | None = None,
        unknown_share: float = 0.003,
        dropout: float | None = None,
        num_groups: int = 4,
        lr: Rates = 1e-2,
        optimizer: str | OptimizerFactory = "adamw",
        weight_decay: float = 0.05,
        decay: Decay = "decoupled",
        decay_norms: bool = False,
        momentum: float = 0.9,
    ) -> None:
        facts = schema_of(schema)
        net, source = body, weights
        # these are saved, to rebuild the module from a checkpoint, which holds the weights
        body, weights = (OWN if isinstance(net, nn.Module) else net), None
        is_small = facts.target.of_small_table
        packed: dict[str, Any] = {
            "members": (8 if is_small else 4) if members is None else members,
            "member_widths": ((64, 48) if is_small else (96, 64)) if member_widths is None else member_widths,
            "own_inputs": is_small if own_inputs is None else own_inputs,
            "dropout": (0.1 if facts.task.is_classes else 0.0) if dropout is None else dropout,
        }
        super().__init__(
            facts,
            lr=lr,
            optimizer=optimizer,
            weight_decay=weight_decay,
            decay=decay,
            decay_norms=decay_norms,
            momentum=momentum,
            saved={**packed, "body": body, "weights": weights, "num_groups": num_groups, "part_dropout": part_dropout},
        )
        image = _images_of(self.schema)
        check_whole("image_width", image_width)
        check_fraction("image_dropout", image_dropout)
        check_fraction("part_dropout", part_dropout)
        if part_dropout >= 0.5:
            problem = f"part_dropout must be below 0.5, got {part_dropout!r}"
            raise BadValueError(problem, "Pass such as 0.2: as many rows train without images as without columns")
        check_whole("num_groups", num_groups, 3, remedy="Pass 4 for the body's two halves, the table and the head")
        self.body = body_of(self, net, source)
        num_features = self.body.feature_shape(image.size)[0]
        body_groups(self.body, num_groups - 2)  # raises now if there are too many
        self.images = _ImageSide(num_features, len(image.columns), image_width, image_dropout)
        self.net = PackedNet(
            [column.cardinality for column in self.schema.categorical],
            [column.edges for column in self.schema.continuous],
            self.schema.target.first_outputs,
            widths=packed["member_widths"],
            **{name: packed[name] for name in ("members", "own_inputs", "dropout")},
            unknown_share=unknown_share,
            embedding_widths=grown_widths(self.schema),
            joined=image_width,
        )
        self.net.head = with_growth(self.net.head, self.schema.target.grown, self.task.join_new)
        self.schema = self.schema.with_statistics(self.body.mean, self.body.spread)
        self.hparams["schema"] = self.schema.to_dict()
        self._image = image_of(self.schema)
        self.to(memory_format=torch.channels_last)

    @override
    def forward(self, batch: Batch) -> Tensor:
        return self.task.combine(self.member_logits(batch))

    @override
    def member_logits(self, batch: Batch) -> Tensor:
        features = batch["features"] if "features" in batch else self.features(batch)
        images = self.images(features, batch.get("has_image"))
        hidden = self.net.hidden(self.needed(batch, "continuous"), self.needed(batch, "categorical"))
        if self.training and (fraction := self.hparams["part_dropout"]):
            drawn = torch.rand(len(images), device=images.device)
            images = images * (drawn >= fraction).to(images.dtype)[:, None]
            hidden = hidden * (drawn < 1 - fraction).to(hidden.dtype)[:, None, None]
        return self.net.join(hidden, images)

    def features(self, batch: Batch) -> Tensor:
        """Return the mean of each feature of the body over each image of a row, (B, P, F), 0 where there is none.

        Shape:
            - batch["image"]: (B, P, C, H, W)
            - batch["has_image"]: (B, P); without it every row has its images
        """
        images = self.needed(batch, "image")
        has_image = batch.get("has_image", images.new_ones(images.shape[:2], dtype=torch.float32))
        features = self._features_of_some(images.flatten(0, 1), has_image.flatten() > 0)
        return features.view(*has_image.shape, features.shape[1])

    def _features_of_some(self, images: Tensor, is_there: Tensor) -> Tensor:
        """Return the features of images, 0 for those that are not there."""
        if is_traced():  # no graph may depend on which images there are
            return self._features_of(images)
        if not is_there.any():
            if not self.training or not len(images):
                return self.images.absent.new_zeros(len(images), len(self.images.absent))
            is_there = torch.arange(len(images), device=images.device) == 0  # DDP expects every parameter in every step
        found = self._features_of(images[is_there])
        whole = found.new_zeros(len(images), found.shape[1])
        return whole.index_copy(0, is_there.nonzero().squeeze(1), found)

    def _features_of(self, images: Tensor) -> Tensor:
        if images.dtype == torch.uint8:
            images = normalize(images, self._image.mean, self._image.std)
        features: Tensor = self.body(images.to(self._weights_dtype).contiguous(memory_format=torch.channels_last))
        return features.mean(dim=(2, 3)) if features.ndim == 4 else features

    @override
    @speaking()
    def layer_groups(self) -> list[LayerGroup]:
        groups = body_groups(self.body, self.hparams["num_groups"] - 2)
        table = LayerGroup("table", (self.net.embeddings, self.net.layers[:-1]), is_new=True)
        head = LayerGroup("head", (self.images, self.net.layers[-1], self.net.head), is_new=True)
        return [*groups, table, head]


@final
class _ImageSide(nn.Module):
    """Reduce the features of the images of a row to a few numbers, with a learned vector for each image that is missing.

    Args:
        num_features: F, the features of an image.
        num_images: P, the images of a row.
        width: Numbers for a row.
        dropout: Fraction of the features dropped in training.

    Shape:
        - features: (B, P, F) float
        - has_image: (B, P) float, or None if there are all
        - returns: (B, width) float
    """

    def __init__(self, num_features: int, num_images: int, width: int, dropout: float) -> None:
        super().__init__()
        self.absent = nn.Parameter(torch.zeros(num_features))  # in place of the features of an image that is missing
        size = num_features * num_images
        self.layers = nn.Sequential(
            BatchNorm1d(size), Dropout(dropout), nn.Linear(size, width), nn.ReLU(), BatchNorm1d(width)
        )

    @override
    def forward(self, features: Tensor, has_image: Tensor | None = None) -> Tensor:
        if has_image is not None:
            fractions = has_image.to(features.dtype).unsqueeze(2)  # of a row that is blended with another, both count
            features = fractions * features + (1 - fractions) * self.absent
        reduced: Tensor = self.layers(features.flatten(1))
        return reduced


def _images_of(schema: Schema) -> Any:  # noqa: ANN401 - an Image
    image = image_of(schema)
    if not image.optional or not (schema.continuous or schema.categorical):
        problem = "the schema is of images alone"
        raise BadValueError(problem, "Build it from a FusedDataModule's schema, or use VisionModule")
    return image
