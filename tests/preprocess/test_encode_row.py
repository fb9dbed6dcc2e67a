"""Rows as mappings: the same as the same rows in a frame, and quick."""

from __future__ import annotations

import datetime
import decimal
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from tabvision.errors import BadTypeError, BadValueError, MissingColumnsError, TabvisionError
from tabvision.preprocess import Features, RowEncoder, encode_rows, fit_features, infer_kinds, to_arrays
from tests.made.sweeps import fuzzed
from tests.made.tables import mixed_table

TRAINING = mixed_table().assign(code=["1", "2"] * 100, flag=pd.array([True, False, None, True] * 50, dtype="boolean"))
FEATURES = fit_features(TRAINING, replace(infer_kinds(TRAINING, target=["pay"]), nominal=("visits",)))
ENCODE = RowEncoder(FEATURES)
ROW = TRAINING.iloc[3].to_dict()

missing = st.sampled_from([None, float("nan"), np.nan, pd.NA, pd.NaT])
whole = st.integers(-3, 9)
number = whole | st.floats(-1e6, 1e6) | st.floats(-1e3, 1e3).map(np.float32) | whole.map(np.int64) | whole.map(np.int8)
times = st.datetimes(datetime.datetime(1900, 1, 1), datetime.datetime(2100, 1, 1))
VALUES = {
    "size": number,
    "visits": number | whole.map(str),
    "rooms": number
    | whole.map(float)
    | st.booleans()
    | st.sampled_from([decimal.Decimal(2), np.uint16(3), "4", "2.0"]),
    "color": st.sampled_from(["red", "green", "blue", "mauve", "", np.str_("red")]),
    "garden": st.booleans() | st.sampled_from([0, 1, 1.0, np.bool_(1)]),
    "grade": st.sampled_from(["low", "mid", "high", "top"]),
    "sold": times
    | times.map(pd.Timestamp)
    | times.map(datetime.datetime.date)
    | times.map(str)
    | times.map(lambda time: time.isoformat(timespec="minutes") + "+02:00")
    | times.map(lambda time: pd.Timestamp(time, tz="Asia/Tokyo"))
    | times.map(np.datetime64),
    "code": st.sampled_from(["1", "2", "3"]),
    "flag": st.booleans(),
}
# what a column refuses, whichever it is; some read it all the same
UNUSUAL = st.sampled_from(
    [np.inf, -np.inf, 10**400, 1e300, "many", "2020-02-30", 5, 1 + 2j, b"red", [1], datetime.time(10)]
)
ROWS = st.fixed_dictionaries({name: values | missing for name, values in VALUES.items()})


@fuzzed(st.lists(ROWS, max_size=6), st.none() | st.tuples(st.sampled_from(sorted(VALUES)), UNUSUAL))
def test_rows_are_encoded_or_refused_as_a_frame_of_them(
    rows: list[dict[str, Any]], unusual: tuple[str, Any] | None
) -> None:
    if rows and unusual:
        rows = [*rows[:-1], {**rows[-1], unusual[0]: unusual[1]}]
    frame = pd.DataFrame({name: pd.Series([row[name] for row in rows], dtype=object) for name in VALUES})

    assert_same(outcome(lambda: ENCODE(rows)), outcome(lambda: to_arrays(FEATURES, frame)))


@fuzzed(ROWS)
def test_a_row_is_encoded_as_the_frame_that_pandas_makes_of_it(row: dict[str, Any]) -> None:
    assert_same(ENCODE([row]), to_arrays(FEATURES, pd.DataFrame([row])))


def outcome(encode: Callable[[], Any]) -> Any:
    """The arrays, or the sentence of the error without who says it."""
    try:
        return encode()
    except TabvisionError as error:
        return str(error).removeprefix(f"{error.speaker}: ")


def assert_same(ours: Any, expected: Any) -> None:
    if isinstance(ours, str) or isinstance(expected, str):
        assert ours == expected
        return
    for one, other in zip(ours, expected, strict=True):
        assert one.dtype == other.dtype
        assert_array_equal(one, other)


def test_the_rows_of_a_frame_are_encoded_as_the_frame() -> None:
    assert_same(ENCODE(TRAINING.to_dict("records")), to_arrays(FEATURES, TRAINING))


def test_no_rows_give_arrays_without_rows() -> None:
    continuous, categorical = encode_rows(FEATURES, [])

    assert continuous.shape == (0, len(FEATURES.continuous))
    assert categorical.shape == (0, len(FEATURES.categorical))


def test_a_value_of_another_kind_is_refused_by_who_was_called() -> None:
    with pytest.raises(BadTypeError, match=r"^RowEncoder: column 'rooms' must hold numbers.* first 'many' \(row 0\)"):
        ENCODE([{**ROW, "rooms": "many"}])


def test_a_missing_key_is_named_with_a_close_one_even_where_other_rows_have_it() -> None:
    row = {("Size" if name == "size" else name): value for name, value in ROW.items()}

    for rows in ([row], [ROW, row]):
        with pytest.raises(
            MissingColumnsError, match=r"RowEncoder: the frame lacks 1 column: 'size' \(did you mean 'Size'\?\)"
        ):
            ENCODE(rows)


@pytest.mark.parametrize("rows", [ROW, [1], "row", [ROW, None]], ids=["one mapping", "numbers", "text", "None"])
def test_rows_must_be_mappings(rows: Any) -> None:
    with pytest.raises(BadTypeError, match=r"rows must be mappings from column to value, got .* Pass a list of dicts"):
        ENCODE(rows)


def test_a_category_without_any_training_value_takes_everything() -> None:
    frame = pd.DataFrame({"x": [None, None], "y": 1})
    features = fit_features(frame, infer_kinds(frame, target=["y"], categorical=["x"]))

    for value in ("a", 3, pd.Timestamp("2020"), None):
        assert_same(encode_rows(features, [{"x": value}]), to_arrays(features, pd.DataFrame({"x": [value]})))


def test_a_category_of_dates_matches_dates() -> None:
    frame = pd.DataFrame({"x": pd.to_datetime(["2020-01-01", "2020-01-02"]), "y": 1})
    features = fit_features(frame, infer_kinds(frame, target=["y"], categorical=["x"]))

    assert encode_rows(features, [{"x": datetime.datetime(2020, 1, 2)}])[1].tolist() == [[2]]


def test_a_usual_row_makes_no_frame_which_would_take_a_hundred_times_as_long(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[object] = []
    for kind in (pd.DataFrame, pd.Series):
        monkeypatch.setattr(kind, "__init__", lambda self, *_, **__: made.append(self))

    ENCODE([{**ROW, "sold": "2020-05-05 10:00"}])

    assert not made


def test_features_of_one_kind_only_are_encoded() -> None:
    only = Features(dates=(), continuous=(), categorical=FEATURES.categorical[:1], left_out=())

    continuous, categorical = encode_rows(only, [{"rooms": 2}])

    assert (continuous.shape, categorical.tolist()) == ((1, 0), [[2]])


# Text as it stands in files, of every format that a schema knows
FORMATS: dict[str, Callable[[float, datetime.date], str]] = {
    "lenient": lambda number, _: f"{number:.2f}",
    "1,234": lambda number, _: f"{1_000 + number:,.1f}",
    "1.234,5": lambda number, _: f"{1_000 + number:,.1f}".translate(str.maketrans(",.", ".,")),
    "$": lambda number, _: f"-${number:,.2f}",
    "€": lambda number, _: f"{number:,.2f} €",
    "%": lambda number, _: f"{number}%",
    "€,": lambda number, _: f"{number:,.2f} €".translate(str.maketrans(",.", ".,")),
    "h:m:s": lambda number, _: f"{int(number // 60)}:{int(number % 60):02}:{number % 1 * 60:04.1f}",
    "iso": lambda _, date: date.isoformat(),
    "d/m/Y": lambda _, date: f"{date:%d.%m.%Y}",
    "m/d/Y": lambda _, date: f"{date:%m/%d/%Y} 1:30 PM",
    "Y/m/d": lambda _, date: f"{date:%Y/%m/%d}",
    "d/m/y": lambda _, date: f"{date:%d-%m-%y}",
    "1.5 kg": lambda number, _: f"{number:,.1f} kg",
    "EUR 1,5": lambda number, _: f"EUR {number:.2f}".replace(".", ","),
    "Ymd": lambda _, date: f"{date:%Y%m%d}",
    "d month Y": lambda _, date: f"{date.day % 28 + 1} {('Jan', 'Sept', 'May')[date.day % 3]} {date.year}",
}
WRITTEN = pd.DataFrame(
    {
        form: [write(row * 12.25, datetime.date(1935, 1, 1) + datetime.timedelta(days=97 * row)) for row in range(300)]
        for form, write in FORMATS.items()
    }
).assign(job=["cook", "nurse", " "] * 100, pay=1)
WRITTEN.loc[7, ["lenient", "$", "%", "iso", "d/m/Y"]] = "  "
WRITTEN.loc[8, ["lenient", "$", "%"]] = "n.a."
OF_TEXT = fit_features(WRITTEN, infer_kinds(WRITTEN, target=["pay"]))
CELLS = st.sampled_from(
    ["", " ", "\u00a0", "n.a.", "7", "7.5", "-7", "007", "1e3", "$7", "$-7.5", "7 €", "7%", "1,234", "1,5", "1234"]
) | st.sampled_from(
    [
        "1.234,5",
        "12.3.04",
        "2024-02-29",
        "29.02.2023",
        "3/4/2024",
        "13/14/2024",
        "31/12/99",
        "3/4/2024 12:00 AM",
        "3 Jan 99",
        "2024-02",
        "2024-02-29 10:00:00+00",
        "1:00:00",
        "7,5 €",
        "7kg",
        "EUR 7",
        "20240229",
        "202413",
        "\u0661",
    ]
)
TEXT_ROWS = st.fixed_dictionaries({name: st.sampled_from(WRITTEN[name].tolist()) | CELLS | missing for name in WRITTEN})


def test_every_format_is_found_and_stands_in_the_schema() -> None:
    found = {it.name: it.text for it in OF_TEXT.continuous if it.part is None} | {
        it.name: it.format for it in OF_TEXT.dates
    }

    assert found == {form: form for form in FORMATS}
    assert [it.vocabulary for it in OF_TEXT.categorical if it.name == "job"] == [("cook", "nurse")]


@fuzzed(TEXT_ROWS)
def test_a_row_of_text_is_encoded_or_refused_as_in_a_file(row: dict[str, Any]) -> None:
    frame = pd.DataFrame({name: pd.array([value], dtype="str") for name, value in row.items()})

    assert_same(outcome(lambda: encode_rows(OF_TEXT, [row])), outcome(lambda: to_arrays(OF_TEXT, frame)))


def test_a_file_is_encoded_as_its_rows() -> None:
    by_row = [encode_rows(OF_TEXT, [row]) for row in WRITTEN.to_dict("records")]

    continuous, categorical = to_arrays(OF_TEXT, WRITTEN)

    assert_array_equal(np.concatenate([row[0] for row in by_row]), continuous)
    assert_array_equal(np.concatenate([row[1] for row in by_row]), categorical)


def test_dates_that_are_whole_numbers_are_encoded_as_their_text() -> None:
    rows = [{**WRITTEN.iloc[3].to_dict(), "Ymd": day} for day in ("19351222", 19351222, 19351222.0, np.int32(19351222))]
    rows += [{**rows[0], "Ymd": None}, {**rows[0], "Ymd": float("nan")}]

    alone = [encode_rows(OF_TEXT, [row]) for row in rows]
    frames = [to_arrays(OF_TEXT, pd.DataFrame([row])) for row in rows]

    for first, last in ((0, 4), (4, 6)):
        for continuous, categorical in (*alone[first:last], *frames[first:last]):
            assert_array_equal(continuous, alone[first][0])
            assert_array_equal(categorical, alone[first][1])


@pytest.mark.parametrize(("unit", "ticks"), [("s", 1), ("ms", 1e3), ("us", 1e6), ("ns", 1e9)])
def test_unix_time_is_encoded_as_the_date_that_it_is(unit: str, ticks: float) -> None:
    times = pd.date_range("1999-12-31 23:59:59", periods=50, freq="7h13min")
    training = pd.DataFrame({"when": (times - pd.Timestamp(0)) // pd.Timedelta(1, unit), "pay": 1})
    features = fit_features(training, infer_kinds(training, target=["pay"], dates=["when"]))
    rows: list[dict[str, Any]] = [{"when": it} for it in (7 * ticks, np.float64(1e9 * ticks), int(2e9 * ticks), None)]
    texts = [{"when": f"{7 * ticks:.0f}"}, {"when": "2001-09-09 01:46:40"}, {"when": f"{2e9 * ticks}"}, {"when": " "}]

    assert features.dates[0].format == unit
    encoded = [encode_rows(features, [row]) for row in rows]
    for row, other, (continuous, categorical) in zip(rows, texts, encoded, strict=True):
        for source in (to_arrays(features, pd.DataFrame([row])), to_arrays(features, pd.DataFrame([other]))):
            assert_array_equal(source[0], continuous)
            assert_array_equal(source[1], categorical)
    assert len({continuous.tobytes() for continuous, _ in encoded}) == len(rows)
    with pytest.raises(BadTypeError, match=r"'when' must hold dates, got numbers such as"):
        encode_rows(features, [{"when": 1e307}])
    with pytest.raises(
        BadValueError, match=rf"'when' must hold Unix time in {unit}, got text that cannot be read as such: .* 'never'"
    ):
        encode_rows(features, [{"when": "never"}])


def test_rows_may_mix_numbers_with_text_where_text_is_read_as_numbers() -> None:
    row = WRITTEN.iloc[3].to_dict()

    mixed = encode_rows(
        OF_TEXT, [{**row, "$": 7.5}, {**row, "$": "$7.50"}, {**row, "$": "on request"}, {**row, "$": None}]
    )

    assert_array_equal(mixed[0][0], mixed[0][1])
    assert_array_equal(mixed[0][2], mixed[0][3])
