"""What a run prints and writes at the end: metrics, predictions, intervals, the report, and a list of its files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import pandas as pd
import torch

from tabvision.cli.folder import OUT_OF_FOLD, PROBE, TRAINED, chosen_by_validation, recipe_file
from tabvision.cli.jobs import Job
from tabvision.cli.printing import format_number, format_table, json_number, short_name
from tabvision.cli.run_recipe import hash_of_rows
from tabvision.cli.splits import how_held_out
from tabvision.data import CollabDataModule
from tabvision.data.tables.write import written_whole
from tabvision.data.targets import beside_target
from tabvision.errors import BadValueError, count, shown, speaking
from tabvision.inference import Predictor, Results
from tabvision.inference.answers import answer_frame
from tabvision.inference.batches import finite_answers
from tabvision.inference.calibration.conformal import half_widths
from tabvision.inference.calibration.facts import Calibration
from tabvision.inference.calibration.fit import save_calibrated
from tabvision.inference.results import noun_of
from tabvision.metrics import is_higher_better

if TYPE_CHECKING:
    from tabvision.data.base import TensorDataModule
    from tabvision.data.images.base import BaseImageDataModule
    from tabvision.data.splits.base import PartName
    from tabvision.modules import SupervisedModule

    DataModule: TypeAlias = TensorDataModule | BaseImageDataModule

_WHO = "tabvision train"
_BLOCK = 65_536  # rows per block when computing losses
_RANKED, _RANKED_USERS = 10, 1_000  # the k of recall@k, and the most users to measure it for


def write_metrics(
    job: Job,
    model: SupervisedModule,
    folder: Path,
    seconds: float,
    metrics: Mapping[str, Mapping[str, Any]],
    **found: Any,  # noqa: ANN401 - plain data
) -> None:
    """Write metrics.json: what was trained and found, and the best network's metrics on each set of rows."""
    networks = f"{job.num_folds} x " if job.num_folds > 1 else ""
    num_parameters = sum(each.numel() for each in model.parameters())
    facts = {
        "data": short_name(job.recipe["data"]["init_args"].get("source", "")),
        "target": list(job.datamodule.schema.target.columns),
        "network": f"{networks}{type(model).__name__}, {count(num_parameters, 'parameter')}",
        "seconds": round(seconds, 1),
        **{name: value for name, value in found.items() if value is not None},
        "metrics": metrics,
    }
    with speaking(_WHO), written_whole(folder / "metrics.json") as partial:
        partial.write_text(json.dumps(facts, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def held_out_table(data: DataModule, gathered: Mapping[str, Any]) -> pd.DataFrame:
    """Return images, or user and item, and the target of the held-out rows, with the best checkpoint's predictions."""
    image = data.schema.image
    shown = [data.user, data.item] if isinstance(data, CollabDataModule) else image.columns if image else ()
    answers = answer_frame(data.schema, finite_answers(gathered["predictions"].numpy()))
    return beside_target(data.frame, [*shown, *data.schema.target.columns], gathered["index"].numpy(), answers)


def with_row_numbers(table: pd.DataFrame, data: DataModule) -> pd.DataFrame:
    """Return a table with the row numbers of the source, even if its rows are a sample of a prepared table."""
    sampled = data.sampled()
    return table if sampled is data else table.assign(row=sampled.frame.index[table["row"]])


def add_extra_metrics(
    job: Job, model: SupervisedModule, measured: Mapping[str, float], results: Results | None
) -> tuple[dict[str, float], dict[str, float]]:
    """Return the metrics of the held-out rows, including those for some kinds of data only, and the naive ones."""
    data = job.datamodule
    measured, naive = {**measured}, {**naive_metrics(data, "val" if "val" in data.parts else "train")}
    if is_without_ratings(data):
        from tabvision.interpret import ranking_metrics

        module: Any = model  # a CollabModule
        try:
            ranked: Mapping[str, float] = ranking_metrics(module, data, _RANKED, max_users=_RANKED_USERS)
        except BadValueError as error:  # validation may have no user or item seen in training
            print(error)
            ranked = {}
        for name in (f"recall@{_RANKED}", f"ndcg@{_RANKED}") if ranked else ():
            measured[f"val/{name}"], naive[f"val/{name}"] = ranked[name], ranked[f"{name}_popular"]
    if "val/mae" in measured and results is not None and len(data.schema.target.columns) > 1:
        names = [f"val/mae of {name}" for name in data.schema.target.columns]
        mean = data.schema.task.constant(data.targets_of("train").numpy())
        each, each_naive = (
            dict(zip(names, abs(results.target - answer).mean(axis=0).tolist(), strict=True))
            for answer in (results.predictions, mean)
        )
        measured |= each
        naive |= each_naive
    return measured, naive


def is_without_ratings(data: DataModule) -> bool:
    """Return whether the rows are pairs without a rating, for which a report has no wrong predictions to show."""
    return isinstance(data, CollabDataModule) and data.rating is None


def naive_metrics(data: DataModule, part: PartName) -> dict[str, float]:
    """Return the metrics of the best constant prediction for a split, and its loss if the task can give its logits."""
    if not (found := data.baseline(part)):
        return {}
    task = data.schema.task
    logits = task.logits_of(torch.from_numpy(task.constant(data.targets_of("train").numpy())).float())
    if logits is None:
        return found
    tensors, rows = data.parts[part]
    blocks = [tensors["target"][rows[start : start + _BLOCK]] for start in range(0, len(rows), _BLOCK)]
    losses = [task.loss(logits.expand(len(target), -1), target).double() for target in blocks]
    weights = tensors["weight"][rows].double() if "weight" in tensors else torch.ones(len(rows), dtype=torch.float64)
    return {**found, "val/loss": float(torch.cat(losses) @ weights / weights.sum())}


def print_metrics(
    measured: Mapping[str, float], naive: Mapping[str, float], title: str
) -> dict[str, dict[str, float | None]]:
    """Print the metrics beside those of a naive prediction and name those that are worse.

    Returns:
        Each metric of the model and of the naive prediction, with None for unknown values, as JSON can hold it.

    Example:
        >>> found = print_metrics({"val/loss": 0.5, "val/mae": 2.0}, {"val/mae": 1.0}, "validation")
        validation   model   naive
        loss        0.5000
        mae         2.0000  1.0000
        Worse than the naive prediction, which ignores the input: mae.
        >>> found
        {'loss': {'model': 0.5, 'naive': None}, 'mae': {'model': 2.0, 'naive': 1.0}}
    """
    found = {
        name.removeprefix("val/"): {"model": json_number(measured[name]), "naive": json_number(naive.get(name))}
        for name in sorted(measured)
    }
    rows = [(name, format_number(each["model"]), format_number(each["naive"])) for name, each in found.items()]
    print(format_table([(title, "model", "naive"), *rows]))
    worse = [
        name.removeprefix("val/")
        for name in sorted({*naive} & {*measured})
        if (-1 if is_higher_better(name.removeprefix("val/")) is False else 1) * (measured[name] - naive[name]) < 0
    ]
    if worse:
        print(f"Worse than the naive prediction, which ignores the input: {', '.join(worse)}.")
    return found


def add_intervals(results: Results, coverage: float, *checkpoints: Path) -> None:
    """Add intervals to checkpoints from the errors on held-out rows, as `calibrate` does from separate rows."""
    widths = half_widths(results.predictions, results.target, coverage)
    for checkpoint in checkpoints:
        save_calibrated(checkpoint, Calibration(coverage=coverage, half_widths=widths), checkpoint)
    print(
        f"Intervals that cover {coverage:.4g} of new rows: the prediction ± {', '.join(f'{each:.4g}' for each in widths)}"
    )


def write_run_report(
    job: Job,
    folder: Path,
    results: Results,
    tested: Mapping[str, float],
    *,
    metrics: Mapping[str, float],
    baseline: Mapping[str, float],
    seconds: float,
    rates: Sequence[float],
    linear_share: float,
    learns_all: bool,
) -> None:
    """Write report.html; if that fails, only print why, since the run is complete without it.

    Args:
        job: The run.
        folder: Its folder.
        results: The held-out rows, with the predictions of the network that was measured on them.
        tested: Its metrics on the test rows; empty without such rows.
        metrics: Its metrics on the held-out rows.
        baseline: Those of a naive prediction.
        seconds: How long the run took.
        rates: The peak learning rates of the layer groups, in ascending order.
        linear_share: The fraction of every prediction that a linear model makes up.
        learns_all: Whether best.ckpt was, or will be, trained on the held-out rows too.
    """
    data, history = job.datamodule, folder / "metrics.csv"
    # a bag, and a run that started from a trained network, cannot be repeated from a recipe
    has_recipe = (folder / "recipe.yaml").exists() and job.num_folds == 1
    try:
        from tabvision.cli.report import report_on  # needs packages that may not be installed

        report_on(
            Predictor(folder / TRAINED if job.refit else folder / "best.ckpt", device="cpu"),
            results,
            folder / "report.html",
            checkpoint=folder / "best.ckpt",
            facts=_facts(job, folder, tested, seconds, rates),
            data=data.sampled(),
            divided_by=_time_column(job),
            measured_on=_measured_on(job, folder, results, linear_share=linear_share, learns_all=learns_all),
            metrics=metrics,
            baseline=baseline,
            history=pd.read_csv(history) if history.exists() else None,
            slice_by=_training_counts(data, results) if isinstance(data, CollabDataModule) else [],
            repeat="tabvision fit --config recipe.yaml" if has_recipe else "",
            overwrite=True,
        )
    except Exception as error:
        print(f"No report was written: {type(error).__name__}: {shown(str(error))}")


def _measured_on(job: Job, folder: Path, results: Results, *, linear_share: float, learns_all: bool) -> str:
    """Return which rows a run was measured on, and what else they were used for, as part of a sentence."""
    if "val" in job.datamodule.parts:
        tables = getattr(job.datamodule, "tables", {})
        is_folder = "train" in tables and tables["train"].part is not None
        split = job.recipe["data"]["init_args"].get("split")
        which = f"held out for validation ({'from a separate folder' if is_folder else how_held_out(split)})"
        which += "" if job.monitor == "oof/loss" else chosen_by_validation(folder)
        which += "; best.ckpt then learned from these rows too" if learns_all else ""
    else:
        which = "of training, each predicted by the parts of the network that did not learn from it"
        chooses = any(each["class_path"].endswith(".FitTable") for each in job.recipe["trainer"]["callbacks"])
        which += "; these predictions also chose the epoch" if chooses else ""
    if linear_share:
        share = f"a linear model makes up {linear_share:.0%} of every prediction"
        which += f"; {share}, but has no part in the losses by epoch"
    return f"{count(len(results), noun_of(results))} {which}"


def _time_column(job: Job) -> str | None:
    """Return the column that the rows were split by in time order, or None."""
    split = job.recipe["data"]["init_args"].get("split")
    is_by_time = isinstance(split, dict) and split["class_path"].endswith("TimeSplit")
    return split["init_args"].get("column") if is_by_time else None


def _facts(
    job: Job, folder: Path, tested: Mapping[str, float], seconds: float, rates: Sequence[float]
) -> dict[str, object]:
    """Return the facts for a run's report about how it was made, and its metrics on test rows."""
    facts: dict[str, object] = {"data": short_name(job.recipe["data"]["init_args"].get("source", ""))}
    if (recipe := recipe_file(folder)).exists() and (known := hash_of_rows(recipe)):
        facts["hash of the rows"] = known[:16]
    facts["seed"] = job.recipe["seed_everything"]
    if rates:
        each = f"{rates[0]:.3g}" if len(rates) == 1 else f"{rates[0]:.3g} to {rates[-1]:.3g}, by layer"
        facts["highest learning rate"] = each
    facts["time"] = f"{seconds:,.1f} seconds"
    if tested:
        said = [f"{name.removeprefix('val/')} {format_number(value)}" for name, value in sorted(tested.items())]
        facts["on test rows"] = f"{', '.join(said)} ({count(len(job.datamodule.parts['test'].rows), 'row')})"
    return facts


def _training_counts(data: CollabDataModule, results: Results) -> list[pd.Series[int]]:
    """Return how often each row's user, and its item, occurred in training."""
    tensors, rows = data.parts["train"]
    train, names = data.frame.iloc[tensors["index"][rows].numpy()], (data.user, data.item)
    counts = [results.frame[name].map(train[name].value_counts()).fillna(0).astype(int) for name in names]
    return [each.rename(f"how often {name} was seen in training") for each, name in zip(counts, names, strict=True)]


def print_files(job: Job, folder: Path, *, learns_all: bool = False) -> None:
    """Print the path and purpose of each file; `learns_all` if a linear head was finally fitted to all rows."""
    is_bag, title = job.num_folds > 1, job.measured_on
    is_sample = job.datamodule.sampled() is not job.datamodule
    rows = "the validation rows" if title == "validation" else "every row, by members that did not learn from it"
    some = (
        f"a sample of {rows}"
        if title == "validation"
        else "a sample of the rows, by members that did not learn from it"
    )
    network = f"the network with the lowest {title} loss" if title else "the network after the last epoch"
    if (folder / PROBE).exists():  # it may have been chosen by a metric other than the loss
        network = "the best of the network and two linear heads on the validation rows"
        network += ", then fitted on these too" if learns_all else ""
    network = f"the {job.num_folds} networks" if is_bag else network
    if job.refit:
        network = "a network retrained on training and validation rows, for the best number of epochs"
    # `fit` needs a recipe
    resumes = "" if job.module else ", to continue training from: `tabvision fit --config … --ckpt_path`"
    after_fit = {"the intervals": job.intervals, "the refit": job.refit, "the linear heads": (folder / PROBE).exists()}
    left_out = [text for text, holds in after_fit.items() if holds]
    without = f" without {' and '.join(left_out)}" if left_out else ""
    texts = {
        "best.ckpt": f"{network}; all that `tabvision predict` needs",
        "last.ckpt": f"the state after the last epoch{resumes}",
        "probe.ckpt": "the linear probe, which can predict too",
        "metrics.csv": "loss and metrics of each epoch",
        "tensorboard": f"the same for `tensorboard --logdir {folder}`",
        "mlflow.db": f"the same for `mlflow ui --backend-store-uri sqlite:///{folder / 'mlflow.db'}`",
        "metrics.json": "the metrics above as JSON; `tabvision compare` reads it",
        "predictions.csv": f"targets and predictions for {some if is_sample else rows}",
        OUT_OF_FOLD: f"the same for {rows}",
        "report.html": "what the network learned, and where it is wrong: open it in a browser",
        "chain.jsonl": f"hashes of recipe, data and checkpoints; `tabvision verify {folder}` replays it",
        "recipe.yaml": f"this run; `tabvision fit --config` repeats it{without}",
    }
    texts = {name: text for name, text in texts.items() if (folder / name).exists()}
    width = max(len(str(folder / name)) for name in texts)
    for name, text in texts.items():
        print(f"{folder / name!s:<{width}}  {text}")
    if is_bag:
        print(f"A recipe holds one fit, and this run had {job.num_folds}; the same command repeats it.")
    if job.module is not None:
        print("A recipe starts from a new network, and this run from a trained one; the same command repeats it.")
    if not title:
        measure = f"`tabvision evaluate {folder / 'best.ckpt'} FILE` measures the network on other rows"
        print(f"There were no validation rows, so there are no predictions for them and no report; {measure}.")
