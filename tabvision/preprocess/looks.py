"""Questions on a column's values that decide its kind: a sample answers most, and all rows only where it cannot."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tabvision.preprocess.categories import distinct_numbers
from tabvision.preprocess.columns import Column, Levels, Moments, Numbers, Text
from tabvision.preprocess.convert import dates_of
from tabvision.preprocess.parse import NO_DATE, parse_number

MAX_INTEGER_CATEGORIES = 20  # fastai's `cont_cat_split(max_card=20)`
Values = TypeVar("Values", NDArray[Any], pa.ChunkedArray)

SAMPLE = 5_000  # rows looked at first
NUMBER_LIKE = r"\s*[$€£¥]?\s*[+-]?[0-9]+([., '][0-9]{3})*([.,][0-9]+)?\s*[%$€£¥]?\s*"
DATE_LIKE = (
    r"([0-9]{1,2}[./-][0-9]{1,2}[./-]([0-9]{2}|[0-9]{4})|[0-9]{4}[./-][0-9]{1,2}[./-][0-9]{1,2}"
    r"|[0-9]{1,2}[ -][A-Za-z]{3,9}[.]?[ -][0-9]{2,4})([ T,].*)?"
)


def has_gaps(column: Column) -> bool:
    """Whether any row has no value."""
    if isinstance(column, Text):
        return bool(column.values.null_count)
    if isinstance(column, Levels):
        return bool((column.codes < 0).any())
    if isinstance(column, Moments):
        return bool((column.values == NO_DATE).any())
    return column.values.dtype.kind == "f" and bool(np.isnan(column.values).any())


def is_constant(column: Column) -> bool:
    """Whether every row has the same value; gaps beside one value still tell something.

    Example:
        >>> is_constant(Numbers(np.array([1, 1]), "integer")), is_constant(Numbers(np.array([1, np.nan]), "float"))
        (True, False)
    """
    if isinstance(column, Text):
        return _num_distinct_text(column, at_most=1) == 1 and not has_gaps(column)
    values = column.codes if isinstance(column, Levels) else column.values
    return bool((values == values[0]).all())


def many_distinct(column: Numbers, limit: int) -> bool:
    """Whether there are more distinct numbers than the limit."""
    sample = distinct_numbers(_sample(column.values))
    return len(sample) > limit or len(distinct_numbers(column.values)) > limit


def all_distinct(column: Numbers | Text) -> bool:
    """Whether every row has a value, and no two the same: an identifier.

    Example:
        >>> all_distinct(Numbers(np.array([3, 1, 2]), "integer")), all_distinct(Numbers(np.array([3, 1, 1]), "integer"))
        (True, False)
    """
    if has_gaps(column) or len(column.values) < 2:
        return False
    if isinstance(column, Text):
        return _num_distinct_text(column, at_most=len(column.values)) == len(column.values)
    sample = _sample(column.values)
    return len(distinct_numbers(sample)) == len(sample) and len(distinct_numbers(column.values)) == len(column.values)


def reads_as_dates(column: Text) -> bool:
    """Whether every value is an ISO date."""
    return all(_reads_as_dates(pc.unique(values).drop_null()) for values in (_sample(column.values), column.values))


def reads_as_numbers(column: Text) -> bool:
    """Whether every value writes a number."""
    return all(_reads_as_numbers(pc.unique(values).drop_null()) for values in (_sample(column.values), column.values))


def looks_like_numbers(column: Text) -> bool:
    """Whether a sample of the values writes numbers in a form that is not read, such as 1,5 or $1,000 or 5%.

    Example:
        >>> looks_like_numbers(Text(pa.array(["1,5", "20%"]))), looks_like_numbers(Text(pa.array(["1,5", "1.2.3"])))
        (True, False)
    """
    return _all_match(column, NUMBER_LIKE)


def looks_like_dates(column: Text) -> bool:
    """Whether a sample of the values writes dates in a form that is not read, such as 31.12.2024.

    Example:
        >>> looks_like_dates(Text(pa.array(["31.12.2024", "1 Jan 2025"]))), looks_like_dates(Text(pa.array(["1-2"])))
        (True, False)
    """
    return _all_match(column, DATE_LIKE)


def exception_to_numbers(column: Text) -> str | None:
    """The first value of a sample that writes no number, if more than half of the distinct ones write one.

    Example:
        >>> exception_to_numbers(Text(pa.array(["1", "2", "n/a"])))
        'n/a'
    """
    labels = pc.unique(_sample(column.values)).drop_null().to_pylist()
    others = [label for label in labels if parse_number(label) is None]
    return others[0] if others and len(others) < len(labels) / 2 else None


def _all_match(column: Text, pattern: str) -> bool:
    labels = pc.unique(_sample(column.values)).drop_null()
    return bool(pc.all(pc.match_substring_regex(labels, f"^({pattern})$")).as_py())


def _reads_as_dates(labels: pa.Array) -> bool:
    return bool((dates_of(labels) != NO_DATE).all())


def _reads_as_numbers(labels: pa.Array) -> bool:
    return all(parse_number(label) is not None for label in labels.to_pylist())


def _num_distinct_text(column: Text, *, at_most: int) -> int:
    """Distinct texts; a count that only holds for the sample is given once it settles the question."""
    sample = _sample(column.values)
    in_sample = pc.count_distinct(sample).as_py()
    settled = in_sample > at_most or in_sample < min(len(sample) - sample.null_count, at_most)
    return int(in_sample if settled else pc.count_distinct(column.values).as_py())


def _sample(values: Values) -> Values:
    """At most `SAMPLE` rows, evenly spread, as the same kind of array."""
    if len(values) <= SAMPLE:
        return values
    places: NDArray[np.int64] = np.linspace(0, len(values) - 1, SAMPLE).astype(np.int64)
    return values.take(places)
