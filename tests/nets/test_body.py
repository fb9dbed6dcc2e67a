"""A body: features of any net, their shape without computing them, and other numbers of channels."""

import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from typing_extensions import override

from tabvision.errors import BadTypeError, BadValueError
from tabvision.nets.body import Body, adapt_channels, as_body


class Windows(nn.Module):
    """Takes sizes that its window divides, and looks at values, which torch cannot do without computing them."""

    def __init__(self, *, looks: bool = False) -> None:
        super().__init__()
        self.conv, self.looks = nn.Conv2d(3, 4, 1), looks

    @override
    def forward(self, images: Tensor) -> Tensor:
        if images.shape[2] % 48:
            raise ValueError("height must be divisible by 48.")
        if self.looks and float(images.sum()) > 1e9:
            raise ValueError("too bright")
        return self.conv(images)  # type: ignore[no-any-return]  # a layer's answer has no type


class Answers(nn.Module):
    """Gives whatever it was built with."""

    def __init__(self, answer: Any) -> None:
        super().__init__()
        self.answer = answer

    @override
    def forward(self, images: Tensor) -> Any:
        return self.answer


def test_channels_come_first_tokens_are_averaged_and_vectors_stay() -> None:
    maps = torch.randn(1, 2, 3, 5)
    features = Body(Answers(maps), channels_first=False)(torch.zeros(1, 3, 8, 8))
    assert torch.equal(features, maps.permute(0, 3, 1, 2))

    tokens, vectors = torch.randn(1, 7, 5), torch.randn(1, 5)
    assert torch.equal(as_body(Answers(tokens))(torch.zeros(1)), tokens.mean(dim=1))
    assert torch.equal(as_body(Answers(vectors))(torch.zeros(1)), vectors)


def test_one_small_image_trains_a_body_with_norms() -> None:
    body = as_body(nn.Sequential(nn.Conv2d(3, 4, 4), nn.BatchNorm2d(4)))

    body(torch.randn(1, 3, 4, 4)).square().sum().backward()  # maps of one pixel

    assert all(parameter.grad is not None for parameter in body.parameters())
    assert all(part.training for part in body.modules())


def test_a_body_is_no_body_twice() -> None:
    body = Body(nn.Conv2d(3, 4, 1))

    assert as_body(body) is body


@pytest.mark.parametrize("looks", [False, True])
def test_the_shape_of_features_is_found_and_the_net_stays_as_it_was(*, looks: bool) -> None:
    net = nn.Sequential(Windows(looks=looks), nn.BatchNorm2d(4))
    body = Body(net).train()
    before = {name: tensor.clone() for name, tensor in body.state_dict().items()}

    assert body.feature_shape((48, 96)) == (4, 48, 96)
    assert all(part.training for part in body.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in body.state_dict().items())


@pytest.mark.parametrize("looks", [False, True])
def test_a_size_that_the_net_refuses_is_a_sentence(*, looks: bool) -> None:
    remedy = "Pass another size or body" if looks else "Pass size=48 or another that it accepts"
    message = rf"the body does not accept images of 64 x 32 pixels \(height must be divisible by 48\). {remedy}."

    with pytest.raises(BadValueError, match=message):
        Body(Windows(looks=looks)).feature_shape((64, 32))


@pytest.mark.parametrize("shape", [(1, 2, 3, 4, 5), (7, 2)])
def test_what_is_no_features_is_a_sentence(shape: tuple[int, ...]) -> None:
    message = rf"a body must return features \(B, C, H, W\).*, got {re.escape(str(shape))} for one image. Cut off"

    with pytest.raises(BadValueError, match=message):
        Body(Answers(torch.zeros(shape))).feature_shape((8, 8))


def test_what_is_no_tensor_is_a_sentence() -> None:
    with pytest.raises(BadTypeError, match="Body: a body must return a tensor of features, got tuple"):
        Body(Answers((torch.zeros(1),))).feature_shape((8, 8))


def first_weights(in_channels: int, *, pretrained: bool = True) -> tuple[Tensor, Tensor]:
    """The first convolution's weights before and after."""
    net = nn.Sequential(nn.Identity(), nn.Conv2d(3, 8, 3, bias=False), nn.Conv2d(8, 8, 3))
    old = net[1].weight.detach().clone()  # type: ignore[operator]  # a convolution
    adapt_channels(net, in_channels, pretrained=pretrained)
    assert net(torch.randn(2, in_channels, 9, 9)).shape == (2, 8, 5, 5)
    return old, net[1].weight.detach()  # type: ignore[operator]


def test_other_numbers_of_channels_begin_as_in_fastai() -> None:
    old, grey = first_weights(1)
    assert torch.equal(grey, old.sum(dim=1, keepdim=True))

    old, two = first_weights(2)
    assert torch.equal(two, old[:, :2] * 1.5)

    old, five = first_weights(5)
    assert torch.equal(five[:, :3], old)
    assert not five[:, 3:].any()

    old, three = first_weights(3)
    assert torch.equal(three, old)


def test_without_pretrained_weights_all_channels_are_drawn() -> None:
    _, five = first_weights(5, pretrained=False)

    assert (five.std(dim=(0, 2, 3)) > 0).all()
    assert five.requires_grad is False


@pytest.mark.parametrize(
    ("net", "in_channels", "message"),
    [
        (nn.Conv2d(3, 4, 1), 0, "in_channels must be at least 1, got 0. Pass 1 for gray images"),
        (nn.Conv2d(3, 4, 1), 1.0, "in_channels must be a whole number, got 1.0"),
        (nn.Linear(3, 4), 1, "does not begin with a convolution over 3 channels. Pass in_channels=3"),
        (nn.Conv2d(6, 4, 1), 1, "does not begin with a convolution over 3 channels"),
        (nn.Conv2d(3, 3, 1, groups=3), 1, "does not begin with a convolution over 3 channels"),
    ],
)
def test_channels_that_cannot_be_changed_are_a_sentence(net: nn.Module, in_channels: Any, message: str) -> None:
    with pytest.raises((BadTypeError, BadValueError), match=message):
        adapt_channels(net, in_channels, pretrained=True)
