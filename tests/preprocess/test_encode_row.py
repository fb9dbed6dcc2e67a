"""Rows as mappings: the same as the same rows in a frame, and quick."""

from __future__ import annotations

import datetime
import decimal
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from tabvision.errors import BadTypeError, BadValueError, MissingColumnsError, TabvisionError
from tabvision.preprocess import Features, RowEncoder, encode_rows, fit_features, infer_kinds, to_arrays
from tests.made.tables import mixed_table

TRAINING = mixed_table().assign(code=["1", "2"] * 100, flag=pd.array([True, False, None, True] * 50, dtype="boolean"))
FEATURES = fit_features(TRAINING, infer_kinds(TRAINING, target=["pay"]))
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
    | times.map(lambda moment: moment.isoformat(timespec="minutes") + "+02:00")
    | times.map(lambda moment: pd.Timestamp(moment, tz="Asia/Tokyo"))
    | times.map(np.datetime64),
    "code": st.sampled_from(["1", "2", "3"]),
    "flag": st.booleans(),
}
ROWS = st.fixed_dictionaries({name: values | missing for name, values in VALUES.items()})


@settings(max_examples=300, deadline=None)
@given(ROWS)
def test_one_row_is_encoded_as_a_frame_of_it(row: dict[str, Any]) -> None:
    assert_same(ENCODE([row]), to_arrays(FEATURES, pd.DataFrame([row])))


@settings(max_examples=100, deadline=None)
@given(st.lists(ROWS, min_size=2, max_size=6))
def test_several_rows_are_encoded_or_refused_as_a_frame_of_them(rows: list[dict[str, Any]]) -> None:
    frame = pd.DataFrame({name: pd.Series([row[name] for row in rows], dtype=object) for name in VALUES})

    ours, expected = outcome(lambda: ENCODE(rows)), outcome(lambda: to_arrays(FEATURES, frame))

    if isinstance(expected, str):
        assert ours == expected
    else:
        assert_same(ours, expected)


def outcome(encode: Callable[[], Any]) -> Any:
    """The arrays, or the sentence of the error."""
    try:
        return encode()
    except TabvisionError as error:
        return str(error).removeprefix(f"{error.speaker}: ")


def assert_same(ours: tuple[Any, Any], expected: tuple[Any, Any]) -> None:
    for one, other in zip(ours, expected, strict=True):
        assert one.dtype == other.dtype
        assert_array_equal(one, other)


def test_the_rows_of_a_frame_are_encoded_as_the_frame() -> None:
    assert_same(ENCODE(TRAINING.to_dict("records")), to_arrays(FEATURES, TRAINING))


def test_no_rows_give_arrays_without_rows() -> None:
    continuous, categorical = encode_rows(FEATURES, [])

    assert continuous.shape == (0, len(FEATURES.continuous))
    assert categorical.shape == (0, len(FEATURES.categorical))


def test_integers_beyond_every_float_are_refused_as_infinite() -> None:
    with pytest.raises(
        BadValueError, match=r"RowEncoder: column 'size' must hold finite numbers, got 1 value, first inf"
    ):
        ENCODE([{**ROW, "size": 10**400}])


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"color": 3}, BadTypeError, "'color' must hold text, as in the training rows, got numbers such as 3"),
        ({"rooms": "many"}, BadTypeError, r"'rooms' must hold numbers.* first 'many' \(row 0\)"),
        ({"size": "wide"}, BadValueError, "'size' must hold numbers"),
        ({"size": -np.inf}, BadValueError, "'size' must hold finite numbers"),
        ({"size": 1e300}, BadValueError, r"'size' holds 1e\+300, too far from the training rows"),
        ({"size": [1]}, BadTypeError, r"'size' must hold numbers, text, truth values or dates, got list such as \[1\]"),
        ({"size": 1 + 2j}, BadTypeError, "got complex"),
        ({"sold": 5}, BadTypeError, "'sold' must hold dates, got numbers such as 5"),
        ({"sold": "1.2.2020"}, BadValueError, "'sold' must hold ISO dates"),
        ({"sold": "2020-02-30"}, BadValueError, "'sold' must hold ISO dates"),
    ],
)
def test_values_of_another_kind_are_refused(change: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=rf"^RowEncoder: column .*{message}"):
        ENCODE([{**ROW, **change}])


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
