"""Fits that go on with other ranks than began them: the same rows, rates and validations, and weights up to rounding."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

from tabvision.callbacks import ExactResume
from tabvision.callbacks.micro_batches import Accumulation
from tabvision.errors import BadValueError
from tests.made.modules import STEPS, Saver, UserModule, make_loader
from tests.made.processes import on_ranks
from tests.made.processes_elastic import EVERY, compared, few, main
from tests.made.trainers import MakeTrainer, quiet_trainer


def test_a_fit_goes_on_with_fewer_ranks_and_with_more(tmp_path: Path) -> None:
    few(tmp_path)
    on_ranks(2, "elastic, few", tmp_path)
    few(tmp_path)

    found = compared(tmp_path)

    assert {"staged: 1 to 2 after 6", "staged: 2 to 1 after 6"} <= {*found}
    assert {key: differs for key, differs in found.items() if differs} == {}


@pytest.mark.slow
def test_from_every_step_with_every_kind_of_fit(tmp_path: Path) -> None:
    main(tmp_path)
    on_ranks(2, "elastic", tmp_path)
    on_ranks(4, "elastic", tmp_path)
    main(tmp_path)

    found = compared(tmp_path)

    moves = {
        f"{name}: {before} to {after} after {step}" for name, each in EVERY.items() for step, (before, after) in each
    }
    assert moves | {"staged: 2, cut", "staged: 2, first", "staged: 2 to 1 after a cut"} <= {*found}
    assert {key: differs for key, differs in found.items() if differs} == {}


def test_ranks_that_do_not_divide_a_step_are_told_which_do() -> None:
    sentence = "a step of this fit has 4 micro-batches, which 3 ranks .* evenly. Use 1, 2, 4 ranks.*--micro-batches 12"

    with pytest.raises(BadValueError, match=sentence):
        Accumulation(quiet_trainer(devices=3, strategy="ddp"), 4)


class Manual(UserModule):
    """Steps by itself."""

    automatic_optimization = False


@pytest.mark.parametrize(
    ("module", "settings", "sentence"),
    [
        (UserModule, {}, "the data is not a tabvision datamodule. Use 2 ranks"),
        (Manual, {}, "optimization is manual"),
        (UserModule, {"limit_train_batches": 0.5}, "limit_train_batches=0.5 is a fraction. Pass a number"),
    ],
)
def test_what_cannot_be_divided_says_so(
    module: type[UserModule], settings: dict[str, Any], sentence: str, quick_trainer: MakeTrainer
) -> None:
    trainer = quick_trainer(callbacks=[ExactResume(2)], **settings)
    data: dict[str, Any] = {"datamodule": Rows()} if "tabvision datamodule" not in sentence else {}

    with pytest.raises(BadValueError, match=sentence):
        trainer.fit(module(), None if data else make_loader(), **data)


class Rows(pl.LightningDataModule):
    """Deals micro-batches, as the datamodules of tabvision do."""

    micro_batches: int | None = None

    def train_dataloader(self) -> Any:
        return make_loader()


@pytest.mark.filterwarnings(
    "ignore:ExactResume. the checkpoint was saved by 2 ranks, and this fit has 1 rank. The fit continues"
)
@pytest.mark.parametrize("step", [2, STEPS])
def test_a_loader_of_the_users_own_goes_on_with_other_ranks_from_the_end_of_an_epoch_alone(
    step: int, tmp_path: Path, quick_trainer: MakeTrainer
) -> None:
    quick_trainer(callbacks=[ExactResume(), Saver(tmp_path)]).fit(UserModule(), make_loader())
    path = tmp_path / f"step={step}.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["callbacks"]["ExactResume"]["ranks"] *= 2  # as two would have saved it
    torch.save(checkpoint, path)
    trainer = quick_trainer(callbacks=[ExactResume()], max_epochs=2)
    ends = (
        pytest.raises(BadValueError, match=r"inside an epoch by 2 ranks, .* Resume on 2 ranks")
        if step == 2
        else nullcontext()
    )

    with ends:
        trainer.fit(UserModule(), make_loader(), ckpt_path=path, weights_only=True)

    assert trainer.global_step == (step if step == 2 else 2 * STEPS)


def test_the_trainer_and_the_data_are_left_as_they_were(quick_trainer: MakeTrainer) -> None:
    data, seen = Rows(), []

    class Look(pl.Callback):
        def on_train_start(self, trainer: pl.Trainer, *_: object) -> None:
            seen.append((trainer.accumulate_grad_batches, trainer.limit_train_batches, data.micro_batches))

    trainer = quick_trainer(callbacks=[ExactResume(2), Look()], limit_train_batches=2)
    trainer.fit(UserModule(), datamodule=data)

    assert seen == [(2, 4, 2)]
    assert (trainer.accumulate_grad_batches, trainer.limit_train_batches, data.micro_batches) == (1, 2, None)
    assert trainer.global_step == 2


def test_a_fit_that_fails_within_a_step_saves_the_gradients_of_its_first_micro_batches(
    tmp_path: Path, quick_trainer: MakeTrainer
) -> None:
    class Fails(pl.Callback):
        def on_train_batch_end(self, *_: object) -> None:
            raise ArithmeticError

        def on_exception(self, trainer: pl.Trainer, *_: object) -> None:  # as OnExceptionCheckpoint does
            trainer.save_checkpoint(tmp_path / "failed.ckpt")

    data = Rows()

    with pytest.raises(ArithmeticError):
        quick_trainer(callbacks=[ExactResume(2), Fails()]).fit(UserModule(), datamodule=data)

    state = torch.load(tmp_path / "failed.ckpt", weights_only=True)["callbacks"]["ExactResume"]
    assert state["ranks"][0]["gradients"]
    assert data.micro_batches is None
