"""Anything at all as a schema, as raw rows, or as a request's body: an answer or a tabvision error, never anything else."""

import contextlib
import functools
import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import strategies as st

from tabvision.errors import TabvisionError
from tabvision.inference import OnnxPredictor, Predictor
from tabvision.inference.inputs import InputReader
from tabvision.schema import Schema
from tabvision.serving.page import page
from tabvision.serving.requests import Limits, RequestError, rows_of_json
from tests.made.sweeps import fuzzed
from tests.made.trained import exported, raw, trained

COLUMNS = ["x", "z", "job", "size"]
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(
        ["", " ", "nan", "1e999", "-0", "cook", "12", "1_000", "\uff12", "2020-01-31", "\ud800", "\0", "=1+1"]
    ),
)
ODD = st.one_of(
    SCALARS,
    st.binary(max_size=4),
    st.dates(),
    st.datetimes(),
    st.timedeltas(),
    st.decimals(),
    st.complex_numbers(),
    st.sampled_from([np.float32(3), np.int8(1), np.datetime64("NaT"), pd.NA, pd.NaT, pd.Timestamp("2020")]),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=2), st.integers(), max_size=1),
    st.builds(object),
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=6), inner, max_size=3)),
    max_leaves=6,
)


@functools.cache
def asked() -> tuple[Predictor, OnnxPredictor]:
    return Predictor(trained("multiclass")[0], device="cpu"), OnnxPredictor(exported("multiclass"))


@functools.cache
def saved_schema() -> dict[str, Any]:
    found: dict[str, Any] = trained("multiclass")[2].schema.to_dict()
    return found


def paths(value: object, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in nested plain data."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [here, *(path for key, inner in items for path in paths(inner, (*here, key)))]


def replaced(value: Any, path: tuple[Any, ...], new: object) -> Any:
    """A copy with another value in one place."""
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replaced(value[path[0]], path[1:], new)
    return copy


@fuzzed(st.data())
def test_any_schema_is_read_and_used_or_refused(data: st.DataObject) -> None:
    saved = saved_schema()
    for _ in range(data.draw(st.integers(1, 2))):
        places = paths(saved)
        saved = replaced(saved, places[data.draw(st.integers(0, len(places) - 1))], data.draw(JSON))
    try:
        schema = Schema.from_dict(saved)
        assert Schema.from_dict(schema.to_dict()).to_dict() == schema.to_dict() or "nan" in repr(schema)
        str(schema)
        page(schema, "nonce")
        InputReader(schema)(raw(2))
    except TabvisionError:
        return


@fuzzed(
    st.lists(st.fixed_dictionaries(dict.fromkeys(COLUMNS, SCALARS), optional={"more": ODD}), min_size=1, max_size=3),
    st.data(),
)
def test_any_row_is_answered_or_refused_and_the_onnx_twin_agrees(
    rows: list[dict[str, Any]], data: st.DataObject
) -> None:
    if data.draw(st.integers(0, 5)) == 0:
        rows[0].pop(data.draw(st.sampled_from(COLUMNS)))
    assert_agree(rows)


@fuzzed(st.data())
def test_any_frame_is_answered_or_refused_and_the_onnx_twin_agrees(data: st.DataObject) -> None:
    frame = raw(data.draw(st.integers(0, 4))) if data.draw(st.booleans()) else raw(2)
    for name in data.draw(st.lists(st.sampled_from(COLUMNS), max_size=2, unique=True)):
        values = data.draw(st.lists(ODD, min_size=len(frame), max_size=len(frame)))
        frame[name] = pd.Series(values, dtype=object, index=frame.index)
        if data.draw(st.booleans()):
            with contextlib.suppress(UnicodeEncodeError):  # pandas' own text holds no half of a character
                frame[name] = frame[name].infer_objects()
    if data.draw(st.integers(0, 9)) == 0:
        frame = frame.rename(
            columns={data.draw(st.sampled_from(COLUMNS)): data.draw(st.sampled_from(["X", 3, None, ("a", "b")]))}
        )
    assert_agree(frame)


@fuzzed(
    st.one_of(
        st.binary(max_size=40),
        JSON.map(lambda value: json.dumps(value).encode()),
        st.text(max_size=20).map(lambda text: text.encode("utf-8", "surrogatepass")),
    )
)
def test_any_body_is_rows_or_a_refusal(body: bytes) -> None:
    try:
        rows, _ = rows_of_json(body, trained("multiclass")[2].schema, Limits(max_rows=3))
        assert 1 <= len(rows) <= 3
    except RequestError as error:
        if not (400 <= error.status < 500 and error.sentence.endswith(".")):
            raise


def assert_agree(source: Any) -> None:
    """Both predictors answer alike, or both refuse with an error of ours."""
    torch_one, onnx_one = asked()
    try:
        expected = torch_one.predict(source)
    except TabvisionError:
        with pytest.raises(TabvisionError):
            onnx_one.predict(source)
        return
    answers = onnx_one.predict(source)
    pd.testing.assert_frame_equal(answers, expected, rtol=1e-4, atol=1e-5)
