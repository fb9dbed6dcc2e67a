"""The one door to Lightning: every part of the library takes its names from here.

Lightning comes as two packages, `pytorch_lightning` and `lightning`, whose classes do not know each other. Which of them the
library builds on is decided in this file alone.
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning_fabric.utilities.exceptions import MisconfigurationException
from lightning_utilities.core.rank_zero import rank_zero_info, rank_zero_only, rank_zero_warn
from pytorch_lightning import LightningDataModule, LightningModule, Trainer, seed_everything
from pytorch_lightning.accelerators import CUDAAccelerator
from pytorch_lightning.callbacks import (
    BackboneFinetuning,
    BaseFinetuning,
    Callback,
    EarlyStopping,
    GradientAccumulationScheduler,
    LearningRateFinder,
    ModelCheckpoint,
    StochasticWeightAveraging,
    TQDMProgressBar,
)
from pytorch_lightning.callbacks.early_stopping import EarlyStoppingReason
from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.loops.fit_loop import _FitLoop as FitLoop
from pytorch_lightning.plugins.precision import MixedPrecision
from pytorch_lightning.strategies import (
    DDPStrategy,
    DeepSpeedStrategy,
    FSDPStrategy,
    ModelParallelStrategy,
    Strategy,
)
from pytorch_lightning.trainer.states import TrainerFn, TrainerStatus
from pytorch_lightning.utilities.combined_loader import CombinedLoader
from pytorch_lightning.utilities.model_helpers import is_overridden

if TYPE_CHECKING:
    from pytorch_lightning.cli import ArgsType, LightningArgumentParser, LightningCLI
else:

    def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever Lightning offers
        """Import the command line's names, and with them jsonargparse, when they are first asked for."""
        if name not in ("ArgsType", "LightningArgumentParser", "LightningCLI"):
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from pytorch_lightning import cli

        return getattr(cli, name)


__all__ = [
    "ArgsType",
    "BackboneFinetuning",
    "BaseFinetuning",
    "CSVLogger",
    "CUDAAccelerator",
    "Callback",
    "CombinedLoader",
    "DDPStrategy",
    "DeepSpeedStrategy",
    "EarlyStopping",
    "EarlyStoppingReason",
    "FSDPStrategy",
    "FitLoop",
    "GradientAccumulationScheduler",
    "LearningRateFinder",
    "LightningArgumentParser",
    "LightningCLI",
    "LightningDataModule",
    "LightningModule",
    "MisconfigurationException",
    "MixedPrecision",
    "ModelCheckpoint",
    "ModelParallelStrategy",
    "StochasticWeightAveraging",
    "Strategy",
    "TQDMProgressBar",
    "TorchCheckpointIO",
    "Trainer",
    "TrainerFn",
    "TrainerStatus",
    "is_overridden",
    "rank_zero_info",
    "rank_zero_only",
    "rank_zero_warn",
    "seed_everything",
]


def _stop_openmp() -> None:
    """Stop torch's OpenMP threads before a fork: a child would wait for ever for those that it only seems to have."""
    loaded = {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if "libgomp" in line}
    for library in map(ctypes.CDLL, loaded):
        if hasattr(library, "omp_pause_resource_all"):  # since OpenMP 5.0
            library.omp_pause_resource_all(1)  # new threads start with the next parallel region


if sys.platform == "linux":  # under the strategies ddp_notebook and ddp_fork
    os.register_at_fork(before=_stop_openmp)
