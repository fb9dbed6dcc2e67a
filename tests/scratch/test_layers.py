"""Backward passes written by hand are those of torch, and of the tape."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from tabvision.scratch import Conv, Flatten, Linear, ReLU, Sequential, Value, cross_entropy, image_net, mse, softmax
from tabvision.tasks import Multiclass

RANDOM = np.random.default_rng(0)
LOGITS, CLASSES = RANDOM.normal(size=(6, 4)), RANDOM.integers(0, 4, 6)


def test_linear_is_torchs_with_the_weight_transposed() -> None:
    layer, x, grad = Linear(3, 2, np.random.default_rng(0)), RANDOM.normal(size=(5, 3)), RANDOM.normal(size=(5, 2))
    theirs = torch.nn.Linear(3, 2, dtype=torch.float64)
    with torch.no_grad():
        theirs.weight.copy_(torch.tensor(layer.weight.data.T))
        theirs.bias.copy_(torch.tensor(layer.bias.data))
    inputs = torch.tensor(x, requires_grad=True)

    expected = theirs(inputs)
    torch.autograd.backward(expected, torch.tensor(grad))

    np.testing.assert_allclose(layer.forward(x), expected.detach(), rtol=1e-12)
    np.testing.assert_allclose(layer.backward(grad), np.asarray(inputs.grad), rtol=1e-12)
    np.testing.assert_allclose(layer.weight.grad.T, np.asarray(theirs.weight.grad), rtol=1e-12)
    np.testing.assert_allclose(layer.bias.grad, np.asarray(theirs.bias.grad), rtol=1e-12)


@pytest.mark.parametrize(
    ("channels", "size", "shape"), [(1, 3, (2, 1, 8, 8)), (3, 2, (4, 3, 5, 7)), (2, 1, (1, 2, 3, 3))]
)
def test_unfolding_is_a_convolution(channels: int, size: int, shape: tuple[int, ...]) -> None:
    layer, x = Conv(channels, 4, size, np.random.default_rng(0)), RANDOM.normal(size=shape)
    weight, bias = (torch.tensor(param.data, requires_grad=True) for param in layer.params)
    inputs = torch.tensor(x, requires_grad=True)

    expected = functional.conv2d(inputs, weight.T.reshape(4, channels, size, size), bias)
    grad = RANDOM.normal(size=expected.shape)
    torch.autograd.backward(expected, torch.tensor(grad))

    np.testing.assert_allclose(layer.forward(x), expected.detach(), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(layer.backward(grad), np.asarray(inputs.grad), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(layer.params[0].grad, np.asarray(weight.grad), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(layer.params[1].grad, np.asarray(bias.grad), rtol=1e-10)


def test_a_network_by_hand_has_the_gradients_of_the_tape() -> None:
    random = np.random.default_rng(0)
    first, last, x = Linear(3, 8, random), Linear(8, 4, random), RANDOM.normal(size=(6, 3))
    net = Sequential(first, ReLU(), last)

    loss, grad = cross_entropy(net.forward(x), CLASSES)
    net.backward(grad)
    by_hand = [param.grad for param in net.params]
    logits = (Value(x) @ first.weight + first.bias).relu() @ last.weight + last.bias
    largest = logits.data.max(axis=1, keepdims=True)
    log_sum = (logits - largest).exp().sum(axis=1).log() + largest
    right = logits[np.arange(6), CLASSES]
    taped = log_sum.mean() - right.mean()
    taped.backward()

    assert loss == pytest.approx(float(taped.data), rel=1e-12)
    for one, param in zip(by_hand, net.params, strict=True):
        np.testing.assert_allclose(one, param.grad, rtol=1e-10, atol=1e-14)


def test_images_become_rows_and_back_also_a_single_one() -> None:
    layer, x = Flatten(), RANDOM.normal(size=(2, 3, 4, 5))
    np.testing.assert_array_equal(layer.backward(layer.forward(x)), x)

    net = image_net(1, 8, 10, np.random.default_rng(0))
    assert net.backward(net.forward(np.zeros((1, 1, 8, 8)))).shape == (1, 1, 8, 8)


@pytest.mark.parametrize("shift", [0.0, 1e3, -1e5])
def test_softmax_and_cross_entropy_are_torchs_and_the_tasks(shift: float) -> None:
    logits = torch.tensor(LOGITS + shift, requires_grad=True)
    classes = torch.tensor(CLASSES)

    expected = functional.cross_entropy(logits, classes)
    torch.autograd.backward(expected)
    loss, grad = cross_entropy(LOGITS + shift, CLASSES)

    np.testing.assert_allclose(softmax(LOGITS + shift), torch.softmax(logits.detach(), dim=1), rtol=1e-9)
    assert loss == pytest.approx(float(expected.detach()), rel=1e-9)
    np.testing.assert_allclose(grad, np.asarray(logits.grad), rtol=1e-8, atol=1e-14)
    rows = Multiclass(4).loss(logits.detach(), classes)
    assert loss == pytest.approx(float(rows.mean()), rel=1e-9)


def test_a_hopeless_row_has_a_finite_loss() -> None:
    loss, _ = cross_entropy(np.array([[0.0, 5000.0]]), np.array([0]))

    assert loss == 5000


def test_mse_is_torchs() -> None:
    predictions = torch.tensor(LOGITS, requires_grad=True)

    expected = functional.mse_loss(predictions, torch.ones(6, 4, dtype=torch.float64))
    torch.autograd.backward(expected)
    loss, grad = mse(LOGITS, np.ones((6, 4)))

    assert loss == pytest.approx(float(expected.detach()), rel=1e-12)
    np.testing.assert_allclose(grad, np.asarray(predictions.grad), rtol=1e-12)
