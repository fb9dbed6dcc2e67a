"""Measure how new rows differ from others, column by column, and find rows that occur in both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from tabvision.checks import check_present
from tabvision.data.tables.read import Source, read_frame, text_format
from tabvision.errors import speaking
from tabvision.interpret.rows import floats_of
from tabvision.preprocess import Columns
from tabvision.preprocess.columns import Numbers, Timestamps
from tabvision.preprocess.encode import Source as RawColumn
from tabvision.preprocess.encode import sources_of
from tabvision.schema import Schema

_ALPHA = 0.01  # the fraction of columns without drift to flag by mistake
_MIN_EXPECTED = 5  # rows per category and table, for the chi-square distribution to hold
_MEASURES = {"category": "total variation", "number": "Kolmogorov-Smirnov", "date": "Kolmogorov-Smirnov"}


@speaking("drift")
def drift(
    reference: Source, new: Source, *, schema: Schema | None = None, columns: Sequence[str] | None = None
) -> pd.DataFrame:
    """Return how much the distribution of each column differs between two tables, such as training rows and this month's.

    Args:
        reference: The rows to compare with, such as the training rows: a frame or a table file.
        new: The rows to compare, in the same forms.
        schema: A model's schema, to compare its raw columns as the model reads them; None to compare all columns that both
            tables have, numbers and dates as such and everything else as categories.
        columns: The columns to compare; None for those just described.

    Returns:
        One row per column, drifted columns first, then by distance: `column`; `measure`; `distance`, from 0 for the same
        distribution to 1 for nothing in common, leaving out missing values; `missing`, how much their fraction grew;
        `unseen`, the fraction of new rows whose category the reference lacks; `outside`, the fraction beyond its range;
        `p_value`, the probability of such differences without drift; `drifted`, whether that is below 1 %.

    Raises:
        MissingColumnsError: A column does not exist.
        BadValueError: A table has no rows, or text in place of a number.

    Source:
        The two-sample Kolmogorov-Smirnov test for numbers; Pearson's chi-square test for categories with at least five
        expected rows, and with Yates's correction for missing values. Beyond the range: any k rows are equally likely to
        be the k most extreme. The p-value is the smallest of these tests', times their number (Bonferroni).

    Example:
        >>> ages = pd.DataFrame({"age": np.arange(100.0), "job": ["cook", "nurse"] * 50})
        >>> drift(ages, ages.assign(age=ages["age"] + 50))[["column", "distance", "outside", "drifted"]].values.tolist()
        [['age', 0.5, 0.5, True], ['job', 0.0, 0.0, False]]
    """
    frames = _frames(reference, new, schema)
    one, other = (Columns(frame) for frame in frames)
    known = {} if schema is None else {source.name: source for source in sources_of(schema)}
    common = [str(name) for name in one.frame if name in other.frame] if schema is None else []
    for name in common:
        column = one.read(name)
        if isinstance(column, Numbers) and column.kind != "boolean":
            known[name] = RawColumn(name, "number", (), (), "strict")
        elif isinstance(column, Timestamps):
            known[name] = RawColumn(name, "date", (), (), "iso")
    names = list(columns) if columns is not None else common if schema is None else list(known)
    for frame in frames:
        check_present(names, frame.columns, "Name columns that both tables have")
    rows = [_compare_column(known.get(name, RawColumn(name, "category", (), ())), one, other) for name in names]
    found = pd.DataFrame(rows, columns=["column", "measure", "distance", "missing", "unseen", "outside", "p_value"])
    found["drifted"] = found["p_value"] < _ALPHA
    return found.sort_values(["drifted", "distance"], ascending=False, kind="stable", ignore_index=True)


@speaking("overlap")
def overlap(
    first: Source,
    second: Source,
    *,
    target: str | Sequence[str] = (),
    schema: Schema | None = None,
    columns: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Return the rows of the second table that also occur in the first, such as validation rows among training rows.

    Args:
        first: A frame or a table file.
        second: Another frame or table file.
        target: The column or columns to predict, which may differ.
        schema: A model's schema, to compare its raw columns and target; None for all columns that both tables have.
        columns: The columns to compare; None for those just described.

    Returns:
        `row`, the number of each such row in `second`; `first_row`, the number of its first match in `first`; `same_target`,
        whether any match has the same target, too.

    Raises:
        MissingColumnsError: A column does not exist.
        BadValueError: A table has no rows.

    Example:
        >>> train = pd.DataFrame({"age": [31, 42, 42], "paid": ["no", "no", "yes"]})
        >>> overlap(train, pd.DataFrame({"age": [50, 42], "paid": ["no", "yes"]}), target="paid").to_dict("records")
        [{'row': 1, 'first_row': 1, 'same_target': True}]
    """
    one, other = _frames(first, second, schema)
    targets = [target] if isinstance(target, str) else list(target or (schema.target.columns if schema else ()))
    common = [name for name in one if name in other and name not in targets]
    names = list(columns) if columns is not None else common if schema is None else list(schema.inputs)
    for frame in (one, other):
        check_present((*names, *targets), frame.columns, "Name columns that both tables have")
    both = pd.concat([one[[*names, *targets]], other[[*names, *targets]]], ignore_index=True)  # one dtype for both
    both = both.apply(lambda values: values.astype(str) if values.map(type).eq(list).any() else values)
    hashes = pd.util.hash_pandas_object(both[names], index=False).to_numpy()
    seen = pd.Series(hashes[: len(one)]).drop_duplicates()
    rows = np.flatnonzero(np.isin(hashes[len(one) :], seen.to_numpy())) if names else np.empty(0, dtype=np.int64)
    like = pd.Series(seen.index, index=seen.to_numpy()).loc[hashes[len(one) + rows]].to_numpy()
    # hashes may collide, so compare the values, too; missing values count as equal
    left, right = (both[names].iloc[each].reset_index(drop=True) for each in (like, len(one) + rows))
    is_equal = ((left == right).fillna(value=False) | (left.isna() & right.isna())).all(axis=1).to_numpy(dtype=np.bool_)
    rows, like = rows[is_equal], like[is_equal]
    with_target = pd.util.hash_pandas_object(both, index=False).to_numpy()
    same = np.isin(with_target[len(one) + rows], with_target[: len(one)])
    return pd.DataFrame({"row": rows, "first_row": like, "same_target": same})


def _frames(first: Source, second: Source, schema: Schema | None) -> list[pd.DataFrame]:
    known = None if schema is None else schema.known_columns
    return [read_frame(source, **text_format(schema), known=known) for source in (first, second)]


def _compare_column(source: RawColumn, reference_columns: Columns, new_columns: Columns) -> tuple[Any, ...]:
    """Return the row for one column."""
    reference, new = (
        columns.frame[source.name].to_numpy(dtype=object) if source.kind == "category" else floats_of(columns, source)
        for columns in (reference_columns, new_columns)
    )
    one, other = (values[~np.asarray(pd.isna(values))] for values in (reference, new))
    counts = np.array([[len(reference) - len(one), len(one)], [len(new) - len(other), len(other)]])
    more_missing = counts[1, 0] / len(new) - counts[0, 0] / len(reference)
    tests = [_chi_square(counts, correction=0.5)]
    distance = unseen = outside = 0.0
    if source.kind != "category":
        one, other = np.sort(one), np.sort(other)
        if len(one) and len(other):
            below = int(np.searchsorted(other, one[0]))
            above = len(other) - int(np.searchsorted(other, one[-1], side="right"))
            outside = (below + above) / len(new)
            distance, p_value = _kolmogorov_smirnov(one, other)
            tests += [p_value, *(_extremes(len(one), len(other), num) for num in (below, above))]
    elif len(one) and len(other):
        codes, _ = pd.factorize(np.concatenate([one, other]))
        table = np.stack([np.bincount(part, minlength=codes.max() + 1) for part in np.split(codes, [len(one)])])
        distance = float(np.abs(table[0] / len(one) - table[1] / len(other)).sum() / 2)
        unseen = float(table[1][table[0] == 0].sum() / len(new))
        expected = table.sum(axis=0) * (table.sum(axis=1).min() / table.sum())
        is_rare = expected < _MIN_EXPECTED  # pool the rare categories
        tests.append(_chi_square(np.column_stack([table[:, ~is_rare], table[:, is_rare].sum(axis=1)])))
    p_value = min(1.0, len(tests) * min(tests))
    return source.name, _MEASURES[source.kind], distance, more_missing, unseen, outside, p_value


def _kolmogorov_smirnov(one: NDArray[np.float64], other: NDArray[np.float64]) -> tuple[float, float]:
    """Return the largest distance between two sorted samples' distribution functions, and its asymptotic p-value."""
    every = np.concatenate([one, other])
    fractions = [np.searchsorted(each, every, side="right") / len(each) for each in (one, other)]
    distance = float(np.abs(fractions[0] - fractions[1]).max())
    scaled = distance * np.sqrt(len(one) * len(other) / (len(one) + len(other)))
    terms = np.arange(1, 101)
    p_value = 2 * float(((-1.0) ** (terms - 1) * np.exp(-2 * (terms * scaled) ** 2)).sum())
    return distance, min(1.0, p_value) if scaled > 0.2 else 1.0  # below 0.2 the series converges too slowly; p is 1


def _extremes(num_reference: int, num_new: int, num_beyond: int) -> float:
    """Return the probability that the `num_beyond` most extreme rows are all new ones.

    Example:
        >>> _extremes(100, 100, 0), round(_extremes(100, 100, 2), 4)
        (1.0, 0.2487)
    """
    rank = np.arange(num_beyond)
    return float(np.exp(np.log((num_new - rank) / (num_reference + num_new - rank)).sum()))


def _chi_square(table: NDArray[np.int64], correction: float = 0) -> float:
    """Return the p-value of the test of independence; `correction` is Yates's half row, for tables of two columns."""
    table = table[:, table.sum(axis=0) > 0]
    if table.shape[1] < 2:
        return 1.0
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0) / table.sum()
    distance = np.maximum(np.abs(table - expected) - correction, 0)
    statistic, freedom = (distance**2 / expected).sum(), table.shape[1] - 1
    return float(torch.special.gammaincc(*torch.tensor([freedom / 2, statistic / 2], dtype=torch.float64)))
