"""Infer what a column of text holds: numbers, with or without a sign, or dates, and their order of day, month and year."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tabvision.errors import count, listed
from tabvision.preprocess.columns import Text
from tabvision.preprocess.parse import (
    NO_DATE,
    notation_of,
    parse_date,
    parse_dates,
    parse_number,
    without_plural,
)
from tabvision.schema import DateFormat, DateOrder, NumberFormat

_Values = TypeVar("_Values", NDArray[Any], pa.ChunkedArray)

_MOST_MONTHS = 12  # more distinct values than this cannot be months
_FAR_MORE = 2  # times as many distinct days as years show which are the days
_SAMPLE = 5_000  # number of rows examined first
_MAX_OTHER, _MIN_NUMBERS = 0.01, 50  # the most other text, as a fraction of rows, if there are at least so many numbers
_SIGNS = "$€£¥%"
_CURRENCIES = (
    "USD|EUR|GBP|JPY|CHF|CAD|AUD|NZD|INR|CNY|RMB|SEK|NOK|DKK|PLN|CZK|HUF|RON|TRY|BRL|MXN|ARS|CLP|COP|ZAR|NGN|KES|EGP|AED|SAR"
    "|ILS|KRW|SGD|HKD|TWD|THB|MYR|IDR|PHP|VND|PKR|BDT|RUB|UAH|US[$]|A[$]|C[$]|R[$]|S[$]|Rs[.]?|kr[.]?|₹|₩|₽|₺|₪|₫|₴|zł"
)
_WITH_UNIT = re.compile(  # 12 kg, 3.5km/l, 90 m2, 80 sq ft, 10+, or EUR 12
    rf"\s*(?P<before>{_CURRENCIES})?\s*[+-]?[0-9][0-9.,'\u2019\u00a0\u202f]*\s*"
    r"(?P<after>((sq|cu|fl)[.]? )?([^\W\d_]|[°+\"”″])[^\s\d,;:|]{0,14}[23]?)?\s*"
)
_LEADING_ZERO = re.compile(r"\s*[+-]?0[0-9].*")
_SEPARATOR = re.compile(r"[0-9][,'\u2019\u00a0\u202f][0-9]")
_COMMA_OF_DECIMALS = re.compile(r".*,([0-9]{1,2}|[0-9]{4,})(?![0-9,]).*")  # it cannot separate thousands
_ODD_COMMA = re.compile(r".*[0-9],[0-9].*")  # for text that is not a number with thousands separators
# A comma after a thousands separator, or before a zero and one more digit, can only be a decimal comma.
_DECIMAL_COMMA = re.compile(r".*[0-9][.'\u2019\s][0-9]{3},[0-9].*|[^,]*[0-9],0([0-9]|[0-9]{3,})")
_NO_COMMA = re.compile(r"[^0-9]*[0-9]{4}.*")
_CLOCK = re.compile(r".*[0-9]:[0-9]{2}.*|.*[0-9] days?\s*|P.*[0-9].*|\s*[0-9]{1,2} ?[AaPp]\.?[Mm]\.?\s*")
_POINTS_OF_THOUSANDS = re.compile(r"\s*[+-]?[1-9][0-9]{0,2}(\.[0-9]{3})+\s*")
_BELOW_A_THOUSAND = re.compile(r"\s*[+-]?(0|[1-9][0-9]{0,2})\s*")
_POINT_OF_THOUSANDS = re.compile(r"(?![^0-9]*0\.).*\.[0-9]{3}[^0-9]*")  # a number that begins with 0 is not grouped
# A number in any form, such as 1,5 or 1.234,50 €, and a date in any form.
NUMBER_LIKE = r"\s*[$€£¥]?\s*[+-]?[0-9]+([., '][0-9]{3})*([.,][0-9]+)?\s*([%$€£¥]|\s[A-Za-zµ°/]{1,8}[²³]?)?\s*"
_DATE_LIKE = (
    r"([0-9]{1,2}[./-][0-9]{1,2}[./-]([0-9]{2}|[0-9]{4})|[0-9]{4}[./-][0-9]{1,2}[./-][0-9]{1,2}"
    r"|[0-9]{1,2}[ -][A-Za-z]{3,9}[.]?[ -][0-9]{2,4}|[A-Za-z]{3,9}[.]? [0-9]{1,2},? [0-9]{4})([ T,].*)?"
)

# Notes on text; the names of the columns come before each.
_KEEP_TEXT = "To keep it text, name it in categorical= (--categorical)."
AS_CATEGORIES = "kept as categories"
_NUMBERS_NOTE = (
    f"text that reads as numbers, {AS_CATEGORIES}. To use the numbers, name it in continuous= (--continuous)."
)
_NUMBER_LIKE_NOTE = (
    f"text that looks like numbers, but not like 1234.5, {AS_CATEGORIES}. To use the numbers, write them in that form."
)
_DATE_LIKE_NOTE = (
    f"text that looks like dates, but not like 2024-12-31, {AS_CATEGORIES}. To use the dates, write them in that form."
)
_MOSTLY_NUMBERS_NOTE = (
    f"text that is mostly numbers, but not {{value!r}}, {AS_CATEGORIES}. To use the numbers, set the others to missing."
)


@dataclass(frozen=True)
class TextNumbers:
    """How a column of text writes numbers.

    Args:
        form: The format.
        others: Text that is not a number, blank or not, and the number of rows with each.
    """

    form: NumberFormat
    others: dict[str, int]

    def note(self) -> str:
        """Return the note to log on the column.

        Example:
            >>> TextNumbers("$", {"n/a": 2}).note()[:70]
            "text that reads as numbers with $; other text is missing: 'n/a' (2 row"
        """
        marks = {"lenient": "", "1,234": " with separators of thousands", "1.234,5": " such as 1.234 or 1.234,5"}
        marks |= {"h:m:s": " of seconds, as durations or times of day"}
        notation = notation_of(self.form)
        with_sign = f" with {notation.before or notation.after}{' and a decimal comma' if notation.has_comma else ''}"
        others = [f"{text!r} ({count(number, 'row')})" for text, number in self.others.items()]
        missing = f"; other text is missing: {listed(others)}" if others else ""
        return f"text that reads as numbers{marks.get(self.form, with_sign)}{missing}. {_KEEP_TEXT}"


def numbers_in(column: Text) -> TextNumbers | None:
    """Return how text writes numbers; None if it does not, or if the numbers may be codes or have two readings.

    At most 1 % of the rows may have other text, and only with at least 50 numbers; blank rows do not count.

    Example:
        >>> numbers_in(Text(pa.array(["$1,200", "$5", " "])))
        TextNumbers(form='$', others={' ': 1})
        >>> numbers_in(Text(pa.array(["007", "12"] * 50))), numbers_in(Text(pa.array(["1,5", "2,25"])))
        (None, None)
    """
    sample = pc.unique(sample_of(column.values)).drop_null().to_pylist()
    num_read = {form: sum(parse_number(text, form) is not None for text in sample) for form in _candidates(sample)}
    forms = [form for form, number in num_read.items() if number > len(sample) / 2]
    if not forms:
        return None
    times = {it["values"]: it["counts"] for it in pc.value_counts(column.values.drop_null()).to_pylist()}
    others = {form: {text: times[text] for text in times if parse_number(text, form) is None} for form in forms}
    form = min(forms, key=lambda form: sum(others[form].values()))
    if form == "lenient" and have_points_of_thousands([text for text in times if text.strip()]):
        return TextNumbers("1.234,5", others[form])
    odd = [text for text in others[form] if text.strip()]
    read = [text for text in times if text not in others[form]]
    num_odd, num_numbers = (sum(times[text] for text in texts) for texts in (odd, read))
    if odd and (num_numbers < _MIN_NUMBERS or num_odd > _MAX_OTHER * (num_odd + num_numbers)):
        return None
    if form != "lenient":
        return None if _has_two_readings(form, read, odd) else TextNumbers(form, others[form])
    if any(map(_LEADING_ZERO.fullmatch, read)):  # 007 is not 7
        return None
    are_whole = (float(parse_number(text) or 0).is_integer() for text in read)
    if not any(others[form]) and (num_numbers < _MIN_NUMBERS or all(are_whole)):  # they are text for a reason
        return None
    return TextNumbers(form, others[form])


def have_points_of_thousands(texts: Iterable[str]) -> bool:
    """Return whether the points in whole numbers are certainly thousands separators.

    Some numbers must end in a zero, unlike unpadded decimals, and some must have no point, unlike padded decimals.

    Example:
        >>> have_points_of_thousands(["12.500", "1.234", "987"]), have_points_of_thousands(["12.5", "1.234", "987"])
        (True, False)
    """
    pointed, others = list[str](), list[str]()
    for text in texts:
        (pointed if "." in text else others).append(text)
    if not any(text.strip().endswith("0") for text in pointed) or not any(text.strip() != "0" for text in others):
        return False
    return all(map(_POINTS_OF_THOUSANDS.fullmatch, pointed)) and all(map(_BELOW_A_THOUSAND.fullmatch, others))


def _candidates(texts: Sequence[str]) -> list[NumberFormat]:
    """Return the formats to try: with the sign, unit or currency that most texts have, and without.

    Example:
        >>> _candidates(["12 kg", "7.5kg", "n/a"]), _candidates(["CHF 7,50"]), _candidates(["12 kg", "3 lb"])
        (['lenient', '1.5 kg'], ['lenient', '1,234', '1.234,5', 'CHF 1.5', 'CHF 1,5'], ['lenient'])
    """
    found: list[NumberFormat] = ["lenient", *(["1,234", "1.234,5"] if any(map(_SEPARATOR.search, texts)) else [])]
    for sign in _SIGNS:
        if sum(sign in text for text in texts) > len(texts) / 2:
            found += [sign, f"{sign},"]
    units: Counter[tuple[str, str]] = Counter()
    for match in filter(None, map(_WITH_UNIT.fullmatch, texts)):
        if match["before"] or match["after"]:
            units[match["before"] or "", without_plural((match["after"] or "").strip())] += 1
    for (before, after), number in units.most_common(1):
        if number > len(texts) / 2:
            decimals = ".," if any("," in text for text in texts) else "."
            found += [f"{before} 1{decimal}5 {after}".strip() for decimal in decimals]
    if sum(map(bool, map(_CLOCK.fullmatch, texts))) > len(texts) / 2:
        found.append("h:m:s")
    return found


def _has_two_readings(form: NumberFormat, numbers: Sequence[str], others: Sequence[str]) -> bool:
    """Return whether some numbers lack the sign or unit, or a comma or point in them has another possible meaning.

    Example:
        >>> _has_two_readings("1,234", ["1,234", "1234"], []), _has_two_readings("€", ["€1.234", "€5"], [])
        (True, True)
    """
    if form == "h:m:s":
        return False
    if form == "1.234,5":  # 1,5 by itself may be two numbers
        return not any(map(_DECIMAL_COMMA.fullmatch, numbers))
    notation = notation_of(form)
    marks = [without_plural(mark) for mark in (notation.before, notation.after) if mark]
    lacks_mark = any(all(mark not in text for mark in marks) for text in numbers)
    if notation.has_unit and any(map(_LEADING_ZERO.fullmatch, numbers)):
        return True
    if notation.has_comma:
        num_proofs = sum(map(bool, map(_COMMA_OF_DECIMALS.fullmatch, numbers)))
        return num_proofs < len(numbers) / 2 or lacks_mark
    if any(map(_ODD_COMMA.fullmatch, others)):
        return True
    if form == "1,234":
        return any(map(_NO_COMMA.fullmatch, numbers))
    points = [text for text in numbers if "." in text]
    is_point_of_thousands = form != "%" and bool(points) and all(map(_POINT_OF_THOUSANDS.fullmatch, points))
    return is_point_of_thousands or lacks_mark


def dates_in(column: Text, *, day_first: bool = False) -> tuple[DateFormat, ...]:
    """Return the formats in which every value is a date: several if the order of day, month and year is ambiguous.

    Args:
        column: The text.
        day_first: Whether to return, of several formats, only those with the day before the month.

    Example:
        >>> dates_in(Text(pa.array(["13/02/2024", "01/02/2024"]))), dates_in(Text(pa.array(["1.2.2024", "2.2.2024"])))
        (('d/m/Y',), ('d/m/Y', 'm/d/Y'))
        >>> dates_in(Text(pa.array(["1.2.2024", "2.2.2024"])), day_first=True)
        ('d/m/Y',)
    """
    samples = [pc.unique(values).drop_null() for values in (sample_of(column.values), column.values)]
    if all(bool((parse_dates(texts) != NO_DATE).all()) for texts in samples):
        return ("iso",)
    orders: tuple[DateFormat, ...] = get_args(DateOrder)
    for texts in samples:
        orders = tuple(it for it in orders if all(parse_date(text, it) is not None for text in texts.to_pylist()))
    if day_first and len(orders) > 1:
        orders = tuple(order for order in orders if order.find("d") < order.find("m"))
    return _by_distinct_parts(samples[1].to_pylist()) if orders == ("d/m/y", "y/m/d") else orders


def _by_distinct_parts(texts: Sequence[str]) -> tuple[DateFormat, ...]:
    """Return the orders of dates whose day or year comes first: one of the two if there are far more days than years.

    Example:
        >>> _by_distinct_parts([f"{day}.12.{year}" for day in range(1, 32) for year in (23, 24)])
        ('d/m/y',)
    """
    parts = [re.findall("[0-9]+", text)[:3] for text in texts]
    first, last = (len({int(each[position]) for each in parts}) for position in (0, 2))
    if max(first, last) <= _MOST_MONTHS or max(first, last) < _FAR_MORE * min(first, last):
        return ("d/m/y", "y/m/d")
    return ("d/m/y",) if first > last else ("y/m/d",)


def note_on_dates(column: Text, order: DateFormat) -> str:
    """Return the note on text that holds dates in an order; it mentions time zones other than UTC found in a sample.

    Example:
        >>> note_on_dates(Text(pa.array(["2024-01-02T10:00+02:00"])), "iso")[:69]
        'text that reads as dates with time zones; the parts are read in UTC. '
    """
    has_zone = pc.match_substring_regex(sample_of(column.values), r"[T ].*[+-][0-9]{2}:?[0-9]{2}\s*$")
    zone = " with time zones; the parts are read in UTC" if pc.any(has_zone).as_py() else ""
    return f"text that reads as dates{'' if order == 'iso' else f' in the order {order}'}{zone}. {_KEEP_TEXT}"


def all_match(column: Text, pattern: str) -> bool:
    """Return whether all values in a sample match a regular expression.

    Example:
        >>> all_match(Text(pa.array(["1,5", "20%"])), NUMBER_LIKE), all_match(Text(pa.array(["1,5", "1.2.3"])), NUMBER_LIKE)
        (True, False)
    """
    labels = pc.unique(sample_of(column.values)).drop_null()
    return bool(pc.all(pc.match_substring_regex(labels, f"^({pattern})$")).as_py())


def note_on_text(column: Text, num_blank: int, form: NumberFormat | None = None) -> str:
    """Return the note on text that is used as categories, or "" for none.

    Args:
        column: The column, with white space as missing.
        num_blank: The number of rows that were white space.
        form: The format of its numbers, if it has any.

    Example:
        >>> note_on_text(Text(pa.array(["1", "2", "n/a"])), 0)[:42]
        "text that is mostly numbers, but not 'n/a'"
    """
    if form is not None and notation_of(form).has_unit:
        return _NUMBERS_NOTE
    labels = pc.unique(sample_of(column.values)).drop_null().to_pylist()
    others = [label for label in labels if parse_number(label) is None]
    if len(others) < len(labels) / 2:
        return _MOSTLY_NUMBERS_NOTE.format(value=others[0]) if others else _NUMBERS_NOTE
    if all_match(column, NUMBER_LIKE):
        return _NUMBER_LIKE_NOTE
    if all_match(column, _DATE_LIKE):
        return _DATE_LIKE_NOTE
    return (
        f"{count(num_blank, 'cell')} of white space {'is' if num_blank == 1 else 'are'} missing." if num_blank else ""
    )


def num_distinct_text(column: Text, *, at_most: int) -> int:
    """Return the number of distinct texts, or that in a sample if it settles whether there are more than `at_most`."""
    sample = sample_of(column.values)
    in_sample = pc.count_distinct(sample).as_py()
    settled = in_sample > at_most or in_sample < min(len(sample) - sample.null_count, at_most)
    return int(in_sample if settled else pc.count_distinct(column.values).as_py())


def sample_of(values: _Values) -> _Values:
    """Return at most `_SAMPLE` evenly spaced rows, in the same kind of array."""
    if len(values) <= _SAMPLE:
        return values
    rows: NDArray[np.int64] = np.linspace(0, len(values) - 1, _SAMPLE).astype(np.int64)
    return values.take(rows)
