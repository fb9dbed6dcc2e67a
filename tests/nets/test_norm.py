"""Our BatchNorm is torch's, except for a training batch of one row."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from tabvision.nets.layers import BatchNorm1d, resting_norms


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


def test_a_net_s_own_norms_rest_only_where_a_channel_has_one_value() -> None:
    wide, pool, narrow = nn.BatchNorm2d(3), nn.AvgPool2d(4), nn.BatchNorm2d(3)
    net = nn.Sequential(wide, pool, narrow)
    net(torch.randn(8, 3, 4, 4) * 2 + 5)
    kept_wide, kept_narrow, picture = copy.deepcopy(wide), copy.deepcopy(narrow), torch.randn(1, 3, 4, 4)

    with resting_norms(net):
        found = net(picture)

    assert torch.equal(found, kept_narrow.eval()(pool(kept_wide(picture))))
    for ours, theirs in ((wide, kept_wide), (narrow, kept_narrow)):
        assert all(torch.equal(a, b) for a, b in zip(ours.buffers(), theirs.buffers(), strict=True))
    found.square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in narrow.parameters())


def test_a_resting_norm_is_as_it_was_afterwards_even_if_the_net_failed() -> None:
    frozen, norm = nn.BatchNorm2d(3).eval(), nn.BatchNorm2d(3)
    one = torch.zeros(1, 3, 1, 1)

    with pytest.raises(RuntimeError, match="expected input"), resting_norms(nn.Sequential(frozen, norm)):
        nn.Conv2d(5, 1, 1)(norm(one))

    assert (frozen.training, norm.training) == (False, True)
    with pytest.raises(ValueError, match="Expected more than 1 value per channel"):
        norm(one)


def test_a_norm_that_joins_the_ranks_is_left_alone() -> None:
    norm = nn.SyncBatchNorm(3)

    with resting_norms(norm):
        assert not norm._forward_pre_hooks
