"""What each column is taken for, and the sentences where that cannot be told."""

import datetime
import decimal
import logging
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from tabvision.errors import BadTypeError, BadValueError, MissingColumnsError
from tabvision.preprocess import Columns, Kinds, infer_kinds

N = 60
NUMBERS = np.arange(N) % 30
FEW = np.arange(N) % 7
ROADS = [f"{n} Hill Road" for n in range(100)]


def objects(*values: Any) -> Any:
    """Sixty rows that repeat the values, kept as Python objects."""
    return pd.Series([values[row % len(values)] for row in range(N)], dtype=object)


def kind_of(values: Any, **choices: Any) -> str:
    """The kind given to one column beside a plain number; of one left out, the reason."""
    kinds = infer(values, **choices)
    for kind in ("continuous", "categorical", "dates"):
        if "x" in getattr(kinds, kind):
            return kind
    return kinds.left_out[0].reason


def infer(values: Any, **choices: Any) -> Kinds:
    frame = pd.DataFrame({"x": values, "other": np.arange(len(values)) / 7 + 0.5, "y": 1})
    return infer_kinds(frame, target=["y"], **choices)


def test_a_column_is_told_by_its_dtype_and_values(subtests: pytest.Subtests) -> None:
    cases: list[tuple[str, Any, str]] = [
        ("floats of few values", FEW / 2, "continuous"),
        ("half floats", (FEW / 2).astype(np.float16), "continuous"),
        ("nullable floats", pd.array([0.5, None] * 30, dtype="Float64"), "continuous"),
        ("arrow floats", pd.Series([0.5, None] * 30, dtype=pd.ArrowDtype(pa.float32())), "continuous"),
        ("decimals", objects(decimal.Decimal("1.50"), decimal.Decimal(2)), "continuous"),
        (
            "arrow decimals",
            pd.Series([decimal.Decimal(1), None] * 30, dtype=pd.ArrowDtype(pa.decimal128(9, 2))),
            "continuous",
        ),
        ("objects that mix int and float", objects(1, 2.5, None), "continuous"),
        ("durations", pd.to_timedelta(NUMBERS, unit="h"), "continuous"),
        ("durations as objects", objects(datetime.timedelta(hours=1), None), "continuous"),
        ("arrow durations", pd.Series(pd.to_timedelta(FEW, unit="s")).astype("duration[ns][pyarrow]"), "continuous"),
        ("sparse floats", pd.arrays.SparseArray(FEW / 2), "continuous"),
        ("integers of many values", NUMBERS, "continuous"),
        ("small integers of many values", NUMBERS.astype(np.uint8), "continuous"),
        ("integers of few values", FEW, "categorical"),
        ("nullable integers of few values", pd.array([1, 2, None] * 20, dtype="Int64"), "categorical"),
        ("arrow integers", pd.Series([1, 2, None] * 20, dtype="int64[pyarrow]"), "categorical"),
        ("integers as objects", objects(1, 2), "categorical"),
        ("few integers far apart", FEW * 2**61 - 2**62, "categorical"),
        ("truth values", FEW > 3, "categorical"),
        ("truth values with gaps", objects(True, False, None), "categorical"),
        ("nullable truth values", pd.array([True, False, None] * 20, dtype="boolean"), "categorical"),
        ("text", ["a", "b", None] * 20, "categorical"),
        ("text as objects", objects("a", np.str_("b"), None), "categorical"),
        ("text kept by Python", pd.Series(["a", None] * 30, dtype="string[python]"), "categorical"),
        ("arrow views of text", pd.Series(["a", "b"] * 30, dtype=pd.ArrowDtype(pa.string_view())), "categorical"),
        (
            "arrow dictionary of text",
            pd.Series(["a", "b"] * 30, dtype=pd.ArrowDtype(pa.dictionary(pa.int8(), pa.string()))),
            "categorical",
        ),
        ("category", pd.Categorical(["a", "b"] * 30), "categorical"),
        ("category of many floats", pd.Categorical(NUMBERS / 2), "categorical"),
        ("category of intervals", pd.cut(FEW, 3), "categorical"),
        ("intervals", pd.arrays.IntervalArray(pd.cut(FEW, 3)), "categorical"),
        ("intervals as objects", objects(*pd.cut(FEW, 3)[:60]), "categorical"),
        ("datetimes", pd.date_range("2020", periods=N, freq="h"), "dates"),
        ("datetimes in seconds", pd.date_range("2020", periods=N, unit="s"), "dates"),
        ("datetimes with a zone", pd.date_range("2020", periods=N, tz="Europe/Berlin"), "dates"),
        ("periods", pd.period_range("2020-01", periods=N, freq="M"), "dates"),
        ("dates as objects", objects(datetime.date(2020, 1, 1), datetime.datetime(2020, 1, 2), None), "dates"),
        ("arrow dates", pd.Series([datetime.date(2020, 1, 1), None] * 30, dtype="date32[pyarrow]"), "dates"),
        ("arrow dates, ms", pd.Series(pd.date_range("2020", periods=N)).astype("date64[pyarrow]"), "dates"),
        ("ISO text", ["2020-01-01", "2020-01-02 10:30", None] * 20, "dates"),
        ("text of which one is no date", ["2020-01-01", "2020-02-30"] * 30, "categorical"),
        ("dates not in ISO form stay text", ["01/02/2020", "02/02/2020"] * 30, "categorical"),
        ("text identifier", [f"{n:05}" for n in range(N)], "identifier: a different text in every row"),
        ("large identifier", objects(*(2**70 + n for n in range(N))), "identifier: a different text in every row"),
        ("integers that are one number as floats", objects(2**70, 2**70 + 1, None), "categorical"),
        ("integer identifier", np.arange(N)[::-1], "identifier: a different whole number in every row"),
        ("constant integer", [3] * N, "constant"),
        ("constant float", [0.1] * N, "constant"),
        ("constant text", ["a"] * N, "constant"),
        ("constant category", pd.Categorical(["a"] * N, ["a", "b"]), "constant"),
        ("constant date", [pd.Timestamp("2020-01-01")] * N, "constant"),
        ("nothing but None", objects(None), "no value in any row"),
        ("nothing but NaN", [np.nan] * N, "no value in any row"),
        ("nothing but NaT", [pd.NaT] * N, "no value in any row"),
        ("empty category", pd.Categorical([None] * N), "no value in any row"),
        ("text without any", pd.Series([None] * N, dtype="str"), "no value in any row"),
        ("arrow null", pd.Series([None] * N, dtype=pd.ArrowDtype(pa.null())), "no value in any row"),
        ("one value with gaps still tells something", [1.0, *[None] * (N - 1)], "continuous"),
    ]
    for label, values, kind in cases:
        with subtests.test(label):
            assert kind_of(values) == kind


def test_integers_turn_continuous_above_ten_distinct_values() -> None:
    ten, eleven = np.arange(110) % 10, np.arange(110) % 11

    assert (kind_of(ten), kind_of(eleven)) == ("categorical", "continuous")


def test_a_repeat_that_the_sample_misses_still_clears_a_column_of_being_an_identifier() -> None:
    numbers = np.arange(50_000)
    numbers[12_345] = 12_344

    assert (kind_of(numbers), kind_of(numbers.astype(str))) == (
        "continuous",
        "identifier: 49,999 of 50,000 texts differ",
    )


def test_a_value_that_the_sample_misses_still_counts_as_a_second_one() -> None:
    text = np.array(["a"] * 50_000, dtype=object)
    text[12_345] = "b"

    assert kind_of(text) == "categorical"


@pytest.mark.parametrize(
    ("choice", "values"),
    [
        ("categorical", FEW / 2),
        ("categorical", np.arange(N)),
        ("categorical", [1] * N),
        ("categorical", pd.date_range("2020", periods=N)),
        ("continuous", FEW),
        ("continuous", ["1", "2.5", None] * 20),
        ("continuous", FEW > 2),
        ("continuous", pd.Categorical(FEW)),
        ("continuous", [None] * N),
        ("dates", ["2020-01-01"] * N),
        ("dates", pd.Categorical(["2020-01-01", "2020-01-02"] * 30)),
        ("dates", [None] * N),
    ],
)
def test_a_named_column_is_what_the_user_says_and_the_others_are_still_told(choice: str, values: Any) -> None:
    kinds = infer(values, **{choice: ["x"]})

    assert "x" in getattr(kinds, choice)
    assert "other" in kinds.continuous


def test_an_ignored_column_is_not_even_read() -> None:
    kinds = infer([[1], [2]] * 30, ignore=["x"])

    assert kinds.left_out[0].reason == "ignored on request"


def test_text_that_reads_as_numbers_or_dates_and_zones_get_a_note(caplog: pytest.LogCaptureFixture) -> None:
    frame = pd.DataFrame({"zip": ["01", "2.5"] * 5, "day": ["2020-01-01", "2020-01-02"] * 5, "y": 1})
    frame["when"] = pd.date_range("2020", periods=10, tz="Europe/Berlin")

    caplog.set_level(logging.INFO, "tabvision")

    infer_kinds(frame, target=["y"])

    notes = caplog.messages
    assert [note.split(":")[0] for note in notes] == ["'zip'", "'day'", "'when'"]
    assert "text that reads as numbers, kept as categories. To use the numbers, name it in continuous=" in notes[0]
    assert "Europe/Berlin" in notes[2]


@pytest.mark.parametrize(
    ("values", "note"),
    [
        (["1,5", "20,25"], "looks like numbers, but not like 1234.5"),
        (["€1.234", "€20.000"], "looks like numbers"),
        (["1,234", "1234"], "looks like numbers"),
        (["1.2.3", "1.2.4"], ""),
        (["01.12.2024", "1.1.2025"], "reads as dates in the order d/m/Y or m/d/Y, so not used as dates"),
        (["12/31/2024 10:00", "1/1/25"], "looks like dates"),
        (["31 Dec 2024", "01 Jän 2025"], ""),
        (["105 kg", "7.5 lb"], "looks like numbers"),
        (
            ["36 months", "60 months"],
            "text that reads as numbers, kept as categories. To use the numbers, name it in continuous=",
        ),
        (["1", "2", "3.5", "unknown"], "mostly numbers, but not 'unknown', kept as categories"),
        (["1", "unknown", "never"], ""),
        (["cook", "nurse"], ""),
    ],
)
def test_text_that_is_nearly_numbers_or_dates_is_categorical_and_gets_a_note(
    values: list[str], note: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "tabvision")

    kinds = infer(values * 10)

    assert kinds.categorical == ("x",)
    assert len(caplog.messages) == bool(note)
    assert note in caplog.text


def test_columns_of_which_the_same_is_true_share_a_sentence(caplog: pytest.LogCaptureFixture) -> None:
    frame = pd.DataFrame({"id": range(9), "key": [f"k{n}" for n in range(9)], "x": np.arange(9) / 7, "y": 1})

    caplog.set_level(logging.INFO, "tabvision")

    infer_kinds(frame, target=["y"])

    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith("'id', 'key': left out as an identifier")


def test_no_feature_left_is_refused_with_every_reason() -> None:
    frame = pd.DataFrame({"id": ["a", "b"], "one": 1, "y": 1})

    with pytest.raises(
        BadValueError, match=r"infer_kinds: at least one feature.*'id' \(identifier.*'one' \(constant\).*Name col"
    ):
        infer_kinds(frame, target=["y"])


@pytest.mark.parametrize(
    ("choices", "error", "message"),
    [
        (
            {"continuous": ["X"]},
            MissingColumnsError,
            r"lacks 1 column: 'X' \(did you mean 'x'\?\). Name columns of the fr",
        ),
        ({"ignore": ["gone"]}, MissingColumnsError, "lacks 1 column: 'gone'"),
        (
            {"continuous": ["x"], "dates": ["x"]},
            BadValueError,
            "'x' is named in both continuous and dates. Name it in one",
        ),
        ({"categorical": ["x"], "ignore": ["x"]}, BadValueError, "'x' is named in both categorical and ignore"),
        (
            {"categorical": ["y"]},
            BadValueError,
            "'y' is the target, and cannot be a feature as well. Take it out of categor",
        ),
        ({"categorical": "x"}, BadTypeError, "categorical must be a list of column names, got 'x'. Pass a list"),
        ({"dates": [0]}, BadTypeError, r"dates must be a list of column names, got \[0\]"),
        (
            {"dates": ["x"]},
            BadTypeError,
            r"'x' must hold dates, got numbers such as 0. For Unix time, state the unit when fitting",
        ),
    ],
)
def test_a_choice_that_cannot_be_followed_is_refused(choices: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=rf"^infer_kinds: .*{message}"):
        infer(FEW, **choices)


def test_columns_that_are_not_there_or_not_as_told_are_refused() -> None:
    with pytest.raises(MissingColumnsError, match=r"lacks 1 column: 'pay' \(did you mean 'Pay'\?\)"):
        infer_kinds(pd.DataFrame({"Pay": [1]}), target=["pay"])

    with pytest.raises(
        BadTypeError, match=r"'x' must hold numbers, got dates. Pass dates=\['x'\] \(--dates x\) when fitting"
    ):
        infer(pd.date_range("2020", periods=N), continuous=["x"])

    values = np.array(["20000-01-01"] * N, dtype="datetime64[s]")
    with pytest.raises(BadValueError, match=r"'x' holds dates outside the years 1 to 9999. Correct them"):
        infer(values)

    with pytest.raises(BadValueError, match="'x' holds text that is not valid Unicode"):
        infer(objects("a", "\ud800"))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            objects(1, "a", 2.5),
            r"'x' must hold one kind of value, got int \(1\) and str \('a'\) and float \(2.5\).*astype\(str\)",
        ),
        (objects(True, "a"), r"got bool \(True\) and str \('a'\)"),
        (pd.Categorical([1, "a"] * 30), "must hold one kind of value"),
        (
            [[1], [2]] * 30,
            r"'x' must hold numbers, text, truth values or dates, got list such as \[1\].*ignore=\['x'\] \(--ignore x\)",
        ),
        ([{"a": 1}] * N, "got dict such as"),
        ([b"a", b"b"] * 30, "got bytes such as"),
        ([1j, 2j] * 30, "got complex128 numbers"),
        (objects(1j, None), "got complex such as"),
        (pd.Series([[1]] * N, dtype=pd.ArrowDtype(pa.list_(pa.int64()))), "got pyarrow list"),
    ],
)
def test_values_that_no_network_reads_are_refused(values: Any, message: str) -> None:
    with pytest.raises(BadTypeError, match=rf"^infer_kinds: column {message}|^infer_kinds: column 'x' .*{message}"):
        infer(values)


def test_all_columns_that_no_network_reads_are_named_at_once() -> None:
    frame = pd.DataFrame({"tags": [["a"]] * 3, "x": [1.5, 2.5, 3.5], "at": [{"a": 1}] * 3, "y": [1, 2, 3]})
    with pytest.raises(BadTypeError, match=r"2 columns .*'tags', 'at': column 'tags' .*\(--ignore tags,at\)"):
        infer_kinds(frame, target=["y"])
    assert infer_kinds(frame, target=["y"], ignore=["tags", "at"]).continuous == ("x",)


def test_dates_that_are_left_out_are_said_in_any_form(caplog: pytest.LogCaptureFixture) -> None:
    days = pd.date_range("2024-01-01", periods=60)
    texts = [day.strftime(["%d/%m/%Y", "%Y-%m-%d", "%b %d, %Y"][number % 3]) for number, day in enumerate(days)]
    with caplog.at_level("INFO", "tabvision"):
        infer_kinds(pd.DataFrame({"when": texts, "x": range(60), "y": range(60)}), target=["y"], continuous=["x"])
    assert "'when': text that looks like dates, but not like 2024-12-31, left out" in caplog.text


@pytest.mark.parametrize(
    ("values", "choice", "message"),
    [
        (
            ["1", "n/a", "-", "n/a", "2", "?"] * 10,
            "continuous",
            r"be read as such: 40 values, first 'n/a' \(row 1\), '-' \(row 2\), 'n/a' \(row 3\). Correct",
        ),
        (["inf", "1"] * 30, "continuous", r"30 values, first 'inf' \(row 0\)"),
        (
            ["20200101", "2020-13", "2020-01-01 "] * 20,
            "dates",
            r"60 values, first '20200101' \(row 0\), '2020-13' \(row 1\)",
        ),
        (["31/13/2020"] * N, "dates", r"must hold ISO dates .* 60 values, first '31/13/2020' \(row 0\).*dayfirst"),
    ],
)
def test_text_that_does_not_parse_is_counted_and_shown(values: Any, choice: str, message: str) -> None:
    with pytest.raises(BadValueError, match=message):
        infer(values, **{choice: ["x"]})


@pytest.mark.parametrize(
    ("frame", "error", "message"),
    [
        ({"x": [1]}, BadTypeError, "must be a pandas DataFrame, got dict. Convert it first"),
        (
            pd.DataFrame([[1, 2, 3]], columns=["x", "x", "y"]),
            BadValueError,
            r"unique, got 'x' \(2 times\).*duplicated\(\)",
        ),
        (
            pd.DataFrame([[1, 2]], columns=["y", 7]),
            BadTypeError,
            r"column names must be text, got 7 \(int\).*columns=str",
        ),
        (pd.DataFrame({"x": [], "y": []}), BadValueError, "fitting needs at least one row, got 0 rows of 2 columns"),
    ],
)
def test_a_frame_that_cannot_be_worked_with_is_refused(frame: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=rf"^infer_kinds: .*{message}"):
        infer_kinds(frame, target=["y"])


def made_prices(**others: str) -> list[str]:
    """A hundred prices as text, some replaced."""
    prices = [f"{n * 1.25 + 3:.2f}" for n in range(100)]
    return [others.get(f"row{row}", price) for row, price in enumerate(prices)]


@pytest.mark.parametrize(
    ("values", "kind", "form", "note"),
    [
        (
            made_prices(row7=" "),
            "continuous",
            "lenient",
            "reads as numbers; other text is missing: ' ' (1 row). To keep",
        ),
        (
            made_prices(row7="n.a."),
            "continuous",
            "lenient",
            "other text is missing: 'n.a.' (1 row). To keep it text, name",
        ),
        (["$1,234.50", "$7"] * 9, "continuous", "$", "text that reads as numbers with $. To keep it text"),
        (["5%", "7.5%"] * 9, "continuous", "%", "text that reads as numbers with %. To keep"),
        (
            ["1,234", "7"] * 9,
            "continuous",
            "1,234",
            "text that reads as numbers with separators of thousands. To keep",
        ),
        (["105 kg", "7.5 kg"] * 9, "continuous", "1.5 kg", "text that reads as numbers with kg. To keep"),
        (
            ["31/12/2024", "1/2/2024"] * 9,
            "dates",
            "d/m/Y",
            "text that reads as dates in the order d/m/Y. To keep it text",
        ),
        (["3", "4", " "] * 30, "categorical", None, "text that reads as numbers, kept as categories"),
        (["a", "b", " "] * 30, "categorical", None, "30 cells of white space are missing."),
        ([" ", "", None] * 30, "no value in any row", None, ""),
        (["a", "a", ""] * 30, "categorical", None, "30 cells of white space are missing."),
    ],
)
def test_text_is_what_it_writes_and_a_note_says_so(
    values: list[str], kind: str, form: str | None, note: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "tabvision")

    kinds = infer(values)

    assert kind_of(values) == kind
    assert kinds.formats.get("x") == form
    assert note in caplog.text


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([*ROADS[:98], "1 Hill Road", "2 Hill Road"], "identifier: 98 of 100 texts differ"),
        ([*ROADS[:97], *["1 Hill Road"] * 3], "categorical"),
        ([*ROADS[:48], ROADS[0], *[None] * 100], "categorical"),  # one repeat among so few tells nothing
        ([*ROADS[:20], None], "identifier: a different text in every row that has one"),
        ([*ROADS, *[None] * 100], "identifier: a different text in every row that has one"),
        ([*(str(n * 7) for n in range(99)), "none"], "identifier: a different whole number in every row"),
    ],
)
def test_text_of_which_nearly_all_differ_is_an_identifier(values: list[str | None], kind: str) -> None:
    assert kind_of(values) == kind


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (np.random.default_rng(0).permutation(1_000)[:60] * 100, "continuous"),  # incomes, areas, prices
        (np.random.default_rng(0).permutation(64)[:60], "identifier: a different whole number in every row"),
        (np.random.default_rng(0).permutation(67)[:60], "continuous"),
        (np.arange(N) ** 2, "identifier: a different whole number in every row"),  # rises with the rows
        (10**14 + np.arange(N)[::-1] * 10**12, "identifier: a different whole number in every row"),
        (10**13 + np.arange(N)[::-1] * 10**12, "continuous"),
        ([5, 90, 2], "continuous"),
    ],
)
def test_distinct_integers_are_numbers_unless_they_look_like_a_key(values: Any, kind: str) -> None:
    assert kind_of(values) == kind


def test_what_is_an_identifier_or_a_format_is_decided_by_all_rows_of_a_split() -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"id": np.arange(100), "cost": made_prices(row99="?"), "x": rng.normal(size=100), "y": 1})
    columns = Columns(frame).take(rng.permutation(99)[:50])

    kinds = infer_kinds(columns, target=["y"])

    assert kinds.left_out[0].name == "id"
    assert kinds.formats == {"cost": "lenient"}


def test_the_order_of_dates_is_said_after_the_name() -> None:
    days = ["01/02/2024", "03/04/2024"] * 30

    assert infer(days).categorical == ("x",)
    assert infer(days, dates=["x=m/d/Y"]).formats == {"x": "m/d/Y"}
    with pytest.raises(
        BadValueError, match=r"dates of 'x' can be read in the order d/m/Y or m/d/Y. Say which: dates=\['x=d/m/Y'\]"
    ):
        infer(days, dates=["x"])
    with pytest.raises(MissingColumnsError, match="'x=d/m'"):
        infer(days, dates=["x=d/m"])


def test_a_named_number_may_have_a_sign_and_its_text_is_otherwise_strict() -> None:
    assert infer(["$5", "$7"] * 30, continuous=["x"]).formats == {"x": "$"}
    assert infer(["5", "7"] * 30, continuous=["x"]).formats == {}
    with pytest.raises(
        BadValueError, match=r"must hold numbers, got text that cannot be read as such: 1 value, first '\?'"
    ):
        infer(made_prices(row7="?"), continuous=["x"])


def test_whole_numbers_that_all_are_dates_are_dates(caplog: pytest.LogCaptureFixture) -> None:
    days = [int(it) for it in pd.date_range("2023-12-01", periods=N).strftime("%Y%m%d")]
    months = [int(it) for it in pd.date_range("2020-01-01", periods=N, freq="MS").strftime("%Y%m")]
    caplog.set_level(logging.INFO, "tabvision")

    assert infer(days).formats == infer(months).formats == infer([*map(str, days)]).formats == {"x": "Ymd"}
    assert infer([None, *days]).formats == infer(days[:5] * 12, dates=["x"]).formats == {"x": "Ymd"}
    assert "numbers that read as dates, year first. To keep them numbers, name it in continuous=" in caplog.text
    assert kind_of(days[:20] * 3) == "continuous"  # with so few, it may be chance
    assert kind_of([str(it) for it in days[:20] * 3]) == "categorical"
    assert kind_of([20231301, *days]) == kind_of(days, continuous=["x"]) == "continuous"
    with pytest.raises(
        BadTypeError, match=r"'x' must hold dates, got numbers such as 7\. .*, or write dates as 20241231"
    ):
        infer([7, *days], dates=["x"])


def test_unix_time_in_a_column_with_the_name_of_a_time_is_dates(caplog: pytest.LogCaptureFixture) -> None:
    rising = 1_600_000_000 + 5_000 * np.arange(N)
    frame = pd.DataFrame({"timestamp": rising, "created_at": rising * 1_000, "Time": rising[::-1] + 0.5, "y": 1})
    frame["event_ts"], frame["createdAt"] = (rising * 1_000_000).astype("uint64"), rising
    frame["id"], frame["waiting_time"], frame["candidates"] = rising, rising - rising[0], rising * 5
    caplog.set_level(logging.INFO, "tabvision")

    kinds = infer_kinds(frame, target=["y"])

    assert kinds.formats == {"timestamp": "s", "created_at": "ms", "Time": "s", "event_ts": "us", "createdAt": "s"}
    assert [it.name for it in kinds.left_out] == ["id", "waiting_time", "candidates"]  # which rise with the rows
    assert "'timestamp', 'Time', 'createdAt': numbers that read as Unix time in s. To keep them" in caplog.text
    assert infer_kinds(frame, target=["y"], dates=["id"]).formats["id"] == "s"
    assert infer_kinds(frame, target=["y"], dates=["waiting_time=s"]).formats["waiting_time"] == "s"
    assert "timestamp" in infer_kinds(frame, target=["y"], continuous=["timestamp"]).continuous
    seconds = Columns(frame).timestamps("timestamp", "s").values
    assert seconds.tolist() == (rising * 1_000_000).tolist()
    assert Columns(frame).timestamps("created_at", "ms").values.tolist() == seconds.tolist()
    with pytest.raises(
        BadTypeError, match=r"got numbers such as 1e\+18\. For Unix time, state the unit when fitting, dates="
    ):
        Columns(pd.DataFrame({"when": [1e18]})).timestamps("when", "s")


def test_integers_that_floats_cannot_hold_are_categories() -> None:
    frame = pd.DataFrame({"small": [*range(39), 0, 1], "negative": [*range(-(2**63), 39 - 2**63), -(2**63), 0]})
    frame["large"] = [*range(2**53, 2**53 + 39), 2**53, 2**53]
    frame["missing"] = pd.array([*range(2**60, 2**60 + 39), 2**60, None], dtype="Int64")

    kinds = infer_kinds(frame, target=[])

    assert kinds.categorical == ("negative", "large", "missing")
    assert kinds.continuous == ("small",)


def test_dates_of_either_order_have_the_day_first_if_that_is_said(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "tabvision")
    frame = pd.DataFrame({"when": ["1/2/2024", "3/4/2024", "5/6/2023"] * 9, "pay": range(27)})

    assert infer_kinds(frame, target=["pay"]).categorical == ("when",)
    assert "day_first=True (--day-first)" in caplog.text
    kinds = infer_kinds(frame, target=["pay"], day_first=True)
    assert (kinds.dates, kinds.formats) == (("when",), {"when": "d/m/Y"})
    assert infer_kinds(frame, target=["pay"], dates=["when"], day_first=True).formats == {"when": "d/m/Y"}


def test_time_zones_of_dates_in_text_are_said(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "tabvision")
    frame = pd.DataFrame({"when": ["2024-01-02T10:00+02:00", "2024-01-03T10:00+01:00"] * 9, "pay": range(18)})

    assert infer_kinds(frame, target=["pay"]).dates == ("when",)
    assert "text that reads as dates with time zones; the parts are read in UTC" in caplog.text
