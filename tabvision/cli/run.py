"""Train from the command line: write the recipe, fit, print the metrics, write the predictions."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from tabvision import lightning as pl
from tabvision.callbacks.fit_table import save_kept_weights
from tabvision.cli.jobs import Job
from tabvision.cli.quiet import quiet_lightning, reworded_trainer_errors, tidied
from tabvision.cli.resume import guard_checkpoints
from tabvision.data.tables.write import check_not_read, write_frame, writing
from tabvision.data.targets import beside_target
from tabvision.errors import BadValueError, speaking
from tabvision.inference import gather
from tabvision.inference.answers import answer_frame
from tabvision.lightning import CSVLogger, ModelCheckpoint, TQDMProgressBar

if TYPE_CHECKING:
    from typing import TypeAlias

    from tabvision.data.base import TensorDataModule
    from tabvision.data.images.base import BaseImageDataModule

    _DataModule: TypeAlias = TensorDataModule | BaseImageDataModule

_WHO = "tabvision train"
_FILES = ("best.ckpt", "metrics.csv", "predictions.csv", "recipe.yaml", "hparams.yaml", "bad_files.csv")


def free_folder(out: str | None, data: str, *, overwrite: bool, reads: Sequence[object] = ()) -> Path:
    """Return the folder of a run, without creating or removing anything.

    Args:
        out: The folder as the user named it, or None for runs/NAME-OF-DATA.
        data: The data.
        overwrite: Whether the folder may hold a run, which will be removed.
        reads: Other files that the run reads.

    Raises:
        BadValueError: The folder already holds a run, or something that the run reads, or is a file.
    """
    source = Path(data).expanduser()
    is_pipe = source.exists() and not (source.is_file() or source.is_dir())  # resolved, the folder "." has a name too
    name = "" if is_pipe else source.resolve().name.lstrip(".").split(".")[0]
    folder = Path(out).expanduser() if out else Path("runs") / (name or "data")
    if _is_worker():
        return folder
    if folder.exists() and not folder.is_dir():
        raise BadValueError(_WHO, f"{folder} is a file, and a folder is needed", "Choose another folder with --out")
    held = [name for name in _FILES if (folder / name).exists()]
    with speaking(_WHO):
        for name in held:
            check_not_read(folder / name, [data, *reads])
    if held and not overwrite:
        problem = f"{folder} holds a run already ({', '.join(held)})"
        raise BadValueError(_WHO, problem, "Choose another folder with --out, or replace the run with --overwrite")
    return folder


def run_job(job: Job, folder: Path, *, accelerator: str, devices: str, precision: str | None = None) -> None:
    """Train and write every result into the folder."""
    data, model = job.datamodule, job.model.build(job.datamodule.schema)
    every = job.trainer["log_every_n_steps"]
    machine = {"accelerator": accelerator, "devices": devices, **({"precision": precision} if precision else {})}
    job = replace(job, trainer={**job.trainer, **machine})
    best = ModelCheckpoint(dirpath=folder, filename="best", monitor=job.monitor, enable_version_counter=False)
    callbacks = [*(part.build() for part in job.callbacks), best, TQDMProgressBar(refresh_rate=every)]
    logger = CSVLogger(folder, name="", version="")
    with quiet_lightning():
        with reworded_trainer_errors(_WHO):  # before the older run in the folder is removed
            own: dict[str, Any] = {"logger": logger, "default_root_dir": folder, "enable_model_summary": False}
            trainer = pl.Trainer(**job.trainer, **own, callbacks=callbacks)
        guard_checkpoints(trainer)
        _write_recipe(job.to_recipe(), folder)
        with tidied(trainer):
            trainer.fit(model, data)
            save_kept_weights(trainer)
            trainer.loggers = []  # validation is not to be logged as an epoch
            held_out = data.loader("val") if "val" in data.parts else data.fold_loader()
            measured = trainer.validate(model, held_out, ckpt_path="best", weights_only=True, verbose=False)[0]
            gathered = gather(trainer.predict(model, held_out, weights_only=True))
    if trainer.is_global_zero:
        _write_validation(data, gathered, folder, shown=job.shown)
        more, naive = job.more(model, data) if job.more else ({}, {})
        part, title = ("val", "validation") if "val" in data.parts else ("train", "out-of-fold")
        measured, naive = {**measured, **more}, {**data.baseline(part), **naive}
        print(_metrics_table(measured, naive, title))
        if sentence := _worse_than_naive(measured, naive):
            print(sentence)
        _print_files(folder, title)


def _write_recipe(recipe: Mapping[str, Any], folder: Path) -> None:
    """Create the folder, remove an older run from it, and write the recipe."""
    if _is_worker():
        return
    with speaking(_WHO), writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for name in _FILES:
            (folder / name).unlink(missing_ok=True)
        text = yaml.safe_dump(dict(recipe), sort_keys=False, allow_unicode=True)
        (folder / "recipe.yaml").write_text(text, encoding="utf-8")


def _is_worker() -> bool:
    """Return whether this is not the first process of the run, which alone takes care of the folder."""
    return int(os.environ.get("LOCAL_RANK", "0")) != 0 or int(os.environ.get("NODE_RANK", "0")) != 0


def _write_validation(
    data: _DataModule, gathered: Mapping[str, Any], folder: Path, *, shown: Sequence[str] = ()
) -> None:
    """Write the target of the validation rows beside the predictions of the best checkpoint.

    Args:
        data: The datamodule, whose frame has the rows that `index` numbers.
        gathered: What `gather` returns.
        folder: The folder for predictions.csv.
        shown: Columns to write beside the target.
    """
    rows = gathered["index"].numpy()
    answers = answer_frame(data.schema, gathered["predictions"].numpy())
    table = beside_target(data.frame, [*shown, *data.schema.target.columns], rows, answers)
    with speaking(_WHO):
        write_frame(table, folder / "predictions.csv", overwrite=True)


def _metrics_table(measured: Mapping[str, float], baseline: Mapping[str, float], title: str = "validation") -> str:
    """Return a table of the validation metrics beside those of a naive prediction, which uses no column.

    Example:
        >>> print(_metrics_table({"val/loss": 0.5, "val/accuracy": 0.9}, {"val/accuracy": 0.6}))
        validation   model   naive
        accuracy    0.9000  0.6000
        loss        0.5000
    """
    rows = [(title, "model", "naive")]
    for name, value in sorted(measured.items()):
        rows.append((name.removeprefix("val/"), _number(value), _number(baseline.get(name))))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [f"{name:<{widths[0]}}  {model:>{widths[1]}}  {naive:>{widths[2]}}" for name, model, naive in rows]
    return "\n".join(map(str.rstrip, lines))


def _worse_than_naive(measured: Mapping[str, float], baseline: Mapping[str, float]) -> str:
    """Return a sentence that names the metrics in which the model is worse than a naive prediction; "" if there are none.

    Example:
        >>> _worse_than_naive({"val/mae": 2.0, "val/r2": 0.1}, {"val/mae": 1.0, "val/r2": 0.0})
        'Worse than the naive prediction, which uses no column: mae.'
    """
    lower = {name for name in baseline if name.endswith(("/mae", "/rmse"))}
    worse = [
        name.removeprefix("val/")
        for name, naive in sorted(baseline.items())
        if name in measured and (measured[name] > naive if name in lower else measured[name] < naive)
    ]
    return f"Worse than the naive prediction, which uses no column: {', '.join(worse)}." if worse else ""


def _number(value: float | None) -> str:
    """Return four decimals, or four significant digits of small and large numbers; "" for None and NaN."""
    if value is None or math.isnan(value):
        return ""
    return f"{value:.4f}" if value == 0 or 1e-3 <= abs(value) < 1e5 else f"{value:.4g}"


def _print_files(folder: Path, title: str) -> None:
    """Print the path and the purpose of each file."""
    rows = "the validation rows" if title == "validation" else "every row, by members that did not learn from it"
    texts = {
        "best.ckpt": f"the network with the lowest {title} loss; all that `tabvision predict` needs",
        "metrics.csv": "loss and metrics of each epoch",
        "predictions.csv": f"{rows}: target, label, probabilities",
        "recipe.yaml": "this run; `tabvision fit --config` repeats it",
    }
    width = max(len(str(folder / name)) for name in texts)
    for name, text in texts.items():
        print(f"{folder / name!s:<{width}}  {text}")
