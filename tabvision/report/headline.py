"""Say in one sentence how good a model is."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from tabvision.errors import count
from tabvision.inference import Results
from tabvision.inference.results import noun_of
from tabvision.interpret.slices import errors_of
from tabvision.report.tables import of_100, rounded

_MAX_NAMED = 3  # the most targets that the sentence names


def headline(results: Results, baseline: Mapping[str, float]) -> str:
    """Return one sentence that compares a model with a naive answer."""
    target = results.schema.target
    if not results.schema.task.is_classes:
        sentence, naive = _answer_of_numbers(results, baseline)
    elif results.is_one_class:
        right = of_100(float(np.mean(results.decoded == results.target)))
        counts = np.bincount(results.target, minlength=len(target.classes))
        naive = float(1 - counts.max() / counts.sum())
        usual, frequency = str(target.classes[int(counts.argmax())]), of_100(float(counts.max() / counts.sum()))
        sentence = (
            f"Predicts the right class of {target.columns[0]} for {right} of 100 {noun_of(results)}s; always predicting "
            f"{usual!r} is right for {frequency} of 100."
        )
    else:
        right = of_100(float(np.mean(results.decoded == (results.target > 0.5))))
        frequencies = results.target.mean(axis=0)
        naive = float(np.minimum(frequencies, 1 - frequencies).mean())
        sentence = (
            f"Gets {right} of 100 labels right; always predicting the more frequent value of each label gets "
            f"{of_100(1 - naive)} of 100 right."
        )
    is_no_better = float(np.nanmean(errors_of(results))) >= naive
    return f"{sentence} The model is no better than that." if is_no_better else sentence


def _answer_of_numbers(results: Results, baseline: Mapping[str, float]) -> tuple[str, float]:
    """Return the sentence for numbers, and the mean error of the naive answer, the mean of each number."""
    target, names = results.target.astype(np.float64), results.schema.target.columns
    differences = [results.decoded.astype(np.float64) - target, target - _mean(target)]
    if are_points := results.schema.task.moves_with_image:
        differences = [np.hypot(each[:, ::2], each[:, 1::2]) for each in differences]
    off, naive = (_mean(np.abs(each)) for each in differences)
    naive_error = float(np.nanmean(naive))
    if len(names) == 1:
        naive_error = baseline.get("val/mae", naive_error)  # uses the training rows' mean, like the metrics table
        naive = np.array([naive_error])
    if are_points or len(names) > _MAX_NAMED:
        within, guess = rounded(float(np.nanmean(off))), rounded(naive_error)
        what, unit = f"each of {len(names)} numbers", ""
        if are_points:
            what, unit = f"the {count(len(names) // 2, 'point')}", " pixels"
        sentence = f"Predicts {what} within {within}{unit} on average; "
        return f"{sentence}a constant prediction of the mean is off by {guess}{unit}.", naive_error
    within = " and ".join(f"{name} within {rounded(value)}" for name, value in zip(names, off, strict=True))
    guess = " and ".join(map(rounded, naive))
    return f"Predicts {within} on average; a constant prediction of the mean is off by {guess}.", naive_error


def _mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean of each column's known values, NaN if it has none."""
    found: NDArray[np.float64] = np.ma.masked_invalid(values).mean(axis=0).filled(np.nan)
    return found
