"""Train from the command line: write the recipe, fit, print the metrics, write the predictions."""

from __future__ import annotations

import math
import os
import shutil
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from tabvision import lightning as pl
from tabvision.callbacks.average_and_stop import AverageAndStop, save_kept_weights
from tabvision.cli.chain import write_chain
from tabvision.cli.folder import (
    OUT_OF_FOLD,
    PROBE,
    REFIT,
    RESUME_FILE,
    TRAINED,
    alone_in,
    clear,
    cleared_if_nothing_is_saved,
    is_worker,
    recipe_file,
)
from tabvision.cli.jobs import Job, build, extra_logger
from tabvision.cli.outputs import (
    add_extra_metrics,
    add_intervals,
    held_out_table,
    is_without_ratings,
    naive_metrics,
    print_files,
    print_metrics,
    with_row_numbers,
    write_metrics,
    write_run_report,
)
from tabvision.cli.refit import Refit, refit, refit_head, refits, refits_head
from tabvision.cli.run_recipe import write_recipe
from tabvision.cli.trainer import (
    continue_metrics_file,
    make_trainer,
    reworded_resume_errors,
    tidied,
)
from tabvision.data.tables.write import write_frame, writing, written_whole
from tabvision.errors import BadValueError, speaking
from tabvision.inference import Results, gather
from tabvision.lightning import CSVLogger, ModelCheckpoint, callbacks_of
from tabvision.logs import notes_at, quiet_lightning
from tabvision.metrics import is_higher_better
from tabvision.tuning import FindLR, cross_validate, probe

if TYPE_CHECKING:
    from tabvision.modules import SupervisedModule, TabularModule

_WHO = "tabvision train"
_LINEAR = {  # networks with a linear head, and the message if one is the best
    PROBE: "The linear probe is better than the trained network, or about as good: best.ckpt holds the probe.",
    REFIT: "The trained body is better, or about as good, with a newly fitted linear head: best.ckpt holds that.",
}


@dataclass(frozen=True)
class _Fitted:
    """A trained network and its predictions for the held-out rows.

    Args:
        trainer: Its Trainer.
        measured: Its metrics on these rows; empty if no rows were held out.
        table: The targets beside the predictions; None if no rows were held out.
        results: The same as `Results`; also None for pairs without ratings.
        is_linear: Whether it is a linear head on a frozen body that was better than the network.
    """

    trainer: pl.Trainer
    measured: Mapping[str, float] = field(default_factory=dict)
    table: pd.DataFrame | None = None
    results: Results | None = None
    is_linear: bool = False


def run_job(job: Job, folder: Path, *, resume: bool = False) -> None:
    """Train, or resume an interrupted run, and write every result to the run's own folder."""
    job, data = replace(job, refit=refits(job) or job.refit), job.datamodule  # keep None, which a head checks too
    model: Any = job.module or build(job.recipe["model"], data.schema)
    start = _start_time(recipe_file(folder), resume=resume)
    with ExitStack() as held:
        with quiet_lightning(), notes_at(verbose=not job.quiet):
            bag = job.num_folds > 1
            fitted = _fit_bag(job, model, folder, held) if bag else _fit(job, model, folder, held, resume=resume)
            tested: Mapping[str, float] = {}
            if "test" in data.parts:
                network = fitted.trainer.lightning_module
                (tested,) = fitted.trainer.validate(network, data.test_dataloader(), verbose=False)
            anew = refit(job, folder, fitted.trainer) if job.refit else None
        if fitted.trainer.is_global_zero:
            fitted = replace(fitted, is_linear=fitted.is_linear and refits_head(job))
            _write_results(job, model, folder, fitted, tested, anew, start=start)


def _write_results(
    job: Job,
    model: SupervisedModule,
    folder: Path,
    fitted: _Fitted,
    tested: Mapping[str, float],
    anew: Refit | None,
    *,
    start: float,
) -> None:
    """Print the metrics and write the outputs of a finished run."""
    data = job.datamodule
    naive: Mapping[str, float] = {}
    metrics, title = {}, job.measured_on
    if fitted.table is not None:
        with speaking(_WHO):
            write_frame(with_row_numbers(fitted.table, data), folder / "predictions.csv", overwrite=True)
        measured, naive = add_extra_metrics(job, model, fitted.measured, fitted.results)
        metrics[title] = print_metrics(measured, naive, title)
    if tested:
        title = f"test, {len(data.parts['test'].rows):,} rows"
        metrics["test"] = print_metrics(tested, naive_metrics(data, "test"), title)
    rate = next((callback.rate for callback in callbacks_of(fitted.trainer, FindLR)), None)
    seconds = max(0.0, time.time() - start)  # the clock may have been set back
    if job.intervals is not None and fitted.results is not None:
        add_intervals(fitted.results, job.intervals, folder / "best.ckpt", *([folder / TRAINED] if job.refit else []))
    if job.report is not False and fitted.results is not None:
        write_run_report(
            job,
            folder,
            fitted.results,
            tested,
            metrics=measured,
            baseline=naive,
            seconds=seconds,
            rates=_rates_of(fitted.trainer),
            linear_share=next((each.linear_share for each in callbacks_of(fitted.trainer, AverageAndStop)), 0.0),
            learns_all=job.refit or fitted.is_linear,
        )
    if fitted.is_linear:  # after the report, which shows the head that was measured
        anew = refit_head(job, folder, fitted.trainer)
    if job.verifiable:  # after all files are final
        with speaking(_WHO):
            head = write_chain(folder, job.recipe, data, fitted.trainer.strategy.root_device)
        print(f"The hash of the chain, to keep elsewhere: {head}")
    # last, since this file marks a run as finished
    if (folder / PROBE).exists():  # best.ckpt may hold another head
        model = type(model).load_from_checkpoint(folder / "best.ckpt", map_location="cpu", weights_only=True)
    write_metrics(job, model, folder, seconds, metrics, lr=rate, refit=None if anew is None else asdict(anew))
    (folder / TRAINED).unlink(missing_ok=True)
    print_files(job, folder, learns_all=fitted.is_linear)


def _rates_of(trainer: pl.Trainer) -> list[float]:
    """Return the peak learning rates of the layer groups in the last stage of a fit, in ascending order."""
    groups = [group for optimizer in trainer.optimizers for group in optimizer.param_groups]
    return sorted({float(group.get("initial_lr", group["lr"])) for group in groups})


def _start_time(recipe: Path, *, resume: bool) -> float:
    """Return when a run began, in seconds since 1970, not counting interruptions.

    It is stored as the recipe's modification time, so that a run can be resumed again.
    """
    now = time.time()
    if not resume or is_worker():
        return now
    trained = recipe.with_name("last.ckpt").stat().st_mtime - recipe.stat().st_mtime
    start = now - max(0.0, trained)
    with speaking(_WHO), writing(recipe.parent):
        os.utime(recipe, (start, start))
    return start


def _fit(job: Job, model: SupervisedModule, folder: Path, held: ExitStack, *, resume: bool) -> _Fitted:
    """Fit a network and predict the held-out rows; `held` keeps the folder locked from then on."""
    data, last = job.datamodule, folder / "last.ckpt"
    loggers = [CSVLogger(folder, name="", version=""), *_extra_loggers(job, folder)]
    trainer = make_trainer(job, folder, logger=loggers)
    if job.verifiable and trainer.world_size > 1:
        raise BadValueError(_WHO, f"--verifiable is for one device, got {trainer.world_size}", "Add --devices 1")
    held.enter_context(alone_in(folder))
    with (
        cleared_if_nothing_is_saved(folder),
        tidied(trainer, f"; continue with --resume {folder}"),
        reworded_resume_errors(),
    ):
        if resume and trainer.is_global_zero:
            continue_metrics_file(trainer, folder)
        if not resume:
            clear(folder)
        if not resume and not is_worker():
            with speaking(_WHO):
                write_recipe(folder / ("recipe.yaml" if job.module is None else RESUME_FILE), job)
            if job.probe is not None:
                job.probe.save(folder / PROBE, data)
        for logger in loggers[1:]:
            _begin_logging(logger)
        trainer.fit(model, data, ckpt_path=last if resume else None, weights_only=True if resume else None)
        save_kept_weights(trainer)
        trainer.loggers = []  # do not log validation as an epoch
        if not job.measured_on:
            return _Fitted(trainer)
        shown = data.sampled()
        shown.trainer = trainer
        measured, gathered, is_linear = _evaluate_best(job, model, trainer, shown, folder)
        with speaking(_WHO):
            table = held_out_table(shown, gathered)
    files = getattr(data, "files", None)  # the paths, for images
    results = None if is_without_ratings(data) else Results.of_gathered(data.schema, shown.frame, gathered, files=files)
    return _Fitted(trainer, measured, table, results, is_linear)


def _begin_logging(logger: Any) -> None:  # noqa: ANN401 - of any package
    """Make a logger start its run now instead of in the middle of the fit.

    Raises:
        BadValueError: It cannot, for example because its service does not know the user.
    """
    try:
        logger.experiment  # noqa: B018 - created on first access
    except Exception as error:
        name = type(logger).__name__.removesuffix("Logger").lower()
        problem = f"--logger {name} cannot start ({' '.join(str(error).split()).rstrip('.'):.300})"
        raise BadValueError(_WHO, problem, "Do what it asks, or leave --logger out") from error


def _evaluate_best(
    job: Job,
    model: SupervisedModule,
    trainer: pl.Trainer,
    shown: Any,  # noqa: ANN401 - one of our datamodules
    folder: Path,
) -> tuple[Mapping[str, float], Any, bool]:
    """Return the best network's metrics and its predictions for the rows shown, and whether it has a linear head."""
    data, trained = job.datamodule, folder / TRAINED
    best = callbacks_of(trainer, ModelCheckpoint)[0].best_model_path
    if trainer.is_global_zero and trained.exists():  # the run was stopped after this function
        trained.replace(best)
    trainer.strategy.barrier()
    held_out = shown.loader("val") if "val" in shown.parts else shown.fold_loader()
    validation = data.val_dataloader() if "val" in data.parts else held_out  # with negatives if there are no ratings
    (measured,) = trainer.validate(model, validation, ckpt_path=best, weights_only=True, verbose=False)
    networks, of_each = {best: model}, {best: measured}
    if (folder / PROBE).exists():  # also in a resumed run, and on every rank
        if trainer.is_global_zero:  # fit a linear head, like the probe's, on the network after the last epoch
            network: Any = type(model).load_from_checkpoint(folder / "last.ckpt", map_location="cpu", weights_only=True)
            probe(network.to(trainer.strategy.root_device), data).save(folder / REFIT, data)
        trainer.strategy.barrier()
        for name in _LINEAR:
            network = type(model).load_from_checkpoint(folder / name, map_location="cpu", weights_only=True)
            networks[name], (of_each[name],) = network, trainer.validate(network, validation, verbose=False)
    num_rows = len(data.parts["val"].rows) if refits_head(job) else None
    chosen = _best_network(of_each, str(next(iter(model.task.metrics()))), num_rows)
    gathered = gather(trainer.predict(networks[chosen], held_out, weights_only=True))
    if trainer.is_global_zero:
        if chosen != best:
            print(_LINEAR[chosen])
            Path(best).replace(trained)  # a resumed run starts from it
            with written_whole(Path(best)) as partial:
                shutil.copyfile(folder / chosen, partial)
        (folder / REFIT).unlink(missing_ok=True)
    return of_each[chosen], gathered, chosen != best


def _best_network(of_each: Mapping[str, Mapping[str, float]], metric: str, num_rows: int | None = None) -> str:
    """Return the name of the network with the lowest loss among those that are no worse than the probe in loss and metric.

    Args:
        of_each: Metrics on the validation rows, by network.
        metric: The metric.
        num_rows: The number of validation rows if a linear head will be refitted with them, which lowers its loss; the loss
            of a network with another head is then multiplied by 1 + 1 / sqrt(num_rows). None if no head will be refitted.

    Example:
        >>> probe = {"val/loss": 0.5, "val/accuracy": 0.8}
        >>> _best_network({"a": {"val/loss": 0.4, "val/accuracy": 0.7}, PROBE: probe}, "accuracy")
        'probe.ckpt'
        >>> _best_network({"a": {"val/loss": 0.4, "val/accuracy": 0.8}, PROBE: probe}, "accuracy")
        'a'
        >>> _best_network({"a": {"val/loss": 0.4, "val/accuracy": 0.8}, PROBE: probe}, "accuracy", num_rows=10)
        'probe.ckpt'
    """
    if PROBE not in of_each:
        return next(iter(of_each))
    handicap = 1 if num_rows is None else 1 + 1 / math.sqrt(num_rows)
    sign, of_probe = -1 if is_higher_better(metric) is False else 1, of_each[PROBE]
    better = {
        name: each["val/loss"] * (handicap if name not in _LINEAR else 1)
        for name, each in of_each.items()  # the comparisons exclude NaN
        if each["val/loss"] <= of_probe["val/loss"] and sign * each[f"val/{metric}"] >= sign * of_probe[f"val/{metric}"]
    }
    return min(better, key=better.__getitem__, default=PROBE)


def _fit_bag(job: Job, model: TabularModule, folder: Path, held: ExitStack) -> _Fitted:
    """Fit a network on each fold and save them as one; `held` as for `_fit`."""
    settings: dict[str, Any] = {"logger": False, "enable_checkpointing": False}
    trainer = make_trainer(job, folder, **settings)  # only saves; each network has its own Trainer
    with tidied(trainer):
        held.enter_context(alone_in(folder))
        clear(folder)
        data = job.datamodule
        out = None if data.sampled() is data else folder / OUT_OF_FOLD  # without it, predictions.csv has all rows
        found = cross_validate(
            model, data, trainer=lambda: make_trainer(job, folder, **settings), num_folds=job.num_folds, out=out
        )
        trainer.strategy.connect(found.module)
        trainer.save_checkpoint(folder / "best.ckpt", weights_only=True)
    measured = {f"val/{name}": value for name, value in found.metrics.items()}
    return _Fitted(trainer, measured, found.predictions, found.results)


def _extra_loggers(job: Job, folder: Path) -> list[Any]:
    """Return the loggers that the user asked for besides metrics.csv, which write to the run's folder."""
    loggers = job.recipe["trainer"].get("logger")
    names = [each["class_path"] for each in loggers[1:]] if isinstance(loggers, list) else []
    try:
        return [build(extra_logger(name, folder, name="", version="tensorboard")) for name in names]
    except ModuleNotFoundError as error:
        name = names[0].rpartition(".")[2].removesuffix("Logger").lower()
        problem = f"--logger {name} needs a package that is not installed"
        raise BadValueError(_WHO, problem, f"Install it: pip install {name}") from error
