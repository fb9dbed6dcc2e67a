"""Type inference: which raw columns are numbers, categories or dates, by dtype and values; the user can override it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tabvision.errors import BadTypeError, BadValueError, accepting_who, listed, speaking
from tabvision.preprocess.categories import distinct_numbers
from tabvision.preprocess.columns import Column, Levels, Numbers, Text, Timestamps
from tabvision.preprocess.frame import Columns, Frame
from tabvision.preprocess.parse import NO_DATE, parse_dates, parse_number
from tabvision.schema import LeftOut

Kind = Literal["continuous", "categorical", "dates"]
Values = TypeVar("Values", NDArray[Any], pa.ChunkedArray)

_logger = logging.getLogger("tabvision")
_MAX_INTEGER_CATEGORIES = 20  # fastai's `cont_cat_split(max_card=20)`
_SAMPLE = 5_000  # rows examined first
# A number in a form that is not parsed, such as 1,5 or $1,000 or 5%; and such a date.
NUMBER_LIKE = r"\s*[$€£¥]?\s*[+-]?[0-9]+([., '][0-9]{3})*([.,][0-9]+)?\s*[%$€£¥]?\s*"
_DATE_LIKE = (
    r"([0-9]{1,2}[./-][0-9]{1,2}[./-]([0-9]{2}|[0-9]{4})|[0-9]{4}[./-][0-9]{1,2}[./-][0-9]{1,2}"
    r"|[0-9]{1,2}[ -][A-Za-z]{3,9}[.]?[ -][0-9]{2,4})([ T,].*)?"
)

# Notes on columns whose kind may surprise, each after the names of the columns.
_IDENTIFIER_NOTE = (
    "left out as an identifier, since no two rows are alike. To use it all the same, name it in categorical= or "
    "continuous= (--categorical, --continuous)."
)
_DATES_NOTE = "text that reads as dates. To keep it text, name it in categorical= (--categorical)."
_NUMBERS_NOTE = (
    "text that reads as numbers, kept as categories. To use the numbers, name it in continuous= (--continuous)."
)
_NUMBER_LIKE_NOTE = (
    "text that looks like numbers in another form than 1234.5, kept as categories. To use the numbers, write them so."
)
_DATE_LIKE_NOTE = (
    "text that looks like dates in another form than 2024-12-31, kept as categories. To use the dates, write them so."
)
_MOSTLY_NUMBERS_NOTE = (
    "text that is mostly numbers, but not {value!r}, kept as categories. To use the numbers, set the others to missing."
)


@dataclass(frozen=True)
class Kinds:
    """The raw columns by kind, in the frame's order.

    Args:
        continuous: Numbers.
        categorical: Categories.
        dates: Dates, to be cut into parts.
        left_out: Columns not used, and why.
    """

    continuous: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    dates: tuple[str, ...] = ()
    left_out: tuple[LeftOut, ...] = ()


@dataclass(frozen=True)
class _Verdict:
    """A column's kind, or the reason why it is left out."""

    kind: Kind | None
    reason: str = ""
    note: str = ""  # logged after its name


@accepting_who
@speaking("infer_kinds")
def infer_kinds(
    frame: Frame,
    *,
    target: Sequence[str],
    categorical: Sequence[str] | None = None,
    continuous: Sequence[str] | None = None,
    dates: Sequence[str] | None = None,
    ignore: Sequence[str] = (),
) -> Kinds:
    """Infer the kind of every column, and log a note on choices that may surprise.

    Floats and durations are continuous; text, truth values and pandas categories categorical; integers of at most 20
    distinct values categorical, of more continuous; dates, and text that is an ISO date in every row, dates. Left out:
    identifiers (text or integers, none missing, all distinct), constant columns, columns without a value.

    Args:
        frame: The raw rows, or their `Columns`.
        target: The columns to predict, which are not features.
        categorical: Columns to use as categories, whatever would be inferred.
        continuous: Columns to use as numbers, whatever would be inferred; text is parsed.
        dates: Columns to use as dates, whatever would be inferred; text is parsed as ISO dates.
        ignore: Columns to leave out.

    Raises:
        MissingColumnsError: A named column is missing.
        BadValueError: A column is named twice, the target is among the features, or no feature is left.
        BadTypeError: Mixed types, or values that no network reads.

    Example:
        >>> import pandas as pd
        >>> frame = pd.DataFrame({"same": 3, "age": [1.5, 2.5, 9.5], "sex": ["m", "f", "f"], "pay": 1})
        >>> kinds = infer_kinds(frame, target=["pay"])
        >>> kinds.continuous, kinds.categorical, kinds.left_out[0].name
        (('age',), ('sex',), 'same')
    """
    named = {"categorical": categorical or (), "continuous": continuous or (), "dates": dates or (), "ignore": ignore}
    columns = Columns.of(frame)
    columns.check_names()
    forced = _forced(columns, target, named)
    columns.check_any_row()
    features = [name for name in columns.frame.columns if name not in set(target)]
    verdicts = {name: _judge(columns, name, forced.get(name)) for name in features}
    left_out = tuple(LeftOut(name=name, reason=it.reason) for name, it in verdicts.items() if it.kind is None)
    if len(left_out) == len(features):
        reasons = listed([f"{column.name!r} ({column.reason})" for column in left_out]) or "none but the target"
        problem = f"at least one feature is needed, got columns that are all left out: {reasons}"
        raise BadValueError(problem, "Name columns to use with categorical=, continuous= or dates=")
    for note in dict.fromkeys(verdict.note for verdict in verdicts.values() if verdict.note):
        names = [repr(name) for name, verdict in verdicts.items() if verdict.note == note]
        _logger.info("%s: %s", listed(names), note)
    of_kind = {kind: tuple(name for name, it in verdicts.items() if it.kind == kind) for kind in get_args(Kind)}
    return Kinds(**of_kind, left_out=left_out)


def _forced(columns: Columns, target: Sequence[str], named: dict[str, Sequence[str]]) -> dict[str, str]:
    """Return the option that names each column.

    Raises:
        BadTypeError: An option is not a list of names.
        BadValueError: Two options name the same column.
    """
    forced: dict[str, str] = {}
    for option, names in {"target": target, **named}.items():
        if isinstance(names, str) or not all(isinstance(name, str) for name in names):
            raise BadTypeError(f"{option} must be a list of column names, got {names!r}", "Pass a list such as ['age']")
        columns.check_has(names, remedy=f"Name columns of the frame in {option}")
        for name in names:
            before = forced.get(name, option)
            if before == "target" != option:
                problem = f"{name!r} is the target, and cannot be a feature as well"
                raise BadValueError(problem, f"Take it out of {option}; target columns are never features")
            if before != option:
                raise BadValueError(f"{name!r} is named in both {before} and {option}", "Name it in one of them")
            forced[name] = option
    return forced


def _judge(columns: Columns, name: str, forced: str | None) -> _Verdict:
    if forced == "ignore":
        return _Verdict(None, "ignored on request")
    column = columns.read(name)
    if forced == "continuous":
        columns.numbers(name)  # raises if the text does not parse
        return _Verdict("continuous")
    if forced == "dates":
        return _Verdict("dates", note=_zone_note(columns.timestamps(name)))
    return _Verdict("categorical") if forced == "categorical" else _infer(column)


def _infer(column: Column) -> _Verdict:
    if column.all_missing():
        return _Verdict(None, "no value in any row")
    if _is_constant(column):
        return _Verdict(None, "constant")
    if isinstance(column, Text):
        return _infer_text(column)
    if isinstance(column, Timestamps):
        return _Verdict("dates", note=_zone_note(column))
    if not isinstance(column, Numbers) or column.kind == "boolean":
        return _Verdict("categorical")
    if column.kind == "float":
        return _Verdict("continuous")
    if _all_distinct(column):
        return _Verdict(None, "identifier: a different whole number in every row", note=_IDENTIFIER_NOTE)
    values = column.values if column.exact is None else column.exact[0][column.exact[0] >= 0]
    are_many = any(len(distinct_numbers(it)) > _MAX_INTEGER_CATEGORIES for it in (_sample(values), values))
    return _Verdict("continuous" if are_many else "categorical")


def _infer_text(column: Text) -> _Verdict:
    if _every_value(column, lambda texts: bool((parse_dates(texts) != NO_DATE).all())):
        return _Verdict("dates", note=_DATES_NOTE)
    if _all_distinct(column):
        return _Verdict(None, "identifier: a different text in every row", note=_IDENTIFIER_NOTE)
    if _every_value(column, lambda texts: None not in map(parse_number, texts.to_pylist())):
        return _Verdict("categorical", note=_NUMBERS_NOTE)
    if all_match(column, NUMBER_LIKE):
        return _Verdict("categorical", note=_NUMBER_LIKE_NOTE)
    if all_match(column, _DATE_LIKE):
        return _Verdict("categorical", note=_DATE_LIKE_NOTE)
    exception = _exception_to_numbers(column)
    return _Verdict("categorical", note="" if exception is None else _MOSTLY_NUMBERS_NOTE.format(value=exception))


def _zone_note(column: Timestamps) -> str:
    return f"in the time zone {column.zone}; the parts are read in UTC." if column.zone not in ("", "UTC") else ""


def _is_constant(column: Column) -> bool:
    """Return whether every row has the same value; a column of one value and missing ones is not constant.

    Example:
        >>> _is_constant(Numbers(np.array([1, 1]), "integer")), _is_constant(Numbers(np.array([1, np.nan]), "float"))
        (True, False)
    """
    if isinstance(column, Text):
        return _num_distinct_text(column, at_most=1) == 1 and not column.has_missing()
    assert isinstance(column, Levels | Numbers | Timestamps), "the fourth form is text"
    values = column.codes if isinstance(column, Levels) else column.values
    return bool((values == values[0]).all())


def _all_distinct(column: Numbers | Text) -> bool:
    """Return whether every row has a value and no two rows the same, as in an identifier.

    Example:
        >>> _all_distinct(Numbers(np.array([3, 1, 2]), "integer")), _all_distinct(Numbers(np.array([3, 1, 1]), "integer"))
        (True, False)
    """
    size = len(column.values)
    if column.has_missing() or size < 2:
        return False
    if isinstance(column, Text):
        return _num_distinct_text(column, at_most=size) == size
    return all(len(distinct_numbers(values)) == len(values) for values in (_sample(column.values), column.values))


def all_match(column: Text, pattern: str) -> bool:
    """Return whether the values of a sample match a regular expression.

    Example:
        >>> all_match(Text(pa.array(["1,5", "20%"])), NUMBER_LIKE), all_match(Text(pa.array(["1,5", "1.2.3"])), NUMBER_LIKE)
        (True, False)
    """
    labels = pc.unique(_sample(column.values)).drop_null()
    return bool(pc.all(pc.match_substring_regex(labels, f"^({pattern})$")).as_py())


def _exception_to_numbers(column: Text) -> str | None:
    """Return the first value of a sample that is not a number, if more than half of its distinct values are.

    Example:
        >>> _exception_to_numbers(Text(pa.array(["1", "2", "n/a"])))
        'n/a'
    """
    labels = pc.unique(_sample(column.values)).drop_null().to_pylist()
    others = [label for label in labels if parse_number(label) is None]
    return others[0] if others and len(others) < len(labels) / 2 else None


def _every_value(column: Text, test: Callable[[pa.Array], bool]) -> bool:
    """Return whether the distinct values pass a test: first those of a sample, then all."""
    return all(test(pc.unique(values).drop_null()) for values in (_sample(column.values), column.values))


def _num_distinct_text(column: Text, *, at_most: int) -> int:
    """Return the number of distinct texts, or that of a sample if it settles whether there are more than `at_most`."""
    sample = _sample(column.values)
    in_sample = pc.count_distinct(sample).as_py()
    settled = in_sample > at_most or in_sample < min(len(sample) - sample.null_count, at_most)
    return int(in_sample if settled else pc.count_distinct(column.values).as_py())


def _sample(values: Values) -> Values:
    """Return at most `_SAMPLE` rows, evenly spaced, as the same kind of array."""
    if len(values) <= _SAMPLE:
        return values
    rows: NDArray[np.int64] = np.linspace(0, len(values) - 1, _SAMPLE).astype(np.int64)
    return values.take(rows)
