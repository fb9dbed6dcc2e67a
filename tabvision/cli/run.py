"""Train from the command line: write the recipe, fit, print the metrics, write the predictions."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import yaml

from tabvision import lightning as pl
from tabvision.callbacks.fit_table import save_kept_weights
from tabvision.cli.jobs import CHECKPOINTS, LOGGERS, Job
from tabvision.cli.outputs import (
    add_extra_metrics,
    add_intervals,
    held_out_table,
    metrics_table,
    naive_metrics,
    print_files,
    with_row_numbers,
    worse_than_naive,
    write_metrics,
    write_run_report,
)
from tabvision.cli.printing import metrics_by_name
from tabvision.cli.progress import progress_callbacks
from tabvision.cli.trainer import guard_checkpoints, reworded_resume_errors, reworded_trainer_errors, tidied
from tabvision.data.tables.files import name_of
from tabvision.data.tables.read import Source
from tabvision.data.tables.write import check_not_read, write_frame, writing
from tabvision.errors import BadValueError, speaking
from tabvision.inference import Results, gather
from tabvision.inference.checkpoint import read_state
from tabvision.lightning import Callback, CSVLogger, TQDMProgressBar
from tabvision.logs import notes_at, quiet_lightning
from tabvision.tuning import FindLR, cross_validate

if TYPE_CHECKING:
    import torch

    from tabvision.cli.outputs import DataModule
    from tabvision.modules import SupervisedModule, TabularModule

_WHO = "tabvision train"
_FILES = (
    *("report.html", "best.ckpt", "last.ckpt", "probe.ckpt", "metrics.csv", "metrics.json", "predictions.csv"),
    "recipe.yaml",
    "hparams.yaml",
    "bad_files.csv",
    "chain.jsonl",
)


@dataclass(frozen=True)
class _Fitted:
    """A trained network, and what it answered of the rows that were held out.

    Args:
        trainer: The Trainer that has it.
        measured: Its metrics on these rows; none if no rows were held out.
        table: The targets beside the answers; likewise.
        results: The same to be interpreted; None also for pairs without ratings.
    """

    trainer: pl.Trainer
    measured: Mapping[str, float] = field(default_factory=dict)
    table: pd.DataFrame | None = None
    results: Results | None = None


@speaking(_WHO)
def free_folder(out: str | None, data: Source, *, overwrite: bool, reads: Sequence[object] = ()) -> Path:
    """Return the folder of a run, without creating or removing anything.

    Args:
        out: The folder as the user named it, or None for runs/NAME-OF-DATA.
        data: The data.
        overwrite: Whether the folder may hold a run, which will be removed.
        reads: Other files that the run reads.

    Raises:
        BadValueError: The folder already holds a run, or something that the run reads, or is a file.
    """
    folder = Path(out).expanduser() if out else Path("runs") / name_of(data)
    if is_worker():
        return folder
    if folder.exists() and not folder.is_dir():
        raise BadValueError(f"{folder} is a file, and a folder is needed", "Choose another folder with --out")
    held = [name for name in _FILES if (folder / name).exists()]
    for name in held:
        check_not_read(folder / name, [*(data if isinstance(data, list) else [data]), *reads])
    if held and not overwrite:
        problem = f"{folder} holds a run already ({', '.join(held)})"
        remedy = "Choose another folder with --out, or replace the run with --overwrite"
        if "last.ckpt" in held and not is_finished(folder):
            problem = f"{folder} holds a run that was interrupted"
            remedy = (
                f"Go on with --resume {folder}, or replace it with --overwrite, or choose another folder with --out"
            )
        raise BadValueError(problem, remedy)
    return folder


def is_finished(folder: Path) -> bool:
    """Return whether the run in a folder came to its end."""
    return any((folder / name).exists() for name in ("metrics.json", "predictions.csv"))


def run_job(job: Job, folder: Path, *, report: bool = True, resume: bool = False) -> None:
    """Train, or go on with a run that was interrupted, and write every result into the folder, which is its alone."""
    with ExitStack() as held:
        _run(job, folder, held, report=report, resume=resume)


def _run(job: Job, folder: Path, held: ExitStack, *, report: bool, resume: bool) -> None:
    data = job.datamodule
    model: Any = job.module or job.model.build(data.schema)
    start = _start_of(folder, resume=resume)
    with quiet_lightning(), notes_at(verbose=not job.quiet):
        fitted = (
            _fit_bag(job, model, folder, held) if job.num_folds > 1 else _fit(job, model, folder, held, resume=resume)
        )
        tested = _test(fitted.trainer, data)
    if not fitted.trainer.is_global_zero:
        return
    naive: Mapping[str, float] = {}
    metrics, title = {}, job.measured_on
    if fitted.table is not None:
        with speaking(_WHO):
            write_frame(with_row_numbers(fitted.table, data), folder / "predictions.csv", overwrite=True)
        measured, naive = add_extra_metrics(job, model, fitted.measured, fitted.results)
        metrics[title] = _printed(measured, naive, title)
    if tested:
        title = f"test, {len(data.parts['test'].rows):,} rows"
        metrics["test"] = _printed(tested, naive_metrics(data, "test"), title)
    callbacks: list[Callback] = fitted.trainer.callbacks  # type: ignore[attr-defined]  # set by Lightning's connector
    rate = next((callback.rate for callback in callbacks if isinstance(callback, FindLR)), None)
    write_metrics(job, model, folder, time.time() - start, metrics, rate)
    if job.intervals is not None and fitted.table is not None:
        add_intervals(data.sampled(), fitted.table, job.intervals, folder / "best.ckpt")
    if report and fitted.results is not None:
        write_run_report(job, folder, fitted.results, tested, metrics=measured, baseline=naive)
    _write_chain(job, folder, fitted.trainer.strategy.root_device)
    print_files(job, folder)


def _printed(
    measured: Mapping[str, float], naive: Mapping[str, float], title: str
) -> dict[str, dict[str, float | None]]:
    """Print the metrics beside those of a naive answer, and return them by name."""
    print(metrics_table(measured, naive, title))
    if sentence := worse_than_naive(measured, naive):
        print(sentence)
    return metrics_by_name(measured, naive)


def _write_chain(job: Job, folder: Path, device: torch.device) -> None:
    """Write the hashes of a run that is to be verified, once all its files are final."""
    if job.verifiable:
        from tabvision.cli.chain import write_chain

        with speaking(_WHO):
            head = write_chain(folder, job.to_recipe(), job.datamodule, device)
        print(f"The hash of the chain, to keep elsewhere: {head}")


def _start_of(folder: Path, *, resume: bool) -> float:
    """Return when a run began, in seconds since 1970; if it was interrupted, as if it had not been.

    The recipe is dated by it, so that a run may be resumed again.
    """
    now, recipe = time.time(), folder / "recipe.yaml"
    if not resume or is_worker():
        return now
    trained = (folder / "last.ckpt").stat().st_mtime - recipe.stat().st_mtime
    start = now - max(0.0, trained)
    with speaking(_WHO), writing(folder):
        os.utime(recipe, (start, start))
    return start


def _test(trainer: pl.Trainer, data: DataModule) -> Mapping[str, float]:
    """Return the metrics of the finished network on the test rows; none if there are no such rows."""
    if "test" not in data.parts:
        return {}
    (measured,) = trainer.validate(trainer.lightning_module, data.test_dataloader(), verbose=False)
    return measured


def _fit(job: Job, model: SupervisedModule, folder: Path, held: ExitStack, *, resume: bool = False) -> _Fitted:
    """Fit a network, and answer the rows that were held out; `held` holds the folder from then on."""
    data, last = job.datamodule, folder / "last.ckpt"
    saving = [part.build() for part in job.saving(dirpath=folder, enable_version_counter=False)]
    loggers = [CSVLogger(folder, name="", version=""), *_extra_logger(job, folder)]
    trainer = _make_trainer(job, folder, saving, logger=loggers)
    if job.verifiable and trainer.world_size > 1:
        raise BadValueError(_WHO, f"--verifiable is for one device, got {trainer.world_size}", "Add --devices 1")
    held.enter_context(_alone_in(folder))
    with (
        _cleared_if_nothing_is_saved(folder),
        tidied(trainer, f"; go on with --resume {folder}"),
        reworded_resume_errors(),
    ):
        if resume and trainer.is_global_zero:
            _keep_metrics(trainer, folder, last)
        if not resume:
            _clear(folder)
            if job.module is None:
                _write_recipe(job.to_recipe(), folder)
            if job.probe is not None and not is_worker():
                job.probe.save(folder / "probe.ckpt", data)
        trainer.fit(model, data, ckpt_path=last if resume else None, weights_only=True if resume else None)
        save_kept_weights(trainer)
        trainer.loggers = []  # validation is not to be logged as an epoch
        if not job.measured_on:
            return _Fitted(trainer)
        shown = data.sampled()
        shown.trainer = trainer
        measured, gathered = _held_out(job, model, trainer, shown, folder, saving[0].best_model_path)
        with speaking(_WHO):
            table = held_out_table(shown, gathered, shown=job.shown)
    is_ranking = job.extra_metrics is not None  # of pairs without a rating there are no wrong ones to answer
    files = getattr(data, "files", None)  # of images
    results = None if is_ranking else Results.of_gathered(data.schema, shown.frame, gathered, files=files)
    return _Fitted(trainer, measured, table, results)


def _held_out(
    job: Job,
    model: SupervisedModule,
    trainer: pl.Trainer,
    shown: Any,  # noqa: ANN401 - one of our datamodules
    folder: Path,
    best: str,
) -> tuple[Mapping[str, float], Any]:
    """Return the best network's metrics, and its answers to the rows shown; a probe with a lower loss takes its place."""
    data = job.datamodule
    held_out = shown.loader("val") if "val" in shown.parts else shown.fold_loader()
    validation = data.val_dataloader() if "val" in data.parts else held_out  # without ratings with negatives
    (measured,) = trainer.validate(model, validation, ckpt_path=best, weights_only=True, verbose=False)
    kept, probed = model, folder / "probe.ckpt"
    if probed.exists():  # also of a run that was resumed, and on every rank
        probe = type(model).load_from_checkpoint(probed, map_location="cpu", weights_only=True)
        (of_probe,) = trainer.validate(probe, validation, verbose=False)
        if not measured["val/loss"] <= of_probe["val/loss"]:  # so if it is not a number
            kept, measured = probe, of_probe
    gathered = gather(trainer.predict(kept, held_out, weights_only=True))
    if kept is not model and trainer.is_global_zero:  # when little is left to do: what is resumed begins with best.ckpt
        print("The linear probe is better than the network after training, so it is what best.ckpt holds.")
        shutil.copyfile(probed, best)
    return measured, gathered


def _fit_bag(job: Job, model: TabularModule, folder: Path, held: ExitStack) -> _Fitted:
    """Fit a network for each fold, and save them as one; `held` as for `_fit`."""
    settings: dict[str, Any] = {"logger": False, "enable_checkpointing": False}
    trainer = _make_trainer(job, folder, **settings)  # saves; another fits each network
    held.enter_context(_alone_in(folder))
    with tidied(trainer):
        _clear(folder)
        found = cross_validate(
            model, job.datamodule, trainer=lambda: _make_trainer(job, folder, **settings), num_folds=job.num_folds
        )
        trainer.strategy.connect(found.module)
        trainer.save_checkpoint(folder / "best.ckpt", weights_only=True)
    measured = {f"val/{name}": value for name, value in found.metrics.items()}
    return _Fitted(trainer, measured, found.predictions, found.results)


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Hold a run's folder, so that no second run writes into it or removes it meanwhile; a process that dies lets go of it.

    Raises:
        BadValueError: Another run holds it.
    """
    if is_worker() or os.name == "nt":  # Windows has no such lock
        yield
        return
    import fcntl

    with speaking(_WHO), writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        held = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            problem = f"another run is writing into {folder}"
            raise BadValueError(_WHO, problem, "Wait until it ends, or choose another folder with --out") from error
        except OSError:
            pass  # a file system without locks
        yield
    finally:
        os.close(held)


def _keep_metrics(trainer: pl.Trainer, folder: Path, last: Path) -> None:
    """Have the logger go on below the epochs that metrics.csv has up to the checkpoint; it would begin the file anew."""
    file, epoch = folder / "metrics.csv", read_state(last)["epoch"]
    if not file.exists() or not file.stat().st_size:  # killed as it began to write
        return
    before = pd.read_csv(file, dtype="str").sort_index(axis=1)  # as the writer sorts its columns
    logger: Any = trainer.logger
    logger.experiment.metrics_keys = [*before.columns]  # creates the writer, which removes the file
    before = before.dropna(subset=["epoch", "step"])  # killed within a line
    before[pd.to_numeric(before["epoch"]) <= epoch].to_csv(file, index=False)


def _make_trainer(job: Job, folder: Path, callbacks: Sequence[Callback] = (), **settings: Any) -> pl.Trainer:  # noqa: ANN401
    """Return a new Trainer of the run, before the older run in the folder is removed."""
    shown = progress_callbacks(job.trainer["log_every_n_steps"], quiet=job.quiet)
    bar = {} if any(isinstance(each, TQDMProgressBar) for each in shown) else {"enable_progress_bar": False}
    own: dict[str, Any] = {"default_root_dir": folder, "enable_model_summary": False, **bar, **settings}
    with reworded_trainer_errors(_WHO):
        trainer = pl.Trainer(
            **job.trainer, **own, callbacks=[*(part.build() for part in job.callbacks), *callbacks, *shown]
        )
    guard_checkpoints(trainer)
    return trainer


def _extra_logger(job: Job, folder: Path) -> list[Any]:
    """Return the logger that the user asked for besides metrics.csv, which writes into the run's folder.

    Raises:
        BadValueError: Its package is not installed.
    """
    if job.logger is None:
        return []
    try:
        is_board = job.logger.class_path.endswith(LOGGERS["tensorboard"])
        named = {"name": "", "version": "tensorboard"} if is_board else {}  # else it would be lightning_logs/version_0
        return [replace(job.logger, init_args={"save_dir": str(folder), **named}).build()]
    except ModuleNotFoundError as error:
        name = job.logger.class_path.rpartition(".")[2].removesuffix("Logger").lower()
        raise BadValueError(
            _WHO, f"--logger {name} needs a package that is not installed", f"pip install {name}"
        ) from error


def _clear(folder: Path) -> None:
    """Create the folder, or remove an older run from it."""
    if is_worker():
        return
    with speaking(_WHO), writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for file in [
            *(folder / name for name in _FILES),
            *folder.glob("bad_files_rank*.csv"),
            *folder.glob("tensorboard/events.*"),
            *folder.glob(f"{CHECKPOINTS}/step=*.ckpt"),
        ]:
            file.unlink(missing_ok=True)


@contextmanager
def _cleared_if_nothing_is_saved(folder: Path) -> Iterator[None]:
    """Remove what the run wrote if it fails before it saves a network, so that nothing is in the way of the next start."""
    try:
        yield
    except BaseException:
        if not any((folder / name).exists() for name in ("best.ckpt", "last.ckpt")):
            _clear(folder)
        raise


def _write_recipe(recipe: Mapping[str, Any], folder: Path) -> None:
    if is_worker():
        return
    with speaking(_WHO), writing(folder):
        text = yaml.safe_dump(dict(recipe), sort_keys=False, allow_unicode=True)
        (folder / "recipe.yaml").write_text(text, encoding="utf-8")


def is_worker() -> bool:
    """Return whether this is not the first process of the run, which alone takes care of the folder."""
    return int(os.environ.get("LOCAL_RANK", "0")) != 0 or int(os.environ.get("NODE_RANK", "0")) != 0
