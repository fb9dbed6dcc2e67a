"""Each step against pandas, scikit-learn, fastai's recorded values or a formula."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.preprocessing import StandardScaler

from tabvision.errors import BadTypeError, BadValueError
from tabvision.preprocess.datetimes import PARTS, parts_of_timestamp
from tabvision.preprocess.parse import microseconds
from tests.made.reference_steps import Categorify, Dates, FillMissing, Standardize
from tests.made.tables import DATES, mixed_table

# fastai 2.8 `add_datepart` of these moments (shared/parity/fastai.json, "add_datepart(ns input)")
SALES = pd.to_datetime(
    ["2019-12-04 13:05:09", "2019-12-31", "2020-01-01", "2020-02-29", "2021-01-03"], format="ISO8601"
)
FASTAI = {
    "year": [2019, 2019, 2020, 2020, 2021],
    "month": [12, 12, 1, 2, 1],
    "week": [49, 1, 1, 9, 53],
    "day": [4, 31, 1, 29, 3],
    "weekday": [2, 1, 2, 5, 6],
    "day_of_year": [338, 365, 1, 60, 3],
    "is_month_end": [0, 1, 0, 1, 0],
    "is_month_start": [0, 0, 1, 0, 0],
    "is_quarter_end": [0, 1, 0, 0, 0],
    "is_quarter_start": [0, 0, 1, 0, 0],
    "is_year_end": [0, 1, 0, 0, 0],
    "is_year_start": [0, 0, 1, 0, 0],
    "hour": [13, 0, 0, 0, 0],
    "minute": [5, 0, 0, 0, 0],
    "elapsed": [1575464709, 1577750400, 1577836800, 1582934400, 1609632000],
}


def test_standardize_is_scikit_learns_scaler() -> None:
    frame = mixed_table()[["visits", "pay"]]

    ours = Standardize(["visits", "pay"]).fit(frame).transform(frame).to_numpy()

    assert_allclose(ours, StandardScaler().fit_transform(frame), rtol=1e-5, atol=1e-6)
    assert ours.dtype == np.float32


@pytest.mark.parametrize("value", [0.1, 1e12 + 0.1, 7])
def test_a_constant_column_becomes_zeros(value: float) -> None:
    frame = pd.DataFrame({"x": [value] * 1_000})

    assert (Standardize(["x"]).fit(frame).transform(frame)["x"] == 0).all()


def test_a_gap_that_nobody_filled_stays_a_gap() -> None:
    frame = pd.DataFrame({"x": [1.0, np.nan, 3.0]})

    assert_array_equal(Standardize(["x"]).fit(frame).transform(frame)["x"], [-1, np.nan, 1])


def test_fill_missing_is_the_pandas_median() -> None:
    frame = mixed_table()

    filled = FillMissing(["size", "visits"]).fit(frame).transform(frame)

    assert_array_equal(filled["size"], frame["size"].fillna(frame["size"].median()))
    assert_array_equal(filled["size_missing"], frame["size"].isna())
    assert "visits_missing" not in filled


def test_a_gap_that_comes_at_prediction_only_is_filled_and_not_marked() -> None:
    step = FillMissing(["x"]).fit(pd.DataFrame({"x": [1, 2, 9]}))

    assert step.transform(pd.DataFrame({"x": [None, 4]})).to_dict("list") == {"x": [2.0, 4.0]}


def test_indicators_can_be_limited_and_never_cover_a_column() -> None:
    frame = pd.DataFrame({"a": [1.0, None], "b": [1.0, None], "a_missing": ["kept", "too"]})

    filled = FillMissing(["a", "b"], indicators=["a"]).fit(frame).transform(frame)

    assert list(filled) == ["a", "b", "a_missing", "a_missing_2"]
    assert filled["a_missing"].tolist() == ["kept", "too"]


def test_infinities_are_refused_and_shown() -> None:
    frame = pd.DataFrame({"x": [1.0, np.inf, np.nan, -np.inf]})

    with pytest.raises(
        BadValueError, match=r"finite numbers, got 2 values, first inf \(row 1\), -inf \(row 3\). Replace"
    ):
        FillMissing(["x"]).fit(frame)


def test_categorify_is_pandas_codes_of_sorted_values_plus_one() -> None:
    frame = mixed_table()

    codes = Categorify(["color", "rooms"]).fit(frame).transform(frame)

    assert_array_equal(codes["color"], pd.Categorical(frame["color"]).codes + 1)
    assert_array_equal(codes["rooms"], pd.Categorical(frame["rooms"]).codes + 1)
    assert codes["color"].dtype == np.int32


def test_an_ordered_category_keeps_its_order_and_an_unordered_one_is_sorted() -> None:
    grades = ["low", "mid", "high"]
    frame = pd.DataFrame({"a": pd.Categorical(grades, grades, ordered=True), "b": pd.Categorical(grades, grades)})

    step = Categorify(["a", "b"]).fit(frame)

    assert step.vocabularies_ == {"a": ("low", "mid", "high"), "b": ("high", "low", "mid")}
    assert step.ordered_ == {"a": True, "b": False}


def test_a_category_at_prediction_is_matched_by_value_and_not_by_its_own_codes() -> None:
    step = Categorify(["x"]).fit(pd.DataFrame({"x": ["a", "b", "c"]}))
    shuffled = pd.DataFrame({"x": pd.Categorical(["c", "a", None, "new"], ["new", "c", "a"])})

    assert step.transform(shuffled)["x"].tolist() == [3, 1, 0, 0]


def test_categories_never_seen_in_training_rows_have_no_code() -> None:
    step = Categorify(["x"]).fit(pd.DataFrame({"x": pd.Categorical(["a", "a"], ["a", "b"])}))

    assert step.vocabularies_ == {"x": ("a",)}


@pytest.mark.parametrize(
    "values",
    [
        np.array([3, 1, 2, 9]),
        np.array([3, 1, 2, 9], dtype=np.uint8),
        np.array([3, 1, 2, 9], dtype=np.uint64),
        np.array([3.0, 1.0, 2.0, np.nan]),
        np.array([3, 1, 2, 2.5], dtype=np.float32),
        pd.array([3, 1, 2, None], dtype="Int64"),
        pd.array([3, 1, 2, None], dtype="float[pyarrow]"),
        np.array([3, 1, 2, None], dtype=object),
        pd.Categorical([3, 1, 2, None]),
        ["3", "1.0", " 2", None],
    ],
    ids=str,
)
@pytest.mark.parametrize(
    "training", [np.array([1, 2, 3]), np.array([1.0, 2.0, 3.0]), pd.Categorical([1, 2, 3])], ids=str
)
def test_numbers_match_by_value_whatever_their_dtype(training: object, values: object) -> None:
    step = Categorify(["x"]).fit(pd.DataFrame({"x": training}))

    assert step.transform(pd.DataFrame({"x": values}))["x"].tolist() == [3, 1, 2, 0]


@pytest.mark.parametrize(
    "values",
    [
        [True, False],
        [1, 0],
        [1.0, 0.0],
        pd.array([True, False], dtype="boolean"),
        pd.Categorical([True, False]),
        ["1", "0"],
    ],
    ids=str,
)
def test_truth_values_match_by_value_whatever_their_dtype(values: object) -> None:
    step = Categorify(["x"]).fit(pd.DataFrame({"x": [False, True]}))

    assert step.vocabularies_ == {"x": (False, True)}
    assert step.transform(pd.DataFrame({"x": values}))["x"].tolist() == [2, 1]


def test_integers_far_apart_or_with_an_own_order_have_codes_too() -> None:
    far = [-(2**62), 5, 2**62]
    frame = pd.DataFrame({"far": far, "own": pd.Categorical([1, 2, 3], [3, 1, 2], ordered=True)})

    codes = Categorify(["far", "own"]).fit(frame).transform(pd.DataFrame({"far": [*far, 6], "own": [1, 2, 3, 4]}))

    assert codes["far"].tolist() == [1, 2, 3, 0]
    assert codes["own"].tolist() == [2, 3, 1, 0]


def test_a_large_vocabulary_is_looked_up_as_a_small_one() -> None:
    names = [f"n{number:05}" for number in range(9_000)]
    step = Categorify(["x"]).fit(pd.DataFrame({"x": names}))

    assert step.transform(pd.DataFrame({"x": [*names[::-1], "new", None]}))["x"].tolist() == [
        *range(9_000, 0, -1),
        0,
        0,
    ]


def test_numbers_against_a_text_vocabulary_are_refused_and_never_unseen() -> None:
    step = Categorify(["x"]).fit(pd.DataFrame({"x": ["1", "2"]}))

    with pytest.raises(
        BadTypeError, match=r"must hold text, as in the training rows, got numbers such as 1.*astype\(str\)"
    ):
        step.transform(pd.DataFrame({"x": [1, 2]}))


def test_text_and_dates_against_a_vocabulary_of_numbers_are_refused() -> None:
    step = Categorify(["x"]).fit(pd.DataFrame({"x": [1, 2]}))
    with pytest.raises(
        BadTypeError, match=r"must hold numbers, got text that cannot be read as such: 1 value, first 'b'"
    ):
        step.transform(pd.DataFrame({"x": ["1", "b"]}))

    with pytest.raises(BadTypeError, match="'x' must hold numbers, got dates"):
        step.transform(pd.DataFrame({"x": pd.to_datetime(DATES)}))


def test_dates_and_intervals_are_categories_by_their_text() -> None:
    frame = pd.DataFrame({"when": pd.to_datetime(["2020-01-02", "2020-01-01"]), "bin": pd.cut([5, 1], [0, 3, 6])})
    frame["kept"] = pd.Categorical(frame["when"])

    step = Categorify(["when", "bin", "kept"]).fit(frame)

    assert step.vocabularies_["when"] == step.vocabularies_["kept"] == ("2020-01-01 00:00:00", "2020-01-02 00:00:00")
    assert step.vocabularies_["bin"] == ("(0, 3]", "(3, 6]")
    assert step.transform(frame).to_numpy().tolist() == [[2, 2, 2], [1, 1, 1]]


def test_date_parts_are_fastais() -> None:
    frame = pd.DataFrame({"sale": SALES})

    parts = Dates(["sale"]).fit(frame).transform(frame)

    assert {name: parts[f"sale_{name}"].tolist() for name in FASTAI} == FASTAI


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_date_parts_are_the_pandas_accessors(unit: str) -> None:
    when = pd.Series(pd.date_range("1899-12-01 05:07", "2101-03-01", periods=5_000).as_unit(unit))
    names = {"weekday": "day_of_week"}

    parts = Dates(["when"]).fit(pd.DataFrame({"when": when})).transform(pd.DataFrame({"when": when}))

    for part in set(PARTS) - {"week", "elapsed"}:
        assert_array_equal(parts[f"when_{part}"], getattr(when.dt, names.get(part, part)), err_msg=part)
    assert_array_equal(parts["when_week"], when.dt.isocalendar().week)
    assert_allclose(parts["when_elapsed"], (when - pd.Timestamp(0)).dt.total_seconds(), rtol=0, atol=1e-6)


def test_parts_of_one_moment_in_plain_python_are_those_of_a_column() -> None:
    when = pd.DataFrame({"when": pd.date_range("1896-01-01 03:04", "2104-12-31", freq="13h7min")})
    parts = Dates(["when"]).fit(when).transform(when)

    for row in range(0, len(when), 97):
        one = parts_of_timestamp(microseconds(when["when"][row]))
        assert {part: parts[f"when_{part}"][row].item() for part in PARTS} == one


def test_the_first_and_the_last_day_of_the_calendar_have_parts() -> None:
    when = pd.DataFrame({"when": ["0001-01-01", "9999-12-31"]})

    parts = Dates(["when"]).fit(when).transform(when)

    for row in range(2):
        one = parts_of_timestamp(microseconds(pd.Timestamp(when["when"][row])))
        assert all(parts[name][row].item() == one[name.removeprefix("when_")] for name in parts)


def test_parts_that_do_not_vary_in_training_are_dropped_but_for_the_elapsed_seconds() -> None:
    step = Dates(["sold"]).fit(pd.DataFrame({"sold": ["2020-03-03", "2020-03-04"]}))
    assert tuple(step.names_["sold"]) == ("day", "weekday", "day_of_year", "elapsed")

    step = Dates(["sold"]).fit(pd.DataFrame({"sold": ["2020-03-03"] * 3}))
    assert tuple(step.names_["sold"]) == ("elapsed",)


def test_gaps_in_dates_are_marked_and_stay_gaps() -> None:
    frame = pd.DataFrame({"sold": pd.to_datetime(["2020-03-03 10:00", None, "2020-04-04 00:00"])})

    parts = Dates(["sold"]).fit(frame).transform(frame)

    assert parts["sold_missing"].tolist() == [False, True, False]
    assert parts.drop(columns="sold_missing").iloc[1].isna().all()


def test_a_part_never_covers_a_column() -> None:
    frame = pd.DataFrame({"sold": DATES, "sold_year": "mine", "sold_missing": "mine"})

    parts = Dates(["sold"]).fit(frame).transform(frame)

    assert parts["sold_year"].eq("mine").all()
    assert parts["sold_year_2"].tolist() == [2019, 2019, 2020, 2020, 2021]


@pytest.mark.parametrize(
    "values",
    [
        ["2020-01-01T05:30:00+05:30", "2020-06-01T00:00:00Z"],
        pd.to_datetime(["2020-01-01 00:00", "2020-06-01 00:00"]).tz_localize("UTC").tz_convert("Asia/Tokyo"),
        [pd.Timestamp("2020-01-01T01:00:00+01:00"), pd.Timestamp("2020-06-01")],
        pd.Series(pd.to_datetime(["2020-01-01", "2020-06-01"])).astype("timestamp[ns, Asia/Tokyo][pyarrow]"),
    ],
    ids=["text", "datetimes", "objects", "arrow"],
)
def test_zones_are_read_in_utc(values: object) -> None:
    frame = pd.DataFrame({"when": values})
    if "arrow" in str(frame["when"].dtype):
        frame["when"] = frame["when"].array.__arrow_array__().to_pandas()

    parts = Dates(["when"]).fit(frame).transform(frame)

    assert parts["when_elapsed"].tolist() == [1577836800.0, 1590969600.0]
    assert parts["when_month"].tolist() == [1, 6]


@pytest.mark.parametrize(
    "text",
    ["1969-12-31 23:59:59.999999999", "2020-01-01T10:11:12.123456789", "2020-01-01 10:11", "2020-02-29", "1600-01-01"],
)
def test_digits_below_a_microsecond_are_dropped_alike_for_text_and_timestamps(text: str) -> None:
    as_text, as_time = pd.DataFrame({"x": [text]}), pd.DataFrame({"x": [pd.Timestamp(text)]})
    step = Dates(["x"]).fit(as_text)

    assert step.transform(as_text)["x_elapsed"].item() == step.transform(as_time)["x_elapsed"].item()
    assert (
        parts_of_timestamp(microseconds(pd.Timestamp(text)))["elapsed"] == step.transform(as_text)["x_elapsed"].item()
    )
