"""What each raw column is to a network, told from its dtype and values, with every choice open to the user."""

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
from tabvision.preprocess.convert import all_missing, dates_of
from tabvision.preprocess.frame import Columns, Frame, columns_of
from tabvision.preprocess.parse import NO_DATE, parse_number
from tabvision.schema import LeftOut

Kind = Literal["continuous", "categorical", "dates"]
Values = TypeVar("Values", NDArray[Any], pa.ChunkedArray)

_logger = logging.getLogger("tabvision")
_MAX_INTEGER_CATEGORIES = 20  # fastai's `cont_cat_split(max_card=20)`
_SAMPLE = 5_000  # rows looked at first
_NUMBER_LIKE = r"\s*[$€£¥]?\s*[+-]?[0-9]+([., '][0-9]{3})*([.,][0-9]+)?\s*[%$€£¥]?\s*"
_DATE_LIKE = (
    r"([0-9]{1,2}[./-][0-9]{1,2}[./-]([0-9]{2}|[0-9]{4})|[0-9]{4}[./-][0-9]{1,2}[./-][0-9]{1,2}"
    r"|[0-9]{1,2}[ -][A-Za-z]{3,9}[.]?[ -][0-9]{2,4})([ T,].*)?"
)

# What to say of columns whose kind may surprise, after their names.
_IDENTIFIERS = (
    "left out as an identifier, since no two rows are alike. To use it all the same, name it in categorical= or "
    "continuous= (--categorical, --continuous)."
)
_READS_AS_DATES = "text that reads as dates. To keep it text, name it in categorical= (--categorical)."
_READS_AS_NUMBERS = (
    "text that reads as numbers, kept as categories. To use the numbers, name it in continuous= (--continuous)."
)
_LOOKS_LIKE_NUMBERS = (
    "text that looks like numbers in another form than 1234.5, kept as categories. To use the numbers, write them so."
)
_LOOKS_LIKE_DATES = (
    "text that looks like dates in another form than 2024-12-31, kept as categories. To use the dates, write them so."
)
_MOSTLY_NUMBERS = (
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
    """

    continuous: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    dates: tuple[str, ...] = ()
    left_out: tuple[LeftOut, ...] = ()


@dataclass(frozen=True)
class _Verdict:
    """One column's kind, or why it is left out."""

    kind: Kind | None
    reason: str = ""
    note: str = ""  # what to say after its name


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
    """Tell every column's kind, and log a note on choices that may surprise.

    Floats and durations are continuous; text, truth values and pandas categories categorical; integers of at most 20
    distinct values categorical, of more continuous; dates, and text that is an ISO date in every row, dates. Left out:
    identifiers (text or integers, none missing, all distinct), constant columns, columns without a value.

    Args:
        frame: The raw rows, or their `Columns`.
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
        >>> frame = pd.DataFrame({"same": 3, "age": [1.5, 2.5, 9.5], "sex": ["m", "f", "f"], "pay": 1})
        >>> kinds = infer_kinds(frame, target=["pay"])
        >>> kinds.continuous, kinds.categorical, kinds.left_out[0].name
        (('age',), ('sex',), 'same')
    """
    named = {"categorical": categorical or (), "continuous": continuous or (), "dates": dates or (), "ignore": ignore}
    columns = columns_of(frame)
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
    """Return the option in which each column was named."""
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
        columns.numbers(name)  # which raises if it does not read so
        return _Verdict("continuous")
    if forced == "dates":
        return _Verdict("dates", note=_zone_note(columns.timestamps(name)))
    return _Verdict("categorical") if forced == "categorical" else _infer(column)


def _infer(column: Column) -> _Verdict:
    if all_missing(column):
        return _Verdict(None, "no value in any row")
    if _is_constant(column):
        return _Verdict(None, "constant")
    if isinstance(column, Levels):
        return _Verdict("categorical")
    if isinstance(column, Timestamps):
        return _Verdict("dates", note=_zone_note(column))
    if isinstance(column, Numbers):
        return _infer_number(column)
    return _infer_text(column)


def _infer_number(column: Numbers) -> _Verdict:
    if column.kind != "integer":
        return _Verdict("categorical" if column.kind == "boolean" else "continuous")
    if _all_distinct(column):
        return _Verdict(None, "identifier: a different whole number in every row", note=_IDENTIFIERS)
    return _Verdict("continuous" if _many_distinct(column) else "categorical")


def _infer_text(column: Text) -> _Verdict:
    if _every_value(column, lambda texts: bool((dates_of(texts) != NO_DATE).all())):
        return _Verdict("dates", note=_READS_AS_DATES)
    if _all_distinct(column):
        return _Verdict(None, "identifier: a different text in every row", note=_IDENTIFIERS)
    return _Verdict("categorical", note=_text_note(column))


def _text_note(column: Text) -> str:
    if _every_value(column, lambda texts: None not in map(parse_number, texts.to_pylist())):
        return _READS_AS_NUMBERS
    if looks_like_numbers(column):
        return _LOOKS_LIKE_NUMBERS
    if _all_match(column, _DATE_LIKE):
        return _LOOKS_LIKE_DATES
    exception = _exception_to_numbers(column)
    return "" if exception is None else _MOSTLY_NUMBERS.format(value=exception)


def _zone_note(column: Timestamps) -> str:
    return f"in the time zone {column.zone}; the parts are read in UTC." if column.zone not in ("", "UTC") else ""


def _has_missing(column: Numbers | Text) -> bool:
    if isinstance(column, Text):
        return bool(column.values.null_count)
    return column.values.dtype.kind == "f" and bool(np.isnan(column.values).any())


def _is_constant(column: Column) -> bool:
    """Return whether every row has the same value; missing values beside one value still tell something.

    Example:
        >>> _is_constant(Numbers(np.array([1, 1]), "integer")), _is_constant(Numbers(np.array([1, np.nan]), "float"))
        (True, False)
    """
    if isinstance(column, Text):
        return _num_distinct_text(column, at_most=1) == 1 and not _has_missing(column)
    values = column.codes if isinstance(column, Levels) else column.values
    return bool((values == values[0]).all())


def _many_distinct(column: Numbers) -> bool:
    return any(len(distinct_numbers(it)) > _MAX_INTEGER_CATEGORIES for it in (_sample(column.values), column.values))


def _all_distinct(column: Numbers | Text) -> bool:
    """Return whether every row has a value, and no two the same: an identifier.

    Example:
        >>> _all_distinct(Numbers(np.array([3, 1, 2]), "integer")), _all_distinct(Numbers(np.array([3, 1, 1]), "integer"))
        (True, False)
    """
    size = len(column.values)
    if _has_missing(column) or size < 2:
        return False
    if isinstance(column, Text):
        return _num_distinct_text(column, at_most=size) == size
    return all(len(distinct_numbers(values)) == len(values) for values in (_sample(column.values), column.values))


def looks_like_numbers(column: Text) -> bool:
    """Return whether a sample of the values writes numbers in a form that is not read, such as 1,5 or $1,000 or 5%.

    Example:
        >>> looks_like_numbers(Text(pa.array(["1,5", "20%"]))), looks_like_numbers(Text(pa.array(["1,5", "1.2.3"])))
        (True, False)
    """
    return _all_match(column, _NUMBER_LIKE)


def _exception_to_numbers(column: Text) -> str | None:
    """Return the first value of a sample that writes no number, if more than half of the distinct ones write one.

    Example:
        >>> _exception_to_numbers(Text(pa.array(["1", "2", "n/a"])))
        'n/a'
    """
    labels = pc.unique(_sample(column.values)).drop_null().to_pylist()
    others = [label for label in labels if parse_number(label) is None]
    return others[0] if others and len(others) < len(labels) / 2 else None


def _all_match(column: Text, pattern: str) -> bool:
    labels = pc.unique(_sample(column.values)).drop_null()
    return bool(pc.all(pc.match_substring_regex(labels, f"^({pattern})$")).as_py())


def _every_value(column: Text, test: Callable[[pa.Array], bool]) -> bool:
    """Return whether the distinct values pass: first those of a sample, then all."""
    return all(test(pc.unique(values).drop_null()) for values in (_sample(column.values), column.values))


def _num_distinct_text(column: Text, *, at_most: int) -> int:
    """Return the number of distinct texts; of a sample's alone where that settles whether there are at most so many."""
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
