"""A resumed fit against the uninterrupted one, from every one of its steps, to the bit; and checkpoints that are whole."""

import contextlib
import multiprocessing
import signal
import time
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO
from pytorch_lightning.loggers.logger import Logger
from pytorch_lightning.plugins.io import AsyncCheckpointIO
from typing_extensions import override

from tabvision.callbacks import ExactResume, OneCycle, Unfreeze
from tabvision.callbacks.exact_resume import _AtomicCheckpointIO
from tabvision.data import RandomSplit, TabularDataModule
from tabvision.errors import BadValueError
from tabvision.modules import TabularModule
from tests.made.modules import STEPS, Rates, Saver, UserModule, Validated, different, make_loader, make_module
from tests.made.sweeps import slow_but
from tests.made.trainers import MakeTrainer, quiet_trainer
from tests.made.writer import write_for_ever

EPOCHS, PER_EPOCH = 3, 4


class Log(Logger):
    """Everything that was logged, and after which step."""

    name, version = "log", 0

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[tuple[int | None, dict[str, float]]] = []

    @override
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.steps.append((step, metrics))

    @override
    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        pass


class SaverOfEnds(Saver):
    """A checkpoint after each step, each validation and each epoch."""

    @override
    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        trainer.save_checkpoint(self.folder / f"validation={trainer.global_step}.ckpt")

    @override
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        trainer.save_checkpoint(self.folder / f"epoch={trainer.global_step}.ckpt")


class Run:
    """A fit of tables with dropout, BatchNorm, shuffling and three stages, whole or resumed."""

    def __init__(
        self,
        ckpt_path: Path | None = None,
        *,
        save_to: Path | None = None,
        batch_size: int = 12,
        max_epochs: int = EPOCHS,
        **settings: Any,
    ) -> None:
        # a process that resumes has random states of its own
        pl.seed_everything(1 if ckpt_path is None else 99, verbose=False)
        draw = np.random.default_rng(0)
        frame = pd.DataFrame(
            {"x": draw.normal(size=60), "job": draw.choice(list("abc"), 60), "y": draw.normal(size=60)}
        )
        data = TabularDataModule(frame, "y", split=RandomSplit(0.2), batch_size=batch_size, verbose=False)
        module = TabularModule(data.schema, dropout=0.3, widths=[8, 4])
        log = Log()
        staged: list[pl.Callback] = [Unfreeze({0: 1, 1: 2, 2: "all"}), OneCycle((1e-3, 1e-2)), ExactResume()]
        self.trainer = quiet_trainer(
            callbacks=staged if save_to is None else [*staged, SaverOfEnds(save_to)],
            log_every_n_steps=1,
            logger=log,
            max_epochs=max_epochs,
            num_sanity_val_steps=0,
            **settings,
        )
        self.trainer.fit(module, data, ckpt_path=ckpt_path, weights_only=True)
        self.state = module.state_dict()
        self.logged = log.steps


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Path]:
    """The uninterrupted fit, and where it saved a checkpoint after each step."""
    folder = tmp_path_factory.mktemp("whole")
    return Run(save_to=folder), folder


@pytest.mark.parametrize(
    "step", slow_but([PER_EPOCH, PER_EPOCH + 2, EPOCHS * PER_EPOCH], range(1, EPOCHS * PER_EPOCH + 1))
)
def test_resumed_from_every_step_weights_and_logs_are_those_of_the_uninterrupted_fit(
    step: int, whole: tuple[Run, Path]
) -> None:
    uninterrupted, folder = whole

    resumed = Run(folder / f"step={step}.ckpt")

    assert resumed.trainer.global_step == EPOCHS * PER_EPOCH
    assert not different(uninterrupted.state, resumed.state)
    assert resumed.logged == logged_from(step, uninterrupted)
    assert {"train/loss", "val/loss"} <= set().union(*(values for _, values in resumed.logged))


def logged_from(step: int, run: Run) -> list[tuple[int | None, dict[str, float]]]:
    """What a fit logs after that many steps, what the epoch logs at its end included."""
    last = step - 1 if step % PER_EPOCH == 0 else step  # the end of an epoch is logged under its last step's number
    at_end = {"train/loss", "val/loss"}
    return [
        (at, seen) for at, seen in run.logged if at is not None and (at >= step or (at == last and at_end & {*seen}))
    ]


def test_without_the_callback_a_resumed_fit_differs(whole: tuple[Run, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    uninterrupted, folder = whole
    monkeypatch.setattr(ExactResume, "load_state_dict", lambda *_: None)

    assert different(uninterrupted.state, Run(folder / "step=5.ckpt").state)


def test_validating_within_an_epoch_does_not_disturb_a_resumed_fit(tmp_path: Path) -> None:
    uninterrupted = Run(save_to=tmp_path, val_check_interval=2, max_epochs=1)

    resumed = Run(tmp_path / "step=3.ckpt", val_check_interval=2, max_epochs=1)

    assert not different(uninterrupted.state, resumed.state)


@pytest.mark.parametrize(
    "settings", [{"check_val_every_n_epoch": 2}, {"limit_val_batches": 0}, {"val_check_interval": 2}]
)
@pytest.mark.parametrize("step", slow_but([2 * PER_EPOCH], [PER_EPOCH, 2 * PER_EPOCH, 3 * PER_EPOCH]))
def test_resumed_from_an_epochs_last_step_it_is_ended_as_the_trainer_says(
    step: int, settings: dict[str, Any], tmp_path: Path
) -> None:
    uninterrupted = Run(save_to=tmp_path, **settings)

    resumed = Run(tmp_path / f"step={step}.ckpt", **settings)

    assert resumed.trainer.global_step == EPOCHS * PER_EPOCH
    assert not different(uninterrupted.state, resumed.state)
    assert resumed.logged == logged_from(step, uninterrupted)


class Decaying(UserModule):
    """Halves its rate after each epoch by a scheduler of its own."""

    @override
    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.05)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)]


@pytest.mark.parametrize("step", [2, STEPS, STEPS + 1])
def test_a_scheduler_of_the_users_own_steps_after_a_resumed_epoch(
    step: int, tmp_path: Path, quick_trainer: MakeTrainer
) -> None:
    def rates(ckpt_path: Path | None = None) -> list[list[float]]:
        seen = Rates()
        trainer = quick_trainer(
            max_epochs=3, callbacks=[ExactResume(), seen, *([] if ckpt_path else [Saver(tmp_path)])]
        )
        trainer.fit(Decaying(), make_loader(), ckpt_path=ckpt_path, weights_only=True)
        return seen.lr

    whole = rates()

    assert rates(tmp_path / f"step={step}.ckpt") == whole[step:]


class Plateau(Validated):
    """Lowers its rate at the last batch of an epoch, by the validation after the third."""

    @override
    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.05)
        scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, threshold=1.0)
        config = {"scheduler": scheduler, "interval": "step", "frequency": STEPS, "monitor": "val/loss"}
        return {"optimizer": optimizer, "lr_scheduler": config}


@pytest.mark.parametrize("moment", ["step", "validation"])
def test_a_scheduler_reads_the_metric_that_was_logged_before_the_checkpoint(
    moment: str, tmp_path: Path, quick_trainer: MakeTrainer
) -> None:
    def rates(ckpt_path: Path | None = None) -> list[list[float]]:
        seen, callbacks = Rates(), [] if ckpt_path else [SaverOfEnds(tmp_path)]
        trainer = quick_trainer(max_epochs=4, callbacks=[ExactResume(), seen, *callbacks], val_check_interval=3)
        torch.manual_seed(1)
        trainer.fit(Plateau(), make_loader(), make_loader(), ckpt_path=ckpt_path, weights_only=True)
        return seen.lr

    whole = rates()

    assert whole[0] != whole[-1]
    assert rates(tmp_path / f"{moment}={STEPS + 3}.ckpt") == whole[STEPS + 3 :]


def test_a_checkpoint_that_was_validated_leaves_the_next_fit_alone(tmp_path: Path, quick_trainer: MakeTrainer) -> None:
    quick_trainer(callbacks=[ExactResume(), Saver(tmp_path)]).fit(Validated(), make_loader(), make_loader())

    def fitted(ckpt_path: Path | None) -> UserModule:
        module, start = Validated(dropout=0.3), make_module().state_dict()
        trainer = quick_trainer(callbacks=[ExactResume()])
        trainer.validate(module, make_loader(), ckpt_path=ckpt_path, verbose=False, weights_only=True)
        module.load_state_dict(start)
        torch.manual_seed(7)
        trainer.fit(module, make_loader(), make_loader())
        assert trainer.global_step == STEPS
        return module

    assert not different(fitted(None).state_dict(), fitted(tmp_path / f"step={STEPS}.ckpt").state_dict())


def test_a_checkpoint_of_a_fit_without_the_callback_resumes_as_it_would(
    tmp_path: Path, quick_trainer: MakeTrainer
) -> None:
    quick_trainer(callbacks=[Saver(tmp_path)]).fit(make_module(), make_loader())
    trainer = quick_trainer(max_epochs=2, callbacks=[ExactResume()])

    trainer.fit(make_module(), make_loader(), ckpt_path=tmp_path / f"step={STEPS}.ckpt", weights_only=True)

    assert trainer.global_step == 2 * STEPS


def test_another_batch_size_is_refused_inside_an_epoch(whole: tuple[Run, Path]) -> None:
    sentence = (
        r"the fit stopped after step 1 of an epoch with 4 steps of 12 rows .*, now 3 steps of 16 rows. Resume with"
    )

    with pytest.raises(BadValueError, match=sentence):
        Run(whole[1] / f"step={PER_EPOCH + 1}.ckpt", batch_size=16)


@pytest.mark.parametrize("batch_size", slow_but([8], [6, 8, 24, 48]))
@pytest.mark.parametrize("moment", ["step", "validation", "epoch"])
def test_another_batch_size_goes_on_from_the_end_of_an_epoch_without_losing_a_batch(
    moment: str, batch_size: int, whole: tuple[Run, Path]
) -> None:
    resumed = Run(whole[1] / f"{moment}={PER_EPOCH}.ckpt", batch_size=batch_size)

    assert resumed.trainer.global_step == PER_EPOCH + (EPOCHS - 1) * 48 // batch_size
    assert resumed.trainer.current_epoch == EPOCHS


@pytest.mark.parametrize("moment", ["validation", "epoch"])
def test_resumed_from_the_end_of_an_epoch_weights_and_logs_are_those_of_the_uninterrupted_fit(
    moment: str, whole: tuple[Run, Path]
) -> None:
    uninterrupted, folder = whole

    for step in (PER_EPOCH, 2 * PER_EPOCH):
        resumed = Run(folder / f"{moment}={step}.ckpt")
        assert not different(uninterrupted.state, resumed.state)
        ended = [] if moment == "epoch" else [(step - 1, "train/loss")]  # val/loss was logged before the checkpoint
        assert resumed.logged == [
            (done, values)
            for done, values in uninterrupted.logged
            if done is not None and (done >= step or any((done, name) in ended for name in values))
        ]


@pytest.mark.parametrize("step", slow_but([7], [2, 4, 7, 12]))
def test_more_epochs_on_resume_go_on_to_the_end_and_say_so(
    step: int, whole: tuple[Run, Path], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        resumed = Run(whole[1] / f"step={step}.ckpt", max_epochs=5)

    assert (resumed.trainer.current_epoch, resumed.trainer.global_step) == (5, 5 * PER_EPOCH)
    assert "OneCycle: the fit was 12 steps when saved, 20 now; the schedule is stretched over the new le" in caplog.text


def test_an_uninterrupted_fit_says_nothing_of_lengths(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        Run(max_epochs=1)

    assert "when saved" not in caplog.text


def test_every_checkpoint_loads_with_weights_only_and_holds_plain_data(whole: tuple[Run, Path]) -> None:
    paths = sorted(whole[1].glob("*.ckpt"))

    assert len(paths) == EPOCHS * PER_EPOCH + 2 * EPOCHS
    for path in paths:
        loaded = torch.load(path, weights_only=True)
        assert {"ExactResume", "OneCycle"} <= loaded["callbacks"].keys()
        assert strange(loaded) == set()


def strange(value: Any) -> set[str]:
    """Kinds of values that are neither tensors nor plain Python."""
    if isinstance(value, dict):
        return set().union(*(strange(part) for part in (*value, *value.values())))
    if type(value) in (list, tuple, set):
        return set().union(*(strange(part) for part in value))
    plain = (str, int, float, bool, type(None), torch.Size, torch.dtype)
    return set() if isinstance(value, torch.Tensor) or type(value) in plain else {type(value).__name__}


def test_a_checkpoint_io_of_the_users_own_stays(quick_trainer: MakeTrainer) -> None:
    mine = AsyncCheckpointIO()
    trainer = quick_trainer(plugins=[mine])

    ExactResume().setup(trainer, pl.LightningModule(), "fit")

    assert trainer.strategy.checkpoint_io is mine


def test_checkpoints_are_written_whole_by_default(quick_trainer: MakeTrainer) -> None:
    trainer = quick_trainer()
    assert (
        type(trainer.strategy.checkpoint_io) is TorchCheckpointIO
    )  # what Lightning takes, or the next line does nothing

    ExactResume().setup(trainer, pl.LightningModule(), "fit")

    assert isinstance(trainer.strategy.checkpoint_io, _AtomicCheckpointIO)


class _Interrupted:
    """What presses Ctrl-C when it is saved."""

    def __reduce__(self) -> tuple[type[int], tuple[int]]:
        signal.raise_signal(signal.SIGINT)
        return int, (7,)


def test_ctrl_c_waits_until_a_checkpoint_is_whole(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # as in a shell
    try:
        with pytest.raises(KeyboardInterrupt):
            _AtomicCheckpointIO().save_checkpoint({"step": _Interrupted()}, tmp_path / "last.ckpt")
    finally:
        signal.signal(signal.SIGINT, before)

    assert torch.load(tmp_path / "last.ckpt", weights_only=False) == {"step": 7}
    assert [file.name for file in tmp_path.iterdir()] == ["last.ckpt"]


def test_a_write_that_fails_leaves_the_checkpoint_before(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    _AtomicCheckpointIO().save_checkpoint({"step": 1}, path)

    with pytest.raises(Exception, match=r"pickle|local object"):
        _AtomicCheckpointIO().save_checkpoint({"step": lambda: 2}, path)

    assert torch.load(path, weights_only=True) == {"step": 1}


@pytest.fixture(scope="module")
def processes() -> ForkServerContext:
    """Processes that need not import anything."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.made.writer"])
    return context


@pytest.mark.slow
@pytest.mark.parametrize("delay", [0.0, 0.03, 0.07])
def test_kill_9_while_writing_leaves_a_whole_checkpoint(
    delay: float, processes: ForkServerContext, tmp_path: Path
) -> None:
    path = tmp_path / "last.ckpt"
    steps, told = processes.Pipe(duplex=False)
    writer = processes.Process(target=write_for_ever, args=(path, told))
    writer.start()
    told.close()
    seen = [steps.recv(), steps.recv()]  # it has written twice, and writes again
    time.sleep(delay)
    writer.kill()
    writer.join()
    with contextlib.suppress(EOFError):
        while True:
            seen.append(steps.recv())
    steps.close()

    loaded = torch.load(path, weights_only=True)

    assert loaded["step"] >= seen[-1]
    assert bool((loaded["weights"] == loaded["step"]).all())
