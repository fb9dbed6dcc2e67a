"""One list of promises that every preprocessing step keeps."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from tabvision.errors import BadTypeError, BadValueError, MissingColumnsError, UnknownNameError
from tabvision.preprocess import Categorify, Chain, Dates, FillMissing, Standardize, Step
from tests.made.tables import mixed_table

MAKERS: dict[str, Callable[[], Step]] = {
    "Dates": lambda: Dates(["sold"]),
    "FillMissing": lambda: FillMissing(["size", "visits"]),
    "Categorify": lambda: Categorify(["color", "garden", "grade", "rooms"]),
    "Standardize": lambda: Standardize(["size", "visits"]),
    "Chain": lambda: Chain([FillMissing(["size"]), Categorify(["color"]), Standardize(["size"]), Dates(["sold"])]),
}


@pytest.fixture(params=[kind.__name__ for kind in Step.__subclasses__()])
def step(request: pytest.FixtureRequest) -> Step:
    """Each step there is; a new one needs an entry in MAKERS."""
    return MAKERS[request.param]()


def test_fit_and_transform_leave_their_input_alone(step: Step) -> None:
    frame = mixed_table()
    before = frame.copy(deep=True)

    step.fit(frame).transform(frame)

    assert_frame_equal(frame, before)


def test_writing_into_the_result_leaves_the_input_alone(step: Step) -> None:
    frame = mixed_table()
    before = frame.copy(deep=True)

    result = step.fit(frame).transform(frame)
    for name in result:
        result.loc[:, name] = result[name].iloc[::-1].to_numpy()

    assert_frame_equal(frame, before)


def test_a_step_goes_to_json_and_back(step: Step) -> None:
    frame = mixed_table()
    step.fit(frame)

    again = Step.from_dict(json.loads(json.dumps(step.to_dict(), allow_nan=False)))

    assert again.to_dict() == step.to_dict()
    assert_frame_equal(again.transform(frame), step.transform(frame))


def test_a_step_pickles(step: Step) -> None:
    frame = mixed_table()
    step.fit(frame)

    assert_frame_equal(pickle.loads(pickle.dumps(step)).transform(frame), step.transform(frame))


def test_rows_are_transformed_one_by_one_as_together(step: Step) -> None:
    frame = mixed_table()
    together = step.fit(frame).transform(frame)

    one_by_one = pd.concat([step.transform(frame.iloc[row : row + 1]) for row in range(20)])

    assert_frame_equal(one_by_one, together.iloc[:20], check_dtype=False)


def test_a_frame_without_rows_or_without_values_is_transformed(step: Step) -> None:
    frame = mixed_table()
    step.fit(frame)

    assert len(step.transform(frame.iloc[:0])) == 0
    assert len(step.transform(frame.iloc[:3].assign(**dict.fromkeys(frame.columns)))) == 3


def test_the_index_and_other_columns_pass_through(step: Step) -> None:
    frame = mixed_table().set_index(pd.Index(range(100, 300)))

    result = step.fit(frame).transform(frame)

    assert result.index.equals(frame.index)
    assert result["pay"].equals(frame["pay"])


def test_facts_come_from_the_training_rows_alone(step: Step) -> None:
    frame = mixed_table()
    facts = step.fit(frame.iloc[:50]).to_dict()

    step.transform(frame)

    assert step.to_dict() == facts


def test_transform_before_fit_is_refused(step: Step) -> None:
    with pytest.raises(BadValueError, match=r"transform was called before fit. Call fit\(frame\)"):
        step.transform(mixed_table())


def test_writing_down_an_unfitted_step_is_refused(step: Step) -> None:
    with pytest.raises(BadValueError, match="to_dict was called before fit"):
        step.to_dict()


def test_a_missing_column_is_named(step: Step) -> None:
    frame = mixed_table()
    step.fit(frame)
    renamed = frame.rename(columns=str.upper)

    with pytest.raises(MissingColumnsError, match=r"did you mean '[A-Z]+'\?\).*Pass a frame with the training columns"):
        step.transform(renamed)


def test_fitting_on_no_rows_is_refused(step: Step) -> None:
    with pytest.raises(BadValueError, match="fitting needs at least one row"):
        step.fit(mixed_table().iloc[:0])


def test_columns_must_be_a_list_of_names() -> None:
    with pytest.raises(BadTypeError, match=r"Standardize: columns must be a list of names, got 'size'. Pass a list"):
        Standardize("size")


def test_a_chain_holds_steps_only() -> None:
    with pytest.raises(BadTypeError, match="Chain: steps must be preprocessing steps, got 'size'"):
        Chain(["size"])  # type: ignore[list-item]  # what the test is about


def test_a_step_that_does_not_exist_is_named() -> None:
    with pytest.raises(UnknownNameError, match=r"no step named 'Standardise'. Choices: Standardize, "):
        Step.from_dict({"step": "Standardise"})


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"step": "Standardize", "columns": []}, r"Standardize: facts missing or unknown: \['means_', 'spreads_'\]"),
        ({"step": "Chain", "steps": [], "more": 1}, "Chain: facts missing or unknown"),
    ],
)
def test_facts_that_do_not_fit_are_refused(data: dict[str, object], message: str) -> None:
    with pytest.raises(BadValueError, match=message):
        Step.from_dict(data)


def test_a_step_must_be_an_object() -> None:
    with pytest.raises(BadTypeError, match="a step must be an object, got list"):
        Step.from_dict([])  # type: ignore[arg-type]  # what the test is about


def test_a_chain_of_nothing_still_gives_a_frame_of_its_own() -> None:
    frame = pd.DataFrame({"x": [1]})

    result = Chain([]).fit(frame).transform(frame)
    result["y"] = 2

    assert list(frame) == ["x"]


def test_a_chain_prints_what_it_does() -> None:
    assert repr(MAKERS["Chain"]()).startswith("Chain([FillMissing(['size']), Categorify(['color'])")
