"""Rows in any form become the same arrays."""

import numpy as np
import pandas as pd
import pytest

from tabvision.errors import BadTypeError
from tabvision.inference.inputs import InputReader
from tabvision.preprocess import to_arrays
from tests.made.trained import raw, trained


def test_frames_rows_and_columns_give_the_same_arrays() -> None:
    schema, frame = trained("binary")[2].schema, raw(10)
    read = InputReader(schema, "here")
    continuous, categorical = to_arrays(schema, frame)

    for source in (frame, frame.to_dict("records"), frame.to_dict("list")):
        found = read(source)
        assert found.num_rows == 10
        np.testing.assert_allclose(found.arrays["continuous"], continuous, rtol=1e-6)
        np.testing.assert_array_equal(found.arrays["categorical"], categorical)
        np.testing.assert_array_equal(found.part(2, 4)["categorical"], categorical[2:4])


def test_a_frames_index_is_kept_and_rows_have_none() -> None:
    read, frame = InputReader(trained("binary")[2].schema, "here"), raw(4).set_index(pd.Index([6, 7, 8, 9]))

    assert read(frame).index is frame.index
    assert read(frame.to_dict("records")).index is None


def test_what_is_no_rows_is_refused() -> None:
    with pytest.raises(BadTypeError, match="here: "):
        InputReader(trained("binary")[2].schema, "here")(3)


def test_a_quick_row_and_a_frame_count_the_unseen_alike() -> None:
    schema = trained("binary")[2].schema
    name = next(column.name for column in schema.categorical if column.name == column.source)
    known = next(column.vocabulary[0] for column in schema.categorical if column.name == name)
    frame = raw(4).assign(**{name: pd.Series(["never seen", None, known, known], dtype=object)})
    read = InputReader(schema, "here")

    assert read(frame).unseen == read(frame.to_dict("records")).unseen == {name: 1}
    assert read(frame.tail(2)).unseen == {}
