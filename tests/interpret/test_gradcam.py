"""Grad-CAM: the map lies where the network looks, whatever the body is made of, and leaves the network as it was."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from tabvision.augment.normalize import normalize
from tabvision.errors import BadTypeError, BadValueError, UnknownNameError
from tabvision.inference import Predictor
from tabvision.interpret import gradcam
from tabvision.modules import FusedModule, TabularModule, VisionModule
from tabvision.schema import IMAGENET_MEAN, IMAGENET_STD
from tabvision.tasks import Binary, Multilabel, Points, Regression, Task
from tests.made.crops import photos, schema_of
from tests.made.images import encoded, pixels
from tests.made.pairs import Pair, fused_data

SIDE = 32


def bright_at(top: int, left: int, channels: int = 3) -> NDArray[np.uint8]:
    """A dark image with a bright patch of eight pixels."""
    image = np.zeros((SIDE, SIDE, channels), dtype=np.uint8)
    image[top : top + 8, left : left + 8] = 255
    return image


class Pooled(nn.Module):
    """A network that ends in one vector per image."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    @override
    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.net(images)
        return features.mean(dim=(2, 3))


def bright_net(task: Task | None = None, *, channels: int = 3, pooled: bool = False) -> VisionModule:
    """A network whose every output but the first grows with brightness."""
    first = nn.Conv2d(channels, 4, 3, stride=2, padding=1)
    net = nn.Sequential(first, nn.ReLU(inplace=True))
    schema = schema_of(task, SIDE, channels=channels, mean=(0.5,) * channels, std=(0.25,) * channels)
    module = VisionModule(schema, body=Pooled(net) if pooled else net, head="linear", num_groups=2)
    with torch.no_grad():
        first.weight.fill_(0.1)
        for parameter in module.head.parameters():
            parameter.fill_(0.1)
            parameter[:1] = 0.1 if len(parameter) == 1 else -0.1
    return module


def peak(found: NDArray[np.float32]) -> tuple[float, float]:
    """The row and the column of the middle of what is brightest."""
    rows, columns = np.nonzero(found > 0.9)
    return float(rows.mean()), float(columns.mean())


@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    "task",
    [None, Binary(), Multilabel(2), Regression(mean=(0.0,), spread=(1.0,))],
    ids=lambda task: type(task).__name__,
)
def test_the_map_peaks_at_the_patch_that_the_answer_goes_by(task: Task | None, channels: int, pooled: bool) -> None:
    module = bright_net(task, channels=channels, pooled=pooled)

    found = gradcam(module, [bright_at(2, 20), bright_at(20, 4)])

    assert [each.shape for each in found] == [(SIDE, SIDE)] * 2
    assert all(each.dtype == np.float32 and each.min() >= 0 and each.max() == 1 for each in found)
    assert peak(found[0]) == pytest.approx((5.5, 23.5), abs=1)
    assert peak(found[1]) == pytest.approx((23.5, 7.5), abs=1)


def test_the_other_class_has_a_map_of_its_own() -> None:
    module = bright_net(Binary())

    yes, no = (gradcam(module, [bright_at(2, 20)], target=name)[0] for name in ("class 1", "class 0"))

    assert peak(yes) == pytest.approx((5.5, 23.5), abs=1)
    assert no[2:10, 20:28].max() == 0


def test_the_map_is_that_of_the_formula_for_one_image_or_several() -> None:
    module = VisionModule(schema_of(side=64), body="resnet18", weights=None).eval()
    images = photos(3)[0]

    features = module.body(normalize(images, IMAGENET_MEAN, IMAGENET_STD)).detach().requires_grad_()
    logits = module.head(features)
    logits.max(dim=1).values.sum().backward()
    weights = features.grad.mean(dim=(2, 3), keepdim=True)
    maps = functional.interpolate((weights * features).sum(dim=1, keepdim=True).relu(), (64, 64), mode="bilinear")
    expected = (maps / maps.amax(dim=(2, 3), keepdim=True)).squeeze(1).detach().numpy()

    arrays = list(images.permute(0, 2, 3, 1).numpy())
    together, alone = gradcam(module, arrays), gradcam(module, arrays, batch_size=1)
    np.testing.assert_allclose(together, expected, atol=1e-4)
    np.testing.assert_allclose(alone, expected, atol=1e-4)
    np.testing.assert_allclose(gradcam(module, arrays[0]), expected[:1], atol=1e-4)


@pytest.mark.parametrize(
    "body", ["timm/test_vit", "timm/test_vit3", "timm/test_resnet", "timm/test_convnext", "timm/test_efficientnet"]
)
def test_bodies_of_timm_have_a_map(body: str) -> None:
    found = gradcam(VisionModule(schema_of(side=96), body=body, weights=None), [pixels(96, 96)])

    assert found[0].shape == (96, 96)
    assert found[0].max() == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "body", ["vit_b_32", "swin_t", "timm/vit_tiny_patch16_224", "timm/swin_tiny_patch4_window7_224", "timm/levit_128s"]
)
def test_bodies_of_patches_have_a_map(body: str) -> None:
    found = gradcam(VisionModule(schema_of(side=224), body=body, weights=None), [pixels(224, 224)])

    assert found[0].shape == (224, 224)
    assert found[0].max() == 1


def test_an_image_that_cannot_be_read_has_no_map(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encoded(bright_at(2, 20), "PNG"))
    (tmp_path / "b.png").write_bytes(b"none")

    found = gradcam(bright_net(), tmp_path)

    assert [bool(np.isnan(each).all()) for each in found] == [False, True]


def test_a_network_of_several_modes_stays_as_it_was_and_may_be_frozen() -> None:
    module = bright_net().train().requires_grad_(False)
    module.body.eval()
    predictor = Predictor(module, device="cpu")
    weights = {name: value.clone() for name, value in predictor.module.state_dict().items()}

    first, second = gradcam(predictor, [bright_at(2, 20)]), gradcam(module, [bright_at(2, 20)])

    np.testing.assert_array_equal(first, second)
    assert (module.training, module.body.training, predictor.module.training) == (True, False, False)
    for each in (module, predictor.module):
        assert not any(parameter.requires_grad or parameter.grad is not None for parameter in each.parameters())
        assert not any(part._forward_hooks for part in each.modules())
    assert all(torch.equal(value, weights[name]) for name, value in predictor.module.state_dict().items())


def test_a_named_layer_is_looked_at() -> None:
    module = VisionModule(schema_of(side=64), body="resnet18", weights=None)

    last, earlier = (gradcam(module, [pixels(64, 64)], layer=f"body.net.layer{number}")[0] for number in (4, 2))

    np.testing.assert_array_equal(last, gradcam(module, [pixels(64, 64)])[0])
    assert not np.allclose(last, earlier, atol=0.1)


@pytest.mark.parametrize(
    ("make", "settings", "error", "words"),
    [
        (bright_net, {"layer": "body.nett"}, UnknownNameError, "'body.nett'"),
        (bright_net, {"layer": "head"}, BadValueError, "the output of 'head' is not a spatial map"),
        (bright_net, {"target": "cat"}, UnknownNameError, "'cat'"),
        (bright_net, {"batch_size": 0}, BadValueError, "batch_size"),
        (lambda: bright_net(Points(num_points=1)), {}, BadValueError, "the model predicts 2 numbers"),
    ],
)
def test_what_has_no_map_is_a_sentence(make: Any, settings: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=f"gradcam: .*{words}"):
        gradcam(make(), [bright_at(2, 20)], **settings)


def test_a_network_without_positions_is_a_sentence() -> None:
    body = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE * SIDE, 4))

    with pytest.raises(BadValueError, match="gradcam: the network has no spatial map that its answer depends on"):
        gradcam(VisionModule(schema_of(side=SIDE), body=body, head="linear", num_groups=2), [bright_at(2, 20)])


def test_a_model_of_rows_has_no_images() -> None:
    pair = Pair(TabularModule, "binary")

    with pytest.raises(BadTypeError, match="gradcam: the model must read images"):
        gradcam(pair.module(pair.data().schema), {"x": 1.0})


def test_a_row_with_columns_has_a_map_of_each_of_its_images() -> None:
    schema = fused_data("binary").schema
    assert schema.image is not None
    schema = replace(schema, image=replace(schema.image, size=(SIDE, SIDE), mean=(0.5,) * 3, std=(0.25,) * 3))
    module = FusedModule(schema, body=bright_net().body.net, num_groups=4)
    with torch.no_grad():
        module.images.weight.fill_(1.0)
        module.images.weight[:, :, 4:] = 0.5  # of the second image
    row = {**dict.fromkeys(schema.inputs), "file": bright_at(2, 20), "back": bright_at(20, 4)}
    rows = [row, {**row, "back": None}, {**row, "file": None, "back": None}]

    of_each = {name: gradcam(module, rows, target=name) for name in schema.classes}

    found = max(of_each.values(), key=lambda maps: float(maps[0].sum()))  # the class that brightness speaks for
    assert found[0].shape == (2, SIDE, SIDE)
    assert peak(found[0][0]) == pytest.approx((5.5, 23.5), abs=1)
    assert peak(found[0][1] / found[0][1].max()) == pytest.approx((23.5, 7.5), abs=1)
    assert (found[0][0].max(), found[0][1].max()) == (1, pytest.approx(0.5))
    assert np.isnan([found[1][1], *found[2]]).all()
    np.testing.assert_allclose(found[1][0], found[0][0], atol=1e-5)
