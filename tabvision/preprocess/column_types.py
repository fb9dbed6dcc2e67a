"""Infer from dtype and values which raw columns are numbers, categories or dates; the user can override the result."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from tabvision.errors import BadTypeError, BadValueError, NoFeatureError, accepting_who, asking, listed, speaking
from tabvision.preprocess.categories import distinct_numbers
from tabvision.preprocess.columns import Column, Levels, Numbers, Text, Timestamps, lack_digits
from tabvision.preprocess.frame import Columns, Frame
from tabvision.preprocess.parse import UNIX_UNITS, notation_of, parse_date
from tabvision.preprocess.text_formats import (
    AS_CATEGORIES,
    TextNumbers,
    dates_in,
    note_on_dates,
    note_on_text,
    num_distinct_text,
    numbers_in,
    sample_of,
)
from tabvision.schema import DateFormat, LeftOut, NumberFormat, UnixUnit

Kind = Literal["continuous", "categorical", "dates"]

_logger = logging.getLogger("tabvision")
MAX_INTEGER_CATEGORIES = 10  # integers with more distinct values are numbers
_MOST_BY_CHANCE = 20  # so few distinct integers may look like dates by chance
_MIN_DISTINCT, _MIN_TEXTS = 0.98, 50  # an identifier: at least this fraction of distinct texts, of so many texts
_MAX_RANGE, _LONG = 1.1, 10**14  # a key's numbers span at most 1.1 times its rows, or have 15 digits or more

# Notes on columns whose inferred kind may surprise; the names of the columns come before each.
_IDENTIFIER_NOTE = (
    "left out as an identifier, since {rows} rows share a value. To use it anyway, name it in categorical= or "
    "continuous= (--categorical, --continuous)."
)
_DIGITS_NOTE = "numbers that read as {what}. To keep them numbers, name it in continuous= (--continuous)."
_NAME_OF_TIME = re.compile(r"(?i:.*(time|date|stamp|epoch|unix|utc|created).*|(.*[_ .-])?(ts|at))|.*[a-z](At|Ts|TS)")
_UNIX_SECONDS = tuple(datetime(year, 1, 1, tzinfo=UTC).timestamp() for year in (1980, 2100))  # the inferred range
_ORDERS_NOTE = (
    "text that reads as dates in the order {orders}, so not used as dates. To use the dates, say which: "
    'day_first=True (--day-first), or dates=["NAME={first}"] (--dates NAME={first}).'
)


@dataclass(frozen=True)
class Kinds:
    """The raw columns by kind, in the frame's order.

    Args:
        continuous: Numbers.
        categorical: Categories.
        dates: Dates, to be split into parts.
        left_out: Columns not used, and why.
        formats: How a column's text is read as numbers or dates; "strict" or "iso" for columns not listed here.
        nominal: Numbers that are names, such as codes, and so also used as categories; see `with_nominal`.
    """

    continuous: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    dates: tuple[str, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    formats: Mapping[str, NumberFormat | DateFormat] = field(default_factory=dict)
    nominal: tuple[str, ...] = ()

    def numbers(self, columns: Columns, name: str) -> Numbers:
        """Return a column as numbers, with text read in the column's format."""
        form: Any = self.formats.get(name, "strict")
        return columns.numbers(name, form)

    def timestamps(self, columns: Columns, name: str) -> Timestamps:
        """Return a column as timestamps, with text read in the column's format."""
        form: Any = self.formats.get(name, "iso")
        return columns.timestamps(name, form)


@dataclass(frozen=True)
class _Inferred:
    """The kind of a column, or the reason why it is left out."""

    kind: Kind | None
    reason: str = ""
    note: str = ""  # logged after the column's name
    form: NumberFormat | DateFormat | None = None


_KEY = _Inferred(None, "identifier: a different whole number in every row", note=_IDENTIFIER_NOTE.format(rows="no two"))


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
    day_first: bool = False,
) -> Kinds:
    """Infer the kind of every column, and log a note on choices that may surprise.

    Continuous: floats, durations and most integers; text that is numbers in all but 1 % of the rows, or whose numbers all
    have the same sign ($, €, £, ¥, %), unit (12 kg) or thousands separators, or are durations or times of day.
    Categorical: other text, bools, pandas categories, and integers with at most 10 distinct values or beyond 2**53.
    Dates: dates, text with dates of one format in every row, integers that are all dates such as 20241231, and Unix time if
    the column has the name of a time. Left out: constant and empty columns, and identifiers, which are text with at least
    98 % distinct values, or integers that are all distinct and look like a key (rising, or with few gaps, or of 15
    digits or more). The format of text, and whether integers look like a key, are decided by all rows, even if
    `Columns.take` selected some.

    Args:
        frame: The raw rows, or their `Columns`.
        target: The columns to predict, which are not features.
        categorical: Columns to use as categories, whatever would be inferred.
        continuous: Columns to use as numbers, whatever would be inferred; text is parsed.
        dates: Columns to use as dates, whatever would be inferred. "when=d/m/Y" also sets the order of dates in text.
        ignore: Columns to leave out.
        day_first: Whether the day comes before the month in text that can be dates in several orders.

    Raises:
        MissingColumnsError: A named column is missing.
        BadValueError: A column is named twice, the target is among the features, or no feature is left.
        BadTypeError: A column has mixed types, or values that a network cannot read.

    Example:
        >>> import pandas as pd
        >>> frame = pd.DataFrame({"same": 3, "age": [1.5, 2.5, 9.5], "sex": ["m", "f", "f"], "pay": 1})
        >>> kinds = infer_kinds(frame, target=["pay"])
        >>> kinds.continuous, kinds.categorical, kinds.left_out[0].name
        (('age',), ('sex',), 'same')
    """
    columns = Columns.of(frame)
    columns.check_names()
    dates, orders = _dates_and_orders(columns, dates or ())
    named = {"categorical": categorical or (), "continuous": continuous or (), "dates": dates, "ignore": ignore}
    forced = _options_by_column(columns, target, named)
    columns.check_any_row()
    features = [name for name in columns.frame.columns if name not in set(target)]
    _check_readable(columns, [name for name in features if forced.get(name) != "ignore"])
    found = {
        name: _infer_column(columns, name, forced.get(name), orders.get(name), day_first=day_first) for name in features
    }
    left_out = tuple(LeftOut(name=name, reason=it.reason) for name, it in found.items() if it.kind is None)
    if len(left_out) == len(found):
        reasons = listed([f"{column.name!r} ({column.reason})" for column in left_out]) or "none but the target"
        problem = f"at least one feature is needed, got columns that are all left out: {reasons}"
        raise NoFeatureError(problem, "Name columns to use with categorical=, continuous= or dates=")
    for note in dict.fromkeys(it.note for it in found.values() if it.note):
        _logger.info("%s: %s", listed([repr(name) for name, it in found.items() if it.note == note]), note)
    of_kind = {kind: tuple(name for name, it in found.items() if it.kind == kind) for kind in get_args(Kind)}
    formats = {name: it.form for name, it in found.items() if it.form is not None}
    return Kinds(**of_kind, left_out=left_out, formats=formats)


def _check_readable(columns: Columns, names: Sequence[str]) -> None:
    """Raise if columns hold values that a network cannot read, naming all of them."""
    errors: dict[str, BadTypeError] = {}
    for name in names:
        try:
            columns.read(name)
        except BadTypeError as found:
            errors[name] = found
    if len(errors) == 1:
        raise next(iter(errors.values()))
    if errors:
        first = next(iter(errors.values())).args[0]
        problem = f"{len(errors)} columns cannot be read, {listed([*map(repr, errors)])}: {first}"
        raise BadTypeError(
            problem, f"Convert them to columns of such values, or leave them out: {asking('ignore', *errors)}"
        )


def _dates_and_orders(columns: Columns, dates: Sequence[str]) -> tuple[Sequence[str], dict[str, DateFormat]]:
    """Return the names of date columns, and the orders given after some of them, as in "when=d/m/Y".

    Example:
        >>> import pandas as pd
        >>> _dates_and_orders(Columns(pd.DataFrame({"when": [], "x=y": []})), ["when=d/m/Y", "x=y"])
        (['when', 'x=y'], {'when': 'd/m/Y'})
    """
    if isinstance(dates, str) or not all(isinstance(name, str) for name in dates):
        return dates, {}  # rejected later, like other invalid lists
    parted = {name: name.rpartition("=") for name in dates if name not in columns.frame.columns}
    orders: dict[str, Any] = {name: order for name, _, order in parted.values() if order in get_args(DateFormat)}
    return [parted[it][0] if it in parted and parted[it][0] in orders else it for it in dates], orders


def _options_by_column(columns: Columns, target: Sequence[str], named: dict[str, Sequence[str]]) -> dict[str, str]:
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


def _infer_column(
    columns: Columns, name: str, option: str | None, order: DateFormat | None, *, day_first: bool
) -> _Inferred:
    """Return the kind of a column: the option that names it, or else what its rows look like."""
    if option == "ignore":
        return _Inferred(None, "ignored on request")
    column = columns.read(name)
    if option == "categorical":
        return _Inferred("categorical")
    text = columns.read_all(name) if isinstance(column, Text) else None
    if option == "continuous":
        found = numbers_in(text) if isinstance(text, Text) else None
        form = None if found is None or found.form == "lenient" else found.form
        columns.numbers(name, form or "strict")  # raise if the text does not parse
        return _Inferred("continuous", form=form)
    if option == "dates":
        date_form = order or _format_of_dates(columns, name, day_first=day_first)
        return _Inferred("dates", note=_zone_note(columns.timestamps(name, date_form)), form=date_form)
    if isinstance(column, Text):
        column = column.without_blank()
    if column.all_missing():
        return _Inferred(None, "no value in any row")
    if _is_constant(column):
        return _Inferred(None, "constant")
    return _infer_text(text, day_first=day_first) if isinstance(text, Text) else _infer_values(columns, name)


def _format_of_dates(columns: Columns, name: str, *, day_first: bool) -> DateFormat:
    """Return the format of dates that the user named without one; raise if all rows together fit several."""
    column, orders = columns.read(name), tuple[DateFormat, ...]()
    if isinstance(column, Numbers) and not column.all_missing():
        return unix_unit(columns.read_all(name)) or "Ymd"
    if isinstance(column, Text) and isinstance(text := columns.read_all(name), Text):
        orders = dates_in(text.without_blank(), day_first=day_first)
    if len(orders) > 1:
        problem = f"the dates of {name!r} can be read in the order {' or '.join(orders)}"
        raise BadValueError(
            problem, f"Say which: {asking('dates', f'{name}={orders[0]}')}, or day_first=True (--day-first)"
        )
    return orders[0] if orders else "iso"


def _infer_values(columns: Columns, name: str) -> _Inferred:
    """Return the kind of a column of numbers, timestamps or levels."""
    column = columns.read(name)
    if isinstance(column, Timestamps):
        return _Inferred("dates", note=_zone_note(column))
    if not isinstance(column, Numbers) or column.kind == "boolean":
        return _Inferred("categorical")
    if form := date_format_of(name, columns.read_all(name)):
        what = "dates, year first" if form == "Ymd" else f"Unix time in {form}"
        return _Inferred("dates", note=_DIGITS_NOTE.format(what=what), form=form)
    if column.kind in ("float", "duration"):
        return _Inferred("continuous", form="h:m:s" if column.kind == "duration" else None)
    all_rows = columns.read_all(name)
    if isinstance(all_rows, Numbers) and _all_distinct(all_rows):
        return _KEY if _looks_like_key(all_rows.values) else _Inferred("continuous")
    if lack_digits(column.values.astype(np.float64)):
        return _Inferred("categorical")  # treat them as names, since floats would lose digits
    are_many = any(
        len(distinct_numbers(it)) > MAX_INTEGER_CATEGORIES for it in (sample_of(column.values), column.values)
    )
    return _Inferred("continuous" if are_many else "categorical")


def _infer_text(column: Text, *, day_first: bool) -> _Inferred:
    """Return the kind of a column of text: dates, numbers, an identifier or a category."""
    text = column.without_blank()
    orders = dates_in(text, day_first=day_first)
    if orders == ("Ymd",) and num_distinct_text(text, at_most=_MOST_BY_CHANCE) <= _MOST_BY_CHANCE:
        orders = ()  # with few distinct whole numbers, it may be chance
    if len(orders) == 1:
        return _Inferred("dates", note=note_on_dates(text, orders[0]), form=orders[0])
    numbers = None if orders else numbers_in(column)
    if numbers and (inferred := _infer_text_numbers(column.to_numbers("", numbers.form).values, numbers)):
        return inferred
    num_blank = text.values.null_count - column.values.null_count
    inferred, note = _identifier(text), note_on_text(text, num_blank, numbers.form if numbers else None)
    if inferred is None:
        inferred = _Inferred("categorical", note=note)
    elif AS_CATEGORIES in note:
        inferred = replace(inferred, note=note.replace(AS_CATEGORIES, "left out, since hardly any rows share a value"))
    if not orders:
        return inferred
    return replace(inferred, note=_ORDERS_NOTE.format(orders=" or ".join(orders), first=orders[0]))


def _infer_text_numbers(values: NDArray[np.float64], found: TextNumbers) -> _Inferred | None:
    """Return what to infer for text that holds numbers; None to keep it text, if they are whole with few distinct values."""
    present = values[~np.isnan(values)]
    may_be_names = found.form in ("lenient", "h:m:s") or notation_of(found.form).has_unit
    if may_be_names and np.isfinite(present).all() and (present % 1 == 0).all():
        num_distinct = len(distinct_numbers(present))
        if num_distinct <= MAX_INTEGER_CATEGORIES:
            return None
        if found.form == "lenient" and num_distinct == len(present) and _looks_like_key(present):
            return _KEY
    return _Inferred("continuous", note=found.note(), form=found.form)


def _identifier(column: Text) -> _Inferred | None:
    """Return what to infer for text whose values are all or nearly all distinct; None for other text."""
    size = len(column.values) - column.values.null_count
    found = num_distinct_text(column, at_most=size)
    if found == size > 1:
        rows = "every row that has one" if column.has_missing() else "every row"
        note = _IDENTIFIER_NOTE.format(rows="no two")
        return _Inferred(None, f"identifier: a different text in {rows}", note=note)
    if size < _MIN_TEXTS or found < _MIN_DISTINCT * size:
        return None
    reason = f"identifier: {found:,} of {size:,} texts differ"
    return _Inferred(None, reason, note=_IDENTIFIER_NOTE.format(rows="hardly any"))


def date_format_of(name: str, column: Column) -> DateFormat | None:
    """Return the date format of numbers that are dates and not by chance, "Ymd" or the unit of Unix time; else None.

    They count as Unix time only if the column has the name of a time.
    """
    if _are_days(column):
        return "Ymd"
    return unix_unit(column) if _NAME_OF_TIME.fullmatch(name) else None


def unix_unit(column: Column) -> UnixUnit | None:
    """Return the unit in which numbers with many distinct values are Unix time from 1980 to 2100, or None.

    Example:
        >>> days = 1.6e9 + 86_400 * np.arange(30)
        >>> [unix_unit(Numbers(it, "float")) for it in (days, days * 1e3, days - 1.6e9, days[:5])]
        ['s', 'ms', None, None]
    """
    if not isinstance(column, Numbers) or column.kind not in ("integer", "float") or column.all_missing():
        return None
    ends = np.array([np.nanmin(column.values), np.nanmax(column.values)], dtype=np.float64)
    unit = next((it for it in UNIX_UNITS if are_date_numbers(ends, it).all()), None)
    return unit if unit and len(distinct_numbers(column.values)) > _MOST_BY_CHANCE else None


def are_date_numbers(numbers: NDArray[np.float64], form: DateFormat) -> NDArray[np.bool_]:
    """Return which numbers may be dates in the format: days such as 20241231 and months, or Unix time from 1980 to 2100.

    Example:
        >>> are_date_numbers(np.array([20241231.0, 20241301, 0.5]), "Ymd"), are_date_numbers(np.array([1.6e9, 5]), "s")
        (array([ True, False, False]), array([ True, False]))
    """
    if form in UNIX_UNITS:
        seconds, (first, last) = numbers / UNIX_UNITS[form], _UNIX_SECONDS
        return (seconds >= first) & (seconds < last)
    distinct, rows = np.unique(numbers, return_inverse=True)
    found = [it % 1 == 0 and parse_date(str(int(it)), form) is not None for it in distinct.tolist()]
    return np.array(found, dtype=np.bool_)[rows]


def _are_days(column: Column) -> bool:
    """Return whether whole numbers are dates such as 20241231 or months such as 202412, and not by chance.

    Example:
        >>> days = np.array([20_240_100 + day for day in range(1, 32)])
        >>> [_are_days(Numbers(it, "integer")) for it in (days, days + 20, days[:5])]
        [True, False, False]
    """
    if not isinstance(column, Numbers) or column.kind not in ("integer", "float"):
        return False
    values = column.values[~np.isnan(column.values)]
    for tried in (sample_of(values), values):
        distinct = np.unique(tried)
        if len(distinct) <= _MOST_BY_CHANCE or not np.isfinite(distinct).all() or (distinct % 1).any():
            return False
        if len(str(int(distinct[0]))) != len(str(int(distinct[-1]))) or not are_date_numbers(distinct, "Ymd").all():
            return False
    return True


def _looks_like_key(values: NDArray[Any]) -> bool:
    """Return whether distinct whole numbers look like a key: rising with the rows, or with few gaps, or of 15 digits or more.

    Example:
        >>> [_looks_like_key(np.array(it)) for it in ([3, 8, 99], [3, 1, 2], [10**15, 10**16, 10**15 + 2], [31, 8, 99])]
        [True, True, False, False]
    """
    low, high = int(values.min()), int(values.max())
    if bool((values[1:] > values[:-1]).all()) or high - low < _MAX_RANGE * len(values):
        return True
    return low >= _LONG and len(str(low)) == len(str(high))


def _zone_note(column: Timestamps) -> str:
    return f"in the time zone {column.zone}; the parts are read in UTC." if column.zone not in ("", "UTC") else ""


def _is_constant(column: Column) -> bool:
    """Return whether every row has the same value; a column that also has missing values is not constant.

    Example:
        >>> _is_constant(Numbers(np.array([1, 1]), "integer")), _is_constant(Numbers(np.array([1, np.nan]), "float"))
        (True, False)
    """
    if isinstance(column, Text):
        return num_distinct_text(column, at_most=1) == 1 and not column.has_missing()
    assert isinstance(column, Levels | Numbers | Timestamps), "the fourth form is text"
    values = column.codes if isinstance(column, Levels) else column.values
    return bool((values == values[0]).all())


def _all_distinct(column: Numbers) -> bool:
    """Return whether every row has a value and no two rows have the same one, as in an identifier.

    Example:
        >>> _all_distinct(Numbers(np.array([3, 1, 2]), "integer")), _all_distinct(Numbers(np.array([3, 1, 1]), "integer"))
        (True, False)
    """
    if column.has_missing() or len(column.values) < 2:
        return False
    return all(len(distinct_numbers(values)) == len(values) for values in (sample_of(column.values), column.values))
