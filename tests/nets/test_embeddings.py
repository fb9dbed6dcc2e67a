"""Embeddings: their widths, their start, the row for unknown values, and lookups that agree with torch's."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from tabvision.nets.embedding_mlp import Embeddings, Table, embedding_width


def test_widths_follow_fastais_rule(subtests: pytest.Subtests) -> None:
    for cardinality, width in [(1, 2), (2, 2), (3, 3), (10, 6), (100, 21), (1000, 77), (10_000, 278), (40_000, 600)]:
        with subtests.test(cardinality=cardinality, width=width):
            assert embedding_width(cardinality) == width


def test_rows_start_at_length_one_and_the_unknown_row_at_zero() -> None:
    weight = Table(5000, 64).weight.detach()

    assert weight[1:].norm(dim=1).mean().item() == pytest.approx(1, abs=0.02)
    assert (weight[0] == 0).all()


def test_a_lookup_and_its_gradient_are_torchs() -> None:
    table, codes, upstream = Table(9, 4), torch.randint(9, (50,)), torch.randn(50, 4)

    found = table(codes)
    (gradient,) = torch.autograd.grad(found, table.weight, upstream)

    assert torch.equal(found, functional.embedding(codes, table.weight))
    (expected,) = torch.autograd.grad(functional.embedding(codes, table.weight), table.weight, upstream)
    torch.testing.assert_close(gradient, expected)


def test_codes_of_any_shape_are_looked_up() -> None:
    assert Table(9, 4)(torch.zeros(2, 3, dtype=torch.int64)).shape == (2, 3, 4)


def test_a_code_beyond_the_table_is_an_error_not_another_row() -> None:
    with pytest.raises((IndexError, RuntimeError), match="out of range"):
        Table(3, 2)(torch.tensor([3]))


def test_columns_stand_side_by_side_in_order() -> None:
    embeddings = Embeddings([3, 5], [2, 4]).eval()
    codes = torch.tensor([[1, 4], [2, 0]])

    result = embeddings(codes)

    assert torch.equal(result[:, :2], embeddings.tables[0](codes[:, 0]))
    assert torch.equal(result[:, 2:], embeddings.tables[1](codes[:, 1]))


def test_in_training_that_share_of_codes_is_unknown() -> None:
    torch.manual_seed(0)
    embeddings = Embeddings([3, 5], [2, 4], unknown_share=0.2)

    result = embeddings(torch.ones(50_000, 2, dtype=torch.int64))

    unknown = torch.stack([(result[:, :2] == 0).all(1), (result[:, 2:] == 0).all(1)], 1).double()
    assert unknown.mean().item() == pytest.approx(0.2, abs=0.007)  # five standard errors
    assert unknown.prod(1).mean().item() == pytest.approx(0.04, abs=0.005)  # columns independently


def test_in_evaluation_every_code_is_kept() -> None:
    embeddings = Embeddings([3], [2], unknown_share=0.9).eval()
    codes = torch.ones(1000, 1, dtype=torch.int64)

    assert torch.equal(embeddings(codes), embeddings.tables[0](codes[:, 0]))


def test_the_unknown_row_learns_although_no_training_row_is_unknown() -> None:
    torch.manual_seed(0)
    embeddings = Embeddings([3], [2], unknown_share=0.05)

    embeddings(torch.ones(1000, 1, dtype=torch.int64)).sum().backward()

    (weight,) = embeddings.parameters()
    assert weight.grad is not None
    assert (weight.grad[0] > 0).all()


def test_dropout_drops_outputs_in_training_only() -> None:
    embeddings = Embeddings([50], [20], dropout=0.5)
    codes = torch.randint(1, 50, (100, 1))

    assert (embeddings(codes) == 0).double().mean().item() == pytest.approx(0.5, abs=0.06)
    assert (embeddings.eval()(codes) != 0).all()
