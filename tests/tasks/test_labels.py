"""Single target columns: classes, codes, flags, numbers, labels parted by a separator."""

from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from tabvision.errors import BadTypeError, BadValueError
from tabvision.tasks import labels


@pytest.mark.parametrize(
    ("values", "classes"),
    [
        (["b", "a", "b"], ("a", "b")),
        ([True, False], (False, True)),
        ([3, 1, 2], (1, 2, 3)),
        ([1.0, 0.0], (0, 1)),
        ([1.5, 0.0], (0.0, 1.5)),
        (np.array([0.1, 2.0], np.float32), (0.1, 2.0)),
        (np.array([0.1, 2.0], np.float16), (0.1, 2.0)),
        (pd.array([0.1, 2.0], dtype="Float32"), (0.1, 2.0)),
        (pd.Categorical([2.0, 1.0], categories=[2.0, 1.0], ordered=True), (2, 1)),
        (pd.array([2**53 + 1, 2**53], dtype="Int64"), (2**53, 2**53 + 1)),
        (np.array([2**63 + 1, 2**63], dtype="uint64"), (2**63, 2**63 + 1)),
        (pd.Series([2**53 + 1, 2**53], dtype=object), (2**53, 2**53 + 1)),
        (pd.Series([np.int64(2**53 + 1), np.int64(5)], dtype=object), (5, 2**53 + 1)),
        (pd.Series([2**53 + 1, 0.5], dtype=object), (0.5, 2**53 + 1)),
        (pd.Categorical([2**53 + 1, 2**53]), (2**53, 2**53 + 1)),
        (pd.array([2, 1], dtype="Int64"), (1, 2)),
        (np.array([True, False], dtype=object), (False, True)),
        (pd.Categorical(["b", "a"]), ("a", "b")),
        (pd.Categorical(["b", "a"], categories=["b", "c", "a"], ordered=True), ("b", "a")),
    ],
)
def test_classes_are_plain_values_in_order_and_codes_follow(values: Any, classes: tuple[Any, ...]) -> None:
    column = pd.Series(values)

    found = labels.classes_of(column, "y")
    codes = labels.class_codes(column, found, "y")

    assert found == classes
    assert [type(label) for label in found] == [type(label) for label in classes]
    assert codes.dtype == np.int64
    told = labels.as_array(found)[codes].tolist()
    assert told == pytest.approx(column.tolist(), abs=1e-3)
    assert told == [next(label for label in classes if str(label) == str(value)) for value in told]


def test_a_class_keeps_its_code_in_another_kind_of_column() -> None:
    assert labels.class_codes(pd.Series(["1", "0"]), (0, 1), "y").tolist() == [1, 0]
    assert labels.class_codes(pd.Series(["0.5", "1e1"]), (0.5, 10.0), "y").tolist() == [0, 1]
    with pytest.raises(BadValueError, match=r"not seen in training: '1' .* 'no'"):
        labels.class_codes(pd.Series(["1", "no"]), (0, 1), "y")
    assert labels.class_codes(pd.Series([1, 0]), (0.0, 1.0), "y").tolist() == [1, 0]
    assert labels.class_codes(pd.Series([1.0, 0.0]), (0, 1), "y").tolist() == [1, 0]
    for value in (0.1, np.float32(0.1), float(np.float32(0.1))):
        assert labels.class_codes(pd.Series([value]), (0.1, 0.2), "y").tolist() == [0]
        assert labels.class_codes(pd.Series([value]), (float(np.float32(0.1)), 0.5), "y").tolist() == [0]
    assert labels.class_codes(pd.Series(pd.Categorical(["b"])), ("a", "b"), "y").tolist() == [1]
    assert labels.class_codes(pd.Series(["b"], dtype=object), ("a", "b"), "y").tolist() == [1]


@pytest.mark.parametrize("kind", ["float64", "Float64", "category", "float32"])
def test_classes_that_lost_digits_as_floats_are_refused_to_fit_and_to_encode(kind: str) -> None:
    values = pd.Series([float(2**60), 5.0]).astype(kind)

    for refuse in (lambda: labels.classes_of(values, "y"), lambda: labels.class_codes(values, (5, 2**60 + 1), "y")):
        with pytest.raises(
            BadTypeError, match=r"column 'y' holds whole numbers that .* lost their last digits, such as 1\.1"
        ):
            refuse()


@pytest.mark.parametrize("kind", ["str", "category", "object"])
def test_classes_that_training_lacks_are_named_and_counted(kind: str) -> None:
    values = pd.Series(["owl", "a", "owl", "bat"]).astype(kind)

    sentence = r"the target 'y' holds 2 classes not seen in training: 'owl' \(2 rows\), 'bat' \(1 row\)\. Leave"
    with pytest.raises(BadValueError, match=sentence):
        labels.class_codes(values, ("a", "b"), "y")


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (pd.to_datetime(["2020-01-01"]), r"holds datetime64\[.*\] values, expected classes or numbers.*\.dt\.year"),
        (pd.to_timedelta([1], unit="s"), r"holds timedelta64.*\.dt\.total_seconds"),
        ([["a"], ["b"]], r"holds lists, expected a value or text in each cell.*pass separator='\|'"),
        (pd.Series([[1], [2]], dtype=pd.ArrowDtype(pa.list_(pa.int64()))), r"holds lists, expected a value"),
        (pd.Series([{"a": 1}], dtype=pd.ArrowDtype(pa.struct([("a", pa.int64())]))), r"holds lists, expected a value"),
        ([1j, 2], r"holds complex numbers, expected classes or numbers.*np\.real"),
        (np.array([1j, None]), r"holds complex numbers"),
        ([1, "a", "b"], r"mixes kinds of values: str \(2\), int \(1\)\. Try"),
        ([b"x", b"y"], r"holds bytes values, expected text, numbers or bools\. Convert them to text"),
        (
            [Decimal(1), Decimal(2)],
            r"holds Decimal values.*Convert them to Python numbers: frame\['y'\]\.astype\(float\)",
        ),
        (pd.period_range("2020", periods=2, freq="Y"), r"holds period\[Y-DEC\] values.*\.dt\.year"),
    ],
)
def test_values_that_are_no_classes_are_refused(values: Any, sentence: str) -> None:
    with pytest.raises(BadTypeError, match=sentence):
        labels.classes_of(pd.Series(values), "y")


def test_complex_numbers_are_no_numbers_to_predict() -> None:
    with pytest.raises(BadTypeError, match="holds complex numbers"):
        labels.as_floats(pd.Series([1j, 2]), "y")


def test_infinity_is_no_class() -> None:
    with pytest.raises(BadValueError, match="holds infinities, which are not classes"):
        labels.classes_of(pd.Series([1.0, np.inf]), "y")


@pytest.mark.parametrize(
    "values", [[1, 2], [1.0, 2.0], ["1", " 2 "], pd.Categorical(["1", "2"]), [Decimal(1), Decimal(2)], pd.array([1, 2])]
)
def test_numbers_are_read_from_every_kind_of_column(values: Any) -> None:
    numbers = labels.as_floats(pd.Series(values), "y")

    assert numbers.tolist() == [1.0, 2.0]
    assert numbers.dtype == np.float64


def test_numbers_and_flags_that_are_none_are_shown() -> None:
    with pytest.raises(BadTypeError, match=r"Regression needs numbers; 2 of 4 values of 'y' cannot be read: 'x', 'z'"):
        labels.as_floats(pd.Series(["1", "x", "2", "z"]), "y")

    with pytest.raises(BadValueError, match="a column of labels must hold 0 and 1, or False and True; 'y' holds 0, 2"):
        labels.as_flags(pd.Series([0, 2, 2]), "y")


@pytest.mark.parametrize("value", [np.inf, -np.inf, 1e39])
def test_numbers_beyond_float32_are_refused(value: float) -> None:
    with pytest.raises(BadValueError, match=r"the target 'y' holds 1 number infinite or beyond 3\.4e\+38"):
        labels.as_floats(pd.Series([1.0, value]), "y")


def test_numbers_too_close_for_float32_are_refused_and_years_are_not() -> None:
    with pytest.raises(
        BadValueError, match=r"varies by 1\.12 around 1\.6e\+09, finer than float32 can resolve\. Subtract"
    ):
        labels.as_floats(pd.Series(1.6e9 + np.arange(4)), "y")
    assert labels.as_floats(pd.Series([2019, 2020]), "y").tolist() == [2019, 2020]


@pytest.mark.parametrize("kind", ["str", "object", "category"])
@pytest.mark.parametrize("separator", ["|", ",", " and "])
def test_labels_are_parted_stripped_and_sorted(kind: str, separator: str) -> None:
    column = pd.Series([f"b{separator} a", "", f"{separator}b{separator}"]).astype(kind)

    classes = labels.tags(column, separator, "y")

    assert classes == ("a", "b")
    assert labels.multi_hot(column, separator, classes, "y").tolist() == [[1, 1], [0, 0], [0, 1]]


def test_labels_that_are_unknown_no_text_or_absent_are_refused() -> None:
    with pytest.raises(BadValueError, match=r"holds 1 label not seen in training: 'c' \(2 rows\)"):
        labels.multi_hot(pd.Series(["a|c", "c"]), "|", ["a"], "y")

    with pytest.raises(BadTypeError, match="a separator needs labels in text, the target 'y' holds int64 values"):
        labels.tags(pd.Series([1, 2]), "|", "y")

    with pytest.raises(BadValueError, match="the target 'y' holds no label in any row"):
        labels.tags(pd.Series(["", " | "]), "|", "y")


def test_bands_of_pd_cut_are_text_labels_in_their_order() -> None:
    ages = pd.Series([5, 90, 40, 12])
    bands = pd.cut(ages, [0, 9, 20, 65, 200])

    classes = labels.classes_of(bands, "age")

    assert classes == ("(0, 9]", "(9, 20]", "(20, 65]", "(65, 200]")
    assert labels.class_codes(bands, classes, "age").tolist() == [0, 3, 2, 1]
    assert labels.class_codes(bands.astype("str"), classes, "age").tolist() == [0, 3, 2, 1]


@pytest.mark.parametrize("values", [pd.to_datetime(["2020-01-01", "2021-01-01"]), [(1, 2), (3, 4)]])
def test_categories_that_no_checkpoint_can_hold_are_refused_even_in_order(values: Any) -> None:
    column = pd.Series(pd.Categorical(pd.Series(values), ordered=True))

    with pytest.raises(BadTypeError, match=r"the target 'y' holds (Timestamp|tuple) values, expected text"):
        labels.classes_of(column, "y")
