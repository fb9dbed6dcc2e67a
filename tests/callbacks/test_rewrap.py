"""Strategies that cannot be staged are refused with what to use; two processes show the rest, in tests/contracts."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import cast

import pytest
import pytorch_lightning as pl
from pytorch_lightning.strategies import DDPStrategy, DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy

from tabvision.callbacks.unfreeze import _check_strategy
from tabvision.errors import BadValueError

MakeTrainer = Callable[..., pl.Trainer]


def test_fsdp_and_deepspeed_are_refused() -> None:
    deepspeed = DeepSpeedStrategy.__new__(DeepSpeedStrategy)  # its constructor wants a package that needs a GPU
    for strategy in (FSDPStrategy(), ModelParallelStrategy(), deepspeed):
        trainer = cast("pl.Trainer", SimpleNamespace(strategy=strategy))  # neither starts on a CPU
        with pytest.raises(BadValueError, match=f'in stages under {type(strategy).__name__}, .*Use strategy="ddp"'):
            _check_strategy(trainer)


def test_a_gradient_hook_with_a_state_is_refused(quick_trainer: MakeTrainer) -> None:
    strategy = DDPStrategy(ddp_comm_state=object(), ddp_comm_hook=lambda state, bucket: (state, bucket))

    with pytest.raises(BadValueError, match="communication hook with state would lose it"):
        _check_strategy(quick_trainer(strategy=strategy))
