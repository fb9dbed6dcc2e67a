"""ONNX files made to harm: what reaches outside is not opened, and an answer of another kind is no answer."""

from collections.abc import Callable
from typing import Any

import onnx
import pytest

from tabvision.errors import BadValueError
from tabvision.inference import OnnxPredictor
from tests.inference.test_onnx_predictor import facts, rewritten
from tests.made.fuzz import check
from tests.made.sweeps import slow_but
from tests.made.trained import exported, raw


def changed(change: Callable[[Any], object]) -> bytes:
    """The file with another graph."""
    model = onnx.load(exported("binary"))
    change(model)
    return bytes(model.SerializeToString())


def with_last(operator: str, kind: int = onnx.TensorProto.FLOAT, **settings: Any) -> Callable[[Any], object]:
    """Puts an operator after the model's own answer."""

    def change(model: Any) -> None:
        graph = model.graph
        node = onnx.helper.make_node(operator, [graph.output[0].name], ["last"], **settings)
        graph.node.append(node)
        del graph.output[:]
        graph.output.append(onnx.helper.make_tensor_value_info("last", kind, ["some", 2]))

    return change


def pointing_at(location: str) -> Callable[[Any], object]:
    """Has the weights lie in another file."""

    def change(model: Any) -> None:
        tensor = next(each for each in model.graph.initializer if each.raw_data)
        length = len(tensor.raw_data)
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        for key, value in {"location": location, "offset": "0", "length": str(length)}.items():
            entry = tensor.external_data.add()
            entry.key, entry.value = key, value

    return change


def foreign(model: Any) -> None:
    model.graph.node[0].domain, model.graph.node[0].op_type = "evil.ops", "Run"
    model.opset_import.add(domain="evil.ops", version=1)


@pytest.mark.parametrize(
    "change",
    [
        pointing_at("/etc/passwd"),
        pointing_at("../../../../../../etc/passwd"),
        pointing_at("*/_ORT_MEM_ADDR_/*"),
        foreign,
    ],
    ids=["absolute", "relative", "memory", "foreign operator"],
)
def test_a_model_that_reaches_outside_is_not_opened(change: Callable[[Any], object]) -> None:
    with pytest.raises(BadValueError, match="is damaged or not an ONNX model"):
        OnnxPredictor(changed(change))


def test_an_operator_after_the_answer_may_change_it() -> None:
    assert len(OnnxPredictor(changed(with_last("Log"))).predict(raw())) == 40


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            with_last("Cast", onnx.TensorProto.STRING, to=onnx.TensorProto.STRING),
            r"returned object of shape .*, which does not",
        ),
        (with_last("ReduceMean", keepdims=1), r"returned float32 of shape \(1, 1\), which does not match its schema"),
        (with_last("Transpose"), r"returned float32 of shape \(2, 40\)"),
        (lambda model: model.graph.ClearField("output"), "the model failed"),
    ],
    ids=["texts", "one row", "lying", "nothing"],
)
def test_an_answer_of_another_shape_is_refused(change: Callable[[Any], object], message: str) -> None:
    with pytest.raises(BadValueError, match=message):
        OnnxPredictor(changed(change)).predict(raw())


def test_a_network_that_answers_no_numbers_is_told() -> None:
    def diverged(model: Any) -> None:
        with_last("Log")(model)
        model.graph.node.append(onnx.helper.make_node("Sqrt", ["last"], ["worse"]))
        model.graph.output[0].name = "worse"

    with pytest.raises(BadValueError, match="answers to 40 rows are not finite, as after training that diverged"):
        OnnxPredictor(changed(diverged)).predict(raw())


def test_a_class_of_half_a_character_is_refused() -> None:
    schema = facts()["schema"]
    target = schema["target"] | {"classes": ["\ud800", "b"]}

    with pytest.raises(BadValueError, match=r"the schema in the .* bytes is damaged: a name holds a lone surrogate"):
        OnnxPredictor(rewritten(exported("binary"), facts() | {"schema": schema | {"target": target}}))


@pytest.mark.parametrize(("seed", "cases"), slow_but([(8, 8)], [(8, 8), (2_000, 700)]))
def test_files_with_other_bytes_facts_or_graphs_end_in_answers_or_a_sentence(seed: int, cases: int) -> None:
    check("exports", seed=seed, cases=cases)
