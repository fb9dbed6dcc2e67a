"""What every schedule shares: where it stands in a fit of any length, resumed or not, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EarlyStopping, GradientAccumulationScheduler, LearningRateMonitor, Timer
from pytorch_lightning.loggers import CSVLogger
from torch import Tensor
from torch.optim.lr_scheduler import StepLR
from torch.utils.data import DataLoader
from typing_extensions import override

from tabvision.callbacks import CosineRestarts, ExactResume, FineTune, FlatCosine, OneCycle
from tabvision.callbacks.schedule import Schedule
from tabvision.errors import BadValueError
from tabvision.modules import TabularModule
from tabvision.schedules import one_cycle
from tests.made.modules import Own, Recorder, Saver, Unsized, batches, different, expected_of_torch, make_loader, sgd
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


class Clock(Timer):
    """Ends a fit as `Trainer(max_time=...)` does, by a clock that ticks with the steps."""

    def __init__(self, seconds: int) -> None:
        super().__init__({"seconds": seconds}, verbose=False)

    @override
    def on_fit_start(self, trainer: pl.Trainer, *args: Any, **kwargs: Any) -> None:
        self.trainer = trainer

    @override
    def time_elapsed(self, stage: str = "train") -> float:
        return self.trainer.global_step


def test_a_time_limit_ends_every_schedule(quick_trainer: MakeTrainer, caplog: pytest.LogCaptureFixture) -> None:
    recorder = Recorder()
    quick_trainer(max_epochs=-1, callbacks=[OneCycle(), recorder, Clock(10)]).fit(Own(sgd), batches(7))
    assert recorder.first("rates") == pytest.approx([0.1 * one_cycle(step, 10).factor for step in range(10)])

    recorder = Recorder()
    quick_trainer(max_epochs=1, callbacks=[Clock(10), recorder, OneCycle()]).fit(Own(sgd), batches(7))
    assert recorder.first("rates") == pytest.approx([0.1 * one_cycle(step, 7).factor for step in range(7)])

    for seconds, later in ((5, 0), (10, 3)):  # within the frozen epoch of seven steps, and three after it
        recorder, frozen = Recorder(), seconds - later
        fine_tune = FineTune(1, base_lr=0.2, groups=lambda module: [module.layers])
        quick_trainer(max_epochs=4, callbacks=[fine_tune, Clock(seconds), recorder]).fit(Own(sgd), batches(7))
        cycles = [one_cycle(step, frozen, pct_start=0.99) for step in range(frozen)]
        cycles += [one_cycle(step, later, pct_start=0.3, div=5) for step in range(later)]
        peaks = [0.2] * frozen + [0.1] * later
        assert recorder.first("rates") == pytest.approx(
            [peak * cycle.factor for peak, cycle in zip(peaks, cycles, strict=True)]
        )
    assert "with the rate at" not in caplog.text


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

    with pytest.raises(BadValueError, match=r"OneCycle: the module's configure_optimizers returns a scheduler"):
        quick_trainer(callbacks=[OneCycle()]).fit(Own(with_schedule), batches())


def test_a_module_without_an_optimizer_is_refused(quick_trainer: MakeTrainer) -> None:
    with (
        pytest.warns(UserWarning, match="configure_optimizers"),
        pytest.raises(
            BadValueError, match=r"OneCycle: the module's configure_optimizers must return one optimizer, got none"
        ),
    ):
        quick_trainer(callbacks=[OneCycle()]).fit(Own(lambda _: None), batches())


def test_several_optimizers_are_refused(quick_trainer: MakeTrainer) -> None:
    class Two(Own):
        automatic_optimization = False

    module = Two(lambda params: [sgd(list(params)[:1]), sgd(list(params)[1:])])
    module.make_optimizer = lambda _: [sgd([parameter]) for parameter in module.parameters()]

    with pytest.raises(BadValueError, match="must return one optimizer, got 2, whose steps"):
        quick_trainer(callbacks=[OneCycle()]).fit(module, batches())


class Manual(Own):
    """Takes its optimizer steps itself: one every so many batches, or several a batch."""

    automatic_optimization = False

    def __init__(self, *, every: int = 1, each: int = 1) -> None:
        super().__init__(sgd)
        self.every, self.each = every, each

    @override
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        optimizer: Any = self.optimizers()
        rows = [batch["x"][:, :2]] if isinstance(batch, dict) else batch
        self.manual_backward(super().training_step(rows, batch_idx))
        if (batch_idx + 1) % self.every == 0:
            for _ in range(self.each):
                optimizer.step()
            optimizer.zero_grad()


def test_a_step_every_fourth_batch_counts_as_one(quick_trainer: MakeTrainer) -> None:
    recorder = Recorder()

    trainer = quick_trainer(max_epochs=3, callbacks=[OneCycle(), recorder])
    trainer.fit(Manual(every=4), batches(8))

    assert trainer.global_step == 6
    assert recorder.first("rates") == pytest.approx([0.1 * one_cycle(step, 6).factor for step in range(6)])


def test_two_steps_a_batch_count_as_two(quick_trainer: MakeTrainer) -> None:
    recorder = Recorder()

    quick_trainer(max_epochs=2, callbacks=[OneCycle(), recorder]).fit(Manual(each=2), batches(7))

    assert recorder.first("rates")[::2] == pytest.approx([0.1 * one_cycle(step, 28).factor for step in range(0, 28, 2)])


@pytest.mark.parametrize("settings", [{"every": 4}, {"each": 2}])
def test_every_schedule_ends_at_its_end_under_manual_optimization(
    settings: dict[str, int], quick_trainer: MakeTrainer
) -> None:
    ends: list[tuple[Schedule, float]] = [
        (OneCycle(), 1e-6),
        (FlatCosine(), 1e-6),
        (CosineRestarts(num_cycles=2), 0.0),
        (FineTune(1, base_lr=0.2, groups=lambda module: [module.layers]), 1e-6),
    ]
    for schedule, last in ends:
        trainer = quick_trainer(max_epochs=2, callbacks=[schedule])
        trainer.fit(Manual(**settings), batches(8))
        assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(last, abs=1e-7)


@pytest.mark.parametrize("batch", [3, 4, 6, 8, 11])
def test_under_manual_optimization_a_fit_resumed_from_any_batch_has_the_same_rates_and_weights(
    batch: int, quick_trainer: MakeTrainer, tmp_path: Path
) -> None:
    class Each(Saver):
        @override
        def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
            trainer.save_checkpoint(self.folder / f"{trainer.fit_loop.total_batch_idx + 1}.ckpt")

    def fitted(ckpt_path: Path | None = None) -> tuple[dict[str, Tensor], list[float]]:
        torch.manual_seed(1)
        module, recorder = Manual(every=4), Recorder()
        callbacks = [OneCycle(), recorder, ExactResume(), *([] if ckpt_path else [Each(tmp_path)])]
        data = make_loader(64)  # eight batches
        quick_trainer(max_epochs=2, callbacks=callbacks).fit(module, data, ckpt_path=ckpt_path, weights_only=True)
        return module.state_dict(), recorder.first("rates")

    weights, rates = fitted()
    resumed, rest = fitted(tmp_path / f"{batch}.ckpt")

    assert rest == rates[len(rates) - len(rest) :]
    assert not different(weights, resumed)


def test_a_loader_that_comes_back_shorter_is_measured_anew_and_said(
    quick_trainer: MakeTrainer, caplog: pytest.LogCaptureFixture
) -> None:
    class Shrinking(Own):
        @override
        def train_dataloader(self) -> Any:
            return batches(8 if self.current_epoch == 0 else 4)

    recorder = Recorder()
    trainer = quick_trainer(max_epochs=3, reload_dataloaders_every_n_epochs=1, callbacks=[OneCycle(), recorder])

    with caplog.at_level("INFO", logger="tabvision"):
        trainer.fit(Shrinking(sgd))

    expected = [*(one_cycle(step, 24) for step in range(8)), *(one_cycle(step, 16) for step in range(8, 16))]
    assert recorder.first("rates") == pytest.approx([0.1 * setting.factor for setting in expected])
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(1e-6)
    assert "OneCycle: the fit was 24 steps as measured before this epoch, 16 now; the schedule is str" in caplog.text
    assert "ended after" not in caplog.text


def test_another_batch_size_on_resume_counts_the_steps_done_as_they_were(
    quick_trainer: MakeTrainer, tmp_path: Path
) -> None:
    first = quick_trainer(max_epochs=2, callbacks=[OneCycle()])
    first.fit(Own(sgd), batches(8))
    first.save_checkpoint(tmp_path / "half.ckpt")
    recorder = Recorder()

    resumed = quick_trainer(max_epochs=4, callbacks=[OneCycle(), recorder])
    resumed.fit(Own(sgd), batches(4), ckpt_path=tmp_path / "half.ckpt", weights_only=True)

    assert recorder.first("rates") == pytest.approx([0.1 * one_cycle(step, 24).factor for step in range(16, 24)])


def test_a_fit_that_ends_inside_its_schedule_says_where_the_rate_stood(
    quick_trainer: MakeTrainer, caplog: pytest.LogCaptureFixture
) -> None:
    class Stop(pl.Callback):
        @override
        def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
            trainer.should_stop = trainer.global_step == 7

    schedules: list[tuple[Schedule, str]] = [
        (OneCycle(), "OneCycle: the fit ended after 7 of 28 steps, with the rate at 100% of the peak."),
        (OneCycle(pct_start=0.5), "OneCycle: the fit ended after 7 of 28 steps, with the rate at 52% of the peak."),
        (FlatCosine(), "FlatCosine: the fit ended after 7 of 28 steps, with the rate at 100% of the peak."),
    ]
    for schedule, sentence in schedules:
        quick_trainer(max_epochs=4, callbacks=[schedule, Stop()]).fit(Own(sgd), batches(7))
        assert sentence in caplog.text


class Scored(Own):
    """Validates, always to the same score."""

    @override
    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("score", torch.tensor(1.0))


@pytest.mark.parametrize(
    ("patience", "settings", "warned"),
    [
        (
            3,
            {"max_epochs": 30},
            "after 4 of 30 checks, near the peak rate. Set patience=29, or leave EarlyStopping out",
        ),
        (29, {"max_epochs": 30}, None),
        (3, {"max_epochs": 4}, None),
        (3, {"max_epochs": 4, "val_check_interval": 2}, "after 4 of 12 checks"),
        (3, {"max_epochs": 8, "check_val_every_n_epoch": 2}, None),
        (2, {"max_epochs": 8, "check_val_every_n_epoch": 2}, "after 3 of 4 checks"),
        (3, {"max_epochs": -1, "max_steps": 70}, "after 4 of 10 checks"),
        (9, {"max_epochs": -1, "max_steps": 70}, None),
    ],
)
def test_early_stopping_that_can_cut_a_schedule_is_warned_of_and_said_at_the_stop(
    patience: int,
    settings: dict[str, Any],
    warned: str | None,
    quick_trainer: MakeTrainer,
    caplog: pytest.LogCaptureFixture,
) -> None:
    trainer = quick_trainer(callbacks=[OneCycle(), EarlyStopping("score", patience=patience)], **settings)

    trainer.fit(Scored(sgd), batches(7), batches(1))

    if warned is None:
        assert "EarlyStopping" not in caplog.text
        assert "the fit ended after" not in caplog.text
    else:
        assert f"OneCycle: EarlyStopping(patience={patience}) can end the fit {warned}" in caplog.text
        assert "OneCycle: the fit ended after" in caplog.text
