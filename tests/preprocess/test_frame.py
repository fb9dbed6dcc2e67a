"""A frame's columns, read once, are what reading them anew gives."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal

from tabvision.errors import BadTypeError
from tabvision.preprocess import Columns, fit_features, infer_kinds, to_arrays
from tests.made.tables import mixed_table

STORAGES: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "numpy": lambda frame: frame,
    "objects": lambda frame: frame.astype(object),
    "categories": lambda frame: frame.astype("category"),
    "nullable": lambda frame: frame.convert_dtypes(),
    "arrow": lambda frame: frame.astype({"grade": "str"}).convert_dtypes(dtype_backend="pyarrow"),
    "text": lambda frame: frame.assign(sold=frame["sold"].astype("str"), visits=frame["visits"].astype("str")),
    "zone": lambda frame: frame.assign(sold=frame["sold"].dt.tz_localize("Asia/Tokyo")),
}


def table(storage: str) -> pd.DataFrame:
    """Rows of which the last alone lacks some values, so that the type of a column depends on which rows are read."""
    numbers: list[int | None] = [row % 50 for row in range(300)]
    numbers[-1] = None
    frame = mixed_table(300).assign(late=pd.Series(numbers, dtype="object" if storage == "numpy" else "Int64"))
    return STORAGES[storage](frame)


@pytest.mark.parametrize("storage", STORAGES)
def test_the_columns_of_some_rows_are_those_of_the_frame_of_these_rows(storage: str) -> None:
    frame = table(storage)
    rows = np.flatnonzero(np.arange(300) % 3 < 2)[:-1]
    some, alone = Columns(frame).take(rows), frame.iloc[rows]

    kinds = infer_kinds(some, target=["pay"])
    features = fit_features(some, kinds)

    assert kinds == infer_kinds(alone, target=["pay"])
    assert features == fit_features(alone, kinds)
    for ours, expected in zip(to_arrays(features, some), to_arrays(features, alone), strict=True):
        assert_array_equal(ours, expected)


def test_a_column_is_read_and_converted_once() -> None:
    columns = Columns(mixed_table().assign(code=["1", "2"] * 100))

    assert columns.read("color") is columns.read("color")
    assert columns.numbers("code") is columns.numbers("code")
    assert columns.timestamps("sold") is columns.timestamps("sold")


def test_what_is_no_frame_is_refused() -> None:
    with pytest.raises(BadTypeError, match=r"the table must be a pandas DataFrame, got ndarray. Convert it first"):
        Columns(np.zeros((2, 2)))
