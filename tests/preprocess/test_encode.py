"""Frames to arrays: equal to the steps, whole and in blocks, and the sentences for frames that do not fit."""

import os
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal

from tabvision.errors import BadTypeError, BadValueError, MissingColumnsError
from tabvision.preprocess import Features, fit_features, infer_kinds, to_arrays
from tabvision.preprocess import encode as arrays
from tabvision.preprocess.encode import sources_of
from tabvision.preprocess.frame import Columns
from tests.made.reference_steps import chain_of
from tests.made.tables import mixed_table


@pytest.fixture(scope="module")
def features() -> Features:
    frame = mixed_table()
    return fit_features(frame, infer_kinds(frame, target=["pay"]))


def test_the_arrays_are_what_the_steps_give(features: Features) -> None:
    other = mixed_table(300, seed=1)

    continuous, categorical = to_arrays(features, other)
    steps = chain_of(features).transform(other)

    assert_array_equal(continuous, steps[[column.name for column in features.continuous]])
    assert_array_equal(categorical, steps[[column.name for column in features.categorical]])


def test_the_arrays_are_of_plain_layout_and_free_of_gaps(features: Features) -> None:
    continuous, categorical = to_arrays(features, mixed_table())

    assert [str(array.dtype) for array in (continuous, categorical)] == ["float32", "int32"]
    assert continuous.flags.c_contiguous
    assert categorical.flags.c_contiguous
    assert np.isfinite(continuous).all()
    assert (categorical.max(axis=0) < [column.cardinality for column in features.categorical]).all()


def test_the_training_rows_have_mean_zero_and_spread_one(features: Features) -> None:
    continuous, _ = to_arrays(features, mixed_table())

    assert_array_equal(abs(continuous.mean(axis=0)) < 1e-5, True)
    assert_array_equal(abs(continuous.std(axis=0) - 1) < 1e-5, True)


def test_many_rows_in_threads_and_blocks_are_as_few_at_once(
    features: Features, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = mixed_table(1_000, seed=2)
    whole = to_arrays(features, frame)
    monkeypatch.setattr(arrays, "BLOCK", 64)
    monkeypatch.setattr(arrays, "MIN_THREADED", 10)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2}, raising=False)

    in_blocks = to_arrays(features, frame)

    assert_array_equal(in_blocks[0], whole[0])
    assert_array_equal(in_blocks[1], whole[1])


def test_rows_are_encoded_one_by_one_as_together(features: Features) -> None:
    frame = mixed_table(20, seed=3)

    rows = [to_arrays(features, frame.iloc[row : row + 1]) for row in range(20)]

    for one_by_one, together in zip(
        map(np.concatenate, zip(*rows, strict=True)), to_arrays(features, frame), strict=True
    ):
        assert_array_equal(one_by_one, together)


def test_text_in_several_pieces_is_read_as_one(features: Features) -> None:
    frame = mixed_table(90)
    pieces = pd.concat([frame.iloc[:30], frame.iloc[30:31], frame.iloc[31:]])

    assert_array_equal(to_arrays(features, pieces)[1], to_arrays(features, frame)[1])


def test_a_frame_without_rows_gives_arrays_without_rows(features: Features) -> None:
    continuous, categorical = to_arrays(features, mixed_table().iloc[:0])

    assert continuous.shape == (0, len(features.continuous))
    assert categorical.shape == (0, len(features.categorical))


def test_the_frame_is_left_as_it_is_and_other_columns_order_and_index_do_not_matter(features: Features) -> None:
    frame = mixed_table()
    other = frame[frame.columns[::-1]].assign(extra=[[]] * len(frame)).set_index(pd.Index(["a"] * len(frame)))
    assert_array_equal(to_arrays(features, other)[0], to_arrays(features, frame)[0])

    frame = mixed_table()
    before = frame.copy(deep=True)
    to_arrays(features, frame)
    pd.testing.assert_frame_equal(frame, before)


@pytest.mark.parametrize("dtype", ["object", "category", "pyarrow", "nullable"])
def test_the_storage_of_a_column_does_not_matter(features: Features, dtype: str) -> None:
    frame = mixed_table()
    expected = to_arrays(
        features, frame
    )  # first: pandas 3.0 turns missing dates of the frame that it converts into 1970
    if dtype == "pyarrow":
        stored = frame.assign(grade=frame["grade"].astype("str")).convert_dtypes(dtype_backend="pyarrow")
    elif dtype == "nullable":
        stored = frame.convert_dtypes()
    else:
        stored = frame.astype(dtype)

    continuous, categorical = to_arrays(features, stored)

    assert_array_equal(continuous, expected[0])
    assert_array_equal(categorical, expected[1])


def test_a_column_without_any_value_is_filled(features: Features) -> None:
    frame = mixed_table(3).assign(**dict.fromkeys(features_sources(features)))

    continuous, categorical = to_arrays(features, frame)

    facts = features.continuous
    filled = [np.float32((column.fill - column.mean) / column.std) for column in facts]
    assert_array_equal(continuous, [filled] * 3)
    assert set(categorical.ravel()) == {0, 2}  # missing, and the `…_missing` flags


def features_sources(features: Features) -> list[str]:
    return [source.name for source in sources_of(features)]


def test_text_that_was_forced_to_be_numbers_is_parsed_again() -> None:
    frame = pd.DataFrame({"x": ["1", "3", "1", "3"], "y": 1})
    features = fit_features(frame, infer_kinds(frame, target=["y"], continuous=["x"]))

    assert to_arrays(features, pd.DataFrame({"x": ["2", 3.0, None]}).astype("str"))[0].tolist() == [[0.0], [1.0], [0.0]]


def test_durations_are_seconds() -> None:
    frame = pd.DataFrame({"x": pd.to_timedelta(["1min", "3min", None]), "y": 1})

    column = fit_features(frame, infer_kinds(frame, target=["y"])).continuous[0]

    assert (column.fill, column.had_missing) == (120.0, True)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            {"size": [np.inf] * 200},
            BadValueError,
            r"'size' must hold finite numbers, got 200 values, first inf \(row 0\)",
        ),
        (
            {"size": ["a"] * 200},
            BadValueError,
            r"'size' must hold numbers, got text .* 200 values, first 'a' \(row 0\)",
        ),
        ({"size": pd.Timestamp("2020")}, BadTypeError, "'size' must hold numbers, got dates"),
        ({"color": 3}, BadTypeError, "'color' must hold text, as in the training rows, got numbers such as 3"),
        ({"color": pd.Categorical([3] * 200)}, BadTypeError, "'color' must hold text, as in the training rows"),
        ({"rooms": "many"}, BadTypeError, "'rooms' must hold numbers, got text that cannot be read as such"),
        ({"sold": 5}, BadTypeError, "'sold' must hold dates, got numbers such as 5"),
        ({"sold": "5.1.2020"}, BadValueError, "'sold' must hold ISO dates"),
        (
            {"sold": pd.Series([pd.Timestamp("2020"), "2020-01-01"] * 100, dtype=object)},
            BadTypeError,
            "one kind of value",
        ),
    ],
)
def test_values_of_another_kind_are_refused(
    features: Features, change: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=rf"^to_arrays: column .*{message}"):
        to_arrays(features, mixed_table().assign(**change))


@pytest.mark.parametrize("name", ["size", "rooms"])
@pytest.mark.parametrize("min_threaded", [arrays.MIN_THREADED, 10])
def test_rows_are_named_by_the_index_of_the_frame(
    features: Features, monkeypatch: pytest.MonkeyPatch, name: str, min_threaded: int
) -> None:
    monkeypatch.setattr(arrays, "MIN_THREADED", min_threaded)
    frame = mixed_table(40).set_index(pd.Index([f"r{row}" for row in range(40)]))
    frame[name] = pd.Categorical(["1"] * 38 + ["many", "1"], categories=[*"abcdefgh", "many", "1"])  # most are unused

    with pytest.raises((BadTypeError, BadValueError), match=r"got text .* 1 value, first 'many' \(row 'r38'\)"):
        to_arrays(features, frame)
    with pytest.raises((BadTypeError, BadValueError), match=r"got text .* 1 value, first 'many' \(row 'r38'\)"):
        to_arrays(features, Columns(frame).take(np.array([3, 38])))

    assert_array_equal(to_arrays(features, frame[:38])[0], to_arrays(features, frame[:38].assign(**{name: 1}))[0])


def test_missing_columns_are_named_with_close_ones(features: Features) -> None:
    frame = mixed_table().rename(columns={"size": "Size", "sold": "when"})

    with pytest.raises(
        MissingColumnsError, match=r"lacks 2 columns: 'size' \(did you mean 'Size'\?\), 'sold'. Pass a frame"
    ):
        to_arrays(features, frame)


def test_a_column_that_comes_twice_is_refused_only_where_it_is_needed(features: Features) -> None:
    frame = mixed_table()

    to_arrays(features, pd.concat([frame, frame["pay"]], axis=1))
    with pytest.raises(BadValueError, match=r"column names must be unique, got 'size' \(2 times\)"):
        to_arrays(features, pd.concat([frame, frame["size"]], axis=1))


def test_what_is_no_frame_or_lacks_columns_beside_names_of_no_text_is_refused(features: Features) -> None:
    with pytest.raises(BadTypeError, match=r"column names must be text, got 0 \(int\)"):
        to_arrays(features, pd.DataFrame([[1, 2]]))

    with pytest.raises(BadTypeError, match="must be a pandas DataFrame, got ndarray"):
        to_arrays(features, np.zeros((2, 2)))  # what the test is about
