"""The size of images is a function of the epoch, in training, validation and a resumed fit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset
from typing_extensions import override

from tabvision.callbacks import ExactResume, ProgressiveResize
from tabvision.data.loaders import TensorLoader
from tabvision.errors import BadTypeError, BadValueError
from tabvision.modules import VisionModule
from tabvision.nets.body import Body
from tabvision.schema import Image, Schema, Target
from tabvision.tasks import Multiclass
from tests.made.modules import Saver, different, make_module
from tests.made.trainers import MakeTrainer

EPOCHS, PER_EPOCH = 4, 2
SIZES: dict[int, int | tuple[int, int]] = {0: 4, 1: (6, 8), 3: 12}


class SizedLoader:
    """Images scaled to the size that the data has when a pass begins; a fit can resume within an epoch."""

    def __init__(self, data: SizedData, *, shuffle: bool) -> None:
        generator = torch.Generator().manual_seed(3)
        images, targets = torch.randn(16, 3, 12, 12, generator=generator), torch.arange(16) % 3
        self.rows = TensorLoader({"image": images, "target": targets}, batch_size=8, shuffle=shuffle)
        self.batch_sampler = self.rows.batch_sampler
        self.data = data

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        size = self.data.size
        for batch in self.rows:
            yield {"image": nn.functional.interpolate(batch["image"], size), "target": batch["target"]}

    def state_dict(self) -> dict[str, int]:
        return self.rows.state_dict()

    def load_state_dict(self, state_dict: Mapping[str, int]) -> None:
        self.rows.load_state_dict(state_dict)


class SizedData(pl.LightningDataModule):
    """A user's own datamodule that can change the size of its images."""

    def __init__(self) -> None:
        super().__init__()
        self.size = (12, 12)

    def set_size(self, size: tuple[int, int]) -> None:
        self.size = size

    @override
    def train_dataloader(self) -> SizedLoader:
        return SizedLoader(self, shuffle=True)

    @override
    def val_dataloader(self) -> SizedLoader:
        return SizedLoader(self, shuffle=False)


class WithSchema(SizedData):
    """One that knows its images' size, or that it has none."""

    def __init__(self, image: Image | None) -> None:
        super().__init__()
        self.schema = Schema(target=Target(columns=("y",), task=Multiclass(3), classes=(0, 1, 2)), image=image)


class Looker(pl.LightningModule):
    """Notes the sizes it trains and validates on."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Dropout(0.3))
        self.head = nn.Linear(4, 3)
        self.trained: list[tuple[int, ...]] = []
        self.validated: list[tuple[int, ...]] = []

    def loss(self, batch: dict[str, Tensor]) -> Tensor:
        return nn.functional.cross_entropy(self.head(self.body(batch["image"]).mean(dim=(2, 3))), batch["target"])

    @override
    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        self.trained.append(tuple(batch["image"].shape[2:]))
        return self.loss(batch)

    @override
    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        self.validated.append(tuple(batch["image"].shape[2:]))
        self.log("val/loss", self.loss(batch))

    @override
    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=1e-2)


def fit(
    make: MakeTrainer, data: pl.LightningDataModule, *more: pl.Callback, ckpt_path: Path | None = None, **settings: Any
) -> Looker:
    torch.manual_seed(1 if ckpt_path is None else 99)
    module = Looker()
    callbacks = [ProgressiveResize(SIZES), ExactResume(), *more]
    trainer = make(callbacks=callbacks, **({"max_epochs": EPOCHS} | settings))
    trainer.fit(module, data, ckpt_path=ckpt_path, weights_only=True)
    return module


def of_epochs(*sizes: tuple[int, int], steps: int = PER_EPOCH) -> list[tuple[int, int]]:
    return [size for size in sizes for _ in range(steps)]


def test_each_epoch_trains_and_validates_at_its_size(quick_trainer: MakeTrainer) -> None:
    data = SizedData()

    module = fit(quick_trainer, data)

    assert module.trained == of_epochs((4, 4), (6, 8), (6, 8), (12, 12))
    assert module.validated == of_epochs((4, 4), (4, 4), (6, 8), (6, 8), (12, 12)), "the first is the sanity check"
    assert data.size == (12, 12)


@pytest.mark.parametrize(
    "steps", [[PER_EPOCH, PER_EPOCH + 1], pytest.param(range(1, EPOCHS * PER_EPOCH), marks=pytest.mark.slow)]
)
def test_a_fit_resumed_at_any_step_has_the_right_size_and_ends_bit_for_bit(
    steps: Iterable[int], quick_trainer: MakeTrainer, tmp_path: Path
) -> None:
    whole = fit(quick_trainer, SizedData(), Saver(tmp_path))

    for step in steps:
        resumed = fit(quick_trainer, SizedData(), ckpt_path=tmp_path / f"step={step}.ckpt")
        assert resumed.trained == whole.trained[step:]
        assert not different(whole.state_dict(), resumed.state_dict())


def test_a_fit_that_breaks_off_leaves_the_last_size(quick_trainer: MakeTrainer) -> None:
    class Broken(pl.Callback):
        @override
        def on_train_batch_end(self, *args: Any) -> None:
            raise RuntimeError("out of paper")

    data = SizedData()
    with pytest.raises(RuntimeError, match="out of paper"):
        fit(quick_trainer, data, Broken())

    assert data.size == (12, 12)


def test_validating_after_the_fit_uses_the_last_size(quick_trainer: MakeTrainer) -> None:
    data, module = SizedData(), Looker()
    trainer = quick_trainer(callbacks=[ProgressiveResize(SIZES)], max_epochs=EPOCHS, num_sanity_val_steps=0)
    trainer.fit(module, data)
    module.validated.clear()

    trainer.validate(module, data, verbose=False)

    assert module.validated == of_epochs((12, 12))


def test_the_size_that_the_schema_names_may_be_the_last(quick_trainer: MakeTrainer) -> None:
    module = fit(quick_trainer, WithSchema(Image(size=(12, 12))))

    assert module.trained[-1] == (12, 12)


def test_a_fast_dev_run_needs_no_last_stage(quick_trainer: MakeTrainer) -> None:
    data = SizedData()

    module = fit(quick_trainer, data, fast_dev_run=1)

    assert module.trained == [(4, 4)]
    assert data.size == (12, 12), "whatever ends a fit, the data has its last size again"


# What is refused.


@pytest.mark.parametrize(
    ("image", "sentence"),
    [
        (
            Image(size=(24, 24)),
            "the last size must be the data's, 24 x 24, got 12 x 12. Build the data with size=12, or",
        ),
        (None, "the data has no images. Leave this callback out, or pass an ImageDataModule"),
    ],
)
def test_a_last_size_that_is_not_the_datas_is_refused(
    image: Image | None, sentence: str, quick_trainer: MakeTrainer
) -> None:
    with pytest.raises(BadValueError, match=sentence.replace(".", r"\.")):
        fit(quick_trainer, WithSchema(image))


def test_a_last_size_that_no_epoch_reaches_is_refused(quick_trainer: MakeTrainer) -> None:
    with pytest.raises(
        BadValueError, match=r"the last size starts in epoch 3, which max_epochs=3 does not reach\. Train f"
    ):
        fit(quick_trainer, SizedData(), max_epochs=3)


class Patches(nn.Module):
    """Takes sides that 4 divides and that are 8 at least, as a ViT with absolute positions does."""

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.layer = nn.Conv2d(channels, 4, 4, stride=4)

    @override
    def forward(self, image: Tensor) -> Tensor:
        assert min(image.shape[2:]) >= 8, "Input is too small"
        assert image.shape[2] % 4 == 0, f"Input height ({image.shape[2]}) should be divisible by patch size (4)."
        features: Tensor = self.layer(image)
        return features


class TakesImages(Looker):
    """A user's own module with another name for its body, whose input is images."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = Patches()

    @override
    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.head(self.backbone(image).mean(dim=(2, 3)))
        return logits

    @override
    def loss(self, batch: dict[str, Tensor]) -> Tensor:
        return nn.functional.cross_entropy(self(batch["image"]), batch["target"])


def vision(channels: int = 3, **settings: Any) -> VisionModule:
    target = Target(columns=("y",), task=Multiclass(3), classes=(0, 1, 2))
    image = Image(size=(12, 12), channels=channels)
    return VisionModule(Schema(target=target, image=image), num_groups=2, **settings)


def flat(num_features: int, num_outputs: int) -> nn.Module:
    """A head that knows the size of the features."""
    return nn.Sequential(nn.Flatten(), nn.Linear(num_features * 3 * 3, num_outputs))


@pytest.mark.parametrize(
    ("make", "sizes", "sentence"),
    [
        (
            lambda: vision(body=Patches()),
            {0: 8, 1: 10, 2: 12},
            r"from epoch 1 on, .* 10 x 10 pixels \(Input height \(10\)",
        ),
        (
            lambda: vision(body=Patches(), head=flat),
            {0: 8, 1: 12},
            r"from epoch 0 on, .* 8 x 8 pixels \(.*mat1 and mat2",
        ),
        (
            lambda: vision(1, body=Body(Patches(1), in_channels=1)),
            {0: 8, 1: 10, 2: 12},
            "from epoch 1 on, .* 10 x 10 pixels",
        ),
        (TakesImages, {0: 8, 1: 10, 2: 12}, r"from epoch 1 on, .* 10 x 10 pixels \(Input height \(10\) should be"),
    ],
)
def test_a_size_that_the_network_does_not_take_is_refused_before_the_fit(
    make: Any, sizes: dict[int, int], sentence: str, quick_trainer: MakeTrainer
) -> None:
    module = make()
    trainer = quick_trainer(max_epochs=EPOCHS, callbacks=[ProgressiveResize(sizes)])

    with pytest.raises(BadValueError, match=f"ProgressiveResize: {sentence}"):
        trainer.fit(module, SizedData())

    assert trainer.global_step == 0
    assert module.training


def test_a_network_that_takes_every_size_trains_at_them(quick_trainer: MakeTrainer) -> None:
    module = TakesImages()

    quick_trainer(max_epochs=2, callbacks=[ProgressiveResize({0: 8, 1: 12})]).fit(module, SizedData())

    assert module.trained == of_epochs((8, 8), (12, 12))


def test_data_that_cannot_change_size_are_refused_as_are_loaders_alone(quick_trainer: MakeTrainer) -> None:
    data = pl.LightningDataModule.from_datasets(TensorDataset(torch.zeros(4, 3)))
    trainer = quick_trainer(callbacks=[ProgressiveResize({0: 12})])
    with pytest.raises(BadTypeError, match="LightningDataModule has no set_size"):
        trainer.fit(make_module(), data)

    trainer = quick_trainer(callbacks=[ProgressiveResize({0: 12})])
    with pytest.raises(BadTypeError, match="it needs a datamodule, got only loaders"):
        trainer.fit(make_module(), SizedData().train_dataloader())


def test_two_that_set_the_size_are_refused(quick_trainer: MakeTrainer) -> None:
    with pytest.raises(BadValueError, match="only one callback may set the image size, got ProgressiveResize and Pro"):
        fit(quick_trainer, SizedData(), ProgressiveResize({0: 12}))
