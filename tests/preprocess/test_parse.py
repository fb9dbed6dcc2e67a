"""What single values say."""

import datetime
import time
from typing import get_args

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from tabvision.preprocess.parse import as_float, microseconds, parse_date, parse_dates, parse_number, seconds
from tabvision.schema import DateFormat


@pytest.mark.parametrize("text", ["0", "-1", "+1.5", ".5", "5.", "1e3", " 7 ", "1E-3", "0012", "1e999"])
def test_text_that_writes_a_number_is_read_as_python_reads_it(text: str) -> None:
    assert parse_number(text) == float(text)


def test_text_that_writes_no_number_is_not_guessed_at() -> None:
    texts = ["", " ", "nan", "inf", "1_000", "1,5", "1,000", "0x1", "1 2", "٣", "e5", "--1", "NA"]

    assert [text for text in texts if parse_number(text) is not None] == []


@pytest.mark.parametrize(
    "text",
    ["2020-01-02", "2020-01-02 03:04", "2020-01-02T03:04:05", "2020-01-02T03:04:05.678901", "2020-01-02T03:04:05Z",
     "2020-01-02 03:04:05+02:00", "2020-01-02 03:04:05-0530", "0001-01-01", "9999-12-31 23:59:59"],
)  # fmt: skip
def test_iso_dates_are_read_as_pandas_reads_them(text: str) -> None:
    moment = pd.to_datetime([text], format="ISO8601", utc=True).tz_localize(None).as_unit("us").asi8[0]

    assert parse_date(text) == moment


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2020",
        "2020-13",
        "1200-01",
        "2020Q5",
        "20200102",
        "2020-1-2",
        "2020-02-30",
        "2020-01-02 24:00",
        "2020-W01-1",
        "today",
        "NaT",
    ],
)
def test_other_text_is_no_date(text: str) -> None:
    assert parse_date(text) is None


@pytest.mark.parametrize(
    ("text", "iso"),
    [("2020-04", "2020-04-01"), ("2020Q2", "2020-04-01"), ("2020-01-02 03:04:05.5 UTC", "2020-01-02 03:04:05.5"),
     ("2020-01-02 03:04:05+02", "2020-01-02 01:04:05"), ("2020-01-02T03:04:05 -0530", "2020-01-02 08:34:05")],
)  # fmt: skip
def test_months_quarters_and_zones_are_read_as_databases_and_pandas_write_them(text: str, iso: str) -> None:
    assert parse_date(text) == parse_date(text, "d/m/y") == parse_date(iso)
    assert parse_dates(pa.array([text, "2020-01-02 03:04"])).tolist() == [
        parse_date(iso),
        parse_date("2020-01-02 03:04"),
    ]


@pytest.mark.parametrize(
    ("text", "iso"),
    [("31-Dec-24", "2024-12-31"), ("1 SEPT. 2024", "2024-09-01"), ("March 5, 2024 1:30 PM", "2024-03-05 13:30"),
     ("31 Foo 2024", None), ("31 Jun 2024", None), ("5-March 2024", None)],
)  # fmt: skip
def test_dates_with_the_name_of_the_month(text: str, iso: str | None) -> None:
    assert parse_date(text, "d month Y") == (None if iso is None else parse_date(iso))


@pytest.mark.parametrize(
    "span",
    ["0s", "90s", "-1s", "1h", "1D", "-3D", "4D 9h 7min 58s", "-2D 1h", "1ms"],
    ids=lambda span: span.replace(" ", ""),
)
def test_durations_are_read_as_pandas_and_python_write_them(span: str) -> None:
    known = pd.Timedelta(span)
    texts = [str(known), str(known.to_pytimedelta()), known.isoformat(), pd.Series([known]).astype("str").iloc[0]]

    assert [parse_number(text, "h:m:s") for text in texts] == [known.total_seconds()] * 4


def test_text_that_writes_no_duration_is_not_guessed_at() -> None:
    texts = ["", " ", "1:2", "1:60", "1:75:00", "days", "P", "PT", "1:23:45 h", "13:30 AM", "0 PM", "2024-01-01 10:30"]

    assert [text for text in texts if parse_number(text, "h:m:s") is not None] == []


def test_moments_are_the_same_in_every_form() -> None:
    stamp = pd.Timestamp("1969-07-20 20:17:40.123456")
    forms = [stamp, stamp.to_pydatetime(), stamp.to_datetime64(), stamp.tz_localize("UTC").tz_convert("Asia/Tokyo")]

    assert {microseconds(form) for form in forms} == {stamp.value // 1_000}
    assert microseconds(pd.Period("1970-02", "M")) == microseconds(datetime.date(1970, 2, 1))


def test_durations_are_the_same_in_every_form() -> None:
    span = datetime.timedelta(days=-1, microseconds=5)

    assert seconds(span) == seconds(pd.Timedelta(span)) == seconds(np.timedelta64(span)) == span.total_seconds()


def test_very_long_text_takes_no_longer_than_its_length() -> None:
    texts = [unit * 20_000 for unit in ("1", "1,", "1.", "1:", "1 ", "1'", " ", ":", "1 days ", "31-", "(", "€", "0,0")]
    start = time.process_time()
    for text in [f"{text}{end}" for text in texts for end in ("", ":", "€", "x")]:
        for number in ("lenient", "1,234", "1.234,5", "$", "€,", "h:m:s", "1.5 kg", "EUR 1,5"):
            parse_number(text, number)
        for date in get_args(DateFormat):
            parse_date(text, date)

    assert time.process_time() - start < 5


def test_integers_beyond_every_float_are_infinite() -> None:
    assert (as_float(10**400), as_float(-(10**400))) == (np.inf, -np.inf)
