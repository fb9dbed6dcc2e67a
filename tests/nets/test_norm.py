"""Our BatchNorm is torch's, except for a training batch of one row."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from tabvision.nets.norm import BatchNorm1d


@pytest.mark.parametrize("shape", [(8, 3), (2, 3), (4, 3, 5), (1, 3, 5)])
def test_more_than_one_value_a_column_is_normalized_as_torch_does(shape: tuple[int, ...]) -> None:
    ours, torchs, values = BatchNorm1d(3), nn.BatchNorm1d(3), torch.randn(shape) * 3 + 1

    assert torch.equal(ours(values), torchs(values))
    assert all(torch.equal(a, b) for a, b in zip(ours.buffers(), torchs.buffers(), strict=True))
    assert torch.equal(ours.eval()(values), torchs.eval()(values))


@pytest.mark.parametrize("shape", [(1, 3), (1, 3, 1)])
def test_one_training_row_uses_the_running_statistics_and_leaves_them(shape: tuple[int, ...]) -> None:
    norm = BatchNorm1d(3)
    norm(torch.randn(100, 3) * 2 + 5)
    before, row = copy.deepcopy(norm.state_dict()), torch.randn(shape)

    result = norm(row)

    assert torch.equal(result, copy.deepcopy(norm).eval()(row))
    assert all(torch.equal(value, before[name]) for name, value in norm.state_dict().items())


def test_one_training_row_sends_gradients_to_the_input_and_the_parameters() -> None:
    norm, row = BatchNorm1d(3), torch.randn(1, 3, requires_grad=True)

    norm(row).square().sum().backward()

    gradients = [row.grad, norm.weight.grad, norm.bias.grad]
    assert all(gradient is not None and gradient.abs().sum() > 0 for gradient in gradients)


def test_without_running_statistics_one_row_is_refused_as_by_torch() -> None:
    with pytest.raises(ValueError, match="Expected more than 1 value per channel"):
        BatchNorm1d(3, track_running_stats=False)(torch.zeros(1, 3))
