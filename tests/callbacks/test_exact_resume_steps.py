"""Fits whose length is counted in steps, whole and resumed: Lightning takes their every epoch for a resumed one."""

from pathlib import Path

import pytest

from tests.callbacks.test_exact_resume import EPOCHS, PER_EPOCH, Run, logged_from
from tests.made.modules import different
from tests.made.sweeps import slow_but

MAX_STEPS = EPOCHS * PER_EPOCH - 1


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Path]:
    """The uninterrupted fit, and where it saved after each step, validation and epoch."""
    folder = tmp_path_factory.mktemp("whole")
    return Run(save_to=folder, max_steps=MAX_STEPS), folder


def test_every_epoch_trains(whole: tuple[Run, Path]) -> None:
    run, _ = whole

    assert run.trainer.global_step == MAX_STEPS
    assert run.trainer.current_epoch == EPOCHS


@pytest.mark.parametrize("step", slow_but([PER_EPOCH, PER_EPOCH + 2], range(1, MAX_STEPS)))
def test_resumed_from_every_step_it_ends_as_the_uninterrupted_fit(step: int, whole: tuple[Run, Path]) -> None:
    uninterrupted, folder = whole

    resumed = Run(folder / f"step={step}.ckpt", max_steps=MAX_STEPS)

    assert resumed.trainer.global_step == MAX_STEPS
    assert not different(uninterrupted.state, resumed.state)
    assert resumed.logged == logged_from(step, uninterrupted)


@pytest.mark.parametrize("saved", ["validation", "epoch"])
@pytest.mark.parametrize("epochs", [1, 2])
def test_resumed_from_an_epochs_end_it_trains_the_next_one(saved: str, epochs: int, whole: tuple[Run, Path]) -> None:
    uninterrupted, folder = whole

    resumed = Run(folder / f"{saved}={epochs * PER_EPOCH}.ckpt", max_steps=MAX_STEPS)

    assert resumed.trainer.global_step == MAX_STEPS
    assert resumed.trainer.current_epoch == EPOCHS
    assert not different(uninterrupted.state, resumed.state)
