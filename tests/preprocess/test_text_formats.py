"""What columns of text write: numbers, with or without a sign, dates in one order, or neither."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from tabvision.preprocess.columns import Text
from tabvision.preprocess.text_formats import dates_in, numbers_in

PRICES = [f"{n * 1.25 + 3:.2f}" for n in range(99)]


def text(values: list[str | None]) -> Text:
    return Text(pa.chunked_array([pa.array(values, pa.large_string())]))


@pytest.mark.parametrize(
    ("values", "form", "others"),
    [
        ([*PRICES, "unknown"], "lenient", {"unknown": 1}),
        ([*PRICES, "unknown", "?"], None, {}),  # more than one in a hundred
        ([*PRICES[:49], "unknown"], None, {}),
        ([*(["1.5", "2"] * 100), "n/a", "n/a"], "lenient", {"n/a": 2}),
        ([*PRICES[:9], " "], "lenient", {" ": 1}),
        ([*PRICES[:9], *[" "] * 90], "lenient", {" ": 90}),  # white space is not other text
        (PRICES, "lenient", {}),  # nobody writes codes with a point
        (PRICES[:49], None, {}),
        ([str(n) for n in range(99)], None, {}),  # whole numbers that someone has made text
        ([*(str(n) for n in range(99)), "?"], "lenient", {"?": 1}),
        ([f"{n:02}" for n in range(99)], None, {}),
        ([*(f"{n:02}" for n in range(99)), "?"], None, {}),
        (["5%", "12.5 %", None], "%", {}),
        (["5%", "5"], None, {}),  # 5 may be a fraction, or 5 %
        (["$5", "-$1,234.50", "$ 7"], "$", {}),
        (["5 €", "1,234.50€"], "€", {}),
        (["£5", "€5"], None, {}),
        (["€1.234", "€12.500"], None, {}),  # a thousand, or one?
        (["€1.234", "€12.50"], "€", {}),
        ([*(f"${n}" for n in range(99)), "on request"], "$", {"on request": 1}),
        ([*(f"${n}" for n in range(99)), "$1,5"], None, {}),  # the comma is a decimal one
        (["1,234", "5", "1,234,567.5"], "1,234", {}),
        (["1'234.50", "7"], "1,234", {}),
        (["1\u202f234", "567"], "1,234", {}),
        (["12,34,567", "1,234"], "1,234", {}),
        (["1.234,50 €", "7,99 €"], "€,", {}),
        (["12,5 %", "7 %"], "%,", {}),
        (["1,234 €", "2,345 €"], "€", {}),
        (["$5", "($1,234.50)"], "$", {}),
        (["\u22121.5", "2.5"] * 50, "lenient", {}),
        (["1:23:45", "59:59", None], "h:m:s", {}),
        (["2 days 01:00:00", "3 days"], "h:m:s", {}),
        (["2:1", "3:0"], None, {}),
        ([*["999"] * 995, *["1,234"] * 5], "1,234", {}),  # not 5 exceptions to 999
        (["1,234", "1234"], None, {}),
        (["1.234,50", "7", "-3,5", "1.000"], "1.234,5", {}),
        (["1\u202f234,50", "12 345 678,9"], "1.234,5", {}),
        (["1.234", "3,5"], None, {}),
        (["1,234", "0,567"], None, {}),
        (["1,234", "12,34"], None, {}),
        (["1,5", "20,25"], None, {}),
        (["1,5", "20,05"], "1.234,5", {}),  # no second number begins with a zero
        (["1,5", "20,005"], None, {}),
        (["12 kg", "-7.5kg", None], "1.5 kg", {}),
        (["39,681 km", "1,200 km"], "1.5 km", {}),
        (["12,5 kg", "7 kg"], "1,5 kg", {}),
        (["EUR 1444.10", "EUR 5.00"], "EUR 1.5", {}),
        (["Rs. 1,200", "Rs. 500"], "Rs. 1.5", {}),
        (["1 year", "12 years"], "1.5 year", {}),
        (["1,000+", "5+"], "1.5 +", {}),
        (["90 m2", "120 m2"], "1.5 m2", {}),
        (["90 sq. ft", "120 sq. ft"], "1.5 sq. ft", {}),
        (["1 Hill Road", "2 Hill Road"], None, {}),
        ([*(f"{n}.5 bhp" for n in range(99)), "null bhp"], "1.5 bhp", {"null bhp": 1}),
        ([*(f"{n}.5 kg" for n in range(99)), "3 lb"], "1.5 kg", {"3 lb": 1}),
        (["12 kg", "3 lb"], None, {}),
        (["12 kg", "13"], None, {}),
        (["1.234 kg", "2.500 kg"], None, {}),  # a ton, or a kilogram?
        (["0.234 kg", "2.500 kg"], "1.5 kg", {}),
        (["0012A", "0013A"], None, {}),
        (["SKU 12", "SKU 13"], None, {}),
        (["1st", "2nd", "3rd"], None, {}),
        (["10:40 PM", "3:05:10 am", "7 p.m."], "h:m:s", {}),
        (["1.2.3", "1.2.4"], None, {}),
        (["cook", "nurse"], None, {}),
        ([None, None], None, {}),
    ],
)
def test_numbers_are_found_in_one_format(values: list[str | None], form: str | None, others: dict[str, int]) -> None:
    found = numbers_in(text(values))

    assert (None if found is None else found.form) == form
    assert found is None or found.others == others


@pytest.mark.parametrize(
    ("values", "orders"),
    [
        (["2024-12-31", "2024-01-02 10:30"], ["iso"]),
        (["2024-12-31", "2024-1-2"], ["Y/m/d"]),
        (["31/12/2024", "01/02/2024"], ["d/m/Y"]),
        (["12/31/2024 1:30 PM", "1/2/2024 12:00 AM"], ["m/d/Y"]),
        (["31.12.2024", "1.2.2024"], ["d/m/Y"]),
        (["31-12-2024", "1-2-2024"], ["d/m/Y"]),
        (["01/02/2024", "12/11/2024"], ["d/m/Y", "m/d/Y"]),
        (["31/12/2024", "12/31/2024"], []),
        (["31/12/2024", "soon"], []),
        (["31/12/2024", "30/02/2024"], []),
        (["31/12/99", "01/02/03"], ["d/m/y"]),
        (["31/12/24", "01/02/03"], ["d/m/y", "y/m/d"]),
        ([f"{day:02}.12.{year} 10:30" for day in range(1, 32) for year in (23, 24)], ["d/m/y"]),
        ([f"{year}-12-{day:02}" for day in range(1, 32) for year in (23, 24)], ["y/m/d"]),
        ([f"{day:02}.12.{day:02}" for day in range(1, 32)], ["d/m/y", "y/m/d"]),
        (["01/02/03"], ["d/m/y", "m/d/y", "y/m/d"]),
        (["31/12/2024", "1/1/25"], []),
        (["1/2.2024", "13/2.2024"], []),
        (["13/02/2024 25:00"], []),
        (["31-Dec-24", "March 1, 2024"], ["d month Y"]),
        (["2024-12", "2025Q1"], ["iso"]),
        (["2024-12", "Q1 2025", "02/2025"], ["iso"]),
        (["Jul 2023", "January 2022", "Mar-2021"], ["d month Y"]),
        (["20241231", "20240229"], ["Ymd"]),
        (["202412", "202401"], ["Ymd"]),
        (["20241231", "20240230"], []),
        (["20241231", "18240101"], []),
        (["2024-12-31 10:00:00+00", "2024-12-31 10:00:00 UTC"], ["iso"]),
        (["13/02/2024 13:00 PM"], []),
    ],
)
def test_dates_are_found_in_every_order_that_reads_all(values: list[str | None], orders: list[str]) -> None:
    assert list(dates_in(text([*values, None]))) == orders


def test_a_day_above_twelve_that_the_sample_misses_proves_the_order() -> None:
    days = np.array(["01/02/2024"] * 50_000, dtype=object)
    days[12_345] = "13/02/2024"

    assert dates_in(text(days.tolist())) == ("d/m/Y",)


def test_an_exception_that_the_sample_misses_is_named() -> None:
    prices = np.array(PRICES * 500, dtype=object)
    prices[12_345] = "unknown"

    found = numbers_in(text(prices.tolist()))

    assert found is not None
    assert found.others == {"unknown": 1}
