"""Train from the command line: write the recipe, fit, print the metrics, write the predictions."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import yaml
from numpy.typing import NDArray

from tabvision import lightning as pl
from tabvision.callbacks.fit_table import save_kept_weights
from tabvision.cli.jobs import Job
from tabvision.cli.progress import progress_callbacks
from tabvision.cli.quiet import reworded_trainer_errors, tidied
from tabvision.cli.resume import guard_checkpoints, reworded_resume_errors
from tabvision.cli.tables import aligned, metrics_by_name, number
from tabvision.data import CollabDataModule
from tabvision.data.tables.write import check_not_read, write_frame, writing
from tabvision.data.targets import beside_target, encode_target
from tabvision.errors import BadValueError, count, shown, speaking
from tabvision.inference import Results, gather
from tabvision.inference.answers import answer_frame
from tabvision.inference.calibration.conformal import half_widths
from tabvision.inference.calibration.facts import Calibration
from tabvision.inference.calibration.fit import save_calibrated
from tabvision.inference.checkpoint import read_state
from tabvision.lightning import Callback, CSVLogger, TQDMProgressBar
from tabvision.logs import notes_at, quiet_lightning
from tabvision.tuning import cross_validate

if TYPE_CHECKING:
    from typing import TypeAlias

    from tabvision.data.base import TensorDataModule
    from tabvision.data.images.base import BaseImageDataModule
    from tabvision.modules import SupervisedModule, TabularModule

    _DataModule: TypeAlias = TensorDataModule | BaseImageDataModule

    _Fitted: TypeAlias = tuple[pl.Trainer, Mapping[str, float], pd.DataFrame, Results | None]

_WHO = "tabvision train"
_FILES = (
    *("report.html", "best.ckpt", "last.ckpt", "probe.ckpt", "metrics.csv", "metrics.json", "predictions.csv"),
    "recipe.yaml",
    "hparams.yaml",
    "bad_files.csv",
)


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
    if is_worker():
        return folder
    if folder.exists() and not folder.is_dir():
        raise BadValueError(_WHO, f"{folder} is a file, and a folder is needed", "Choose another folder with --out")
    held = [name for name in _FILES if (folder / name).exists()]
    with speaking(_WHO):
        for name in held:
            check_not_read(folder / name, [data, *reads])
    if held and not overwrite:
        problem = f"{folder} holds a run already ({', '.join(held)})"
        remedy = "Choose another folder with --out, or replace the run with --overwrite"
        if "last.ckpt" in held and "predictions.csv" not in held:
            problem = f"{folder} holds a run that was interrupted"
            remedy = (
                f"Go on with --resume {folder}, or replace it with --overwrite, or choose another folder with --out"
            )
        raise BadValueError(_WHO, problem, remedy)
    return folder


def run_job(job: Job, folder: Path, *, report: bool = True, resume: bool = False) -> None:
    """Train, or go on with a run that was interrupted, and write every result into the folder."""
    data, model = job.datamodule, job.model.build(job.datamodule.schema)
    start = time.perf_counter()
    with quiet_lightning(), notes_at(verbose=not job.quiet):
        fitted = _fit_bag(job, model, folder) if job.num_folds > 1 else _fit(job, model, folder, resume=resume)
        trainer, measured, table, results = fitted
        tested = _test(trainer, data)
    if trainer.is_global_zero:
        with speaking(_WHO):
            write_frame(table, folder / "predictions.csv", overwrite=True)
        more, naive = job.more(model, data) if job.more else ({}, {})
        part, title = ("val", "validation") if "val" in data.parts else ("train", "out-of-fold")
        measured, naive = {**measured, **more}, {**data.baseline(part), **naive}
        if "val/mae" in measured and results is not None and len(data.schema.target.columns) > 1:
            each, each_naive = _error_of_each_target(results, data.targets_of("train").numpy())
            measured, naive = {**measured, **each}, {**naive, **each_naive}
        print(_metrics_table(measured, naive, title))
        if sentence := _worse_than_naive(measured, naive):
            print(sentence)
        metrics = {title: metrics_by_name(measured, naive)}
        if tested:
            metrics["test"] = metrics_by_name(tested, data.baseline("test"))
            print(_metrics_table(tested, data.baseline("test"), f"test, {len(data.parts['test'].rows):,} rows"))
        _write_metrics(job, model, folder, time.perf_counter() - start, metrics)
        if job.intervals is not None:
            _add_intervals(data, table, job.intervals, folder / "best.ckpt")
        if report and results is not None:
            _write_report(job, folder, results, tested, metrics=measured, baseline=naive)
        _print_files(job, folder, title)


def _write_metrics(
    job: Job, model: SupervisedModule, folder: Path, seconds: float, metrics: Mapping[str, Mapping[str, Any]]
) -> None:
    """Write metrics.json: what was trained, and the metrics of the best network by the rows they were measured on."""
    networks = f"{job.num_folds} x " if job.num_folds > 1 else ""
    num_parameters = sum(each.numel() for each in model.parameters())
    facts = {
        "data": Path(str(job.data.init_args.get("source", ""))).name,
        "target": list(job.datamodule.schema.target.columns),
        "network": f"{networks}{type(model).__name__}, {count(num_parameters, 'parameter')}",
        "seconds": round(seconds, 1),
        "metrics": metrics,
    }
    with speaking(_WHO), writing(folder):
        (folder / "metrics.json").write_text(json.dumps(facts, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def _add_intervals(data: TensorDataModule, held_out: pd.DataFrame, coverage: float, checkpoint: Path) -> None:
    """Put intervals by the errors of held-out answers into a checkpoint, as `calibrate` does with rows of their own."""
    target = data.schema.target
    predictions = held_out.iloc[:, -target.task.num_predictions :].to_numpy()  # the last columns
    widths = half_widths(predictions, encode_target(data.frame.iloc[held_out["row"]], target), coverage)
    save_calibrated(checkpoint, Calibration(coverage=coverage, half_widths=widths), checkpoint)
    print(
        f"Intervals that hold {coverage:.4g} of new rows: the prediction ± {', '.join(f'{each:.4g}' for each in widths)}"
    )


def _test(trainer: pl.Trainer, data: _DataModule) -> Mapping[str, float]:
    """Return the metrics of the finished network on the test rows; none if there are no such rows."""
    if "test" not in data.parts:
        return {}
    (measured,) = trainer.validate(trainer.lightning_module, data.test_dataloader(), verbose=False)
    return measured


def _write_report(
    job: Job, folder: Path, results: Results, tested: Mapping[str, float], **figures: Mapping[str, float]
) -> None:
    """Write report.html; say in a sentence why there is none if that fails, since the run is whole without it."""
    from tabvision.cli.report import report_on
    from tabvision.inference import Predictor

    best = folder / "best.ckpt"
    is_val = "val" in job.datamodule.parts
    rows = f"{count(len(results), 'row' if not results.schema.is_of_images else 'image')} "
    rows += (
        "held out for validation, by which the epoch was chosen as well" if is_val else "of training, each out of fold"
    )
    try:
        history = pd.read_csv(folder / "metrics.csv") if (folder / "metrics.csv").exists() else None
        seen = _seen(job.datamodule, results) if isinstance(job.datamodule, CollabDataModule) else []
        details = {"measured_on": rows, "history": history, "slice_by": seen, "overwrite": True, **figures}
        predictor, page = Predictor(best, device="cpu"), folder / "report.html"
        facts: dict[str, object] = {"seed": job.seed}
        if tested:
            said = ", ".join(f"{name.removeprefix('val/')} {number(value)}" for name, value in sorted(tested.items()))
            facts["on test rows"] = f"{said} ({count(len(job.datamodule.parts['test'].rows), 'row')})"
        report_on(predictor, results, page, checkpoint=best, facts=facts, data=job.datamodule, **details)
    except Exception as error:
        print(f"No report was written: {type(error).__name__}: {shown(str(error))}")


def _seen(data: CollabDataModule, results: Results) -> list[pd.Series[int]]:
    """Return how often the user, and the item, of each row was seen in training."""
    tensors, rows = data.parts["train"]
    train, names = data.frame.iloc[tensors["index"][rows].numpy()], (data.user, data.item)
    counts = [results.frame[name].map(train[name].value_counts()).fillna(0).astype(int) for name in names]
    return [each.rename(f"how often {name} was seen in training") for each, name in zip(counts, names, strict=True)]


def _fit(job: Job, model: SupervisedModule, folder: Path, *, resume: bool = False) -> _Fitted:
    """Fit a network; return its Trainer, and metrics, answers and results of the rows that were held out."""
    data, last = job.datamodule, folder / "last.ckpt"
    saving = [part.build() for part in job.saving(dirpath=folder, enable_version_counter=False)]
    loggers = [CSVLogger(folder, name="", version=""), *_more_loggers(job, folder)]
    trainer = _make_trainer(job, folder, saving, logger=loggers)
    if resume and trainer.is_global_zero:
        _keep_metrics(trainer, folder, last)
    if not resume:
        _clear(folder)
    with _cleared_if_nothing_is_saved(folder), tidied(trainer), reworded_resume_errors():
        if not resume:
            _write_recipe(job.to_recipe(), folder)
            if job.probe is not None and not is_worker():
                job.probe.save(folder / "probe.ckpt", data)
        trainer.fit(model, data, ckpt_path=last if resume else None, weights_only=True if resume else None)
        save_kept_weights(trainer)
        trainer.loggers = []  # validation is not to be logged as an epoch
        held_out = data.loader("val") if "val" in data.parts else data.fold_loader()
        validation = data.val_dataloader() if "val" in data.parts else held_out  # without ratings with negatives
        best = saving[0].best_model_path
        (measured,) = trainer.validate(model, validation, ckpt_path=best, weights_only=True, verbose=False)
        gathered = gather(trainer.predict(model, held_out, weights_only=True))
    is_ranking = job.more is not None  # of pairs without a rating there are no wrong ones to answer
    files = getattr(data, "files", None)  # of images
    results = None if is_ranking else Results.of_gathered(data.schema, data.frame, gathered, files=files)
    return trainer, measured, _held_out(data, gathered, shown=job.shown), results


def _fit_bag(job: Job, model: TabularModule, folder: Path) -> _Fitted:
    """Fit a network for each fold, and save them as one; return as `_fit` does."""
    settings: dict[str, Any] = {"logger": False, "enable_checkpointing": False}
    trainer = _make_trainer(job, folder, **settings)  # saves; another fits each network
    _clear(folder)
    with tidied(trainer):
        found = cross_validate(
            model, job.datamodule, trainer=lambda: _make_trainer(job, folder, **settings), num_folds=job.num_folds
        )
        trainer.strategy.connect(found.module)
        trainer.save_checkpoint(folder / "best.ckpt", weights_only=True)
    return trainer, {f"val/{name}": value for name, value in found.metrics.items()}, found.predictions, found.results


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


def _more_loggers(job: Job, folder: Path) -> list[Any]:
    """Return the logger that the user asked for besides metrics.csv, which writes into the run's folder.

    Raises:
        BadValueError: Its package is not installed.
    """
    if job.logger is None:
        return []
    try:
        return [replace(job.logger, init_args={**job.logger.init_args, "save_dir": str(folder)}).build()]
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
        for file in [*(folder / name for name in _FILES), *folder.glob("bad_files_rank*.csv")]:
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


def _held_out(data: _DataModule, gathered: Mapping[str, Any], *, shown: Sequence[str] = ()) -> pd.DataFrame:
    """Return the target of the held-out rows beside the predictions of the best checkpoint.

    Args:
        data: The datamodule, whose frame has the rows that `index` numbers.
        gathered: What `gather` returns.
        shown: Columns to show beside the target.
    """
    answers = answer_frame(data.schema, gathered["predictions"].numpy())
    return beside_target(data.frame, [*shown, *data.schema.target.columns], gathered["index"].numpy(), answers)


def _error_of_each_target(results: Results, training: NDArray[Any]) -> tuple[dict[str, float], dict[str, float]]:
    """Return the mean absolute error of each of several targets, and that of the mean of the training rows.

    Args:
        results: What the model answered.
        training: The targets of the training rows, (N, T).
    """
    names = [f"val/mae of {name}" for name in results.schema.target.columns]
    constant = results.schema.task.constant(training)
    errors = (abs(results.target - answer).mean(axis=0).tolist() for answer in (results.predictions, constant))
    measured, naive = (dict(zip(names, each, strict=True)) for each in errors)
    return measured, naive


def _metrics_table(measured: Mapping[str, float], baseline: Mapping[str, float], title: str = "validation") -> str:
    """Return a table of the validation metrics beside those of a naive prediction, which ignores the input.

    Example:
        >>> print(_metrics_table({"val/loss": 0.5, "val/accuracy": 0.9}, {"val/accuracy": 0.6}))
        validation   model   naive
        accuracy    0.9000  0.6000
        loss        0.5000
    """
    found = metrics_by_name(measured, baseline)
    rows = [(name, number(each["model"]), number(each["naive"])) for name, each in found.items()]
    return aligned([(title, "model", "naive"), *rows])


def _worse_than_naive(measured: Mapping[str, float], baseline: Mapping[str, float]) -> str:
    """Return a sentence that names the metrics in which the model is worse than a naive prediction; "" if there are none.

    Example:
        >>> _worse_than_naive({"val/mae": 2.0, "val/r2": 0.1}, {"val/mae": 1.0, "val/r2": 0.0})
        'Worse than the naive prediction, which ignores the input: mae.'
    """
    lower = {name for name in baseline if name.startswith(("val/mae", "val/rmse", "val/distance"))}
    worse = [
        name.removeprefix("val/")
        for name, naive in sorted(baseline.items())
        if name in measured and (measured[name] > naive if name in lower else measured[name] < naive)
    ]
    return f"Worse than the naive prediction, which ignores the input: {', '.join(worse)}." if worse else ""


def _print_files(job: Job, folder: Path, title: str) -> None:
    """Print the path and the purpose of each file."""
    is_bag = job.num_folds > 1
    rows = "the validation rows" if title == "validation" else "every row, by members that did not learn from it"
    network = f"the {job.num_folds} networks" if is_bag else f"the network with the lowest {title} loss"
    texts = {
        "best.ckpt": f"{network}; all that `tabvision predict` needs",
        "last.ckpt": "the state after the last epoch, to train on from: `tabvision fit --config … --ckpt_path`",
        "probe.ckpt": "the linear probe, which answers as well",
        "metrics.csv": "loss and metrics of each epoch",
        "metrics.json": "the metrics above, for programs; `tabvision compare` reads it",
        "predictions.csv": f"{rows}: target, label, probabilities",
        "report.html": "what the network learned, and where it is wrong: open it in a browser",
        "recipe.yaml": f"this run; `tabvision fit --config` repeats it{' without the intervals' if job.intervals else ''}",
    }
    texts = {name: text for name, text in texts.items() if (folder / name).exists()}
    width = max(len(str(folder / name)) for name in texts)
    for name, text in texts.items():
        print(f"{folder / name!s:<{width}}  {text}")
    if is_bag:
        print(f"A recipe holds one fit, and this run was {job.num_folds}: the same command repeats it.")
