"""Resumed with a DataLoader of the user's own, which shuffles and augments by the global random state, in workers too."""

from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from typing_extensions import override

from tabvision.callbacks import ExactResume, OneCycle, Unfreeze
from tests.made.modules import STEPS, Saver, UserModule, Validated, different, make_loader, three_groups
from tests.made.sweeps import slow_but
from tests.made.trainers import MakeTrainer

EPOCHS = 3


class Noisy(Dataset[dict[str, Tensor]]):
    """Rows with noise that differs each time they are asked for."""

    def __init__(self) -> None:
        loader = make_loader(shuffle=False)
        self.x, self.y = loader.tensors["x"], loader.tensors["y"]

    def __len__(self) -> int:
        return len(self.y)

    @override
    def __getitem__(self, row: int) -> dict[str, Tensor]:
        return {"x": self.x[row] + 0.1 * torch.randn(3), "y": self.y[row]}


class SaverOfEpochs(Saver):
    """A checkpoint at the end of each epoch as well."""

    @override
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        trainer.save_checkpoint(self.folder / f"epoch={trainer.global_step}.ckpt")


def fit(
    num_workers: int, quick_trainer: MakeTrainer, *, save_to: Path | None = None, ckpt_path: Path | None = None
) -> UserModule:
    torch.manual_seed(1 if ckpt_path is None else 99)  # a process that resumes has random states of its own
    module = Validated("sgd", dropout=0.3)
    staged = [Unfreeze(1, groups=three_groups), OneCycle(0.05), ExactResume()]
    savers = [SaverOfEpochs(save_to)] if save_to else []
    trainer = quick_trainer(max_epochs=EPOCHS, callbacks=[*staged, *savers], num_sanity_val_steps=2)
    train, val = (DataLoader(Noisy(), 8, shuffle=shuffle, num_workers=num_workers) for shuffle in (True, False))
    trainer.fit(module, train, val, ckpt_path=ckpt_path, weights_only=True)
    assert trainer.global_step == EPOCHS * STEPS
    return module


@pytest.mark.parametrize("num_workers", slow_but([0], [0, 2]))
def test_resumed_from_the_end_of_an_epoch_it_ends_with_the_same_bits(
    num_workers: int, tmp_path: Path, quick_trainer: MakeTrainer
) -> None:
    whole = fit(num_workers, quick_trainer, save_to=tmp_path)

    for name in ("step", "epoch"):
        for step in (STEPS, 2 * STEPS):
            resumed = fit(num_workers, quick_trainer, ckpt_path=tmp_path / f"{name}={step}.ckpt")
            assert not different(whole.state_dict(), resumed.state_dict()), (name, step)


@pytest.mark.parametrize("step", [1, 2, STEPS + 2])
def test_the_numbers_that_a_due_validation_draws_are_drawn_before_the_next_step(
    step: int, tmp_path: Path, quick_trainer: MakeTrainer
) -> None:
    def fitted(ckpt_path: Path | None = None) -> UserModule:
        torch.manual_seed(1 if ckpt_path is None else 99)
        module, callbacks = Validated("sgd", dropout=0.3), [] if ckpt_path else [Saver(tmp_path)]
        trainer = quick_trainer(max_epochs=2, callbacks=[ExactResume(), *callbacks], val_check_interval=2)
        trainer.fit(module, make_loader(), DataLoader(Noisy(), 8), ckpt_path=ckpt_path, weights_only=True)
        return module

    assert not different(fitted().state_dict(), fitted(tmp_path / f"step={step}.ckpt").state_dict())
