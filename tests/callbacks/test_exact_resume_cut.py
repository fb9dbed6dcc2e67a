"""Fits that end inside an epoch, by `max_steps`, by the time or because a callback says so, and then go on."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import (
    EarlyStopping,
    EMAWeightAveraging,
    GradientAccumulationScheduler,
    ModelCheckpoint,
)
from pytorch_lightning.loggers import CSVLogger
from typing_extensions import override

from tabvision.callbacks import AverageAndStop, ExactResume, FineTune, MixUp, OneCycle, Unfreeze
from tabvision.modules import VisionModule
from tests.made.modules import STEPS, Validated, different, make_loader
from tests.made.resumes import EPOCHS, Case, Outcome, differences, outcome_of, parts_of
from tests.made.sweeps import slow_but
from tests.made.trainers import MakeTrainer, quiet_trainer

PER_EPOCH = 6
CASES = {
    "one cycle": Case(),
    "fine tune": Case(lambda: [FineTune(1, base_lr=1e-2)]),
    "validating within epochs": Case(lambda: [FineTune(1)], {"val_check_interval": 2}),
    "accumulation": Case(lambda: [OneCycle()], {"accumulate_grad_batches": 4}),
    "images": Case(lambda: [FineTune(1), MixUp()], {"val_check_interval": 2}, VisionModule),
}


class StopAfter(pl.Callback):
    """Stops a fit after that many batches, as a `Timer` does when its time is up."""

    def __init__(self, batches: int) -> None:
        self.batches = batches

    @override
    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        self.batches -= 1
        trainer.should_stop = self.batches == 0


def fit(case: Case, folder: Path, *more: pl.Callback, ckpt_path: Path | None = None, **settings: Any) -> Outcome:
    """Fit from the start or from a checkpoint, and save `after.ckpt` at the end."""
    pl.seed_everything(1 if ckpt_path is None else 99, verbose=False)  # a process that resumes has its own random state
    folder.mkdir(parents=True)
    module, data = parts_of(case, folder)
    logger = CSVLogger(folder)
    trainer = quiet_trainer(
        callbacks=[*case.callbacks(), ExactResume(), *more],
        enable_checkpointing=any(isinstance(part, ModelCheckpoint) for part in more),
        logger=logger,
        log_every_n_steps=1,
        num_sanity_val_steps=0,
        **{"max_epochs": EPOCHS, **case.settings, **settings},
    )
    trainer.fit(module, data, ckpt_path=ckpt_path, weights_only=True)
    left = outcome_of(trainer, module, folder, logger)
    left.facts.pop("files")
    if not trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
        torch.rand(3)  # as whatever is done between a fit that was cut and the checkpoint may draw
    trainer.save_checkpoint(folder / "after.ckpt")
    return left


FEW = [("fine tune", (9,)), ("validating within epochs", (8,)), ("accumulation", (9,)), ("images", (8,))]
REST = [
    ("one cycle", (8, 9, 13)),
    ("fine tune", (8, 13)),
    ("validating within epochs", (9, 13)),
    ("accumulation", (8, 13)),
    ("images", (13,)),
]


@pytest.mark.parametrize(("name", "each"), slow_but(FEW, [*FEW, *REST]))
def test_a_fit_that_was_told_to_stop_inside_an_epoch_goes_on_to_the_bit(
    name: str, each: tuple[int, ...], tmp_path: Path
) -> None:
    whole = fit(CASES[name], tmp_path / "whole")

    for batches in each:
        fit(CASES[name], tmp_path / f"cut {batches}", StopAfter(batches))
        ckpt_path = tmp_path / f"cut {batches}" / "after.ckpt"
        resumed = fit(CASES[name], tmp_path / f"resumed {batches}", ckpt_path=ckpt_path)
        assert differences(whole, resumed) == [], batches


@pytest.mark.parametrize("step", slow_but([8], [1, 6, 8, 13]))
@pytest.mark.parametrize(
    ("saved", "settings"), [("after.ckpt", {}), ("last.ckpt", {"max_steps": EPOCHS * PER_EPOCH - 1})]
)
def test_a_fit_that_max_steps_ended_inside_an_epoch_goes_on_to_the_bit(
    saved: str, step: int, settings: dict[str, Any], tmp_path: Path
) -> None:
    case = Case(lambda: [Unfreeze({0: 1, 1: 2, 2: "all"})], {"val_check_interval": 2})  # a schedule would end there too
    whole = fit(case, tmp_path / "whole", **settings)
    last = ModelCheckpoint(tmp_path / "cut", save_last=True, save_top_k=0, every_n_epochs=1)
    fit(case, tmp_path / "cut", last, max_steps=step)

    with pytest.warns(match="callbacks used to create the checkpoint"):
        resumed = fit(case, tmp_path / "resumed", ckpt_path=tmp_path / "cut" / saved, **settings)

    assert differences(whole, resumed) == []


@pytest.mark.parametrize("average", [lambda: EMAWeightAveraging(decay=0.8), lambda: AverageAndStop(patience=None)])
def test_a_fit_that_averages_goes_on_from_what_was_saved_before_the_average_replaced_its_weights(
    average: Callable[[], pl.Callback], tmp_path: Path
) -> None:
    case = Case(lambda: [OneCycle(), average()])
    whole = fit(case, tmp_path / "whole")
    last = ModelCheckpoint(tmp_path / "kept", filename="last", save_on_train_epoch_end=True)
    fit(case, tmp_path / "cut", StopAfter(9), last)

    with pytest.warns(match="callbacks used to create the checkpoint"):
        resumed = fit(case, tmp_path / "resumed", ckpt_path=tmp_path / "kept" / "last.ckpt")

    assert differences(whole, resumed) == []


def test_a_fit_that_early_stopping_ended_inside_an_epoch_goes_on_only_without_it(
    tmp_path: Path, quick_trainer: MakeTrainer
) -> None:
    def steps(*callbacks: pl.Callback, ckpt_path: Path | None = None) -> int:
        trainer = quick_trainer(max_epochs=3, val_check_interval=3, callbacks=[ExactResume(), *callbacks])
        trainer.fit(Validated(), make_loader(), make_loader(), ckpt_path=ckpt_path, weights_only=True)
        trainer.save_checkpoint(tmp_path / f"{len(callbacks)}.ckpt")
        return trainer.global_step

    def stopping() -> EarlyStopping:
        return EarlyStopping("val/loss", patience=1, min_delta=100.0)

    stopped = steps(stopping())

    assert stopped == STEPS + 3
    assert steps(stopping(), ckpt_path=tmp_path / "1.ckpt") == stopped
    with pytest.warns(match="callbacks used to create the checkpoint"):
        assert steps(ckpt_path=tmp_path / "1.ckpt") == 3 * STEPS


class FailAt(pl.Callback):
    """Fails in a hook once that many steps are done."""

    def __init__(self, hook: str, step: int) -> None:
        setattr(self, hook, self._fail)
        self.step = step

    def _fail(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.global_step == self.step and not trainer.sanity_checking:
            raise RuntimeError("as a device may fail")


@pytest.mark.parametrize("start", ["average and stop", "one cycle"])
@pytest.mark.parametrize(
    ("hook", "step"),
    [
        ("on_train_batch_start", PER_EPOCH + 2),
        ("on_train_batch_start", 2 * PER_EPOCH - 1),  # in an epoch's last batch
        ("on_train_batch_end", PER_EPOCH + 2),
        ("on_validation_batch_end", PER_EPOCH),
    ],
)
def test_a_fit_that_saved_itself_as_it_failed_goes_on_where_it_was(
    start: str, hook: str, step: int, tmp_path: Path
) -> None:
    case = Case(lambda: [AverageAndStop(folds=False)] if start == "average and stop" else [OneCycle()])
    whole = fit(case, tmp_path / "whole")
    kept = ModelCheckpoint(tmp_path / "kept", "failed", save_on_exception=True, save_top_k=0)
    with pytest.raises(RuntimeError, match="as a device may fail"):
        fit(case, tmp_path / "failed", FailAt(hook, step), kept)

    with pytest.warns(match="callbacks used to create the checkpoint"):
        resumed = fit(case, tmp_path / "resumed", ckpt_path=tmp_path / "kept" / "failed.ckpt")

    assert differences(whole, resumed) == []


@pytest.mark.parametrize("is_first", [True, False])
def test_the_scheduler_of_accumulation_may_come_before_or_after(is_first: bool, tmp_path: Path) -> None:
    def parts() -> list[pl.Callback]:
        both: list[pl.Callback] = [GradientAccumulationScheduler({0: 2}), ExactResume()]
        return both if is_first else both[::-1]

    def fitted(*more: pl.Callback, ckpt_path: Path | None = None) -> pl.LightningModule:
        pl.seed_everything(1, verbose=False)
        module, data = parts_of(Case(list), tmp_path)
        trainer = quiet_trainer(callbacks=[*parts(), *more], enable_checkpointing=bool(more), max_epochs=2)
        trainer.fit(module, data, ckpt_path=ckpt_path, weights_only=True)
        return module

    whole = fitted(ModelCheckpoint(tmp_path / "kept", "{step}", every_n_train_steps=1, save_top_k=-1))

    with pytest.warns(match="callbacks used to create the checkpoint"):
        resumed = fitted(ckpt_path=tmp_path / "kept" / "step=4.ckpt")

    assert not different(whole.state_dict(), resumed.state_dict())
