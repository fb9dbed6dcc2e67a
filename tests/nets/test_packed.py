"""The packed network: its members are separate networks, its inputs are bounded, and it learns what one network learns."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tabvision.errors import BadValueError
from tabvision.nets.layer_groups import LayerGroup, check_groups
from tabvision.nets.numeric import squash
from tabvision.nets.packed import KNOT_SCALE, PackedNet, _PackedNumbers

CARDINALITIES = [3, 10, 3]
BINS = [(-1.0, 0.0, 1.0), (-2.0, 2.0), ()]


def made(**settings: Any) -> PackedNet:
    torch.manual_seed(0)
    given: dict[str, Any] = {"members": 3, "widths": (8, 4)} | settings
    return PackedNet(CARDINALITIES, BINS, 2, **given)


def batch(rows: int = 16) -> tuple[Tensor, Tensor]:
    return torch.randn(rows, len(BINS)), torch.randint(3, (rows, len(CARDINALITIES)))


@pytest.mark.parametrize("own_inputs", [False, True])
def test_every_member_answers_and_every_parameter_gets_a_gradient(own_inputs: bool) -> None:
    net = made(own_inputs=own_inputs, dropout=0.2, bin_parts=2)

    logits = net(*batch(64))
    logits.square().sum().backward()

    assert logits.shape == (64, 3, 2)
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in net.parameters())


def test_a_member_with_inputs_of_its_own_shares_nothing() -> None:
    net = made(own_inputs=True, bin_parts=2).eval()
    continuous, categorical = batch()

    net(continuous, categorical)[:, 1].sum().backward()

    for name, parameter in net.named_parameters():
        assert parameter.grad is not None
        if name.startswith("embeddings"):  # the members side by side in the last dimension
            of_member = parameter.grad.reshape(-1, 3, parameter.shape[-1] // 3).abs().sum(dim=(0, 2))
        elif "norm" in name:
            of_member = parameter.grad.view(3, -1).abs().sum(dim=1)
        else:
            of_member = parameter.grad.flatten(1).abs().sum(dim=1)
        assert of_member[0] == of_member[2] == 0, name


def test_the_direct_layer_starts_at_zero_shares_nothing_and_learns_a_sum_of_effects() -> None:
    net, plain, (continuous, categorical) = (
        made(own_inputs=True, direct=True).eval(),
        made(own_inputs=True).eval(),
        batch(),
    )

    saved = net.load_state_dict(plain.state_dict())  # of a checkpoint from before there was such a layer
    assert not saved.missing_keys
    assert not saved.unexpected_keys
    assert torch.equal(net(continuous, categorical), plain(continuous, categorical))

    net(continuous, categorical)[:, 1].sum().backward()
    assert net.direct is not None
    assert net.direct.weight.grad is not None
    assert net.direct.weight.grad.flatten(1).abs().sum(dim=1).gt(0).tolist() == [False, True, False]

    nn.init.zeros_(net.get_parameter("head.weight"))
    nn.init.normal_(net.direct.weight)
    changed = continuous.clone()
    changed[:, 0] += 0.5
    steps = [net(changed, codes) - net(continuous, codes) for codes in (categorical, categorical.flip(0))]
    torch.testing.assert_close(*steps)  # the effect of a number does not depend on the categories


def test_a_packed_layer_is_the_layers_of_its_members() -> None:
    net = made(own_inputs=False).eval()
    continuous, categorical = batch()

    found = net(continuous, categorical)

    inputs = net.embeddings(continuous, categorical).squeeze(1)
    for member in range(3):
        rows = inputs
        for layer in net.layers:
            linear: Any = layer.linear
            width = linear.weight.shape[2]
            mine = slice(member * width, (member + 1) * width)
            hidden = torch.relu(rows @ linear.weight[member] + linear.bias[member])
            norm: Any = layer.norm
            scale = (norm.running_var[mine] + norm.eps).rsqrt() * norm.weight[mine]
            rows = (hidden - norm.running_mean[mine]) * scale + norm.bias[mine]
        head: Any = net.head
        expected = rows @ head.weight[member] + head.bias[member]
        torch.testing.assert_close(found[:, member], expected)


def test_numbers_are_encoded_by_their_place_among_the_bins() -> None:
    encoder = _PackedNumbers([(-1.0, 0.0, 2.0)])
    with torch.no_grad():
        encoder.weight.zero_()
        encoder.bias.zero_()
        encoder.table[0, 0] = torch.tensor([1.0, *[0.0] * 7])
        encoder.table[0, 1] = torch.tensor([0.0, 1.0, *[0.0] * 6])

    def places(value: float) -> list[float]:
        return encoder(torch.tensor([[value]]))[0, 0, :2].tolist()  # type: ignore[no-any-return]

    assert places(-1.0) == pytest.approx([0, 0], abs=1e-6)
    assert places(0.0) == pytest.approx([1, 0], abs=1e-6)
    assert places(2.0) == pytest.approx([1, 1], abs=1e-6)
    assert 0 < places(1.0)[1] < 1
    assert places(1e30) == pytest.approx(places(2.0), abs=1e-6)
    assert places(-1e30) == pytest.approx(places(-1.0), abs=1e-6)


def test_knots_inside_bins_are_joined_by_lines_that_are_zero_at_the_edges() -> None:
    torch.manual_seed(0)
    encoder = _PackedNumbers([(-1.0, 0.0, 2.0), (0.0, 1.0), ()], members=2, parts=4)
    assert encoder.knots is not None
    nn.init.normal_(encoder.knots)
    values = torch.tensor([-1e30, -1.0, -0.75, -0.7, 0.0, 0.4, 0.5, 1.0, 1.7, 2.0, 1e30]).unsqueeze(1).expand(-1, 3)

    found = encoder(values)

    held = squash(values.clamp(encoder.low, encoder.high)).unsqueeze(2)
    fractions = torch.addcmul(encoder.shift, held, encoder.scale).clamp(0, 1).numpy()
    heights = KNOT_SCALE * np.pad(encoder.knots.detach().numpy(), ((0, 0), (0, 0), (1, 1), (0, 0)))
    inside = [
        [
            sum(
                np.interp(fractions[:, column, number], np.arange(5) / 4, bin_[:, output])
                for number, bin_ in enumerate(bins)
            )
            for output in range(16)
        ]
        for column, bins in enumerate(heights)
    ]
    linear = encoder.bias + encoder.weight * held
    torch.testing.assert_close(found, linear + torch.tensor(np.array(inside)).permute(2, 0, 1).float())
    assert torch.equal(encoder(values[:, [1]], [1]), found[:, [1]])


def test_parts_of_bins_change_no_answer_of_a_checkpoint_from_before_there_were_any() -> None:
    net, plain, inputs = made(bin_parts=4).eval(), made().eval(), batch()

    saved = net.load_state_dict(plain.state_dict())

    assert not saved.missing_keys
    assert torch.equal(net(*inputs), plain(*inputs))


def test_a_checkpoint_with_the_rise_in_each_part_of_a_bin_answers_as_before() -> None:
    torch.manual_seed(0)
    bins, values = [(-1.0, 0.0, 2.0)], torch.linspace(-1.5, 2.5, 41).unsqueeze(1)
    net = PackedNet([], bins, 2, bin_parts=4).eval()
    encoder, state, rises = net.embeddings.numbers, net.state_dict(), torch.randn(1, 8, 8)
    del state["embeddings.numbers.knots"]

    net.load_state_dict(state | {"embeddings.numbers.fine": rises})

    held = squash(values.clamp(-1, 2)).unsqueeze(2)
    fractions = torch.addcmul(encoder.shift, held, encoder.scale).clamp(0, 1)
    passed = (4 * fractions.unsqueeze(3) - torch.arange(4)).clamp(0, 1).flatten(2)
    expected = encoder.bias + encoder.weight * held + 0.3 * torch.einsum("bnp,npw->bnw", passed, rises)
    torch.testing.assert_close(encoder(values), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("value", [-1e30, 12.0, 1e6, 1e30])
def test_a_number_beyond_all_training_rows_is_answered_as_the_farthest_of_them(value: float) -> None:
    net = made().eval()
    categorical = torch.zeros(1, len(CARDINALITIES), dtype=torch.int64)
    farthest = torch.tensor([[edges[0 if value < 0 else -1] if edges else 0.0 for edges in BINS]])

    torch.testing.assert_close(net(torch.full_like(farthest, value), categorical), net(farthest, categorical))


def test_a_unit_that_is_nearly_always_zero_is_not_scaled_without_bound() -> None:
    net = made()
    with torch.no_grad():
        for layer in net.layers:
            norm: Any = layer.norm
            norm.running_var.zero_()

    assert net.eval()(*batch()).abs().max() < 1e4


def test_what_seems_constant_to_float32_has_a_bin() -> None:
    net = PackedNet([], [(0.0, 1e-12), (5.0,), (1.0, 1.0 + 1e-9, 2.0)], 1)

    assert net(torch.randn(4, 3), torch.empty(4, 0, dtype=torch.int64)).isfinite().all()


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_a_few_rows_are_answered_in_training_and_evaluation(rows: int) -> None:
    for own_inputs in (False, True):
        net = made(own_inputs=own_inputs, bin_parts=2)
        if rows:
            assert net(*batch(rows)).shape == (rows, 3, 2)
        assert net.eval()(*batch(rows)).shape == (rows, 3, 2)


def test_tables_of_numbers_or_of_categories_alone_are_answered() -> None:
    numbers, categories = PackedNet([], BINS, 1, bin_parts=2), PackedNet(CARDINALITIES, [], 1, bin_parts=2)

    assert numbers(torch.randn(4, 3), torch.empty(4, 0, dtype=torch.int64)).shape == (4, 4, 1)
    assert categories(torch.empty(4, 0), torch.zeros(4, 3, dtype=torch.int64)).shape == (4, 4, 1)


def test_embeddings_of_many_values_are_narrow_and_own_ones_no_wider_than_a_number() -> None:
    net = PackedNet([1_000_001, 10], [], 1)
    assert [net.embeddings.categories.table(column).shape[1] for column in (0, 1)] == [9, 6]

    (own,), (shared,) = (
        PackedNet([900], [], 1, own_inputs=each).embeddings.categories.tables for each in (True, False)
    )
    assert (own.shape[1], shared.shape[1]) == (4 * 8, 72)


def test_three_parts_hold_every_parameter_once() -> None:
    net = made()

    check_groups([LayerGroup(name, (getattr(net, name),)) for name in ("embeddings", "layers", "head")], net)


def test_a_copy_and_a_saved_state_answer_the_same() -> None:
    net, inputs = made(own_inputs=True).eval(), batch()
    other = made(own_inputs=True, unknown_share=0.5).eval()
    other.load_state_dict(net.state_dict())

    assert torch.equal(copy.deepcopy(net)(*inputs), net(*inputs))
    assert torch.equal(other(*inputs), net(*inputs))


def test_parts_of_bins_learn_what_changes_quickly_along_a_number() -> None:
    torch.manual_seed(0)
    numbers, codes = torch.rand(2048, 1), torch.empty(2048, 0, dtype=torch.int64)
    target = (16 * numbers).floor() % 2
    errors = []
    for parts in (1, 4):
        net = PackedNet([], [tuple(np.linspace(0, 1, 7).tolist())], 1, bin_parts=parts)
        optimizer = torch.optim.AdamW(net.parameters(), lr=0.015)
        for _ in range(150):
            optimizer.zero_grad()
            (net(numbers, codes) - target.unsqueeze(1)).square().mean().backward()
            optimizer.step()
        errors.append((net.eval()(numbers, codes).mean(1) - target).square().mean().item())

    assert errors[1] < 0.5 * errors[0]


def test_it_learns_an_interaction_of_a_category_and_a_number() -> None:
    torch.manual_seed(0)
    numbers, codes = torch.randn(512, 1), torch.randint(1, 3, (512, 1))
    target = numbers * (codes * 2 - 3)
    net: nn.Module = PackedNet([3], [tuple(np.linspace(-2, 2, 9).tolist())], 1)
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.015)

    for _ in range(150):
        optimizer.zero_grad()
        (net(numbers, codes) - target.unsqueeze(1)).square().mean().backward()
        optimizer.step()

    assert (net.eval()(numbers, codes).mean(1) - target).square().mean() < 0.05


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"members": 0}, "members"),
        ({"widths": ()}, "widths must name at least one layer"),
        ({"dropout": 1.0}, "dropout"),
        ({"unknown_share": -0.1}, "unknown_share"),
    ],
)
def test_a_setting_out_of_range_is_a_sentence(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(BadValueError, match=words):
        made(**settings)


def test_a_table_without_columns_is_refused() -> None:
    with pytest.raises(BadValueError, match="a category or a number, got neither"):
        PackedNet([], [], 1)
