"""Results of every kind of target, made without a network, and what else a report is written of."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from tabvision.inference import Results
from tabvision.schema import Categorical, Continuous, Image, Schema, Target
from tabvision.tasks import Binary, Multiclass, Multilabel, Points, Regression

KINDS = ("binary", "multiclass", "hundred", "multilabel", "regression", "several", "points", "ratings", "wide")
INPUTS = {
    "continuous": (Continuous(name="age", source="age", mean=40.0, std=12.0, fill=40.0, low=20.0, high=64.0),),
    "categorical": (Categorical(name="job", source="job", vocabulary=("cook", "nurse", "pilot")),),
}


def results_of(kind: str, rows: int = 400, *, seed: int = 0) -> Results:
    """Answers that are right more often than chance, and wrong most often for pilots."""
    draw = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {"age": draw.integers(20, 65, rows).astype(float), "job": draw.choice(["cook", "nurse", "pilot"], rows)}
    )
    frame.loc[1::9, "job"] = None
    noise = np.where(frame["job"] == "pilot", 3.0, 1.0)[:, None]
    if kind == "wide":
        return widened(results_of("binary", rows, seed=seed), draw)
    if kind == "ratings":
        return of_ratings(rows, draw)
    if kind in ("binary", "multiclass", "hundred"):
        names: tuple[Any, ...] = {"binary": ("no", "yes"), "multiclass": ("setosa", "versicolor", "virginica")}.get(
            kind, tuple(f"breed number {number}" for number in range(100))
        )
        task: Any = Binary() if kind == "binary" else Multiclass(num_classes=len(names))
        return of_classes(Target(columns=("kind",), task=task, classes=names, num_rows=rows), frame, noise, draw)
    if kind == "multilabel":
        labels = ("red", "green", "blue")
        target = (draw.random((rows, 3)) < (0.2, 0.5, 0.8)).astype(np.float32)
        predictions = 1 / (1 + np.exp(-(4 * target - 2 + draw.normal(size=target.shape) * noise)))
        frame = frame.assign(**{name: target[:, index].astype(int) for index, name in enumerate(labels)})
        loss = -np.log(np.where(target > 0, predictions, 1 - predictions)).mean(axis=1)
        found = Target(columns=labels, task=Multilabel(num_classes=3), classes=labels)
        return Results(Schema(target=found, **INPUTS), frame, predictions, target, loss)  # type: ignore[arg-type]
    return of_numbers(kind, frame, noise, draw)


def widened(results: Results, draw: np.random.Generator) -> Results:
    """The same with 98 numbers more."""
    names = [f"a measurement with a long name, number {number}" for number in range(98)]
    frame = pd.concat([results.frame, pd.DataFrame(draw.normal(size=(len(results), 98)), columns=names)], axis=1)
    more = tuple(Continuous(name=name, source=name, mean=0.0, std=1.0, fill=0.0, low=-3.0, high=3.0) for name in names)
    schema = replace(results.schema, continuous=(*results.schema.continuous, *more))
    return Results(schema, frame, results.predictions, results.target, results.loss)


def of_ratings(rows: int, draw: np.random.Generator) -> Results:
    """Stars that users gave to films."""
    users, films = (tuple(f"{name} {number}" for number in range(60)) for name in ("person", "film"))
    frame = pd.DataFrame({"user": draw.choice(users, rows), "film": draw.choice(films, rows)})
    truth = draw.integers(1, 11, (rows, 1)) / 2
    predictions = (truth + draw.normal(size=truth.shape)).clip(0.25, 5.25)
    task = Regression(mean=(3.0,), spread=(1.0,), y_range=(0.25, 5.25))
    both = {"user": users, "film": films}
    inputs = tuple(Categorical(name=name, source=name, vocabulary=names) for name, names in both.items())
    schema = Schema(target=Target(columns=("stars",), task=task, low=(0.5,), high=(5.0,)), categorical=inputs)
    return Results(schema, frame.assign(stars=truth), predictions, truth, np.abs(predictions - truth)[:, 0])


def of_classes(target: Target, frame: pd.DataFrame, noise: Any, draw: np.random.Generator) -> Results:
    num, rows = len(target.classes), len(frame)
    truth = np.minimum(draw.geometric(min(0.4, 4 / num), rows) - 1, num - 1)
    logits = draw.normal(size=(rows, num)) * noise
    logits[np.arange(rows), truth] += 4
    predictions = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    loss = -np.log(predictions[np.arange(rows), truth])
    frame = frame.assign(**{target.columns[0]: np.array(target.classes, dtype=object)[truth]})
    return Results(Schema(target=target, **INPUTS), frame, predictions, truth, loss)  # type: ignore[arg-type]


def of_numbers(kind: str, frame: pd.DataFrame, noise: Any, draw: np.random.Generator) -> Results:
    names = {"regression": ("SalePrice",), "several": ("pay", "cost"), "points": ("eye x", "eye y", "ear x", "ear y")}[
        kind
    ]
    truth = 180_000 + 60_000 * draw.normal(size=(len(frame), len(names)))
    task: Any = (
        Points(num_points=2) if kind == "points" else Regression(mean=(0.0,) * len(names), spread=(1.0,) * len(names))
    )
    image = {"image": Image(size=(64, 64))} if kind == "points" else {}
    if kind == "points":
        truth = truth / 2_000
        truth[::5, :2] = np.nan
    predictions = truth + np.nanstd(truth) * 0.2 * noise * draw.normal(size=truth.shape)
    predictions = np.where(np.isnan(predictions), 60.0, predictions)
    frame = frame.assign(**{name: truth[:, index] for index, name in enumerate(names)})
    loss = (
        np.nanmean(np.abs(predictions - truth), axis=1)
        if kind != "points"
        else np.abs(predictions - truth)[:, 2:].mean(axis=1)
    )
    target = Target(columns=names, task=task, low=(34_900.0,) * len(names), high=(755_000.0,) * len(names))
    inputs: Any = {} if image else INPUTS
    return Results(Schema(target=target, **inputs, **image), frame, predictions, truth, loss)  # type: ignore[arg-type]


def others(kind: str = "regression") -> dict[str, Any]:
    """What a run knows beside its results."""
    epochs = np.arange(20)
    history = pd.concat(
        [
            pd.DataFrame({"step": epochs * 10, "lr-AdamW": 1e-3}),
            pd.DataFrame({"epoch": epochs, "step": epochs * 10 + 9, "val/loss": 1.2 / (epochs + 1), "val/f1": 0.5}),
            pd.DataFrame({"epoch": epochs, "step": epochs * 10 + 9, "train/loss": 1 / (epochs + 1)}),
        ]
    )
    columns = ["job", "age"] if kind != "wide" else [f"a measurement with a long name, number {it}" for it in range(98)]
    importance = pd.DataFrame({"column": columns, "importance": 0.5 / (1 + np.arange(len(columns))), "std": 0.05})
    seen = [pd.Series(epochs.repeat(20), name="how often user was seen in training")] if kind == "ratings" else []
    return {
        "slice_by": seen,
        "metrics": {"val/loss": 0.123456, "val/mae": 13_700.4} if kind == "regression" else {"val/loss": 0.3},
        "baseline": {"val/mae": 59_000.2} if kind == "regression" else {},
        "importance": importance,
        "history": history,
        "measured_on": "400 rows out of fold",
        "checkpoint": "runs/a b/best.ckpt",
        "facts": {"network": "packed, 8 members", "rows": 400},
    }
