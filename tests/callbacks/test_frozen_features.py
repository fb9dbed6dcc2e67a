"""Features of a frozen body, computed once: what a batch has, what stays equal to the bit, and when images are read again."""

import copy
import logging
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor, nn
from typing_extensions import override

from tabvision.callbacks import ExactResume, FineTune, FrozenFeatures, MixUp, ProgressiveResize, Unfreeze
from tabvision.data import ImageDataModule
from tabvision.errors import BadValueError
from tabvision.modules import VisionModule
from tests.made.commands import Forked
from tests.made.images import write_folder
from tests.made.modules import different
from tests.made.processes import both_ranks, on_two
from tests.made.processes_features import features_of, write_many
from tests.made.trainers import MakeTrainer, quiet_trainer


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("frozen") / "photos", {"cat": 10, "dog": 12})


def make(photos: Path, **settings: Any) -> tuple[VisionModule, ImageDataModule]:
    data = ImageDataModule(photos, **{"size": 32, "batch_size": 4, "verbose": False, "num_workers": 0, **settings})
    torch.manual_seed(0)
    return VisionModule(data.schema, body="test_resnet", weights=None), data


class Batches(pl.Callback):
    """The batches of each epoch, and what the frozen body makes of those with images."""

    def __init__(self) -> None:
        self.trained: dict[int, list[dict[str, Tensor]]] = {}
        self.validated: dict[int, list[dict[str, Tensor]]] = {}

    @override
    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.note(self.trained.setdefault(trainer.current_epoch, []), pl_module, batch)

    @override
    def on_validation_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, *args: Any) -> None:
        if not trainer.sanity_checking:
            self.note(self.validated.setdefault(trainer.current_epoch, []), pl_module, batch)

    def note(self, seen: list[dict[str, Tensor]], module: VisionModule, batch: Any) -> None:
        found = dict(batch)
        if "image" in batch:
            with torch.no_grad():
                found["features"] = module.pooled(copy.deepcopy(module.body).eval()(batch["image"]))
        seen.append(found)


def fitted(
    photos: Path,
    callbacks: Sequence[pl.Callback],
    *,
    max_epochs: int = 3,
    ckpt_path: Path | None = None,
    **settings: Any,
) -> VisionModule:
    module, data = make(photos, **settings)
    saves = any(isinstance(callback, ModelCheckpoint) for callback in callbacks)
    torch.manual_seed(1)
    trainer = quiet_trainer(max_epochs=max_epochs, callbacks=list(callbacks), enable_checkpointing=saves)
    trainer.fit(module, data, ckpt_path=ckpt_path, weights_only=True)
    return module


def test_frozen_epochs_have_the_features_of_their_view_and_others_have_images(photos: Path) -> None:
    with_features, without = Batches(), Batches()

    fitted(photos, [FrozenFeatures(views=2), FineTune(3), with_features], max_epochs=4)
    fitted(photos, [FineTune(3), without], max_epochs=4)

    for epoch in range(3):
        for seen, plain in ((with_features.trained, without.trained), (with_features.validated, without.validated)):
            for batch, other in zip(seen[epoch], plain[epoch], strict=True):
                assert "image" not in batch
                assert torch.equal(batch["index"], other["index"])
                assert torch.equal(batch["target"], other["target"])
    assert near(with_features.trained[1], without.trained[1])  # view 1 is the epoch's own
    assert not near(with_features.trained[0], without.trained[0])  # view 0 is plain
    for epoch in range(3):
        assert near(with_features.validated[epoch], without.validated[epoch])
    assert by_row(with_features.trained[0]).keys() == by_row(with_features.trained[2]).keys()
    assert all(
        torch.equal(it, by_row(with_features.trained[2])[row]) for row, it in by_row(with_features.trained[0]).items()
    )
    for seen in (with_features.trained, with_features.validated):
        assert all("image" in batch for batch in seen[3])


def near(some: list[dict[str, Tensor]], others: list[dict[str, Tensor]]) -> bool:
    return all(
        torch.allclose(one["features"], other["features"], atol=1e-4) for one, other in zip(some, others, strict=True)
    )


def by_row(batches: list[dict[str, Tensor]]) -> dict[int, Tensor]:
    return {int(row): it for batch in batches for row, it in zip(batch["index"], batch["features"], strict=True)}


class Forgetful(pl.Callback):
    """Has features computed anew in each epoch."""

    def __init__(self, frozen: FrozenFeatures) -> None:
        self.frozen = frozen

    @override
    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.frozen._kept = {}


def test_features_kept_and_computed_anew_train_the_same_to_the_bit(photos: Path) -> None:
    frozen = FrozenFeatures(views=2)

    kept = fitted(photos, [FineTune(3), FrozenFeatures(views=2)], max_epochs=4)
    anew = fitted(photos, [FineTune(3), frozen, Forgetful(frozen)], max_epochs=4)

    assert not different(kept.state_dict(), anew.state_dict())


@pytest.mark.filterwarnings("ignore:Checkpoint directory")
@pytest.mark.parametrize("steps", [[5], pytest.param([2, 10, 13, 15], marks=pytest.mark.slow)])
def test_a_resumed_fit_ends_with_the_same_bits(steps: list[int], photos: Path, tmp_path: Path) -> None:
    def fit(ckpt_path: Path | None = None) -> VisionModule:
        saver = ModelCheckpoint(tmp_path, filename="{step}", every_n_train_steps=1, save_top_k=-1)
        callbacks = [FineTune(3), FrozenFeatures(views=2), ExactResume(), saver]
        return fitted(photos, callbacks, max_epochs=4, ckpt_path=ckpt_path)

    whole = fit()

    for step in steps:
        resumed = fit(tmp_path / f"step={step}.ckpt")
        assert not different(whole.state_dict(), resumed.state_dict()), step


def test_files_that_cannot_be_read_are_left_out_as_elsewhere(tmp_path: Path) -> None:
    broken = write_folder(tmp_path / "photos", {"cat": 10, "dog": 12})
    (broken / "cat" / "cat_003.jpg").write_bytes(b"no image")
    with_features, without = Batches(), Batches()

    fitted(broken, [FrozenFeatures(), FineTune(1), with_features], bad_share=0.1, batch_size=2, max_epochs=2)
    fitted(broken, [FineTune(1), without], bad_share=0.1, batch_size=2, max_epochs=2)

    for seen, plain in ((with_features.trained, without.trained), (with_features.validated, without.validated)):
        rows, others = ([batch["index"].tolist() for batch in batches[1]] for batches in (seen, plain))
        assert rows == others


def test_too_large_features_are_told_and_computed_as_without(photos: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "tabvision"):
        large = fitted(photos, [FrozenFeatures(2, most_gb=1e-6), FineTune(2)])
    without = fitted(photos, [FineTune(2)])

    assert not different(large.state_dict(), without.state_dict())
    (told,) = (record.message for record in caplog.records if "FrozenFeatures" in record.message)
    assert "more than most_gb=1e-06, so they are computed anew" in told


def test_beside_mixup_only_validation_features_are_kept_and_the_fit_is_as_without(
    photos: Path, caplog: pytest.LogCaptureFixture
) -> None:
    seen = Batches()

    with caplog.at_level(logging.INFO, "tabvision"):
        kept = fitted(photos, [FineTune(2), MixUp(), FrozenFeatures(2, most_gb=2e-5), seen])
    without = fitted(photos, [FineTune(2), MixUp()])

    assert not different(kept.state_dict(), without.state_dict())
    assert "image" in seen.trained[0][0]
    assert "image" not in seen.validated[1][0]
    assert any("MixUp blends images, so the features of training images" in record.message for record in caplog.records)


def test_after_the_fit_images_are_read(photos: Path, quick_trainer: MakeTrainer) -> None:
    module, data = make(photos)
    seen, frozen = Batches(), FrozenFeatures()
    trainer = quick_trainer(max_epochs=2, limit_train_batches=1, callbacks=[FineTune(1), frozen, seen])

    trainer.fit(module, data)
    trainer.validate(module, data, verbose=False)

    assert not frozen._kept
    assert "image" in seen.validated[2][0]


def test_sizes_that_grow_within_the_frozen_epochs_have_features_of_their_own(photos: Path) -> None:
    seen = Batches()

    fitted(photos, [FrozenFeatures(), FineTune(2), ProgressiveResize({0: 32, 1: 96}), seen], size=96)

    first, second = by_row(seen.trained[0]), by_row(seen.trained[1])
    assert not any(torch.allclose(first[row], second[row], atol=1e-3) for row in first)


class Own(pl.LightningModule):
    """A module of a user's own, with the two methods."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(4, 2)
        self.num_images = 0

    def features(self, batch: dict[str, Tensor]) -> Tensor:
        self.num_images += len(batch["image"])
        found: Tensor = self.body(batch["image"])
        return found

    @override
    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        logits: Tensor = self.head(batch["features"] if "features" in batch else self.features(batch))
        return logits

    @override
    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        return nn.functional.cross_entropy(self(batch), batch["target"].long().reshape(-1))

    @override
    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        self(batch)

    @override
    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_a_module_of_ones_own_sees_each_image_once_a_view(photos: Path, quick_trainer: MakeTrainer) -> None:
    data, module = make(photos)[1], Own()
    callbacks = [Unfreeze(4, groups=lambda own: [own.body, own.head]), FrozenFeatures(views=2)]

    quick_trainer(max_epochs=4, callbacks=callbacks).fit(module, data)

    assert module.num_images == 2 * len(data.parts["train"].rows) + len(data.parts["val"].rows)


@pytest.mark.parametrize(
    ("callbacks", "problem"),
    [([], "nothing freezes the body"), ([FineTune(batch_norm="train")], "change from step to step")],
)
def test_what_cannot_be_kept_is_refused(callbacks: list[pl.Callback], problem: str, photos: Path) -> None:
    with pytest.raises(BadValueError, match=f"FrozenFeatures: .*{problem}"):
        fitted(photos, [*callbacks, FrozenFeatures()])


@pytest.mark.slow
def test_two_ranks_have_the_features_of_one_to_the_bit_and_equal_weights(tmp_path: Path) -> None:
    write_many(tmp_path)
    first, second = both_ranks(on_two("features", tmp_path))

    alone, _ = features_of(tmp_path, devices=1)

    assert alone.keys() == first["features"].keys() == second["features"].keys()
    assert set(map(len, alone.values())) == {144}
    for rank in (first, second):
        assert not different(alone, rank["features"])
    assert not different(first["state"], second["state"])
    kept = sorted(file.name for file in (tmp_path / "kept").iterdir())
    read, _ = features_of(tmp_path, devices=1, folder=tmp_path / "kept")
    assert not different(alone, read)
    assert kept == sorted(file.name for file in (tmp_path / "kept").iterdir())  # nothing was computed again


def test_features_on_disk_are_read_by_the_next_fit_with_the_same_bits(photos: Path, tmp_path: Path) -> None:
    def fit(**settings: Any) -> VisionModule:
        return fitted(photos, [FrozenFeatures(views=2, folder=tmp_path), FineTune(2)], max_epochs=3, **settings)

    plain = fitted(photos, [FrozenFeatures(views=2), FineTune(2)], max_epochs=3)
    first = fit()
    files = {file: file.stat().st_mtime_ns for file in tmp_path.iterdir()}
    again = fit()

    assert len(files) == 3  # of two views, and of validation images
    assert files == {file: file.stat().st_mtime_ns for file in tmp_path.iterdir()}
    assert not different(plain.state_dict(), first.state_dict())
    assert not different(plain.state_dict(), again.state_dict())
    fit(seed=1)  # another split and augmentation
    fit(size=40)
    assert len([*tmp_path.iterdir()]) == 9
    for file in files:
        file.write_bytes(b"damaged")
    with pytest.raises(BadValueError, match="cannot be read"):
        fit()

    with pytest.raises(BadValueError, match="got the file"):
        FrozenFeatures(folder=next(iter(files)))


def test_features_on_disk_are_mapped_and_one_that_is_cut_short_meanwhile_is_a_sentence(
    photos: Path, tmp_path: Path
) -> None:
    class Cut(pl.Callback):
        @override
        def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            for file in tmp_path.iterdir() if trainer.current_epoch == 1 else ():
                os.truncate(file, 0)

    def fit() -> int:
        with pytest.raises(BadValueError, match=r"pt' was cut short to 0 of [\d,]+ bytes while it was read"):
            fitted(photos, [FrozenFeatures(folder=tmp_path), FineTune(2), Cut()], max_epochs=3)
        return 0

    status, _, told = Forked(fit).ended(120)
    assert (status, told) == (0, "")


def test_photos_of_the_same_size_and_time_are_told_apart(photos: Path, tmp_path: Path) -> None:
    shutil.copytree(photos, own := tmp_path / "photos")
    photo = sorted(own.rglob("*.*"))[0]

    def fit() -> int:
        fitted(own, [FrozenFeatures(folder=tmp_path / "kept"), FineTune(1)], max_epochs=2)
        return len([*(tmp_path / "kept").iterdir()])

    assert [fit(), fit()] == [2, 2]
    facts, whole = photo.stat(), bytearray(photo.read_bytes())
    whole[len(whole) // 2] ^= 1
    photo.write_bytes(whole)
    os.utime(photo, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert fit() > 2


def test_a_folder_of_features_is_not_filled_beyond_its_limit(
    photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "old.pt").write_bytes(bytes(1_000_000))

    with caplog.at_level(logging.INFO, "tabvision"):
        fitted(photos, [FrozenFeatures(folder=tmp_path, most_gb=1e-3), FineTune(1)], max_epochs=2)

    assert "would hold more than most_gb=0.001" in caplog.text
    assert [file.name for file in tmp_path.iterdir()] == ["old.pt"]
