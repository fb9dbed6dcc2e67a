"""One training run from the command line: a folder, a recipe, a fit, a table of measures, predictions."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytorch_lightning as pl
import yaml
from pytorch_lightning.callbacks import ModelCheckpoint, TQDMProgressBar
from pytorch_lightning.loggers import CSVLogger

from tabvision.cli.jobs import Job
from tabvision.data.base import TensorDataModule
from tabvision.data.writing import write_frame
from tabvision.errors import BadValueError
from tabvision.inference import gather
from tabvision.inference.answers import answer_frame

WHO = "tabvision train"
FILES = ("best.ckpt", "metrics.csv", "predictions.csv", "recipe.yaml", "hparams.yaml")


def free_folder(out: str | None, data: str, *, overwrite: bool) -> Path:
    """The folder of a run; nothing is made or removed yet.

    Raises:
        BadValueError: It holds a run already, or is a file.
    """
    folder = Path(out).expanduser() if out else Path("runs") / Path(data).name.split(".")[0]
    if _is_helper():
        return folder
    if folder.exists() and not folder.is_dir():
        raise BadValueError(WHO, f"{folder} is a file, and a folder is needed", "Choose another folder with --out")
    held = [name for name in FILES if (folder / name).exists()]
    if held and not overwrite:
        problem = f"{folder} holds a run already ({', '.join(held)})"
        raise BadValueError(WHO, problem, "Choose another folder with --out, or replace the run with --overwrite")
    return folder


def train(job: Job, folder: Path, *, accelerator: str, devices: str, precision: str | None = None) -> None:
    """Trains and writes everything into the folder."""
    data, model = job.datamodule, job.model.build(job.datamodule.schema)
    every = job.trainer["log_every_n_steps"]
    machine = {"accelerator": accelerator, "devices": devices, **({"precision": precision} if precision else {})}
    job = replace(job, trainer={**job.trainer, **machine})
    write_recipe(job.to_recipe(), folder)
    best = ModelCheckpoint(dirpath=folder, filename="best", monitor="val/loss", enable_version_counter=False)
    with quiet_lightning():
        trainer = pl.Trainer(
            **job.trainer,
            logger=CSVLogger(folder, name="", version=""),
            callbacks=[*(part.build() for part in job.callbacks), best, TQDMProgressBar(refresh_rate=every)],
            enable_model_summary=False,
        )
        trainer.fit(model, data)
        trainer.loggers = []  # what follows is no epoch of the fit
        measured = trainer.validate(model, data, ckpt_path="best", weights_only=True, verbose=False)[0]
        gathered = gather(trainer.predict(model, data.val_dataloader(), weights_only=True))
    if trainer.is_global_zero:
        write_validation(data, gathered, folder, shown=job.shown)
        print(metrics_table(measured, data.baseline()))
        print_files(folder)


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Keeps to itself what Lightning would say of the machine, the folder and the loader: a newcomer can do nothing of it."""
    logger = logging.getLogger("pytorch_lightning")
    level = logger.level
    logger.setLevel(logging.WARNING)
    with warnings.catch_warnings():
        for remark in (".*exists and is not empty.*", ".*does not have many workers.*", ".*LeafSpec.*deprecated.*"):
            warnings.filterwarnings("ignore", message=remark)
        try:
            yield
        finally:
            logger.setLevel(level)


def write_recipe(recipe: Mapping[str, Any], folder: Path) -> None:
    """Writes the recipe into the folder, which is made, and freed of an older run."""
    if _is_helper():
        return
    folder.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        (folder / name).unlink(missing_ok=True)
    text = yaml.safe_dump(dict(recipe), sort_keys=False, allow_unicode=True)
    (folder / "recipe.yaml").write_text(text, encoding="utf-8")


def _is_helper() -> bool:
    """Whether the first process of this very run has started this one, and sees to the folder."""
    return int(os.environ.get("LOCAL_RANK", "0")) != 0 or int(os.environ.get("NODE_RANK", "0")) != 0


def write_validation(
    data: TensorDataModule, gathered: Mapping[str, Any], folder: Path, *, shown: Sequence[str] = ()
) -> None:
    """Writes the validation rows' own target beside what the best checkpoint answers."""
    rows = gathered["index"].numpy()
    answers = answer_frame(data.schema, gathered["predictions"].numpy())
    truth = data.frame.iloc[rows][[*shown, *data.schema.target.columns]].reset_index(drop=True)
    truth = truth.rename(columns={name: f"true_{name}" for name in truth if name in answers})
    table = pd.concat([pd.DataFrame({"row": rows}), truth, answers], axis=1)
    write_frame(table, folder / "predictions.csv", who=WHO, overwrite=True)


def metrics_table(measured: Mapping[str, float], baseline: Mapping[str, float]) -> str:
    """The validation metrics beside those of a prediction that looks at no column.

    Example:
        >>> print(metrics_table({"val/loss": 0.5, "val/accuracy": 0.9}, {"val/accuracy": 0.6}))
        validation      model   naive
        accuracy       0.9000  0.6000
        loss           0.5000
    """
    lines = [f"{'validation':<12}{'model':>9}{'naive':>8}"]
    for name, value in sorted(measured.items()):
        naive = baseline.get(name)
        beside = "" if naive is None else f"{naive:>8.4f}"
        lines.append(f"{name.removeprefix('val/'):<12}{value:>9.4f}{beside}")
    return "\n".join(lines)


def print_files(folder: Path) -> None:
    """Says where everything is, and what to do with it."""
    texts = {
        "best.ckpt": "the network with the lowest validation loss; all that `tabvision predict` needs",
        "metrics.csv": "loss and metrics of each epoch",
        "predictions.csv": "the validation rows: target, label, probabilities",
        "recipe.yaml": "this run; `tabvision fit --config` repeats it",
    }
    width = max(len(str(folder / name)) for name in texts)
    for name, text in texts.items():
        print(f"{folder / name!s:<{width}}  {text}")
