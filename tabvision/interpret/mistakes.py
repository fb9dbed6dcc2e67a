"""Find where a model is wrong: confusions, top losses, residuals, doubtful labels, and miscalibrated probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tabvision.checks import check_whole
from tabvision.errors import BadValueError, speaking
from tabvision.inference.results import Results

_ROW = "row"


@speaking("confusion")
def confusion(results: Results, *, normalize: bool = False) -> pd.DataFrame:
    """Return the confusion matrix: how many rows of each true class were predicted as each class.

    Args:
        results: Rows with one class each.
        normalize: Whether to return fractions of the rows of each true class instead of counts.

    Returns:
        The true classes as the index, the predicted ones as columns.

    Raises:
        BadValueError: The target is not one class per row.

    Example:
        >>> from tabvision.schema import Schema, Target
        >>> from tabvision.tasks import Binary
        >>> schema = Schema(target=Target(columns=("paid",), task=Binary(), classes=("no", "yes")))
        >>> predictions = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7]])
        >>> frame = pd.DataFrame({"paid": ["no", "yes", "yes"]})
        >>> confusion(Results(schema, frame, predictions, np.array([0, 1, 1]), np.zeros(3))).to_numpy().tolist()
        [[1, 0], [1, 1]]
    """
    classes = _classes_of(results)
    num = len(classes)
    counts = np.bincount(results.target * num + results.decoded, minlength=num * num).reshape(num, num)
    found = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1) if normalize else counts
    return pd.DataFrame(found, pd.Index(classes, name="true"), pd.Index(classes, name="predicted"))


@speaking("most_confused")
def most_confused(results: Results, k: int = 10) -> pd.DataFrame:
    """Return the pairs of classes that are confused most often.

    Args:
        results: Rows with one class each.
        k: The most pairs to return.

    Returns:
        `true`, `predicted`, `count`, and `fraction` of the rows of the true class; most frequent first.

    Raises:
        BadValueError: The target is not one class per row, or `k` is not a positive whole number.
    """
    check_whole("k", k)
    counts = confusion(results).to_numpy()
    sizes, classes = counts.sum(axis=1), np.array(_classes_of(results), dtype=object)
    true, predicted = np.nonzero(counts * ~np.eye(len(counts), dtype=bool))
    found = counts[true, predicted]
    order = np.argsort(-found, kind="stable")[:k]
    columns = {"true": classes[true[order]], "predicted": classes[predicted[order]], "count": found[order]}
    return pd.DataFrame({**columns, "fraction": found[order] / sizes[true[order]]})


@speaking("top_losses")
def top_losses(results: Results, k: int = 10) -> pd.DataFrame:
    """Return the rows with the highest loss: target, answer and loss, then the user's other columns.

    Args:
        results: Any rows.
        k: The most rows to return.

    Raises:
        BadValueError: `k` is not a positive whole number.
    """
    check_whole("k", k)
    worst = results.take(worst_rows(results, k))
    answers = worst.to_frame()
    others = worst.frame.drop(columns=list(results.schema.target.columns))
    others = others.rename(columns={name: f"input_{name}" for name in others if name in answers})
    return pd.concat([answers, others], axis=1)


def worst_rows(results: Results, k: int) -> NDArray[np.intp]:
    """Return the numbers of the `k` rows with the highest loss, worst first."""
    return np.argsort(-np.nan_to_num(results.loss, nan=-np.inf), kind="stable")[:k]


@speaking("reliability")
def reliability(results: Results, num_bins: int = 10) -> pd.DataFrame:
    """Return how often answers at each confidence are right: of 100 rows answered with 0.8, about 80 should be.

    Args:
        results: Rows with one class, whose confidence is that of the answer, or with labels, whose confidence is each "yes".
        num_bins: Number of bins of equal width from 0 to 1; empty bins are left out.

    Returns:
        `confidence` (the mean in the bin), `accuracy`, `rows`; `attrs["expected_calibration_error"]` is the mean distance
        between confidence and accuracy, weighted by rows.

    Raises:
        BadValueError: The target is numeric.

    Source: Guo et al. 2017, "On Calibration of Modern Neural Networks".
    """
    check_whole("num_bins", num_bins)
    if not results.schema.task.is_classes:
        raise BadValueError("numbers have no probabilities", "Pass results of classes or labels")
    if results.is_one_class:
        rows = np.arange(len(results))
        confidence = results.predictions[rows, results.decoded]
        right = (results.decoded == results.target).astype(float)
    else:
        confidence, right = results.predictions.ravel(), results.target.ravel().astype(float)
    bins = np.minimum((confidence * num_bins).astype(int), num_bins - 1)
    frame = pd.DataFrame({"confidence": confidence, "accuracy": right}).groupby(bins)
    found = frame.mean().assign(rows=frame.size()).reset_index(drop=True)
    distance = (found["confidence"] - found["accuracy"]).abs()
    error = float((distance * found["rows"]).sum() / found["rows"].sum()) if len(found) else float("nan")
    found.attrs["expected_calibration_error"] = error
    return found


@speaking("threshold_curves")
def threshold_curves(results: Results) -> pd.DataFrame:
    """Return precision, recall and F1 at each threshold, for the positive class or for each label.

    Args:
        results: Rows with two classes, or with labels.

    Returns:
        `label`, `threshold` (0.01 to 0.99), `precision` (1 if nothing is predicted), `recall`, `f1`.

    Raises:
        BadValueError: The target is neither of these.
    """
    names = list(results.schema.target.classes)
    if not results.schema.task.is_classes or (results.is_one_class and len(names) != 2):
        raise BadValueError("a threshold needs two classes, or labels", "Pass results with two classes, or with labels")
    truth, scores = results.target == 1, results.predictions
    if results.is_one_class:  # the positive class is the only label
        names, truth, scores = names[-1:], truth[:, None], scores[:, -1:]
    thresholds = np.arange(1, 100) / 100
    parts = []
    for index, name in enumerate(names):
        yes, score = truth[:, index], np.sort(scores[:, index])
        hits = np.sort(scores[yes, index])
        predicted = len(score) - np.searchsorted(score, thresholds, side="right")
        found = len(hits) - np.searchsorted(hits, thresholds, side="right")
        precision = np.divide(found, predicted, out=np.ones(len(thresholds)), where=predicted > 0)
        recall = found / max(1, len(hits))
        f1 = 2 * found / np.maximum(predicted + len(hits), 1)
        columns = {"threshold": thresholds, "precision": precision, "recall": recall, "f1": f1}
        parts.append(pd.DataFrame({"label": name, **columns}))
    return pd.concat(parts, ignore_index=True)


@speaking("residuals")
def residuals(results: Results) -> pd.DataFrame:
    """Return the target, prediction and residual (target minus prediction) of each row and number.

    Args:
        results: Rows with numbers.

    Returns:
        `name` of the target column, `target`, `prediction`, `residual`, with the index of the rows.

    Raises:
        BadValueError: The target has classes.
    """
    if results.schema.task.is_classes:
        raise BadValueError("classes have no residuals", "Pass results of numbers; see confusion for classes")
    parts = []
    for index, name in enumerate(results.schema.target.columns):
        target, prediction = results.target[:, index].astype(float), results.predictions[:, index].astype(float)
        columns = {"target": target, "prediction": prediction, "residual": target - prediction}
        parts.append(pd.DataFrame({"name": name, **columns}, index=results.frame.index))
    return pd.concat(parts)


@speaking("likely_mislabeled")
def likely_mislabeled(results: Results, k: int = 20) -> pd.DataFrame:
    """Return the rows whose label is most likely wrong, for a person to review.

    Pass rows that the model was not trained on. A row is listed if the model is at least as sure of another class as it is,
    on average, of that class's own rows.

    Args:
        results: Rows with one class each.
        k: The most rows.

    Returns:
        The index `row`; the target (`true_label` if its name is `label`); `label`, the suggestion; `margin`, the probability
        of the target minus that of the suggestion, lowest first; then the user's other columns. Written with `to_csv` and
        edited by a person, it can be passed to a datamodule's `corrections=` or to `tabvision train --corrections`.

    Raises:
        BadValueError: The target is not one class per row.

    Source: Northcutt et al. 2021, "Confident Learning: Estimating Uncertainty in Dataset Labels".
    """
    check_whole("k", k)
    classes = np.array(_classes_of(results), dtype=object)
    rows, given, scores = np.arange(len(results)), results.target, results.predictions
    own = scores[rows, given]
    sums = np.bincount(given, weights=own, minlength=len(classes))
    usual = sums / np.maximum(np.bincount(given, minlength=len(classes)), 1)
    sure = np.where(scores >= usual, scores, -1.0)
    sure[rows, given] = -1.0
    suggested = sure.argmax(axis=1)
    margin = own - scores[rows, suggested]
    listed_rows = rows[(sure[rows, suggested] >= 0) & (margin < 0)]
    worst = listed_rows[np.argsort(margin[listed_rows], kind="stable")][:k]
    (target,) = results.schema.target.columns
    frame = results.frame.iloc[worst]
    own_names = (_ROW, "label", "margin")
    frame = frame.drop(columns=target).rename(columns={name: f"input_{name}" for name in own_names})
    truth = {f"true_{target}" if target in own_names else target: results.frame[target].iloc[worst]}
    columns = {**truth, "label": classes[suggested[worst]], "margin": margin[worst]}
    return pd.concat([pd.DataFrame(columns, index=frame.index), frame], axis=1).rename_axis(index=_ROW)


def _classes_of(results: Results) -> list[Any]:
    if not results.is_one_class:
        problem = f"one class per row is needed, and the target is {results.schema.task.name}"
        raise BadValueError(problem, "Pass results with one class per row")
    return list(results.schema.target.classes)
