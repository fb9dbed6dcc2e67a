"""Exported files answer as the module does, carry their facts, and are never left behind wrong."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest
import torch
from torch import Tensor
from typing_extensions import override

from tabvision.batch import Batch
from tabvision.data import TabularDataModule
from tabvision.errors import BadValueError, MissingFileError
from tabvision.inference import OnnxPredictor, Predictor, export
from tabvision.inference.calibration.facts import Calibration
from tabvision.inference.checkpoint import open_checkpoint
from tabvision.inference.exporting import _ExportedNetwork, _random_inputs
from tabvision.inference.onnx_predictor import KEY
from tabvision.modules import CollabModule, FusedModule, SupervisedModule, TabularModule, VisionModule
from tabvision.nets.layer_groups import LayerGroup
from tests.made.pairs import DATA, MODULES, PREDICTED, Pair, make_frame, tabular_data
from tests.made.sweeps import slow_but
from tests.made.trained import exported, raw, trained

PAIRS = [  # `test_fused.py` has the module of columns and images
    Pair(kind, "regression_range" if kind is CollabModule else "binary")
    for kind in MODULES
    if kind in DATA and kind is not FusedModule
]


class Untraceable(SupervisedModule):
    """Its forward looks at values, which no graph can."""

    @override
    def forward(self, batch: Batch) -> Tensor:
        total = float(batch["continuous"].sum())
        return batch["continuous"].new_full((len(batch["continuous"]), 1), total)

    @override
    def layer_groups(self) -> list[LayerGroup]:
        return []


class Silent(Untraceable):
    """Its forward fails without a message."""

    @override
    def forward(self, batch: Batch) -> Tensor:
        raise AssertionError


class Forgetful(SupervisedModule):
    """Its answers change from call to call."""

    @override
    def forward(self, batch: Batch) -> Tensor:
        return torch.rand(batch["continuous"].shape[0], 1)

    @override
    def layer_groups(self) -> list[LayerGroup]:
        return []


def numbers(answers: pd.DataFrame) -> Any:
    return answers.select_dtypes("number").to_numpy(dtype=np.float64)


@pytest.mark.parametrize("target", slow_but(["multiclass"], PREDICTED))
def test_the_onnx_twin_answers_raw_rows_as_the_predictor_does(target: str) -> None:
    frame = raw()
    expected = Predictor(trained(target)[0], device="cpu").predict(frame)

    answers = OnnxPredictor(exported(target)).predict(frame)

    assert answers.columns.tolist() == expected.columns.tolist()
    np.testing.assert_allclose(numbers(answers), numbers(expected), rtol=1e-5, atol=1e-5)
    if "label" in expected:
        assert answers["label"].tolist() == expected["label"].tolist()


@pytest.mark.parametrize("suffix", [".onnx", ".pt2"])
@pytest.mark.parametrize("pair", slow_but(PAIRS[:1], PAIRS), ids=str)
def test_every_module_is_exported(pair: Pair, suffix: str, tmp_path: Path) -> None:
    module = pair.module(pair.data().schema)

    done = export(module, tmp_path / f"model{suffix}")

    assert done.largest_error <= 1e-5
    assert done.num_bytes == done.path.stat().st_size


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("suffix", [".onnx", ".pt2"])
def test_a_module_on_a_gpu_is_exported_for_any_machine_and_stays_there(suffix: str, tmp_path: Path) -> None:
    module = Pair(VisionModule, "multiclass").module(DATA[VisionModule]("multiclass").schema).cuda()

    path = export(module, tmp_path / f"module{suffix}").path

    assert {weights.device.type for weights in module.parameters()} == {"cuda"}
    if suffix == ".pt2":
        assert {weights.device.type for weights in torch.export.load(path).module().parameters()} == {"cpu"}


@pytest.mark.slow
def test_a_table_of_one_kind_of_column_is_exported_and_settings_that_act_in_training_do_not_disturb_it(
    tmp_path: Path,
) -> None:
    frame = make_frame()
    of_numbers, of_categories = {"numbers": "piecewise"}, {"embedding_dropout": 0.5, "unknown_share": 0.5}
    cases: list[tuple[str, str, dict[str, Any]]] = [("x", ".pt2", of_numbers), ("size", ".onnx", of_categories)]
    for name, suffix, settings in cases:
        schema = TabularDataModule(frame[[name, "pay"]], "pay", verbose=False).schema
        module = TabularModule(schema, widths=[4], dropout=0.5, **settings)
        assert module.training
        export(module, tmp_path / f"model{suffix}")  # which compares the answers
        assert module.training  # as it came

    asked = OnnxPredictor(tmp_path / "model.onnx")
    assert len(asked.facts["inputs"]) == 1
    assert len(asked.predict(frame.head(5))) == 5


def test_a_pt2_file_is_asked_with_torch_alone(tmp_path: Path) -> None:
    path, _, module = trained("multiclass")
    inputs = _random_inputs(module.schema, 6, torch.Generator().manual_seed(3))

    export(path, tmp_path / "model.pt2")

    facts = {KEY: ""}
    program = torch.export.load(tmp_path / "model.pt2", extra_files=facts)
    answers = program.module()(*inputs.values())
    with torch.no_grad():
        torch.testing.assert_close(
            answers, _ExportedNetwork(module.eval(), Calibration(), deviations=False)(*inputs.values())
        )
    assert json.loads(facts[KEY])["schema"] == module.schema.to_dict()
    assert str(Path(__file__).parents[2]).encode() not in (tmp_path / "model.pt2").read_bytes()


def test_the_facts_lie_in_the_files_metadata_and_this_machines_paths_do_not() -> None:
    path = exported("multiclass")

    facts = OnnxPredictor(path).facts

    assert facts["format"] == 1
    assert facts["module"] == "TabularModule"
    assert facts["schema"] == trained("multiclass")[2].schema.to_dict()
    assert facts["inputs"] == ["continuous", "categorical"]
    assert str(Path(__file__).parents[2]).encode() not in path.read_bytes()
    assert not any(
        node.metadata_props for node in onnx.load(path).graph.node
    )  # torch's record of its origin, which is large


def test_a_calibrated_checkpoint_is_exported_with_its_calibration(tmp_path: Path) -> None:
    path = tmp_path / "calibrated.ckpt"
    fitted = Predictor(trained("multilabel_columns")[0]).calibrate(
        make_frame(300, seed=9), out=path, metric="f1", per_label=True
    )

    export(path, tmp_path / "model.onnx")

    asked, opened = OnnxPredictor(tmp_path / "model.onnx"), open_checkpoint(path)
    assert asked.calibration == fitted.calibration == opened.calibration
    answers = asked.predict(raw())
    for place, name in enumerate("abc"):
        chosen = answers["label"].str.split(" ").map(lambda labels, name=name: name in labels)
        assert (chosen == (answers[f"probability_{name}"] > fitted.calibration.thresholds[place])).all()


# Refused in a sentence.


@pytest.mark.parametrize("kind", [Untraceable, Silent])
def test_a_module_that_cannot_be_traced_is_refused(kind: type[SupervisedModule], tmp_path: Path) -> None:
    sentence = rf"export: {kind.__name__} cannot be traced \(.+\)\. Its forward may use only tensor operations"
    with pytest.raises(BadValueError, match=sentence):
        export(kind(tabular_data("regression").schema), tmp_path / "model.onnx")

    assert not list(tmp_path.iterdir())


def test_a_file_whose_answers_differ_is_not_left_behind(tmp_path: Path) -> None:
    with pytest.raises(BadValueError, match=r"export: the file's answers differ from the module's by"):
        export(Forgetful(tabular_data("regression").schema), tmp_path / "model.pt2")

    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("model.pb", BadValueError, r"must end in \.onnx or \.pt2, got 'model\.pb'"),
        ("gone/model.onnx", MissingFileError, "there is no folder .*Create it first"),
        ("there.onnx", BadValueError, "is a file already. Choose another name, or overwrite it"),
        ("folder.onnx", BadValueError, "is a folder already"),
    ],
)
def test_a_wrong_destination_is_refused(name: str, error: type[Exception], message: str, tmp_path: Path) -> None:
    (tmp_path / "there.onnx").write_text("mine")
    (tmp_path / "folder.onnx").mkdir()

    with pytest.raises(error, match=message):
        export(trained("binary")[0], tmp_path / name)

    assert (tmp_path / "there.onnx").read_text() == "mine"


def test_a_file_that_is_there_is_replaced_when_asked(tmp_path: Path) -> None:
    (tmp_path / "model.pt2").write_text("old")

    export(trained("binary")[0], tmp_path / "model.pt2", overwrite=True)

    assert (tmp_path / "model.pt2").stat().st_size > 1000


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)  # how Python marks what cannot be imported

    with pytest.raises(BadValueError, match="needs onnxscript, which is not installed"):
        export(trained("binary")[0], tmp_path / "model.onnx")

    assert not list(tmp_path.iterdir())


def test_a_module_without_inputs_is_refused() -> None:
    module = TabularModule(trained("binary")[2].schema)
    module.schema = type(module.schema)(target=module.schema.target)
    with pytest.raises(BadValueError, match="the module reads neither columns nor images"):
        _ExportedNetwork(module, Calibration(), deviations=False)
