"""Single values: the family of types to which a value belongs, and the number or date that text represents."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache, partial
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tabvision.errors import BadTypeError, asking, cut
from tabvision.schema import DateFormat, DateOrder, NumberFormat, UnixUnit

Raw: TypeAlias = Any  # a value of any type that a raw table may hold
Family = Literal["text", "boolean", "duration", "date", "number"]

NO_DATE = np.iinfo(np.int64).min  # numpy's own representation of NaT
_INTEGER = re.compile(r"\s*[+-]?[0-9]{1,40}\s*", re.ASCII)
_NUMBER = re.compile(r"\s*[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?\s*", re.ASCII)
_DATE_PATTERN = (  # means the same to Python's regular expressions and pyarrow's
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"([T ]([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9](\.[0-9]{1,9})?)?(Z|[+-][0-9]{2}:?[0-9]{2})?)?"
)
_DATE = re.compile(_DATE_PATTERN)
_MONTH = re.compile(  # 2024-12, 12/2024, 2024Q4, Q4 2024
    r"(?P<year>1[5-9][0-9]{2}|2[01][0-9]{2})([-/](?P<month>0[1-9]|1[0-2])|[- ]?Q(?P<quarter>[1-4]))"
    r"|((?P<Month>0[1-9]|1[0-2])[-/]|Q(?P<Quarter>[1-4])[- /]?)(?P<Year>1[5-9][0-9]{2}|2[01][0-9]{2})"
)
_DIGITS_OF_DATE = re.compile(  # 20241231, 202412
    r"\s*(?P<y>(19|20)[0-9]{2})(?P<m>0[1-9]|1[0-2])(?P<d>0[1-9]|[12][0-9]|3[01])?\s*", re.ASCII
)
_ODD_ZONE = re.compile(r"(?P<time>.*:[0-9.]+) ?((UTC|GMT|Z)|(?P<hours>[+-][0-9]{2}):?(?P<minutes>[0-9]{2})?)")
_TZ_AWARE = (
    r"^.*:[0-9.]+ ?(Z|UTC|GMT|[+-][0-9]{2}(:?[0-9]{2})?)\s*$"  # a time with its zone, as Python or pyarrow prints it
)
_ORDERED_DATE = re.compile(
    r"\s*(?P<a>[0-9]{1,4})(?P<separator>[./-])(?P<b>[0-9]{1,2})(?P=separator)(?P<c>[0-9]{1,4})"
    r"((T|,? +)(?P<hour>[0-9]{1,2}):(?P<minute>[0-9]{2})(:(?P<second>[0-9]{2})(\.[0-9]+)?)?( ?(?P<half>[AaPp])[Mm])?)?\s*"
)
_NAMED_DATE = re.compile(  # 31-Dec-24, 31 December 2024, December 31, 2024, December 2024
    r"\s*((?P<d>[0-9]{1,2})(?P<dash>[ -])(?P<m>[A-Za-z]{3,9})\.?(?P=dash)(?P<y>[0-9]{4}|[0-9]{2})"
    r"|(?P<M>[A-Za-z]{3,9})\.?( (?P<D>[0-9]{1,2}),? |[ -])(?P<Y>[0-9]{4}))(?P<rest>[T, ].*|\s*)"
)
_MONTHS = (
    *("january", "february", "march", "april", "may", "june"),
    *("july", "august", "september", "october", "november", "december"),
)
_MONTH_OF = {"sept": 9} | {it: number for number, name in enumerate(_MONTHS, 1) for it in (name, name[:3])}
_LAST_AFTER_2000 = 68  # years of two digits up to this are 20yy, as in POSIX
_GROUPED = {  # 1,234.5 (1'234.5, 12,34,567) or 1234.5; with a decimal comma 1.234,5 (1 234,5) or 1234,5
    "": r"([1-9][0-9]{0,2}([,'\u2019\u00a0\u202f][0-9]{3})+|[1-9][0-9]?(,[0-9]{2})+,[0-9]{3}|[0-9]+)(\.[0-9]+)?",
    ",": r"([1-9][0-9]{0,2}([.'\u2019\s][0-9]{3})+|[0-9]+)(,[0-9]+)?",
}
_UNIT_FORMAT = re.compile(r"(?P<before>[^0-9]*)1(?P<decimal>[.,])5(?P<after>.*)", re.DOTALL)
_UNSIGNED = ("strict", "lenient", "1,234", "1.234,5", "h:m:s")  # formats without a sign or unit
_SHORTEST_PLURAL = 3  # the fewest letters of a unit whose plural s is recognized, such as min and mins
_CLOCK_TIME = re.compile(
    r"\s*(?P<hour>0?[1-9]|1[0-2])(:(?P<minute>[0-5][0-9])(:(?P<second>[0-5][0-9]))?)? ?(?P<half>[AaPp])\.?[Mm]\.?\s*"
)
_DURATION = re.compile(
    r"\s*(?=[^\s])((?P<days>[+-]?[0-9]{1,9}) days?(,? |\s*$))?"
    r"((?P<sign>[+-]?)((?P<hours>[0-9]{1,6}):(?P<of_hour>[0-5][0-9])|(?P<minutes>[0-9]{1,6}))"
    r":(?P<seconds>[0-5][0-9](\.[0-9]{1,9})?))?\s*"
)
_ISO_DURATION = re.compile(
    r"(?P<sign>[+-]?)P(?=.)((?P<days>[+-]?[0-9]{1,9})D)?"
    r"(T(?=.)((?P<hours>[0-9]{1,6})H)?((?P<minutes>[0-9]{1,6})M)?((?P<seconds>[0-9]+(\.[0-9]{1,9})?)S)?)?"
)

UNIX_UNITS: dict[UnixUnit, float] = {"s": 1, "ms": 1e3, "us": 1e6, "ns": 1e9}  # units per second
EPOCH = datetime(1970, 1, 1)
_FAMILIES: tuple[tuple[Family, tuple[type, ...]], ...] = (  # the first that fits: a bool is an int, a Timestamp a date
    ("text", (str, pd.Interval)),
    ("boolean", (bool, np.bool_)),
    ("duration", (timedelta, np.timedelta64, time)),
    ("date", (date, np.datetime64, pd.Period)),
    ("number", (int, float, Decimal, Fraction, np.integer, np.floating)),
)


@lru_cache(maxsize=256)
def family_of(kind: Hashable) -> Family | None:
    """Return the family of a Python type, or None if a network cannot read it, such as a list.

    Example:
        >>> family_of(bool), family_of(float), family_of(list)
        ('boolean', 'number', None)
    """
    return next((family for family, kinds in _FAMILIES if isinstance(kind, type) and issubclass(kind, kinds)), None)


def common_family(values: Iterable[object], name: str) -> Family | None:
    """Return the common family of values, none of which is missing; None if there are no values.

    Raises:
        BadTypeError: There are several families, or one that a network cannot read.
    """
    examples: dict[type, object] = {}
    for value in values:
        examples.setdefault(type(value), value)
    families = {family_of(kind) for kind in examples}
    if len(families) > 1:
        shown = " and ".join(f"{kind.__name__} ({cut(repr(value), 40)})" for kind, value in examples.items())
        remedy = (
            f"Make it one kind, such as frame[{name!r}].astype(str), or leave the column out: {asking('ignore', name)}"
        )
        raise BadTypeError(f"column {name!r} must hold one kind of value, got {shown}", remedy)
    for kind, value in examples.items():
        if family_of(kind) is None:
            raise unreadable_column(name, f"{kind.__name__} such as {cut(repr(value), 40)}")
    return families.pop() if families else None


def unreadable_column(name: str, what: str) -> BadTypeError:
    """Return the error for a column that a network cannot read."""
    problem = f"column {name!r} must hold numbers, text, truth values or dates, got {what}"
    return BadTypeError(problem, f"Convert it to columns of such values, or leave it out: {asking('ignore', name)}")


def is_blank(value: object) -> bool:
    """Return whether a value is empty text or only white space, which counts as missing."""
    return isinstance(value, str) and not value.strip()


def parse_number(text: str, form: NumberFormat = "strict") -> float | None:
    """Parse text as a number; return None if it is not one, such as "nan" or "inf". Integers are exact.

    Example:
        >>> parse_number(" 1e3 "), parse_number("9007199254740993"), parse_number("1,000"), parse_number("nan")
        (1000.0, 9007199254740993, None, None)
        >>> parse_number("1,000", "1,234"), parse_number("-$1,000.50", "$"), parse_number("5%", "%"), parse_number("5", "%")
        (1000.0, -1000.5, 5.0, 5)
        >>> parse_number("1.000,5", "1.234,5"), parse_number("1.000", "1.234,5"), parse_number("1.0", "1.234,5")
        (1000.5, 1000.0, None)
        >>> parse_number("1.000,50 €", "€,"), parse_number("1:23:45", "h:m:s"), parse_number("-1 days +23:59:00", "h:m:s")
        (1000.5, 5025.0, -60.0)
        >>> parse_number("1,200 kg", "1.5 kg"), parse_number("12,5kg", "1,5 kg"), parse_number("5 lb", "1.5 kg")
        (1200.0, 12.5, None)
    """
    text = text.replace("\u2212", "-")  # the typographic minus sign
    if _INTEGER.fullmatch(text):
        return int(text)
    notation = notation_of(form)
    if not notation.has_comma and _NUMBER.fullmatch(text):
        return float(text)
    if form == "h:m:s":
        return _parse_duration(text)
    if form in ("strict", "lenient"):
        return None
    if text.strip().startswith("(") and text.strip().endswith(")"):  # accounting notation for negative numbers
        text = f"-{text.strip()[1:-1]}"
    match = notation.pattern.fullmatch(text)
    if match is None:
        return None
    number = next(digits for digits in match.group("a", "b") if digits is not None)
    if notation.has_comma:
        number = number.replace(".", "").replace(",", ".")
    sign = "-" if "-" in text[: text.index(number[0])] else ""
    return float(sign + re.sub(r"[^0-9.]", "", number))


class Notation(NamedTuple):
    """How numbers are written in a format.

    Args:
        before: The text before a number, such as a currency; a sign such as $ may be on either side.
        after: The text after a number, such as a unit.
        has_comma: Whether numbers have a decimal comma.
        has_unit: Whether numbers have a unit, or a currency other than the signs.
        pattern: Matches a number; its digits are group "a" after `before` or without any mark, or "b" before `after`.
    """

    before: str
    after: str
    has_comma: bool
    has_unit: bool
    pattern: re.Pattern[str]


@lru_cache(maxsize=1024)
def notation_of(form: NumberFormat) -> Notation:
    """Return how numbers are written in a format.

    Example:
        >>> [notation_of(form)[:2] for form in ("1.5 kg", "USD 1.5", "€,", "1,234")]
        [('', 'kg'), ('USD', ''), ('€', '€'), ('', '')]
        >>> [notation_of(form).has_comma for form in ("1.234,5", "€,", "1,5 kg", "1,234", "€", "1.5 kg")]
        [True, True, True, False, False, False]
        >>> [notation_of(form).has_unit for form in ("1.5 kg", "EUR 1,5", "€", "1.234,5")]
        [True, True, False, False]
    """
    unit = _UNIT_FORMAT.fullmatch(form)
    if unit is None:
        before = after = "" if form in _UNSIGNED else form[:1]
        has_comma = form.endswith((",", ",5"))
    else:
        before, after, has_comma = unit["before"].strip(), unit["after"].strip(), unit["decimal"] == ","
    digits = _GROUPED["," if has_comma else ""]
    first, last = re.escape(before), re.escape(without_plural(after)) + ("s?" if len(after) >= _SHORTEST_PLURAL else "")
    leading = rf"([+-]?{first}\s*|{first}\s*[+-])(?P<a>{digits})" if before else "(?P<a>(?!))"
    trailing = rf"[+-]?(?P<b>{digits})\s*{last}" if after else "(?P<b>(?!))"
    if not before and not after:
        leading = rf"[+-]?(?P<a>{digits})"
    return Notation(before, after, has_comma, unit is not None, re.compile(rf"\s*({leading}|{trailing})\s*"))


def without_plural(unit: str) -> str:
    """Return a unit without its plural s.

    Example:
        >>> without_plural("years"), without_plural("s"), without_plural("cc")
        ('year', 's', 'cc')
    """
    return unit.removesuffix("s") if len(unit) > _SHORTEST_PLURAL else unit


def _parse_duration(text: str) -> float | None:
    """Return 1:23:45, 23:45 (minutes and seconds), 1:05 PM, 2 days 01:23:45 or P2DT1H23M45S in seconds; else None."""
    if time := _CLOCK_TIME.fullmatch(text):
        hour, minute, second = (int(time[name] or 0) for name in ("hour", "minute", "second"))
        return ((hour % 12 + (12 if time["half"] in "Pp" else 0)) * 60 + minute) * 60.0 + second  # 12 AM is midnight
    match = _ISO_DURATION.fullmatch(text) or _DURATION.fullmatch(text)
    if match is None:
        return None
    parts = {name: float(value or 0) for name, value in match.groupdict().items() if name != "sign"}
    clock = (parts["hours"] * 60 + parts["minutes"] + parts.get("of_hour", 0.0)) * 60 + parts["seconds"]
    if match.re is _ISO_DURATION:
        clock, parts["days"] = clock + parts["days"] * 86_400, 0.0
    return parts["days"] * 86_400 + (-clock if match["sign"] == "-" else clock)


def parse_date(text: str, form: DateFormat = "iso") -> int | None:
    """Parse a date with an optional time to microseconds since 1970 (UTC), or None; every format also reads ISO dates.

    Example:
        >>> parse_date("1970-01-02") == 24 * 3600 * 1_000_000, parse_date("02/01/1970")
        (True, None)
        >>> parse_date("2.1.1970", "d/m/Y") == parse_date("1970-01-02") == parse_date("1/2/70 12:00 AM", "m/d/y")
        True
        >>> parse_date("1970-01") == parse_date("Q1 1970") == parse_date("1-JAN-70", "d month Y") == 0
        True
        >>> parse_date("19700101", "Ymd") == parse_date("Jan 1970", "d month Y") == parse_date("0", "s") == 0
        True
    """
    try:
        found = _PARSERS[form](text)
        if found is not None:
            return found
        if match := _MONTH.fullmatch(text):
            year, month, quarter = (match[name] or match[name.title()] for name in ("year", "month", "quarter"))
            return microseconds(date(int(year), int(month or int(quarter) * 3 - 2), 1))
        if zone := _ODD_ZONE.fullmatch(text):
            text = f"{zone['time']}{zone['hours'] or '+00'}:{zone['minutes'] or '00'}"
        return microseconds(datetime.fromisoformat(text)) if _DATE.fullmatch(text) else None
    except (ValueError, OverflowError):  # June 31, or a time zone that moves 9999 to the next year
        return None


def _parse_named(text: str) -> int | None:
    """Return the timestamp of a date with the English name of its month, or None."""
    match = _NAMED_DATE.fullmatch(text)
    if match is None:
        return None
    day, month, year = (match[name] or match[name.upper()] for name in "dmy")
    number = _MONTH_OF.get(month.lower())
    return _parse_ordered(f"{day or 1}/{number}/{year}{match['rest']}", "d/m/y" if len(year) == 2 else "d/m/Y")


def _parse_ordered(text: str, form: DateFormat) -> int | None:
    """Return the timestamp of a date whose format gives the order of day, month and year, or None.

    Raises:
        ValueError: There is no such day or time.
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


def _parse_digits(text: str) -> int | None:
    """Return the timestamp of a date as a whole number, year first, or None; without a day it is the first of the month."""
    match = _DIGITS_OF_DATE.fullmatch(text)
    return None if match is None else microseconds(date(int(match["y"]), int(match["m"]), int(match["d"] or 1)))


def _parse_unix(text: str, unit: UnixUnit) -> int | None:
    """Return the timestamp of Unix time written as a number, or None."""
    if _NUMBER.fullmatch(text) is None:
        return None
    found = int(unix_timestamps(np.array([float(text)]), unit)[0])
    return None if found == NO_DATE else found


def unix_timestamps(numbers: NDArray[np.float64], unit: UnixUnit) -> NDArray[np.int64]:
    """Convert Unix time to timestamps, `NO_DATE` outside the years 1 to 9999.

    Example:
        >>> unix_timestamps(np.array([1.5, 1e18, 1e308]), "s") > NO_DATE
        array([ True, False, False])
    """
    with np.errstate(over="ignore"):
        found = np.rint(numbers * (1e6 / UNIX_UNITS[unit]))
    first, last = (microseconds(it) for it in (datetime.min, datetime.max))
    return np.where((found >= first) & (found <= last), found, NO_DATE).astype(np.int64)


_PARSERS: dict[DateFormat, Callable[[str], int | None]] = {
    **{order: partial(_parse_ordered, form=order) for order in get_args(DateOrder)},
    **{unit: partial(_parse_unix, unit=unit) for unit in UNIX_UNITS},
    "iso": lambda _: None,
    "d month Y": _parse_named,
    "Ymd": _parse_digits,
}


def parse_dates(text: pa.Array, form: DateFormat = "iso") -> NDArray[np.int64]:
    """Parse text as dates; return timestamps, `NO_DATE` for other text.

    Example:
        >>> parse_dates(pa.array(["1970-01-02", "02.01.1970"])) > NO_DATE
        array([ True, False])
    """
    if form != "iso":
        dates = [parse_date(date, form) for date in text.to_pylist()]
        return np.array([NO_DATE if date is None else date for date in dates], dtype=np.int64)
    is_plain = pc.match_substring_regex(text, f"^({_DATE_PATTERN})$")
    iso = pc.if_else(is_plain, text, pa.scalar(None, text.type))
    dates = pd.to_datetime(pd.Series(pd.array(iso, dtype="str")), format="ISO8601", utc=True, errors="coerce")
    found = np.array(dates.dt.tz_localize(None).to_numpy().astype("datetime64[us]").view(np.int64))
    rows = np.flatnonzero(~pc.fill_null(is_plain, True).to_numpy(zero_copy_only=False))
    others = [parse_date(date) for date in text.take(pa.array(rows)).to_pylist()]
    found[rows] = [NO_DATE if date is None else date for date in others]
    return found


def is_tz_aware(values: pd.Series | Sequence[object]) -> NDArray[np.bool_]:
    """Return which values are times with a time zone, as objects or text.

    Example:
        >>> is_tz_aware(["2024-12-31 10:00", "2024-12-31T10:00Z", None])
        array([False,  True, False])
        >>> is_tz_aware(pd.Series([date(2024, 12, 31)], dtype=pd.ArrowDtype(pa.date32())))
        array([False])
    """
    if isinstance(values, pd.Series):
        if isinstance(values.dtype, pd.StringDtype):
            found = pc.match_substring_regex(pa.array(values, pa.large_string(), from_pandas=True), _TZ_AWARE)
            return np.asarray(pc.fill_null(found, False).to_numpy(zero_copy_only=False))
        if values.dtype.kind == "M":
            kind = getattr(values.dtype, "pyarrow_dtype", values.dtype)  # `values.dt.tz` raises for Arrow's dates
            return np.full(len(values), getattr(kind, "tz", None) is not None)
        values = values.tolist()
    return np.array(
        [
            re.match(_TZ_AWARE, it) is not None if isinstance(it, str) else getattr(it, "tzinfo", None) is not None
            for it in values
        ],
        dtype=np.bool_,
    )


def microseconds(value: Raw) -> int:
    """Return a date or time as microseconds since 1970; times with a zone are converted to UTC, finer digits are dropped.

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
    """Return a duration, or a time since midnight, in seconds, to the microsecond.

    Example:
        >>> seconds(timedelta(minutes=1)), seconds(pd.Timedelta("1s")), seconds(time(1, 0))
        (60.0, 1.0, 3600.0)
    """
    if isinstance(value, time):
        return value.hour * 3600 + value.minute * 60 + value.second + value.microsecond / 1e6
    span = pd.Timedelta(value) if isinstance(value, np.timedelta64) else value
    return int((span.days * 86_400 + span.seconds) * 1_000_000 + span.microseconds) / 1e6


def as_float(value: Raw) -> float:
    """Return a number as a float; one that is too large becomes infinite, which readers then reject."""
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
