"""Compare the metrics of a model on labeled rows, with intervals, with those of a naive prediction."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torchmetrics import MetricCollection

from tabvision.checks import check_fraction, check_whole
from tabvision.errors import BadValueError, count, speaking
from tabvision.inference.results import Results
from tabvision.metrics import values_of

_MAX_ROWS, _MAX_NUMBERS = 10_000, 4_000_000  # limits of a resample, which then takes some milliseconds
_MIN_ROWS = 500


@speaking("evaluate")
def evaluate(results: Results, *, coverage: float = 0.95, repeats: int = 500, seed: int = 0) -> pd.DataFrame:
    """Return the loss and the task's metrics of a model, with intervals, next to those of a naive prediction.

    An interval says how far the metric may be off because it was measured on a sample of rows. It does not cover the variance
    between training runs, and it assumes independent rows like these. With few rows it is a little too narrow: with 200 rows
    and coverage 0.95, more than 90 of 100 intervals held an accuracy of 0.91 and an mae, and 89 an auroc of 0.97, close to
    its maximum. If every row is right, the interval is a single point.

    Args:
        results: Rows that the model was not trained on, with its answers.
        coverage: The fraction of such intervals that should hold the metric of infinitely many rows, in (0, 1).
        repeats: The number of resamples (rows drawn with replacement), at least 20.
        seed: Determines the resamples.

    Returns:
        `metric`, `model`, `low`, `high`, and `naive`: the metric of the best constant answer on these rows.

    Raises:
        BadValueError: There are no rows, or a setting is out of range.

    Source: the percentile bootstrap; for more than 10,000 rows a resample has fewer, and deviations are scaled down by the
    square root of the ratio (Bickel, Götze, van Zwet 1997, "Resampling fewer than n observations").

    Example:
        >>> from tabvision.schema import Schema, Target
        >>> from tabvision.tasks import Binary
        >>> schema = Schema(target=Target(columns=("paid",), task=Binary(), classes=("no", "yes")))
        >>> predictions, target = np.tile([[0.9, 0.1], [0.4, 0.6]], (50, 1)), np.array([0, 1, 0, 0] * 25)
        >>> found = evaluate(Results(schema, pd.DataFrame(index=range(100)), predictions, target, np.zeros(100)))
        >>> found[["metric", "model", "naive"]].values.tolist()[0], bool(found["low"][0] < 0.75 < found["high"][0])
        (['accuracy', 0.75, 0.75], True)
    """
    check_whole("repeats", repeats, 20)
    check_fraction("coverage", coverage, "()", remedy="Pass a fraction such as 0.95")
    if not len(results):
        raise BadValueError("the results have no rows, so there is nothing to measure", "Pass rows with their target")
    task = results.schema.task
    found = pd.Series({**scores(task.metrics(), results.predictions, results.target), "loss": results.loss.mean()})
    naive = scores(task.metrics(), task.constant(results.target), results.target)
    num_rows = len(results)
    num_drawn = min(num_rows, _MAX_ROWS, max(_MIN_ROWS, _MAX_NUMBERS // results.predictions.shape[1]))
    rng, draws = np.random.default_rng(seed), list[dict[str, float]]()
    metrics = task.metrics()  # made once: that takes longer than computing them for a few rows
    with warnings.catch_warnings():  # a resample that lacks a class has no AUROC
        warnings.simplefilter("ignore")
        for _ in range(repeats):
            rows = rng.integers(num_rows, size=num_drawn)
            loss = float(results.loss[rows].mean())
            draws.append({**scores(metrics, results.predictions[rows], results.target[rows]), "loss": loss})
    drawn = pd.DataFrame(draws)
    tails = [(1 - coverage) / 2, (1 + coverage) / 2]
    low, high = drawn.quantile(tails).to_numpy()
    if num_drawn < num_rows:
        center, shrunk = drawn.mean().to_numpy(), np.sqrt(num_drawn / num_rows)
        low, high = (found.to_numpy() + (each - center) * shrunk for each in (low, high))
    columns = {"metric": found.index, "model": found.to_numpy(), "low": low, "high": high}
    frame = pd.DataFrame({**columns, "naive": [naive.get(name, np.nan) for name in found.index]})
    frame = frame.sort_values("metric", ignore_index=True)
    frame.attrs["note"] = f"{100 * coverage:g}% intervals, from {count(repeats, 'bootstrap resample')} of the rows"
    return frame


def scores(metrics: MetricCollection, predictions: NDArray[Any], target: NDArray[Any]) -> dict[str, float]:
    """Return the metrics of predictions.

    Shape:
        - predictions: (N, C) or (N, T), or one row for all
        - target: as returned by `encode_target`
    """
    everyone = np.broadcast_to(predictions, (len(target), predictions.shape[1])).astype(np.float32)
    return values_of(metrics, torch.from_numpy(everyone), torch.from_numpy(target))
