"""The target: inferred, fitted, encoded, decoded, and refused in a sentence."""

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tabvision.data.targets import check_missing, encode_target, fit_target, infer_task, missing_target
from tabvision.errors import BadTypeError, BadValueError, MissingColumnsError
from tabvision.schema import Schema, Target
from tabvision.tasks import Binary, Multiclass, Multilabel, Points, Regression, Task

MANY = [f"class {place}" for place in range(30)]
INFERRED: list[tuple[Any, type[Task], str]] = [
    (["<=50K", ">50K"] * 2, Binary, "binary (2 values: <=50K, >50K). Override with task='multiclass' (--task)."),
    ([True, False], Binary, "binary (2 values: False, True). Override with task='multiclass' (--task)."),
    ([0.0, 1.0], Binary, "binary (2 values: 0, 1). Override with task='multiclass' or 'regression' (--task)."),
    ([3, 7], Binary, "binary (2 values: 3, 7). Override with task='multiclass' or 'regression' (--task)."),
    (np.array([True, None, False], dtype=object), Binary, "binary (2 values: False, True)."),
    (["a", "b", "c"], Multiclass, "multiclass (3 values: a, b, c)."),
    (pd.Categorical(["z", "y", "x"], ["z", "y", "x"], ordered=True), Multiclass, "multiclass (3 values: z, y, x)."),
    (list(range(20)), Multiclass, "Override with task='regression' (--task)."),
    (pd.array([1, 2, 3, None]), Multiclass, "multiclass (3 values: 1, 2, 3)."),
    (MANY * 2, Multiclass, "multiclass (30 values)."),
    ([0, 1, 2, 3] * 20 + [9_999], Regression, "regression (numbers, of which some are in one row only)."),
    ([0, 1, 2, 3] * 20 + [9_999] * 2, Multiclass, "multiclass (5 values: 0, 1, 2, 3, 9999)."),
    (list(range(21)), Regression, "regression (numbers). Override with task='multiclass' (--task)."),
    ([1.0, 2.0, 3.0], Regression, "regression (numbers). Override with task='multiclass' (--task)."),
    ([f"{number / 7:.3f}" for number in range(30)], Regression, "regression (numbers, held as text)."),
]


def test_the_task_follows_the_values_and_is_said(subtests: pytest.Subtests) -> None:
    cases: list[Any] = INFERRED

    for values, kind, ending in cases:
        with subtests.test(values=values, kind=kind, ending=ending):
            task, sentence = infer_task(pd.DataFrame({"y": values}), ["y"])

            assert isinstance(task, kind)
            assert sentence.startswith("target 'y': ")
            assert ending in sentence


@pytest.mark.parametrize(
    ("columns", "separator", "kind"),
    [(["flag", "yes"], None, Multilabel), (["flag", "number"], None, Regression), (["text"], "|", Multilabel)],
)
def test_several_columns_and_a_separator_choose_the_task(columns: list[str], separator: str, kind: type[Task]) -> None:
    frame = pd.DataFrame({"flag": [0, 1], "yes": [True, False], "number": [1.5, 2], "text": ["a|b", "a"]})

    assert isinstance(infer_task(frame, columns, separator)[0], kind)


FITTED: list[tuple[dict[str, Any], Task, str | None, tuple[Any, ...]]] = [
    ({"y": ["b", "a", "b"]}, Binary(), None, ("a", "b")),
    ({"y": [True, False, True]}, Binary(), None, (False, True)),
    ({"y": ["b", "a", "c"]}, Multiclass(), None, ("a", "b", "c")),
    ({"y": ["b", "a", "b"]}, Multiclass(), None, ("a", "b")),
    ({"y": pd.Categorical(["lo", "hi"], ["lo", "mid", "hi"], ordered=True)}, Binary(), None, ("lo", "hi")),
    ({"y": ["a|b", "", "b"]}, Multilabel(), "|", ("a", "b")),
    ({"y": [0, 1, 1], "z": [True, False, True]}, Multilabel(), None, ("y", "z")),
    ({"y": [1.5, 2.5]}, Regression(), None, ()),
    ({"y": [1, 2], "z": ["3", "4.5"]}, Regression(), None, ()),
]


@pytest.mark.parametrize(("columns", "task", "separator", "classes"), FITTED)
def test_decoding_undoes_encoding_and_the_target_is_plain_json(
    columns: dict[str, Any], task: Task, separator: str | None, classes: tuple[Any, ...]
) -> None:
    frame = pd.DataFrame(columns)

    target = fit_target(frame, list(frame), task, separator)
    encoded = encode_target(frame, target)
    decoded = target.task.labels(encoded, target)

    assert target.classes == classes
    assert target.task.num_outputs >= 1
    expected = frame.astype(float) if isinstance(task, Regression) else frame
    if isinstance(task, Multilabel) and separator is None:  # a row of 0 and 1 reads as the columns with a 1
        expected = pd.DataFrame({"label": ["z", "y", "y z"]})
    assert decoded.reshape(len(frame), -1).tolist() == expected.to_numpy().tolist()
    assert Schema.from_dict(json.loads(json.dumps(Schema(target=target).to_dict()))).target == target


@pytest.mark.parametrize(
    ("task", "separator", "columns", "dtype", "shape"),
    [
        (Multiclass(), None, ["text"], np.int64, (3,)),
        (Multilabel(), "|", ["text"], np.float32, (3, 3)),
        (Multilabel(), None, ["flag", "flag2"], np.float32, (3, 2)),
        (Regression(), None, ["number"], np.float32, (3, 1)),
        (Regression(), None, ["number", "flag"], np.float32, (3, 2)),
    ],
)
def test_encoded_targets_have_the_shape_of_batches(
    task: Task, separator: str | None, columns: list[str], dtype: type, shape: tuple[int, ...]
) -> None:
    frame = pd.DataFrame({"text": ["a", "b", "c"], "flag": [0, 1, 1], "flag2": [1, 0, 1], "number": [1.5, 2.5, 7]})

    encoded = encode_target(frame, fit_target(frame, columns, task, separator))

    assert encoded.dtype == np.dtype(dtype)
    assert encoded.shape == shape


def test_the_mean_of_a_number_is_fitted_in_full_precision() -> None:
    values = 1e6 + np.arange(1000) / 7

    target = fit_target(pd.DataFrame({"y": values}), ["y"], Regression())

    assert isinstance(target.task, Regression)
    assert target.task.mean[0] == pytest.approx(values.mean(), rel=1e-14)
    assert target.task.spread[0] == pytest.approx(values.std(), rel=1e-9)


def test_the_range_of_numbers_is_recorded() -> None:
    one = fit_target(pd.DataFrame({"pay": [3.0, -1.0, 2.5]}), ["pay"], Regression())
    two = fit_target(pd.DataFrame({"x": [1, 2], "y": [30, 40]}), ["x", "y"], Regression())
    frame = pd.DataFrame({"x": [1.0, 2.0], "y": [3.0, 4.0], "lost x": [np.nan, np.nan], "lost y": [np.nan, np.nan]})
    points = fit_target(frame, list(frame), Points(num_points=2), has_image=True)

    assert (one.low, one.high) == ((-1.0,), (3.0,))
    assert (two.low, two.high) == ((1.0, 30.0), (2.0, 40.0))
    assert (points.low, points.high) == ((), ())


def test_codes_to_stratify_by_exist_for_single_classes_only() -> None:
    frame = pd.DataFrame({"y": ["b", "a", "b"], "z": [0, 1, 0], "mixed": [1, "a", 1]})

    assert Binary().stratify_codes(frame, ["y"]) is not None
    assert np.bincount(Multiclass().stratify_codes(frame, ["mixed"])).tolist() == [2, 1]  # type: ignore[arg-type]  # codes
    assert Multilabel().stratify_codes(frame, ["y"]) is None
    assert Regression().stratify_codes(frame, ["z"]) is None


def test_rows_that_lack_some_target_are_found() -> None:
    frame = pd.DataFrame({"y": [1, None, 3], "z": ["a", "b", None]})

    assert missing_target(frame, ["y", "z"]).tolist() == [False, True, True]


def test_a_target_with_a_sign_or_commas_is_numbers_in_every_source() -> None:
    frame = pd.DataFrame({"y": [f"${n:,}.00" for n in range(900, 1_100)]})

    task, sentence = infer_task(frame, ["y"])
    target = fit_target(frame, ["y"], task)

    assert sentence.startswith("target 'y': regression (numbers)")
    assert sentence.endswith("Its text, such as '$900.00', reads as numbers.")
    assert encode_target(frame.tail(1), target).tolist() == [[1099.0]]
    with pytest.raises(BadValueError, match="'y' is missing in 1 of 2 rows"):
        encode_target(pd.DataFrame({"y": ["$5", " "]}), target)
    assert fit_target(frame, ["y"], Multiclass()).classes[0] == "$1,000.00"


def test_text_with_a_unit_is_a_number_unless_few_values_differ() -> None:
    weights = pd.DataFrame({"weight": [f"{n / 2} kg" for n in range(60)]})
    terms = pd.DataFrame({"term": ["36 months", "60 months"] * 30})

    task, _ = infer_task(weights, ["weight"])

    assert isinstance(task, Regression)
    assert encode_target(weights, fit_target(weights, ["weight"], task)).tolist() == [[n / 2] for n in range(60)]
    assert isinstance(infer_task(terms, ["term"])[0], Binary)


def test_labels_that_are_joined_get_a_hint_at_the_separator(subtests: pytest.Subtests) -> None:
    joined = {
        " ": ["cat", "dog", "cat dog", "dog fish", "cat fish"],
        ";": ["Red", "Green;Red", "Blue;Green", "Blue; Red", "Blue"],
    }
    for separator, texts in joined.items():
        with subtests.test(separator=separator):
            frame = pd.DataFrame({"y": texts * 3})
            hint = infer_task(frame, ["y"])[1].rpartition("may have several labels, pass what joins them: ")[2]
            given = hint.partition("'")[2].partition("'")[0]
            assert given == separator
            assert isinstance(infer_task(frame, ["y"], given)[0], Multilabel)
    for texts in (
        ["light red", "dark red", "light blue"],
        ["Agree", "Strongly agree", "Disagree", "Strongly disagree"],
    ):
        with subtests.test(texts=texts):
            assert "joins" not in infer_task(pd.DataFrame({"y": texts * 3}), ["y"])[1]


def test_a_target_of_white_space_is_missing_and_one_of_no_letters_is_not() -> None:
    assert missing_target(pd.DataFrame({"y": ["a", " ", "", None]}), ["y"]).tolist() == [False, True, False, True]


def test_a_target_that_is_not_there_is_named_with_the_close_one() -> None:
    sentence = r"the frame lacks 1 column: 'salry' \(did you mean 'salary'\?\)\. The target is one of the columns age"
    frame = pd.DataFrame({"age": [1], "salary": [2]})
    target = Target(columns=("salry",), task=Regression())
    with pytest.raises(MissingColumnsError, match=sentence):
        infer_task(frame, ["salry"])
    with pytest.raises(MissingColumnsError, match=sentence):
        fit_target(frame, ["salry"], Regression())
    with pytest.raises(MissingColumnsError, match=sentence):
        encode_target(frame, target)


def test_a_target_named_below_a_title_says_to_remove_the_rows_above() -> None:
    frame = pd.DataFrame({"Sales 2024": ["region", "N", "S"], "Unnamed: 1": ["won", 1, 2]})
    with pytest.raises(MissingColumnsError, match=r"lacks 1 column: 'won'.*remove the rows above that one"):
        infer_task(frame, ["won"])


def test_no_target_and_a_target_named_twice_are_refused() -> None:
    with pytest.raises(BadValueError, match="no target column is named"):
        infer_task(pd.DataFrame({"y": [1]}), [])
    with pytest.raises(BadValueError, match=r"named twice in \['y', 'y'\]"):
        infer_task(pd.DataFrame({"y": [1]}), ["y", "y"])


def test_missing_targets_are_counted_and_the_remedy_named() -> None:
    frame = pd.DataFrame({"y": ["a", None, "b", None]})
    sentence = r"target 'y' is missing in 2 of 4 rows\. Leave them out: frame\.dropna\(subset=.*missing_target=\"drop\""
    for attempt in (
        lambda: fit_target(frame, ["y"], Binary()),
        lambda: encode_target(frame, fit_target(frame.dropna(), ["y"], Binary())),
        lambda: check_missing(frame, ["y"], None),
    ):
        with pytest.raises(BadValueError, match=sentence):
            attempt()
    with pytest.raises(BadValueError, match=r"or if they have no label, frame\['y'\]\.fillna\(\"\"\)"):
        fit_target(frame, ["y"], Multilabel(), "|")


def test_a_target_missing_in_every_row_is_refused() -> None:
    with pytest.raises(BadValueError, match="the target 'y' is missing in every row"):
        infer_task(pd.DataFrame({"y": [None, None]}), ["y"])


@pytest.mark.parametrize("value", ["a", 1, 1.5, True])
def test_one_value_is_nothing_to_learn(value: Any) -> None:
    frame = pd.DataFrame({"y": [value] * 3})
    with pytest.raises(BadValueError, match=r"the target 'y' holds one value, .*, in all 3 rows"):
        infer_task(frame, ["y"])
    with pytest.raises(BadValueError, match="the target 'y' holds one value"):
        fit_target(frame, ["y"], Multiclass())


def test_a_constant_number_is_refused() -> None:
    with pytest.raises(BadValueError, match="the training target must vary, got one value, 7, in every row"):
        fit_target(pd.DataFrame({"y": [7, 7]}), ["y"], Regression())


def test_texts_that_nearly_all_differ_are_no_classes_unless_said() -> None:
    frame = pd.DataFrame({"y": MANY})

    with pytest.raises(BadValueError, match="'y' looks like an identifier or free text: 30 values in 30 rows"):
        infer_task(frame, ["y"])
    assert len(fit_target(frame, ["y"], Multiclass()).classes) == 30


def test_more_than_a_thousand_classes_that_repeat_are_taken() -> None:
    frame = pd.DataFrame({"y": [f"c{place}" for place in range(1500)] * 2})

    assert len(fit_target(frame, ["y"], infer_task(frame, ["y"])[0]).classes) == 1500


@pytest.mark.parametrize(
    ("columns", "task", "separator", "error", "sentence"),
    [
        ({"y": list("abcde")}, Binary(), None, BadValueError, "needs a target with 2 classes, 'y' has 5: a, b"),
        ({"y": list("abc")}, Multiclass(4), None, BadValueError, "num_classes is 4, but the training target has 3"),
        ({"y": list("abc")}, Regression(), None, BadTypeError, "Regression needs numbers; 3 of 3 values of 'y'"),
        ({"y": [1.0, np.inf]}, Regression(), None, BadValueError, "holds 1 number infinite"),
        ({"y": np.arange(30) / 7}, Multiclass(), None, BadValueError, "Multiclass needs classes, 'y' holds 30 di"),
        ({"y": [0, 2]}, Multilabel(), None, BadValueError, "Multilabel needs columns of 0 and 1, or one"),
        ({"y": [0, 2], "z": [0, 1]}, Multilabel(), None, BadValueError, "a column of labels must hold 0 and 1"),
        ({"y": [0, 1], "z": [0, 1]}, Binary(), None, BadValueError, r"Binary predicts one column, got 2: 'y', 'z'"),
        ({"y": ["a", "b"]}, Binary(), "|", BadValueError, r"a separator needs one multilabel column, got '\|'"),
        ({"y": ["a"], "z": ["b"]}, Multilabel(), "|", BadValueError, "a separator needs one multilabel column"),
        ({"y": ["a", "b"]}, Multilabel(), "", BadValueError, "a separator needs one multilabel column, got ''"),
    ],
)  # fmt: skip
def test_a_task_that_the_data_contradict_is_refused(
    columns: dict[str, Any], task: Task, separator: str | None, error: type[Exception], sentence: str
) -> None:
    frame = pd.DataFrame(columns)
    with pytest.raises(error, match=sentence):
        fit_target(frame, list(frame), task, separator)


def test_several_columns_of_text_are_refused() -> None:
    frame = pd.DataFrame({"y": [1, 2], "z": ["a", "b"]})
    with pytest.raises(
        BadTypeError, match=r"several target columns must all be numbers, or all 0 and 1; these are not: 'z' \(str\)"
    ):
        infer_task(frame, ["y", "z"])


@pytest.mark.parametrize("texts", [["1.000 €", "2.500 €", "900 €"], [f"{number},5" for number in range(30)]])
def test_text_that_looks_like_numbers_is_named_when_it_is_taken_for_classes(texts: list[str]) -> None:
    _, sentence = infer_task(pd.DataFrame({"price": texts * 3}), ["price"])
    assert f"looks like numbers, such as {texts[0]!r}; to predict numbers, write them as 1234.5." in sentence


def test_prices_that_all_differ_are_refused_with_how_to_write_them() -> None:
    frame = pd.DataFrame({"price": [f"${number}.000" for number in range(100, 200)]})
    with pytest.raises(BadValueError, match=r"looks like an identifier.*write them as 1234\.5\."):
        infer_task(frame, ["price"])
