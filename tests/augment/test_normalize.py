"""Normalized values are the formula's, in the memory layout that came."""

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from tabvision.augment.normalize import normalize
from tabvision.errors import BadTypeError, BadValueError

MEAN, SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def test_bytes_and_shares_give_the_formula(subtests: pytest.Subtests) -> None:
    for layout, shape in itertools.product(
        [torch.channels_last, torch.contiguous_format], [(4, 3, 5, 7), (1, 3, 1, 1), (2, 3, 1, 8), (0, 3, 4, 4)]
    ):
        with subtests.test(layout=layout, shape=shape):
            images = torch.randint(0, 256, shape, dtype=torch.uint8).to(memory_format=layout)

            from_bytes = normalize(images, MEAN, SPREAD)
            from_shares = normalize(images.float() / 255, MEAN, SPREAD)

            expected = (images.numpy() / 255 - np.reshape(MEAN, (3, 1, 1))) / np.reshape(SPREAD, (3, 1, 1))
            assert from_bytes.dtype == torch.float32
            assert from_bytes.is_contiguous(memory_format=layout)
            assert np.abs(from_bytes.numpy() - expected).max(initial=0) < 1e-5
            assert np.abs(from_shares.numpy() - expected).max(initial=0) < 1e-5


def test_any_number_of_channels_and_a_cut_out_are_normalized_too() -> None:
    images = torch.randint(0, 256, (4, 3, 8, 8), dtype=torch.uint8)[:, :, 2:6, 1:5]
    torch.testing.assert_close(normalize(images, MEAN, SPREAD), normalize(images.contiguous(), MEAN, SPREAD))

    images = torch.full((1, 1, 2, 2), 51, dtype=torch.uint8)
    assert normalize(images, (0.1,), (0.5,)).flatten().tolist() == pytest.approx([0.2] * 4)


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_the_input_is_left_alone_and_gradients_reach_it(layout: torch.memory_format) -> None:
    images = torch.rand(2, 3, 4, 4).to(memory_format=layout).requires_grad_()
    before = images.detach().clone()

    (gradient,) = torch.autograd.grad(normalize(images, MEAN, SPREAD).sum(), images)

    torch.testing.assert_close(gradient[:, 0], torch.full((2, 4, 4), 1 / 0.229))
    assert torch.equal(images.detach(), before)


@pytest.fixture(params=[torch.float64, torch.bfloat16])
def other_default(request: pytest.FixtureRequest) -> Iterator[torch.dtype]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(request.param)
    yield request.param
    torch.set_default_dtype(before)


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.usefixtures("other_default")
def test_values_are_the_same_whatever_type_new_tensors_have(layout: torch.memory_format) -> None:
    images = torch.randint(0, 256, (2, 3, 5, 7), dtype=torch.uint8).to(memory_format=layout)

    values = normalize(images, MEAN, SPREAD)

    expected = (images.numpy() / 255 - np.reshape(MEAN, (3, 1, 1))) / np.reshape(SPREAD, (3, 1, 1))
    assert values.dtype == torch.float32
    assert np.abs(values.numpy() - expected).max() < 1e-5


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_other_channels_than_means_are_refused(layout: torch.memory_format) -> None:
    images = torch.zeros(1, 2, 4, 4, dtype=torch.uint8).to(memory_format=layout)

    with pytest.raises(
        BadValueError, match=r"must be \(B, 3, H, W\), with a channel for each mean, got \(1, 2, 4, 4\)"
    ):
        normalize(images, MEAN, SPREAD)


def test_whole_numbers_other_than_bytes_are_refused() -> None:
    with pytest.raises(BadTypeError, match=r"images must be uint8 or float, got torch.int64. Convert them"):
        normalize(torch.zeros(1, 3, 2, 2, dtype=torch.int64), MEAN, SPREAD)
