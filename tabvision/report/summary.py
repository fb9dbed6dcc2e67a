"""Summarize a trained model as plain data: sentences, tables, and the numbers behind figures."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict, Unpack

import numpy as np
import pandas as pd

from tabvision.errors import BadValueError, count, cut, listed, shown, speaking
from tabvision.inference import Results
from tabvision.inference.results import noun_of
from tabvision.interpret import evaluate, reliability, threshold_curves
from tabvision.interpret.rows import Model
from tabvision.report.headline import headline
from tabvision.report.mistakes import mistakes_section
from tabvision.report.runs import HELD_OUT_LOSSES
from tabvision.report.tables import Section, of_100, part_of, rounded, section_of

_RESAMPLES, _MIN_MEASURED = 100, 10  # bootstrap resamples, and the fewest rows to resample
_MAX_EPOCHS = 300
_MAX_NAME = 60  # letters of a column in the heading
_MAX_EPOCH_ROWS = 12
_MAX_LABELS = 30
_MAX_DRIFTED = 10
_LEAST = 0.01  # hide columns below this fraction of the top importance
_SURE_ENOUGH = 0.05  # the largest calibration error that still counts as calibrated


_MEANINGS = {  # of metrics, for a reader who is new to them
    "accuracy": "the fraction of correct predictions",
    "f1": "the harmonic mean of precision (how many of its positives are right) and recall (how many positives it finds)",
    "auroc": "how often a positive row gets a higher probability than a negative one",
    "mae": "how far the predictions are off on average",
    "rmse": "the square root of the mean squared error, which weights large errors more",
    "r2": "the fraction of the target's variance that the predictions explain",
    "distance": "how far the predicted points are off on average",
    "loss": "what training minimizes",
}


class ReportDetails(TypedDict, total=False):
    """Optional facts about a model besides its results.

    Keys:
        title: The heading; by default it names the target's columns.
        measured_on: Which rows the results are for, such as "876 rows of new.csv".
        checkpoint: The path of the model, for the commands on the page.
        repeat: A command that trains the model again, if there is one.
        baseline: Metrics of the best constant prediction: `data.baseline()`.
        metrics: Metrics of the model, as returned by `trainer.validate`.
        importance: The frame from `interpret.importance`.
        oddities: Sentences about oddities in the data, such as columns that leak the target.
        drift: The frame from `interpret.drift` for the training rows and these.
        history: The run's `metrics.csv`.
        slice_by: Named series with one value per row, in the order of the results; the page shows the errors by each,
            besides the slices by column.
        facts: Other facts by name, such as the network, the versions and the time.
        model: The model, to show where it looked in the images with the highest loss.
    """

    title: str
    measured_on: str
    checkpoint: str
    repeat: str
    baseline: Mapping[str, float]
    metrics: Mapping[str, float]
    importance: pd.DataFrame | None
    oddities: Sequence[str]
    drift: pd.DataFrame | None
    history: pd.DataFrame | None
    slice_by: Sequence[pd.Series[Any]]
    facts: Mapping[str, object]
    model: Model | None


@speaking("summarize")
def summarize(results: Results, **details: Unpack[ReportDetails]) -> dict[str, Any]:
    """Return a summary of a model as plain data that JSON can hold.

    Args:
        results: Rows that the model did not learn from, with its predictions.
        details: Other facts about the model; see `ReportDetails`.

    Returns:
        `title`, `answer` (one sentence), and `sections`, each with `title`, `texts`, `commands` and `parts`. A part has a
        `caption`, a `text`, a `table` or None, and the name of a `figure` of `tabvision.plots` with its `data`, or None.

    Raises:
        BadValueError: There are no rows.
    """
    if not len(results):
        raise BadValueError("the results have no rows, so there is nothing to say", "Pass rows with their target")
    importance, told = details.get("importance"), details.get("facts", {})
    facts = pd.DataFrame({"what": list(told), "value": [str(value) for value in told.values()]})
    sections = [
        _metrics_section(
            results, details.get("metrics", {}), details.get("baseline", {}), details.get("measured_on", "")
        ),
        _importance_section(importance),
        mistakes_section(results, importance, details.get("slice_by", ()), details.get("model")),
        _calibration_section(results),
        _data_section(results, [*map(shown, details.get("oddities", ()))], details.get("drift")),
        _history_section(details.get("history")),
        _usage_section(results, details.get("checkpoint", "best.ckpt"), details.get("repeat", "")),
        _limits_section(results),
        section_of("How it was made", parts=[part_of("Network, versions and time", facts)] if len(facts) else []),
    ]
    return {
        "title": details.get("title")
        or f"A model that predicts {listed([cut(name, _MAX_NAME) for name in results.schema.target.columns])}",
        "answer": shown(headline(results, details.get("baseline", {}))),
        "sections": [section for section in sections if section["texts"] or section["parts"]],
    }


def _metrics_section(
    results: Results, metrics: Mapping[str, float], baseline: Mapping[str, float], measured_on: str
) -> Section:
    rows = measured_on or f"{count(len(results), noun_of(results))} that the model did not learn from"
    text = f"Measured on {rows}. A naive prediction is the same for every row: the mean, or the frequencies of the classes."
    if results.schema.task.moves_with_image:  # a fit measures in network coordinates; readers want pixels
        in_pixels = evaluate(results, repeats=_RESAMPLES).set_index("metric")
        metrics, baseline = in_pixels["model"].to_dict(), in_pixels["naive"].to_dict()
    names, widths = sorted(set(metrics) | set(baseline)), dict[str, float]()
    if len(results) >= _MIN_MEASURED:
        found = evaluate(results, repeats=_RESAMPLES).set_index("metric").drop("loss")
        widths = {str(name): float(width) for name, width in ((found["high"] - found["low"]) / 2).dropna().items()}
    shown = [name.removeprefix("val/") for name in names]
    is_known = not widths.keys().isdisjoint(shown)
    table = pd.DataFrame(
        {
            "metric": shown,
            "model": [metrics.get(name) for name in names],
            **({"±": [float(f"{widths[name]:.2g}") if name in widths else None for name in shown]} if is_known else {}),
            "naive": [baseline.get(name) for name in names],
        }
    )
    how = (
        f"± is half the width of the metric's 95% interval over {_RESAMPLES} bootstrap resamples of these rows: "
        "how much it would change on other rows like these, not after another training run."
    )
    part = part_of("Metrics of the model and of a naive prediction", table, text=how if is_known else "")
    meanings = "; ".join(f"{name}: {_MEANINGS[name]}" for name in shown if name in _MEANINGS)
    texts = (text, f"{meanings}.") if meanings else (text,)
    return section_of("How accurate it is", *texts, parts=[part] if names else [])


def _importance_section(importance: pd.DataFrame | None) -> Section:
    title = "What it relies on"
    if importance is None or importance.empty:
        return section_of(title)
    text = (
        "The longer the bar, the worse the predictions become when that column's values are shuffled among the rows. "
        "It shows what the model uses, not what causes the target; columns that carry the same information share their "
        "importance. Columns below a hundredth of the first are not shown."
    )
    most = int((importance["importance"] >= _LEAST * importance["importance"].max()).sum())
    top = importance.head(min(20, max(1, most)))
    caption = f"What it relies on most: {len(top)} of {count(len(importance), 'column')}"
    return section_of(title, text, parts=[part_of(caption, top, "importance")])


def _calibration_section(results: Results) -> Section:
    calibration = results.calibration
    if not results.schema.task.is_classes:
        if not calibration.half_widths:
            return section_of("How reliable its intervals are")
        distance = np.abs(results.decoded - results.target)
        known = np.isfinite(distance)
        held = float((distance <= np.array(calibration.half_widths))[known].mean())
        wanted = of_100(calibration.coverage or 0)
        text = f"Its intervals were built to cover {wanted} of 100 true values, and cover {of_100(held)}."
        return section_of("How reliable its intervals are", text)
    found = reliability(results)
    error = float(found.attrs["expected_calibration_error"])
    points = f"{rounded(100 * error)} percentage points"
    text = f"On average, the model's confidence and how often it is right differ by {points}. "
    if error <= _SURE_ENOUGH:
        text += "Its probabilities can be taken at face value."
    else:
        text += "tabvision calibrate brings the two closer together."
    shown = found.set_axis(["probability", "observed frequency", "predictions"], axis=1)
    parts = [part_of("How often a prediction with each probability is right", shown, "reliability", found)]
    if not results.is_one_class or len(results.schema.target.classes) == 2:
        curves = threshold_curves(results)
        best = curves.loc[curves.groupby("label", sort=False)["f1"].idxmax()].head(_MAX_LABELS)
        drawn = curves[curves["label"].isin(list(curves["label"].unique())[:6])]
        caption = "Precision and recall by threshold; the threshold with the best F1 for each label"
        parts.append(part_of(caption, best, "threshold_curves", drawn))
    return section_of("How reliable its probabilities are", text, parts=parts)


def _data_section(results: Results, oddities: Sequence[str], drift: pd.DataFrame | None) -> Section:
    title, rows = "What is odd in the data", f"these {noun_of(results)}s and the training {noun_of(results)}s"
    if drift is None or drift.empty:
        return section_of(title, *oddities)
    found = drift[drift["drifted"]].drop(columns="drifted").head(_MAX_DRIFTED)
    if found.empty:
        return section_of(title, *oddities, f"No column differs between {rows} by more than chance explains.")
    text = (
        "At a distance of 0 the values have the same distribution, at 1 nothing in common. The other columns are the "
        "increase in missing values, the fraction of rows with a category not seen in training, and the fraction of rows "
        "outside the training range."
    )
    return section_of(title, *oddities, parts=[part_of(f"Columns that differ between {rows}", found, text=text)])


def _history_section(history: pd.DataFrame | None) -> Section:
    title = "How training went"
    if history is None or "epoch" not in history or history["epoch"].isna().all():
        return section_of(title)
    frame = history.sort_values("step", kind="stable") if "step" in history else history
    # learning rates are logged by step, without an epoch
    epochs = frame.assign(epoch=frame["epoch"].bfill()).groupby("epoch").last().reset_index()
    thin = epochs.iloc[:: -(-len(epochs) // _MAX_EPOCHS)]
    names = [name for name in epochs if name == "epoch" or ("/" in str(name) and not str(name).startswith("lr"))]
    rows = np.unique(np.linspace(0, len(epochs) - 1, _MAX_EPOCH_ROWS).astype(int))
    caption = f"Loss and metrics over {count(len(epochs), 'epoch')}"
    if not any(str(name).startswith(("train/", "val/", "oof/", "test/")) for name in names):
        return section_of(title)
    held_out = next((name for name in HELD_OUT_LOSSES if name in epochs and epochs[name].notna().any()), None)
    texts = list[str]()
    if held_out is not None:
        best = int(epochs.loc[epochs[held_out].idxmin(), "epoch"]) + 1
        texts.append(f"The loss on held-out rows was lowest in epoch {best} of {len(epochs)}.")
    table = epochs[names].iloc[rows].assign(epoch=lambda frame: frame["epoch"].astype(int) + 1)  # as the command counts
    return section_of(title, *texts, parts=[part_of(caption, table, "history", thin)])


def _usage_section(results: Results, checkpoint: str, repeat: str) -> Section:
    path, schema = shlex.quote(checkpoint), results.schema
    inputs = listed([repr(name) for name in schema.inputs])
    new = "photos/" if schema.is_of_images else "new.csv"
    commands: tuple[str, ...] = (f"tabvision predict {path} {new} --out predictions.csv", f"tabvision serve {path}")
    text = f"It reads {inputs}. The first command predicts a file, the second serves a page and predicts over HTTP"
    text += ", the third trains it again, if its data are where they were." if repeat else "."
    commands += (repeat,) if repeat else ()
    uses = pd.DataFrame(schema.column_uses(), columns=["column", "use", "facts"])
    return section_of("How to use it", text, commands=commands, parts=[part_of("How every column is used", uses)])


def _limits_section(results: Results) -> Section:
    target, texts = results.schema.target, list[str]()
    if target.num_rows:
        rows = count(target.num_rows, "training and validation row")
        texts.append(f"It was made from {rows}, and knows nothing else.")
    if target.classes:
        noun = "classes" if results.is_one_class else "labels"
        named = listed(list(map(str, target.classes)))
        texts.append(f"It only predicts these {len(target.classes)} {noun}: {named}.")
    for name, low, high in zip(target.columns, target.low, target.high, strict=False):
        seen = f"{name} from {rounded(low)} to {rounded(high)}"
        texts.append(f"It has seen {seen}; it knows little about values outside that range.")
    if results.schema.categorical:
        texts.append("A category that was not in its training rows is treated as unknown.")
    texts.append("The errors above hold for rows like these. If new rows differ, measure again.")
    return section_of("What it does not know", *texts)
