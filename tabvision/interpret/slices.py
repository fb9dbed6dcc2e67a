"""Measure the error of each slice of a column, and find the worst slices."""

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

_MISSING, _OTHER = "missing", "other"
_Z = 1.959964  # standard deviations in a 95 % interval
_NUM_SLICES = 8
_MIN_ROWS = 10  # smaller slices are not listed as the worst


@speaking("errors_by")
def errors_by(results: Results, column: str | pd.Series[Any], *, num_slices: int = _NUM_SLICES) -> pd.DataFrame:
    """Return the error of each slice of a column, the worst first.

    Numbers and dates are cut at quantiles. Of other columns, and of numbers that the model reads as categories, the most
    frequent values are slices, and the rest is "other".

    Args:
        results: Any rows.
        column: A column of `results.frame`, whether the model reads it or not; or your own values, one per row in the same
            order, such as how often the row's user was seen in training.
        num_slices: The most slices, not counting missing values.

    Returns:
        The slice under the column's own name, `rows`, `error`, and its 95 % interval, `low` and `high`. The error is the
        fraction of wrong classes or labels, or the mean absolute error. `attrs["error"]` names it, and `attrs["overall"]`
        is the error of all rows.

    Raises:
        MissingColumnsError: There is no such column.
        BadValueError: There are fewer than two slices, or not one value per row.

    Source: Wilson's interval for a fraction, the normal interval for a mean.
    """
    check_whole("num_slices", num_slices, 2)
    if isinstance(column, pd.Series):
        if len(column) != len(results):
            problem = f"column must hold a value for each of {count(len(results), 'row')}, got {len(column):,}"
            raise BadValueError(problem, "Pass values in the order of results.frame")
        name, slices = "value" if column.name is None else column.name, _slices_of(column, num_slices)
    elif column in results.frame:
        name, slices = column, _slices_of_column(results, column, num_slices)
    else:
        raise MissingColumnsError([column], list(results.frame), "Name a column of the rows")
    found = _errors_of_slices(results, slices)
    return found.set_axis([name, *found.columns[1:]], axis=1)


@speaking("worst_slices")
def worst_slices(results: Results, k: int = 10) -> pd.DataFrame:
    """Return the slices, of all columns, whose error is significantly above that of all rows, the worst first.

    Args:
        results: Any rows.
        k: The most slices to return.

    Returns:
        `column`, `slice`, `rows`, `error`, `low`, `high`, as in `errors_by`, for slices of at least 10 rows, ordered by how
        far the lower end of their interval lies above the overall error. To be listed, a slice must also be above it with
        an interval widened for the number of slices (Bonferroni), so that hardly any is there by chance.
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
    chance = 0.025 / max(1, len(found))  # for each slice
    wider = NormalDist().inv_cdf(1 - chance) / NormalDist().inv_cdf(0.975)
    found = found[found["error"] - wider * (found["error"] - found["low"]) > overall]
    return found.sort_values("low", ascending=False, kind="stable", ignore_index=True).head(k)


def errors_of(results: Results) -> NDArray[np.float64]:
    """Return each row's error, (N,): whether the class is wrong, the fraction of wrong labels, or the absolute error.

    That of points is how far they are off on average.
    """
    if results.is_one_class:
        return np.asarray(results.decoded != results.target, dtype=np.float64)
    differences = np.abs(results.decoded.astype(np.float64) - results.target.astype(np.float64))
    if results.schema.task.moves_with_image:
        differences = np.hypot(differences[:, ::2], differences[:, 1::2])
    known = np.isfinite(differences)
    total = np.where(known, differences, 0).sum(axis=1)
    return np.where(known.any(axis=1), total / np.maximum(known.sum(axis=1), 1), np.nan)


def _errors_of_slices(results: Results, slices: NDArray[Any]) -> pd.DataFrame:
    """Return `slice`, `rows`, `error`, and its 95 % interval, `low` and `high`, the worst slice first."""
    errors = errors_of(results)
    grouped = pd.Series(errors).groupby(slices, observed=True, sort=False)
    found = grouped.agg(rows="count", error="mean", std="std").reset_index(names="slice")
    rows, mean = found["rows"].to_numpy(dtype=float), found["error"].to_numpy(dtype=float)
    if results.is_one_class:
        center = (mean + _Z**2 / (2 * rows)) / (1 + _Z**2 / rows)
        half = _Z / (1 + _Z**2 / rows) * np.sqrt(mean * (1 - mean) / rows + _Z**2 / (4 * rows**2))
        # rounding may overshoot 0, the mean or 1
        low, high = np.clip(center - half, 0, mean), np.clip(center + half, mean, 1)
    else:
        half = _Z * found["std"].fillna(np.inf).to_numpy() / np.sqrt(rows)
        low, high = np.maximum(mean - half, 0), mean + half
    found = found.drop(columns="std").assign(low=low, high=high)
    found = found.sort_values("error", ascending=False, kind="stable", ignore_index=True)
    name = "error rate" if results.schema.task.is_classes else "mean absolute error"
    found.attrs.update(error=name, overall=float(np.nanmean(errors)))
    return found


def _slices_of_column(results: Results, column: str, num_slices: int) -> NDArray[Any]:
    """Return each row's slice by a column of the frame."""
    values = cast("pd.Series", results.frame[column])
    for number in results.schema.continuous:
        if number.source == number.name == column:  # perhaps written as text
            values = pd.Series(Columns(results.frame).numbers(column, number.text).values)
    for date in results.schema.dates:
        if date.name == column:  # perhaps written as text or a number
            times = Columns(results.frame).timestamps(column, date.format).values
            values = pd.Series(times.view("datetime64[us]"))
    is_name = column in {it.source for it in results.schema.categorical if it.part in (None, "value")}
    return _slices_of(values, num_slices, is_name=is_name)


def _slices_of(values: pd.Series[Any], num_slices: int, *, is_name: bool = False) -> NDArray[Any]:
    """Return each row's slice, (N,) text or the user's values; nominal numbers (`is_name`) are not cut."""
    is_date = isinstance(values.dtype, pd.DatetimeTZDtype) or values.dtype.kind == "M"
    is_number = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
    is_ordered = is_date or (is_number and not is_name)
    missing = np.asarray(values.isna(), dtype=bool)
    if is_ordered and values.nunique() > num_slices:
        ordered = values.reset_index(drop=True) if is_date else pd.Series(values.to_numpy(dtype=float, na_value=np.nan))
        groups = ordered.groupby(pd.qcut(ordered, num_slices, duplicates="drop", labels=False))
        ends = zip(groups.transform("min"), groups.transform("max"), strict=True)
        if is_date:
            is_within_day = (groups.min().dt.date == groups.max().dt.date).any()
            length = 16 if is_within_day else 10  # 2024-12-31 23:59, or without the time
            texts = [f"{str(low)[:length]} to {str(high)[:length]}" for low, high in ends]
        else:
            texts = [
                f"{four_digits(low)} to {four_digits(high)}" if low < high else four_digits(low) for low, high in ends
            ]
        found = np.array(texts, dtype=object)
    else:
        found = np.empty(len(values), dtype=object)
        found[:] = [tuple(value) if isinstance(value, list) else value for value in values]
        frequent = pd.Series(found[~missing], dtype=object).value_counts().index[:num_slices]
        found[~pd.Series(found, dtype=object).isin(list(frequent)).to_numpy()] = _OTHER
    found[missing] = _MISSING
    return found


def four_digits(value: float) -> str:
    """Format a number for a reader: with four significant digits, or whole with thousands separators.

    Example:
        >>> four_digits(13_722.31), four_digits(0.123456)
        ('13,722', '0.1235')
    """
    return f"{value:,.0f}" if 1e4 <= abs(value) < 1e15 else f"{value:.4g}"
