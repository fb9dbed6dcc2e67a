"""Single values: the family of types that one belongs to, and the number or date that text writes."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from typing import Any, Literal, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tabvision.errors import BadTypeError, asking
from tabvision.schema import DateFormat, NumberFormat

Raw: TypeAlias = Any  # a value of whatever kind that a raw table holds
Family = Literal["text", "boolean", "duration", "date", "number"]

NO_DATE = np.iinfo(np.int64).min  # how numpy itself writes "not a time"
_INTEGER = re.compile(r"\s*[+-]?[0-9]{1,40}\s*", re.ASCII)
_NUMBER = re.compile(r"\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\s*", re.ASCII)
_DATE_PATTERN = (  # Python's regular expressions and pyarrow's read it alike
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"([T ]([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9](\.[0-9]{1,9})?)?(Z|[+-][0-9]{2}:?[0-9]{2})?)?"
)
_DATE = re.compile(_DATE_PATTERN)
_ORDERED_DATE = re.compile(
    r"\s*(?P<a>[0-9]{1,4})(?P<separator>[./-])(?P<b>[0-9]{1,2})(?P=separator)(?P<c>[0-9]{1,4})"
    r"((T|,? +)(?P<hour>[0-9]{1,2}):(?P<minute>[0-9]{2})(:(?P<second>[0-9]{2})(\.[0-9]+)?)?( ?(?P<half>[AaPp])[Mm])?)?\s*"
)
_LAST_AFTER_2000 = 68  # of years of two digits, as in POSIX
_GROUPED = r"([1-9][0-9]{0,2}(,[0-9]{3})+|[0-9]+)(\.[0-9]+)?"  # 1,234.5 or 1234.5
_MARKED = {
    "1,234": re.compile(rf"\s*[+-]?{_GROUPED}\s*"),
    "1.234,5": re.compile(r"\s*[+-]?([1-9][0-9]{0,2}([.'\s][0-9]{3})+|[0-9]+)(,[0-9]+)?\s*"),
    **{
        sign: re.compile(rf"\s*(([+-]?{mark}\s*|{mark}\s*[+-]){_GROUPED}|[+-]?{_GROUPED}\s*{mark})\s*")
        for sign, mark in {sign: re.escape(sign) for sign in "$€£¥%"}.items()
    },
}

EPOCH = datetime(1970, 1, 1)
_FAMILIES: tuple[tuple[Family, tuple[type, ...]], ...] = (  # the first that fits: a bool is an int, a Timestamp a date
    ("text", (str, pd.Interval)),
    ("boolean", (bool, np.bool_)),
    ("duration", (timedelta, np.timedelta64)),
    ("date", (date, np.datetime64, pd.Period)),
    ("number", (int, float, Decimal, Fraction, np.integer, np.floating)),
)


@lru_cache(maxsize=256)
def family_of(kind: Hashable) -> Family | None:
    """Return the family of a Python type; None for one that no network reads, such as a list.

    Example:
        >>> family_of(bool), family_of(float), family_of(list)
        ('boolean', 'number', None)
    """
    return next((family for family, kinds in _FAMILIES if isinstance(kind, type) and issubclass(kind, kinds)), None)


def common_family(values: Iterable[object], name: str) -> Family | None:
    """Return the one family of values none of which is missing; None where there are no values.

    Raises:
        BadTypeError: More than one family, or one that no network reads.
    """
    examples: dict[type, object] = {}
    for value in values:
        examples.setdefault(type(value), value)
    families = {family_of(kind) for kind in examples}
    if len(families) > 1:
        shown = " and ".join(f"{kind.__name__} ({_short(value)})" for kind, value in examples.items())
        remedy = (
            f"Make it one kind, such as frame[{name!r}].astype(str), or leave the column out: {asking('ignore', name)}"
        )
        raise BadTypeError(f"column {name!r} must hold one kind of value, got {shown}", remedy)
    for kind, value in examples.items():
        if family_of(kind) is None:
            raise unreadable_column(name, f"{kind.__name__} such as {_short(value)}")
    return families.pop() if families else None


def unreadable_column(name: str, what: str) -> BadTypeError:
    """Return the error of a column that no network reads."""
    problem = f"column {name!r} must hold numbers, text, truth values or dates, got {what}"
    return BadTypeError(problem, f"Turn it into columns of those, or leave it out: {asking('ignore', name)}")


def is_blank(value: object) -> bool:
    """Return whether a value is text of nothing but white space, which counts as missing."""
    return isinstance(value, str) and not value.strip()


def parse_number(text: str, form: NumberFormat = "strict") -> float | None:
    """Return the number that a text writes, or None; words such as "nan" and "inf" write none. Integers are exact.

    Example:
        >>> parse_number(" 1e3 "), parse_number("9007199254740993"), parse_number("1,000"), parse_number("nan")
        (1000.0, 9007199254740993, None, None)
        >>> parse_number("1,000", "1,234"), parse_number("-$1,000.50", "$"), parse_number("5%", "%"), parse_number("5", "%")
        (1000.0, -1000.5, 5.0, 5)
        >>> parse_number("1.000,5", "1.234,5"), parse_number("1.000", "1.234,5"), parse_number("1.0", "1.234,5")
        (1000.5, 1000.0, None)
    """
    if _INTEGER.fullmatch(text):
        return int(text)
    if form != "1.234,5" and _NUMBER.fullmatch(text):
        return float(text)
    if form in ("strict", "lenient") or not _MARKED[form].fullmatch(text):
        return None
    if form == "1.234,5":
        text = text.replace(".", "").replace(",", ".")
    return float(re.sub(r"[^0-9.+-]", "", text))


def parse_date(text: str, form: DateFormat = "iso") -> int | None:
    """Return the microseconds since 1970 (UTC) of a date with an optional time, or None.

    Example:
        >>> parse_date("1970-01-02") == 24 * 3600 * 1_000_000, parse_date("02/01/1970")
        (True, None)
        >>> parse_date("2.1.1970", "d/m/Y") == parse_date("1970-01-02") == parse_date("1/2/70 12:00 AM", "m/d/y")
        True
    """
    try:
        if form != "iso":
            return _parse_ordered(text, form)
        return microseconds(datetime.fromisoformat(text)) if _DATE.fullmatch(text) else None
    except (ValueError, OverflowError):  # a 31st of June; a year 9999 pushed over by its zone
        return None


def _parse_ordered(text: str, form: DateFormat) -> int | None:
    """Return the timestamp of a date whose format says the order of day, month and year, or None.

    Raises:
        ValueError: The calendar has no such day, or the clock no such time.
    """
    match = _ORDERED_DATE.fullmatch(text)
    if match is None:
        return None
    parts = dict(zip(form.lower().split("/"), match.group("a", "b", "c"), strict=True))
    year, num_digits = int(parts["y"]), 4 if "Y" in form else 2
    if len(parts["y"]) != num_digits or max(len(parts["d"]), len(parts["m"])) > 2:
        return None
    if num_digits == 2:
        year += 2000 if year <= _LAST_AFTER_2000 else 1900
    hour, minute, second = (int(match[name] or 0) for name in ("hour", "minute", "second"))
    if match["half"]:
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + (12 if match["half"] in "pP" else 0)  # 12 AM is midnight
    return microseconds(datetime(year, int(parts["m"]), int(parts["d"]), hour, minute, second))


def parse_dates(text: pa.Array, form: DateFormat = "iso") -> NDArray[np.int64]:
    """Return the timestamps that text writes as dates, `NO_DATE` for other text.

    Example:
        >>> parse_dates(pa.array(["1970-01-02", "02.01.1970"])) > NO_DATE
        array([ True, False])
    """
    if form != "iso":
        dates = [parse_date(date, form) for date in text.to_pylist()]
        return np.array([NO_DATE if date is None else date for date in dates], dtype=np.int64)
    iso = pc.if_else(pc.match_substring_regex(text, f"^({_DATE_PATTERN})$"), text, pa.scalar(None, text.type))
    dates = pd.to_datetime(pd.Series(pd.array(iso, dtype="str")), format="ISO8601", utc=True, errors="coerce")
    return np.asarray(dates.dt.tz_localize(None).to_numpy().astype("datetime64[us]").view(np.int64))


def microseconds(value: Raw) -> int:
    """Return the microseconds since 1970 of a date or time; one with a zone is read in UTC, finer digits are dropped.

    Example:
        >>> microseconds(datetime(1970, 1, 1, 0, 0, 1)), microseconds(date(1970, 1, 2))
        (1000000, 86400000000)
    """
    if isinstance(value, np.datetime64 | pd.Period):
        value = pd.Timestamp(value) if isinstance(value, np.datetime64) else value.start_time
    if isinstance(value, pd.Timestamp):
        value = value.to_pydatetime(warn=False)
    if not isinstance(value, datetime):
        return int(value.toordinal() - EPOCH.toordinal()) * 86_400_000_000
    if value.tzinfo is not None:
        value = value.astimezone(UTC).replace(tzinfo=None)
    return int((value - EPOCH) // timedelta(microseconds=1))


def seconds(value: Raw) -> float:
    """Return the seconds of a duration, to the microsecond.

    Example:
        >>> seconds(timedelta(minutes=1)), seconds(pd.Timedelta("1s"))
        (60.0, 1.0)
    """
    span = pd.Timedelta(value) if isinstance(value, np.timedelta64) else value
    return int((span.days * 86_400 + span.seconds) * 1_000_000 + span.microseconds) / 1e6


def as_float(value: Raw) -> float:
    """Return a number as a float; one too large for it is infinite, which the readers then refuse."""
    try:
        return float(value)
    except OverflowError:
        return np.inf if value > 0 else -np.inf


def exact_number(value: Raw) -> float:
    """Return a whole number as an int, another as a float.

    Example:
        >>> exact_number(Decimal("9007199254740993")), exact_number(Decimal("0.5"))
        (9007199254740993, 0.5)
    """
    number = as_float(value)
    if isinstance(value, float | np.floating) or not np.isfinite(number):
        return number
    return int(value) if value == int(value) else number


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:39] + "…"
