"""Numbers enter squashed or in bins, finite whatever comes."""

import pytest
import torch

from tabvision.nets.numeric import _LIMIT, PiecewiseNumbers, PlainNumbers


def test_squashing_is_its_formula_keeps_order_and_leaves_small_numbers_alone() -> None:
    values = torch.linspace(-10, 10, 201).unsqueeze(1)
    squashed = PlainNumbers(1, norm=False)(values)
    torch.testing.assert_close(squashed, values / (1 + (values / _LIMIT).square()).sqrt())

    values = torch.tensor([[-30.0], [-1.0], [-0.01], [0.0], [0.01], [1.0], [30.0]])
    squashed = PlainNumbers(1, norm=False)(values).flatten()
    assert (squashed.diff() > 0).all()
    assert squashed[4].item() == pytest.approx(0.01, rel=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_the_largest_number_there_is_becomes_three(dtype: torch.dtype) -> None:
    largest = torch.tensor([[torch.finfo(dtype).max]], dtype=dtype)

    assert PlainNumbers(1, norm=False)(largest).item() == _LIMIT


def test_without_norm_or_squashing_numbers_pass_as_they_are() -> None:
    values = torch.randn(5, 2) * 100

    assert torch.equal(PlainNumbers(2, norm=False, squash=False)(values), values)


def test_norm_standardizes_the_training_batch() -> None:
    result = PlainNumbers(1, squash=False)(torch.randn(1000, 1) * 7 + 3)

    assert result.mean().item() == pytest.approx(0, abs=1e-4)
    assert result.std().item() == pytest.approx(1, abs=1e-2)


def test_one_wild_value_does_not_flatten_the_rest_of_its_batch() -> None:
    values = torch.randn(256, 1)
    values[0] = 1e6

    assert PlainNumbers(1)(values)[1:].std().item() > 0.8
    assert PlainNumbers(1, squash=False)(values)[1:].std().item() < 0.01


def test_no_numbers_need_no_parameters() -> None:
    numbers = PlainNumbers(0)

    assert numbers.width == 0
    assert not list(numbers.parameters())


def test_every_column_gets_its_own_outputs() -> None:
    numbers = PiecewiseNumbers([(-1.0, 0.0, 1.0), (-2.0, 2.0)])
    values = torch.zeros(2, 2)
    values[1, 1] = 1.5

    first, second = numbers(values)

    assert numbers.width == 16
    assert torch.equal(first[:8], second[:8])
    assert not torch.equal(first[8:], second[8:])


def test_between_two_edges_the_encoding_is_linear() -> None:
    numbers = PiecewiseNumbers([(0.0, 1.0, 3.0)])
    torch.nn.init.normal_(numbers.encoding.linear.weight)

    low, middle, high = numbers(torch.tensor([[1.0], [2.0], [3.0]]))

    torch.testing.assert_close(middle, (low + high) / 2)


def test_a_constant_column_without_edges_enters_as_it_is() -> None:
    result = PiecewiseNumbers([(), (0.0, 1.0, 2.0)])(torch.zeros(3, 2))

    assert result.isfinite().all()
