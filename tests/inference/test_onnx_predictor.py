"""OnnxPredictor: the same answers as Predictor's in every form of input, without torch or Lightning."""

import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from tabvision.errors import BadTypeError, BadValueError, MissingColumnsError, MissingFileError, TabvisionError
from tabvision.inference import OnnxPredictor, Predictor, export
from tabvision.modules import TabularModule, VisionModule
from tests.made.crops import own_body
from tests.made.pairs import Pair, tabular_data
from tests.made.servers import Page, serving
from tests.made.sweeps import slow_but
from tests.made.trained import exported, raw, trained

ROOT = Path(__file__).parents[2]


def asked(target: str = "binary") -> OnnxPredictor:
    return OnnxPredictor(exported(target))


def predictor(target: str = "binary") -> Predictor:
    return Predictor(trained(target)[0], device="cpu")


FORMS: dict[str, Callable[[pd.DataFrame], Any]] = {
    "frame": lambda frame: frame,
    "shuffled": lambda frame: frame.sample(frac=1, random_state=0),
    "one row": lambda frame: frame.to_dict("records")[3],
    "few rows": lambda frame: frame.head(5).to_dict("records"),
    "many rows": lambda frame: frame.to_dict("records"),
    "columns": lambda frame: frame.to_dict("list"),
    "none": lambda frame: frame.iloc[:0],
}


@pytest.mark.parametrize("target", ["binary", "multiclass"])
def test_every_form_of_rows_is_answered_as_the_predictor_does(target: str, subtests: pytest.Subtests) -> None:
    for form, make in FORMS.items():
        with subtests.test(form=form):
            source = make(raw())

            expected = predictor(target).predict(source)
            assert_frame_equal(asked(target).predict(source), expected, rtol=1e-5, atol=1e-5)


OF_MEMBERS = [("multiclass", True), ("regression_several", False)]


@pytest.mark.parametrize(("target", "own_inputs"), slow_but(OF_MEMBERS[:1], OF_MEMBERS))
def test_the_uncertainty_is_that_of_the_predictor(target: str, own_inputs: bool, tmp_path: Path) -> None:
    module = TabularModule(tabular_data(target).schema, members=3, member_widths=[8], own_inputs=own_inputs)
    path = export(module, tmp_path / "members.onnx").path

    answers = OnnxPredictor(path).predict(raw(), uncertainty=True)

    assert_frame_equal(answers, Predictor(module).predict(raw(), uncertainty=True), rtol=1e-4, atol=1e-6)


def test_a_file_of_a_single_member_holds_no_uncertainty() -> None:
    with pytest.raises(
        BadValueError, match=r"this file does not contain it\. If the network has several members: Export it"
    ):
        asked().predict(raw(), uncertainty=True)


# Of both predictors.


@pytest.fixture(params=[asked, predictor], ids=["exported", "checkpoint"])
def either(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Opens a file of either kind."""
    opened: Callable[..., Any] = request.param
    return opened


@pytest.mark.parametrize("as_text", [True, False])
def test_a_file_is_read(as_text: bool, either: Callable[..., Any], tmp_path: Path) -> None:
    raw().to_csv(tmp_path / "rows.csv", index=False)
    raw().to_parquet(tmp_path / "rows.parquet")
    raw().to_feather(tmp_path / "rows.feather")

    for path in tmp_path.iterdir():
        assert_frame_equal(either().predict(str(path) if as_text else path), either().predict(raw()))


def test_probabilities_can_be_left_out(either: Callable[..., Any]) -> None:
    assert either("multiclass").predict(raw(), proba=False).columns.tolist() == ["label"]


def test_the_batch_size_changes_no_answer(either: Callable[..., Any]) -> None:
    for batch_size in (1, 7, 40, 1000):
        assert_frame_equal(either().predict(raw(), batch_size=batch_size), either().predict(raw()), rtol=1e-5)


def test_eight_threads_have_the_same_answers(either: Callable[..., Any]) -> None:
    one, frame, row = either(), raw(), raw().to_dict("records")[0]
    expected = one.predict(frame), one.predict(row)

    with ThreadPoolExecutor(8) as pool:
        for answers, wanted in (
            (pool.map(one.predict, 40 * [frame]), expected[0]),
            (pool.map(one.predict, 40 * [row]), expected[1]),
        ):
            for found in answers:
                assert_frame_equal(found, wanted)


# What only a file has.


def test_threads_wait_asleep() -> None:
    options = asked()._session.get_session_options()
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"


@pytest.mark.parametrize(("threads", "kind"), [(-1, BadValueError), ("2", BadTypeError)])
def test_a_wrong_number_of_threads_is_refused(threads: Any, kind: type[TabvisionError]) -> None:
    with pytest.raises(kind, match=r"OnnxPredictor: threads must be .+, got"):
        OnnxPredictor(exported("binary"), threads=threads)


def test_a_file_comes_from_an_address_or_from_memory() -> None:
    content = exported("binary").read_bytes()
    expected = asked().predict(raw())

    with serving({"/model.onnx": Page(content)}) as address:
        for origin in (content, f"{address}/model.onnx"):
            assert_frame_equal(OnnxPredictor(origin, threads=1).predict(raw()), expected, rtol=1e-5)


def test_it_pickles_to_worker_processes() -> None:
    copied = pickle.loads(pickle.dumps(OnnxPredictor(exported("binary"), threads=1)))

    assert_frame_equal(copied.predict(raw()), asked().predict(raw()), rtol=1e-5)


LIGHT = """
import sys
from tabvision.inference import OnnxPredictor
answers = OnnxPredictor(sys.argv[1]).predict(sys.argv[2])
heavy = [name for name in ("torch", "pytorch_lightning", "lightning_fabric", "torchmetrics") if name in sys.modules]
print(len(answers), heavy)
"""


def test_neither_torch_nor_lightning_is_imported(tmp_path: Path) -> None:
    raw().to_csv(tmp_path / "rows.csv", index=False)

    done = subprocess.run(
        [sys.executable, "-c", LIGHT, str(exported("binary")), str(tmp_path / "rows.csv")],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.stdout == "40 []\n", done.stderr


# Images.


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> tuple[Predictor, Path]:
    """A small network for images, and its ONNX twin."""
    module = VisionModule(Pair(VisionModule, "multiclass").data().schema, body=own_body()).eval()
    return Predictor(module, device="cpu"), export(module, tmp_path_factory.mktemp("images") / "net.onnx").path


def photos() -> list[Any]:
    draw = np.random.default_rng(0)
    return [draw.integers(0, 256, (40 + 9 * place, 70, 3), dtype=np.uint8) for place in range(4)]


def test_images_are_answered_as_the_predictor_does(images: tuple[Predictor, Path], tmp_path: Path) -> None:
    from PIL import Image

    paths = []
    for place, pixels in enumerate(photos()):
        paths.append(tmp_path / f"{place}.png")
        Image.fromarray(pixels).save(paths[-1])
    torch_one, onnx_one = images[0], OnnxPredictor(images[1])

    sources: list[Any] = [photos(), paths, [path.read_bytes() for path in paths], str(tmp_path), str(paths[0])]
    for source in sources:
        assert_frame_equal(onnx_one.predict(source), torch_one.predict(source), rtol=1e-4, atol=1e-5)


LIGHT_IMAGES = LIGHT.replace("sys.argv[2]", "[open(sys.argv[2], 'rb').read()]")


def test_images_need_neither_torch_nor_lightning(images: tuple[Predictor, Path], tmp_path: Path) -> None:
    from PIL import Image

    Image.fromarray(photos()[0]).save(tmp_path / "a.png")

    done = subprocess.run(
        [sys.executable, "-c", LIGHT_IMAGES, str(images[1]), str(tmp_path / "a.png")],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.stdout == "1 []\n", done.stderr


def test_a_image_that_cannot_be_read_keeps_its_row(images: tuple[Predictor, Path]) -> None:
    source = [photos()[0], b"no image", photos()[1]]

    answers = OnnxPredictor(images[1]).predict(source)

    assert_frame_equal(answers, images[0].predict(source), rtol=1e-4, atol=1e-5)
    assert answers["error"].isna().tolist() == [True, False, True]


def test_a_folder_keeps_the_path_of_a_image_that_cannot_be_read(images: tuple[Predictor, Path], tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no image")

    answers = OnnxPredictor(images[1]).predict(tmp_path)

    assert answers.iloc[0, 0] == str(tmp_path / "a.png")
    assert answers["error"].notna().all()
    assert answers.attrs["unseen"] == {}


# Refused in a sentence.


def rewritten(path: Path, facts: dict[str, Any] | str | None) -> bytes:
    """The file with other facts; None takes them away."""
    model = onnx.load(path)
    del model.metadata_props[:]
    if facts is not None:
        entry = model.metadata_props.add()
        entry.key, entry.value = "tabvision", facts if isinstance(facts, str) else json.dumps(facts)
    return bytes(model.SerializeToString())


def facts() -> dict[str, Any]:
    return dict(asked().facts)


@pytest.mark.parametrize(
    "broken", [None, "{", "[" * 100_000, "3", "{}", '{"schema": 3}'], ids=lambda value: str(value)[:8]
)
def test_a_model_of_other_origin_is_refused(broken: str | None) -> None:
    with pytest.raises(BadTypeError, match=r"was not exported by tabvision: .*Export it again: tabvision export CKPT"):
        OnnxPredictor(rewritten(exported("binary"), broken))


@pytest.mark.parametrize("version", [2, "1", None, True])
def test_a_newer_or_unknown_format_is_refused(version: object) -> None:
    with pytest.raises(
        BadValueError, match=rf"has format {version!r}, and 1 is the newest that this version reads. Up"
    ):
        OnnxPredictor(rewritten(exported("binary"), facts() | {"format": version}))


@pytest.mark.parametrize("version", [0, -1])
def test_a_format_that_never_was_is_refused(version: int) -> None:
    with pytest.raises(
        BadValueError, match=f"has format {version}, and 1 is the oldest that this version reads. Export"
    ):
        OnnxPredictor(rewritten(exported("binary"), facts() | {"format": version}))


def test_facts_of_another_model_are_refused() -> None:
    other = asked("multiclass").facts | {"inputs": []}
    with pytest.raises(
        BadValueError, match=r"model returned float32 of shape \(40, 2\), which does not match its schema"
    ):
        OnnxPredictor(rewritten(exported("binary"), other)).predict(raw())

    schema = facts()["schema"] | {"continuous": []}
    with pytest.raises(BadValueError, match="has the inputs continuous, categorical, which do not match its schema"):
        OnnxPredictor(rewritten(exported("binary"), facts() | {"schema": schema}))


def test_a_model_that_fails_says_so() -> None:
    schema = facts()["schema"]
    others = [f"job {number}" for number in range(100)]  # so that the code lies beyond the table that columns share
    longer = [
        column | {"vocabulary": [*column["vocabulary"], *others, "astronaut"]} for column in schema["categorical"]
    ]
    broken = OnnxPredictor(rewritten(exported("binary"), facts() | {"schema": schema | {"categorical": longer}}))

    with pytest.raises(BadValueError, match=r"OnnxPredictor: the model failed \(\w+\)"):
        broken.predict(raw())


def test_wrong_rows_are_refused() -> None:
    with pytest.raises(MissingColumnsError, match=r"OnnxPredictor: the frame lacks 1 column: 'job'"):
        asked().predict(raw().drop(columns="job"))
    with pytest.raises(TabvisionError, match=r"OnnxPredictor: .*'x' must hold"):
        asked().predict({**raw().to_dict("records")[0], "x": "much"})


@pytest.mark.parametrize(("batch_size", "error"), [(0, BadValueError), (2.5, BadTypeError), (True, BadTypeError)])
def test_a_wrong_batch_size_is_refused(batch_size: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"OnnxPredictor: batch_size must be .*, got"):
        asked().predict(raw(), batch_size=batch_size)


def test_a_missing_file_and_a_missing_package_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MissingFileError, match=r"no model at 'nowhere.onnx'"):
        OnnxPredictor("nowhere.onnx")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)  # how Python marks what cannot be imported
    with pytest.raises(BadValueError, match="needs onnxruntime, which is not installed"):
        asked()
