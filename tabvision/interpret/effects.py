"""Show how a model's answers depend on a column: partial dependence and accumulated local effects."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.types import is_datetime64_any_dtype, is_numeric_dtype

from tabvision.checks import check_choice, check_whole
from tabvision.data.targets import missing_cells
from tabvision.errors import BadTypeError, BadValueError, speaking
from tabvision.inference.batches import Inputs
from tabvision.inference.inputs import Source as Rows
from tabvision.inference.predictor import Predictor
from tabvision.interpret.rows import (
    Model,
    answer_names,
    column_values,
    floats_of,
    predictor_of,
    read_rows,
    with_column,
)
from tabvision.preprocess import Columns
from tabvision.preprocess.encode import Source, sources_of

Kind = Literal["pdp", "ale"]
_BAND = (0.1, 0.9)  # quantiles of the answers to individual rows
_FACTS = ("answer", "mean", "low", "high")


@speaking("effects")
def effects(
    model: Model,
    source: Rows,
    column: str | Sequence[str],
    *,
    grid: int = 20,
    kind: Kind = "pdp",
    max_rows: int | None = 1_000,
    seed: int = 0,
) -> pd.DataFrame:
    """Return how a model's answers depend on one column, or on two together.

    Partial dependence ("pdp") is the mean answer if every row had the same value. If columns are correlated, it asks about
    rows that may not exist, such as a large house with one room. Accumulated local effects ("ale") move each row only to the
    ends of the interval that its value lies in, and add up the changes.

    Args:
        model: A `Predictor`, a module in memory, or the path of a checkpoint.
        source: Rows like those in training: a frame or a table file.
        column: A raw column, such as a date with all its parts; for "pdp" also a list of two.
        grid: The most values per column: quantiles of numbers or dates, the most frequent categories.
        kind: "pdp" or "ale".
        max_rows: The most rows to use, drawn at random; None for all.
        seed: Seed of that draw.

    Returns:
        One row per answer (`probability_<class>` or `prediction`, as a `Predictor` names them) and value: the value under
        the column's own name, with `_value` appended if that is one of the following; `answer`; `mean`, for "ale" the
        change, with mean 0 over the rows; and for "pdp" `low` and `high`, which enclose the answers to 80 % of the rows.

    Raises:
        UnknownNameError: The model reads no such column, or there is no such kind.
        BadTypeError: The model reads only images, the rows are not a table, or "ale" gets a column of categories.
        BadValueError: A number is out of range, a column is repeated or has no values, or there are more than two.

    Source:
        Friedman 2001, "Greedy Function Approximation"; Apley and Zhu 2020, "Visualizing the Effects of Predictor Variables".
    """
    check_choice("kind", kind, get_args(Kind))
    check_whole("grid", grid, 2)
    names = [column] if isinstance(column, str) else list(column)
    if len(set(names)) < len(names) or not 1 <= len(names) <= 2:
        problem = f"column must be one column or two, got {column!r}"
        raise BadValueError(problem, 'Pass a name or a list of two: "age" or ["age", "job"]')
    predictor = predictor_of(model)
    known = {source.name: source for source in sources_of(predictor.schema)}
    for name in names:
        check_choice("column", name, known)
    columns = [known[name] for name in names]
    inputs = read_rows(predictor, source, max_rows, np.random.default_rng(seed))
    assert inputs.frame is not None, "read_rows reads tables"
    if kind == "pdp":
        return _partial_dependence(predictor, inputs, inputs.frame, columns, grid)
    if len(columns) > 1:
        raise BadValueError(f"accumulated local effects take one column, got {names}", 'Pass one, or kind="pdp"')
    return _accumulated_effects(predictor, inputs, inputs.frame, columns[0], grid)


def _partial_dependence(
    predictor: Predictor, inputs: Inputs, frame: pd.DataFrame, columns: Sequence[Source], grid: int
) -> pd.DataFrame:
    grids = [_grid(frame, column, grid) for column in columns]
    points = list(itertools.product(*grids))
    found: list[list[NDArray[Any]]] = [[] for _ in points]
    for arrays in inputs.batches():  # batches are the outer loop, so that an image is read once
        for point, answers in zip(points, found, strict=True):
            moved = arrays
            for column, row in zip(columns, point, strict=True):
                moved = with_column(moved, column, column_values(inputs.arrays, column, [row]))
            answers.append(predictor.answers(moved))
    stacked = np.array([np.concatenate(answers) for answers in found], np.float64)  # (points, rows, answers)
    low, high = np.quantile(stacked, _BAND, axis=1)
    rows = {column: [point[index] for point in points] for index, column in enumerate(columns)}
    return _tidy(predictor, frame, rows, {"mean": stacked.mean(axis=1), "low": low, "high": high})


def _accumulated_effects(
    predictor: Predictor, inputs: Inputs, frame: pd.DataFrame, column: Source, grid: int
) -> pd.DataFrame:
    if column.kind == "category":
        problem = f"accumulated local effects need ordered values, and {column.name!r} holds categories"
        raise BadTypeError(problem, 'Pass kind="pdp"')
    ends, numbers = _grid(frame, column, grid), _numbers(frame, column)
    if len(ends) < 2:
        raise BadValueError(f"column {column.name!r} has one value in these rows", "Pass rows in which it varies")
    present = np.flatnonzero(~np.isnan(numbers))
    intervals = np.searchsorted(numbers[ends[1:-1]], numbers[present])  # of each row: low end < value <= high end
    changes = np.zeros((len(ends) - 1, predictor.module.task.num_predictions))
    counts = np.zeros(len(ends) - 1)
    for arrays in inputs.take(present).batches():
        interval = intervals[arrays["index"]]
        low, high = (
            predictor.answers(with_column(arrays, column, column_values(inputs.arrays, column, ends[interval + end])))
            for end in (0, 1)
        )
        np.add.at(changes, interval, high.astype(np.float64) - low)
        np.add.at(counts, interval, 1)
    steps = changes / np.maximum(counts, 1)[:, None]
    accumulated = np.concatenate([np.zeros_like(steps[:1]), steps.cumsum(axis=0)])
    center = np.average((accumulated[1:] + accumulated[:-1]) / 2, axis=0, weights=counts)
    return _tidy(predictor, frame, {column: ends}, {"mean": accumulated - center})


def _numbers(frame: pd.DataFrame, column: Source) -> NDArray[np.float64]:
    """Return a raw column as numbers: dates in microseconds, categories as codes, missing values as NaN."""
    if column.kind != "category":
        return floats_of(Columns.of(frame), column)
    return np.where(missing_cells(frame[column.name]), np.nan, pd.factorize(frame[column.name])[0].astype(np.float64))


def _grid(frame: pd.DataFrame, column: Source, size: int) -> NDArray[np.intp]:
    """Return the numbers of rows that hold the values of a column to evaluate."""
    numbers = _numbers(frame, column)
    present = np.flatnonzero(~np.isnan(numbers))
    if not len(present):
        raise BadValueError(f"column {column.name!r} has no values in these rows", "Pass rows that have some")
    _, first, counts = np.unique(numbers[present], return_index=True, return_counts=True)
    rows = present[first]
    if column.kind == "category":
        return rows[np.argsort(-counts, kind="stable")[:size]]
    if len(rows) <= size:
        return rows
    ranks = np.linspace(0, len(present) - 1, size).round()
    return rows[np.unique(np.searchsorted(counts.cumsum(), ranks, side="right"))]


def _tidy(
    predictor: Predictor,
    frame: pd.DataFrame,
    points: Mapping[Source, Sequence[int] | NDArray[np.intp]],
    facts: Mapping[str, NDArray[np.float64]],
) -> pd.DataFrame:
    """Return a row for each answer and point.

    Args:
        predictor: The predictor.
        frame: The raw rows.
        points: For each column, the rows that hold its value at each point.
        facts: (points, answers) numbers by name.
    """
    values = {}
    for column, rows in points.items():
        raw = frame[column.name].iloc[rows]
        if column.kind == "number" and not is_numeric_dtype(raw):
            raw = pd.Series(_numbers(frame, column)[rows])
        if column.kind == "date" and not is_datetime64_any_dtype(raw):
            raw = pd.Series(pd.to_datetime(_numbers(frame, column)[rows], unit="us"))
        values[f"{column.name}_value" if column.name in _FACTS else column.name] = raw.tolist()
    names = answer_names(predictor.schema, predictor.module.task.num_predictions)
    parts = [
        pd.DataFrame({**values, "answer": name, **{fact: found[:, index] for fact, found in facts.items()}})
        for index, name in enumerate(names)
    ]
    return pd.concat(parts, ignore_index=True)
