"""What every schedule shares: where it stands in a fit of any length, resumed or not, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pytorch_lightning.callbacks import GradientAccumulationScheduler, LearningRateMonitor
from pytorch_lightning.loggers import CSVLogger
from torch.optim.lr_scheduler import StepLR
from torch.utils.data import DataLoader

from tabvision.callbacks import OneCycle
from tabvision.errors import BadValueError
from tabvision.modules import TabularModule
from tabvision.schedules import one_cycle
from tests.made.modules import Own, Recorder, Unsized, batches, expected_of_torch, sgd
from tests.made.pairs import tabular_data
from tests.made.trainers import MakeTrainer

EPOCHS = 4


@pytest.mark.parametrize("monitor_first", [True, False])
def test_the_learning_rate_monitor_shows_every_group_by_name_with_the_rate_in_use(
    monitor_first: bool, quick_trainer: MakeTrainer, tmp_path: Path
) -> None:
    data = tabular_data("binary")
    recorder, logger = Recorder(), CSVLogger(tmp_path)
    callbacks = [LearningRateMonitor("step"), OneCycle((1e-4, 1e-2)), recorder]
    callbacks = callbacks if monitor_first else callbacks[::-1]

    trainer = quick_trainer(max_epochs=2, callbacks=callbacks, logger=logger, log_every_n_steps=1)
    trainer.fit(TabularModule(data.schema, widths=[4]), data)

    written = pd.read_csv(Path(logger.log_dir) / "metrics.csv").filter(like="lr-").dropna()
    names = [group["name"] for group in trainer.optimizers[0].param_groups]
    assert [column.rpartition("lr-AdamW/")[2] for column in written.columns] == sorted(names)
    for place, name in enumerate(names):
        assert written[f"lr-AdamW/{name}"].tolist() == pytest.approx([step[place] for step in recorder.rates])


def test_accumulated_gradients_count_as_one_step(quick_trainer: MakeTrainer) -> None:
    recorder, cycle = Recorder(), OneCycle(convention="torch", pct_start=0.3, div_final=1e4)

    trainer = quick_trainer(max_epochs=3, accumulate_grad_batches=3, callbacks=[cycle, recorder])
    trainer.fit(Own(sgd), batches(7))

    assert recorder.first("rates") == pytest.approx(expected_of_torch(sgd, 9, max_lr=0.1).first("rates"))


def test_an_accumulation_schedule_is_counted_epoch_by_epoch(quick_trainer: MakeTrainer) -> None:
    recorder, cycle = Recorder(), OneCycle(convention="torch", pct_start=0.3, div_final=1e4)
    schedule = GradientAccumulationScheduler({0: 7, 1: 2})

    quick_trainer(max_epochs=3, callbacks=[schedule, cycle, recorder]).fit(Own(sgd), batches(7))

    assert recorder.first("rates") == pytest.approx(expected_of_torch(sgd, 1 + 4 + 4, max_lr=0.1).first("rates"))


def test_max_steps_ends_the_cycle(quick_trainer: MakeTrainer) -> None:
    recorder, cycle = Recorder(), OneCycle(convention="torch", pct_start=0.3, div_final=1e4)

    quick_trainer(max_epochs=-1, max_steps=10, callbacks=[cycle, recorder]).fit(Own(sgd), batches(7))

    assert recorder.first("rates") == pytest.approx(expected_of_torch(sgd, 10, max_lr=0.1).first("rates"))


def test_a_loader_without_length_needs_max_steps(quick_trainer: MakeTrainer) -> None:
    loader = DataLoader(Unsized(), batch_size=None)

    with pytest.raises(
        BadValueError,
        match=r"OneCycle: the length of the fit must be known, but the loader has no length. Pass Trainer\(max_steps=",
    ):
        quick_trainer(callbacks=[OneCycle()]).fit(Own(sgd), loader)

    recorder = Recorder()
    quick_trainer(max_epochs=-1, max_steps=5, callbacks=[OneCycle(), recorder]).fit(Own(sgd), loader)
    assert len(recorder.rates) == 5


def test_a_fit_without_end_is_refused(quick_trainer: MakeTrainer) -> None:
    with pytest.raises(BadValueError, match="length of the fit must be known, but max_epochs is not set"):
        quick_trainer(max_epochs=-1, callbacks=[OneCycle()]).fit(Own(sgd), batches())


def test_a_second_fit_has_a_cycle_of_its_own(quick_trainer: MakeTrainer) -> None:
    recorder, module = Recorder(), Own(sgd)
    trainer = quick_trainer(max_epochs=2, callbacks=[OneCycle(), recorder])
    trainer.fit(module, batches(7))
    trainer.fit_loop.max_epochs = 4

    trainer.fit(module, batches(7))

    assert recorder.first("rates")[14:] == pytest.approx(recorder.first("rates")[:14])


@pytest.mark.parametrize("epoch", [1, 2, 3])
def test_a_resumed_fit_has_the_rates_of_the_uninterrupted_one(
    epoch: int, quick_trainer: MakeTrainer, tmp_path: Path
) -> None:
    whole, rest = Recorder(), Recorder()
    quick_trainer(max_epochs=4, callbacks=[OneCycle(), whole]).fit(Own(sgd), batches(7))
    first = quick_trainer(max_epochs=epoch, callbacks=[OneCycle()])
    first.fit(Own(sgd), batches(7))
    first.save_checkpoint(tmp_path / "part.ckpt")

    resumed = quick_trainer(max_epochs=4, callbacks=[OneCycle(), rest])
    resumed.fit(Own(sgd), batches(7), ckpt_path=tmp_path / "part.ckpt", weights_only=True)

    assert rest.first("rates") == pytest.approx(whole.first("rates")[7 * epoch :])
    assert rest.first("momenta") == pytest.approx(whole.first("momenta")[7 * epoch :])


def test_a_fit_that_began_without_the_callback_goes_on_with_it(quick_trainer: MakeTrainer, tmp_path: Path) -> None:
    first = quick_trainer(max_epochs=1)
    first.fit(Own(sgd), batches(7))
    first.save_checkpoint(tmp_path / "plain.ckpt")
    recorder = Recorder()

    resumed = quick_trainer(max_epochs=2, callbacks=[OneCycle(), recorder])
    resumed.fit(Own(sgd), batches(7), ckpt_path=tmp_path / "plain.ckpt", weights_only=True)

    assert recorder.first("rates") == pytest.approx([0.1 * one_cycle(step, 14).factor for step in range(7, 14)])


def test_a_scheduler_of_the_modules_own_is_refused(quick_trainer: MakeTrainer) -> None:
    def with_schedule(params: Any) -> Any:
        optimizer = sgd(params)
        return {"optimizer": optimizer, "lr_scheduler": StepLR(optimizer, 1)}

    with pytest.raises(
        BadValueError, match=r"OneCycle: the module's configure_optimizers returns a scheduler of its own"
    ):
        quick_trainer(callbacks=[OneCycle()]).fit(Own(with_schedule), batches())


def test_several_optimizers_are_refused(quick_trainer: MakeTrainer) -> None:
    class Two(Own):
        automatic_optimization = False

    module = Two(lambda params: [sgd(list(params)[:1]), sgd(list(params)[1:])])
    module.make_optimizer = lambda _: [sgd([parameter]) for parameter in module.parameters()]

    with pytest.raises(BadValueError, match="OneCycle: one optimizer is scheduled, got 2, whose steps"):
        quick_trainer(callbacks=[OneCycle()]).fit(module, batches())
