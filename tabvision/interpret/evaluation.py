"""Where a model is wrong: confusions, the rows with the greatest loss, errors by slice, and whether probabilities hold."""

from __future__ import annotations

from statistics import NormalDist
from typing import Any, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tabvision.checks import check_whole
from tabvision.errors import BadValueError, MissingColumnsError, count, speaking
from tabvision.inference.results import Results
from tabvision.preprocess import Columns
from tabvision.tasks import Task

_ROW = "row"
_MISSING, _OTHER = "missing", "other"
_Z = 1.959964  # standard deviations of a 95 % interval
_NUM_SLICES = 8
_MIN_ROWS = 10  # smaller slices are not listed among the worst


@speaking("confusion")
def confusion(results: Results, *, normalize: bool = False) -> pd.DataFrame:
    """Return how many rows of each class were answered with each class.

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
        k: The most pairs.

    Returns:
        `true`, `predicted`, `count`, and `fraction` of the rows of the true class; most frequent first.

    Raises:
        BadValueError: The target is not one class per row, or `k` is not a whole number from 1 on.
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
    """Return the rows with the greatest loss: target, answer and loss, then the user's other columns.

    Args:
        results: Any rows.
        k: The most rows.

    Raises:
        BadValueError: `k` is not a whole number from 1 on.
    """
    check_whole("k", k)
    worst = results.take(worst_rows(results, k))
    answers = worst.to_frame()
    others = worst.frame.drop(columns=list(results.schema.target.columns))
    others = others.rename(columns={name: f"input_{name}" for name in others if name in answers})
    return pd.concat([answers, others], axis=1)


def worst_rows(results: Results, k: int) -> NDArray[np.intp]:
    """Return the numbers of the rows with the greatest loss, at most `k`, the worst first."""
    return np.argsort(-np.nan_to_num(results.loss, nan=-np.inf), kind="stable")[:k]


@speaking("errors_by")
def errors_by(results: Results, column: str | pd.Series[Any], *, num_slices: int = _NUM_SLICES) -> pd.DataFrame:
    """Return the error of each slice of a column, the worst first.

    Numbers and dates are cut at quantiles; of other columns, and of numbers that the model takes as categories, the most
    frequent values are slices, the rest is "other".

    Args:
        results: Any rows.
        column: A column of `results.frame`, used by the model or not; or values of your own, one a row in their order, such
            as how often the row's user was seen in training.
        num_slices: The most slices besides the missing values.

    Returns:
        The slice under the column's own name, `rows`, `error`, and `low` and `high`, its 95 % interval. The error is the
        fraction of wrong classes or labels, or the mean absolute error. `attrs["error"]` names it, and `attrs["overall"]`
        is that of all rows.

    Raises:
        MissingColumnsError: No such column.
        BadValueError: Fewer than two slices, or not one value a row.

    Source: of a fraction the interval is Wilson's, else the normal one.
    """
    check_whole("num_slices", num_slices, 2)
    if isinstance(column, pd.Series):
        if len(column) != len(results):
            problem = f"column must hold a value for each of {count(len(results), 'row')}, got {len(column):,}"
            raise BadValueError(problem, "Pass values in the order of results.frame")
        found = _errors_of_slices(results, _slices_of(column, num_slices))
        return found.set_axis(["value" if column.name is None else column.name, *found.columns[1:]], axis=1)
    if column not in results.frame:
        raise MissingColumnsError([column], list(results.frame), "Name a column of the rows")
    found = _errors_of_slices(results, _slices_of_column(results, column, num_slices))
    return found.set_axis([column, *found.columns[1:]], axis=1)


@speaking("worst_slices")
def worst_slices(results: Results, k: int = 10) -> pd.DataFrame:
    """Return the slices of all columns whose error is surely above that of all rows, the worst first.

    Args:
        results: Any rows.
        k: The most slices.

    Returns:
        `column`, `slice`, `rows`, `error`, `low`, `high`, as `errors_by` measures them: slices of at least 10 rows, in order
        of how far the lower end of their interval lies above the overall error. They are those whose error is above it also
        by intervals so wide that by chance hardly one of all slices would be (Bonferroni).
    """
    check_whole("k", k)
    targets = results.schema.target.columns
    parts, overall = [], float(np.nanmean(errors_of(results)))
    for column in (name for name in results.frame if name not in targets):
        found = _errors_of_slices(results, _slices_of_column(results, str(column), _NUM_SLICES))
        parts.append(found.assign(slice=found["slice"].astype(str), column=column))
    if not parts:
        return pd.DataFrame(columns=["column", "slice", "rows", "error", "low", "high"])
    found = pd.concat(parts, ignore_index=True)[["column", "slice", "rows", "error", "low", "high"]]
    found = found[(found["rows"] >= _MIN_ROWS) & (found["rows"] < len(results))]
    chance = 0.025 / max(1, len(found))  # of each slice
    wider = NormalDist().inv_cdf(1 - chance) / NormalDist().inv_cdf(0.975)
    found = found[found["error"] - wider * (found["error"] - found["low"]) > overall]
    return found.sort_values("low", ascending=False, kind="stable", ignore_index=True).head(k)


@speaking("reliability")
def reliability(results: Results, num_bins: int = 10) -> pd.DataFrame:
    """Return how often answers of each confidence are right: of 100 rows answered with 0.8, about 80 should be.

    Args:
        results: Rows with classes or labels. Of one class the confidence is that of the answer; of labels that of each "yes".
        num_bins: Bins of equal width from 0 to 1; those without rows are left out.

    Returns:
        `confidence` (the mean in the bin), `accuracy`, `rows`; `attrs["expected_calibration_error"]` is the mean distance
        of the two, weighted by rows.

    Raises:
        BadValueError: The target is numbers.

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
    """Return precision, recall and F1 for each threshold, of the positive class or of each label.

    Args:
        results: Rows with two classes, or with labels.

    Returns:
        `label`, `threshold` (0.01 to 0.99), `precision` (1 where nothing is predicted), `recall`, `f1`.

    Raises:
        BadValueError: The target is neither.
    """
    names = list(results.schema.target.classes)
    if not results.schema.task.is_classes or (results.is_one_class and len(names) != 2):
        raise BadValueError("a threshold needs two classes, or labels", "Pass results of such a target")
    thresholds = np.arange(1, 100) / 100
    truth = results.target[:, None] == 1 if results.is_one_class else results.target == 1
    scores = results.predictions[:, -1:] if results.is_one_class else results.predictions
    parts = []
    for index, name in enumerate(names[-1:] if results.is_one_class else names):
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
    """Return the target, the prediction, and the residual, target minus prediction, of each row and number.

    Args:
        results: Rows with numbers.

    Returns:
        `name` of the target's column, `target`, `prediction`, `residual`, with the index of the rows.

    Raises:
        BadValueError: The target is classes.
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
    """Return the rows whose label is most likely wrong, for a person to look at.

    Pass rows that the model did not learn from. A row is listed if the model is as sure of another class as it is, in the
    mean, of that class's own rows.

    Args:
        results: Rows with one class each.
        k: The most rows.

    Returns:
        The index `row`; the target (`true_label` if its name is `label`); `label`, the suggestion; `margin`, the probability
        of the target less that of the suggestion, lowest first; then the user's other columns. Written with `to_csv` and
        edited by a person it is what `corrections=` of a datamodule and `tabvision train --corrections` read.

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


def errors_of(results: Results) -> NDArray[np.float64]:
    """Return the error of each row, (N,): whether the class is wrong, the fraction of wrong labels, or the absolute error."""
    if results.is_one_class:
        return np.asarray(results.decoded != results.target, dtype=np.float64)
    differences = np.abs(results.decoded.astype(np.float64) - results.target.astype(np.float64))
    known = np.isfinite(differences)
    total = np.where(known, differences, 0).sum(axis=1)
    return np.where(known.any(axis=1), total / np.maximum(known.sum(axis=1), 1), np.nan)


def _classes_of(results: Results) -> list[Any]:
    if not results.is_one_class:
        task: Task = results.schema.task
        raise BadValueError(f"rows of one class each are needed, and the target is {task.name}", "Pass such results")
    return list(results.schema.target.classes)


def _errors_of_slices(results: Results, slices: NDArray[Any]) -> pd.DataFrame:
    """Return `slice`, `rows`, `error`, `low` and `high`, the worst first."""
    errors = errors_of(results)
    grouped = pd.Series(errors).groupby(slices, observed=True, sort=False)
    found = grouped.agg(rows="count", error="mean", std="std").reset_index(names="slice")
    low, high = _interval(found, is_fraction=results.is_one_class)
    found = found.drop(columns="std").assign(low=low, high=high)
    found = found.sort_values("error", ascending=False, kind="stable", ignore_index=True)
    name = "error rate" if results.schema.task.is_classes else "mean absolute error"
    found.attrs.update(error=name, overall=float(np.nanmean(errors)))
    return found


def _slices_of_column(results: Results, column: str, num_slices: int) -> NDArray[Any]:
    """Return the slice of each row by a column of the frame."""
    values = cast("pd.Series", results.frame[column])
    for number in results.schema.continuous:
        if number.source == number.name == column:  # perhaps written as text
            values = pd.Series(Columns(results.frame).numbers(column, number.text).values)
    is_name = column in {category.source for category in results.schema.categorical if category.source == category.name}
    return _slices_of(values, num_slices, is_name=is_name)


def _slices_of(values: pd.Series[Any], num_slices: int, *, is_name: bool = False) -> NDArray[Any]:
    """Return the slice of each row, (N,) text or the user's values; numbers that are names are not cut."""
    is_date = isinstance(values.dtype, pd.DatetimeTZDtype) or values.dtype.kind == "M"
    is_number = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
    is_ordered = is_date or (is_number and not is_name)
    missing = np.asarray(values.isna(), dtype=bool)
    if is_ordered and values.nunique() > num_slices:
        ordered = values.reset_index(drop=True) if is_date else pd.Series(values.to_numpy(dtype=float, na_value=np.nan))
        groups = ordered.groupby(pd.qcut(ordered, num_slices, duplicates="drop", labels=False))
        ends = pd.concat([groups.transform("min"), groups.transform("max")], axis=1)
        found = np.array([_range_text(*row, is_date=is_date) for row in ends.itertuples(index=False)], dtype=object)
    else:
        texts = [tuple(value) if isinstance(value, list) else value for value in values]
        found = np.empty(len(texts), dtype=object)
        found[:] = texts
        frequent = pd.Series(found[~missing], dtype=object).value_counts().index[:num_slices]
        found[~pd.Series(found, dtype=object).isin(list(frequent)).to_numpy()] = _OTHER
    found[missing] = _MISSING
    return found


def _range_text(low: Any, high: Any, *, is_date: bool) -> str:  # noqa: ANN401 - two floats or timestamps
    if is_date:
        return f"{str(low)[:10]} to {str(high)[:10]}"
    first, last = four_digits(low), four_digits(high)
    return f"{first} to {last}" if low < high else first


def _interval(found: pd.DataFrame, *, is_fraction: bool) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the ends of the 95 % interval of each mean error."""
    rows, mean = found["rows"].to_numpy(dtype=float), found["error"].to_numpy(dtype=float)
    if is_fraction:
        center = (mean + _Z**2 / (2 * rows)) / (1 + _Z**2 / rows)
        half = _Z / (1 + _Z**2 / rows) * np.sqrt(mean * (1 - mean) / rows + _Z**2 / (4 * rows**2))
        return np.clip(center - half, 0, mean), np.clip(center + half, mean, 1)  # rounding may pass 0, the mean and 1
    half = _Z * found["std"].fillna(np.inf).to_numpy() / np.sqrt(rows)
    return np.maximum(mean - half, 0), mean + half


def four_digits(value: float) -> str:
    """Return a number as a reader wants it: with four digits, or whole with thousands separated.

    Example:
        >>> four_digits(13_722.31), four_digits(0.123456)
        ('13,722', '0.1235')
    """
    return f"{value:,.0f}" if 1e4 <= abs(value) < 1e15 else f"{value:.4g}"
