"""The dot product with biases: its formula, its unknown row, what it refuses."""

import pytest
import torch

from tabvision.nets.factorization import EmbeddingDotBias, _FactorTable


def filled(net: EmbeddingDotBias) -> EmbeddingDotBias:
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.normal_()
    return net


def test_the_logit_is_the_dot_product_plus_both_biases_plus_the_offset() -> None:
    net = filled(EmbeddingDotBias([4, 5], factors=3))

    logit = net(torch.tensor([[2, 4]]))

    users, items = net.users.weight[2], net.items.weight[4]
    expected = users[:3] @ items[:3] + users[3] + items[3] + net.offset.bias[0]
    torch.testing.assert_close(logit, expected.reshape(1, 1))


def test_factors_and_biases_are_views_of_one_table() -> None:
    table = _FactorTable(4, 3)

    assert table.factors.shape == (4, 3)
    assert table.biases.shape == (4,)
    assert table.factors.data_ptr() == table.weight.data_ptr()


def test_factors_begin_small_and_biases_at_nought() -> None:
    table = _FactorTable(2000, 50)

    assert table.factors[1:].std().item() == pytest.approx(0.01, rel=0.02)
    assert not table.biases.any()
    assert not table.weight[0].any()


def test_the_unknown_row_is_the_mean_of_the_others_once_training_stops_and_not_before() -> None:
    net = filled(EmbeddingDotBias([4, 5], factors=3))
    net.eval()
    torch.testing.assert_close(net.users.weight[0], net.users.weight[1:].mean(dim=0))
    torch.testing.assert_close(net.items.weight[0], net.items.weight[1:].mean(dim=0))

    before = net.users.weight[0].clone()
    net.train()
    assert torch.equal(net.users.weight[0], before)


def test_a_table_of_the_unknown_row_alone_has_no_mean_to_take() -> None:
    assert EmbeddingDotBias([1, 1], factors=2).eval()(torch.zeros(1, 2, dtype=torch.long)).isfinite().all()


def test_no_rows_give_no_logits() -> None:
    assert EmbeddingDotBias([4, 5], factors=3)(torch.empty(0, 2, dtype=torch.long)).shape == (0, 1)
