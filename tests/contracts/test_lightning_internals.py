"""What we lean on within Lightning, and torch, beyond what they promise: a release that moves it fails here, by name."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO
from pytorch_lightning.callbacks import EarlyStopping, EMAWeightAveraging, ModelCheckpoint
from pytorch_lightning.callbacks.early_stopping import EarlyStoppingReason
from pytorch_lightning.loops.training_epoch_loop import _TrainingEpochLoop
from pytorch_lightning.strategies import DDPStrategy, FSDPStrategy
from pytorch_lightning.trainer.connectors.logger_connector.logger_connector import _LoggerConnector
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, TensorDataset
from typing_extensions import override

from tabvision.callbacks.loop_counts import go_on_from_last_step
from tabvision.callbacks.resume_state import _OF_MODEL_CHECKPOINT, _SHARES
from tabvision.tuning.sweep import _COMPILED_STEPS
from tests.made.modules import STEPS, Saver, UserModule, make_loader, make_module
from tests.made.trainers import MakeTrainer


class Loops(pl.Callback):
    """What the loops say when training starts, at each batch and at the first validation."""

    def __init__(self) -> None:
        self.start: dict[str, Any] = {}
        self.last: list[bool] = []
        self.epochs: list[int] = []

    @override
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        loop = trainer.fit_loop
        self.start = {
            "fit_loop.restarted_mid_epoch": loop.restarted_mid_epoch,
            "epoch_loop.restarted_on_train_batch_end": loop.epoch_loop.restarted_on_train_batch_end,
            "batch_progress.is_last_batch": loop.epoch_loop.batch_progress.is_last_batch,
            "batch_progress.current.completed": loop.epoch_loop.batch_progress.current.completed,
            "trainer.num_training_batches": trainer.num_training_batches,
            "trainer.current_epoch": trainer.current_epoch,
        }

    @override
    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        self.last.append(trainer.fit_loop.epoch_loop.batch_progress.is_last_batch)
        self.epochs.append(trainer.current_epoch)


@pytest.fixture
def saved(quick_trainer: MakeTrainer, tmp_path: Path) -> tuple[Path, Loops]:
    """A checkpoint after each step of a fit of two epochs, and what its loops said."""
    loops = Loops()
    quick_trainer(max_epochs=2, callbacks=[loops, Saver(tmp_path)]).fit(make_module(), make_loader())
    return tmp_path, loops


def resumed(step: int, folder: Path, quick_trainer: MakeTrainer, loader: Any = None) -> Loops:
    loops = Loops()
    quick_trainer(max_epochs=2, callbacks=[loops]).fit(
        make_module(), loader or make_loader(), ckpt_path=folder / f"step={step}.ckpt", weights_only=True
    )
    return loops


def test_strategy_configure_ddp_wraps_what_strategy_model_holds() -> None:
    source = inspect.getsource(DDPStrategy.configure_ddp)

    assert "self.model = self._setup_model(self.model)" in source


def test_strategy_pl_static_graph_delay_done_guards_what_is_done_once_for_each_wrap() -> None:
    assert DDPStrategy()._pl_static_graph_delay_done is False
    assert "if self._pl_static_graph_delay_done:" in inspect.getsource(DDPStrategy)


def test_strategy_ddp_comm_state_is_where_a_hooks_state_is() -> None:
    state = object()

    assert DDPStrategy(ddp_comm_state=state)._ddp_comm_state is state


def test_fit_loop_restarted_mid_epoch_says_where_a_checkpoint_was_saved(
    saved: tuple[Path, Loops], quick_trainer: MakeTrainer
) -> None:
    name = "fit_loop.restarted_mid_epoch"

    assert saved[1].start[name] is False
    assert resumed(2, saved[0], quick_trainer).start[name] is True
    assert resumed(STEPS, saved[0], quick_trainer).start[name] is True  # an epoch's last step counts as its middle


def test_epoch_loop_restarted_on_train_batch_end_says_that_the_step_is_not_counted_yet(
    saved: tuple[Path, Loops], quick_trainer: MakeTrainer
) -> None:
    name = "epoch_loop.restarted_on_train_batch_end"

    assert saved[1].start[name] is False
    assert resumed(2, saved[0], quick_trainer).start[name] is True


def test_batch_progress_is_last_batch_is_kept_in_a_checkpoint(
    saved: tuple[Path, Loops], quick_trainer: MakeTrainer
) -> None:
    name = "batch_progress.is_last_batch"

    assert saved[1].last == ([False] * (STEPS - 1) + [True]) * 2
    assert [resumed(step, saved[0], quick_trainer).start[name] for step in (2, STEPS)] == [False, True]


def test_batch_progress_current_completed_decides_whether_an_epoch_is_over(
    saved: tuple[Path, Loops], quick_trainer: MakeTrainer
) -> None:
    at_border = resumed(STEPS, saved[0], quick_trainer)

    assert at_border.start["batch_progress.current.completed"] == STEPS - 1
    assert "self.batch_progress.current.completed >= self.trainer.num_training_batches" in inspect.getsource(
        _TrainingEpochLoop.reset
    )


def test_trainer_num_training_batches_and_current_epoch_are_right_at_train_start(
    saved: tuple[Path, Loops], quick_trainer: MakeTrainer
) -> None:
    starts = [saved[1].start, *(resumed(step, saved[0], quick_trainer).start for step in (2, STEPS, STEPS + 1))]

    assert [start["trainer.num_training_batches"] for start in starts] == [STEPS] * 4
    assert [start["trainer.current_epoch"] for start in starts] == [0, 0, 1, 1]


def test_the_trainer_saves_and_loads_a_loader_with_state_dict_and_load_state_dict(
    saved: tuple[Path, Loops], quick_trainer: MakeTrainer
) -> None:
    loader, states = make_loader(), []
    load = loader.load_state_dict

    def note(state_dict: Mapping[str, int]) -> None:
        states.append(dict(state_dict))
        load(state_dict)

    loader.load_state_dict = note  # type: ignore[method-assign]
    loops = resumed(2, saved[0], quick_trainer, loader)

    assert [(state["epoch"], state["done"]) for state in states] == [(0, 2)]
    assert loops.epochs == [0] * (STEPS - 2) + [1] * STEPS


def test_the_trainer_finds_batch_sampler_sampler_and_sets_its_epoch(quick_trainer: MakeTrainer) -> None:
    loader, epochs = make_loader(), set()
    set_epoch = loader.batch_sampler.sampler.set_epoch

    def note(epoch: int) -> None:
        epochs.add(epoch)
        set_epoch(epoch)

    loader.batch_sampler.sampler.set_epoch = note  # type: ignore[method-assign]

    quick_trainer(max_epochs=3).fit(make_module(), loader)

    assert epochs == {0, 1, 2}


def test_module_trainer_is_none_before_a_fit_and_the_trainer_after(quick_trainer: MakeTrainer) -> None:
    module, trainer = UserModule(), quick_trainer()
    assert module._trainer is None

    trainer.fit(module, make_loader())

    assert module._trainer is trainer


def test_strategy_checkpoint_io_is_torch_checkpoint_io_unless_the_user_chose(quick_trainer: MakeTrainer) -> None:
    assert type(quick_trainer().strategy.checkpoint_io) is TorchCheckpointIO


def test_fsdp_does_not_train_on_a_cpu(quick_trainer: MakeTrainer) -> None:
    with pytest.raises(ValueError, match="`fsdp` requires a GPU"):  # else we would stage it there, and test it
        quick_trainer(strategy=FSDPStrategy(process_group_backend="gloo"))


def test_fit_loop_data_source_instance_is_what_a_fit_was_given(quick_trainer: MakeTrainer) -> None:
    loader, module, trainer = make_loader(), make_module(), quick_trainer()

    trainer.fit(module, loader)

    assert trainer.fit_loop._data_source.instance is loader


def test_strategy_ddp_kwargs_start_method_and_launcher_are_where_a_sweep_looks() -> None:
    strategy = DDPStrategy(find_unused_parameters=True, start_method="fork")

    assert strategy._ddp_kwargs == {"find_unused_parameters": True}
    assert strategy._start_method == "fork"
    assert strategy._launcher is None


def test_a_compiled_module_keeps_compiled_steps_in_its_own_dict(quick_trainer: MakeTrainer) -> None:
    module = make_module()

    quick_trainer().fit(torch.compile(module, backend="eager"), make_loader())  # type: ignore[arg-type]

    assert module._compiler_ctx
    assert {name for name, value in vars(module).items() if callable(value)} >= {"forward", "training_step"}
    assert {name for name in module._compiler_ctx if name.startswith("original_")} == {
        f"original_{step}" for step in _COMPILED_STEPS
    }


def test_loops_count_what_has_begun_and_what_has_ended_as_a_resume_from_an_epochs_last_step_needs(
    saved: tuple[Path, Loops],
) -> None:
    loops = [
        torch.load(saved[0] / f"step={step}.ckpt", weights_only=True)["loops"]["fit_loop"]
        for step in (STEPS - 1, STEPS)
    ]

    assert [go_on_from_last_step(loop) for loop in loops] == [False, True]
    assert "not self.restarting or self.val_loop._has_run" in inspect.getsource(_TrainingEpochLoop)
    assert "if self.val_loop.restarted_mid_evaluation:" in inspect.getsource(_TrainingEpochLoop.advance)
    assert {"_should_check_val_fx", "on_save_checkpoint"} <= vars(_TrainingEpochLoop).keys()
    assert "_batches_that_stepped" in loops[0]["epoch_loop.state_dict"]


def test_what_a_resume_restores_beside_the_states_of_callbacks_has_these_names(quick_trainer: MakeTrainer) -> None:
    loop, stopping = quick_trainer().fit_loop, EarlyStopping("val/loss")

    assert set(_OF_MODEL_CHECKPOINT) <= vars(ModelCheckpoint()).keys()
    assert stopping._check_on_train_epoch_end is None
    assert stopping.stopping_reason == EarlyStoppingReason.NOT_STOPPED
    assert isinstance(loop._can_stop_early, bool)
    assert "handles_gradient_accumulation" in inspect.getsource(_TrainingEpochLoop._should_accumulate)
    assert loop._should_accumulate() is loop.epoch_loop._should_accumulate()
    assert "return self._callback_metrics\n" in inspect.getsource(_LoggerConnector)  # itself, not a copy


def test_ddp_copies_buffers_before_a_step_unless_its_flag_says_no_and_an_average_is_where_a_resume_looks() -> None:
    assert f"self.{_SHARES}" in inspect.getsource(DistributedDataParallel.will_sync_module_buffers)
    assert f"self.{_SHARES} = False" in inspect.getsource(DistributedDataParallel)
    assert EMAWeightAveraging()._average_model is None


def test_every_batch_norm_of_torch_is_a_batch_norm_underscore() -> None:
    kind = nn.modules.batchnorm._BatchNorm

    kinds = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm, nn.LazyBatchNorm1d)

    assert all(issubclass(norm, kind) for norm in kinds)
    assert not issubclass(nn.LayerNorm, kind)


def test_data_loader_generator_is_where_its_random_state_is() -> None:
    generator, rows = torch.Generator(), TensorDataset(torch.arange(4))
    loader = DataLoader(rows, shuffle=True, generator=generator)

    assert loader.generator is generator
    assert getattr(loader.sampler, "generator", None) is generator
