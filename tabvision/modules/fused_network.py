"""The network for rows of columns and images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, final

import torch
from torch import Tensor, nn
from typing_extensions import override

from tabvision.batch import Batch
from tabvision.checks import check_fraction, check_whole
from tabvision.errors import BadValueError, speaking
from tabvision.modules.network import OWN, with_defaults
from tabvision.modules.optimizers import Decay, OptimizerFactory
from tabvision.modules.tabular_network import packed_defaults, packed_net
from tabvision.modules.vision_network import ImageNetwork, image_of
from tabvision.nets.backbones import body_groups
from tabvision.nets.heads import mean_pooled
from tabvision.nets.layer_groups import LayerGroup
from tabvision.nets.layers import BatchNorm1d, Dropout
from tabvision.schedules import Rates
from tabvision.schema import Schema, SchemaSource, schema_of
from tabvision.tracing import is_traced


class FusedNetwork(ImageNetwork):
    """The network of a `FusedModule`, which describes the settings."""

    other_data: ClassVar[str] = (
        "For other classes, columns or sizes keep the body's weights and train the rest anew: "
        'FusedModule(data.schema, body=..., weights="own.ckpt")'
    )
    own_settings: ClassVar[Mapping[str, str]] = {**ImageNetwork.own_settings, "body": "a body"}

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
        given_body, given_weights = body, weights
        # these are saved, to rebuild the module from a checkpoint, which holds the weights
        body, weights = (OWN if isinstance(given_body, nn.Module) else given_body), None
        given = {"members": members, "member_widths": member_widths, "own_inputs": own_inputs, "dropout": dropout}
        packed = with_defaults(schema, None, given, packed_defaults(facts))
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
        self._set_body(given_body, given_weights)
        num_features = self.body.feature_shape(image.size)[0]
        body_groups(self.body, num_groups - 2)  # raises now if there are too many
        self.images = _ImageFeatures(num_features, len(image.columns), image_width, image_dropout)
        self.net = packed_net(self.schema, {**packed, "unknown_share": unknown_share}, joined=image_width)
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
        return mean_pooled(self.body(self._normalized(images)))

    @override
    @speaking()
    def layer_groups(self) -> list[LayerGroup]:
        groups = body_groups(self.body, self.hparams["num_groups"] - 2)
        table = LayerGroup("table", (self.net.embeddings, self.net.layers[:-1]), is_new=True)
        head = LayerGroup("head", (self.images, self.net.layers[-1], self.net.head), is_new=True)
        return [*groups, table, head]


@final
class _ImageFeatures(nn.Module):
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
