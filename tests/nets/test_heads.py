"""Heads: fastai's layers at fastai's places, and the simpler ones."""

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tabvision.nets.heads import _ConcatPool, _MeanPool, make_head
from tabvision.nets.layers import BatchNorm1d

# Of fastai 2.8's create_head(512, 10), and create_head(512, 10, lin_ftrs=[256, 128], ps=0.4)
FASTAI_SHAPES = {"2.weight": (1024,), "4.weight": (512, 1024), "6.weight": (512,), "8.weight": (10, 512)}
FASTAI_DROPOUTS = {(512,): [0.25, 0.5], (256, 128): [0.2, 0.2, 0.4]}


def shapes(head: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in head.named_parameters() if name.endswith("weight")}


def test_the_default_head_is_fastais_and_begins_as_it() -> None:
    head = make_head(512, 10)
    assert shapes(head) == FASTAI_SHAPES
    assert [name for name, _ in head.named_parameters() if name.endswith("bias")] == ["2.bias", "6.bias"]
    kinds = [_ConcatPool, nn.Identity, BatchNorm1d, nn.Dropout, nn.Linear, nn.ReLU, BatchNorm1d, nn.Dropout, nn.Linear]
    assert [type(layer) for layer in head] == kinds

    weights = dict(head.named_parameters())
    assert weights["4.weight"].std().item() == pytest.approx((2 / 1024) ** 0.5, rel=0.01)
    assert weights["8.weight"].std().item() == pytest.approx((2 / 512) ** 0.5, rel=0.05)
    for name in ("2", "6"):
        assert (weights[f"{name}.weight"] == 1).all()
        assert (weights[f"{name}.bias"] == 1e-3).all()


@pytest.mark.parametrize(("widths", "dropout"), [((512,), 0.5), ((256, 128), 0.4)])
def test_half_the_dropout_stands_before_every_layer_but_the_last(widths: tuple[int, ...], dropout: float) -> None:
    head = make_head(512, 10, widths=widths, dropout=dropout)

    assert [layer.p for layer in head if isinstance(layer, nn.Dropout)] == FASTAI_DROPOUTS[widths]


@pytest.mark.parametrize("kind", ["concat", "mlp", "linear"])
def test_the_last_layer_begins_as_small_as_one_says_and_the_others_as_ever(kind: Any) -> None:
    torch.manual_seed(0)
    whole = make_head(512, 10, kind=kind)
    torch.manual_seed(0)
    small = make_head(512, 10, kind=kind, scale=0.25)

    *others, last = ((name, weight) for name, weight in small.state_dict().items() if name.endswith("weight"))
    assert torch.equal(last[1], whole.state_dict()[last[0]] * 0.25)
    assert all(torch.equal(weight, whole.state_dict()[name]) for name, weight in others)


def test_concat_pooling_is_torchs_largest_value_and_mean() -> None:
    maps = torch.randn(2, 5, 3, 4)
    expected = [nn.AdaptiveMaxPool2d(1)(maps), nn.AdaptiveAvgPool2d(1)(maps)]

    torch.testing.assert_close(_ConcatPool()(maps), torch.cat(expected, dim=1).flatten(1))
    torch.testing.assert_close(_MeanPool()(maps), expected[1].flatten(1))


def test_every_head_gives_logits_and_gradients(subtests: pytest.Subtests) -> None:
    cases: list[Any] = ["concat", "mlp", "linear"]
    for pooled, rows, widths, kind in itertools.product([False, True], [0, 1, 3], [(), (8,), (8, 6)], cases):
        with subtests.test(pooled=pooled, rows=rows, widths=widths, kind=kind):
            head = make_head(5, 3, kind=kind, widths=widths, pooled=pooled)
            features: Tensor = torch.randn(rows, 5) if pooled else torch.randn(rows, 5, 4, 4)

            if rows == 0:
                head.eval()  # no row is no training
            logits = head(features)
            torch.autograd.backward(logits.sum())

            assert logits.shape == (rows, 3)
            assert all(parameter.grad is not None for parameter in head.parameters())


def test_a_head_over_pooled_features_takes_each_once() -> None:
    assert shapes(make_head(5, 3, pooled=True))["4.weight"] == (512, 5)
