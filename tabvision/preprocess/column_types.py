"""What each raw column is to a network, told from its dtype and values, with every choice open to the user."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tabvision.errors import BadTypeError, BadValueError, accepting_who, listed, speaking
from tabvision.preprocess.categories import distinct_numbers
from tabvision.preprocess.checks import check_frame, check_has, check_rows
from tabvision.preprocess.columns import Column, Levels, Moments, Numbers, Text, read_column
from tabvision.preprocess.convert import all_missing, as_moments, as_numbers, dates_of
from tabvision.preprocess.parse import NO_DATE, parse_number
from tabvision.schema import LeftOut

Kind = Literal["continuous", "categorical", "dates"]

# What to say of columns whose kind may surprise, after their names.
IDENTIFIERS = (
    "left out as an identifier, since no two rows are alike. To use it all the same, name it in categorical= or "
    "continuous= (--categorical, --continuous)."
)
READS_AS_DATES = "text that reads as dates. To keep it text, name it in categorical= (--categorical)."
READS_AS_NUMBERS = (
    "text that reads as numbers, kept as categories. To use the numbers, name it in continuous= (--continuous)."
)
LOOKS_LIKE_NUMBERS = (
    "text that looks like numbers in another form than 1234.5, kept as categories. To use the numbers, write them so."
)
LOOKS_LIKE_DATES = (
    "text that looks like dates in another form than 2024-12-31, kept as categories. To use the dates, write them so."
)
MOSTLY_NUMBERS = (
    "text that is mostly numbers, but not {value!r}, kept as categories. To use the numbers, set the others to missing."
)


@dataclass(frozen=True)
class Kinds:
    """The raw columns by kind, in the frame's order.

    Args:
        continuous: Numbers.
        categorical: Categories.
        dates: Dates, which will be cut into parts.
        left_out: Columns not used, and why.
        notes: Sentences for the user, on choices that may surprise.
    """

    continuous: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    dates: tuple[str, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Verdict:
    """One column's kind, or why it is left out."""

    kind: Kind | None
    reason: str = ""
    note: str = ""  # what to say after its name


@accepting_who
@speaking("infer_kinds")
def infer_kinds(
    frame: pd.DataFrame,
    *,
    target: Sequence[str],
    categorical: Sequence[str] | None = None,
    continuous: Sequence[str] | None = None,
    dates: Sequence[str] | None = None,
    ignore: Sequence[str] = (),
) -> Kinds:
    """Tells every column's kind.

    Floats and durations are continuous; text, truth values and pandas categories categorical; integers of at most 20
    distinct values categorical, of more continuous; dates, and text that is an ISO date in every row, dates. Left out:
    identifiers (text or integers without gaps, all distinct), constant columns, columns without a value.

    Args:
        frame: The raw rows.
        target: The columns to predict, which are no features.
        categorical: Columns that are categories, whatever they look like.
        continuous: Columns that are numbers, whatever they look like; text is parsed.
        dates: Columns that are dates, whatever they look like; text is parsed as ISO dates.
        ignore: Columns to leave out.

    Raises:
        MissingColumnsError: A named column is not there.
        BadValueError: A column named twice, the target among the features, or no feature left.
        BadTypeError: Mixed types, or values that no network reads.

    Example:
        >>> import pandas as pd
        >>> frame = pd.DataFrame({"id": ["a", "b", "c"], "age": [1.5, 2.5, 9.5], "sex": ["m", "f", "f"], "pay": 1})
        >>> kinds = infer_kinds(frame, target=["pay"])
        >>> kinds.continuous, kinds.categorical, kinds.left_out[0].name
        (('age',), ('sex',), 'id')
    """
    named = {"categorical": categorical or (), "continuous": continuous or (), "dates": dates or (), "ignore": ignore}
    return _kinds(frame, target, named)


def _kinds(frame: pd.DataFrame, target: Sequence[str], named: dict[str, Sequence[str]]) -> Kinds:
    check_frame(frame)
    forced = _forced(frame, target, named)
    check_rows(frame)
    features = [name for name in frame.columns if name not in set(target)]
    kinds = _sorted_out({name: _judge(frame, name, forced.get(name)) for name in features})
    if not (kinds.continuous or kinds.categorical or kinds.dates):
        reasons = listed([f"{column.name!r} ({column.reason})" for column in kinds.left_out]) or "none but the target"
        problem = f"at least one feature is needed, got columns that are all left out: {reasons}"
        raise BadValueError(problem, "Name columns to use with categorical=, continuous= or dates=")
    return kinds


def _sorted_out(verdicts: dict[str, _Verdict]) -> Kinds:
    def of(kind: Kind) -> tuple[str, ...]:
        return tuple(name for name, verdict in verdicts.items() if verdict.kind == kind)

    noted: dict[str, list[str]] = {}  # one sentence for all columns it is true of
    for name, verdict in verdicts.items():
        if verdict.note:
            noted.setdefault(verdict.note, []).append(repr(name))
    return Kinds(
        continuous=of("continuous"),
        categorical=of("categorical"),
        dates=of("dates"),
        left_out=tuple(LeftOut(name=name, reason=it.reason) for name, it in verdicts.items() if it.kind is None),
        notes=tuple(f"{listed(names)}: {note}" for note, names in noted.items()),
    )


def _forced(frame: pd.DataFrame, target: Sequence[str], named: dict[str, Sequence[str]]) -> dict[str, str]:
    """What the user asked for each column that was named."""
    forced: dict[str, str] = {}
    for option, names in {"target": target, **named}.items():
        if isinstance(names, str) or not all(isinstance(name, str) for name in names):
            raise BadTypeError(f"{option} must be a list of column names, got {names!r}", "Pass a list such as ['age']")
        check_has(frame, names, remedy=f"Name columns of the frame in {option}")
        for name in names:
            before = forced.get(name, option)
            if before == "target" != option:
                problem = f"{name!r} is the target, and cannot be a feature as well"
                raise BadValueError(problem, f"Take it out of {option}; target columns are never features")
            if before != option:
                raise BadValueError(f"{name!r} is named in both {before} and {option}", "Name it in one of them")
            forced[name] = option
    return forced


def _judge(frame: pd.DataFrame, name: str, forced: str | None) -> _Verdict:
    if forced == "ignore":
        return _Verdict(None, "ignored on request")
    column = read_column(frame[name], name)
    if forced == "continuous":
        as_numbers(column, name)
        return _Verdict("continuous")
    if forced == "dates":
        return _Verdict("dates", note=_zone_note(as_moments(column, name)))
    if forced == "categorical":
        return _Verdict("categorical")
    return _infer(column)


def _infer(column: Column) -> _Verdict:
    if all_missing(column):
        return _Verdict(None, "no value in any row")
    if is_constant(column):
        return _Verdict(None, "constant")
    if isinstance(column, Levels):
        return _Verdict("categorical")
    if isinstance(column, Moments):
        return _Verdict("dates", note=_zone_note(column))
    if isinstance(column, Numbers):
        return _infer_number(column)
    return _infer_text(column)


def _infer_number(column: Numbers) -> _Verdict:
    if column.kind != "integer":
        return _Verdict("categorical" if column.kind == "boolean" else "continuous")
    if all_distinct(column):
        return _Verdict(None, "identifier: a different whole number in every row", note=IDENTIFIERS)
    return _Verdict("continuous" if many_distinct(column, MAX_INTEGER_CATEGORIES) else "categorical")


def _infer_text(column: Text) -> _Verdict:
    if reads_as_dates(column):
        return _Verdict("dates", note=READS_AS_DATES)
    if all_distinct(column):
        return _Verdict(None, "identifier: a different text in every row", note=IDENTIFIERS)
    return _Verdict("categorical", note=_text_note(column))


def _text_note(column: Text) -> str:
    if reads_as_numbers(column):
        return READS_AS_NUMBERS
    if looks_like_numbers(column):
        return LOOKS_LIKE_NUMBERS
    if looks_like_dates(column):
        return LOOKS_LIKE_DATES
    exception = exception_to_numbers(column)
    return "" if exception is None else MOSTLY_NUMBERS.format(value=exception)


def _zone_note(column: Moments) -> str:
    return f"in the time zone {column.zone}; the parts are read in UTC." if column.zone not in ("", "UTC") else ""


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
