"""The datamodule of images under a Trainer: finished batches, resumed to the bit, with a cache and without."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import CSVLogger
from torch import Tensor, nn
from typing_extensions import override

from tabvision.callbacks import ExactResume
from tabvision.errors import BadValueError
from tabvision.tuning import lr_find
from tests.made.images import make, write_folder
from tests.made.trainers import MakeTrainer, quiet_trainer


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "photos", {"ants": 12, "bees": 8})


class Net(pl.LightningModule):
    """Sees what a module sees, and learns something."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.layer = nn.Linear(3, 2)
        self.seen: list[dict[str, Tensor]] = []

    @override
    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        self.seen.append(batch)
        return nn.functional.cross_entropy(self.layer(batch["image"].mean(dim=(2, 3))), batch["target"])

    @override
    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        self.seen.append(batch)

    @override
    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class SaveAt(pl.Callback):
    """Saves after that many steps."""

    def __init__(self, steps: int, file: Path) -> None:
        self.steps, self.file = steps, file

    @override
    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        if trainer.global_step == self.steps:
            trainer.save_checkpoint(self.file)


@pytest.mark.parametrize("cache", [None, "memory", "folder"])
@pytest.mark.parametrize("device_augment", [False, True])
def test_a_module_gets_finished_images(
    photos: Path, tmp_path: Path, cache: Any, device_augment: bool, quick_trainer: MakeTrainer
) -> None:
    data = make(
        photos,
        cache=tmp_path / "cache" if cache == "folder" else cache,
        device_augment=device_augment,
        augment="strong",
        normalize=([0.5] * 3, [0.25] * 3),
    )
    net = Net()

    quick_trainer(max_epochs=2, num_sanity_val_steps=0).fit(net, data)

    assert len(net.seen) == 2 * (len(data.train_dataloader()) + 1)
    for batch in net.seen:
        assert batch.keys() == {"image", "target", "index"}
        assert (batch["image"].shape[1:], batch["image"].dtype) == ((3, 8, 8), torch.float32)
        assert batch["image"].is_contiguous(memory_format=torch.channels_last)
        assert -6 < float(batch["image"].min()) < float(batch["image"].max()) < 6


@pytest.mark.parametrize("cache", ["memory", "folder"])
def test_evaluation_sees_the_same_pixels_with_a_cache(photos: Path, tmp_path: Path, cache: str) -> None:
    plain = make(photos, cache=None)
    kept = make(photos, cache=tmp_path / "cache" if cache == "folder" else cache)

    for _ in range(2):
        for one, other in zip(plain.loader("val"), kept.loader("val"), strict=True):
            assert torch.equal(one["image"], other["image"])


@pytest.mark.parametrize("cache", ["memory", "folder"])
def test_a_cached_epoch_is_varied_as_if_nothing_were_kept(photos: Path, tmp_path: Path, cache: str) -> None:
    wish: Any = tmp_path / "cache" if cache == "folder" else cache
    data, fresh = make(photos, cache=wish), make(photos, cache="memory")
    loader, other = data.train_dataloader(), fresh.train_dataloader()
    list(loader)
    other.batch_sampler.sampler.set_epoch(1)

    for one, two in zip(loader, other, strict=True):
        assert torch.equal(one["image"], two["image"])


def test_the_size_changes_from_the_next_pass_on(photos: Path) -> None:
    data = make(photos)
    loader = data.train_dataloader()
    passing = iter(loader)
    next(passing)

    data.set_size((10, 12))

    assert next(passing)["image"].shape[2:] == (8, 8)
    assert next(iter(loader))["image"].shape[2:] == (10, 12)
    assert next(iter(data.loader("val")))["image"].shape[2:] == (10, 12)


def test_statistics_come_from_the_module_first(photos: Path, quick_trainer: MakeTrainer) -> None:
    data, net = make(photos, normalize=([0.0] * 3, [1.0] * 3)), Net()
    net.schema = make(photos, normalize=([0.0] * 3, [0.5] * 3)).schema  # type: ignore[assignment]
    plain = Net()
    quick_trainer(num_sanity_val_steps=0).fit(net, data)
    quick_trainer(num_sanity_val_steps=0).fit(plain, data)

    torch.testing.assert_close(net.seen[0]["image"], plain.seen[0]["image"] * 2)


def test_damaged_files_are_listed_in_the_trainer_s_folder(
    photos: Path, tmp_path: Path, quick_trainer: MakeTrainer
) -> None:
    (photos / "ants" / "ants_000.jpg").write_bytes(b"")
    data, net = make(photos, bad_share=0.1, split=None), Net()

    quick_trainer(max_epochs=2).fit(net, data)

    listed = pd.read_csv(tmp_path / "bad_files.csv")
    assert listed.to_dict("records") == [{"image": str(photos / "ants" / "ants_000.jpg"), "reason": "0 bytes"}]
    assert sum(len(batch["index"]) for batch in net.seen) == 2 * 19
    with pytest.raises(
        BadValueError, match=r"ImageDataModule: 1 of 20 images cannot be read so far, more than bad_share=0"
    ):
        quick_trainer().fit(Net(), make(photos, split=None, bad_share=0))


def test_damaged_files_are_listed_in_the_run_s_folder_and_over_no_file_of_the_user_s(
    photos: Path, tmp_path: Path, quick_trainer: MakeTrainer, caplog: pytest.LogCaptureFixture
) -> None:
    (photos / "ants" / "ants_000.jpg").write_bytes(b"")
    own = tmp_path / "bad_files.csv"
    own.write_text("mine")

    quick_trainer(max_epochs=1, logger=CSVLogger(tmp_path / "runs"), log_every_n_steps=1).fit(
        Net(), make(photos, bad_share=0.1)
    )
    data = make(photos, bad_share=0.1, verbose=True)
    quick_trainer(max_epochs=2).fit(Net(), data)

    assert own.read_text() == "mine"
    assert len(pd.read_csv(tmp_path / "runs/lightning_logs/version_0/bad_files.csv")) == len(data.bad_files) == 1
    sentence = f"1 file left out as unreadable; {str(own)!r} already existed and is kept."
    assert sum(sentence in record.message for record in caplog.records) == 1


def test_a_run_without_a_folder_writes_no_list_into_the_working_directory(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (photos / "ants" / "ants_000.jpg").write_bytes(b"")
    data = make(photos, bad_share=0.1)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    quiet_trainer(max_epochs=1).fit(Net(), data)
    lr_find(quiet_trainer(), Net(), data, num_steps=20)

    assert len(data.bad_files) == 1
    assert not list(Path().iterdir())


@pytest.mark.parametrize("workers", [(0, 2), (3, 1)])
@pytest.mark.parametrize("steps", [2, 6])
def test_a_resumed_fit_ends_bit_for_bit_where_the_whole_one_does(
    photos: Path, tmp_path: Path, workers: tuple[int, int], steps: int, quick_trainer: MakeTrainer
) -> None:
    whole, first, second = Net(), Net(), Net()
    runs = [make(photos, augment="strong", num_workers=num) for num in (1, *workers)]
    settings: dict[str, Any] = {"max_epochs": 2, "num_sanity_val_steps": 0, "limit_val_batches": 0}
    quick_trainer(**settings).fit(whole, runs[0])
    file = tmp_path / "saved.ckpt"
    quick_trainer(**settings | {"callbacks": [SaveAt(steps, file), ExactResume()]}).fit(first, runs[1])

    resumed = quick_trainer(**settings | {"callbacks": [ExactResume()]})
    resumed.fit(second, runs[2], ckpt_path=file)

    assert len(second.seen) == len(whole.seen) - steps
    for one, other in zip(whole.seen[steps:], second.seen, strict=True):
        assert torch.equal(one["index"], other["index"])
        assert torch.equal(one["image"], other["image"])
    assert torch.equal(whole.layer.weight, second.layer.weight)


@pytest.mark.parametrize("precision", ["64-true", "bf16-true"])
def test_images_come_in_the_precision_of_the_trainer(photos: Path, quick_trainer: MakeTrainer, precision: Any) -> None:
    net = Net()

    quick_trainer(precision=precision).fit(net, make(photos))

    assert {batch["image"].dtype for batch in net.seen} == {net.layer.weight.dtype}
    assert net.layer.weight.dtype != torch.float32
    assert all(batch["image"].is_contiguous(memory_format=torch.channels_last) for batch in net.seen)


def darkened(images: Tensor, numbers: Tensor) -> Tensor:
    """An augmentation of a user: each image darker by its own first number."""
    return (images * numbers[:, :1, None, None]).to(torch.uint8)


def seen_by(net: Net) -> list[dict[int, Tensor]]:
    """What a module saw of each row, in each of two epochs."""
    half = len(net.seen) // 2
    return [
        {int(row): image for batch in part for row, image in zip(batch["index"], batch["image"], strict=True)}
        for part in (net.seen[:half], net.seen[half:])
    ]


@pytest.mark.parametrize("device_augment", [False, True])
def test_an_own_augmentation_varies_training_by_row_and_epoch_and_leaves_evaluation(
    photos: Path, device_augment: bool, quick_trainer: MakeTrainer
) -> None:
    nets = {"by fours": Net(), "by fives": Net(), "plain": Net()}
    for name, net in nets.items():
        settings: dict[str, Any] = {
            "augment": "none" if name == "plain" else darkened,
            "device_augment": device_augment,
        }
        data = make(photos, batch_size=5 if name == "by fives" else 4, split=0.25, **settings)
        quick_trainer(max_epochs=2, num_sanity_val_steps=0).fit(net, data)
    train, val = (data.parts[part].rows.tolist() for part in ("train", "val"))

    (first, later), fives, (plain, _) = map(seen_by, nets.values())
    assert all(torch.equal(first[row], fives[0][row]) for row in (*train, *val))  # whatever the batch
    assert all(torch.equal(first[row], plain[row]) for row in val)
    assert not any(torch.equal(first[row], plain[row]) or torch.equal(first[row], later[row]) for row in train)


def test_shown_images_are_varied_by_an_own_augmentation_as_well(photos: Path) -> None:
    black = make(photos, augment=lambda images, _: torch.zeros_like(images)).show_batch(2)

    assert not any(image.any() for image, _ in black)


def test_a_checkpoint_names_an_own_augmentation_and_does_not_hold_it(photos: Path) -> None:
    facts = make(photos, augment=darkened).checkpoint_facts()

    assert facts == {
        "augment": make(photos, augment="none").checkpoint_facts()["augment"],
        "own_augmentation": "darkened",
    }
