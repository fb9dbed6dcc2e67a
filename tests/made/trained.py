"""A trained checkpoint for each kind of target, made once a session."""

import atexit
import contextlib
import functools
import io
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytorch_lightning as pl
import torch

from tabvision.cli import main
from tabvision.data import TabularDataModule
from tabvision.inference import export
from tabvision.modules import TabularModule
from tests.made.pairs import make_frame, tabular_data
from tests.made.tables import TRAIN, people
from tests.made.trainers import quiet_trainer


@functools.cache
def folder() -> Path:
    """Where checkpoints lie until the tests are over."""
    path = Path(tempfile.mkdtemp(prefix="tabvision-tests-"))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


def fitted(module: pl.LightningModule, data: pl.LightningDataModule, name: str, *, max_epochs: int) -> Path:
    """The checkpoint that a quiet Trainer on the CPU writes after so many epochs."""
    trainer = quiet_trainer(default_root_dir=folder(), max_epochs=max_epochs)
    trainer.fit(module, data)
    trainer.save_checkpoint(folder() / f"{name}.ckpt")
    return folder() / f"{name}.ckpt"


@functools.cache
def trained(target: str) -> tuple[Path, TabularDataModule, TabularModule]:
    """The checkpoint of a module trained on that target, its data and the module."""
    torch.manual_seed(0)
    data = tabular_data(target)
    module = TabularModule(data.schema, widths=[8], lr=2e-2, weight_decay=0.01)
    return fitted(module, data, target, max_epochs=2), data, module.eval()


@functools.cache
def exported(target: str) -> Path:
    """The same as an ONNX file; a fork of the test process may have written it before."""
    return export(trained(target)[0], folder() / f"{target}.onnx", overwrite=True).path


@functools.cache
def _trained_run(make: Callable[[], pd.DataFrame], words: tuple[str, ...]) -> Path:
    path = Path(tempfile.mkdtemp(dir=folder()))
    with contextlib.chdir(path), contextlib.redirect_stdout(io.StringIO()):
        make().to_csv("people.csv", index=False)
        assert main(words) == 0
    return path


def copy_run(target: Path, make: Callable[[], pd.DataFrame] = people, words: tuple[str, ...] = tuple(TRAIN)) -> Path:
    """Copies a table and the run of a command on it, which is trained once a session, and returns the run's folder."""
    shutil.copytree(_trained_run(make, words), target, dirs_exist_ok=True)
    return target / "runs" / "people"


def raw(rows: int = 40) -> pd.DataFrame:
    """Rows never seen, with gaps and a category that training lacks."""
    frame = make_frame(rows, seed=5)[["x", "z", "job", "size"]]
    frame.loc[3, "job"] = "astronaut"
    return frame
