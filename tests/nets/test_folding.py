"""BatchNorm folded into convolutions: the same answers, without the norms, and not where it would change them."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import Tensor, nn
from typing_extensions import override

from tabvision.nets.backbones import make_body
from tabvision.nets.folding import folded


def with_statistics(net: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            assert layer.running_mean is not None
            assert layer.running_var is not None
            for tensor in (layer.running_mean, layer.running_var, layer.weight.data, layer.bias.data):
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
    return net


@pytest.mark.parametrize("name", ["resnet18", "efficientnet_lite0", "test_byobnet"])
def test_a_folded_body_answers_as_before_without_norms(name: str) -> None:
    body = with_statistics(make_body(name, weights=None))
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))

    found = folded(body, images)

    assert any(isinstance(layer, nn.BatchNorm2d) for layer in body.modules())
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in found.modules())
    expected = body.eval()(images).detach()
    torch.testing.assert_close(found(images), expected, rtol=1e-3, atol=float(1e-4 * expected.abs().max()))


class Twice(nn.Module):
    """A network that reads a convolution's output beside the norm after it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    @override
    def forward(self, images: Tensor) -> Tensor:
        found = self.conv(images)
        answer: Tensor = self.norm(found) + found
        return answer


def test_a_network_that_folding_would_change_is_left_as_it_is() -> None:
    net, images = with_statistics(Twice()), torch.randn(2, 3, 8, 8)

    found = folded(net, images)

    assert torch.equal(found(images), net.eval()(images))


def test_a_network_without_norms_is_a_plain_copy() -> None:
    net = timm.create_model("test_vit", num_classes=0)

    found = folded(net, torch.zeros(1, 3, 160, 160))

    assert torch.equal(found(torch.ones(1, 3, 160, 160)), net.eval()(torch.ones(1, 3, 160, 160)))
