"""What a recipe may import: nothing that runs commands, and with `--safe` only listed parts."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tabvision.errors import BadValueError
from tabvision.lightning import tree

WARNING = (
    "A recipe is a program: it may import modules of the working folder and write files anywhere. With --safe it builds only"
    " parts of tabvision and a list of Lightning's and torch's, and writes only below the working folder."
)
_TABVISION = ("tabvision.data", "tabvision.modules", "tabvision.callbacks", "tabvision.tasks", "tabvision.tuning")
_LIGHTNING = {
    "callbacks": (
        *("DeviceStatsMonitor", "EarlyStopping", "GradientAccumulationScheduler", "LearningRateFinder"),
        *("LearningRateMonitor", "ModelCheckpoint", "ModelSummary", "RichModelSummary", "RichProgressBar"),
        *("StochasticWeightAveraging", "TQDMProgressBar", "Timer"),
    ),
    "loggers": ("CSVLogger", "TensorBoardLogger"),
    "strategies": ("DDPStrategy", "FSDPStrategy", "SingleDeviceStrategy"),
}
_OTHERS = {
    "torch.optim": ("ASGD", "Adadelta", "Adagrad", "Adam", "AdamW", "Adamax", "NAdam", "RAdam", "RMSprop", "SGD")
}
_WRITTEN = ("cache", "prepared")  # settings of datamodules that name output folders
_OUTSIDE = re.compile(r"[~/\\]|[A-Za-z]:|.*://|(.*[/\\])?\.\.([/\\]|$)")  # a path that leads out of the working folder


@contextmanager
def importing(*, safe: bool) -> Iterator[None]:
    """Make the recipe parser reject names before it imports them.

    Args:
        safe: Whether to build only the listed parts; otherwise what jsonargparse denies (os, subprocess, …) is rejected.

    Raises:
        BadValueError: The installed jsonargparse cannot reject names, as `safe` requires.
    """
    import jsonargparse
    from jsonargparse._common import parsing_settings

    settings = dict(parsing_settings)
    try:
        allowed = listed_classes() if safe else {}
        members = [f"{name}.{member}" for name, kind in allowed.items() for member in dir(kind)]  # load_from_checkpoint
        try:
            jsonargparse.set_parsing_settings(
                import_path_denylist=["*", *members] if safe else [], import_path_allowlist=list(allowed)
            )
        except TypeError as error:
            if safe:
                remedy = "Upgrade it: pip install -U jsonargparse"
                raise BadValueError("recipe", "--safe needs jsonargparse 4.53 or newer", remedy) from error
        yield
    finally:
        parsing_settings.update(settings)


@contextmanager
def search_path(*, safe: bool) -> Iterator[None]:
    """Search the working folder for modules, so that `datamodules.…` in a recipe resolves; in safe mode, never search it."""
    before, here = list(sys.path), Path.cwd()
    if safe:
        sys.path[:] = [folder for folder in sys.path if Path(folder or ".").resolve() != here]
    elif str(here) not in sys.path:
        sys.path.insert(0, str(here))
    try:
        yield
    finally:
        if safe:
            sys.path[:] = before


def listed_classes() -> dict[str, type]:
    """Return the classes that safe mode builds, by public name and by name in the defining module."""
    names = {package: importlib.import_module(package).__all__ for package in _TABVISION}
    names |= {f"{tree()}.{part}": kinds for part, kinds in _LIGHTNING.items()} | _OTHERS
    found: dict[str, type] = {}
    for package, members in names.items():
        for member in members:
            kind = getattr(importlib.import_module(package), member)
            if isinstance(kind, type):
                found |= {f"{package}.{member}": kind, f"{kind.__module__}.{kind.__qualname__}": kind}
    return found


def check_writes_here(trainer: Mapping[str, object], data: Mapping[str, object]) -> None:
    """Raise if a setting with an output path leads out of the working folder.

    Args:
        trainer: The settings of the Trainer, its callbacks and loggers.
        data: The class and settings of the datamodule.

    Raises:
        BadValueError: A path is absolute, is a URL, or goes up.

    Example:
        >>> check_writes_here({"logger": {"init_args": {"save_dir": "runs"}}}, {})
        >>> check_writes_here({"default_root_dir": "/"}, {})
        Traceback (most recent call last):
        tabvision.errors.BadValueError: recipe: --safe writes only inside the working folder, got '/'. Name a folder in it.
    """
    settings = data.get("init_args")
    written = [settings.get(name) for name in _WRITTEN] if isinstance(settings, Mapping) else []
    for _, text in texts_in([trainer, *written]):
        if _OUTSIDE.match(text):
            problem = f"--safe writes only inside the working folder, got {text!r}"
            raise BadValueError("recipe", problem, "Name a folder in it")


def texts_in(settings: object, name: str = "") -> Iterator[tuple[str, str]]:
    """Yield every string in nested settings, with the name of its setting.

    Example:
        >>> list(texts_in({"source": ["a.csv", "b.csv"], "split": {"share": 0.2}}))
        [('source', 'a.csv'), ('source', 'b.csv')]
    """
    if isinstance(settings, str | Path):
        yield name, str(settings)
    elif isinstance(settings, Mapping):
        for key, item in settings.items():
            yield from texts_in(item, str(key))
    elif isinstance(settings, list | tuple):
        for item in settings:
            yield from texts_in(item, name)
