"""Shared by all tests: a seed for every test, and a quiet Trainer on the CPU.

What is heavy is imported within functions: the process that hands the tests out to others runs none itself.
"""

from __future__ import annotations

import functools
import gc
import logging
import os
import random
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import pytorch_lightning as pl

    from tests.made.trainers import MakeTrainer

# No test takes the power away, and on a busy disk a checkpoint waits longer than its fit takes.
os.fsync = os.fstat  # type: ignore[assignment]
gc.disable()  # until all is collected: it stays, and a search for garbage in it is a fifth of the time that it takes
_LONGEST = re.compile(
    "test_(readme|lessons|exact_resume_sweep|micro_batches|elastic|damaged|kept_checkpoints|exporting|deploy_guide|every_module|"
    "table|train_options|safe|lightning|trainer|public_files|run|images|onnx_predictor|fused|write|report|cross_validation)"
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files that take longest first, so that no process is left alone with one at the end."""
    items.sort(key=lambda item: not _LONGEST.fullmatch(item.path.stem))


def pytest_collection_finish() -> None:
    """Prepare the process that runs the tests, and leave out of its searches for garbage what is imported by now."""
    import torch
    from hypothesis import given, settings
    from hypothesis.strategies import none
    from lightning_fabric.utilities import registry
    from torch.onnx._internal.exporter._registration import ONNXRegistry

    import tabvision.logs  # noqa: F401 - sets the level of notes, also where a test imports nothing that does

    # Tensors are tiny here: a second thread only spins, and on a busy machine it made tests ten times as slow.
    torch.set_num_threads(1)
    # Else each Trainer looks through all packages that are installed for callbacks of theirs.
    registry.entry_points = functools.cache(registry.entry_points)  # type: ignore[attr-defined,assignment]
    # Else each export compiles torch's table of ONNX operators anew, which is a third of its time.
    ONNXRegistry.from_torchlib = staticmethod(functools.cache(ONNXRegistry.from_torchlib))  # type: ignore[method-assign]
    # pytest hangs a handler on each logger that does not pass on what it gets, three times a test, and torch has fifty.
    for name, logger in logging.root.manager.loggerDict.items():
        if name.startswith("torch.") and isinstance(logger, logging.Logger):
            logger.propagate = True  # to "torch"
    settings(max_examples=1, database=None)(
        given(none())(lambda _: None)
    )()  # its first run looks for objects of its own
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Every test starts from the same random state, whatever ran before it."""
    import numpy as np
    import torch

    random.seed(0)
    np.random.seed(0)
    # without a GPU the CPU's generator alone: else torch keeps the stack of the call for devices that may come
    (torch.manual_seed if torch.cuda.is_available() else torch.default_generator.manual_seed)(0)


@pytest.fixture
def quick_trainer(tmp_path: Path) -> MakeTrainer:
    """Makes a Trainer for one epoch on the CPU that prints nothing and writes nothing outside `tmp_path`.

    Any argument of `pl.Trainer` may be given, and wins.
    """
    from tests.made.trainers import quiet_trainer

    def make(**overrides: Any) -> pl.Trainer:
        return quiet_trainer(**({"default_root_dir": tmp_path} | overrides))

    return make
