"""The network for rows that have both columns and images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, cast, final

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
from tabvision.nets.growth import scale_outputs
from tabvision.nets.heads import mean_pooled
from tabvision.nets.layer_groups import LayerGroup
from tabvision.nets.layers import BatchNorm1d, Dropout
from tabvision.nets.linear_fit import Rows, fitted_heads, mean_and_std
from tabvision.schedules import Rates
from tabvision.schema import SchemaSource, schema_of
from tabvision.tasks import Task
from tabvision.tracing import is_traced

_EMPHASIS = 2.0  # scales the images' prediction as an input of a layer: with 1, that learned to use it too late
_NEW_GROUPS = 3  # layer groups in addition to the body's: the images, the table and the head


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
        image_width: int | None = None,
        image_dropout: float = 0.5,
        part_dropout: float = 0.2,
        members: int | None = None,
        member_widths: Sequence[int] | None = None,
        own_inputs: bool | None = None,
        bin_parts: int | None = None,
        unknown_share: float = 0.003,
        dropout: float | None = None,
        num_groups: int = 5,
        lr: Rates = 1.5e-2,
        optimizer: str | OptimizerFactory = "adamw",
        weight_decay: float = 0.05,
        decay: Decay = "decoupled",
        decay_norms: bool = False,
        momentum: float = 0.9,
    ) -> None:
        facts = schema_of(schema)
        given_body, given_weights = body, weights
        # these values are saved, to rebuild the network from a checkpoint, which has the weights
        body, weights = (OWN if isinstance(given_body, nn.Module) else given_body), None
        given = {
            "members": members,
            "member_widths": member_widths,
            "own_inputs": own_inputs,
            "bin_parts": bin_parts,
            "dropout": dropout,
        }
        packed = with_defaults(schema, None, given, packed_defaults(facts))
        image_width = facts.target.first_outputs if image_width is None else image_width
        check_whole("image_width", image_width)
        super().__init__(
            facts,
            lr=lr,
            optimizer=optimizer,
            weight_decay=weight_decay,
            decay=decay,
            decay_norms=decay_norms,
            momentum=momentum,
            saved={
                **packed,
                "body": body,
                "weights": weights,
                "image_width": image_width,
                "num_groups": num_groups,
                "part_dropout": part_dropout,
            },
        )
        image = image_of(self.schema)
        if not image.optional or not (self.schema.continuous or self.schema.categorical):
            problem = "the schema describes images alone"
            raise BadValueError(problem, "Build it from a FusedDataModule's schema, or use VisionModule")
        check_fraction("image_dropout", image_dropout)
        check_fraction("part_dropout", part_dropout)
        if part_dropout >= 0.5:
            problem = f"part_dropout must be below 0.5, got {part_dropout!r}"
            raise BadValueError(
                problem, "Pass a fraction such as 0.2: as many rows train without columns as without images"
            )
        remedy = "Pass 5 for the body's two halves, the images, the table and the head"
        check_whole("num_groups", num_groups, 1 + _NEW_GROUPS, remedy=remedy)
        self._set_body(given_body, given_weights)
        num_features = self.body.feature_shape(image.size)[0]
        body_groups(self.body, num_groups - _NEW_GROUPS)  # raise early if there are too many
        num_images = len(image.columns)
        self.images = _ImageHeads(num_features, num_images, image_width, self.fold_members, image_dropout)
        self.net = packed_net(self.schema, {**packed, "unknown_share": unknown_share}, joined=image_width + num_images)
        self.to(memory_format=torch.channels_last)

    @override
    def forward(self, batch: Batch) -> Tensor:
        return self.task.combine(self.member_logits(batch))

    @override
    def member_logits(self, batch: Batch) -> Tensor:
        features = batch["features"] if "features" in batch else self.features(batch)
        images = self.images(features, batch.get("has_image"), batch.get("fold"))
        hidden = self.net.hidden(self.needed(batch, "continuous"), self.needed(batch, "categorical"))
        if self.training and (fraction := self.hparams["part_dropout"]):
            drawn = torch.rand(len(images), device=images.device)
            images = images * (drawn >= fraction).to(images.dtype)[:, None]
            hidden = hidden * (drawn < 1 - fraction).to(hidden.dtype)[:, None, None]
        return self.net.join(hidden, images)

    def features(self, batch: Batch) -> Tensor:
        """Return the body's average-pooled features of each image of a row, (B, P, F); 0 for missing images.

        Shape:
            - batch["image"]: (B, P, C, H, W)
            - batch["has_image"]: (B, P); without it, all images are present
        """
        images = self.needed(batch, "image")
        has_image = batch.get("has_image", images.new_ones(images.shape[:2], dtype=torch.float32))
        features = self._features_of_some(images.flatten(0, 1), has_image.flatten() > 0)
        return features.view(*has_image.shape, features.shape[1])

    def _features_of_some(self, images: Tensor, is_there: Tensor) -> Tensor:
        """Return the features of images, with 0 for missing ones."""
        if is_traced():  # the graph must not depend on which images are missing
            return self._features_of(images)
        if not is_there.any():
            if not self.training or not len(images):
                return self.images.absent.new_zeros(len(images), self.images.absent.shape[1])
            is_there = torch.arange(len(images), device=images.device) == 0  # DDP expects every parameter in every step
        found = self._features_of(images[is_there])
        whole = found.new_zeros(len(images), found.shape[1])
        return whole.index_copy(0, is_there.nonzero().squeeze(1), found)

    def _features_of(self, images: Tensor) -> Tensor:
        return mean_pooled(self.body(self._normalized(images)))

    @override
    @speaking()
    def layer_groups(self) -> list[LayerGroup]:
        groups = body_groups(self.body, self.hparams["num_groups"] - _NEW_GROUPS)
        images = LayerGroup("images", (self.images,), is_new=True)
        table = LayerGroup("table", (self.net.embeddings, self.net.layers[:-1]), is_new=True)
        head = LayerGroup("head", (self.net.layers[-1], self.net.head), is_new=True)
        return [*groups, images, table, head]

    @property
    def fold_members(self) -> int:
        """The number of members that can each leave out a fold of the training rows; 1 if they share the table's inputs."""
        return self.hparams["members"] if self.hparams["own_inputs"] else 1

    @property
    def num_shared_groups(self) -> int:
        """How many of the first layer groups all members share; members can leave out rows only if these stay frozen."""
        return self.hparams["num_groups"] - _NEW_GROUPS + 1  # type: ignore[no-any-return]  # settings are plain data

    def fit_on_features(self, tensors: Mapping[str, Tensor]) -> None:
        """Fit the images' heads on the frozen features of all training rows, each on the rows outside its fold.

        Args:
            tensors: A batch of all rows, on the CPU, with `features`, `has_image`, `target` and `fold`.
        """
        if self.hparams["image_width"] == self.task.num_outputs:  # heads stay if classes came later
            self.images.fit(tensors, self.task)

    @torch.no_grad()
    def scale_logits(self, factor: float) -> None:
        """Multiply all logits by a factor, in the last layer."""
        scale_outputs([self.net.head], factor)


@final
class _ImageHeads(nn.Module):
    """Linear heads on the features of a row's images, with a learned vector in place of each missing image.

    They start at 0 and learn like other layers; or `fit` sets them, one head per fold, so that a row's own target does not
    leak into the prediction from its images.

    Args:
        num_features: F, the number of features of an image.
        num_images: P, the number of images of a row.
        width: Outputs of a head.
        num_heads: k, the number of heads.
        dropout: Fraction of the features dropped in training.

    Shape:
        - features: (B, P, F) float
        - has_image: (B, P) float, or None if no image is missing
        - fold: (B,) int64, the head to use for each row, or None for the mean of all heads
        - returns: (B, width + P) float, the outputs, and 1 for each missing image
    """

    def __init__(self, num_features: int, num_images: int, width: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.absent = nn.Parameter(torch.zeros(num_images, num_features))
        self.norm = BatchNorm1d(num_images * num_features, affine=False)
        self.dropout = Dropout(dropout)
        self.weight = nn.Parameter(torch.zeros(num_heads, width, num_images * num_features))
        self._scale = (num_images * num_features) ** -0.5  # Adam moves all weights alike, so many would move too far

    @override
    def forward(self, features: Tensor, has_image: Tensor | None = None, fold: Tensor | None = None) -> Tensor:
        has_image = features.new_ones(features.shape[:2]) if has_image is None else has_image.to(features.dtype)
        normed = self.dropout(self.norm(_filled(features, has_image, self.absent))) * self._scale
        weight = self.weight.mean(0, keepdim=True) if fold is None else self.weight
        logits = (normed @ weight.flatten(0, 1).T).unflatten(1, weight.shape[:2])
        chosen = logits[:, 0] if fold is None else logits[torch.arange(len(logits), device=logits.device), fold]
        return torch.cat([_EMPHASIS * chosen, 1 - has_image], dim=1)

    @torch.no_grad()
    def fit(self, tensors: Mapping[str, Tensor], task: Task) -> None:
        """Set the vectors for missing images to the mean, and fit each head, with the penalty best on held-out folds."""
        features, has_image, fold = tensors["features"].float(), tensors["has_image"], tensors["fold"]
        counts = has_image.sum(0).clamp(min=1).unsqueeze(1)
        self.absent.copy_((features * has_image.unsqueeze(2)).sum(0) / counts)
        filled = _filled(features, has_image, self.absent.cpu())
        mean, std = mean_and_std(filled)
        cast("Tensor", self.norm.running_mean).copy_(mean)
        cast("Tensor", self.norm.running_var).copy_(std.square())
        weight = tensors.get("weight", torch.ones(len(fold)))
        rows = Rows((filled - mean) / (std.square() + self.norm.eps).sqrt(), tensors["target"], weight)
        heads, _ = fitted_heads(rows, task, fold, len(self.weight))
        self.weight.copy_(heads.weight / self._scale)  # no biases: they would leak a fold's mean target to its rows


def _filled(features: Tensor, has_image: Tensor, absent: Tensor) -> Tensor:
    """Return the features of each row's images side by side, with `absent` in place of missing images."""
    fractions = has_image.unsqueeze(2)  # of a row that MixUp blended, both rows' images count
    return (fractions * features + (1 - fractions) * absent).flatten(1)
