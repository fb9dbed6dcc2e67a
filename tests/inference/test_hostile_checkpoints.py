"""Checkpoints made to harm: nothing in them runs, fills the memory or ends in anything but a sentence."""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tabvision.errors import BadValueError, TabvisionError
from tabvision.inference import OnnxPredictor, Predictor, export
from tabvision.inference.checkpoint import open_checkpoint, read_checkpoint
from tests.made.hostile import ASK_FOR_THE_ORIGINAL, deep, itself, laughing, saved, with_settings
from tests.made.pairs import make_frame
from tests.made.payload import Payload
from tests.made.servers import Page, serving
from tests.made.trained import exported, raw, trained

# A payload, wherever it comes from and whatever opens it.


def test_a_payload_does_not_run_from_a_path_from_bytes_or_from_an_address(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    content = saved(extra=Payload(ran))
    (tmp_path / "bad.ckpt").write_bytes(content)

    with serving({"/bad.ckpt": Page(content)}) as address:
        for origin in (tmp_path / "bad.ckpt", str(tmp_path / "bad.ckpt"), content, f"{address}/bad.ckpt"):
            with pytest.raises(
                BadValueError, match="holds more than plain data, or is not a checkpoint, and was not ope"
            ):
                open_checkpoint(origin)

    assert not ran.exists()
    torch.load(io.BytesIO(content), weights_only=False)  # the payload works: it is the guard that kept it from running
    assert ran.exists()


def test_a_payload_does_not_run_in_any_command_that_opens_checkpoints(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    content = saved(extra=Payload(ran))

    commands: list[Callable[[], object]] = [
        lambda: export(content, tmp_path / "a.onnx"),
        lambda: Predictor(content).calibrate(make_frame(), out=tmp_path / "a.ckpt"),
        lambda: OnnxPredictor(content),
        lambda: read_checkpoint(content),
    ]
    for command in commands:
        with pytest.raises(BadValueError):
            command()

    assert not list(tmp_path.iterdir())


def test_a_good_checkpoint_is_opened_from_an_address_and_from_bytes() -> None:
    content = trained("binary")[0].read_bytes()

    with serving({"/good.ckpt": Page(content)}) as address:
        modules = [open_checkpoint(origin).module for origin in (content, f"{address}/good.ckpt")]

    wanted = trained("binary")[2].state_dict()
    for module in modules:
        assert all(torch.equal(wanted[name], tensor) for name, tensor in module.state_dict().items())


def test_an_address_can_be_exported(tmp_path: Path) -> None:
    with serving({"/good.ckpt": Page(trained("binary")[0].read_bytes())}) as address:
        export(f"{address}/good.ckpt", tmp_path / "model.pt2")


# A class from elsewhere.


@pytest.mark.parametrize("name", ["os.system", "builtins.eval", "SupervisedModule", "", None, 3, ["TabularModule"]])
def test_a_class_outside_tabvision_is_not_looked_up(name: object) -> None:
    with pytest.raises(BadValueError, match=r"which is not a module of tabvision. Pass its class"):
        open_checkpoint(saved(tabvision={"format": 1, "module": name}))


@pytest.mark.parametrize("key", ["_class_path", "_instantiator", "class_path", "init_args"])
def test_settings_that_name_a_class_build_nothing(key: str, tmp_path: Path) -> None:
    opened = open_checkpoint(with_settings(**{key: "subprocess.Popen"}))

    assert type(opened.module).__name__ == "TabularModule"
    assert not list(tmp_path.iterdir())


def test_an_optimizer_named_by_a_path_is_not_imported() -> None:
    with pytest.raises(TabvisionError, match=r"no optimizer named 'os.system'"):
        open_checkpoint(with_settings(optimizer="os.system"))


# A recipe given for a checkpoint constructs nothing.


@pytest.mark.parametrize("name", ["recipe.yaml", "recipe.yml", "recipe.ckpt"])
def test_a_recipe_constructs_no_class_in_commands_that_take_checkpoints(name: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    ran, path = tmp_path / "ran", tmp_path / name
    path.write_text(
        f"model:\n  class_path: os.mkdir\n  init_args:\n    path: {ran}\n!!python/object/apply:os.mkdir ['{ran}']\n"
    )

    commands: list[Callable[[], object]] = [
        lambda: Predictor(path),
        lambda: export(path, tmp_path / "a.onnx"),
        lambda: Predictor(path).calibrate(make_frame(), out=tmp_path / "a.ckpt"),
        lambda: OnnxPredictor(path),
    ]
    for command in commands:
        with pytest.raises(BadValueError, match=r"is a recipe, not a checkpoint, and was not opened|damaged or no"):
            command()

    assert not ran.exists()


@pytest.mark.parametrize(
    ("name", "message"), [("rows.csv", "is a table, not a checkpoint"), ("m.onnx", "exported model")]
)
def test_a_file_of_another_kind_is_named(name: str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"a,b\n1,2\n")

    with pytest.raises(BadValueError, match=message):
        open_checkpoint(tmp_path / name)


# Bombs.


def test_a_zip_bomb_is_refused_before_it_is_unpacked() -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as bomb:
        with zipfile.ZipFile(trained("binary")[0]) as good:
            for entry in good.infolist():
                bomb.writestr(entry.filename, good.read(entry))
        with bomb.open("archive/data/99", "w", force_zip64=True) as zeros:
            for _ in range(200):
                zeros.write(bytes(1 << 20))

    with pytest.raises(
        BadValueError, match=f"would expand to more than its .* bytes, unlike what a Trainer.*{ASK_FOR_THE_ORIGINAL}"
    ):
        open_checkpoint(file.getvalue())


@pytest.mark.parametrize("make", [laughing, itself, deep])
def test_settings_without_end_are_refused(make: Callable[[], Any]) -> None:
    with pytest.raises(
        BadValueError,
        match=f"is nested too deeply, or is larger than the file when written out. {ASK_FOR_THE_ORIGINAL}",
    ):
        open_checkpoint(with_settings(widths=make()))


def test_a_tensor_that_shows_one_number_many_times_is_refused() -> None:
    weights = torch.load(trained("binary")[0], weights_only=True)["state_dict"]
    wide = {name: tensor.new_zeros(1).expand(10**9) for name, tensor in weights.items()}

    with pytest.raises(BadValueError, match="holds a tensor of shape"):
        open_checkpoint(saved(state_dict=wide))


@pytest.mark.parametrize(
    "settings",
    [
        {"widths": [10**6, 10**6]},
        {"widths": [10**15]},
        {"widths": [2**62, 2**62]},
        {"widths": [1_000] * 1_000},
        {"embedding_widths": {"job": 10**12}},
    ],
    ids=str,
)
def test_settings_that_ask_for_far_more_than_the_weights_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(BadValueError, match=r"build a far larger TabularModule than its weights|do not build a"):
        open_checkpoint(with_settings(**settings))


@pytest.mark.parametrize("grown", [[0] * 100_000, [1] * 1_000, [-1, 2], [0]], ids=len)
def test_growths_that_no_network_went_through_are_refused(grown: list[int]) -> None:
    schema = torch.load(trained("binary")[0], weights_only=True)["hyper_parameters"]["schema"]

    with pytest.raises(BadValueError, match=r"grown"):
        open_checkpoint(with_settings(schema=schema | {"target": schema["target"] | {"grown": grown}}))


@pytest.mark.parametrize(
    "settings",
    [
        {"widths": "abc"},
        {"widths": [0]},
        {"widths": [-5]},
        {"widths": [1.5]},
        {"widths": {"a": 1}},
        {"dropout": [0.1] * 9},
        {"dropout": "x"},
        {"lr": {}},
        {"lr": [1, 2, 3]},
        {"activation": ["relu"]},
        {"numbers": 7},
        {"momentum": None},
        {"schema": [1]},
        {"schema": {"format": 1}},
        {7: 8},
    ],
    ids=str,
)
def test_settings_of_the_wrong_kind_end_in_a_sentence(settings: dict[str, Any]) -> None:
    try:
        open_checkpoint(
            saved(hyper_parameters=torch.load(trained("binary")[0], weights_only=True)["hyper_parameters"] | settings)
        )
    except TabvisionError as error:
        assert str(error).endswith(".")  # noqa: PT017 - a setting that is not looked at is fine as well


# Damage.


def test_a_flipped_bit_is_refused_or_changes_no_answer() -> None:
    """Checksums find every change of content; what is not covered by one changes nothing."""
    content = trained("binary")[0].read_bytes()
    wanted = trained("binary")[2].state_dict()
    places = range(0, len(content), max(1, len(content) // 150))
    refused = 0
    for step, place in enumerate(places):
        damaged = bytearray(content)
        damaged[place] ^= 1 << step % 8
        try:
            module = open_checkpoint(bytes(damaged)).module
        except TabvisionError:
            refused += 1
            continue
        assert all(torch.equal(wanted[name], tensor) for name, tensor in module.state_dict().items())
    assert refused > len(places) // 3


@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_checkpoint_is_refused(share: float) -> None:
    content = trained("binary")[0].read_bytes()

    with pytest.raises(BadValueError, match=r"is empty|damaged or not a checkpoint"):
        open_checkpoint(content[: int(share * len(content))])


@pytest.mark.parametrize(
    "calibration",
    [
        3,
        [1.0],
        {"temperatures": [0.0]},
        {"temperatures": [-1.0]},
        {"temperatures": [float("nan")]},
        {"temperatures": [1.0, 2.0, 3.0]},
        {"temperatures": "hot"},
        {"thresholds": [1.5]},
        {"thresholds": [0.1, 0.2]},
        {"half_widths": [1.0], "coverage": 0.9},
        {"coverage": 0.9},
        {"unknown": 1},
    ],
    ids=str,
)
def test_a_calibration_that_does_not_fit_is_refused(calibration: object) -> None:
    facts = {"format": 1, "module": "TabularModule", "calibration": calibration}

    with pytest.raises(BadValueError, match="Calibrat"):
        open_checkpoint(saved(tabvision=facts))


# Exported files.


def test_a_damaged_or_foreign_onnx_file_is_refused() -> None:
    content = exported("binary").read_bytes()
    for damaged in (b"", b"hello", content[:100], content[: len(content) // 2], content[200:]):
        with pytest.raises(BadValueError, match=r"OnnxPredictor: .* is damaged or not an ONNX model"):
            OnnxPredictor(damaged)


def test_a_flipped_byte_in_an_onnx_file_ends_in_an_answer_or_a_sentence() -> None:
    content = exported("binary").read_bytes()
    for place in range(0, len(content), max(1, len(content) // 60)):
        damaged = bytearray(content)
        damaged[place] ^= 0xFF
        try:
            OnnxPredictor(bytes(damaged)).predict(raw(3))
        except TabvisionError:
            continue
