"""Numbers that are names: exact from every storage, whatever is missing beside them, and refused where digits are lost."""

from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from tabvision.errors import BadTypeError
from tabvision.preprocess import Features, RowEncoder, fit_features, infer_kinds, to_arrays
from tabvision.schema import Categorical, Label

IDS = [900719925474099300 + number for number in range(6)]  # floats know one of them
STORAGES: dict[str, pd.Series] = {
    "int64": pd.Series(IDS),
    "uint64": pd.Series(IDS, dtype="uint64"),
    "sparse": pd.Series(pd.arrays.SparseArray(IDS)),
    "Int64": pd.Series([*IDS, None], dtype="Int64"),
    "UInt64": pd.Series([*IDS, None], dtype="UInt64"),
    "arrow": pd.Series(pd.array([*IDS, None], dtype=pd.ArrowDtype(pa.int64()))),
    "arrow decimals": pd.Series(pd.array([*map(Decimal, IDS), None], dtype=pd.ArrowDtype(pa.decimal128(20, 2)))),
    "objects and None": pd.Series([*IDS, None], dtype=object),
    "objects and NaN": pd.Series([*IDS, np.nan], dtype=object),
    "objects and a fraction": pd.Series([*IDS, 5.5], dtype=object),
    "objects beyond 64 bits": pd.Series([*IDS, 2**80], dtype=object),
    "decimals": pd.Series([*map(Decimal, IDS)], dtype=object),
    "decimals and None": pd.Series([*map(Decimal, IDS), None], dtype=object),
    "numpy objects": pd.Series([*map(np.uint64, IDS), None], dtype=object),
    "text": pd.Series([*map(str, IDS), None], dtype="str"),
    "text and a fraction": pd.Series([*map(str, IDS), "5.5"], dtype="str"),
    "levels": pd.Series(pd.Categorical([*IDS, None])),
    "levels of text": pd.Series(pd.Categorical([*map(str, IDS), None])),
}
ROUNDED: dict[str, pd.Series] = {
    "float64": pd.Series([*map(float, IDS)]),
    "Float64": pd.Series([*map(float, IDS), None], dtype="Float64"),
    "objects": pd.Series([*map(float, IDS), None], dtype=object),
    "objects beside an integer": pd.Series([*map(float, IDS), IDS[0]], dtype=object),
    "levels": pd.Series(pd.Categorical([*map(float, IDS)])),
    "float32": pd.Series(np.array([16777217, 1], np.float32)),  # 2**24 + 1
}


def fitted(values: pd.Series) -> Features:
    frame = pd.DataFrame({"id": values, "pay": range(len(values))})
    return fit_features(frame, infer_kinds(frame, target=["pay"], categorical=["id"]))


def with_vocabulary(*vocabulary: Label) -> Features:
    column = Categorical(name="id", source="id", vocabulary=vocabulary)
    return Features(dates=(), continuous=(), categorical=(column,), left_out=())


def codes(features: Features, values: pd.Series) -> list[int]:
    found: list[int] = to_arrays(features, pd.DataFrame({"id": values}))[1][:, 0].tolist()
    return found


@pytest.mark.parametrize("storage", STORAGES)
def test_large_integers_are_found_exactly_in_a_frame_and_in_single_rows(storage: str) -> None:
    values, features = STORAGES[storage], with_vocabulary(*IDS)
    expected = [1, 2, 3, 4, 5, 6, 0][: len(values)]
    rows: list[dict[str, Any]] = [{"id": value} for value in values.tolist()]

    assert codes(features, values) == expected
    assert RowEncoder(features)(rows)[1][:, 0].tolist() == expected
    assert [int(RowEncoder(features)([row])[1][0, 0]) for row in rows] == expected


@pytest.mark.parametrize("storage", STORAGES)
def test_large_integers_are_learned_exactly(storage: str) -> None:
    values = STORAGES[storage]
    features = fitted(values)

    assert {str(number) for number in IDS} <= {*map(str, features.categorical[0].vocabulary)}
    assert codes(features, values[:6]) == codes(features, values)[:6]
    assert len({*codes(features, values)}) == len(values)


def test_unsigned_and_signed_integers_are_told_apart() -> None:
    large = [2**63 + 1, 2**63 + 2]

    assert codes(with_vocabulary(*large), pd.Series(large[::-1], dtype="uint64")) == [2, 1]
    assert codes(with_vocabulary(*large), pd.Series([*large, None], dtype="UInt64")) == [1, 2, 0]
    assert codes(with_vocabulary(*large), pd.Series([large[0] - 2**64, 5])) == [0, 0]
    assert codes(with_vocabulary(-1, IDS[0]), pd.Series([2**64 - 1, IDS[0]], dtype="uint64")) == [0, 2]
    assert codes(with_vocabulary(-1, large[0]), pd.Series([large[1], large[0]], dtype="uint64")) == [0, 2]


@pytest.mark.parametrize("storage", ROUNDED)
def test_floats_that_lost_digits_are_refused_as_names(storage: str) -> None:
    values = ROUNDED[storage]
    pattern = (
        r"column 'id' holds whole numbers that became floats and lost their last digits, such as (9.0|1.6).*Read them"
    )

    with pytest.raises(BadTypeError, match=pattern):
        fitted(values)
    with pytest.raises(BadTypeError, match=pattern):
        codes(with_vocabulary(*IDS), values)
    with pytest.raises(BadTypeError, match=pattern):
        RowEncoder(with_vocabulary(*IDS))([{"id": values[0]}])


def test_a_large_float_among_small_names_is_unseen() -> None:
    assert codes(with_vocabulary(1, 2), pd.Series([2.0, 1e300, np.nan])) == [2, 0, 0]
    assert RowEncoder(with_vocabulary(1, 2))([{"id": 2.0}, {"id": 1e300}])[1][:, 0].tolist() == [2, 0]


def test_a_float32_is_called_and_found_as_it_prints() -> None:
    narrow = pd.Series(np.array([0.1, 0.2, 0.1], np.float32))
    features = fitted(narrow)
    same = [
        narrow,
        narrow.astype(object),
        narrow.astype(float),
        pd.Series([0.1, 0.2, 0.1]),
        pd.Series(["0.1", "0.2", "0.1"]),
    ]

    assert features.categorical[0].vocabulary == (0.1, 0.2)
    for values in same:
        assert codes(features, values) == [1, 2, 1]
        assert RowEncoder(features)([{"id": value} for value in values])[1][:, 0].tolist() == [1, 2, 1]


def test_a_vocabulary_of_widened_float32_is_found_as_before() -> None:
    features = with_vocabulary(0.10000000149011612, 0.5)

    for value in (np.float32(0.1), 0.10000000149011612, 0.1):
        assert codes(features, pd.Series([value])) == [1]
    assert codes(features, pd.Series([0.100000001])) == [0]


def test_text_that_says_true_or_false_is_found_among_truth_values() -> None:
    features = with_vocabulary(False, True)

    assert codes(features, pd.Series(["True", "false", " TRUE ", "1", None])) == [2, 1, 2, 2, 0]
    assert RowEncoder(features)([{"id": "true"}])[1].tolist() == [[2]]
    with pytest.raises(BadTypeError, match=r"must hold true or false, got text .* 1 value, first 'perhaps'"):
        codes(features, pd.Series(["True", "perhaps"]))
