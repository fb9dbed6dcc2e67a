"""Normalization and dropout layers: against torch, and where torch is not enough."""

import copy
import itertools
import math

import pytest
import torch
from torch import nn

from tabvision.nets.layers import LANES, BatchNorm1d, Dropout, keep_mask, use_running_statistics


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
    kept_wide, kept_narrow, image = copy.deepcopy(wide), copy.deepcopy(narrow), torch.randn(1, 3, 4, 4)

    with use_running_statistics(net):
        found = net(image)

    assert torch.equal(found, kept_narrow.eval()(pool(kept_wide(image))))
    for ours, theirs in ((wide, kept_wide), (narrow, kept_narrow)):
        assert all(torch.equal(a, b) for a, b in zip(ours.buffers(), theirs.buffers(), strict=True))
    found.square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in narrow.parameters())


def test_a_resting_norm_is_as_it_was_afterwards_even_if_the_net_failed() -> None:
    frozen, norm = nn.BatchNorm2d(3).eval(), nn.BatchNorm2d(3)
    one = torch.zeros(1, 3, 1, 1)

    with pytest.raises(RuntimeError, match="expected input"), use_running_statistics(nn.Sequential(frozen, norm)):
        nn.Conv2d(5, 1, 1)(norm(one))

    assert (frozen.training, norm.training) == (False, True)
    with pytest.raises(ValueError, match="Expected more than 1 value per channel"):
        norm(one)


def test_a_norm_that_joins_the_ranks_is_left_alone() -> None:
    norm = nn.SyncBatchNorm(3)

    with use_running_statistics(norm):
        assert not norm._forward_pre_hooks


# Our dropout is torch's in expectation, spread and independence, repeats by seed, and leaves no other trace.


MANY = 1_000_003  # not a multiple of four


def kept(p: float, seed: int = 0) -> torch.Tensor:
    torch.manual_seed(seed)
    result: torch.Tensor = Dropout(p)(torch.ones(MANY))
    return (result != 0).double()


@pytest.mark.parametrize("p", [0.003, 0.1, 0.5, 0.9])
def test_the_share_dropped_is_p_within_five_standard_errors(p: float) -> None:
    assert abs(1 - kept(p).mean().item() - p) < 5 * math.sqrt(p * (1 - p) / MANY) + 1 / LANES


def test_elements_are_dropped_independently_of_their_neighbors(subtests: pytest.Subtests) -> None:
    for p, lag in itertools.product([0.1, 0.5], [1, 2, 3, 4, 8, 624, 1000]):
        with subtests.test(p=p, lag=lag):
            mask = kept(p) - (1 - p)

            correlation = (mask[lag:] * mask[:-lag]).mean().item() / (p * (1 - p))

            assert abs(correlation) < 5 / math.sqrt(MANY)


def test_each_of_the_four_lanes_of_a_draw_has_the_same_share() -> None:
    lanes = kept(0.3)[: MANY // 4 * 4].view(-1, 4).mean(dim=0)

    assert (lanes - 0.7).abs().max().item() < 5 * math.sqrt(0.21 / (MANY / 4))


def test_the_row_sums_vary_as_a_binomial_does() -> None:
    sums = kept(0.2)[:1_000_000].view(10_000, 100).sum(dim=1)

    assert sums.var().item() == pytest.approx(100 * 0.2 * 0.8, rel=0.07)  # five standard errors


def test_two_draws_are_unlike() -> None:
    agreement = (kept(0.5, seed=1) == kept(0.5, seed=2)).double().mean().item()

    assert abs(agreement - 0.5) < 5 * 0.5 / math.sqrt(MANY)


def test_a_seed_repeats_the_mask_and_a_saved_state_continues_it() -> None:
    layer, ones = Dropout(0.3), torch.ones(7, 5)
    torch.manual_seed(3)
    first, state, second = layer(ones), torch.get_rng_state(), layer(ones)

    torch.manual_seed(3)
    assert torch.equal(layer(ones), first)
    torch.set_rng_state(state)
    assert torch.equal(layer(ones), second)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_is_kept_is_scaled_by_the_exact_inverse_of_the_probability_in_use(dtype: torch.dtype) -> None:
    dropped = round(0.1 * LANES)

    values = Dropout(0.1)(torch.ones(1000, dtype=dtype)).unique()

    assert values.tolist() == [0.0, torch.tensor(LANES / (LANES - dropped), dtype=dtype).item()]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_sixteen_bit_numbers_are_not_biased_by_a_rounded_scale(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    values = (torch.rand(MANY, dtype=torch.float64) + 1).to(dtype)

    result = Dropout(0.1)(values)

    survivors = result != 0
    assert result.dtype == dtype
    ratio = result[survivors].double().mean() / values[survivors].double().mean()
    assert ratio.item() == pytest.approx(1 / 0.9, rel=1e-4)  # a scale in bfloat16 would be off by 1.6e-3


def test_the_gradient_is_the_scaled_mask() -> None:
    values = torch.randn(64, 33, requires_grad=True)

    result = Dropout(0.25)(values)
    result.sum().backward()

    assert values.grad is not None
    assert torch.equal(result, values * values.grad)
    assert len(set(values.grad.flatten().tolist())) == 2


@pytest.mark.parametrize("shape", [(), (0,), (0, 4), (1,), (3,), (2, 3, 5), (1, 1, 2, 7)])
def test_any_shape_is_kept(shape: tuple[int, ...]) -> None:
    assert Dropout(0.5)(torch.ones(shape)).shape == shape


def test_a_transposed_input_is_masked_too() -> None:
    values = torch.ones(50, 40).t()

    result = Dropout(0.5)(values)

    assert set(result.unique().tolist()) == {0.0, 2.0}


def test_evaluation_returns_the_input_itself_and_draws_nothing() -> None:
    values, state = torch.randn(5), torch.get_rng_state()

    assert torch.equal(Dropout(0.5).eval()(values), values)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(("p", "expected"), [(0.0, 1.0), (1.0, 0.0), (1e-9, 1.0)])
def test_probabilities_at_the_ends(p: float, expected: float) -> None:
    assert (Dropout(p)(torch.ones(1000)) == expected).all()


def test_inplace_overwrites_the_input_as_torch_does() -> None:
    values = torch.ones(1000)

    result = Dropout(0.5, inplace=True)(values)

    assert result is values
    assert (values == 0).any()


def test_a_traced_graph_has_torchs_dropout_in_it() -> None:
    program = torch.export.export(nn.Sequential(Dropout(0.5)).train(), (torch.ones(4, 4),))

    assert "dropout" in str(program.graph)
    assert "random" not in str(program.graph)


def test_complex_numbers_are_left_to_torch() -> None:
    def outcome(layer: nn.Module) -> object:
        torch.manual_seed(0)
        try:
            return layer(torch.ones(100, dtype=torch.complex64)).tolist()
        except NotImplementedError as error:  # on the CPU before torch 2.15
            return str(error)

    assert outcome(Dropout(0.5)) == outcome(nn.Dropout(0.5))


def test_it_passes_for_torchs_dropout() -> None:
    assert isinstance(Dropout(0.1), nn.Dropout)
    assert repr(Dropout(0.1)) == "Dropout(p=0.1, inplace=False)"


@pytest.mark.parametrize(("share", "expected"), [(0.0, 1), (1.0, 0)])
def test_a_keep_mask_keeps_all_or_nothing_at_the_ends(share: float, expected: int) -> None:
    mask = keep_mask(torch.zeros(3, 5, dtype=torch.int64), share)

    assert mask.dtype == torch.int64
    assert (mask == expected).all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_torchs_dropout_runs() -> None:
    values = Dropout(0.5)(torch.ones(1000, device="cuda"))

    assert set(values.unique().tolist()) == {0.0, 2.0}
