"""The one door to Lightning: every part of the library takes its names from here.

Lightning comes as two packages, `pytorch_lightning` and `lightning`, whose classes are unrelated. Only this file
decides which of them the library builds on, when the first name is imported: see `tree`.
"""

from __future__ import annotations

import ctypes
import functools
import importlib
import os
import re
import sys
import warnings
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

from tabvision.errors import BadTypeError, MissingPackageError, UnknownNameError

# The names on offer. Both packages define the same classes; a type checker sees those of pytorch_lightning
if TYPE_CHECKING:
    from lightning_fabric.utilities.exceptions import MisconfigurationException
    from lightning_utilities.core.rank_zero import rank_zero_only, rank_zero_warn
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
        Timer,
        TQDMProgressBar,
        WeightAveraging,
    )
    from pytorch_lightning.callbacks.early_stopping import EarlyStoppingReason
    from pytorch_lightning.cli import ArgsType, LightningArgumentParser, LightningCLI
    from pytorch_lightning.loggers import CSVLogger
    from pytorch_lightning.plugins.io import TorchCheckpointIO
    from pytorch_lightning.plugins.precision import DoublePrecision, MixedPrecision
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

    __all__ = [  # otherwise a user's strict type checker takes these for private
        "ArgsType",
        "BackboneFinetuning",
        "BaseFinetuning",
        "CSVLogger",
        "CUDAAccelerator",
        "Callback",
        "CombinedLoader",
        "DDPStrategy",
        "DeepSpeedStrategy",
        "DoublePrecision",
        "EarlyStopping",
        "EarlyStoppingReason",
        "FSDPStrategy",
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
        "Timer",
        "TorchCheckpointIO",
        "Trainer",
        "TrainerFn",
        "TrainerStatus",
        "WeightAveraging",
        "is_overridden",
        "rank_zero_only",
        "rank_zero_warn",
        "seed_everything",
    ]
else:

    def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever Lightning offers
        """Import a name from the chosen package on first access, since some are slow: the CLI's import jsonargparse."""
        if not name.startswith("_"):
            for module in _MODULES:
                part = importlib.import_module(f"{tree()}{module}")
                if hasattr(part, name):
                    globals()[name] = getattr(part, name)  # later accesses do not get here
                    return globals()[name]
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


_MODULES = (  # the modules of either package that define the names above, the command line last
    "",
    ".callbacks",
    ".accelerators",
    ".callbacks.early_stopping",
    ".loggers",
    ".plugins.io",
    ".plugins.precision",
    ".strategies",
    ".trainer.states",
    ".utilities.combined_loader",
    ".utilities.exceptions",
    ".utilities.model_helpers",
    ".utilities.rank_zero",
    ".cli",
)
AnyCallback = TypeVar("AnyCallback")
_TREES = ("pytorch_lightning", "lightning.pytorch")
SETTING = "TABVISION_LIGHTNING"  # the environment variable that chooses the package
_NAMED = re.compile(rf"(?<![\w./\\-])({'|'.join(map(re.escape, _TREES))})(?=\.(\w+\.)*[A-Z])")  # before a class name


@functools.cache
def tree() -> str:
    """Return the package that the library builds on, "pytorch_lightning" or "lightning.pytorch".

    Whichever is already imported wins. If neither or both are, the environment variable TABVISION_LIGHTNING decides;
    without it, the installed package is used, and `pytorch_lightning` if both are installed.

    Raises:
        UnknownNameError: The variable names another package.
        MissingPackageError: Neither is installed, or the one that the variable names is not.
    """
    imported = [name for name in _TREES if sys.modules.get(name) is not None]
    wanted = os.environ.get(SETTING)
    if wanted and wanted not in {*_TREES, "lightning"}:
        raise UnknownNameError(f"Lightning for {SETTING}", wanted, _TREES)
    candidates = [name for name in _TREES if not wanted or name.startswith(wanted)]
    for name in imported if len(imported) == 1 else candidates:
        try:
            importlib.import_module(name)
        except ImportError as error:
            if error.name not in {None, name, name.partition(".")[0]}:
                raise  # a dependency of the package is missing
        else:
            return name
    problem = f"{' or '.join(candidates)} is needed, and is not installed"
    raise MissingPackageError(problem, "Install it: pip install 'tabvision[pl]' or 'tabvision[lightning]'")


def _other() -> ModuleType | None:
    """Return the package that the library does not build on, if that is imported as well; else None."""
    (name,) = {*_TREES} - {tree()}
    return sys.modules.get(name)


def warn_of_both(speaker: str) -> None:
    """Warn if both packages are imported and the environment variable does not say which one to use."""
    other = _other()
    if other is not None and not os.environ.get(SETTING):
        problem = f"it builds on {tree()}, and {other.__name__}, whose Trainer does not accept it, is imported as well"
        warnings.warn(f"{speaker}: {problem}. {_remedy(other)}.", stacklevel=4)


def check_trainer(trainer: object) -> None:
    """Raise if a Trainer comes from the package that the library does not build on."""
    other = _other()
    if other is not None and isinstance(trainer, other.Trainer):
        problem = f"it builds on {tree()}, and the Trainer comes from {other.__name__}, whose classes are unrelated"
        raise BadTypeError(problem, _remedy(other))


def callbacks_of(trainer: Trainer, kind: type[AnyCallback]) -> list[AnyCallback]:
    """Return a Trainer's callbacks of the given class, in order."""
    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]  # a plain list, set by Lightning's connector
    return [callback for callback in callbacks if isinstance(callback, kind)]


def datamodule_of(trainer: Trainer) -> Any:  # noqa: ANN401 - tabvision's or the user's
    """Return a Trainer's datamodule, or None if it was given loaders."""
    return trainer.datamodule  # type: ignore[attr-defined]  # set by Lightning's connector


def _remedy(other: ModuleType) -> str:
    return f"To build on {other.__name__}, import it before tabvision and without {tree()}, or set {SETTING}={other.__name__}"


def in_this_tree(text: str) -> str:
    """Return the text of a recipe with every class path of either package rewritten for the chosen one.

    Example:
        >>> names = (in_this_tree(f"{name}.callbacks.EarlyStopping") for name in ("lightning.pytorch", "pytorch_lightning"))
        >>> next(names) == next(names)
        True
    """
    return _NAMED.sub(tree(), text)


def _stop_openmp() -> None:
    """Stop torch's OpenMP threads before a fork: the child does not inherit them, and would wait for them forever."""
    loaded = {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if "libgomp" in line}
    for library in map(ctypes.CDLL, loaded):
        if hasattr(library, "omp_pause_resource_all"):  # since OpenMP 5.0
            library.omp_pause_resource_all(1)  # the next parallel region starts new threads


if sys.platform == "linux":  # the strategies ddp_notebook and ddp_fork fork there
    os.register_at_fork(before=_stop_openmp)
